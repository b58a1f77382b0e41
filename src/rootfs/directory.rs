//! One open directory, and what can be done with the names in it.
//!
//! Every operation takes a single name and follows no symbolic link, so nothing here can leave the directory.
//! Knows no paths but for messages.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, RawDir, Statx, StatxFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::nest::Nest;
use super::nodes::born;
use super::owners::mode_on_disk;
use super::{Device, Error, Nodes, Owners};
use crate::image::Timestamp;

/// The room for a part of a directory's listing, in bytes; on the heap, since directories nest.
const LISTING: usize = 16 * 1024;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket; layers cannot hold one.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// What the file system tells about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Size in bytes; of a device its number, as `major << 32 | minor`.
    pub size: u64,
    /// Whether a file that is no directory has more than one name.
    pub linked: bool,
    /// Which inode.
    pub inode: Inode,
    /// When the content was last modified.
    pub mtime: Timestamp,
    /// When the inode last changed.
    pub ctime: Timestamp,
}

/// What tells one file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode {
    /// The file system's device number, as `major << 32 | minor`.
    pub device: u64,
    /// The number on that device.
    pub number: u64,
}

impl Stat {
    /// Returns what would be told if this file were a device.
    pub(super) fn of_device(self, device: &Device) -> Self {
        let kind = if device.block { FileKind::BlockDevice } else { FileKind::CharacterDevice };
        Self { kind, size: u64::from(device.major) << 32 | u64::from(device.minor), ..self }
    }

    /// Returns major and minor number of a device.
    pub fn device_numbers(&self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.size.to_be_bytes();
        (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
    }
}

/// What tells of files what the disk cannot say.
#[derive(Clone, Debug, Default)]
pub(super) enum Beside {
    /// Nothing: the disk says all.
    #[default]
    Nothing,
    /// Who owns them, and all else that is root's to set.
    Owners(Arc<Owners>),
    /// Which of them are devices.
    Nodes(Arc<Nodes>),
}

impl Beside {
    /// Returns what is told of the file `name` of which the disk tells `stat`.
    pub(super) fn tell(&self, stat: Stat, directory: BorrowedFd<'_>, name: &OsStr) -> Stat {
        match self {
            Self::Nothing => stat,
            Self::Owners(owners) => owners.tell(stat),
            Self::Nodes(nodes) => nodes.tell(stat, || born(directory, name)),
        }
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    beside: Beside,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(CString);

impl Name {
    fn new(name: &OsStr) -> Result<Self, Error> {
        CString::new(name.as_bytes()).map(Self).map_err(|_| Error::NoName { path: name.into() })
    }

    /// Returns the name.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(self.0.to_bytes())
    }
}

impl Directory {
    pub(super) fn new(fd: OwnedFd, path: PathBuf, beside: Beside) -> Self {
        Self { fd, path, beside }
    }

    /// Returns the table of owners, where the disk cannot say them.
    pub(super) fn owners(&self) -> Option<&Owners> {
        match &self.beside {
            Beside::Owners(owners) => Some(owners),
            Beside::Nothing | Beside::Nodes(_) => None,
        }
    }

    fn told(&self, name: &OsStr, stat: Stat) -> Stat {
        self.beside.tell(stat, self.fd.as_fd(), name)
    }

    /// Returns what the disk itself tells of `name`.
    fn on_disk(&self, name: &OsStr) -> Result<Stat, Error> {
        let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
        statx(self.fd.as_fd(), name, flags).map_err(self.error("statx", name))
    }

    /// Returns which inode `name` is.
    pub(super) fn inode(&self, name: &OsStr) -> Result<Inode, Error> {
        self.on_disk(name).map(|stat| stat.inode)
    }

    /// Takes note of a new file: it has no row of an old one, and belongs to who works with it.
    fn made(&self, name: &OsStr) -> Result<(), Error> {
        let Some(owners) = self.owners() else { return Ok(()) };
        owners.forget(self.inode(name)?);
        owners.real().map_or(Ok(()), |(uid, gid)| self.chown(name, uid, gid))
    }

    /// Returns the path that this directory was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, call: &'static str, name: impl AsRef<Path>) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::call(call, &self.path, name, errno)
    }

    /// Returns what is known about this directory itself.
    pub fn stat_self(&self) -> Result<Stat, Error> {
        let found = statx(self.fd.as_fd(), OsStr::new(""), AtFlags::EMPTY_PATH);
        found.map(|stat| self.told(OsStr::new(""), stat)).map_err(self.error("statx", ""))
    }

    /// Returns what is known about `name`; none where it does not exist.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Stat>, Error> {
        match statx(self.fd.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(self.told(name, stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error("statx", name)(errno)),
        }
    }

