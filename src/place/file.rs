//! Files that are written: what stands there decides how.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, ftruncate, openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::draft::{Draft, fit};
use super::folder::Folder;
use super::walk::{Identity, is_proc};
use super::{PATIENCE, Refused};
use crate::sys::process;

/// How often it is looked whether somebody reads a named pipe.
const INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// What stands where a file is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// A file, which is replaced as a whole.
    File,
    /// A file that is a mount of its own (`/dev/termination-log`) and so cannot be replaced: it is written into.
    MountedFile,
    /// A symbolic link, which is replaced.
    Link,
    /// A character device, which is written into.
    Device,
    /// A named pipe, which is written into where somebody reads it.
    Pipe,
    /// A descriptor of this process, or of another: it is written to.
    Descriptor,
    /// Something that takes no bytes.
    Other(&'static str),
}

/// Where a file is, or will be.
#[derive(Debug)]
pub struct Place {
    at: At,
    path: PathBuf,
}

#[derive(Debug)]
enum At {
    Folder(Folder, OsString),
    /// What this process has open itself.
    Own(OwnedFd),
}

impl Folder {
    /// Names a file in it.
    pub fn file(&self, name: impl Into<OsString>) -> Place {
        Place::in_folder(self.clone(), name.into())
    }
}

impl Place {
    /// Finds where `path`, which is absolute, leads; `regions` are directories that somebody else fills. Nothing is made.
    ///
    /// # Errors
    /// [`Refused::Link`] where a directory on the way is a link of somebody else's.
    pub fn find(path: &Path, regions: &[PathBuf]) -> io::Result<Self> {
        if let Some(own) = process::own_descriptor(path)? {
            return Ok(Self { at: At::Own(own), path: path.to_owned() });
        }
        let Some(name) = path.file_name() else { return Err(Errno::ISDIR.into()) };
        let folder = Folder::find(path.parent().unwrap_or(Path::new("/")), regions)?;
        Ok(Self { at: At::Folder(folder, name.to_owned()), path: path.to_owned() })
    }

    pub(super) fn in_folder(folder: Folder, name: OsString) -> Self {
        let path = folder.path().join(&name);
        Self { at: At::Folder(folder, name), path }
    }

    /// Returns its path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks what stands there now.
    ///
    /// # Errors
    /// When the directory cannot be looked into.
    pub fn standing(&self) -> io::Result<Standing> {
        let At::Folder(folder, name) = &self.at else { return Ok(Standing::Descriptor) };
        match folder.open()? {
            Some(directory) => standing(directory.as_fd(), name),
            None => Ok(Standing::Nothing),
        }
    }

