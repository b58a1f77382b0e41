//! Directories that are written into.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, linkat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::refused::link;
use super::walk::{Links, Walk};
use super::{Draft, random_name};

/// A directory in the making, which takes its place when it is finished; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct StagedFolder {
    parent: OwnedFd,
    fd: OwnedFd,
    temporary: OsString,
    name: OsString,
    is_finished: bool,
}

/// A regular file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified last.
    pub modified: SystemTime,
}

/// A directory by its path, which is walked anew each time: in `container` isolation, what stands in `/` is moved away
/// while RUNs are there, and comes back as another directory.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Directories that somebody else fills, as the user has named them.
    regions: Vec<PathBuf>,
    /// The directory that this one was found in. No link in it is followed, even where it is in no region.
    found_in: Option<PathBuf>,
}

impl Folder {
    /// Finds a directory; `regions` are directories that somebody else fills. Nothing is made.
    ///
    /// # Errors
    /// [`Refused::Link`](super::Refused::Link) where a link of somebody else's is on the way.
    pub fn find(path: &Path, regions: &[PathBuf]) -> io::Result<Self> {
        let folder = Self { path: path.to_owned(), regions: regions.to_owned(), found_in: None };
        folder.walk().map(|_| folder)
    }

    /// Names a directory that somebody else may fill, which need not be there: links on the way to it are followed, none
    /// in it.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), regions: vec![path.to_owned()], found_in: None }
    }

    /// Goes as far as there are directories, and returns the names that are left.
    fn walk(&self) -> io::Result<(OwnedFd, Vec<OsString>)> {
        let all: Vec<PathBuf> = self.regions.iter().chain(&self.found_in).cloned().collect();
        let mut walk = Walk::begin(&all)?;
        // The user named these directories, so links on the way to them are the user's; only what is in them is somebody else's.
        let named = self.regions.iter().filter(|region| self.path.starts_with(region));
        let trusted = named.max_by_key(|region| region.components().count());
        let mut missing = Vec::new();
        let mut rest = self.path.as_path();
        if let Some(trusted) = trusted {
            missing = walk.go(trusted, Links::Trusted)?;
            rest = self.path.strip_prefix(trusted).unwrap_or(rest);
        }
        if missing.is_empty() {
            missing = walk.go(rest, Links::Refused)?;
        } else {
            missing.extend(rest.iter().map(OsStr::to_owned));
        }
        if missing.iter().any(|name| name == "..") {
            return Err(Errno::NOENT.into());
        }
        Ok((walk.into_directory(), missing))
    }

    /// Returns its path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory; none where it is not there.
    ///
    /// # Errors
    /// As [`Folder::find`].
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let (fd, missing) = self.walk()?;
        Ok(missing.is_empty().then_some(fd))
    }

    /// Opens the directory, and makes what of it is missing.
    ///
    /// # Errors
    /// As [`Folder::find`], and where a directory cannot be made.
    pub fn make(&self) -> io::Result<OwnedFd> {
        let (fd, missing) = self.walk()?;
        self.make_below(fd, &missing)
    }

    fn make_below(&self, mut fd: OwnedFd, names: &[OsString]) -> io::Result<OwnedFd> {
        for name in names {
            match mkdirat(&fd, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            fd = self.enter(fd.as_fd(), name)?;
        }
        Ok(fd)
    }

    /// Tells whether files can be made in it, or it can be made where it is missing; nothing stays.
    ///
    /// # Errors
    /// Those of making a file there.
    pub fn probe(&self) -> io::Result<()> {
        let (fd, _missing) = self.walk()?;
        Draft::create(fd.as_fd(), OsString::new()).map(drop)
    }

    /// Begins to fill a directory that is there only when it is whole. It must not be there yet.
    ///
    /// # Errors
    /// When there is such a directory, or it cannot be made.
    pub fn stage(&self) -> io::Result<StagedFolder> {
        let (fd, missing) = self.walk()?;
        let (name, above) = missing.split_last().ok_or(Errno::EXIST)?;
        let parent = self.make_below(fd, above)?;
        let temporary = OsString::from(random_name()?);
        mkdirat(&parent, &temporary, Mode::from_raw_mode(0o777))?;
        let fd = self.enter(parent.as_fd(), &temporary)?;
        Ok(StagedFolder { parent, fd, temporary, name: name.clone(), is_finished: false })
    }

    /// Begins a file whose name is not known yet, and makes what is missing of the directory.
    ///
    /// # Errors
    /// As [`Folder::make`], and where the file cannot be made.
    pub fn draft(&self) -> io::Result<Draft> {
        Draft::create(self.make()?.as_fd(), OsString::new())
    }

    /// Gives a file one more name, in this directory; what stands there is replaced. Links that lead to the file are
    /// followed.
    ///
    /// # Errors
    /// When it cannot be done, most often because the file is on another file system.
    pub fn link(&self, file: &Path, name: &OsStr) -> io::Result<()> {
        let (directory, temporary) = (self.make()?, random_name()?);
        linkat(CWD, file, &directory, &temporary, AtFlags::SYMLINK_FOLLOW)?;
        let renamed = renameat(&directory, &temporary, &directory, name);
        // The temporary name is left where the rename failed, and where both names already led to the same file.
        let _ = unlinkat(&directory, &temporary, AtFlags::empty());
        Ok(renamed?)
    }

    /// Removes a file, if it is there; a link is removed, and not what it leads to.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        let Some(directory) = self.open()? else { return Ok(()) };
        match unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Lists the regular files in it; none where it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn files(&self) -> io::Result<Vec<Listed>> {
        let Some(directory) = self.open()? else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        let opened = openat(&directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for entry in Dir::new(opened)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            // Somebody may have removed it meanwhile.
            let Ok(found) = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
                let since = Duration::from_secs(u64::try_from(found.st_mtime).unwrap_or(0));
                let (size, modified) = (u64::try_from(found.st_size).unwrap_or(0), SystemTime::UNIX_EPOCH + since);
                files.push(Listed { name, size, modified });
            }
        }
        Ok(files)
    }

    /// Names a directory in it.
    #[must_use]
    pub fn below(&self, path: impl AsRef<Path>) -> Self {
        let found_in = Some(self.found_in.clone().unwrap_or_else(|| self.path.clone()));
        Self { path: self.path.join(path.as_ref()), regions: self.regions.clone(), found_in }
    }

    /// Opens a directory that is no link.
    fn enter(&self, at: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(at, name, flags, Mode::empty()).map_err(|errno| {
            let is_link = rustix::fs::readlinkat(at, name, Vec::new()).is_ok();
            if is_link { link(Path::new(name), &self.path) } else { errno.into() }
        })
    }
}

impl StagedFolder {
    /// Opens it once more.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn open(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// When something stands there that is no empty directory.
    pub fn finish(mut self) -> io::Result<()> {
        renameat(&self.parent, &self.temporary, &self.parent, &self.name)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        if !self.is_finished {
            let path = Path::new("/proc/self/fd").join(self.parent.as_raw_fd().to_string()).join(&self.temporary);
            // The caller reports why the directory was given up; a failure to remove it would add nothing.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