    /// Returns the names in this directory, sorted by bytes, without `.` and `..`.
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(self.error("openat", ""))?;
        let mut buffer = Vec::with_capacity(LISTING);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(self.error("getdents64", ""))?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(Name(name.to_owned()));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens the directory `name`.
    pub fn open_directory(&self, name: &OsStr) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(self.error("openat", name))?;
        Ok(Self { fd, path: self.path.join(name), beside: self.beside.clone() })
    }

    /// Opens the same directory once more.
    pub(super) fn try_clone(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|source| Error::Call { call: "dup", path: self.path.clone(), source })?;
        Ok(Self { fd, path: self.path.clone(), beside: self.beside.clone() })
    }

    /// Opens the directory that this one is in. Where that is may have changed since this one was opened, and `path` does
    /// not know it.
    pub(super) fn open_parent(&self) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, "..", flags, Mode::empty()).map_err(self.error("openat", ".."))?;
        Ok(Self { fd, path: PathBuf::new(), beside: self.beside.clone() })
    }

    /// Returns the same directory with this path for messages.
    pub(super) fn named(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Opens the file `name` for reading, without changing its access time where that is permitted.
    pub fn open_file(&self, name: &OsStr) -> Result<File, Error> {
        open_for_reading(|flags| rustix::fs::openat(&self.fd, name, flags | OFlags::NOFOLLOW, Mode::empty()))
            .map_err(self.error("openat", name))
    }

    /// Returns the target of the symbolic link `name`.
    pub fn read_link(&self, name: &OsStr) -> Result<PathBuf, Error> {
        let target = rustix::fs::readlinkat(&self.fd, name, []).map_err(self.error("readlinkat", name))?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// Creates the file `name`, readable and writable for its owner only; fails where there is one.
    pub fn create_file(&self, name: &OsStr) -> Result<File, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        let file = fd.map(File::from).map_err(self.error("openat", name))?;
        self.made(name)?;
        Ok(file)
    }

    /// Creates the directory `name`, whose mode is `mode` less the umask.
    pub fn create_directory(&self, name: &OsStr, mode: u16) -> Result<(), Error> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode.into())).map_err(self.error("mkdirat", name))?;
        self.made(name)
    }

    /// Creates the symbolic link `name`.
    pub fn create_symlink(&self, name: &OsStr, target: &Path) -> Result<(), Error> {
        rustix::fs::symlinkat(target, &self.fd, name).map_err(self.error("symlinkat", name))?;
        self.made(name)
    }

    /// Creates a named pipe, readable and writable for its owner only.
    pub fn create_fifo(&self, name: &OsStr) -> Result<(), Error> {
        self.node(name, FileType::Fifo, 0)
    }

    /// Creates a character or block device, readable and writable for its owner only; where there is a table for it and the
    /// kernel allows none, a file that stands for it.
    pub fn create_device(&self, name: &OsStr, device: Device) -> Result<(), Error> {
        let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        let node = || self.node(name, kind, rustix::fs::makedev(device.major, device.minor));
        match &self.beside {
            Beside::Nothing => node(),
            Beside::Owners(owners) => {
                self.create_file(name)?;
                owners.change(self.inode(name)?, |row| row.device = Some(device));
                Ok(())
            }
            Beside::Nodes(nodes) => node().or_else(|_| {
                self.create_file(name)?;
                nodes.add(self.inode(name)?, born(self.fd.as_fd(), name), device);
                Ok(())
            }),
        }
    }

    fn node(&self, name: &OsStr, kind: FileType, device: Dev) -> Result<(), Error> {
        rustix::fs::mknodat(&self.fd, name, kind, Mode::RUSR | Mode::WUSR, device)
            .map_err(self.error("mknodat", name))?;
        self.made(name)
    }

    /// Gives the file `old` of the directory `from` the further name `name` here.
    pub fn create_link(&self, name: &OsStr, from: &Self, old: &OsStr) -> Result<(), Error> {
        rustix::fs::linkat(&from.fd, old, &self.fd, name, AtFlags::empty()).map_err(self.error("linkat", name))
    }

    /// Gives the file `old` the name `new`, and removes what had that.
    pub fn rename(&self, old: &OsStr, new: &OsStr) -> Result<(), Error> {
        rustix::fs::renameat(&self.fd, old, &self.fd, new).map_err(self.error("renameat", new))
    }

    /// Sets owner and group.
    pub fn set_owner(&self, name: &OsStr, uid: u32, gid: u32) -> Result<(), Error> {
        let Some(owners) = self.owners() else { return self.chown(name, uid, gid) };
        let stat = self.on_disk(name)?;
        owners.change(stat.inode, |row| (row.uid, row.gid) = (uid, gid));
        // What was made by other means than this type.
        let strange = owners.real().filter(|real| *real != (stat.uid, stat.gid));
        strange.map_or(Ok(()), |(uid, gid)| self.chown(name, uid, gid))
    }

    fn chown(&self, name: &OsStr, uid: u32, gid: u32) -> Result<(), Error> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(&self.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.error("fchownat", name))
    }

    /// Sets the mode of `name`, which the caller knows to be no symbolic link (those have no mode).
    ///
    /// Before Linux 6.6 no call sets a mode without following a link; nothing but us works in a tree while it
    /// is unpacked, so what was no link a moment ago is none now.
    pub fn set_mode(&self, name: &OsStr, mode: u16) -> Result<(), Error> {
        let Some(owners) = self.owners() else { return self.chmod(name, mode) };
        let stat = self.on_disk(name)?;
        let real = mode_on_disk(stat.kind, mode);
        owners.change(stat.inode, |row| row.mode = (real != mode).then_some(mode));
        self.chmod(name, real)
    }

    fn chmod(&self, name: &OsStr, mode: u16) -> Result<(), Error> {
        rustix::fs::chmodat(&self.fd, name, Mode::from_raw_mode(mode.into()), AtFlags::empty())
            .map_err(self.error("fchmodat", name))
    }

    /// Sets the time of the last modification, and the access time to the same.
    pub fn set_mtime(&self, name: &OsStr, mtime: Timestamp) -> Result<(), Error> {
        rustix::fs::utimensat(&self.fd, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.error("utimensat", name))
    }

    /// Removes `name`, which is no directory.
    pub fn remove_file(&self, name: &OsStr) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).map_err(self.error("unlinkat", name))
    }

    /// Removes the empty directory `name`.
    pub fn remove_directory(&self, name: &OsStr) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).map_err(self.error("unlinkat", name))
    }

    /// Removes `name` and, where it is a directory, all below it; true where it existed.
    pub fn remove_tree(&self, name: &OsStr) -> Result<bool, Error> {
        match self.remove_one(name)? {
            Removed::Gone => return Ok(true),
            Removed::Absent => return Ok(false),
            Removed::IsDirectory => {}
        }
        let mut nest = Nest::new(self)?;
        let (mut next, mut outer) = (Some(Name::new(name)?), self.stat_self()?.inode);
        let mut entered: Vec<(Name, Inode, std::vec::IntoIter<Name>)> = Vec::new();
        loop {
            if let Some(directory) = next.take() {
                nest.enter(directory.as_os_str(), outer)?;
                outer = nest.innermost().stat_self()?.inode;
                entered.push((directory, outer, nest.innermost().names()?.into_iter()));
            }
            let Some((_, inode, names)) = entered.last_mut() else { return Ok(true) };
            outer = *inode;
            match names.next() {
                Some(child) => {
                    if nest.innermost().remove_one(child.as_os_str())? == Removed::IsDirectory {
                        next = Some(child);
                    }
                }
                None => {
                    nest.leave()?;
                    if let Some((directory, ..)) = entered.pop() {
                        nest.innermost().remove_directory(directory.as_os_str())?;
                    }
                }
            }
        }
    }

    fn remove_one(&self, name: &OsStr) -> Result<Removed, Error> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(Removed::Gone),
            Err(Errno::NOENT) => Ok(Removed::Absent),
            // A directory gives EISDIR on Linux, EPERM by the standard.
            Err(Errno::ISDIR | Errno::PERM) => Ok(Removed::IsDirectory),
            Err(errno) => Err(self.error("unlinkat", name)(errno)),
        }
    }
}

