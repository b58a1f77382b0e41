//! A fetched context on its way to the disk: files, directories and links below one directory of ours.
//!
//! Knows names and limits; knows neither archives nor Git.
//!
//! *Invariant: nothing outside of the directory is touched: no name leads out of it, and no file is written through a
//! symbolic link. Owners are ours, whatever the source says.*

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Error;
use crate::image::Timestamp;
use crate::rootfs::{Device, FileKind, HoleWriter, Nodes, Tree};

/// What an entry counts beside its content, so that a flood of empty files meets the limit too.
const ENTRY_COST: u64 = 512;
const BUFFER: usize = 128 << 10;

/// A context in the making.
pub(super) struct Writer {
    tree: Tree,
    limit: u64,
    used: u64,
    /// Paths that are directories for sure, and no links on the way to them.
    directories: HashSet<PathBuf>,
    /// What directories get at the end, when nothing is written in them any more.
    pending: Vec<(PathBuf, u16, Timestamp)>,
    buffer: Vec<u8>,
    /// When the archive was changed last, if its server says so.
    pub(super) modified: Option<Timestamp>,
}

/// The permission bits and the time of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) mtime: Timestamp,
}

impl Writer {
    /// Makes the directory `path`, which is emptied where it exists, to take at most `limit` bytes.
    pub(super) fn create(path: &Path, limit: u64) -> Result<Self, Error> {
        let failed = |source| Error::State { doing: "make", path: path.to_owned(), source };
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(path).map_err(failed)?;
        Self::existing(path, limit)
    }

    /// Writes into a directory that is there.
    pub(super) fn existing(path: &Path, limit: u64) -> Result<Self, Error> {
        let directories = HashSet::from([PathBuf::new()]);
        let buffer = vec![0; BUFFER];
        let tree = Tree::open(path)?.with_nodes(Arc::new(Nodes::default()));
        Ok(Self { tree, limit, used: 0, directories, pending: Vec::new(), buffer, modified: None })
    }

    /// Puts a directory there, or gives one that is there these attributes.
    pub(super) fn directory(&mut self, path: &Path, attributes: Attributes) -> Result<(), Error> {
        self.count(path, ENTRY_COST)?;
        self.make_directories(path, attributes.mtime)?;
        self.pending.push((path.to_owned(), permissions(attributes.mode), attributes.mtime));
        Ok(())
    }

    /// Puts a regular file there.
    pub(super) fn file(&mut self, path: &Path, attributes: Attributes, content: &mut dyn Read) -> Result<(), Error> {
        self.count(path, ENTRY_COST)?;
        let (directory, name) = self.place(path, attributes.mtime)?;
        let file = directory.create_file(&name)?;
        self.copy(path, &file, content)?;
        directory.set_mode(&name, permissions(attributes.mode))?;
        directory.set_mtime(&name, attributes.mtime)?;
        Ok(())
    }

    /// Puts a symbolic link there; its target is text.
    pub(super) fn symlink(&mut self, path: &Path, target: &Path, mtime: Timestamp) -> Result<(), Error> {
        self.count(path, ENTRY_COST)?;
        let (directory, name) = self.place(path, mtime)?;
        directory.create_symlink(&name, target)?;
        directory.set_mtime(&name, mtime)?;
        Ok(())
    }

    /// Puts a named pipe there.
    pub(super) fn fifo(&mut self, path: &Path, attributes: Attributes) -> Result<(), Error> {
        self.count(path, ENTRY_COST)?;
        let (directory, name) = self.place(path, attributes.mtime)?;
        directory.create_fifo(&name)?;
        directory.set_mode(&name, permissions(attributes.mode))?;
        directory.set_mtime(&name, attributes.mtime)?;
        Ok(())
    }

    /// Puts a device there; where that is not allowed, an empty file that the tree knows for one.
    pub(super) fn device(&mut self, path: &Path, attributes: Attributes, device: Device) -> Result<(), Error> {
        self.count(path, ENTRY_COST)?;
        let (directory, name) = self.place(path, attributes.mtime)?;
        directory.create_device(&name, device)?;
        directory.set_mode(&name, permissions(attributes.mode))?;
        directory.set_mtime(&name, attributes.mtime)?;
        Ok(())
    }

