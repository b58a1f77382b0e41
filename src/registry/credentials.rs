//! Who we are to each registry: Docker's config.json in all its shapes, and credential helpers.
//!
//! Knows the file format, how its keys match a repository, and the order among its parts. Knows neither
//! where the files are (the command line says) nor how a registry is asked (`auth` does that).
//!
//! *Invariant: files are read in [`Credentials::load`]; helpers run at most once for each registry, and
//! [`Credentials::prefetch`] runs them before `/` becomes another image's root. No secret is ever in a
//! message or in a `Debug` text.*

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::helper::{self, Answer};
use crate::oci::{DEFAULT_REGISTRY, Reference};

/// How Docker's files and helpers call Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What opens a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// User name and password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token, to be changed into an access token.
    IdentityToken(String),
    /// A bearer token for the registry itself.
    RegistryToken(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user}, ***)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(***)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(***)"),
        }
    }
}

/// A secret and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The secret.
    pub secret: Secret,
    /// For messages: `from /root/.docker/config.json, key registry.example.com`.
    pub source: String,
}

/// The outcome of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The credential; none means to ask anonymously.
    pub credential: Option<Credential>,
    /// What went wrong on the way, for the message if the registry then refuses.
    pub notes: Vec<String>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is there and cannot be read.
    #[error("cannot read registry credentials from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is no Docker configuration. The parser's message is left out, because it quotes the text.
    #[error("registry credentials in {name} are malformed at line {line}, column {column}")]
    Malformed {
        /// The file, or the variable.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

/// Everything we know about registries' credentials; cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    documents: Vec<Document>,
    helper_directories: Vec<PathBuf>,
    answers: Mutex<HashMap<(String, String), Answer>>,
}

/// One config.json.
struct Document {
    name: String,
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Wire {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.documents.iter().map(|document| &document.name).collect();
        f.debug_tuple("Credentials").field(&names).finish()
    }
}

impl Credentials {
    /// Knows nothing: every registry is asked anonymously.
    pub fn none() -> Self {
        Self::from_documents(Vec::new(), &[])
    }

    /// Reads `files`, the first of which wins where several know a registry; a file that is not there is
    /// passed over. Helpers are searched in `helper_directories` (`PATH`) when they are needed.
    ///
    /// # Errors
    /// [`CredentialsError`] for a file that is there and cannot be used.
    pub fn load(files: &[PathBuf], helper_directories: &[PathBuf]) -> Result<Self, CredentialsError> {
        let mut texts = Vec::new();
        for path in files {
            match std::fs::read_to_string(path) {
                Ok(text) => texts.push((path.display().to_string(), text)),
                Err(source) if is_absent(&source) => {}
                Err(source) => return Err(CredentialsError::Read { path: path.clone(), source }),
            }
        }
        Self::parse(&texts, helper_directories)
    }

    /// Reads config.json texts given with a name for messages, as `DOCKER_AUTH_CONFIG` brings one.
    ///
    /// # Errors
    /// [`CredentialsError::Malformed`].
    pub fn parse(texts: &[(String, String)], helper_directories: &[PathBuf]) -> Result<Self, CredentialsError> {
        let documents = texts.iter().map(|(name, text)| Document::parse(name, text)).collect::<Result<_, _>>()?;
        Ok(Self::from_documents(documents, helper_directories))
    }

    /// Finds what to use for a repository: in each file first the registry's own helper, then the entry with
    /// the longest matching key, then the general store; the first file that knows the registry wins.
    pub async fn find(&self, reference: &Reference) -> Found {
        let mut notes = Vec::new();
        for document in &self.0.documents {
            let helper = best_key(document.helpers.keys(), reference).map(|key| (&document.helpers[key], key.as_str()));
            if let Some((helper, key)) = helper
                && let Some(credential) = self.ask(&document.name, helper, key, &mut notes).await
            {
                return Found { credential: Some(credential), notes };
            }
            let entries = document.auths.iter().filter(|(_, entry)| entry.is_filled()).map(|(key, _)| key);
            if let Some(key) = best_key(entries, reference) {
                match document.auths[key].secret() {
                    Some(secret) => {
                        let source = format!("from {}, key {key}", document.name);
                        return Found { credential: Some(Credential { secret, source }), notes };
                    }
                    None => notes.push(format!("the entry {key} of {} is not base64 of user:password", document.name)),
                }
            }
            let key = server_name(&reference.registry);
            if let Some(store) = &document.store
                && let Some(credential) = self.ask(&document.name, store, key, &mut notes).await
            {
                return Found { credential: Some(credential), notes };
            }
        }
        if notes.is_empty() {
            notes.push(self.nothing_found(reference));
        }
        Found { credential: None, notes }
    }

