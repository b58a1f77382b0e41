//! Keeping a password: an entry of Docker's config.json is made or replaced.
//!
//! *Invariant: the file is whole at any moment, nobody but its owner may read it, and what else is in it stays.*

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use super::credentials::{normal_key, server_name};
use super::settings_key;
use crate::place::{PATIENCE, Place};

/// The largest configuration that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// A password that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The file or its directory cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What is in the file is no Docker configuration. The parser's message is left out, because it quotes the text.
    #[error("{} is no Docker configuration; nothing was written", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A helper keeps the registry's passwords, so that an entry would not be looked at.
    #[error("{} leaves {registry} to docker-credential-{helper}; log in with that", path.display())]
    Helper {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
        /// The helper.
        helper: String,
    },
}

/// Writes user and password of a registry into `config.json` of `directory`, as `docker login` does without a helper.
///
/// Nothing is asked of the registry. Returns the file.
///
/// # Errors
/// [`LoginError`]; the file is then as it was.
pub fn store(directory: &Path, registry: &str, user: &str, password: &str) -> Result<PathBuf, LoginError> {
    let path = directory.join("config.json");
    // A link leads to a file elsewhere, which is the one to replace.
    let path = fs::canonicalize(&path).unwrap_or(path);
    let failure = |action, path: &Path| {
        let path = path.to_owned();
        move |source| LoginError::File { action, path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failure("create", directory))?;
    // Two logins at a time would each forget the other's entry. Where a directory cannot be locked, one has to do.
    let turn = File::open(directory).map_err(failure("open", directory))?;
    wait_for_turn(&turn);
    let place = Place::find(&path, &[]).map_err(failure("find", &path))?;
    let text = match place.read(LARGEST).map_err(failure("read", &path))? {
        Some(bytes) => String::from_utf8(bytes).map_err(|_| LoginError::Malformed { path: path.clone() })?,
        None => String::new(),
    };
    let document = with_entry(&text, &path, registry, user, password)?;
    replace(&place, &document).map_err(failure("write", &path))?;
    Ok(path)
}

fn with_entry(text: &str, path: &Path, registry: &str, user: &str, password: &str) -> Result<Vec<u8>, LoginError> {
    let malformed = || LoginError::Malformed { path: path.to_owned() };
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut document: Map<String, Value> = serde_json::from_str(text).map_err(|_| malformed())?;
    let bare = settings_key(registry);
    let key = server_name(&bare);
    let is_same = |other: &String| normal_key(other) == normal_key(key);
    let helpers = document.get("credHelpers").and_then(Value::as_object);
    let own = helpers.and_then(|helpers| helpers.iter().find(|(name, _)| is_same(name)));
    let helper = own.map(|(_, helper)| helper).or_else(|| document.get("credsStore"));
    if let Some(helper) = helper.and_then(Value::as_str).filter(|helper| !helper.is_empty()) {
        let (path, registry, helper) = (path.to_owned(), bare.clone(), helper.to_owned());
        return Err(LoginError::Helper { path, registry, helper });
    }
    let entries = document.entry("auths").or_insert_with(|| json!({})).as_object_mut().ok_or_else(malformed)?;
    // The same registry in another spelling would be found before this entry, or instead of it.
    entries.retain(|other, _| !is_same(other));
    entries.insert(key.to_owned(), json!({ "auth": STANDARD.encode(format!("{user}:{password}")) }));
    let mut bytes = serde_json::to_vec_pretty(&document).map_err(|_| malformed())?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Waits until nobody else changes the file; who holds the lock for ever only keeps us for a while.
fn wait_for_turn(turn: &File) {
    let begin = Instant::now();
    while flock(turn, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) && begin.elapsed() < PATIENCE
    {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn replace(place: &Place, content: &[u8]) -> io::Result<()> {
    let mut draft = place.draft()?;
    draft.make_private()?;
    draft.write_all(content)?;
    draft.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::registry::{Credentials, Secret};

    fn json(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).expect("reads")).expect("JSON")
    }

    #[tokio::test]
    async fn what_is_written_is_found() {
        let base = tempfile::tempdir().expect("tempdir");
        let directory = base.path().join("new");
        let rows = [
            ("registry.example.com:5000", "registry.example.com:5000/team/app", "registry.example.com:5000"),
            ("https://docker.io", "library/debian", "https://index.docker.io/v1/"),
            ("index.docker.io", "debian", "https://index.docker.io/v1/"),
        ];
        for (number, (given, image, key)) in rows.into_iter().enumerate() {
            let password = format!("pass:{number}");
            let path = store(&directory, given, "user", &password).expect("stores");
            assert!(json(&path)["auths"][key].is_object(), "{given}");
            assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
            let text = ("config.json".to_owned(), fs::read_to_string(&path).expect("reads"));
            let credentials = Credentials::parse(&[text], &[]).expect("parses");
            let found = credentials.find(&image.parse().expect("reference")).await;
            let secret = Secret::Password { user: "user".to_owned(), password };
            assert_eq!(found.credential.expect("found").secret, secret, "{given}");
        }
        assert_eq!(fs::metadata(&directory).expect("stat").permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&directory).expect("reads").count(), 1, "a temporary file is left");
    }

    #[test]
    fn what_else_is_there_stays() {
        let base = tempfile::tempdir().expect("tempdir");
        let path = base.path().join("config.json");
        let before =
            r#"{"HttpHeaders": {"A": "b"}, "auths": {"other": {"auth": "x"}}, "credHelpers": {"h": "ecr-login"}}"#;
        fs::write(&path, before).expect("writes");
        store(base.path(), "r.io", "u", "p").expect("stores");
        let after = json(&path);
        assert_eq!((&after["HttpHeaders"]["A"], &after["auths"]["other"]["auth"]), (&"b".into(), &"x".into()));
        assert!(after["auths"]["r.io"]["auth"].is_string());
        let error = store(base.path(), "h", "u", "secret").expect_err("a helper has it").to_string();
        assert!(error.contains("docker-credential-ecr-login") && !error.contains("secret"), "{error}");
        fs::write(&path, "{\"auths\": secret}").expect("writes");
        let error = store(base.path(), "r.io", "u", "p").expect_err("malformed").to_string();
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "{\"auths\": secret}");
    }
}
