//! Mounts where nothing can be mounted: things are moved in place before a RUN, and taken away after it.
//!
//! What the kernel would enforce (read-only, the size of a tmpfs) does not hold here; what RUN writes is lost all
//! the same, but for what is meant to last.

use std::path::Path;

use super::stubs::Stubs;
use super::{Abilities, Access, Error, Mount, MountSource, Mounting, Network, Process};

/// The mode of a file system in memory.
const TMPFS_MODE: u32 = 0o1777;

/// Where a script really is that a link in `/dev` leads to.
const SCRIPTS: &str = "/run/.yadokari-scripts";

/// Puts the mounts of a process in place; what was there is kept in `aside`, on the same file system.
pub(super) fn place(stubs: &mut Stubs, mounts: &[Mount], aside: &Path, abilities: Abilities) -> Result<(), Error> {
    for (number, Mount { target, what }) in mounts.iter().enumerate() {
        let kept = aside.join(format!("kept-{number}"));
        match what {
            MountSource::Bind { source, .. } | MountSource::Shared { source, .. } => {
                stubs.lend(target, source, &kept)?;
            }
            MountSource::Tmpfs { .. } => stubs.empty_directory(target, TMPFS_MODE, &kept)?,
            MountSource::File { content, access } if is_barred(target, *access, abilities) => {
                let file = Path::new(SCRIPTS).join(number.to_string());
                stubs.replace(&file, &content.0, *access, &aside.join(format!("kept-{number}-file")))?;
                stubs.link(target, &file, &kept)?;
            }
            MountSource::File { content, access } => stubs.replace(target, &content.0, *access, &kept)?,
        }
    }
    Ok(())
}

/// Tells whether nothing can be executed at the target: containers have a `/dev` that is mounted so.
fn is_barred(target: &Path, access: Access, abilities: Abilities) -> bool {
    abilities.mounting == Mounting::MovedBeside && access.mode & 0o111 != 0 && target.starts_with("/dev")
}

/// Refuses what only namespaces of RUN's own can give.
pub(super) fn refuse_namespaces(process: &Process, abilities: Abilities) -> Result<(), Error> {
    let what = match (process.network, process.resources.shared_memory) {
        (Network::None, _) => "RUN without a network",
        (Network::Host, Some(_)) => "a /dev/shm of RUN's own",
        (Network::Host, None) => return Ok(()),
    };
    Err(Error::Unsupported { what, isolation: abilities.isolation, able: "namespace" })
}
