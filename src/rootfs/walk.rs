//! The files of a tree, in order, with what the file system tells about them.
//!
//! Goes by descriptor from directory to directory, follows no symbolic link and opens no file. The order is
//! that of paths compared component by component: a directory comes right before all that is below it.

use std::path::{Path, PathBuf};

use super::error::MAX_DEPTH;
use super::nest::Nest;
use super::{Directory, Error, Exclusions, FileKind, Inode, Name, Stat, Tree};

/// A file as the walk meets it.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    /// Its path from the root; empty for the root itself.
    pub(super) path: &'a Path,
    /// The directory it stands in; for the root, the root.
    pub(super) parent: &'a Directory,
    /// Its name in there; none for the root.
    pub(super) name: Option<&'a Name>,
    /// What is known about it.
    pub(super) stat: &'a Stat,
}

impl Visit<'_> {
    /// Returns the name for operations on `parent`; empty for the root, which they take as the parent itself.
    pub(super) fn name(&self) -> &std::ffi::OsStr {
        self.name.map_or(std::ffi::OsStr::new(""), Name::as_os_str)
    }
}

/// Visits every file of `tree` that is not excluded, the root first.
///
/// A file that vanishes between the listing of its directory and the look at it is left out: in `container`
/// isolation other processes of the container may still run.
pub(super) fn walk(
    tree: &Tree,
    exclusions: &Exclusions,
    visit: &mut dyn FnMut(&Visit<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let root = tree.directory(Path::new(""))?;
    let stat = root.stat_self()?;
    visit(&Visit { path: Path::new(""), parent: &root, name: None, stat: &stat })?;
    walk_directory(&root, &mut PathBuf::new(), exclusions, visit)
}

/// A directory that a walk is in.
struct Level {
    inode: Inode,
    names: std::vec::IntoIter<Name>,
}

impl Level {
    fn of(directory: &Directory, inode: Inode) -> Result<Self, Error> {
        Ok(Self { inode, names: directory.names()?.into_iter() })
    }
}

/// Visits everything below `directory`, whose path from the root is `path`.
pub(super) fn walk_directory(
    directory: &Directory,
    path: &mut PathBuf,
    exclusions: &Exclusions,
    visit: &mut dyn FnMut(&Visit<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut nest = Nest::new(directory)?;
    let mut levels = vec![Level::of(directory, directory.stat_self()?.inode)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            if !levels.is_empty() {
                nest.leave()?;
                path.pop();
            }
            continue;
        };
        path.push(name.as_os_str());
        let parent = nest.innermost();
        if !exclusions.contains(path)
            && let Some(stat) = parent.stat(name.as_os_str())?
        {
            visit(&Visit { path, parent, name: Some(&name), stat: &stat })?;
            if stat.kind == FileKind::Directory {
                let outer = level.inode;
                if levels.len() > MAX_DEPTH {
                    return Err(Error::TooDeep { path: parent.path().join(name.as_os_str()) });
                }
                match nest.enter(name.as_os_str(), outer) {
                    Ok(()) => {
                        levels.push(Level::of(nest.innermost(), stat.inode)?);
                        continue;
                    }
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        path.pop();
    }
    Ok(())
}
