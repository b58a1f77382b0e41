//! Files that are in memory, and on no disk, while RUN could read them: credentials of the executor's container.
//!
//! *Invariant: a file is noted in the journal before it is removed; where the executor is killed, it is lost from the
//! container and not left for RUN to read.*

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use zeroize::Zeroizing;

/// The largest file that is held, in bytes: no credential is as large.
const LARGEST: u64 = 1 << 20;
/// Linux's own limit of a list of attributes and of a value. Source: linux/limits.h, XATTR_LIST_MAX, XATTR_SIZE_MAX.
const LARGEST_XATTRS: usize = 64 << 10;

/// One file.
pub(super) struct Held {
    /// Where it is below the directory that it was taken from.
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
    metadata: fs::Metadata,
    xattrs: Vec<(OsString, Vec<u8>)>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({})", self.path.display())
    }
}

impl Held {
    /// Reads the regular file `path` below `directory`, and leaves it there.
    pub(super) fn read(directory: &Path, path: &Path) -> io::Result<Self> {
        let parent = Parent::open(directory, path, false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(&parent.directory, &parent.name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            let text = format!("{} is no file of at most {LARGEST} bytes, as a credential is", path.display());
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        let xattrs = xattrs(&file)?;
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(LARGEST).unwrap_or_default()));
        file.take(LARGEST).read_to_end(&mut content)?;
        Ok(Self { path: path.to_owned(), content, metadata, xattrs })
    }

    /// Removes the file from `directory`; the times of the directory around it stay.
    pub(super) fn remove_from(&self, directory: &Path) -> io::Result<()> {
        let parent = Parent::open(directory, &self.path, false)?;
        parent.keep_times(|| Ok(rustix::fs::unlinkat(&parent.directory, &parent.name, AtFlags::empty())?))
    }

    /// Writes the file into `directory` as it was. Directories above it that are gone are made for root alone; a link
    /// in the place of one is an error.
    pub(super) fn write_to(&self, directory: &Path) -> io::Result<()> {
        let parent = Parent::open(directory, &self.path, true)?;
        parent.keep_times(|| {
            match rustix::fs::unlinkat(&parent.directory, &parent.name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&parent.directory, &parent.name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(file);
            file.write_all(&self.content)?;
            let metadata = &self.metadata;
            fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(metadata.mode() & 0o7777))?;
            for (name, value) in &self.xattrs {
                rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty())?;
            }
            Ok(rustix::fs::futimens(&file, &times(metadata))?)
        })
    }
}

/// The directory that a file is in.
struct Parent {
    directory: OwnedFd,
    name: OsString,
}

impl Parent {
    /// Opens the directory of `path` below `top`; no symbolic link is followed on the way.
    fn open(top: &Path, path: &Path, make: bool) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = rustix::fs::open(top, flags, Mode::empty())?;
        let mut names = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        let mut name: &OsStr = names.next().ok_or(ErrorKind::InvalidInput)?;
        for next in names {
            if make {
                match rustix::fs::mkdirat(&directory, name, Mode::RWXU) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            directory = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
            name = next;
        }
        Ok(Self { directory, name: name.to_owned() })
    }

    fn keep_times(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let before = File::from(self.directory.as_fd().try_clone_to_owned()?).metadata()?;
        let result = change();
        rustix::fs::futimens(&self.directory, &times(&before))?;
        result
    }
}

fn times(metadata: &fs::Metadata) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    }
}

fn xattrs(file: &File) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    use std::os::unix::ffi::OsStringExt as _;

    let mut list = vec![0; LARGEST_XATTRS];
    let length = match rustix::fs::flistxattr(file, &mut *list) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = OsString::from_vec(name.to_vec());
            let mut value = vec![0; LARGEST_XATTRS];
            let length = rustix::fs::fgetxattr(file, &name, &mut *value)?;
            value.truncate(length);
            Ok((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was_and_through_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (top, file) = (directory.path(), directory.path().join("a/b/key"));
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        // Not every file system of a test machine has them.
        let marked = rustix::fs::setxattr(&file, "user.mark", b"x", XattrFlags::empty()).is_ok();
        let before = [fs::metadata(&file).unwrap(), fs::metadata(top.join("a/b")).unwrap()];
        let held = Held::read(top, Path::new("a/b/key")).unwrap();
        assert_eq!(format!("{held:?}"), "Held(a/b/key)");
        held.remove_from(top).unwrap();
        assert!(!file.exists());
        held.write_to(top).unwrap();
        let after = [fs::metadata(&file).unwrap(), fs::metadata(top.join("a/b")).unwrap()];
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
            assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()));
        }
        assert_eq!(fs::read(&file).unwrap(), b"secret");
        assert_eq!(rustix::fs::getxattr(&file, "user.mark", &mut [0; 9][..]).is_ok(), marked);

        fs::remove_dir_all(top.join("a")).unwrap();
        held.write_to(top).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"secret");
        fs::remove_dir_all(top.join("a")).unwrap();
        fs::create_dir_all(top.join("elsewhere/b")).unwrap();
        symlink("elsewhere", top.join("a")).unwrap();
        held.write_to(top).unwrap_err();
        assert!(!top.join("elsewhere/b/key").exists());
        fs::create_dir(top.join("directory")).unwrap();
        Held::read(top, Path::new("directory")).unwrap_err();
    }
}