/// What came of removing a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removed {
    Gone,
    Absent,
    IsDirectory,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens for reading with `O_NOATIME`, which only the owner and CAP_FOWNER may ask for, else without.
///
/// `O_NONBLOCK`: should a regular file have become a named pipe, opening it must not wait for a writer.
pub(super) fn open_for_reading(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        result => result,
    };
    opened.map(File::from)
}

/// Returns `mtime` in the kernel's form, as the access time too.
pub(super) fn timestamps(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Asks the kernel about `name` below `directory`.
pub(super) fn statx(directory: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<Stat, Errno> {
    let mask = StatxFlags::BASIC_STATS;
    let found = rustix::fs::statx(directory, name, flags | AtFlags::STATX_DONT_SYNC, mask)?;
    Ok(stat_of(&found))
}

fn stat_of(found: &Statx) -> Stat {
    let pair = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
    let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::RegularFile | FileType::Unknown => FileKind::Regular,
    };
    let size = match kind {
        FileKind::CharacterDevice | FileKind::BlockDevice => pair(found.stx_rdev_major, found.stx_rdev_minor),
        FileKind::Directory => 0,
        FileKind::Regular | FileKind::Symlink | FileKind::Fifo | FileKind::Socket => found.stx_size,
    };
    let time = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
    Stat {
        kind,
        mode: found.stx_mode & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size,
        linked: kind != FileKind::Directory && found.stx_nlink > 1,
        inode: Inode { device: pair(found.stx_dev_major, found.stx_dev_minor), number: found.stx_ino },
        mtime: time(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        ctime: time(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
    }
}
