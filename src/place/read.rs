//! Files that are read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, openat};
use rustix::io::Errno;

use super::Refused;
use super::file::kind_name;
use super::walk::{Links, Walk};
use crate::sys::process;

/// Whose files are read.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// What of a path the user has named as the place of somebody's files: the context, the directory of `--dockerfile`.
    /// Links on the way to it are followed.
    pub directory: &'a Path,
    /// Whether it is all there is, as of a context that was fetched: no link leads out of it. Else links may lead
    /// anywhere in the mount or the Git work tree that holds it.
    pub is_whole: bool,
}

impl<'a> Scope<'a> {
    /// Takes `working` where a file is below it; elsewhere no directory is somebody's but mounts and Git work trees.
    fn of(path: &Path, working: &'a Path) -> Self {
        let directory = if path.starts_with(working) { working } else { Path::new("/") };
        Self { directory, is_whole: false }
    }
}

/// A file that was found.
#[derive(Debug)]
pub struct Found {
    /// It, open.
    pub file: File,
    /// Its path, where no link is left in it.
    pub path: PathBuf,
}

/// Opens a regular file, or what `/proc` or `/dev/fd` names: a pipe, mostly; none where nothing is there, or a directory.
/// Where links may lead is told by the table of [this module](super).
///
/// # Errors
/// [`Refused`] for links that lead out, and for what is no file.
pub fn open(path: &Path, scope: Scope<'_>) -> io::Result<Option<Found>> {
    let path = process::own_descriptor_path(path);
    let mut walk = Walk::begin(&[scope.directory.to_owned()])?;
    let links = if scope.is_whole { Links::Whole } else { Links::Confined };
    let name = match path.strip_prefix(scope.directory) {
        Ok(rest) if rest.file_name().is_some() => {
            if !walk.go(scope.directory, Links::Trusted)?.is_empty() {
                return Ok(None);
            }
            walk.find(rest, links)?
        }
        Ok(_) | Err(_) => walk.find(&path, links)?,
    };
    let Some(name) = name else { return Ok(None) };
    walk.check(&name)?;
    let is_proc = walk.is_proc();
    let follow = if is_proc { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | follow;
    // Without changing its access time, where that is permitted: the context is only read.
    let opened = match openat(walk.here(), &name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(walk.here(), &name, flags, Mode::empty()),
        result => result,
    };
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        // A socket.
        Err(Errno::NXIO) => return Err(Refused::Kind { kind: kind_name(FileType::Socket) }.into()),
        Err(errno) => return Err(errno.into()),
    };
    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
        FileType::Directory => return Ok(None),
        FileType::RegularFile => {}
        // What the kernel names is a descriptor of ours, and is read to its end.
        FileType::Fifo if is_proc => fcntl_setfl(&fd, fcntl_getfl(&fd)? - OFlags::NONBLOCK)?,
        kind => return Err(Refused::Kind { kind: kind_name(kind) }.into()),
    }
    Ok(Some(Found { file: File::from(fd), path: walk.path().join(name) }))
}

impl Found {
    /// Reads it, to its end.
    ///
    /// # Errors
    /// [`Refused::TooLarge`], which is found by reading: what a file system tells of a size need not be so.
    pub fn read(self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(Refused::TooLarge { limit }.into());
        }
        Ok(bytes)
    }
}

/// Opens a file that a flag names, `path` being absolute; `working` is the working directory.
///
/// # Errors
/// As [`open`], and where there is no file.
pub fn open_named(path: &Path, working: &Path) -> io::Result<File> {
    open(path, Scope::of(path, working))?.map(|found| found.file).ok_or_else(|| Errno::NOENT.into())
}

/// Reads a file that a flag names, as [`open_named`] finds it.
///
/// # Errors
/// As [`open_named`] and [`Found::read`].
pub fn read_named(path: &Path, working: &Path, limit: u64) -> io::Result<Vec<u8>> {
    Found { file: open_named(path, working)?, path: path.to_owned() }.read(limit)
}

/// Opens a regular file wherever links lead: for files of which the digest is known, and those of the machine itself.
///
/// # Errors
/// [`Refused`] for what is no file, and where it cannot be opened.
pub fn open_anywhere(path: &Path) -> io::Result<File> {
    // A named pipe without a writer is refused at once.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        kind => Err(Refused::Kind { kind: kind_name(kind) }.into()),
    }
}