    /// Runs the helpers of these repositories now, so that no one runs later.
    pub async fn prefetch(&self, references: &[Reference]) {
        for reference in references {
            self.find(reference).await;
        }
    }

    fn from_documents(documents: Vec<Document>, helper_directories: &[PathBuf]) -> Self {
        let answers = Mutex::new(HashMap::new());
        Self(Arc::new(Inner { documents, helper_directories: helper_directories.to_vec(), answers }))
    }

    async fn ask(&self, document: &str, helper: &str, key: &str, notes: &mut Vec<String>) -> Option<Credential> {
        let server = if normal_key(key).is_hub() { HUB_KEY } else { key };
        let question = (helper.to_owned(), server.to_owned());
        // The lock is held while the helper runs: a second question waits for the first one's answer.
        let mut answers = self.0.answers.lock().await;
        let answer = match answers.get(&question) {
            Some(answer) => answer.clone(),
            None => {
                let answer = helper::get(&self.0.helper_directories, helper, server).await;
                answers.insert(question, answer.clone());
                answer
            }
        };
        match answer {
            Answer::Secret(secret) => {
                let source = format!("from docker-credential-{helper} for {server} (named in {document})");
                Some(Credential { secret, source })
            }
            Answer::Unknown => None,
            Answer::Failed(reason) => {
                notes.push(format!("docker-credential-{helper} for {server} (named in {document}) failed: {reason}"));
                None
            }
        }
    }

    fn nothing_found(&self, reference: &Reference) -> String {
        let names: Vec<&str> = self.0.documents.iter().map(|document| document.name.as_str()).collect();
        if names.is_empty() {
            return format!("no credentials for {}, no Docker config.json was found", reference.registry);
        }
        format!("no credentials for {} in {}", reference.registry, names.join(", "))
    }
}

impl Document {
    fn parse(name: &str, text: &str) -> Result<Self, CredentialsError> {
        let wire: Wire = if text.trim().is_empty() {
            Wire::default()
        } else {
            serde_json::from_str(text).map_err(|e| CredentialsError::Malformed {
                name: name.to_owned(),
                line: e.line(),
                column: e.column(),
            })?
        };
        Ok(Self {
            name: name.to_owned(),
            auths: wire.auths.unwrap_or_default(),
            helpers: wire.helpers.unwrap_or_default(),
            store: wire.store.filter(|store| !store.is_empty()),
        })
    }
}

impl Entry {
    /// Tells whether there is anything in it: with a store, Docker leaves empty entries behind.
    fn is_filled(&self) -> bool {
        [&self.auth, &self.username, &self.identitytoken, &self.registrytoken]
            .into_iter()
            .any(|field| field.as_ref().is_some_and(|text| !text.is_empty()))
    }

    fn secret(&self) -> Option<Secret> {
        let filled = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.registrytoken) {
            return Some(Secret::RegistryToken(token));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Some(Secret::IdentityToken(token));
        }
        if let Some(user) = filled(&self.username) {
            return Some(Secret::Password { user, password: self.password.clone().unwrap_or_default() });
        }
        decode(self.auth.as_deref()?)
    }
}

/// Reads `base64(user:password)`, padded or not; Docker also leaves NUL bytes at the end.
fn decode(auth: &str) -> Option<Secret> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    let password = password.trim_end_matches('\0');
    Some(Secret::Password { user: user.to_owned(), password: password.to_owned() })
}

/// A key of config.json: a registry, and perhaps the beginning of a repository's path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    registry: &'a str,
    path: &'a str,
}

impl Key<'_> {
    fn is_hub(&self) -> bool {
        self.registry == DEFAULT_REGISTRY
    }

    /// Returns how many characters of path match, or none when the key is not for this repository.
    fn matches(&self, reference: &Reference) -> Option<usize> {
        let within = |path: &str| {
            reference.repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_for = self.registry == reference.registry && (self.path.is_empty() || within(self.path));
        is_for.then_some(self.path.len())
    }
}

