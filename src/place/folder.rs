//! Directories that are written into.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat, renameat};
use rustix::io::Errno;

use super::refused::link;
use super::walk::{Links, Walk};
use super::{Place, random_name};

/// A directory in the making, which takes its place when it is finished; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct StagedFolder {
    parent: OwnedFd,
    fd: OwnedFd,
    temporary: OsString,
    name: OsString,
    is_finished: bool,
}

/// A directory by its path, which is walked anew each time: in `container` isolation, what stands in `/` is moved away
/// while RUNs are there, and comes back as another directory.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Directories that somebody else fills, as the user has named them.
    regions: Vec<PathBuf>,
    /// The directory that this one was found in: no link in that is followed, wherever it is.
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

    /// Goes as far as there are directories, and returns the names that are left.
    fn walk(&self) -> io::Result<(OwnedFd, Vec<OsString>)> {
        let all: Vec<PathBuf> = self.regions.iter().chain(&self.found_in).cloned().collect();
        let mut walk = Walk::begin(&all)?;
        // The user has named these: what is in them is somebody else's, and not they themselves.
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

    /// Names a file in it.
    pub fn file(&self, name: impl Into<OsString>) -> Place {
        Place::in_folder(self.clone(), name.into())
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
            // The error that made it useless is told; that it could not be removed adds nothing.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
