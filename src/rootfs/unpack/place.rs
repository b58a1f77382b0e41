//! Where an entry goes: its parent directory, created if it must be, and what stands in its place.
//!
//! Removes what whiteouts name and what a new entry replaces; writes no file of the layer.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use super::{Unpacker, key};
use crate::rootfs::error::MAX_DEPTH;
use crate::rootfs::tree::Parent;
use crate::rootfs::{Directory, Error, FileKind, Omission, Stat};

/// As many as the kernel follows in one lookup.
const MOST_LINKS: usize = 40;

/// The directory and name of an entry.
pub(super) struct Place<'a> {
    pub(super) parent: Rc<Parent>,
    pub(super) name: &'a OsStr,
    pub(super) path: &'a Path,
}

impl Place<'_> {
    pub(super) fn directory(&self) -> &Directory {
        &self.parent.directory
    }

    pub(super) fn is(&self, other: &Place<'_>) -> bool {
        self.parent.stat.inode == other.parent.stat.inode && self.name == other.name
    }
}

impl Unpacker<'_> {
    /// Tells whether a name in a directory is excluded, by where the directory really is: links of the image may
    /// lead to a mount, where a layer must not write.
    pub(super) fn is_excluded(&self, parent: &Parent, name: &OsStr) -> bool {
        self.exclusions.contains(&parent.real.join(name))
    }

    /// Removes what stands at a place; false, after emptying it, for a directory that holds what is excluded.
    pub(super) fn make_room(&mut self, place: &Place<'_>) -> Result<bool, Error> {
        let Some(stat) = place.directory().stat(place.name)? else { return Ok(true) };
        if stat.kind == FileKind::Directory
            && self.exclusions.touch(place.path)
            && self.prune(&place.directory().open_directory(place.name)?, place.path, false)?
        {
            self.warnings.add(Omission::InTheWay, place.path);
            self.kept.push(place.path.to_owned());
            return Ok(false);
        }
        self.remove(place.directory(), place.name, &stat)?;
        Ok(true)
    }

    fn remove(&mut self, directory: &Directory, name: &OsStr, stat: &Stat) -> Result<(), Error> {
        if matches!(stat.kind, FileKind::Directory | FileKind::Symlink) {
            self.parents.clear();
        }
        directory.remove_tree(name).map(drop)
    }

    /// Removes what lower layers have at `path`.
    pub(super) fn whiteout(&mut self, path: &Path) -> Result<(), Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        if self.exclusions.contains(path) {
            return Ok(());
        }
        let Some(parent) = self.enter_existing(parent)? else { return Ok(()) };
        if self.is_excluded(&parent, name) {
            return Ok(());
        }
        self.prune_one(&parent.directory, &parent.stat, name, path, true).map(drop)
    }

    /// Removes what lower layers have in `directory`.
    pub(super) fn opaque(&mut self, directory: &Path) -> Result<(), Error> {
        if self.exclusions.contains(directory) {
            return Ok(());
        }
        match self.enter_existing(directory)? {
            Some(parent) if self.exclusions.contains(&parent.real) => Ok(()),
            Some(parent) => self.prune(&parent.directory, directory, true).map(drop),
            None => Ok(()),
        }
    }

    /// Removes all in a directory that is neither excluded nor, if `keep_written`, of this layer; true if
    /// something stays.
    fn prune(&mut self, directory: &Directory, path: &Path, keep_written: bool) -> Result<bool, Error> {
        if path.components().count() > MAX_DEPTH {
            return Err(Error::TooDeep { path: path.to_owned() });
        }
        let stat = directory.stat_self()?;
        self.times.entry(stat.inode).or_insert_with(|| (path.to_owned(), stat.mtime));
        let mut stays = false;
        for name in directory.names()? {
            let below = path.join(name.as_os_str());
            stays |= self.prune_one(directory, &stat, name.as_os_str(), &below, keep_written)?;
        }
        Ok(stays)
    }

    fn prune_one(
        &mut self,
        directory: &Directory,
        directory_stat: &Stat,
        name: &OsStr,
        path: &Path,
        keep_written: bool,
    ) -> Result<bool, Error> {
        let Some(stat) = directory.stat(name)? else { return Ok(false) };
        if self.exclusions.contains(path) {
            return Ok(true);
        }
        let keep_written = keep_written && !self.written.is_empty();
        let mut stays = keep_written && self.written.contains(&key(directory_stat.inode, name));
        // A directory that the layer does not name may still hold what it has written.
        if stat.kind == FileKind::Directory && (keep_written || self.exclusions.touch(path)) {
            stays |= self.prune(&directory.open_directory(name)?, path, keep_written)?;
        }
        if !stays {
            self.remove(directory, name, &stat)?;
        }
        Ok(stays)
    }

    /// Opens the directory at `path`, creating what is missing of it, and notes its time.
    pub(super) fn enter(&mut self, path: &Path) -> Result<Option<Rc<Parent>>, Error> {
        match self.enter_existing(path)? {
            Some(parent) => Ok(Some(parent)),
            None => self.create_parent(path),
        }
    }

    pub(super) fn enter_existing(&mut self, path: &Path) -> Result<Option<Rc<Parent>>, Error> {
        let parent = match self.parents.directory(path) {
            Err(error) if error.is_not_found() => return Ok(None),
            result => result?,
        };
        let stat = &parent.stat;
        self.times.entry(stat.inode).or_insert_with(|| (path.to_owned(), stat.mtime));
        Ok(Some(parent))
    }

    /// Creates what is missing of a directory's path; none where that would be in what is excluded.
    fn create_parent(&mut self, path: &Path) -> Result<Option<Rc<Parent>>, Error> {
        let mut found = self.enter_existing(Path::new(""))?;
        let mut so_far = PathBuf::new();
        for name in path {
            so_far.push(name);
            let Some(parent) = found else { return Ok(None) };
            found = match self.enter_existing(&so_far)? {
                Some(below) => Some(below),
                None => self.create_one_parent(&Place { parent, name, path: &so_far })?,
            };
        }
        Ok(found)
    }

    fn create_one_parent(&mut self, place: &Place<'_>) -> Result<Option<Rc<Parent>>, Error> {
        if self.is_excluded(&place.parent, place.name) {
            return Ok(None);
        }
        let directory = place.directory();
        match directory.stat(place.name)? {
            Some(stat) if stat.kind == FileKind::Symlink => {
                // The link's target is missing. Circles of links were an error before; but the kernel may see
                // another way than the text of the links, so that these are counted.
                if self.links_followed > MOST_LINKS {
                    return Err(Error::call("openat2", directory.path(), place.name, Errno::LOOP));
                }
                self.links_followed += 1;
                let from = place.path.parent().unwrap_or(Path::new(""));
                self.enter(&joined(from, &directory.read_link(place.name)?))?;
                self.links_followed -= 1;
                return self.enter_existing(place.path);
            }
            Some(_) => drop(self.make_room(place)?),
            None => {}
        }
        directory.create_directory(place.name, 0o755)?;
        let owned = directory.set_owner(place.name, 0, 0);
        self.tolerate(owned, Omission::Owner, place.path)?;
        directory.set_mode(place.name, 0o755)?;
        self.mark(place);
        self.enter_existing(place.path)
    }
}

/// Returns where a link in the directory `from` leads, as a path from the root.
fn joined(from: &Path, target: &Path) -> PathBuf {
    let mut path = if target.is_absolute() { PathBuf::new() } else { from.to_owned() };
    for part in target.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    path
}