/// Brings a key to its normal form: with a scheme only the host counts, as in Docker; without one a path
/// restricts the key to repositories below it, as in Podman. `v1` and `v2` are no path.
pub(super) fn normal_key(key: &str) -> Key<'_> {
    let key = key.trim();
    let (bare, has_scheme) = match key.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (key, false),
    };
    let (registry, path) = bare.split_once('/').unwrap_or((bare, ""));
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_REGISTRY,
        other => other,
    };
    let path = path.trim_end_matches('/');
    let path = if has_scheme || matches!(path, "v1" | "v2") { "" } else { path };
    Key { registry, path }
}

/// Returns the key that matches with the longest path.
fn best_key<'a>(keys: impl Iterator<Item = &'a String>, reference: &Reference) -> Option<&'a String> {
    let matching = keys.filter_map(|key| Some((normal_key(key).matches(reference)?, key)));
    matching.max_by_key(|(length, _)| *length).map(|(_, key)| key)
}

pub(super) fn server_name(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { HUB_KEY } else { registry }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Finds a program in directories, as `PATH` is searched.
pub(super) fn find_program(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory: &PathBuf| Path::join(directory, name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Credentials {
        Credentials::parse(&[("config.json".to_owned(), text.to_owned())], &[]).expect("credentials")
    }

    fn reference(text: &str) -> Reference {
        text.parse().expect(text)
    }

    async fn user(credentials: &Credentials, of: &str) -> Option<String> {
        match credentials.find(&reference(of)).await.credential?.secret {
            Secret::Password { user, password } => Some(format!("{user}:{password}")),
            Secret::IdentityToken(token) => Some(format!("identity {token}")),
            Secret::RegistryToken(token) => Some(format!("registry {token}")),
        }
    }

    #[tokio::test]
    async fn the_shapes_of_an_entry() {
        for (entry, expected) in [
            (r#"{"auth":"dTpw"}"#, Some("u:p")),
            (r#"{"auth":"dTpwOng"}"#, Some("u:p:x")),
            (r#"{"auth":"dTpwAAA="}"#, Some("u:p")),
            (r#"{"username":"a","password":"b","auth":"dTpw"}"#, Some("a:b")),
            (r#"{"auth":"dTpw","identitytoken":"i"}"#, Some("identity i")),
            (r#"{"registrytoken":"r","identitytoken":"i"}"#, Some("registry r")),
            (r#"{"auth":"dTpw","identitytoken":"","email":"x@y"}"#, Some("u:p")),
            (r#"{"auth":"!"}"#, None),
            (r"{}", None),
        ] {
            let credentials = parse(&format!(r#"{{"auths":{{"r.example":{entry}}},"HttpHeaders":{{}}}}"#));
            assert_eq!(user(&credentials, "r.example/app").await.as_deref(), expected, "{entry}");
        }
    }

    #[tokio::test]
    async fn keys_match_their_registry_and_the_longest_path_wins() {
        let entry = |user: &str| format!(r#"{{"username":"{user}"}}"#);
        let auths = [
            "https://index.docker.io/v1/",
            "docker.io/team",
            "r.example",
            "r.example/team",
            "r.example/team/app",
            "https://s.example/v2/",
            "http://t.example/ignored/path",
            "u.example:5000",
            "v.example/only/this/",
        ];
        let auths: Vec<String> = auths.iter().map(|key| format!("\"{key}\":{}", entry(key))).collect();
        let credentials = parse(&format!(r#"{{"auths":{{{}}}}}"#, auths.join(",")));
        for (of, key) in [
            ("busybox", Some("https://index.docker.io/v1/")),
            ("docker.io/team/app", Some("docker.io/team")),
            ("r.example/other", Some("r.example")),
            ("r.example/team/x", Some("r.example/team")),
            ("r.example/team/app/y", Some("r.example/team/app")),
            ("r.example/teamwork", Some("r.example")),
            ("s.example/a", Some("https://s.example/v2/")),
            ("t.example/a", Some("http://t.example/ignored/path")),
            ("u.example:5000/a", Some("u.example:5000")),
            ("u.example/a", None),
            ("v.example/only/this", Some("v.example/only/this/")),
            ("v.example/only", None),
            ("w.example/a", None),
        ] {
            assert_eq!(user(&credentials, of).await, key.map(|key| format!("{key}:")), "{of}");
        }
    }

    #[tokio::test]
    async fn the_first_file_that_knows_a_registry_wins() {
        let text = |key: &str, user: &str| format!(r#"{{"auths":{{"{key}":{{"username":"{user}","password":"x"}}}}}}"#);
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("1.json"), text("a.example", "first")).expect("write");
        std::fs::write(path("2.json"), "").expect("write");
        std::fs::write(path("3.json"), text("a.example/app", "third")).expect("write");
        std::fs::write(path("4.json"), text("b.example", "fourth")).expect("write");
        let files: Vec<PathBuf> = ["1.json", "none/x", "1.json/x", "2.json", "3.json", "4.json"].map(path).into();
        let credentials = Credentials::load(&files, &[]).expect("loaded");
        assert_eq!(user(&credentials, "a.example/app").await.as_deref(), Some("first:x"));
        assert_eq!(user(&credentials, "b.example/app").await.as_deref(), Some("fourth:x"));
        let notes = credentials.find(&reference("c.example/x")).await.notes.join(";");
        assert!(notes.contains("c.example") && notes.contains("4.json"), "{notes}");
    }

    #[test]
    fn a_malformed_file_is_named_and_not_quoted() {
        for text in ["{\n \"auths\": \"hunter2\"}", "{\"auths\": {\"x\": {\"auth\": {\"hunter2\": 1}}}}", "hunter2"] {
            let error = Credentials::parse(&[("/x/config.json".to_owned(), text.to_owned())], &[]).expect_err(text);
            let text = format!("{error} {error:?}");
            assert!(text.contains("/x/config.json") && !text.contains("hunter2"), "{text}");
        }
    }

    fn helper(directory: &Path, name: &str, script: &str) {
        helper::tests::write_program(&directory.join(format!("docker-credential-{name}")), script);
    }

    #[tokio::test]
    async fn helpers_are_asked_once_and_their_troubles_are_noted() {
        let directory = tempfile::tempdir().expect("directory");
        let log = directory.path().join("log");
        let path = |name: &str| log.with_extension(name).display().to_string();
        helper(
            directory.path(),
            "good",
            &format!(
                r#"read s; echo "$1 $s" >> {}; echo '{{"ServerURL":"x","Username":"u","Secret":"p"}}'"#,
                path("good")
            ),
        );
        helper(directory.path(), "token", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
        helper(directory.path(), "unknown", "echo credentials not found in native keychain; exit 1");
        helper(directory.path(), "broken", "echo cannot reach the metadata server; exit 1");
        let text = r#"{"credHelpers":{"g.example":"good","https://index.docker.io/v1/":"good","t.example":"token",
            "u.example":"unknown","b.example":"broken","m.example":"missing","e.example":"../evil"},
            "auths":{"u.example":{"username":"fallback"}},"credsStore":"unknown"}"#;
        let texts = [("config.json".to_owned(), text.to_owned())];
        let credentials =
            Credentials::parse(&texts, &[PathBuf::from("/nonexistent"), directory.path().to_owned()]).expect("parsed");
        credentials.prefetch(&[reference("g.example/a"), reference("busybox")]).await;
        assert_eq!(user(&credentials, "g.example/b").await.as_deref(), Some("u:p"));
        assert_eq!(user(&credentials, "busybox").await.as_deref(), Some("u:p"));
        assert_eq!(user(&credentials, "t.example/a").await.as_deref(), Some("identity t"));
        assert_eq!(user(&credentials, "u.example/a").await.as_deref(), Some("fallback:"));
        let asked = std::fs::read_to_string(path("good")).expect("log");
        assert_eq!(asked, "get g.example\nget https://index.docker.io/v1/\n");
        for (of, note) in [
            ("b.example/a", "cannot reach the metadata server"),
            ("m.example/a", "no such program"),
            ("e.example/a", "no such program"),
        ] {
            let found = credentials.find(&reference(of)).await;
            assert!(found.credential.is_none() && found.notes.join(";").contains(note), "{of}: {found:?}");
        }
    }
}
