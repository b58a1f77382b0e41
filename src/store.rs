//! Content-addressed blobs in a directory, laid out as an OCI image layout's `blobs/sha256/`.
//!
//! Knows one directory; does not know what a blob means.
//!
//! *Invariant: a file under its digest's name is whole. Blobs are written under a temporary name in the same
//! directory, which nobody can know before, and renamed when their digest is known, so a crash leaves at most a temporary
//! file. Nothing is written or removed through a link that somebody has put into the store.*

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::oci::{Descriptor, Digest, Hasher};
use crate::place::{self, Draft, Folder};

/// A store that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the store could not be made, read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A blob is not what its name says.
    #[error("blob {path} has digest {found}, expected {expected}: it was damaged or replaced")]
    Digest {
        /// Where it is.
        path: PathBuf,
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
}

/// A directory of blobs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    blobs: Folder,
}

impl Store {
    /// Opens the store in `root`, making its directories.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let store = Self::shared(&Folder::of(root));
        store.inner.blobs.make().map_err(|source| store.failure("create", source))?;
        Ok(store)
    }

    /// Names a store that several machines may use at the same time. Its directories are made with the first blob.
    pub fn shared(root: &Folder) -> Self {
        Self { inner: Arc::new(Inner { root: root.path().to_owned(), blobs: root.below("blobs/sha256") }) }
    }

    /// Makes an error about the directory of blobs.
    fn failure(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { action, path: self.inner.blobs.path().to_owned(), source }
    }

    /// Returns the directory that holds the store.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Returns where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs/sha256").join(digest.hex())
    }

    /// Tells whether a blob is there.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Tells whether a blob is there with all its bytes.
    pub fn has(&self, blob: &Descriptor) -> bool {
        fs::metadata(self.path(&blob.digest)).is_ok_and(|found| found.len() == blob.size)
    }

    /// Uses a blob of another store in place, if that has it and this has not. The other store must stay where it is.
    pub fn borrow(&self, other: &Store, blob: &Descriptor) {
        if other.has(blob) && !self.contains(&blob.digest) {
            // Without the link the blob is fetched as if the other store had not had it.
            let _ = std::os::unix::fs::symlink(other.path(&blob.digest), self.path(&blob.digest));
        }
    }

    /// Opens a blob for reading; [`Store::verified`] also checks its bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not there, or is no file.
    pub fn read(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.path(digest);
        place::open_anywhere(&path).map_err(|source| Error::Io { action: "open", path, source })
    }

    /// Opens a blob for reading; the read that reaches its end fails when the digest is wrong.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not there.
    pub fn verified(&self, digest: &Digest) -> Result<Verified<File>, Error> {
        Ok(Verified::new(self.read(digest)?, digest.clone()))
    }

    /// Starts a blob whose digest is not yet known.
    ///
    /// # Errors
    /// [`Error::Io`] when the temporary file cannot be made.
    pub fn create(&self) -> Result<BlobWriter, Error> {
        let draft = self.inner.blobs.draft().map_err(|source| self.failure("create a blob in", source))?;
        Ok(BlobWriter { store: self.clone(), draft, hasher: Hasher::new(), size: 0 })
    }

    /// Takes a blob as it is in a file: by one more name where the file system lets us, else as a copy.
    ///
    /// # Errors
    /// [`Error::Io`] when neither can be.
    pub fn take(&self, file: &Path, digest: &Digest) -> Result<(), Error> {
        let name = OsStr::new(digest.hex());
        let copy = || {
            let mut draft = self.inner.blobs.draft()?;
            io::copy(&mut place::open_anywhere(file)?, &mut draft)?;
            draft.finish_as(name)
        };
        let taken = self.inner.blobs.link(file, name).or_else(|_| copy());
        taken.map_err(|source| Error::Io { action: "keep a blob as", path: self.path(digest), source })
    }

    /// Removes a blob, if it is there.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let removed = self.inner.blobs.remove(OsStr::new(digest.hex()));
        removed.map_err(|source| Error::Io { action: "remove", path: self.path(digest), source })
    }

    /// Removes what `is_needed` does not want and nothing was written to since `before`: of users that are gone, mostly.
    /// Returns how many bytes that freed.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read, or something not removed; what went before is done.
    pub fn sweep(&self, before: SystemTime, is_needed: impl Fn(&OsStr) -> bool) -> Result<u64, Error> {
        let mut freed = 0;
        for file in self.inner.blobs.files().map_err(|source| self.failure("list", source))? {
            if file.modified < before && !is_needed(&file.name) {
                self.inner.blobs.remove(&file.name).map_err(|source| self.failure("remove a file of", source))?;
                freed += file.size;
            }
        }
        Ok(freed)
    }

    /// Removes the temporary files of users that are gone: those that nothing was written to since `before`.
    pub fn clear_abandoned(&self, before: SystemTime) {
        // It costs space and nothing else; the next one who looks tries again.
        let _ = self.sweep(before, |name| !name.as_encoded_bytes().starts_with(b"."));
    }

    /// Keeps `bytes` and returns their digest.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let mut writer = self.create()?;
        let written = writer.write_all(bytes);
        written.map_err(|source| self.failure("write to", source))?;
        Ok(writer.finish()?.0)
    }
}

