//! A cache in a directory, such as a volume that many builds share.
//!
//! ```text
//! <directory>/entries/<kind>-<key>     a checksum, a newline, the entry as JSON
//! <directory>/blobs/sha256/<digest>
//! ```
//!
//! *Invariant: files appear under their names by rename, blobs before the entries that name them, and what is read is
//! checked against its digest; so a build that is killed, or a disk that lies, costs an entry and nothing else. No link in
//! the directory is followed where something is written or removed.*

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Blob, EntryName, Error, Kept, LayerCache, Lend};
use crate::image::LayerContent;
use crate::oci::{Descriptor, Digest};
use crate::place::Folder;
use crate::store::Store;

/// Entries are smaller.
const LARGEST_ENTRY: u64 = 4 << 20;
/// Blobs that are read into memory are smaller.
pub(super) const LARGEST_BLOB: u64 = 512 << 20;

/// A directory of entries; cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    folder: Folder,
    blobs: Store,
}

/// An entry's file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    document: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Descriptor>,
}

/// An entry, as the directory lists it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: EntryName,
    pub(super) kept: Kept,
    pub(super) used: SystemTime,
}

impl Directory {
    /// Uses a part of a directory, which is made with the first entry; empty for the whole.
    pub fn new(root: &Path, part: &[String]) -> Self {
        let root = Folder::of(root);
        let folder = part.iter().fold(root, |folder, name| folder.below("namespaces").below(name));
        Self { blobs: Store::shared(&folder), folder }
    }

    fn entries(&self) -> Folder {
        self.folder.below("entries")
    }

    /// Reads an entry's file; none where there is none.
    fn record(&self, name: &EntryName) -> Result<Option<Record>, Error> {
        let entry = self.entries().file(name.to_string());
        let path = entry.path().to_owned();
        let file = match entry.open() {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let mut bytes = Vec::new();
        let read = (&file).take(LARGEST_ENTRY).read_to_end(&mut bytes);
        read.map_err(|source| Error::Read { path, source })?;
        let refused = |reason: &str| Error::refused(name, reason);
        let split = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| refused("it is cut off"))?;
        let (checksum, json) = (&bytes[..split], &bytes[split + 1..]);
        if checksum != Digest::of(json).hex().as_bytes() {
            return Err(refused("it was damaged"));
        }
        let record: Record = serde_json::from_slice(json).map_err(|_| refused("it is malformed"))?;
        if record.name != name.to_string() {
            return Err(refused("it belongs to another key"));
        }
        Ok(Some(record))
    }

    /// Returns all whole entries, and removes those that are not.
    pub(super) fn list(&self) -> Result<Vec<Found>, Error> {
        let entries = self.entries();
        let mut found = Vec::new();
        for file in entries.files().map_err(|source| Error::Read { path: entries.path().to_owned(), source })? {
            let Some(name) = file.name.to_str().and_then(EntryName::parse) else { continue };
            match self.record(&name) {
                Ok(Some(record)) => {
                    let kept = Kept { document: record.document, code: record.code, blob: record.blob };
                    found.push(Found { name, kept, used: file.modified });
                }
                Ok(None) => {}
                Err(_) => self.remove(&name)?,
            }
        }
        Ok(found)
    }

    /// Removes an entry; its blob stays until [`Directory::sweep`].
    pub(super) fn remove(&self, name: &EntryName) -> Result<(), Error> {
        let entries = self.entries();
        let removed = entries.remove(OsStr::new(&name.to_string()));
        removed.map_err(|source| Error::Write { path: entries.path().join(name.to_string()), source })
    }

    /// Removes blobs that no entry names, and temporary files, unless they are younger than `grace`: somebody may be
    /// about to name them. Returns how many bytes that freed.
    pub(super) fn sweep(&self, named: &HashSet<Digest>, grace: SystemTime) -> Result<u64, Error> {
        let named: HashSet<&str> = named.iter().map(Digest::hex).collect();
        let freed = self.blobs.sweep(grace, |name| name.to_str().is_some_and(|name| named.contains(name)))?;
        let entries = self.entries();
        let failure = |source| Error::Write { path: entries.path().to_owned(), source };
        let abandoned = entries.files().map_err(failure)?.into_iter();
        for file in abandoned.filter(|file| file.name.as_encoded_bytes().starts_with(b".") && file.modified < grace) {
            entries.remove(&file.name).map_err(failure)?;
        }
        Ok(freed)
    }

