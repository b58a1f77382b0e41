//! What RUNs may ask for, read from where the flags say: secrets, agents, the directory of cache mounts.
//!
//! *Invariant: what is read here is in memory alone, and in no message.*

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::exit::{Failure, Kind};
use crate::builder::RunServices;
use crate::cache::{CacheMounts, MountRepository};
use crate::isolation::{self, Agent, Confidential};
use crate::place;
use crate::request::{RunSettings, SecretSource};

/// The largest secret. Source: BuildKit, session/secrets.
const LARGEST_SECRET: u64 = 500 << 10;

/// Reads all of it; `repository` is where cache mounts are kept for other pods, `token` this run's
/// alone. `working` is where relative paths began.
///
/// # Errors
/// A [`Failure`] of kind usage when a secret cannot be read, or an agent is not there.
pub(super) fn open(
    settings: &RunSettings,
    repository: Option<MountRepository>,
    token: &str,
    working: &Path,
) -> Result<RunServices, Failure> {
    let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
    for (id, source) in &settings.secrets {
        let content = match source {
            SecretSource::Value(value) => value.clone().into_bytes(),
            SecretSource::File(path) => secret(id, path, working)?,
        };
        secrets.insert(id.clone(), Confidential(content));
    }
    for (id, paths) in &settings.agents {
        let is_socket = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
        let agent = match &paths[..] {
            [path] if is_socket(path) => Agent::find(path),
            keys => Agent::of_keys(keys, working),
        };
        let named = |error: isolation::Error| {
            let failure = Failure::from_error(Kind::Usage, &error);
            Failure { message: format!("--ssh {id}: {}", failure.message), ..failure }
        };
        agents.insert(id.clone(), agent.map_err(named)?);
    }
    let caches = settings.caches.directory.as_deref().map(|path| CacheMounts::new(path, token));
    Ok(RunServices::new(secrets, agents, caches, repository))
}

fn secret(id: &str, path: &Path, working: &Path) -> Result<Vec<u8>, Failure> {
    let usage = |why: &dyn std::fmt::Display| {
        Failure::new(Kind::Usage, format!("cannot read the secret {id} from {}: {why}", path.display()))
    };
    let mut content = Vec::new();
    let file = place::open_named(path, working);
    let read = file.and_then(|file| file.take(LARGEST_SECRET + 1).read_to_end(&mut content));
    read.map_err(|error| usage(&error))?;
    if content.len() as u64 > LARGEST_SECRET {
        return Err(usage(&format!("it is larger than {} KiB", LARGEST_SECRET >> 10)));
    }
    Ok(content)
}
