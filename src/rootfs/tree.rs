//! A directory of which nothing is reachable but what is below it.
//!
//! Knows descriptors and names; knows neither layers nor what in the tree is an image's.
//!
//! *Invariant: no path given here, and no symbolic link in the tree, leads outside of it.*

use crate::sys::room;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::directory::{Beside, open_for_reading, statx};
use super::resolve::{MAX_LINKS, Resolver};
use super::{Descent, Directory, Error, FileKind, Name, Nodes, Owners, Stat, Xattrs};

/// A directory by descriptor; every lookup is confined to it.
///
/// Paths are relative to it; an absolute path means the same as without its first slash.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    path: PathBuf,
    resolver: Resolver,
    beside: Beside,
}

/// A device as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Whether it is a block device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Tree {
    /// Opens the directory at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())
            .map_err(|errno| Error::call("openat", path, "", errno))?;
        let resolver = Resolver::probe(root.as_fd());
        Ok(Self { root, path: path.to_owned(), resolver, beside: Beside::Nothing })
    }

    /// Returns the same tree; devices that the kernel makes none of stand in it as files.
    #[must_use]
    pub fn with_nodes(self, nodes: Arc<Nodes>) -> Self {
        Self { beside: Beside::Nodes(nodes), ..self }
    }

    /// Returns the same tree, whose files' owners are in a table.
    #[must_use]
    pub fn with_owners(self, owners: Arc<Owners>) -> Self {
        Self { beside: Beside::Owners(owners), ..self }
    }

    /// Makes a tree of an open directory; `path` is for messages.
    pub fn of(root: OwnedFd, path: &Path) -> Result<Self, Error> {
        let resolver = Resolver::probe(root.as_fd());
        Ok(Self { root, path: path.to_owned(), resolver, beside: Beside::Nothing })
    }

    /// Opens the same directory once more.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let root =
            self.root.try_clone().map_err(|source| Error::Call { call: "dup", path: self.path.clone(), source })?;
        Ok(Self { root, path: self.path.clone(), resolver: self.resolver, beside: self.beside.clone() })
    }

    /// Returns a tree whose root is the directory `path` of this one.
    pub fn below(&self, path: &Path) -> Result<Self, Error> {
        let root = self.open_at(path, OFlags::PATH | OFlags::DIRECTORY)?;
        let beside = self.beside.clone();
        Ok(Self { root, path: self.path.join(relative(path)), resolver: self.resolver, beside })
    }

    /// Returns how many bytes are left on the disk that it is on, for this user.
    pub fn free_space(&self) -> Option<u64> {
        room::free(self.path())
    }

    /// Returns where the tree was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory, following symbolic links.
    pub fn directory(&self, path: &Path) -> Result<Directory, Error> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Directory::new(fd, self.path.join(relative(path)), self.beside.clone()))
    }

    /// Opens the directory in which the last component of `path` stands, and returns that component.
    pub fn parent(&self, path: &Path) -> Result<(Directory, OsString), Error> {
        let (parent, name) = split(path)?;
        Ok((self.directory(parent)?, name.to_owned()))
    }

    /// Returns what is known about `path`, a symbolic link itself where it is one; none where nothing is there.
    pub fn stat(&self, path: &Path) -> Result<Option<Stat>, Error> {
        self.stat_at(path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    /// Returns what is known about the file that `path` leads to; none where nothing is there.
    pub fn stat_following(&self, path: &Path) -> Result<Option<Stat>, Error> {
        self.stat_at(path, OFlags::PATH)
    }

    /// Opens a file for reading, following symbolic links.
    pub fn open_file(&self, path: &Path) -> Result<File, Error> {
        open_for_reading(|flags| self.resolver.open(self.root.as_fd(), path, flags))
            .map_err(|errno| self.error("openat2", path)(errno))
    }

    /// Reads a file of at most `limit` bytes, following symbolic links.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = self.open_file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| Error::Call { call: "read", path: self.path.join(relative(path)), source })?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLong { path: self.path.join(relative(path)), limit });
        }
        Ok(bytes)
    }

    /// Returns the names in a directory, sorted, following symbolic links.
    pub fn read_dir(&self, path: &Path) -> Result<Vec<Name>, Error> {
        self.directory(path)?.names()
    }

    /// Returns the text of a symbolic link.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, Error> {
        let (parent, name) = self.parent(path)?;
        parent.read_link(&name)
    }

    /// Returns the extended attributes of a file, of a symbolic link itself where it is one.
    pub fn xattrs(&self, path: &Path) -> Result<Xattrs, Error> {
        if relative(path).as_os_str().is_empty() {
            return self.directory(path)?.xattrs(OsStr::new(""));
        }
        let (parent, name) = self.parent(path)?;
        parent.xattrs(&name)
    }

    /// Creates a directory and its missing parents, mode `mode` less the umask, and returns the created ones,
    /// outermost first. A symbolic link on the way is followed where it leads to a directory.
    pub fn create_directories(&self, path: &Path, mode: u16) -> Result<Vec<PathBuf>, Error> {
        let mut created = Vec::new();
        let mut so_far = PathBuf::new();
        let mut descent = Descent::new(self);
        let mut parent = descent.directory(&so_far)?;
        for part in relative(path).components() {
            so_far.push(part);
            parent = match descent.directory(&so_far) {
                Err(error) if error.is_not_found() => {
                    parent.directory.create_directory(part.as_os_str(), mode)?;
                    created.push(so_far.clone());
                    descent.directory(&so_far)?
                }
                found => found?,
            };
        }
        Ok(created)
    }

    /// Removes a file, or a directory with all below it; true where it existed.
    pub fn remove(&self, path: &Path) -> Result<bool, Error> {
        match self.parent(path) {
            Ok((parent, name)) => parent.remove_tree(&name),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Follows all symbolic links of a path, and `..`, within the tree; none where something on it is missing.
    ///
    /// # Errors
    /// When a directory on the way cannot be read, or there are more than 40 links.
    pub fn real_path(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let mut real = PathBuf::new();
        let mut at = self.directory(&real)?;
        let mut pending: Vec<OsString> = names(path).rev().collect();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                real.pop();
                at = self.directory(&real)?;
                continue;
            }
            match at.stat(&name) {
                Ok(Some(stat)) if stat.kind == FileKind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(self.error("openat2", path)(Errno::LOOP));
                    }
                    let target = at.read_link(&name)?;
                    if target.is_absolute() {
                        real.clear();
                        at = self.directory(&real)?;
                    }
                    pending.extend(names(&target).rev());
                }
                Ok(Some(stat)) => {
                    real.push(&name);
                    if stat.kind == FileKind::Directory {
                        at = at.open_directory(&name)?;
                    } else if pending.iter().any(|name| name != "..") {
                        return Ok(None);
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(real))
    }

    /// Returns the same tree with this way of looking paths up.
    #[cfg(test)]
    pub(super) fn with_resolver(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    fn stat_at(&self, path: &Path, flags: OFlags) -> Result<Option<Stat>, Error> {
        let fd = match self.resolver.open(self.root.as_fd(), path, flags) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(self.error("openat2", path)(errno)),
        };
        let stat = statx(fd.as_fd(), OsStr::new(""), AtFlags::EMPTY_PATH).map_err(self.error("statx", path))?;
        Ok(Some(self.beside.tell(stat, fd.as_fd(), OsStr::new(""))))
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        self.resolver.open(self.root.as_fd(), path, flags).map_err(self.error("openat2", path))
    }

    fn error(&self, call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::call(call, &self.path, relative(path), errno)
    }
}

