//! What RUNs may ask for, read from where the flags say: secrets, agents, the directory of cache mounts.
//!
//! *Invariant: what is read here is in memory alone, and in no message.*

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::exit::{Failure, Kind};
use crate::build::RunServices;
use crate::cache::{CacheMounts, MountRepository};
use crate::isolation::{Agent, Confidential};
use crate::request::{RunSettings, SecretSource};

/// The largest secret. Source: BuildKit, session/secrets.
const LARGEST_SECRET: u64 = 500 << 10;

/// Reads all of it; `repository` is where cache mounts are kept for other pods.
///
/// # Errors
/// A [`Failure`] of kind usage when a secret cannot be read, or an agent is not there.
pub(super) fn open(settings: &RunSettings, repository: Option<MountRepository>) -> Result<RunServices, Failure> {
    let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
    for (id, source) in &settings.secrets {
        let content = match source {
            SecretSource::Value(value) => value.clone().into_bytes(),
            SecretSource::File(path) => secret(id, path)?,
        };
        secrets.insert(id.clone(), Confidential(content));
    }
    for (id, path) in &settings.agents {
        let found = Agent::find(path).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
            let message = format!("--ssh {id}: {} is not the socket of an agent", path.display());
            let hint = "start ssh-agent, give it the key with ssh-add, and pass its socket";
            return Err(Failure::new(Kind::Usage, message).hint(hint));
        }
        agents.insert(id.clone(), found);
    }
    let caches = settings.caches.directory.as_deref().map(CacheMounts::new);
    Ok(RunServices::new(secrets, agents, caches, repository))
}

fn secret(id: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let usage = |why: &dyn std::fmt::Display| {
        Failure::new(Kind::Usage, format!("cannot read the secret {id} from {}: {why}", path.display()))
    };
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_SECRET + 1).read_to_end(&mut content));
    read.map_err(|error| usage(&error))?;
    if content.len() as u64 > LARGEST_SECRET {
        return Err(usage(&format!("it is larger than {} KiB", LARGEST_SECRET >> 10)));
    }
    Ok(content)
}