    fn keep(&self, blob: &Blob) -> Result<Option<Descriptor>, Error> {
        let (descriptor, kept) = match blob {
            Blob::None => return Ok(None),
            Blob::Bytes { media_type, bytes } => {
                let descriptor = Descriptor::of(media_type, bytes);
                let is_there = self.is_kept(&descriptor);
                (descriptor, if is_there { Ok(()) } else { self.blobs.put(bytes).map(drop) })
            }
            // A link costs nothing; the build's own store is mostly on another file system.
            Blob::Layer { descriptor, path, from: _ } => {
                let is_there = self.is_kept(descriptor);
                if !is_there && !path.exists() {
                    return Err(Error::refused(&descriptor.digest, format!("{} is not there", path.display())));
                }
                let taken = if is_there { Ok(()) } else { self.blobs.take(path, &descriptor.digest) };
                ((**descriptor).clone(), taken)
            }
        };
        kept?;
        Ok(Some(descriptor))
    }

    /// Tells whether a blob is there, and takes note that it is in use.
    fn is_kept(&self, blob: &Descriptor) -> bool {
        let file = self.blobs.read(&blob.digest);
        let file = file.ok().filter(|file| file.metadata().is_ok_and(|metadata| metadata.len() == blob.size));
        file.inspect(touch).is_some()
    }

    /// Opens a blob whose size is right.
    fn open(&self, blob: &Descriptor) -> Result<File, Error> {
        let file = self.blobs.read(&blob.digest).map_err(|_| Error::refused(&blob.digest, "its blob is not there"))?;
        let size = file.metadata().map_err(|source| Error::Read { path: self.blobs.path(&blob.digest), source })?.len();
        if size == blob.size {
            return Ok(file);
        }
        self.discard(blob, format!("its blob has {size} bytes instead of {}", blob.size))
    }

    /// Removes a damaged blob, so that the next build can keep a whole one.
    fn discard<T>(&self, blob: &Descriptor, reason: impl Into<String>) -> Result<T, Error> {
        // Where we may not write, it stays, and is refused again.
        let _ = self.blobs.remove(&blob.digest);
        Err(Error::refused(&blob.digest, reason))
    }
}

impl LayerCache for Directory {
    fn describe(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn give_up(&self) {}

    fn get(&self, name: &EntryName) -> Result<Option<Kept>, Error> {
        let Some(record) = self.record(name)? else { return Ok(None) };
        if let Ok(Some(file)) = self.entries().file(name.to_string()).open() {
            touch(&file);
        }
        Ok(Some(Kept { document: record.document, code: record.code, blob: record.blob }))
    }

    fn put(&self, name: &EntryName, document: &str, code: Option<&str>, blob: &Blob) -> Result<(), Error> {
        let blob = self.keep(blob)?;
        let (document, code) = (document.to_owned(), code.map(str::to_owned));
        let record = Record { name: name.to_string(), document, code, blob };
        let json = serde_json::to_vec(&record).expect("strings and numbers always serialize");
        let entries = self.entries();
        let write = || {
            let mut draft = entries.draft()?;
            draft.write_all(format!("{}\n", Digest::of(&json).hex()).as_bytes())?;
            draft.write_all(&json)?;
            draft.finish_as(OsStr::new(&name.to_string()))
        };
        write().map_err(|source| Error::Write { path: entries.path().join(name.to_string()), source })
    }

    fn layer(&self, blob: &Descriptor, store: &Store, lend: Lend) -> Result<LayerContent, Error> {
        let mut file = self.open(blob)?;
        if lend == Lend::Look {
            return Ok(LayerContent::Stored);
        }
        let (kept, path) = (store.path(&blob.digest), self.blobs.path(&blob.digest));
        let read = |source| Error::Read { path: path.clone(), source };
        if kept.exists() {
            return Ok(LayerContent::Stored);
        }
        if fs::hard_link(&path, &kept).is_ok() {
            let mut hasher = crate::oci::Hasher::new();
            io::copy(&mut file, &mut hasher).map_err(read)?;
            if hasher.finish() == blob.digest {
                return Ok(LayerContent::Stored);
            }
            fs::remove_file(&kept).map_err(|source| Error::Write { path: kept, source })?;
            return self.discard(blob, "its content was damaged");
        }
        let mut writer = store.create()?;
        io::copy(&mut file, &mut writer).map_err(read)?;
        match writer.finish()? {
            (digest, _) if digest == blob.digest => Ok(LayerContent::Stored),
            _ => self.discard(blob, "its content was damaged"),
        }
    }

    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = self.open(blob)?.take(LARGEST_BLOB).read_to_end(&mut bytes);
        read.map_err(|source| Error::Read { path: self.blobs.path(&blob.digest), source })?;
        if Digest::of(&bytes) == blob.digest { Ok(bytes) } else { self.discard(blob, "its content was damaged") }
    }
}

/// Takes note that a file is in use; where we may not write, it just looks older than it is.
fn touch(file: &File) {
    let _ = rustix::fs::futimens(file, &NOW);
}

