//! The surroundings of the process: environment variables, working directory, time, terminal.
//!
//! The only place that reads them. What libraries would read by themselves (certificates, proxies) is read
//! here too and handed to them.
//!
//! *Invariant: every variable that changes what we do is in [`VARIABLES`], but those that `--build-arg NAME`
//! names.*

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::Access;

use crate::http::{Proxies, Roots};
use crate::request::TraceContext;
use crate::sys::random;

/// The directory that kaniko's image has for everything of the executor's.
pub(super) const KANIKO: &str = "/kaniko";

/// An environment variable and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub effect: &'static str,
}

/// All variables that are read.
pub const VARIABLES: &[Variable] = &[
    Variable { name: "DOCKER_CONFIG", effect: "directory of the config.json with registry credentials" },
    Variable { name: "REGISTRY_AUTH_FILE", effect: "file with registry credentials (Podman)" },
    Variable { name: "DOCKER_AUTH_CONFIG", effect: "text of a config.json with registry credentials" },
    Variable {
        name: "XDG_RUNTIME_DIR",
        effect: "registry credentials are also looked for in $XDG_RUNTIME_DIR/containers/auth.json",
    },
    Variable { name: "XDG_CONFIG_HOME", effect: "and in $XDG_CONFIG_HOME/containers/auth.json" },
    Variable {
        name: "KANIKO_<HOST>_USER",
        effect: "user for a registry; the host in upper case, with `_` for `.` and `-`",
    },
    Variable { name: "KANIKO_<HOST>_PASSWORD", effect: "password of KANIKO_<HOST>_USER" },
    Variable { name: "CI_REGISTRY", effect: "GitLab's registry" },
    Variable { name: "CI_REGISTRY_USER", effect: "user for CI_REGISTRY" },
    Variable { name: "CI_REGISTRY_PASSWORD", effect: "password of CI_REGISTRY_USER" },
    Variable {
        name: "AWS_REGION",
        effect: "region of AWS's services other than the registry (also AWS_DEFAULT_REGION); the usual AWS_* hold too",
    },
    Variable { name: "AWS_ENDPOINT_URL_ECR", effect: "URL of another ECR service (also AWS_ENDPOINT_URL)" },
    Variable {
        name: "AWS_ENDPOINT_URL_ECR_PUBLIC",
        effect: "URL of another service for public ECR (also AWS_ENDPOINT_URL)",
    },
    Variable { name: "AWS_ENDPOINT_URL_KMS", effect: "URL of another KMS (also AWS_ENDPOINT_URL)" },
    Variable {
        name: "GOOGLE_APPLICATION_CREDENTIALS",
        effect: "file with Google's credentials: key, or workload identity federation",
    },
    Variable { name: "GCE_METADATA_HOST", effect: "host[:port] of Google's metadata server" },
    Variable {
        name: "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        effect: "URL of Azure's metadata service for managed identities",
    },
    Variable { name: "HOME", effect: "home directory; credentials are also looked for in $HOME/.docker" },
    Variable { name: "PATH", effect: "where credential helpers are" },
    Variable { name: "KANIKO_DIR", effect: "default of --state-dir" },
    Variable {
        name: "YADOKARI_CACHE_KEY",
        effect: "key that entries of the cache are sealed with, if no file is given",
    },
    Variable { name: "SIGSTORE_ID_TOKEN", effect: "token for --sign-keyless, if no file is given" },
    Variable { name: "ACTIONS_ID_TOKEN_REQUEST_URL", effect: "where a GitHub job asks for a token for --sign-keyless" },
    Variable { name: "ACTIONS_ID_TOKEN_REQUEST_TOKEN", effect: "with which right it does" },
    Variable { name: "COSIGN_PASSWORD", effect: "password of the key that signs, if no file is given" },
    Variable { name: "KANIKO_NO_PUSH", effect: "true or false; overrides --no-push" },
    Variable {
        name: "BUILDX_NO_DEFAULT_ATTESTATIONS",
        effect: "true: `yadokari build` has no provenance that no flag asks for",
    },
    Variable { name: "KANIKO_PRINT_PLAN", effect: "true or false; true is --print-plan" },
    Variable { name: "KANIKO_REGISTRY_MIRROR", effect: "one more --registry-mirror" },
    Variable { name: "KANIKO_REGISTRY_MAP", effect: "one more --registry-map" },
    Variable { name: "CONTAINERS_REGISTRIES_CONF", effect: "default of --registries-conf" },
    Variable { name: "SOURCE_DATE_EPOCH", effect: "time of the image and its files, in seconds since 1970" },
    Variable { name: "SSL_CERT_FILE", effect: "PEM file of trusted certificates" },
    Variable { name: "SSL_CERT_DIR", effect: "directories of trusted certificates, separated by colons" },
    Variable { name: "HTTP_PROXY", effect: "proxy for http:// (also in lower case)" },
    Variable { name: "HTTPS_PROXY", effect: "proxy for https:// (also in lower case)" },
    Variable { name: "NO_PROXY", effect: "hosts that are reached without a proxy (also in lower case)" },
    Variable { name: "UPSTREAM_CLIENT_TYPE", effect: "caller's name for the User-Agent" },
    Variable { name: "TRACEPARENT", effect: "the caller's trace (W3C), told in JSON messages, metadata and spans" },
    Variable {
        name: "OTEL_EXPORTER_OTLP_ENDPOINT",
        effect: "where spans are sent, by OpenTelemetry's protocol; /v1/traces is added",
    },
    Variable { name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", effect: "the same, as it is" },
    Variable {
        name: "OTEL_EXPORTER_OTLP_PROTOCOL",
        effect: "http/protobuf (default) or http/json; grpc is not spoken",
    },
    Variable { name: "OTEL_EXPORTER_OTLP_HEADERS", effect: "headers of these requests: NAME=VALUE,NAME=VALUE" },
    Variable { name: "OTEL_EXPORTER_OTLP_TIMEOUT", effect: "how long they may take in all, in milliseconds; 10000" },
    Variable {
        name: "OTEL_EXPORTER_OTLP_CERTIFICATE",
        effect: "PEM file of further certificates that the collector is trusted by",
    },
    Variable {
        name: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        effect: "PEM file of the certificate that is shown to it",
    },
    Variable { name: "OTEL_EXPORTER_OTLP_CLIENT_KEY", effect: "PEM file with the key of that" },
    Variable {
        name: "OTEL_EXPORTER_OTLP_TRACES_<NAME>",
        effect: "any of these for spans alone; goes before the other",
    },
    Variable { name: "OTEL_SERVICE_NAME", effect: "what the builder is called in spans; yadokari" },
    Variable { name: "OTEL_RESOURCE_ATTRIBUTES", effect: "what else spans say of it: NAME=VALUE,NAME=VALUE" },
    Variable { name: "OTEL_SDK_DISABLED", effect: "true sends no spans" },
    Variable { name: "OTEL_TRACES_EXPORTER", effect: "none sends no spans; otlp is the default" },
    Variable { name: "TRACESTATE", effect: "what goes with TRACEPARENT, handed on in spans" },
    Variable { name: "NO_COLOR", effect: "no colours when set, unless --log-format=color" },
    Variable { name: "TERM", effect: "neither colours nor rows of progress when it is dumb" },
    Variable { name: "TMPDIR", effect: "where the state directory goes when /kaniko is not writable" },
    Variable { name: "container", effect: "says that this is a container (podman, systemd)" },
    Variable { name: "KUBERNETES_SERVICE_HOST", effect: "says that this is a container (Kubernetes)" },
    Variable { name: "ARGO_TEMPLATE", effect: "says which output parameters an Argo template reads" },
    Variable { name: "ARGO_PROGRESS_FILE", effect: "file that tells Argo how many steps are done" },
    Variable { name: "BUILDER_OUTPUT", effect: "directory for what is told to Cloud Build" },
    Variable { name: "GITHUB_OUTPUT", effect: "file for what is told to GitHub Actions" },
    Variable { name: "GITHUB_STEP_SUMMARY", effect: "file for the table that GitHub Actions shows" },
    Variable {
        name: "GITHUB_WORKSPACE",
        effect: "the checkout: marks of GitHub Actions name the Dockerfile from there",
    },
    Variable {
        name: "GITHUB_ACTIONS",
        effect: "true says that GitHub reads the log: groups, annotations, no commands of RUN's",
    },
    Variable { name: "GITLAB_CI", effect: "true says that GitLab reads the log: sections" },
    Variable { name: "TF_BUILD", effect: "true says that Azure Pipelines reads the log: groups, no commands of RUN's" },
    Variable { name: "CI_PROJECT_DIR", effect: "where --pipeline=gitlab writes build.env" },
    Variable { name: "FORCE_COLOR", effect: "colours when set, terminal or not, unless --log-format=text" },
    Variable { name: "CONTEXT_BEARER_TOKEN", effect: "bearer token for the https:// context or Dockerfile" },
    Variable { name: "CONTEXT_USERNAME", effect: "user for the https:// context or Dockerfile" },
    Variable { name: "CONTEXT_PASSWORD", effect: "password of CONTEXT_USERNAME" },
    Variable {
        name: "GIT_CREDENTIALS_DIR",
        effect: "directory whose .git-credentials, .netrc and .ssh are asked before those in $HOME",
    },
    Variable { name: "GIT_TOKEN", effect: "token for the host of a Git context; goes before GIT_USERNAME" },
    Variable { name: "GIT_USERNAME", effect: "user for the host of a Git context" },
    Variable { name: "GIT_PASSWORD", effect: "password of GIT_USERNAME" },
    Variable {
        name: "GIT_PULL_METHOD",
        effect: "what git:// stands for: https (default), http, or git for its own protocol",
    },
    Variable { name: "SSH_AUTH_SOCK", effect: "socket of the SSH agent" },
    Variable { name: "SSH_KNOWN_HOSTS", effect: "file of known SSH host keys, asked before ~/.ssh/known_hosts" },
    Variable {
        name: "S3_ENDPOINT",
        effect: "URL of an S3 service other than Amazon's; the usual AWS_* variables hold too",
    },
    Variable { name: "S3_FORCE_PATH_STYLE", effect: "true puts the bucket into the path of the URL" },
    Variable {
        name: "STORAGE_EMULATOR_HOST",
        effect: "Google Cloud Storage emulator; GOOGLE_APPLICATION_CREDENTIALS holds otherwise",
    },
    Variable { name: "AZURE_STORAGE_ACCESS_KEY", effect: "key of the Azure storage account" },
    Variable { name: "AZURE_STORAGE_SAS_TOKEN", effect: "shared access signature for Azure storage" },
    Variable { name: "AZURE_STORAGE_SERVICE_ENDPOINT", effect: "URL of an Azure Blob service other than Azure's" },
    Variable { name: "AZURE_CLIENT_ID", effect: "application or managed identity for Azure" },
    Variable { name: "AZURE_CLIENT_SECRET", effect: "secret of AZURE_CLIENT_ID" },
    Variable { name: "AZURE_TENANT_ID", effect: "tenant of AZURE_CLIENT_ID" },
    Variable { name: "AZURE_FEDERATED_TOKEN_FILE", effect: "the pod's token for Azure workload identity" },
    Variable { name: "AZURE_AUTHORITY_HOST", effect: "URL of Azure's login service" },
];

/// What the process finds around itself.
///
/// No `Debug`: build arguments and proxy passwords are among the variables.
#[derive(Clone)]
pub struct Environment {
    /// Directories.
    pub directories: Directories,
    /// Where trusted certificates are.
    pub roots: Roots,
    /// Where requests go instead of straight to their host.
    pub proxies: Proxies,
    /// What standard error is.
    pub terminal: Terminal,
    /// Whether standard output is a terminal.
    pub output_is_terminal: bool,
    /// When and which run this is.
    pub moment: Moment,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
    /// Whether a variable says that this is a container.
    pub names_container: bool,
    /// Whether Tekton's directory for results is there and writable.
    pub tekton: bool,
    variables: BTreeMap<OsString, OsString>,
}

/// Directories that the environment names.
#[derive(Clone, Debug)]
pub struct Directories {
    /// The working directory.
    pub working: PathBuf,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$DOCKER_CONFIG`.
    pub docker_config: Option<PathBuf>,
    /// Where the state directory goes unless a flag says otherwise.
    pub state: PathBuf,
    /// `$PATH`, split.
    pub programs: Vec<PathBuf>,
}

/// What standard error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Whether it is a terminal that understands control sequences.
    pub capable: bool,
    /// Whether colours are wanted when no flag says so.
    pub colours: bool,
}

/// When and which run this is.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The time, in seconds since 1970.
    pub now: i64,
    /// A name that no other run has.
    pub token: String,
}

impl Environment {
    /// Reads the surroundings of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn read() -> Self {
        let working = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let moment = Moment { now: i64::try_from(now).unwrap_or(0), token: token() };
        let read = Self::new(std::env::vars_os(), working, moment, std::io::stderr().is_terminal());
        Self { output_is_terminal: std::io::stdout().is_terminal(), ..read }
    }

    /// Makes the surroundings from their parts; only whether kaniko's and Tekton's directories are writable is asked here.
    pub fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        working: PathBuf,
        moment: Moment,
        is_terminal: bool,
    ) -> Self {
        let variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
        let value = |name: &str| variables.get(OsStr::new(name)).filter(|value| !value.is_empty());
        let path = |name| value(name).map(|path| working.join(path));
        let text = |name: &str| value(name).and_then(|value| value.to_str()).map(str::to_owned);
        // Upper case first, as Go has it, and so kaniko.
        let either_case = |name: &str| text(name).or_else(|| text(&name.to_lowercase()));
        // A part that is empty is a parameter of a pipeline that is not set.
        let paths = |name| {
            let list = value(name).map(std::env::split_paths).into_iter().flatten();
            list.filter(|path| !path.as_os_str().is_empty()).collect()
        };
        let capable = is_terminal && value("TERM").is_none_or(|term| term != "dumb");
        let state = path("KANIKO_DIR")
            .or_else(|| is_writable(Path::new(KANIKO)).then(|| PathBuf::from(KANIKO)))
            .or_else(|| path("TMPDIR"))
            .unwrap_or_else(|| PathBuf::from("/tmp"));
        Self {
            roots: Roots { file: path("SSL_CERT_FILE"), directories: paths("SSL_CERT_DIR") },
            proxies: Proxies {
                http: either_case("HTTP_PROXY"),
                https: either_case("HTTPS_PROXY"),
                exceptions: either_case("NO_PROXY"),
            },
            terminal: Terminal {
                capable,
                colours: value("FORCE_COLOR").is_some() || (capable && value("NO_COLOR").is_none()),
            },
            trace: text("TRACEPARENT").and_then(|text| text.parse().ok()),
            names_container: value("container").is_some() || value("KUBERNETES_SERVICE_HOST").is_some(),
            directories: Directories {
                home: path("HOME"),
                docker_config: path("DOCKER_CONFIG"),
                state,
                programs: paths("PATH"),
                working,
            },
            output_is_terminal: false,
            moment,
            tekton: is_writable(Path::new(TEKTON_RESULTS)),
            variables,
        }
    }

    /// Returns the directories that somebody else than the user may have filled: the working directory is a checkout.
    pub(super) fn regions(&self) -> Vec<PathBuf> {
        let working = Some(&self.directories.working).filter(|path| path.parent().is_some());
        working.into_iter().cloned().collect()
    }

    /// Returns a variable's value, empty ones included.
    ///
    /// # Errors
    /// [`NotText`] for a value that is not UTF-8.
    pub fn variable(&self, name: &str) -> Result<Option<&str>, NotText> {
        match self.variables.get(OsStr::new(name)) {
            Some(value) => value.to_str().map(Some).ok_or_else(|| NotText { name: name.to_owned() }),
            None => Ok(None),
        }
    }

    /// Returns a variable's value; an empty one says nothing.
    ///
    /// # Errors
    /// [`NotText`] for a value that is not UTF-8.
    pub fn value(&self, name: &str) -> Result<Option<&str>, NotText> {
        Ok(self.variable(name)?.filter(|value| !value.is_empty()))
    }

    /// Tells whether a variable is there and not empty.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.variables.get(OsStr::new(name)).is_some_and(|value| !value.is_empty())
    }

    /// Returns the names of all variables, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().filter_map(|name| name.to_str())
    }
}

/// A variable whose value is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} is not UTF-8 text")]
pub struct NotText {
    /// The variable's name.
    pub name: String,
}

/// Lists the variables, for `--help`.
pub(super) fn help() -> String {
    VARIABLES.iter().fold("Environment:".to_owned(), |mut text, Variable { name, effect }| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {name:24} {effect}");
        text
    })
}

fn is_writable(directory: &Path) -> bool {
    directory.is_dir() && rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Where Tekton puts the results of a Task. Source: <https://tekton.dev/docs/pipelines/container-contract/>.
pub(super) const TEKTON_RESULTS: &str = "/tekton/results";
/// How many characters the token of a run has.
pub const TOKEN_LENGTH: usize = 16;

/// Makes a random name: process ids are no help where every pod's executor is number 1 and they share a volume.
fn token() -> String {
    match random::bytes::<{ TOKEN_LENGTH / 2 }>() {
        Ok(bytes) => hex::encode(bytes),
        Err(_) => std::process::id().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Environment::new(variables, "/work".into(), Moment { now: 7, token: "t".to_owned() }, true)
    }

    #[test]
    fn one_row_a_variable() {
        type Probe = fn(&Environment) -> String;
        let rows: Vec<(&str, &str, Probe, &str)> = vec![
            ("DOCKER_CONFIG", "d", |e| format!("{:?}", e.directories.docker_config), "Some(\"/work/d\")"),
            ("REGISTRY_AUTH_FILE", "f", |e| format!("{:?}", e.variable("REGISTRY_AUTH_FILE")), "Ok(Some(\"f\"))"),
            ("DOCKER_AUTH_CONFIG", "{}", |e| format!("{:?}", e.variable("DOCKER_AUTH_CONFIG")), "Ok(Some(\"{}\"))"),
            ("HOME", "/h", |e| format!("{:?}", e.directories.home), "Some(\"/h\")"),
            ("PATH", "/a:/b", |e| format!("{:?}", e.directories.programs), "[\"/a\", \"/b\"]"),
            ("KANIKO_DIR", "/k", |e| format!("{:?}", e.directories.state), "\"/k\""),
            ("YADOKARI_CACHE_KEY", "k", |e| format!("{:?}", e.value("YADOKARI_CACHE_KEY")), "Ok(Some(\"k\"))"),
            ("COSIGN_PASSWORD", "k", |e| format!("{:?}", e.variable("COSIGN_PASSWORD")), "Ok(Some(\"k\"))"),
            ("KANIKO_NO_PUSH", "true", |e| format!("{:?}", e.variable("KANIKO_NO_PUSH")), "Ok(Some(\"true\"))"),
            (
                "BUILDX_NO_DEFAULT_ATTESTATIONS",
                "1",
                |e| format!("{:?}", e.variable("BUILDX_NO_DEFAULT_ATTESTATIONS")),
                "Ok(Some(\"1\"))",
            ),
            ("KANIKO_PRINT_PLAN", "1", |e| format!("{:?}", e.variable("KANIKO_PRINT_PLAN")), "Ok(Some(\"1\"))"),
            (
                "KANIKO_REGISTRY_MIRROR",
                "m",
                |e| format!("{:?}", e.variable("KANIKO_REGISTRY_MIRROR")),
                "Ok(Some(\"m\"))",
            ),
            ("KANIKO_REGISTRY_MAP", "a=b", |e| format!("{:?}", e.variable("KANIKO_REGISTRY_MAP")), "Ok(Some(\"a=b\"))"),
            (
                "CONTAINERS_REGISTRIES_CONF",
                "f",
                |e| format!("{:?}", e.variable("CONTAINERS_REGISTRIES_CONF")),
                "Ok(Some(\"f\"))",
            ),
            ("SOURCE_DATE_EPOCH", "1", |e| format!("{:?}", e.variable("SOURCE_DATE_EPOCH")), "Ok(Some(\"1\"))"),
            ("SSL_CERT_FILE", "/c", |e| format!("{:?}", e.roots.file), "Some(\"/c\")"),
            ("SSL_CERT_DIR", "/c:/d:", |e| format!("{:?}", e.roots.directories), "[\"/c\", \"/d\"]"),
            ("HTTP_PROXY", "p", |e| format!("{:?}", e.proxies.http), "Some(\"p\")"),
            ("http_proxy", "p", |e| format!("{:?}", e.proxies.http), "Some(\"p\")"),
            ("HTTPS_PROXY", "p", |e| format!("{:?}", e.proxies.https), "Some(\"p\")"),
            ("https_proxy", "p", |e| format!("{:?}", e.proxies.https), "Some(\"p\")"),
            ("NO_PROXY", "p", |e| format!("{:?}", e.proxies.exceptions), "Some(\"p\")"),
            ("UPSTREAM_CLIENT_TYPE", "u", |e| format!("{:?}", e.variable("UPSTREAM_CLIENT_TYPE")), "Ok(Some(\"u\"))"),
            ("ARGO_TEMPLATE", "{}", |e| format!("{:?}", e.variable("ARGO_TEMPLATE")), "Ok(Some(\"{}\"))"),
            ("ARGO_PROGRESS_FILE", "p", |e| format!("{:?}", e.variable("ARGO_PROGRESS_FILE")), "Ok(Some(\"p\"))"),
            ("BUILDER_OUTPUT", "b", |e| format!("{:?}", e.variable("BUILDER_OUTPUT")), "Ok(Some(\"b\"))"),
            ("GITHUB_OUTPUT", "g", |e| format!("{:?}", e.variable("GITHUB_OUTPUT")), "Ok(Some(\"g\"))"),
            ("GITHUB_STEP_SUMMARY", "g", |e| format!("{:?}", e.variable("GITHUB_STEP_SUMMARY")), "Ok(Some(\"g\"))"),
            ("GITHUB_WORKSPACE", "g", |e| format!("{:?}", e.variable("GITHUB_WORKSPACE")), "Ok(Some(\"g\"))"),
            ("GITHUB_ACTIONS", "true", |e| format!("{:?}", e.variable("GITHUB_ACTIONS")), "Ok(Some(\"true\"))"),
            ("TF_BUILD", "True", |e| format!("{:?}", e.variable("TF_BUILD")), "Ok(Some(\"True\"))"),
            ("GITLAB_CI", "true", |e| format!("{:?}", e.variable("GITLAB_CI")), "Ok(Some(\"true\"))"),
            ("CI_PROJECT_DIR", "c", |e| format!("{:?}", e.variable("CI_PROJECT_DIR")), "Ok(Some(\"c\"))"),
            (
                "TRACEPARENT",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                |e| e.trace.map(|trace| trace.trace_id()).unwrap_or_default(),
                "0af7651916cd43dd8448eb211c80319c",
            ),
            ("NO_COLOR", "1", |e| e.terminal.colours.to_string(), "false"),
            ("FORCE_COLOR", "1", |e| e.terminal.colours.to_string(), "true"),
            ("TERM", "dumb", |e| e.terminal.capable.to_string(), "false"),
            (
                "TMPDIR",
                "/t",
                |e| format!("{:?}", is_writable(Path::new(KANIKO)) || e.directories.state == Path::new("/t")),
                "true",
            ),
            ("container", "podman", |e| e.names_container.to_string(), "true"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1", |e| e.names_container.to_string(), "true"),
        ];
        for (name, value, probe, expected) in &rows {
            assert_eq!(probe(&environment(&[(name, value)])), *expected, "{name}");
        }
        // Those of contexts and credentials only go through: see `request::access` and `request::credentials`.
        for Variable { name, .. } in VARIABLES.iter().filter(|variable| !only_goes_through(variable.name)) {
            assert!(rows.iter().any(|row| row.0 == *name), "{name} has no row");
        }
    }

    fn only_goes_through(name: &str) -> bool {
        [
            "CONTEXT_",
            "GIT_",
            "SSH_",
            "S3_",
            "STORAGE_",
            "AZURE_",
            "AWS_",
            "GOOGLE_",
            "GCE_",
            "XDG_",
            "CI_REGISTRY",
            "KANIKO_<",
            "SIGSTORE_",
            "ACTIONS_",
            "OTEL_",
            "TRACESTATE",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    }

    #[test]
    fn empty_is_not_set() {
        let environment =
            environment(&[("DOCKER_CONFIG", ""), ("HTTP_PROXY", ""), ("http_proxy", "p"), ("NO_COLOR", "")]);
        assert_eq!(environment.directories.docker_config, None);
        assert_eq!(environment.proxies.http.as_deref(), Some("p"));
        assert!(environment.terminal.colours);
    }

    #[test]
    fn no_two_runs_share_a_token() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), TOKEN_LENGTH);
    }
}
