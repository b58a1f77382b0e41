//! Secrets planted in every source that there is: none is seen in what is said at the loudest, nor in any file that is
//! written, whether the build succeeds or fails.
//!
//! The secret is [`PASSWORD`], and `Build` itself looks for it at the end of every run of every test.

use std::path::Path;
use std::process::Command;

use crate::support::executor::{Build, Executor};
use crate::support::fronts::REFRESH;
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{PASSWORD, Registry, USER, base64};
use crate::support::scratch::Scratch;
use crate::support::signatures::ecdsa;
use crate::support::source::{one_file, source};

/// A source, and what plants the secret there for a registry's address.
type Source = (&'static str, fn(&mut Executor, &str));

/// Where credentials of registries are.
const SOURCES: &[Source] = &[
    ("config.json: auth", |executor, address| home(executor, "config.json", &auths(address, &auth()))),
    ("config.json: username and password", |executor, address| {
        let entry = format!("\"username\": \"{USER}\", \"password\": \"{PASSWORD}\"");
        home(executor, "config.json", &auths(address, &entry));
    }),
    (".dockerconfigjson", |executor, address| home(executor, ".dockerconfigjson", &auths(address, &auth()))),
    (".dockercfg", |executor, address| {
        home(executor, ".dockercfg", &format!("{{\"{address}\": {{{}}}}}", auth()));
    }),
    ("DOCKER_AUTH_CONFIG", |executor, address| {
        executor.env("DOCKER_AUTH_CONFIG", &auths(address, &auth()));
    }),
    ("REGISTRY_AUTH_FILE", |executor, address| {
        let file = executor.credential("auth.json", auths(address, &auth()));
        executor.env("REGISTRY_AUTH_FILE", &file);
    }),
    ("XDG_RUNTIME_DIR", |executor, address| {
        let file = executor.credential("run/containers/auth.json", auths(address, &auth()));
        executor.env("XDG_RUNTIME_DIR", file.trim_end_matches("/containers/auth.json"));
    }),
    ("XDG_CONFIG_HOME", |executor, address| {
        let file = executor.credential("configuration/containers/auth.json", auths(address, &auth()));
        executor.env("XDG_CONFIG_HOME", file.trim_end_matches("/containers/auth.json"));
    }),
    ("--registry-auth-file", |executor, address| {
        let file = executor.credential("auth.json", auths(address, &auth()));
        executor.add(&[&format!("--registry-auth-file={file}")]);
    }),
    ("KANIKO_<HOST>_PASSWORD", |executor, _| {
        executor.env("KANIKO_127_0_0_1_USER", USER).env("KANIKO_127_0_0_1_PASSWORD", PASSWORD);
    }),
    ("CI_REGISTRY_PASSWORD", |executor, address| {
        executor.env("CI_REGISTRY", address).env("CI_REGISTRY_USER", USER).env("CI_REGISTRY_PASSWORD", PASSWORD);
    }),
    ("a helper of a registry", |executor, address| {
        home(executor, "config.json", &format!("{{\"credHelpers\": {{\"{address}\": \"planted\"}}}}"));
        helper(executor, 0);
    }),
    ("the general helper", |executor, _| {
        home(executor, "config.json", "{\"credsStore\": \"planted\"}");
        helper(executor, 0);
    }),
    ("a helper of --credential-helpers", |executor, _| {
        helper(executor, 0);
        executor.add(&["--credential-helpers=planted"]);
    }),
];

/// What no registry is let in with here; the build fails.
const REFUSED: &[Source] = &[
    ("identitytoken", |executor, address| {
        home(executor, "config.json", &auths(address, &format!("\"identitytoken\": \"{REFRESH}\"")));
    }),
    ("registrytoken", |executor, address| {
        home(executor, "config.json", &auths(address, &format!("\"registrytoken\": \"{PASSWORD}\"")));
    }),
    ("a helper that fails and prints it all the same", |executor, _| {
        helper(executor, 1);
        executor.add(&["--credential-helpers=planted"]);
    }),
    ("a malformed config.json", |executor, address| {
        home(executor, "config.json", &auths(address, &format!("\"auth\": [\"{PASSWORD}\"]")));
    }),
    ("an entry that is no base64", |executor, address| {
        home(executor, "config.json", &auths(address, &format!("\"auth\": \"{USER}:{PASSWORD}\"")));
    }),
    ("a key that is none", |executor, address| {
        let [certificate, key] = ["cert", "key"].map(|name| executor.credential(name, PASSWORD));
        executor.add(&[&format!("--registry-client-cert={address}={certificate},{key}")]);
    }),
    ("a proxy's password", |executor, _| {
        executor.env("HTTP_PROXY", &format!("http://u:{PASSWORD}@127.0.0.1:1"));
        executor.env("HTTPS_PROXY", &format!("http://u:{PASSWORD}@127.0.0.1:1")).env("NO_PROXY", "");
        executor.add(&["--destination=registry.invalid/app:1"]);
    }),
    ("Amazon's keys", |executor, _| {
        executor
            .env("AWS_ACCESS_KEY_ID", "AK")
            .env("AWS_SECRET_ACCESS_KEY", PASSWORD)
            .env("AWS_SESSION_TOKEN", PASSWORD);
        executor.env("AWS_ENDPOINT_URL_ECR", &format!("http://u:{PASSWORD}@127.0.0.1:1/?x={PASSWORD}"));
        executor.add(&["--destination=123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1"]);
    }),
    ("Azure's secret", |executor, _| {
        executor.env("AZURE_CLIENT_ID", "c").env("AZURE_TENANT_ID", "t").env("AZURE_CLIENT_SECRET", PASSWORD);
        executor.env("AZURE_AUTHORITY_HOST", &format!("http://u:{PASSWORD}@127.0.0.1:1"));
        executor.add(&["--destination=team.azurecr.io/app:1"]);
    }),
    ("Azure's token file", |executor, _| {
        let token = executor.credential("token", PASSWORD);
        executor.env("AZURE_CLIENT_ID", "c").env("AZURE_TENANT_ID", "t").env("AZURE_FEDERATED_TOKEN_FILE", &token);
        executor.env("AZURE_AUTHORITY_HOST", "http://127.0.0.1:1").add(&["--destination=team.azurecr.io/app:1"]);
    }),
    ("Google's key", |executor, _| {
        let key = format!("{{\"type\": \"service_account\", \"private_key\": \"{PASSWORD}\"}}");
        let key = executor.credential("google.json", key);
        executor.env("GOOGLE_APPLICATION_CREDENTIALS", &key).env("HTTPS_PROXY", "http://127.0.0.1:1");
        executor.add(&["--destination=europe-docker.pkg.dev/app:1"]);
    }),
    ("a malformed file of Google's", |executor, _| {
        let key = executor.credential("google.json", format!("{{\"type\": {PASSWORD}"));
        executor.env("GOOGLE_APPLICATION_CREDENTIALS", &key).add(&["--destination=europe-docker.pkg.dev/app:1"]);
    }),
    ("GIT_TOKEN and the URL's login", |executor, _| {
        executor.env("GIT_TOKEN", PASSWORD).env("GIT_PASSWORD", PASSWORD);
        executor.add(&[&format!("--context=git://u:{PASSWORD}@127.0.0.1:1/x.git#main")]);
    }),
    ("CONTEXT_BEARER_TOKEN and a signature", |executor, _| {
        executor.env("CONTEXT_BEARER_TOKEN", PASSWORD);
        executor.add(&[&format!("--context=https://127.0.0.1:1/c.tar.gz?sig={PASSWORD}")]);
    }),
    ("CONTEXT_PASSWORD", |executor, _| {
        executor.env("CONTEXT_USERNAME", "u").env("CONTEXT_PASSWORD", PASSWORD);
        executor.add(&["--context=https://127.0.0.1:1/c.tar.gz"]);
    }),
    ("keys of an object store", |executor, _| {
        executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", PASSWORD).env("AWS_REGION", "x");
        executor.env("S3_ENDPOINT", &format!("http://u:{PASSWORD}@127.0.0.1:1")).add(&["--context=s3://b/k.tar.gz"]);
    }),
    ("Azure's storage key", |executor, _| {
        executor.env("AZURE_STORAGE_ACCESS_KEY", PASSWORD).env("AZURE_STORAGE_SERVICE_ENDPOINT", "http://127.0.0.1:1");
        executor.add(&["--context=https://a.blob.core.windows.net/b/k.tar.gz"]);
    }),
    ("Azure's signature", |executor, _| {
        executor.env("AZURE_STORAGE_SAS_TOKEN", &format!("sv=1&sig={PASSWORD}"));
        executor.env("AZURE_STORAGE_SERVICE_ENDPOINT", &format!("http://127.0.0.1:1/?{PASSWORD}"));
        executor.add(&["--context=https://a.blob.core.windows.net/b/k.tar.gz"]);
    }),
];

/// Words with a login where none belongs, and where one does; `@@` is `u:PASSWORD@127.0.0.1:1`.
const WORDS: &[&str] = &[
    "--destination=@@/app",
    "--destination=https://@@/app",
    "--registry-mirror=@@",
    "--registry-mirror=http://@@/x",
    "--registry-map=docker.io=@@/x",
    "--registry-map=https://@@=m.example",
    "--insecure-registry=@@",
    "--skip-tls-verify-registry=https://@@",
    "--registry-certificate=@@=/none",
    "--registry-client-cert=@@=/none",
    "--registries-conf=/none/@@",
    "--registry-auth-file=https://@@",
    "--cache-repo=@@/app",
    "--cache-from=@@/app",
    "--cache-from=https://@@/app",
    "--context=s3://@@/x.tar.gz",
    "--context=http://@@/x.tar.gz",
    "--context=dir://@@/x",
    "--context=ssh://@@/x.git",
    "--dockerfile=https://@@/Dockerfile",
    "--build-context=a=@@",
    "--build-context=a=docker-image://@@/x",
    "--output=type=registry,name=@@/x",
    "--digest-file=https://@@/x?token=hermit-crab-shell",
    "--metadata-file=https://@@/x",
    "--secret=id=a,value=hermit-crab-shell",
    "--git=branch=https://@@/x,x",
];

/// Dockerfiles with a login in them.
const DOCKERFILES: &[&str] = &[
    "FROM @@/x\n",
    "FROM scratch\nADD https://@@/x?sig=hermit-crab-shell /x\n",
    "FROM scratch\nADD https://@@/x.git /x\n",
    "FROM scratch\nCOPY --from=@@/x / /\n",
];

fn auth() -> String {
    format!("\"auth\": \"{}\"", base64(&format!("{USER}:{PASSWORD}")))
}

fn auths(address: &str, entry: &str) -> String {
    format!("{{\"auths\": {{\"{address}\": {{{entry}}}}}}}")
}

/// Puts a file into the directory of Docker's configuration.
fn home(executor: &mut Executor, name: &str, text: &str) {
    let file = executor.credential(name, text);
    executor.env("DOCKER_CONFIG", Path::new(&file).parent().and_then(Path::to_str).expect("a directory"));
}

/// Puts a helper onto the path that ends with this code.
fn helper(executor: &mut Executor, code: i32) {
    let text =
        format!("#!/bin/sh\nread -r _; echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'; exit {code}\n");
    let file = executor.credential("docker-credential-planted", text);
    process::run(Command::new("chmod").args(["755", &file]), SHORT).success();
    let directory = Path::new(&file).parent().and_then(Path::to_str).expect("a directory");
    executor.env("PATH", &format!("{directory}:/usr/bin:/bin"));
}

/// A build that says all it can, and writes it down.
fn loud(dockerfile: &Path, number: usize) -> Executor {
    let mut executor = Executor::new(Isolation::Namespace, dockerfile);
    executor.env("AWS_EC2_METADATA_DISABLED", "true").add(&["--verbosity=trace", "--timeout=3s"]);
    executor.add(&[["--log-format=text", "--log-format=json"][number % 2]]);
    executor.output("--metadata-file", "metadata.json");
    executor
}

#[test]
fn no_credential_of_a_registry_is_shown() {
    if !Isolation::Namespace.allowed("secrets: registries") {
        return;
    }
    let (image, good, plain) = (one_file(), Registry::secured(), Registry::plain());
    let wants = Fault::Status(401, "WWW-Authenticate: Basic realm=\"r\"\r\n");
    let rules =
        [Rule::new("GET", "/v2/", wants, usize::MAX), Rule::new("POST", "/v2/", Fault::Status(403, ""), usize::MAX)];
    let bad = Proxy::start(&plain.address, &rules);
    let push = |number: usize, (name, plant): &Source, address: &str| -> Build {
        let mut executor = loud(image.path(), number);
        let ca = executor.credential("ca.crt", good.file("ca.crt"));
        executor.add(&[&format!("--registry-certificate={}={ca}", good.address)]);
        executor.add(&[&format!("--insecure-registry={}", bad.address)]);
        executor.add(&[&format!("--destination={address}/app:{number}")]);
        plant(&mut executor, address);
        println!("{name}");
        executor.output("--image-ref-file", "ref").run()
    };
    for (number, source) in SOURCES.iter().enumerate() {
        push(number, source, &good.address).expect(0);
        push(number, source, &bad.address).expect(77);
    }
    for (number, source) in REFUSED.iter().enumerate() {
        let build = push(number, source, &bad.address);
        assert_ne!(build.code, 0, "{}: {}", source.0, build.stderr);
        assert!(build.result("metadata.json").is_some_and(|text| text.contains("failed")), "{}", source.0);
    }
}

#[test]
fn no_login_that_a_flag_or_a_dockerfile_names_is_shown() {
    if !Isolation::Namespace.allowed("secrets: words") {
        return;
    }
    let login = format!("u:{PASSWORD}@127.0.0.1:1");
    let image = one_file();
    for (number, word) in WORDS.iter().enumerate() {
        let mut executor = loud(image.path(), number);
        executor.add(&["--no-push", &format!("--cache={}", word.contains("-repo")), &word.replace("@@", &login)]);
        let build = executor.run();
        assert_ne!(build.code, 0, "{word}: {}", build.stderr);
        assert_ne!(build.code, 70, "{word}: {}", build.stderr);
    }
    for (number, text) in DOCKERFILES.iter().enumerate() {
        let source = source(&text.replace("@@", &login), &[]);
        let build = loud(source.path(), number).add(&["--no-push"]).run();
        assert_ne!(build.code, 0, "{text}: {}", build.stderr);
    }
}

#[test]
fn no_secret_of_a_run_is_shown() {
    if !Isolation::Namespace.allowed("secrets: RUN") {
        return;
    }
    for (number, (end, code)) in [("true", 0), ("exit 3", 3)].into_iter().enumerate() {
        let text = format!(
            "FROM $BASE\nRUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B \
             cat /run/secrets/a >/dev/null && test -n \"$B\" && {end}\n"
        );
        let source = source(&text, &[]);
        let mut executor = loud(source.path(), number);
        let file = executor.credential("a", PASSWORD);
        executor.env("B", PASSWORD).add(&[
            &format!("--secret=id=a,src={file}"),
            "--secret=id=b,env=B",
            "--timeout=60s",
        ]);
        executor.only_layout().run().expect(code);
    }
}

/// Where a build writes what it did, beside the metadata file.
const WRITTEN: [(&str, &str); 4] = [
    ("--attestations-dir", "said"),
    ("--sbom-path", "sbom.json"),
    ("--trace-file", "trace.json"),
    ("--report", "report.html"),
];
const STATUS: &str = "Package: base-files\nStatus: install ok installed\nVersion: 12\nArchitecture: all\n\n";

/// Returns a document as it is, or what is within a bundle.
fn opened(text: &str) -> String {
    use base64::Engine as _;
    let document: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let Some(payload) = document["dsseEnvelope"]["payload"].as_str() else { return text.to_owned() };
    let bytes = base64::engine::general_purpose::STANDARD.decode(payload).expect("base64");
    String::from_utf8(bytes).expect("a statement is text")
}

#[test]
fn no_secret_is_in_what_is_said_of_an_image() {
    if !Isolation::Namespace.allowed("secrets: attestations") {
        return;
    }
    let (registry, scratch) = (Registry::secured(), Scratch::new("keys"));
    let (private, _) = ecdsa(&scratch, "signer");
    let key = std::fs::read_to_string(&private).expect("it is made");
    let body = key.lines().nth(1).expect("a PEM file has lines");
    for (number, (form, place, end, code)) in
        [("spdx", "referrer", "true", 0), ("cyclonedx", "index", "true", 0), ("spdx", "referrer", "exit 3", 3)]
            .into_iter()
            .enumerate()
    {
        let text = format!(
            "FROM $BASE\nCOPY status /var/lib/dpkg/status\nARG API_TOKEN\n\
             RUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B \
             cat /run/secrets/a >/dev/null && test -n \"$B\" && \
             printf 'Package: brought\\nStatus: install ok installed\\nArchitecture: all\\nVersion: 2\\n\\n' >> \
             /var/lib/dpkg/status && {end}\n"
        );
        let source = source(&text, &[("status", STATUS)]);
        let mut executor = loud(source.path(), number);
        let file = executor.credential("a", PASSWORD);
        let key = executor.credential("signer.key", &key);
        executor.push_secured(&registry, &format!("app:{number}"), PASSWORD).env("B", PASSWORD);
        executor.env("HTTPS_PROXY", &format!("http://u:{PASSWORD}@127.0.0.1:1")).env("NO_PROXY", "127.0.0.1");
        executor.env("GIT_TOKEN", PASSWORD).env("AWS_SECRET_ACCESS_KEY", PASSWORD);
        executor.add(&[&format!("--secret=id=a,src={file}"), "--secret=id=b,env=B", "--timeout=60s"]);
        executor.add(&[&format!("--sbom={form}"), "--provenance=max", &format!("--attestation-format={place}")]);
        executor.add(&[&format!("--build-arg=API_TOKEN={PASSWORD}"), &format!("--sign-key={key}")]);
        for (flag, name) in WRITTEN {
            executor.output(flag, name);
        }
        // `Build` looks through all that is written here.
        let build = executor.run().expect(code);
        let written = build.results();
        for name in ["metadata.json", "trace.json", "report.html"] {
            assert!(written.iter().any(|one| one == name), "{name} {written:?}");
        }
        if code == 0 {
            // Statements that refer to the image are signed; those in an index are not.
            let end = if place == "index" { "json" } else { "sigstore.json" };
            let said = [format!("said/provenance.{end}"), format!("said/sbom.{form}.{end}"), "sbom.json".to_owned()];
            let all = said.map(|name| {
                build.result(&name).unwrap_or_else(|| panic!("{number} {name}: {written:?}\n{}", build.stderr))
            });
            // In a bundle the statement is base64.
            let plain = all.map(|text| opened(&text));
            assert!(plain[0].contains("API_TOKEN"), "the argument is named: {}", plain[0]);
            assert!(plain[1].contains("base-files") && plain[2].contains("base-files"));
            assert!(plain[2].contains("brought") && plain[2].contains("API_TOKEN=***"), "{}", plain[2]);
            assert!(plain.iter().all(|text| !text.contains(PASSWORD)), "{plain:?}");
        }
        for name in written {
            assert!(!build.result(&name).unwrap_or_default().contains(body), "{name} shows the key");
        }
        assert!(!build.stderr.contains(body), "the log shows the key");
    }
    // Image, statements and signatures.
    let argument = format!("API_TOKEN={PASSWORD}");
    let texts = registry.texts().into_iter().map(|text| match text.contains("\"rootfs\"") {
        // As Docker does, an image's history names the build arguments of RUN.
        true => text.replace(&argument, ""),
        false => opened(&text),
    });
    let texts: Vec<String> = texts.collect();
    for kind in ["https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom", "dsse-envelope"] {
        assert!(texts.iter().any(|text| text.contains(kind)), "{kind}");
    }
    let login = base64(&format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, &base64(PASSWORD), &login, body] {
        let shown = texts.iter().find(|text| text.contains(secret));
        assert_eq!(shown, None, "the registry has a secret");
    }
}