/// Now, for both times of a file.
pub(super) const NOW: rustix::fs::Timestamps = rustix::fs::Timestamps {
    last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
    last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{EntryKind, key::Frames};
    use crate::oci::media_type;

    struct Place {
        directory: tempfile::TempDir,
        cache: Directory,
        store: Store,
        descriptor: Descriptor,
    }

    impl Place {
        fn entry(&self, text: &str) -> std::path::PathBuf {
            self.cache.entries().path().join(name(text).to_string())
        }
    }

    fn name(text: &str) -> EntryName {
        EntryName::new(EntryKind::Step, &Frames::new("test").with(text).key())
    }

    /// A cache with one entry, `a`, whose layer is `bytes`.
    fn place() -> Place {
        let directory = tempfile::tempdir().expect("tempdir");
        let cache = Directory::new(&directory.path().join("cache"), &[]);
        let store = Store::open(&directory.path().join("store")).expect("opens");
        let digest = store.put(b"bytes").expect("puts");
        let descriptor = Descriptor::new(media_type::OCI_LAYER, digest.clone(), 5);
        let blob =
            Blob::Layer { descriptor: Box::new(descriptor.clone()), path: store.path(&digest), from: Vec::new() };
        cache.put(&name("a"), "says", Some("code"), &blob).expect("puts");
        fs::remove_file(store.path(&digest)).expect("the build's own copy");
        Place { directory, cache, store, descriptor }
    }

    #[test]
    fn what_was_kept_is_found_whole() {
        let Place { cache, store, descriptor, directory: _directory } = place();
        assert_eq!(cache.get(&name("b")).expect("reads"), None);
        let kept = cache.get(&name("a")).expect("reads").expect("is there");
        assert_eq!(
            kept,
            Kept { document: "says".to_owned(), code: Some("code".to_owned()), blob: Some(descriptor.clone()) }
        );
        assert_eq!(cache.layer(&descriptor, &store, Lend::Lazily).expect("is whole"), LayerContent::Stored);
        assert_eq!(fs::read(store.path(&descriptor.digest)).expect("reads"), b"bytes");
        assert_eq!(cache.read(&descriptor).expect("reads"), b"bytes");
    }

    #[test]
    fn a_poisoned_entry_is_refused() {
        type Poison = fn(&Place);
        let rows: [(&str, Poison, &str); 6] = [
            ("another key", |p| fs::rename(p.entry("a"), p.entry("b")).expect("renames"), "another key"),
            ("damaged", |p| fs::write(p.entry("b"), "00\n{}").expect("writes"), "damaged"),
            ("cut off", |p| fs::write(p.entry("b"), "00").expect("writes"), "cut off"),
            ("no blob", |p| fs::remove_file(p.cache.blobs.path(&p.descriptor.digest)).expect("removes"), "not there"),
            ("short", |p| fs::write(p.cache.blobs.path(&p.descriptor.digest), "byt").expect("writes"), "3 bytes"),
            ("changed", |p| fs::write(p.cache.blobs.path(&p.descriptor.digest), "bytEs").expect("writes"), "damaged"),
        ];
        for (what, poison, reason) in rows {
            let place = place();
            poison(&place);
            let found = place.cache.get(&name("b")).map(drop);
            let layer = place.cache.layer(&place.descriptor, &place.store, Lend::Lazily).map(drop);
            let read = place.cache.read(&place.descriptor).map(drop);
            let errors: Vec<String> =
                [found, layer, read].into_iter().filter_map(|r| r.err().map(|e| e.to_string())).collect();
            assert!(!errors.is_empty() && errors.iter().any(|e| e.contains(reason)), "{what}: {errors:?}");
            assert!(!place.store.contains(&place.descriptor.digest) || what.len() > 6, "{what}: nothing wrong is used");
        }
    }

    #[test]
    fn a_damaged_blob_is_replaced_by_the_next_put() {
        let place = place();
        fs::write(place.cache.blobs.path(&place.descriptor.digest), "bytEs").expect("writes");
        assert!(place.cache.layer(&place.descriptor, &place.store, Lend::Lazily).is_err());
        let blob = Blob::Bytes { media_type: media_type::OCI_LAYER, bytes: b"bytes".to_vec() };
        place.cache.put(&name("a"), "says", Some("code"), &blob).expect("puts");
        assert!(place.cache.layer(&place.descriptor, &place.store, Lend::Lazily).is_ok());
    }

    #[test]
    fn sweeping_leaves_what_is_named_and_what_is_young() {
        let place = place();
        let extra = place.cache.blobs.put(b"nobody's").expect("puts");
        let long_ago = SystemTime::UNIX_EPOCH;
        let named = HashSet::from([place.descriptor.digest.clone()]);
        assert_eq!(place.cache.sweep(&named, long_ago).expect("sweeps"), 0);
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 40);
        assert_eq!(place.cache.sweep(&named, later).expect("sweeps"), 8);
        assert!(!place.cache.blobs.contains(&extra));
        assert_eq!(place.cache.list().expect("lists").len(), 1);
        drop(place.directory);
    }
}