    /// Returns where a path leads, but for its last name: links on the way are followed, and lead nowhere out of the
    /// context.
    ///
    /// Only for sources whose links are meant to be followed: what is written by the path as it stands never goes through
    /// one.
    pub(super) fn inside(&self, path: &Path) -> Result<PathBuf, Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.to_owned()) };
        if self.directories.contains(parent) {
            return Ok(path.to_owned());
        }
        let refused = |reason| Error::Entry { path: path.to_owned(), reason };
        let mut found = PathBuf::new();
        for part in parent.components() {
            found.push(part);
            if self.tree.stat(&found)?.is_some_and(|stat| stat.kind == FileKind::Symlink) {
                let real =
                    self.tree.real_path(&found).map_err(|_| refused("it is below links that lead in a circle"))?;
                found = real.ok_or_else(|| refused("it is below a link that leads to nothing in the context"))?;
            }
        }
        Ok(found.join(name))
    }

    /// Puts a second name of a file there, and gives the file these attributes, as other unpackers do.
    pub(super) fn hard_link(&mut self, path: &Path, target: &Path, attributes: Attributes) -> Result<(), Error> {
        self.count(path, ENTRY_COST)?;
        self.check_parents(target)?;
        let refused = |reason| Error::Entry { path: path.to_owned(), reason };
        let kind = match self.tree.stat(target)? {
            Some(stat) if stat.kind == FileKind::Directory => return Err(refused("it is a hard link to a directory")),
            Some(stat) => stat.kind,
            None => return Err(refused("it is a hard link to a file that is not in the context")),
        };
        if path == target {
            return Err(refused("it is a hard link to itself"));
        }
        let (directory, name) = self.place(path, attributes.mtime)?;
        let (from, old) = self.tree.parent(target)?;
        directory.create_link(&name, &from, &old)?;
        if kind != FileKind::Symlink {
            directory.set_mode(&name, permissions(attributes.mode))?;
            directory.set_mtime(&name, attributes.mtime)?;
        }
        Ok(())
    }

    /// Sets what directories get, and returns the tree.
    pub(super) fn finish(mut self) -> Result<Tree, Error> {
        // Deepest first: a directory that cannot be searched any more hides what is below it.
        let mut pending = std::mem::take(&mut self.pending);
        pending.reverse();
        let mut done = HashSet::new();
        pending.retain(|(path, ..)| done.insert(path.clone()));
        pending.sort_by(|(a, ..), (b, ..)| b.components().count().cmp(&a.components().count()).then(a.cmp(b)));
        for (path, mode, mtime) in pending {
            let itself = std::ffi::OsStr::new(".");
            match self.tree.stat(&path)? {
                Some(stat) if stat.kind == FileKind::Directory => {
                    let directory = self.tree.directory(&path)?;
                    directory.set_mtime(itself, mtime)?;
                    directory.set_mode(itself, mode)?;
                }
                // Something else has taken its place.
                Some(_) | None => {}
            }
        }
        Ok(self.tree)
    }

    /// Opens the directory that `path` stands in, and removes what is at `path`.
    fn place(
        &mut self,
        path: &Path,
        mtime: Timestamp,
    ) -> Result<(crate::rootfs::Directory, std::ffi::OsString), Error> {
        if path.as_os_str().is_empty() {
            return Err(Error::Entry { path: path.to_owned(), reason: "it stands for the root of the context" });
        }
        self.make_directories(path.parent().unwrap_or(Path::new("")), mtime)?;
        let (directory, name) = self.tree.parent(path)?;
        if let Some(stat) = directory.stat(&name)? {
            if stat.kind == FileKind::Directory {
                self.directories.retain(|known| !known.starts_with(path));
            }
            directory.remove_tree(&name)?;
        }
        Ok((directory, name))
    }

    fn make_directories(&mut self, path: &Path, mtime: Timestamp) -> Result<(), Error> {
        if self.directories.contains(path) {
            return Ok(());
        }
        let mut so_far = PathBuf::new();
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(Error::Entry { path: path.to_owned(), reason: "its path leaves the context" });
            };
            so_far.push(name);
            if self.directories.contains(&so_far) {
                continue;
            }
            let (parent, name) = self.tree.parent(&so_far)?;
            match parent.stat(&name)? {
                Some(stat) if stat.kind == FileKind::Directory => {}
                Some(stat) if stat.kind == FileKind::Symlink => {
                    return Err(Error::Entry { path: path.to_owned(), reason: "a symbolic link is on the way to it" });
                }
                Some(_) => {
                    return Err(Error::Entry {
                        path: path.to_owned(),
                        reason: "a file is where its directory must be",
                    });
                }
                None => {
                    self.count(&so_far, ENTRY_COST)?;
                    parent.create_directory(&name, 0o755)?;
                    self.pending.push((so_far.clone(), 0o755, mtime));
                }
            }
            self.directories.insert(so_far.clone());
        }
        Ok(())
    }

    fn check_parents(&self, path: &Path) -> Result<(), Error> {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if self.tree.stat(parent)?.is_none_or(|stat| stat.kind != FileKind::Directory) {
                let reason = "it is a hard link through something that is no directory";
                return Err(Error::Entry { path: path.to_owned(), reason });
            }
        }
        Ok(())
    }

    fn copy(&mut self, path: &Path, file: &File, content: &mut dyn Read) -> Result<(), Error> {
        let failed = |source| Error::State { doing: "write", path: path.to_owned(), source };
        let mut writer = HoleWriter::new(file);
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Content { path: path.to_owned(), source }),
            };
            self.count(path, count as u64)?;
            writer.write(&self.buffer[..count]).map_err(failed)?;
        }
        writer.finish().map_err(failed)
    }

    fn count(&mut self, path: &Path, bytes: u64) -> Result<(), Error> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            return Err(Error::TooBig { path: path.to_owned(), limit: self.limit });
        }
        Ok(())
    }
}

