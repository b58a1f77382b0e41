//! The files of a commit, written as they are committed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{AttrCheckFlags, AttrValue, IndexEntry, IndexTime, ObjectType, Oid, Repository, Tree, TreeEntry};

use super::lfs::{self, Pointer};
use super::session::Session;
use crate::context::writer::{Attributes, Writer};
use crate::context::{Error, Means};
use crate::image::Timestamp;

/// Modes of Git's tree entries (<https://git-scm.com/docs/git-fast-import#_filemodify>).
const DIRECTORY: i32 = 0o040_000;
const EXECUTABLE: i32 = 0o100_755;
const LINK: i32 = 0o120_000;
const COMMIT: i32 = 0o160_000;

/// In bytes. Source: PATH_MAX, path_resolution(7).
const LONGEST_PATH: usize = 4096;
/// Each is an entry of the index, some hundred bytes.
const MOST_ATTRIBUTE_FILES: usize = 100_000;

struct Checkout<'a> {
    repository: &'a Repository,
    writer: &'a mut Writer,
    mtime: Timestamp,
    pointers: Vec<Pointer>,
    /// Where in the context the repository's root is.
    root: &'a Path,
    has_filters: bool,
}

/// Writes a commit's files below `root`.
pub(super) fn write(
    repository: &Repository,
    commit: Oid,
    root: &Path,
    writer: &mut Writer,
    session: &Arc<Session>,
    means: &Means<'_>,
) -> Result<(), Error> {
    let failed = |error: git2::Error| session.failed(&error);
    let found = repository.find_commit(commit).map_err(failed)?;
    let mtime = Timestamp { seconds: found.time().seconds(), nanoseconds: 0 };
    let tree = found.tree().map_err(failed)?;
    // Which files LFS has is said by attributes, which libgit2 reads through an index.
    let index = repository.index().map_err(failed)?;
    let mut attributes = AttributeFiles { repository, index, found: 0, without: HashSet::new(), session, means };
    let has_filters = attributes.find(&tree, Path::new(""))?;
    let mut checkout = Checkout { repository, writer, mtime, pointers: Vec::new(), root, has_filters };
    checkout.writer.directory(root, Attributes { mode: 0o755, mtime })?;
    checkout.tree(&tree, Path::new(""), session, means)?;
    let pointers = std::mem::take(&mut checkout.pointers);
    lfs::fetch(&pointers, mtime, writer, session, means)
}

/// The files `.gitattributes` of a commit. Nothing else of it goes into the index: a tree of few bytes may have more files
/// than any memory can list.
struct AttributeFiles<'a> {
    repository: &'a Repository,
    index: git2::Index,
    found: usize,
    /// Trees that have none.
    without: HashSet<Oid>,
    session: &'a Session,
    means: &'a Means<'a>,
}

impl AttributeFiles<'_> {
    /// Puts those of a tree into the index, and tells whether there are any.
    fn find(&mut self, tree: &Tree<'_>, path: &Path) -> Result<bool, Error> {
        // No file system takes a longer path: writing the files ends there, too.
        if self.without.contains(&tree.id()) || path.as_os_str().len() > LONGEST_PATH {
            return Ok(false);
        }
        let before = self.found;
        for entry in tree {
            if (self.means.is_cancelled)() {
                return Err(Error::Interrupted);
            }
            let path = path.join(name(entry.name_bytes(), path)?);
            let failed = |error: git2::Error| self.session.failed(&error);
            if entry.filemode() == DIRECTORY {
                let below = self.repository.find_tree(entry.id()).map_err(failed)?;
                self.find(&below, &path)?;
            } else if entry.name_bytes() == b".gitattributes" && entry.kind() == Some(ObjectType::Blob) {
                self.found += 1;
                if self.found > MOST_ATTRIBUTE_FILES {
                    return Err(Error::Entry { path, reason: "there are too many files of this name" });
                }
                self.index.add(&index_entry(&entry, &path)).map_err(failed)?;
            }
        }
        if self.found == before {
            self.without.insert(tree.id());
        }
        Ok(self.found > 0)
    }
}

