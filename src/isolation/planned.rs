//! What is mounted for one RUN, and where: the same in every isolation that mounts.

use std::fs;
use std::path::Path;

use super::directories::files;
use super::protocol::{Planned, What};
use super::stubs::Stubs;
use super::{Error, HostFiles, Mount, MountSource, Process};

/// Puts the mount points into the root file system, and says what goes on them.
pub(super) fn plan(
    files_of_host: &HostFiles,
    stubs: &mut Stubs,
    process: &Process,
    scratch: &Path,
) -> Result<Vec<Planned>, Error> {
    let mut planned = Vec::new();
    let devices = What::Dev { shared_memory: process.resources.shared_memory };
    for (path, what) in [("/proc", What::Proc), ("/sys", What::Sys), ("/dev", devices)] {
        planned.push(Planned { target: stubs.directory(Path::new(path))?, what });
    }
    for (path, content) in files_of_host.with(&process.hosts) {
        // A copy, which RUN may write to as it could in a container; the mount ends with the RUN.
        let source = scratch.join(path.trim_start_matches('/').replace('/', "-"));
        fs::write(&source, content).map_err(files("writing", &source))?;
        let target = stubs.file(Path::new(path))?;
        planned.push(Planned { target, what: What::Bind { source, read_only: false } });
    }
    for mount in &process.mounts {
        let Mount { target, what } = mount;
        planned.push(match what {
            MountSource::Bind { source, read_only } | MountSource::Shared { source, read_only } => {
                let metadata = fs::metadata(source).map_err(files("mounting", source))?;
                let target = if metadata.is_dir() { stubs.directory(target)? } else { stubs.file(target)? };
                Planned { target, what: What::Bind { source: source.clone(), read_only: *read_only } }
            }
            MountSource::Tmpfs { size } => {
                Planned { target: stubs.directory(target)?, what: What::Tmpfs { size: *size } }
            }
            MountSource::File { content, access } => {
                let (content, access) = (content.clone(), *access);
                Planned { target: stubs.file(target)?, what: What::File { content, access } }
            }
        });
    }
    Ok(planned)
}