/// Returns `path` without its leading slash.
pub(super) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Returns the names that a path consists of, `..` among them.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Splits a path into its parent and its last component.
fn split(path: &Path) -> Result<(&Path, &OsStr), Error> {
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => Ok((parent, name)),
        _ => Err(Error::NoName { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Builds the tree that the table below speaks of, beside a directory that nothing may reach.
    fn sample() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(root.join("a/b/file"), "inside").unwrap();
        for (name, target) in [
            ("a/up", "../a/b"),
            ("a/root", "/"),
            ("a/far", "../../../../../../outside"),
            ("absolute", "/a/b/file"),
            ("loop", "loop"),
            ("ping", "pong"),
            ("pong", "ping"),
            ("dangling", "nowhere"),
            ("chain", "a/up/../b/file"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        symlink(&outside, root.join("out")).unwrap();
        let tree = Tree::open(&root).unwrap();
        (directory, tree)
    }

    #[test]
    fn lookups_stay_in_the_tree_with_either_resolver() {
        let (_directory, tree) = sample();
        let mut tree = tree;
        for resolver in [Resolver::Openat2, Resolver::Walk] {
            tree = tree.with_resolver(resolver);
            for (path, expected) in [
                ("a/b/file", Ok("inside")),
                ("/a/b/file", Ok("inside")),
                ("a//b/./file", Ok("inside")),
                ("a/up/file", Ok("inside")),
                ("a/root/a/b/file", Ok("inside")),
                ("../../a/b/file", Ok("inside")),
                ("a/b/c/../../../../../a/b/file", Ok("inside")),
                ("absolute", Ok("inside")),
                ("chain", Ok("inside")),
                ("loop", Err(Errno::LOOP)),
                ("ping/x", Err(Errno::LOOP)),
                ("dangling", Err(Errno::NOENT)),
                ("a/b/file/x", Err(Errno::NOTDIR)),
                ("a/b/file/..", Err(Errno::NOTDIR)),
                ("out/secret", Err(Errno::NOENT)),
                ("a/far/secret", Err(Errno::NOENT)),
                ("../outside/secret", Err(Errno::NOENT)),
            ] {
                let found = tree.read(Path::new(path), 100);
                match (found, expected) {
                    (Ok(found), Ok(expected)) => assert_eq!(found, expected.as_bytes(), "{path} with {resolver:?}"),
                    (Err(error), Err(errno)) => {
                        assert_eq!(error.errno(), Some(errno.raw_os_error()), "{path} with {resolver:?}");
                    }
                    (found, expected) => panic!("{path} with {resolver:?}: {found:?}, expected {expected:?}"),
                }
            }
            let long = "a/".repeat(3000);
            let error = tree.directory(Path::new(&long)).unwrap_err();
            assert_eq!(error.errno(), Some(Errno::NAMETOOLONG.raw_os_error()), "{resolver:?}");
        }
    }

    #[test]
    fn a_link_is_told_from_what_it_leads_to() {
        let (_directory, tree) = sample();
        let mut tree = tree;
        for resolver in [Resolver::Openat2, Resolver::Walk] {
            tree = tree.with_resolver(resolver);
            let kind = |found: Option<Stat>| found.map(|stat| stat.kind);
            let path = Path::new("absolute");
            assert_eq!(kind(tree.stat(path).unwrap()), Some(crate::rootfs::FileKind::Symlink));
            assert_eq!(kind(tree.stat_following(path).unwrap()), Some(crate::rootfs::FileKind::Regular));
            assert_eq!(tree.read_link(path).unwrap(), Path::new("/a/b/file"));
            for missing in ["dangling/x", "nothing", "a/b/file/x"] {
                assert_eq!(tree.stat(Path::new(missing)).unwrap(), None, "{missing}");
            }
            assert_eq!(tree.stat_following(Path::new("dangling")).unwrap(), None);
        }
    }

    #[test]
    fn directories_are_created_and_removed_below_links() {
        for resolver in [Resolver::Openat2, Resolver::Walk] {
            let (directory, tree) = sample();
            let tree = tree.with_resolver(resolver);
            let created = tree.create_directories(Path::new("/a/up/new/er"), 0o755).unwrap();
            assert_eq!(created, [Path::new("a/up/new"), Path::new("a/up/new/er")]);
            assert!(directory.path().join("root/a/b/new/er").is_dir());
            assert_eq!(tree.create_directories(Path::new("a/up/new"), 0o755).unwrap(), Vec::<PathBuf>::new());
            assert!(tree.remove(Path::new("a/up/new")).unwrap());
            assert!(!tree.remove(Path::new("a/up/new")).unwrap());
            assert!(tree.remove(Path::new("out")).unwrap(), "the link itself");
            assert!(tree.create_directories(Path::new("dangling/x"), 0o755).is_err());
            assert!(matches!(tree.remove(Path::new("a/..")), Err(Error::NoName { .. })));
            assert!(directory.path().join("outside/secret").exists());
            let names: Vec<_> = tree.read_dir(Path::new("a/up")).unwrap();
            assert_eq!(names.iter().map(Name::as_os_str).collect::<Vec<_>>(), ["c", "file"]);
        }
    }

    #[test]
    fn real_paths_have_no_links() {
        for resolver in [Resolver::Openat2, Resolver::Walk] {
            let (_directory, tree) = sample();
            let tree = tree.with_resolver(resolver);
            for (path, expected) in [
                ("chain", Some("a/b/file")),
                ("/a/up/../root/a/up", Some("a/b")),
                ("a/root", Some("")),
                ("dangling", None),
                ("out/secret", None),
                ("a/b/nothing", None),
            ] {
                assert_eq!(tree.real_path(Path::new(path)).unwrap().as_deref(), expected.map(Path::new), "{path}");
            }
            let error = tree.real_path(Path::new("ping/x")).unwrap_err();
            assert_eq!(error.errno(), Some(Errno::LOOP.raw_os_error()));
        }
    }

    #[test]
    fn a_file_longer_than_asked_for_is_refused() {
        let (_directory, tree) = sample();
        assert_eq!(tree.read(Path::new("a/b/file"), 6).unwrap(), b"inside");
        assert!(matches!(tree.read(Path::new("a/b/file"), 5), Err(Error::TooLong { limit: 5, .. })));
    }
}