/// Reads a file as [`open_anywhere`] finds it.
///
/// # Errors
/// As [`open_anywhere`] and [`Found::read`].
pub fn read_anywhere(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    Found { file: open_anywhere(path)?, path: path.to_owned() }.read(limit)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(path: &Path, directory: &Path, is_whole: bool) -> Result<Option<String>, String> {
        let found = open(path, Scope { directory, is_whole }).map_err(|error| error.to_string())?;
        let text = |found: Found| found.read(100).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        found.map(text).transpose().map_err(|error| error.to_string())
    }

    #[test]
    fn links_lead_nowhere_out_of_a_work_tree() {
        // On the root's mount, or a mount of its own would be the border.
        let scratch = tempfile::tempdir_in("/var/tmp").expect("tempdir");
        let path = |name: &str| scratch.path().join(name);
        for name in ["secret", "tree/common/Dockerfile", "tree/app/real", "bare/real"] {
            fs::create_dir_all(path(name).parent().expect("parent")).expect("makes");
            fs::write(path(name), name).expect("writes");
        }
        fs::create_dir(path("tree/.git")).expect("makes");
        for (link, target) in [
            ("tree/app/common", "../common/Dockerfile".into()),
            ("tree/app/absolute", path("tree/common/Dockerfile")),
            ("tree/app/out", "../../secret".into()),
            ("tree/app/chain", "out".into()),
            ("tree/app/proc", "/proc/self/environ".into()),
            ("tree/app/up", "../..".into()),
            ("bare/near", "real".into()),
            ("bare/out", "../secret".into()),
            ("named", path("tree/app")),
        ] {
            symlink(target, path(link)).expect("links");
        }
        for (file, directory, expected) in [
            ("tree/app/real", "tree/app", Some("tree/app/real")),
            ("tree/app/common", "tree/app", Some("tree/common/Dockerfile")),
            ("tree/app/absolute", "tree/app", Some("tree/common/Dockerfile")),
            ("named/common", "named", Some("tree/common/Dockerfile")),
            ("bare/near", "bare", Some("bare/real")),
            ("tree/app/out", "tree/app", None),
            ("tree/app/chain", "tree/app", None),
            ("tree/app/proc", "tree/app", None),
            ("tree/app/up/secret", "tree/app", None),
            ("bare/out", "bare", None),
        ] {
            let found = read(&path(file), &path(directory), false);
            match expected {
                Some(text) => assert_eq!(found, Ok(Some(text.to_owned())), "{file}"),
                None => assert!(found.as_ref().is_err_and(|error| error.contains("leads out of")), "{file}: {found:?}"),
            }
        }
        assert_eq!(read(&path("bare/none"), &path("bare"), false), Ok(None));
        assert_eq!(read(&path("tree"), &path("bare"), false), Ok(None), "a directory is no file");
    }

    #[test]
    fn a_fetched_context_is_all_there_is() {
        let scratch = tempfile::tempdir().expect("tempdir");
        let root = scratch.path().join("context");
        fs::create_dir_all(root.join("app")).expect("makes");
        fs::write(scratch.path().join("secret"), "secret").expect("writes");
        fs::write(root.join("real"), "real").expect("writes");
        symlink("/real", root.join("app/absolute")).expect("links");
        symlink("../../secret", root.join("app/out")).expect("links");
        assert_eq!(read(&root.join("app/absolute"), &root, true), Ok(Some("real".to_owned())));
        assert!(read(&root.join("app/out"), &root, true).is_err_and(|error| error.contains("leads out of")));
    }

    #[test]
    fn only_files_are_read_and_no_more_than_they_may_have() {
        let scratch = tempfile::tempdir().expect("tempdir");
        let fifo = scratch.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("mkfifo");
        for (path, expected) in [(fifo.as_path(), "a named pipe"), (Path::new("/dev/zero"), "a character device")] {
            let error = read_named(path, Path::new("/work"), 100).expect_err("is refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
        for path in [&fifo, Path::new("/dev/zero"), scratch.path()] {
            assert!(read_anywhere(path, 100).is_err(), "{}", path.display());
        }
        let large = scratch.path().join("large");
        fs::write(&large, [0; 101]).expect("writes");
        let error = read_named(&large, Path::new("/work"), 100).expect_err("is refused");
        assert!(error.to_string().contains("larger than 100"), "{error}");
        symlink("large", scratch.path().join("link")).expect("links");
        assert_eq!(read_anywhere(&scratch.path().join("link"), 101).expect("reads").len(), 101);
        assert!(read_anywhere(&scratch.path().join("link"), 100).is_err());
        let error = read_named(&scratch.path().join("none"), Path::new("/work"), 1).expect_err("is not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
