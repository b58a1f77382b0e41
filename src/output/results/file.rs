//! How a result file is written: whole or not at all where its place allows that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::Error;

/// Writes a file under a temporary name in the same directory and renames it; missing directories are made.
///
/// What is no regular file of its own (`/dev/stdout`), or cannot be replaced (`/dev/termination-log` and other
/// files that are mounted), is written into.
///
/// # Errors
/// [`Error::Write`] with the file.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failure = |source| Error::Write { action: "write", path: path.to_owned(), source };
    let existing = fs::symlink_metadata(path);
    if existing.as_ref().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return write_into(path, content).map_err(failure);
    }
    match replace(path, content) {
        Ok(()) => Ok(()),
        Err(_) if existing.is_ok_and(|metadata| metadata.is_file()) => write_into(path, content).map_err(failure),
        Err(source) => Err(failure(source)),
    }
}

/// Makes sure that a file of an earlier build cannot be taken for this one's: it is removed, or emptied where it
/// cannot be removed.
///
/// # Errors
/// [`Error::Write`] when neither is possible.
pub(super) fn clear(path: &Path) -> Result<(), Error> {
    let failure = |source| Error::Write { action: "remove the old", path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(source) => Err(failure(source)),
        Ok(metadata) if metadata.is_file() => match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(_) => write_into(path, b"").map_err(failure),
        },
        Ok(_) => match fs::metadata(path) {
            // A link to a file; terminals, pipes and links to nothing keep nothing of an earlier build.
            Ok(target) if target.is_file() => write_into(path, b"").map_err(failure),
            _ => Ok(()),
        },
    }
}

/// Adds to the end of a file in one piece, and makes it where it is not there.
///
/// # Errors
/// [`Error::Write`] with the file.
pub(super) fn append(path: &Path, content: &[u8]) -> Result<(), Error> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.and_then(|mut file| file.write_all(content)).map_err(|source| Error::Write {
        action: "add to",
        path: path.to_owned(),
        source,
    })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = File::create(&temporary).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // The error that made it useless is told; that it could not be removed adds nothing.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

fn write_into(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_one() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("a/b/digest");
        write_atomically(&path, b"one").expect("writes");
        write_atomically(&path, b"two").expect("replaces");
        assert_eq!(fs::read(&path).expect("reads"), b"two");
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("lists").count(), 1);
        clear(&path).expect("clears");
        assert!(!path.exists());
        clear(&path).expect("nothing is there");
        clear(&directory.path().join("none/at/all")).expect("no directory either");
    }

    #[test]
    fn a_link_is_written_through_and_stays() {
        let directory = tempfile::tempdir().expect("tempdir");
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "of an earlier build").expect("writes");
        std::os::unix::fs::symlink(&target, &link).expect("links");
        clear(&link).expect("clears");
        assert_eq!(fs::read(&target).expect("reads"), b"");
        write_atomically(&link, b"new").expect("writes");
        assert_eq!(fs::read(&target).expect("reads"), b"new");
        assert!(fs::symlink_metadata(&link).expect("stays").is_symlink());
        write_atomically(Path::new("/dev/null"), b"gone").expect("a device is written into");
        clear(Path::new("/dev/null")).expect("and left alone");
        assert!(Path::new("/dev/null").exists());
    }

    #[test]
    fn what_cannot_be_written_is_told_with_its_path() {
        let error = write_atomically(Path::new("/proc/no/such/place"), b"x").expect_err("is refused");
        assert!(error.to_string().contains("/proc/no/such/place"), "{error}");
        let directory = tempfile::tempdir().expect("tempdir");
        write_atomically(directory.path(), b"x").expect_err("a directory is no file");
    }
}