    /// Opens the file that stands there; none where there is no file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> io::Result<Option<File>> {
        let At::Folder(folder, name) = &self.at else { return Ok(None) };
        let Some(directory) = folder.open()? else { return Ok(None) };
        if !matches!(standing(directory.as_fd(), name)?, Standing::File | Standing::MountedFile) {
            return Ok(None);
        }
        open_file(directory.as_fd(), name, OFlags::RDONLY).map(Some)
    }

    /// Reads a file of at most `limit` bytes; none where no file stands there.
    ///
    /// # Errors
    /// [`Refused::TooLarge`], or when it cannot be read.
    pub fn read(&self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open()? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(Refused::TooLarge { limit }.into());
        }
        Ok(Some(bytes))
    }

    /// Writes a file as a whole: a reader sees what was there, or all of `content`. Missing directories are made.
    ///
    /// What cannot be replaced is written into.
    ///
    /// # Errors
    /// [`Refused`] for what takes no bytes, or when it cannot be written.
    pub fn write(&self, content: &[u8]) -> io::Result<()> {
        self.write_like(content, None)
    }

    /// Writes the file that stands there anew, in the same way; its mode stays, and its owner where that is allowed.
    ///
    /// # Errors
    /// As [`Place::write`], and where no file stands there, but a link, say.
    pub fn replace(&self, content: &[u8]) -> io::Result<()> {
        let file = self.open()?.ok_or(Errno::NOENT)?;
        self.write_like(content, Some(&file))
    }

    fn write_like(&self, content: &[u8], like: Option<&File>) -> io::Result<()> {
        let mut draft = match self.draft() {
            Err(error) if is_kept(&error) => return self.write_into(content).map_err(|_| error),
            result => result?,
        };
        draft.write_all(content)?;
        if draft.staged.is_none() {
            return Ok(());
        }
        if let Some(file) = like {
            draft.be_like(file)?;
        }
        draft.sync()?;
        match draft.finish() {
            Err(error) if is_kept(&error) => self.write_into(content).map_err(|_| error),
            result => result,
        }
    }

    /// Tells whether it can be written; nothing is changed. What is only opened when it is written is taken to be.
    ///
    /// # Errors
    /// Those of [`Place::write`] that are known without writing.
    pub fn probe(&self) -> io::Result<()> {
        let At::Folder(folder, name) = &self.at else { return Ok(()) };
        let standing = self.standing()?;
        let probed = match standing {
            Standing::Nothing | Standing::File | Standing::Link => folder.probe(),
            Standing::Other(kind) => return Err(Refused::Kind { kind }.into()),
            Standing::MountedFile | Standing::Device | Standing::Pipe | Standing::Descriptor => return Ok(()),
        };
        match (probed, folder.open()?) {
            (Err(error), Some(directory)) if standing == Standing::File && is_kept(&error) => {
                open_file(directory.as_fd(), name, OFlags::WRONLY).map(drop).map_err(|_| error)
            }
            (probed, _) => probed,
        }
    }

    /// Begins to write what is there only when it is whole; what cannot be replaced is written into as bytes come.
    ///
    /// # Errors
    /// As [`Place::write`].
    pub fn draft(&self) -> io::Result<Draft> {
        let (folder, name) = match &self.at {
            At::Own(own) => return Ok(Draft { file: own.try_clone()?.into(), staged: None }),
            At::Folder(folder, name) => (folder, name),
        };
        let directory = folder.make()?;
        let into = |file| Ok(Draft { file, staged: None });
        match standing(directory.as_fd(), name)? {
            Standing::Nothing | Standing::File | Standing::Link => Draft::create(directory.as_fd(), name.clone()),
            Standing::MountedFile => into(emptied(directory.as_fd(), name)?),
            Standing::Device => into(open_special(directory.as_fd(), name, FileType::CharacterDevice)?),
            Standing::Pipe => into(open_pipe(directory.as_fd(), name)?),
            Standing::Descriptor => {
                let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let file = File::from(openat(&directory, name, flags, Mode::empty())?);
                fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
                into(file)
            }
            Standing::Other(kind) => Err(Refused::Kind { kind }.into()),
        }
    }

    /// Writes into the file that is there, whatever its directory allows; fails where there is none.
    ///
    /// # Errors
    /// [`Refused`] where no file of its own is there.
    pub fn write_into(&self, content: &[u8]) -> io::Result<()> {
        let At::Folder(folder, name) = &self.at else { return Err(Errno::INVAL.into()) };
        let directory = folder.open()?.ok_or(Errno::NOENT)?;
        emptied(directory.as_fd(), name)?.write_all(content)
    }

    /// Adds to the end of a file in one piece, and makes it where it is not there.
    ///
    /// # Errors
    /// [`Refused`] for a link and for what takes no bytes.
    pub fn append(&self, content: &[u8]) -> io::Result<()> {
        let At::Folder(folder, name) = &self.at else { return self.draft()?.write_all(content) };
        let directory = folder.make()?;
        match standing(directory.as_fd(), name)? {
            Standing::Nothing => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(openat(&directory, name, flags, Mode::from_raw_mode(0o666))?);
                fit(file.as_fd(), directory.as_fd())?;
                file.write_all(content)
            }
            Standing::File | Standing::MountedFile => {
                open_file(directory.as_fd(), name, OFlags::WRONLY | OFlags::APPEND)?.write_all(content)
            }
            Standing::Link => Err(Refused::Kind { kind: "a symbolic link" }.into()),
            Standing::Device | Standing::Pipe | Standing::Descriptor | Standing::Other(_) => {
                self.draft()?.write_all(content)
            }
        }
    }

    /// Sees to it that nothing of an earlier build is there: a file or link is removed, or emptied where that cannot be.
    ///
    /// # Errors
    /// When neither is possible.
    pub fn clear(&self) -> io::Result<()> {
        let At::Folder(folder, name) = &self.at else { return Ok(()) };
        let Some(directory) = folder.open()? else { return Ok(()) };
        match standing(directory.as_fd(), name)? {
            Standing::File | Standing::Link => match unlinkat(&directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => emptied(directory.as_fd(), name).map(drop).map_err(|_| errno.into()),
            },
            Standing::MountedFile => emptied(directory.as_fd(), name).map(drop),
            Standing::Nothing | Standing::Device | Standing::Pipe | Standing::Descriptor | Standing::Other(_) => Ok(()),
        }
    }
}