fn index_entry(entry: &TreeEntry<'_>, path: &Path) -> IndexEntry {
    let never = IndexTime::new(0, 0);
    IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode: u32::try_from(entry.filemode()).unwrap_or(0),
        uid: 0,
        gid: 0,
        file_size: 0,
        id: entry.id(),
        flags: 0,
        flags_extended: 0,
        path: path.as_os_str().as_encoded_bytes().to_vec(),
    }
}

impl Checkout<'_> {
    fn tree(&mut self, tree: &Tree<'_>, path: &Path, session: &Session, means: &Means<'_>) -> Result<(), Error> {
        for entry in tree {
            if (means.is_cancelled)() {
                return Err(Error::Interrupted);
            }
            let path = path.join(name(entry.name_bytes(), path)?);
            let failed = |error: git2::Error| session.failed(&error);
            let at = self.root.join(&path);
            match entry.filemode() {
                DIRECTORY => {
                    self.writer.directory(&at, Attributes { mode: 0o755, mtime: self.mtime })?;
                    let below = self.repository.find_tree(entry.id()).map_err(failed)?;
                    self.tree(&below, &path, session, means)?;
                }
                // An empty directory, unless submodules are wanted.
                COMMIT => self.writer.directory(&at, Attributes { mode: 0o755, mtime: self.mtime })?,
                mode => {
                    let object = entry.to_object(self.repository).map_err(failed)?;
                    let blob = object.peel(ObjectType::Blob).map_err(failed)?;
                    let content = blob.as_blob().map(git2::Blob::content).unwrap_or_default();
                    self.file(&path, at, mode, content)?;
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, at: PathBuf, mode: i32, content: &[u8]) -> Result<(), Error> {
        use std::os::unix::ffi::OsStrExt as _;
        if mode == LINK {
            return self.writer.symlink(&at, Path::new(std::ffi::OsStr::from_bytes(content)), self.mtime);
        }
        let mode = if mode == EXECUTABLE { 0o755 } else { 0o644 };
        if let Some(pointer) = Pointer::parse(content).filter(|_| self.is_lfs(path)) {
            self.pointers.push(Pointer { path: at, mode, ..pointer });
            return Ok(());
        }
        self.writer.file(&at, Attributes { mode, mtime: self.mtime }, &mut io::Cursor::new(content))
    }

    fn is_lfs(&self, path: &Path) -> bool {
        let flags = AttrCheckFlags::INDEX_ONLY | AttrCheckFlags::NO_SYSTEM;
        let value =
            if self.has_filters { self.repository.get_attr(path, "filter", flags).ok().flatten() } else { None };
        matches!(AttrValue::from_string(value), AttrValue::String("lfs"))
    }
}

/// Checks a name of a tree: a repository is made by somebody else, and its trees may hold anything.
fn name<'a>(name: &'a [u8], directory: &Path) -> Result<&'a Path, Error> {
    use std::os::unix::ffi::OsStrExt as _;
    let shown = Path::new(std::ffi::OsStr::from_bytes(name));
    let wrong = matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0);
    if wrong || name.eq_ignore_ascii_case(b".git") {
        return Err(Error::Entry { path: directory.join(shown), reason: "no file of a repository has such a name" });
    }
    Ok(shown)
}

/// Makes a repository that stays in the context look like any other: with a HEAD, an index and a work tree.
pub(super) fn keep(repository: &Repository, commit: Oid) -> Result<(), git2::Error> {
    repository.config()?.set_bool("core.bare", false)?;
    repository.set_head_detached(commit)?;
    let mut index = repository.index()?;
    index.read_tree(&repository.find_commit(commit)?.tree()?)?;
    index.write()
}
