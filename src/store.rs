//! Content-addressed blobs in a directory, laid out as an OCI image layout's `blobs/sha256/`.
//!
//! Knows one directory; does not know what a blob means.
//!
//! *Invariant: a file under its digest's name is whole. Blobs are written under a temporary name in the same
//! directory and renamed when their digest is known, so a crash leaves at most a temporary file.*

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::oci::{Descriptor, Digest, Hasher};

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
    /// What the names of temporary files begin with, after a dot.
    prefix: String,
    next_temporary: AtomicU64,
}

impl Store {
    /// Opens the store in `root`, making its directories.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| Error::Io { action: "create", path: blobs, source })?;
        Ok(Self::new(root, std::process::id().to_string()))
    }

    /// Names a store that several machines may use at the same time; `token` is a name that no other user has. Its
    /// directories are made with the first blob.
    pub fn shared(root: &Path, token: &str) -> Self {
        Self::new(root, token.to_owned())
    }

    fn new(root: &Path, prefix: String) -> Self {
        Self { inner: Arc::new(Inner { root: root.to_owned(), prefix, next_temporary: AtomicU64::new(0) }) }
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
    /// [`Error::Io`] when it is not there.
    pub fn read(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.path(digest);
        File::open(&path).map_err(|source| Error::Io { action: "open", path, source })
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
        let blobs = self.inner.root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| Error::Io { action: "create", path: blobs, source })?;
        let number = self.inner.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.inner.root.join("blobs").join(format!(".{}-{number}.tmp", self.inner.prefix));
        let file = File::create(&path).map_err(|source| Error::Io { action: "create", path: path.clone(), source })?;
        Ok(BlobWriter { store: self.clone(), path, file: Some(file), hasher: Hasher::new(), size: 0 })
    }

    /// Removes the temporary files of users that are gone: those that nothing was written to since `before`.
    pub fn clear_abandoned(&self, before: SystemTime) {
        let entries = fs::read_dir(self.inner.root.join("blobs")).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".tmp")) {
            let is_old = entry.metadata().and_then(|found| found.modified()).is_ok_and(|modified| modified < before);
            if is_old {
                // It costs space and nothing else; the next one who looks tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Keeps `bytes` and returns their digest.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let mut writer = self.create()?;
        let written = writer.write_all(bytes);
        written.map_err(|source| Error::Io { action: "write", path: writer.path.clone(), source })?;
        Ok(writer.finish()?.0)
    }
}

/// A blob being written; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: Option<File>,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Puts the blob in its place and returns its digest and its size in bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be renamed.
    pub fn finish(mut self) -> Result<(Digest, u64), Error> {
        self.file = None;
        let digest = std::mem::take(&mut self.hasher).finish();
        let target = self.store.path(&digest);
        fs::rename(&self.path, &target).map_err(|source| Error::Io {
            action: "rename a blob to",
            path: target,
            source,
        })?;
        self.path = PathBuf::new();
        Ok((digest, self.size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let written = file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.path != Path::new("") {
            // Nothing can be done about a temporary file that will not go; the state directory is removed at the end.
            let _ = fs::remove_file(&self.path);
        }
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
        let left = fs::read_dir(directory.path().join("blobs")).expect("list").count();
        assert_eq!(left, 1, "only sha256/ is left");
    }

    #[test]
    fn a_damaged_blob_fails_at_its_end() {
        let mut reader = Verified::new(&b"hellO"[..], Digest::of(b"hello"));
        let error = reader.read_to_end(&mut Vec::new()).expect_err("damaged");
        assert!(error.to_string().contains("expected sha256:2cf24"), "{error}");
    }
}
