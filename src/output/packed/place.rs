//! Where the files of a packed image are: in a directory, or inside an archive.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use crate::image::{Encoding, decompressed};
use crate::oci::LARGEST_DOCUMENT;
use crate::registry::BlobSource;
use crate::store::Store;

/// An archive of an image has a few files for each layer.
const MOST_MEMBERS: usize = 100_000;
/// How often a link may lead to another one.
const MOST_LINKS: usize = 8;

/// Where an image's files are.
pub(super) struct Place {
    /// For messages.
    name: String,
    files: Files,
}

enum Files {
    Directory(PathBuf),
    Archive { file: Arc<File>, members: BTreeMap<String, Member> },
}

enum Member {
    Content { start: u64, size: u64 },
    Link(String),
}

impl Place {
    pub(super) fn directory(path: &Path) -> Self {
        Self { name: path.display().to_string(), files: Files::Directory(path.to_owned()) }
    }

    /// Opens an archive; one that is compressed as a whole is decompressed into the store.
    pub(super) fn archive(path: &Path, store: &Store) -> Result<Self, Error> {
        let name = path.display().to_string();
        let failure = |error: io::Error| Error::Packed { name: name.clone(), reason: error.to_string() };
        let file = File::open(path).map_err(failure)?;
        let mut prefix = [0; Encoding::PREFIX];
        let read = file.read_at(&mut prefix, 0).map_err(failure)?;
        if Encoding::of(&prefix[..read]) != Encoding::Plain {
            return Self::copied(file, name, store);
        }
        Self::indexed(file, name)
    }

    pub(super) fn stream(stream: impl Read + Send, store: &Store) -> Result<Self, Error> {
        Self::copied(stream, "standard input".to_owned(), store)
    }

    fn copied(stream: impl Read + Send, name: String, store: &Store) -> Result<Self, Error> {
        let failure = |error: io::Error| Error::Packed { name: name.clone(), reason: error.to_string() };
        let mut plain = decompressed(stream).map_err(failure)?;
        let mut writer = store.create()?;
        io::copy(&mut plain, &mut writer).map_err(failure)?;
        let (digest, _) = writer.finish()?;
        Self::indexed(store.read(&digest)?, name)
    }

    fn indexed(file: File, name: String) -> Result<Self, Error> {
        let members =
            members(&file).map_err(|error| Error::Packed { name: name.clone(), reason: error.to_string() })?;
        Ok(Self { name, files: Files::Archive { file: Arc::new(file), members } })
    }

    /// Makes an error about what is here.
    pub(super) fn error(&self, reason: impl Display) -> Error {
        Error::Packed { name: self.name.clone(), reason: reason.to_string() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.blob(name).is_ok()
    }

    /// Finds a file, and its size in bytes.
    pub(super) fn blob(&self, name: &str) -> Result<(BlobSource, u64), Error> {
        match &self.files {
            Files::Directory(directory) => {
                let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
                if !Path::new(name).components().all(is_plain) {
                    return Err(self.error(format!("{name} is outside it")));
                }
                let path = directory.join(name);
                let failure = |error: io::Error| self.error(format!("{name}: {error}"));
                // Asked before it is opened: a pipe would wait for a writer.
                if !fs::metadata(&path).map_err(failure)?.is_file() {
                    return Err(self.error(format!("{name} is no file")));
                }
                let file = File::open(&path).map_err(failure)?;
                let metadata = file.metadata().map_err(failure)?;
                Ok((BlobSource::File(Arc::new(file)), metadata.len()))
            }
            Files::Archive { file, members } => {
                let mut name = name.to_owned();
                for _ in 0..MOST_LINKS {
                    match members.get(&name) {
                        Some(Member::Content { start, size }) => {
                            return Ok((BlobSource::Section { file: file.clone(), start: *start }, *size));
                        }
                        Some(Member::Link(target)) => name.clone_from(target),
                        None => break,
                    }
                }
                Err(self.error(format!("it has no {name}")))
            }
        }
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, name: &str) -> Result<Section, Error> {
        let (blob, size) = self.blob(name)?;
        Section::of(&blob, size).ok_or_else(|| self.error(format!("{name} is no file")))
    }

    /// Reads a small file.
    pub(super) fn document(&self, name: &str) -> Result<Bytes, Error> {
        let section = self.open(name)?;
        if section.end - section.position > LARGEST_DOCUMENT {
            return Err(self.error(format!("{name} is larger than {LARGEST_DOCUMENT} bytes")));
        }
        let mut bytes = Vec::new();
        let mut section = section;
        section.read_to_end(&mut bytes).map_err(|error| self.error(format!("{name}: {error}")))?;
        Ok(bytes.into())
    }
}

/// Finds out where each member's content is, without reading it.
fn members(file: &File) -> io::Result<BTreeMap<String, Member>> {
    let mut archive = tar::Archive::new(file.try_clone()?);
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        let member = if kind.is_symlink() || kind.is_hard_link() {
            // Older versions of Docker link a layer that two images share.
            let target = entry.link_name()?.map(|target| target.into_owned()).unwrap_or_default();
            let from = if kind.is_symlink() { path.parent().unwrap_or(Path::new("")) } else { Path::new("") };
            Member::Link(clean(&from.join(target)))
        } else if kind.is_file() {
            Member::Content { start: entry.raw_file_position(), size: entry.size() }
        } else {
            continue;
        };
        if members.len() == MOST_MEMBERS {
            return Err(io::Error::other(format!("it has more than {MOST_MEMBERS} files")));
        }
        members.insert(clean(&path), member);
    }
    Ok(members)
}

/// Writes a member's name in one way: without `.`, and with `..` resolved.
fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => _ = parts.pop(),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

/// A part of a file, read at its own position.
pub(super) struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Section {
    /// Makes one of a blob that is in a file.
    pub(super) fn of(blob: &BlobSource, size: u64) -> Option<Self> {
        let (file, start) = match blob {
            BlobSource::File(file) => (file, 0),
            BlobSource::Section { file, start } => (file, *start),
            BlobSource::Bytes(_) => return None,
        };
        Some(Self { file: Arc::clone(file), position: start, end: start + size })
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        Ok(count)
    }
}
