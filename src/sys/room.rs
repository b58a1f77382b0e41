//! How much room there is on a disk.

use std::path::Path;

/// Returns how many bytes are left for this user on the file system that a path is on, or would be when it was made.
pub fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.is_dir())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
