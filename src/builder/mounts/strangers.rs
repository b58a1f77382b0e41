//! Files that were not made for the isolation in use, which RUN is to see as if they were: those of a context, and what
//! other builds have left in a cache mount.
//!
//! Where the isolation has a table of owners, the files of a root file system belong to one user of the machine, whatever
//! RUN is told. That user is not root in a pod whose executor is: what only root may read, RUN's root could not.
//! *Invariant: a context is never changed.*

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::rootfs::{FileKind, Stat, Tree};

use super::super::{Error, Services};

/// Bits of a file's mode for those who are neither its owner nor of its group.
const READ: u16 = 0o4;
const ENTER: u16 = 0o1;

/// Tells whether RUN can be shown files where they are: all at and below a path are owner 0's, and can be read by whom the
/// isolation works as.
pub(super) fn can_be_shown(tree: &Tree, path: &Path, services: &Services) -> Result<bool, Error> {
    let works_as_other = services.isolation.owners().is_some_and(|owners| owners.real().is_some());
    if works_as_other && !is_open_above(&tree.path().join(path)) {
        return Ok(false);
    }
    let fits = |stat: &Stat| (stat.uid, stat.gid) == (0, 0) && !(works_as_other && is_closed(stat));
    all(tree, path, &fits)
}

/// Tells whether everybody may go to where a path is.
fn is_open_above(path: &Path) -> bool {
    let is_open =
        |directory: &Path| directory.metadata().is_ok_and(|found| found.permissions().mode() & u32::from(ENTER) != 0);
    path.ancestors().skip(1).all(is_open)
}

/// Tells whether a file is to be read by its owner, or its group, alone.
fn is_closed(stat: &Stat) -> bool {
    let needed = match stat.kind {
        FileKind::Symlink => 0,
        FileKind::Directory => READ | ENTER,
        FileKind::Regular | FileKind::Fifo | FileKind::Socket | FileKind::CharacterDevice | FileKind::BlockDevice => {
            READ
        }
    };
    stat.mode & needed != needed
}

fn all(tree: &Tree, path: &Path, fits: &dyn Fn(&Stat) -> bool) -> Result<bool, Error> {
    let Some(stat) = tree.stat(path)? else { return Ok(false) };
    if !fits(&stat) {
        return Ok(false);
    }
    if stat.kind == FileKind::Directory {
        for name in tree.read_dir(path)? {
            if !all(tree, &path.join(name.as_os_str()), fits)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Makes the files of a cache, which another build may have left there, those of whom the isolation works as; RUN is told the
/// owners and modes that they have had.
pub(super) fn take_over(cache: &Path, services: &Services) -> Result<(), Error> {
    let Some(real) = services.isolation.owners().and_then(|owners| owners.real()) else { return Ok(()) };
    let (as_it_is, as_told) = (Tree::open(cache)?, services.tree(cache)?);
    take_over_at(&as_it_is, &as_told, Path::new(""), real)
}

fn take_over_at(as_it_is: &Tree, as_told: &Tree, path: &Path, real: (u32, u32)) -> Result<(), Error> {
    // What is gone by now was another RUN's.
    let Some(stat) = as_it_is.stat(path)? else { return Ok(()) };
    let has_mode = matches!(stat.kind, FileKind::Regular | FileKind::Directory);
    if (stat.uid, stat.gid) != real && (has_mode || stat.kind == FileKind::Symlink) {
        let (directory, name) =
            if path.as_os_str().is_empty() { (as_told.directory(path)?, ".".into()) } else { as_told.parent(path)? };
        directory.set_owner(&name, stat.uid, stat.gid)?;
        if has_mode {
            directory.set_mode(&name, stat.mode)?;
        }
    }
    if stat.kind == FileKind::Directory {
        for name in as_it_is.read_dir(path)? {
            take_over_at(as_it_is, as_told, &path.join(name.as_os_str()), real)?;
        }
    }
    Ok(())
}
