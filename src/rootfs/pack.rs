//! Writes changes as a layer.
//!
//! Knows which files belong into a layer and in which order; does not know the bytes of tar.
//!
//! *Invariant: a directory's entry comes before those below it, and each stands there once; the same files give
//! the same entries.*

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::contents::{Known, hash_target, hash_xattrs};
use super::descent::Descent;
use super::exclusions::is_at_or_below;
use super::warning::Warnings;
use super::{ChangeKind, Changes, Contents, Error, FileKind, Inode, Omission, Rootfs, Stat, Warning, Xattrs};
use crate::image::whiteout::{PREFIX, classify};
use crate::image::{Entry, EntryKind, LayerWriter};

/// Writes what `changes` names, as it is on disk now, and returns what a layer cannot hold.
///
/// Every directory on the way to a changed path gets an entry too, with its attributes as they are, as all
/// container engines write it: one that applies the layer alone would otherwise have to guess them. Of the names
/// of one file the first is written in full and the others as hard links to it.
///
/// All extended attributes are written, ACLs (`system.posix_acl_access`) and capabilities among them; but not
/// `security.selinux`, which is the policy of this machine and not of the image, nor overlay's own marks.
///
/// `contents` is told what was read, for [`Changes::into_snapshot`].
///
/// # Errors
/// When a file cannot be read, or changes while it is, or the layer cannot be written; the layer must then be
/// thrown away.
pub fn pack(
    rootfs: &Rootfs,
    changes: &Changes,
    writer: &mut LayerWriter,
    contents: &mut Contents,
) -> Result<Vec<Warning>, Error> {
    let mut packer = Packer {
        parents: Descent::new(&rootfs.tree),
        writer,
        contents,
        written: PathBuf::new(),
        first_names: HashMap::new(),
        warnings: Warnings::default(),
    };
    for change in &changes.entries {
        if is_reserved(&change.path) {
            packer.warnings.add(Omission::ReservedName, &change.path);
            continue;
        }
        match change.kind {
            ChangeKind::Removed => packer.remove(&change.path)?,
            ChangeKind::Added | ChangeKind::Modified | ChangeKind::Linked => packer.add(&change.path)?,
        }
    }
    Ok(packer.warnings.into_vec())
}

/// Tells whether a name on the way means something else in a layer.
fn is_reserved(path: &Path) -> bool {
    let named = memchr::memmem::find(path.as_os_str().as_bytes(), PREFIX).is_some();
    named && path.ancestors().any(|path| classify(path).is_some())
}

struct Packer<'a> {
    parents: Descent<'a>,
    writer: &'a mut LayerWriter,
    contents: &'a mut Contents,
    /// The directory written last: it and those above it have their entries. Paths come in order, so what is
    /// not on the way to it has either been written long ago or not yet.
    written: PathBuf,
    /// The first name of each file that has several.
    first_names: HashMap<Inode, PathBuf>,
    warnings: Warnings,
}

impl Packer<'_> {
    fn remove(&mut self, path: &Path) -> Result<(), Error> {
        self.add_parents(path)?;
        self.writer.whiteout(path).map_err(|source| Error::Layer { source })
    }

    fn add_parents(&mut self, path: &Path) -> Result<(), Error> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let is_written = |path: &Path| is_at_or_below(&self.written, path);
        let ancestors: Vec<&Path> = parent.ancestors().take_while(|path| !is_written(path)).collect();
        for ancestor in ancestors.into_iter().rev() {
            self.add_one(ancestor)?;
        }
        parent.clone_into(&mut self.written);
        Ok(())
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        self.add_parents(path)?;
        if self.add_one(path)? == Some(FileKind::Directory) {
            path.clone_into(&mut self.written);
        }
        Ok(())
    }

    /// Writes one entry and returns its kind; none for what a layer cannot hold.
    fn add_one(&mut self, path: &Path) -> Result<Option<FileKind>, Error> {
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (self.parents.directory(parent)?, name),
            _ => (self.parents.directory(path)?, OsStr::new(".")),
        };
        let directory = &parent.directory;
        let Some(stat) = directory.stat(name)? else {
            return Err(Error::Vanished { path: path.to_owned() });
        };
        if stat.linked
            && let Some(first) = self.first_names.get(&stat.inode).cloned()
        {
            let entry = entry(path, EntryKind::HardLink { target: first.clone() }, &stat, Xattrs::new());
            self.append(&entry, &mut io::empty())?;
            if let Some(known) = self.contents.get(&first) {
                self.contents.record(path, known);
            }
            return Ok(Some(stat.kind));
        }
        let Some(kind) = entry_kind(&stat, || directory.read_link(name))? else {
            self.warnings.add(Omission::Socket, path);
            return Ok(None);
        };
        let xattrs = directory.xattrs(name)?;
        let hash_of_xattrs = hash_xattrs(&xattrs);
        let entry = entry(path, kind, &stat, xattrs);
        let content = match &entry.kind {
            EntryKind::File { .. } => {
                let mut file = Hashed { inner: directory.open_file(name)?, hash: Xxh3::new() };
                self.append(&entry, &mut file)?;
                file.hash.digest128()
            }
            other => {
                self.append(&entry, &mut io::empty())?;
                if let EntryKind::Symlink { target } = other { hash_target(target) } else { 0 }
            }
        };
        self.contents.record(path, Known { content, xattrs: hash_of_xattrs });
        if stat.linked {
            self.first_names.insert(stat.inode, path.to_owned());
        }
        Ok(Some(stat.kind))
    }

    fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), Error> {
        self.writer.append(entry, content).map_err(|source| Error::Layer { source })
    }
}

fn entry(path: &Path, kind: EntryKind, stat: &Stat, xattrs: Xattrs) -> Entry {
    Entry {
        path: path.to_owned(),
        kind,
        mode: stat.mode.into(),
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        xattrs,
    }
}

/// Returns what a layer calls this kind of file; none for a socket.
fn entry_kind(stat: &Stat, read_link: impl FnOnce() -> Result<PathBuf, Error>) -> Result<Option<EntryKind>, Error> {
    let (major, minor) = stat.device_numbers();
    Ok(Some(match stat.kind {
        FileKind::Regular => EntryKind::File { size: stat.size },
        FileKind::Directory => EntryKind::Directory,
        FileKind::Symlink => EntryKind::Symlink { target: read_link()? },
        FileKind::Fifo => EntryKind::Fifo,
        FileKind::CharacterDevice => EntryKind::CharacterDevice { major, minor },
        FileKind::BlockDevice => EntryKind::BlockDevice { major, minor },
        FileKind::Socket => return Ok(None),
    }))
}

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hash: Xxh3,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
