//! How a large file is written: under a temporary name beside its place, and renamed when it is whole.
//!
//! *Invariant: dropped unfinished, it leaves nothing, and what stood in its place stays. Pipes, devices and standard
//! output, where that cannot be, are written into as the bytes come.*

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use crate::request::Target;

use super::Error;

/// Few writes for large files.
const BUFFER: usize = 256 << 10;

/// A file in the making.
pub(super) struct Staged {
    writer: BufWriter<File>,
    /// For messages.
    path: PathBuf,
    /// Where it is until it is whole; none for what is written into.
    temporary: Option<PathBuf>,
}

impl Staged {
    /// Opens the target; missing directories are made.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub(super) fn create(target: &Target) -> Result<Self, Error> {
        let path = match target {
            Target::File(path) => path.clone(),
            Target::Stdout => PathBuf::from("standard output"),
        };
        let failure = |source| Error::Write { action: "create", path: path.clone(), source };
        let (file, temporary) = match target {
            Target::Stdout => (io::stdout().as_fd().try_clone_to_owned().map_err(failure)?.into(), None),
            // What is there and is no file takes bytes, but no other file in its place.
            Target::File(path) if is_special(path) => {
                (OpenOptions::new().write(true).open(path).map_err(failure)?, None)
            }
            Target::File(path) => {
                let temporary = beside(path);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(failure)?;
                }
                (File::create(&temporary).map_err(failure)?, Some(temporary))
            }
        };
        Ok(Self { writer: BufWriter::with_capacity(BUFFER, file), path, temporary })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|source| self.failed(source))?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(|source| self.failed(source))?;
            self.temporary = None;
        }
        Ok(())
    }

    /// Returns an error of writing, with the path.
    pub(super) fn failed(&self, source: io::Error) -> Error {
        Error::Write { action: "write", path: self.path.clone(), source }
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The error that made it useless is told; that it could not be removed adds nothing.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Returns a name of ours in the same directory.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    PathBuf::from(temporary)
}

/// Tells whether something is there that is neither a file nor a directory, seen through links (`/dev/stdout`).
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finished_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("a/image.tar");
        let target = Target::File(path.clone());
        let mut first = Staged::create(&target).expect("creates");
        first.write_all(b"first").expect("writes");
        assert!(!path.exists(), "nothing is there before the end");
        first.finish().expect("finishes");
        let mut second = Staged::create(&target).expect("creates");
        second.write_all(b"sec").expect("writes");
        drop(second);
        assert_eq!(fs::read(&path).expect("reads"), b"first");
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("lists").count(), 1);
    }

    #[test]
    fn a_device_is_written_into() {
        let mut null = Staged::create(&Target::File("/dev/null".into())).expect("opens");
        null.write_all(b"gone").expect("writes");
        null.finish().expect("finishes");
        assert!(is_special(Path::new("/dev/null")));
        let error = Staged::create(&Target::File("/proc/no/such".into())).map(drop).expect_err("is refused");
        assert!(error.to_string().contains("/proc/no/such"), "{error}");
    }
}
