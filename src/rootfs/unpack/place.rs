//! Where an entry goes: its parent directory, created if it must be, and what stands in its place.
//!
//! Removes what whiteouts name and what a new entry replaces; writes no file of the layer.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use super::{Unpacker, key};
use crate::rootfs::descent::Parent;
use crate::rootfs::nest::Nest;
use crate::rootfs::{Directory, Error, FileKind, Name, Omission, Stat};

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

/// A directory that is being emptied.
struct Pruned {
    path: PathBuf,
    stat: Stat,
    names: std::vec::IntoIter<Name>,
    /// Whether something in it must stay.
    stays: bool,
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
        self.parents.forget(stat);
        self.targets.forget(stat);
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
        let directory = &parent.directory;
        let Some(stat) = directory.stat(name)? else { return Ok(()) };
        let keep_written = !self.written.is_empty();
        let mut stays = keep_written && self.written.contains(&key(parent.stat.inode, name));
        // A directory that the layer does not name may still hold what it has written.
        if stat.kind == FileKind::Directory && (keep_written || self.exclusions.touch(path)) {
            stays |= self.prune(&directory.open_directory(name)?, path, keep_written)?;
        }
        if stays { Ok(()) } else { self.remove(directory, name, &stat) }
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
        let keep_written = keep_written && !self.written.is_empty();
        let mut nest = Nest::new(directory)?;
        let mut levels = vec![self.begin_pruning(directory, path.to_owned())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                let Some(done) = levels.pop() else { break };
                let Some(above) = levels.last_mut() else { return Ok(done.stays) };
                nest.leave()?;
                let name = done.path.file_name().unwrap_or_default();
                if done.stays || keep_written && self.written.contains(&key(above.stat.inode, name)) {
                    above.stays = true;
                } else {
                    self.remove(nest.innermost(), name, &done.stat)?;
                }
                continue;
            };
            let (name, directory) = (name.as_os_str(), nest.innermost());
            let Some(stat) = directory.stat(name)? else { continue };
            let below = level.path.join(name);
            if self.exclusions.contains(&below) {
                level.stays = true;
            } else if stat.kind == FileKind::Directory && (keep_written || self.exclusions.touch(&below)) {
                // A directory that the layer does not name may still hold what it has written.
                nest.enter(name, level.stat.inode)?;
                levels.push(self.begin_pruning(nest.innermost(), below)?);
            } else if keep_written && self.written.contains(&key(level.stat.inode, name)) {
                level.stays = true;
            } else {
                self.remove(directory, name, &stat)?;
            }
        }
        Ok(false)
    }

    fn begin_pruning(&mut self, directory: &Directory, path: PathBuf) -> Result<Pruned, Error> {
        let stat = directory.stat_self()?;
        self.times.entry(stat.inode).or_insert_with(|| (path.clone(), stat.mtime));
        Ok(Pruned { path, stat, names: directory.names()?.into_iter(), stays: false })
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
        let mut missing = Vec::new();
        let mut so_far = path.to_owned();
        let mut found = None;
        while let (None, Some(name)) = (&found, so_far.file_name().map(OsStr::to_owned)) {
            missing.push(name);
            so_far.pop();
            found = self.enter_existing(&so_far)?;
        }
        for name in missing.iter().rev() {
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