fn permissions(mode: u32) -> u16 {
    // At most 0o7777.
    u16::try_from(mode & 0o7777).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PLAIN: Attributes = Attributes { mode: 0o644, mtime: Timestamp { seconds: 7, nanoseconds: 0 } };

    fn writer(limit: u64) -> (tempfile::TempDir, Writer) {
        let directory = tempfile::tempdir().expect("tempdir");
        let writer = Writer::create(&directory.path().join("context"), limit).expect("writer");
        (directory, writer)
    }

    #[test]
    fn directories_keep_mode_and_time_whatever_comes_after() {
        let (directory, mut writer) = writer(1 << 20);
        let closed = Attributes { mode: 0o555, ..PLAIN };
        writer.directory(Path::new("a"), closed).expect("directory");
        writer.file(Path::new("a/b/c"), PLAIN, &mut &b"text"[..]).expect("file");
        writer.hard_link(Path::new("a/d"), Path::new("a/b/c"), PLAIN).expect("link");
        writer.finish().expect("finish");
        let metadata = |path| fs::metadata(directory.path().join("context").join(path)).expect("metadata");
        assert_eq!(metadata("a").permissions().mode() & 0o777, 0o555);
        assert_eq!(std::os::unix::fs::MetadataExt::mtime(&metadata("a")), 7);
        assert_eq!(std::os::unix::fs::MetadataExt::mtime(&metadata("a/b")), 7);
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&metadata("a/d")), 2);
        fs::set_permissions(directory.path().join("context/a"), fs::Permissions::from_mode(0o755)).expect("ours");
    }

    #[test]
    fn nothing_goes_through_a_link_or_out() {
        let (directory, mut writer) = writer(1 << 20);
        fs::create_dir(directory.path().join("outside")).expect("outside");
        writer.symlink(Path::new("link"), Path::new("../outside"), PLAIN.mtime).expect("text only");
        for path in ["link/file", "../outside/file", "a/../../outside/file"] {
            let error = writer.file(Path::new(path), PLAIN, &mut &b"x"[..]).expect_err("outside");
            assert!(matches!(error, Error::Entry { .. }), "{path}: {error}");
        }
        writer.file(Path::new("link"), PLAIN, &mut &b"x"[..]).expect("replaces the link itself");
        assert_eq!(fs::read_dir(directory.path().join("outside")).expect("there").count(), 0);
    }

    #[test]
    fn the_limit_holds_for_content_and_for_many_names() {
        let (_directory, mut bytes) = writer(10_000);
        let error = bytes.file(Path::new("big"), PLAIN, &mut io::repeat(1)).expect_err("too big");
        assert!(matches!(error, Error::TooBig { .. }), "{error}");
        let (_directory, mut names) = writer(10_000);
        let error = (0..100).try_for_each(|n| names.file(Path::new(&n.to_string()), PLAIN, &mut io::empty()));
        assert!(matches!(error, Err(Error::TooBig { .. })));
    }
}