/// Tells whether an error only says that a file cannot be replaced.
fn is_kept(error: &io::Error) -> bool {
    let errnos = [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::BUSY, Errno::XDEV];
    errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn standing(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Standing> {
    let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(Standing::Nothing),
        Err(errno) => return Err(errno.into()),
    };
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {
            let (above, own) = (Identity::of(directory, OsStr::new(""))?, Identity::of(directory, name)?);
            if own.is_in_mount_of(&above) { Standing::File } else { Standing::MountedFile }
        }
        FileType::Symlink if is_proc(directory) => Standing::Descriptor,
        FileType::Symlink => Standing::Link,
        FileType::CharacterDevice => Standing::Device,
        FileType::Fifo => Standing::Pipe,
        kind => Standing::Other(kind_name(kind)),
    })
}

/// Names what stands there in place of a file, for a message.
pub(super) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "something unknown",
    }
}

/// Opens a regular file, as it is now: what was looked at may have been replaced since.
fn open_file(directory: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> io::Result<File> {
    open_as(directory, name, flags, FileType::RegularFile)
}

fn open_as(directory: BorrowedFd<'_>, name: &OsStr, flags: OFlags, wanted: FileType) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat(directory, name, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
    if kind == wanted { Ok(fd.into()) } else { Err(Refused::Kind { kind: kind_name(kind) }.into()) }
}

/// Opens a file to be written into, and empties it.
fn emptied(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let file = open_file(directory, name, OFlags::WRONLY)?;
    if fstat(&file)?.st_nlink > 1 {
        return Err(Refused::Linked.into());
    }
    ftruncate(&file, 0)?;
    Ok(file)
}

fn open_special(directory: BorrowedFd<'_>, name: &OsStr, kind: FileType) -> io::Result<File> {
    let file = open_as(directory, name, OFlags::WRONLY, kind)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Opens a named pipe once somebody reads it.
fn open_pipe(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let begin = Instant::now();
    loop {
        match open_special(directory, name, FileType::Fifo) {
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                if begin.elapsed() > PATIENCE {
                    return Err(Refused::Unread.into());
                }
                std::thread::sleep(INTERVAL);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn place(path: &Path) -> Place {
        Place::find(path, &[]).expect("is found")
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_one() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("a/b/digest");
        let place = place(&path);
        assert!(!directory.path().join("a").exists(), "finding makes nothing");
        place.write(b"one").expect("writes");
        place.write(b"two").expect("replaces");
        assert_eq!(fs::read(&path).expect("reads"), b"two");
        let mut unfinished = place.draft().expect("begins");
        unfinished.write_all(b"thr").expect("writes");
        drop(unfinished);
        assert_eq!(fs::read(&path).expect("reads"), b"two");
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("lists").count(), 1);
        place.clear().expect("clears");
        place.clear().expect("nothing is there");
        assert!(!path.exists());
    }

    #[test]
    fn a_link_is_replaced_and_never_followed() {
        let directory = tempfile::tempdir().expect("tempdir");
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "somebody's").expect("writes");
        symlink(&target, &link).expect("links");
        place(&link).append(b"x").expect_err("what is added to must be a file");
        place(&link).write(b"new").expect("writes");
        assert!(fs::symlink_metadata(&link).expect("stat").is_file());
        fs::remove_file(&link).expect("removes");
        symlink(&target, &link).expect("links");
        place(&link).clear().expect("clears");
        assert!(fs::symlink_metadata(&link).is_err());
        assert_eq!(fs::read(&target).expect("reads"), b"somebody's");
    }

    #[test]
    fn directories_that_are_links_are_refused_where_somebody_else_made_them() {
        let directory = tempfile::tempdir().expect("tempdir");
        let (outside, context) = (directory.path().join("outside"), directory.path().join("context"));
        fs::create_dir_all(&outside).expect("makes");
        fs::create_dir_all(context.join("real")).expect("makes");
        symlink(&outside, context.join("out")).expect("links");
        let path = context.join("out/digest");
        let regions = [context.clone()];
        let error = Place::find(&path, &regions).map(drop).expect_err("is refused");
        assert!(matches!(super::super::refused(&error), Some(Refused::Link { .. })), "{error}");
        // A link that comes later is not followed either.
        let late = Place::find(&context.join("new/digest"), &regions).expect("is found");
        symlink(&outside, context.join("new")).expect("links");
        late.write(b"x").expect_err("is refused");
        assert_eq!(fs::read_dir(&outside).expect("lists").count(), 0);
        Place::find(&context.join("real/digest"), &regions).expect("is found").write(b"x").expect("writes");
    }

    #[test]
    fn devices_and_descriptors_are_written_into_and_the_rest_is_refused() {
        let directory = tempfile::tempdir().expect("tempdir");
        let null = place(Path::new("/dev/null"));
        null.write(b"gone").expect("writes");
        null.clear().expect("is left alone");
        assert_eq!(null.standing().expect("looks"), Standing::Device);
        place(directory.path()).write(b"x").expect_err("a directory is no file");
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("mkfifo");
        place(&fifo).clear().expect("is left alone");
        let error = place(&fifo).write(b"x").expect_err("nobody reads it");
        assert_eq!(super::super::refused(&error), Some(&Refused::Unread));
        let error = place(Path::new("/proc/no/such/place")).write(b"x").expect_err("is refused");
        assert!(error.raw_os_error().is_some(), "{error}");
    }

    #[test]
    fn who_may_write_in_the_directory_may_write_the_file() {
        for (mode, expected) in [(0o777, 0o666), (0o775, 0o664), (0o755, 0o644), (0o1777, 0o644)] {
            let directory = tempfile::tempdir().expect("tempdir");
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).expect("chmod");
            let path = directory.path().join("result");
            place(&path).write(b"x").expect("writes");
            let found = fs::metadata(&path).expect("stat").permissions().mode() & 0o777;
            assert_eq!(found, expected, "{mode:o}");
        }
    }

    #[test]
    fn a_file_with_other_names_is_not_written_into() {
        let directory = tempfile::tempdir().expect("tempdir");
        let (file, other) = (directory.path().join("file"), directory.path().join("other"));
        fs::write(&file, "shared").expect("writes");
        fs::hard_link(&file, &other).expect("links");
        place(&file).write_into(b"x").expect_err("is refused");
        place(&file).write(b"new").expect("is replaced");
        assert_eq!(fs::read(&other).expect("reads"), b"shared");
    }
}
