//! What an overlay's upper directory says about changes.
//!
//! The upper directory holds every file that was opened for writing or changed since the mount, a character
//! device 0/0 for each removed one, and a mark on directories that hide what is below. It is taken as a list of
//! where to look: what is there is then compared through the mount itself, by the same rules as in a plain
//! directory. So a copy that changed nothing is no change, and attributes that only the overlay needs are not
//! seen.
//!
//! Source: <https://docs.kernel.org/filesystems/overlayfs.html>

use std::path::{Path, PathBuf};

use super::changes::Differ;
use super::walk::{Visit, walk_directory};
use super::{Directory, Error, Exclusions, FileKind, Stat, Tree};

/// Marks of a directory whose content is not that of the same directory below: opaque ones hide it, redirected
/// ones came from elsewhere by rename. `user.` is what mounts with the option `userxattr` use.
const OWN_CONTENT: [&str; 4] =
    ["trusted.overlay.opaque", "user.overlay.opaque", "trusted.overlay.redirect", "user.overlay.redirect"];

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
    for name in upper.names()? {
        path.push(name.as_os_str());
        differ.keep_until(path);
        if !exclusions.contains(path)
            && let Some(in_upper) = upper.stat(name.as_os_str())?
        {
            if is_whiteout(&in_upper) {
                differ.remove(path);
            } else if let Some(stat) = merged.stat(name.as_os_str())? {
                let was_directory = differ.was_directory(path);
                differ.visit(&Visit { path, parent: merged, name: Some(&name), stat: &stat })?;
                if stat.kind == FileKind::Directory {
                    let below = merged.open_directory(name.as_os_str())?;
                    if was_directory && !has_own_content(upper, &name)? {
                        look_into(&upper.open_directory(name.as_os_str())?, &below, path, exclusions, differ)?;
                    } else {
                        walk_directory(&below, path, exclusions, &mut |visit| differ.visit(visit))?;
                        differ.remove(path);
                    }
                } else {
                    differ.remove(path);
                }
            }
        }
        path.pop();
    }
    differ.keep_below(path);
    Ok(())
}

fn is_whiteout(stat: &Stat) -> bool {
    stat.kind == FileKind::CharacterDevice && stat.device_numbers() == (0, 0)
}

fn has_own_content(upper: &Directory, name: &super::Name) -> Result<bool, Error> {
    for mark in OWN_CONTENT {
        if upper.xattr(name.as_os_str(), mark)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
