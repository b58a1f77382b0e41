//! What of the cache a RUN could reach: told, or refused, before anything is built.
//!
//! Only where RUN shares the executor's own root (`container` isolation); elsewhere it sees nothing of the cache.
//! *Invariant: a RUN never sees the key of the cache in a file.*

use std::path::Path;

use rustix::fs::{Access, access};

use crate::isolation::{Capacity, Isolation};
use crate::plan::{Action, BuildPlan};
use crate::progress::{Event, Reporter};
use crate::request::{BuildRequest, SecretSource};

use super::Error;

/// Refuses a key that RUN could read, and warns of a cache that it could write.
///
/// # Errors
/// [`Error::Unable`], at the first RUN.
pub(super) fn check(
    plan: &BuildPlan,
    request: &BuildRequest,
    isolation: &dyn Isolation,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    let first = plan.steps().find(|step| matches!(step.action, Action::Run(_)));
    let Some(step) = first.filter(|_| isolation.holds() == Capacity::One) else { return Ok(()) };
    match (&request.cache.key, &request.cache.directory) {
        (Some(SecretSource::File(_)), _) => {
            let what = "a key of the cache in a file, where RUN can read it,".to_owned();
            let hint =
                "give it in the variable YADOKARI_CACHE_KEY, or use namespace, mediated or chroot isolation".to_owned();
            let unable = Error::Unable { what, isolation: isolation.abilities().isolation, hint };
            return Err(unable.at(step.span, None));
        }
        (None, Some(directory)) if is_writable(directory) => {
            let message = format!(
                "RUN can write to the cache in {}: whoever writes a Dockerfile that is built here decides what later \
                 builds take from it; a key (YADOKARI_CACHE_KEY) seals what is kept, or keep the cache in a registry",
                directory.display()
            );
            reporter.report(Event::Warning { rule: "CacheReachable", line: None, message: &message });
        }
        _ => {}
    }
    Ok(())
}

/// Tells whether a directory, or the one that it would be made in, is writable.
fn is_writable(directory: &Path) -> bool {
    let existing = directory.ancestors().find(|path| path.is_dir());
    existing.is_some_and(|path| access(path, Access::WRITE_OK).is_ok())
}
