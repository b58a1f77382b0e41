//! Files that a flag names and somebody else may have filled: read and written without going where a link leads.
//!
//! A checkout, a volume that steps share, or what a RUN left may hold a symbolic link, a named pipe or a device where
//! the user means a file. Which links are followed is decided here, for all. Each directory on the way is opened, one
//! after the other, and each link is judged by where it stands: in a *region* (a mount of its own, else a Git work tree,
//! else a directory that the caller names as somebody else's) or outside of all, where links are the machine's.
//!
//! | | a link of the machine's | a link in a region |
//! |---|---|---|
//! | reading | followed | followed within the region, and across no mount |
//! | writing, in the directories of the path | followed | refused |
//! | writing, at the path itself | replaced, never followed | the same |
//!
//! Knows paths and descriptors; does not know what files mean.
//!
//! *Invariant: nothing here waits for another process longer than [`PATIENCE`], and temporary files have names that
//! nobody can know before, are made new, and are gone unless they have become what they were made for.*

mod draft;
mod file;
mod folder;
mod places;
mod read;
mod refused;
mod walk;

use crate::sys::random;
use std::time::Duration;

pub use draft::Draft;
pub use file::{Place, Standing};
pub use folder::{Folder, Listed, StagedFolder};
pub use places::{Before, Places};
pub use read::{Found, Scope, open, open_anywhere, open_named, read_anywhere, read_named};
pub use refused::{Refused, refused};

/// How long it is waited for somebody to read a named pipe, or to give up a lock.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Returns a name that nobody can have known before.
fn random_name() -> std::io::Result<String> {
    Ok(format!(".yadokari-{:016x}.tmp", u64::from_ne_bytes(random::bytes()?)))
}
