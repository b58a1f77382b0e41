//! What an overlay's upper directory says about changes.
//!
//! The upper directory holds every file that was opened for writing or changed since the mount, a character
//! device 0/0 for each removed one of the lower directory, and a mark on directories that hide what is below. It
//! is taken as a list of where to look: what is there is then compared through the mount itself, by the same rules as in a plain
//! directory. So a copy that changed nothing is no change, and attributes that only the overlay needs are not
//! seen.
//!
//! Source: <https://docs.kernel.org/filesystems/overlayfs.html>

use std::path::{Path, PathBuf};

use super::changes::Differ;
use super::walk::{Visit, walk_directory};
use super::{Directory, Error, Exclusions, FileKind, Name, Tree};

/// Marks of a directory that came from elsewhere by rename: what it has of the lower directory is not what stood
/// under its name before. `user.` is what mounts with the option `userxattr` use. (Opaque directories need no
/// such care: the mount lists nothing in them that is not in the upper directory.)
const REDIRECTS: [&str; 2] = ["trusted.overlay.redirect", "user.overlay.redirect"];

/// Shows `differ` all that may have changed in `merged`, the mounted overlay, whose upper directory is at `upper`.
pub(super) fn look_through(
    upper: &Path,
    merged: &Tree,
    exclusions: &Exclusions,
    differ: &mut Differ<'_>,
) -> Result<(), Error> {
    let upper = Tree::open(upper)?.directory(Path::new(""))?;
    let merged = merged.directory(Path::new(""))?;
    let stat = merged.stat_self()?;
    differ.visit(&Visit { path: Path::new(""), parent: &merged, name: None, stat: &stat })?;
    look_into(&upper, &merged, &mut PathBuf::new(), exclusions, differ)
}

fn look_into(
    upper: &Directory,
    merged: &Directory,
    path: &mut PathBuf,
    exclusions: &Exclusions,
    differ: &mut Differ<'_>,
) -> Result<(), Error> {
    let in_upper = upper.names()?;
    // Only the mount tells what is gone: of a file that was in the upper directory alone, nothing is left there.
    for name in merged.names()? {
        path.push(name.as_os_str());
        if !exclusions.contains(path) {
            differ.remove_before(path);
            if in_upper.binary_search(&name).is_ok() {
                look_at(upper, merged, &name, path, exclusions, differ)?;
            } else {
                differ.keep(path);
            }
        }
        path.pop();
    }
    differ.remove(path);
    Ok(())
}

fn look_at(
    upper: &Directory,
    merged: &Directory,
    name: &Name,
    path: &mut PathBuf,
    exclusions: &Exclusions,
    differ: &mut Differ<'_>,
) -> Result<(), Error> {
    let Some(stat) = merged.stat(name.as_os_str())? else { return Ok(()) };
    let was_directory = differ.was_directory(path);
    differ.visit(&Visit { path, parent: merged, name: Some(name), stat: &stat })?;
    if stat.kind == FileKind::Directory {
        let below = merged.open_directory(name.as_os_str())?;
        if was_directory && !is_redirected(upper, name)? {
            return look_into(&upper.open_directory(name.as_os_str())?, &below, path, exclusions, differ);
        }
        walk_directory(&below, path, exclusions, &mut |visit| differ.visit(visit))?;
    }
    differ.remove(path);
    Ok(())
}

fn is_redirected(upper: &Directory, name: &Name) -> Result<bool, Error> {
    for mark in REDIRECTS {
        if upper.xattr(name.as_os_str(), mark)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