/// A blob being written; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    draft: Draft,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Puts the blob in its place and returns its digest and its size in bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be renamed.
    pub fn finish(self) -> Result<(Digest, u64), Error> {
        let Self { store, draft, hasher, size } = self;
        let digest = hasher.finish();
        draft.finish_as(OsStr::new(digest.hex())).map_err(|source| Error::Io {
            action: "rename a blob to",
            path: store.path(&digest),
            source,
        })?;
        Ok((digest, size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.draft.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that fails at the end of its stream when the bytes do not have the digest they should have.
pub struct Verified<R> {
    reader: R,
    hasher: Option<Hasher>,
    expected: Digest,
    /// Makes the error of the digests that were expected and found.
    error: fn(Digest, Digest) -> io::Error,
}

impl<R> Verified<R> {
    /// Reads from `reader`, expecting `expected`.
    pub fn new(reader: R, expected: Digest) -> Self {
        Self::or(reader, expected, damaged)
    }

    /// Does the same, and says in its own way what is wrong: `error` gets the digests that were expected and found.
    pub fn or(reader: R, expected: Digest, error: fn(Digest, Digest) -> io::Error) -> Self {
        Self { reader, hasher: Some(Hasher::new()), expected, error }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
        } else if !buffer.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let found = hasher.finish();
            if found != self.expected {
                return Err((self.error)(self.expected.clone(), found));
            }
        }
        Ok(count)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `Verified` asks for")]
fn damaged(expected: Digest, found: Digest) -> io::Error {
    let text = format!("content has digest {found}, expected {expected}: it was damaged on its way");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found_under_its_digest() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("open");
        let digest = store.put(b"hello").expect("put");
        assert_eq!(digest, Digest::of(b"hello"));
        let mut text = String::new();
        store.verified(&digest).expect("there").read_to_string(&mut text).expect("whole");
        assert_eq!(text, "hello");
    }

    #[test]
    fn an_unfinished_blob_leaves_nothing() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("open");
        store.create().expect("create").write_all(b"half").expect("write");
        assert_eq!(fs::read_dir(directory.path().join("blobs/sha256")).expect("list").count(), 0);
    }

    #[test]
    fn a_damaged_blob_fails_at_its_end() {
        let mut reader = Verified::new(&b"hellO"[..], Digest::of(b"hello"));
        let error = reader.read_to_end(&mut Vec::new()).expect_err("damaged");
        assert!(error.to_string().contains("expected sha256:2cf24"), "{error}");
    }

    #[test]
    fn nothing_is_written_or_removed_through_links_in_a_store() {
        let directory = tempfile::tempdir().expect("tempdir");
        let (root, elsewhere) = (directory.path().join("store"), directory.path().join("elsewhere"));
        fs::create_dir_all(root.join("blobs")).expect("makes");
        fs::create_dir(&elsewhere).expect("makes");
        fs::write(elsewhere.join("file"), "somebody's").expect("writes");
        std::os::unix::fs::symlink(&elsewhere, root.join("blobs/sha256")).expect("links");
        let store = Store::shared(&Folder::of(&root));
        assert!(store.put(b"bytes").is_err() && store.take(&elsewhere.join("file"), &Digest::of(b"")).is_err());
        assert!(store.sweep(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 40), |_| false).is_err());
        assert_eq!(fs::read_dir(&elsewhere).expect("lists").count(), 1);
    }
}
