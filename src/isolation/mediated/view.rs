//! The files that RUN sees: its root, what is mounted in it, and what is told of each file.
//!
//! Knows directories by descriptor and where they are in RUN's eyes. Does not know calls.
//!
//! *Invariant: what is opened here lies in the root or in a mount; that the kernel never follows a link of RUN's out of
//! them is seen to by `openat2` and by going name by name.*

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::known::Known;
use super::people::People;
use crate::rootfs::{Inode, Owners, Row};

/// What opens nothing, but holds a place.
pub(super) const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Files as they are.
    Plain,
    /// The processes of RUN.
    Processes,
    /// The machine's devices, to be read.
    System,
}

/// A directory or file in the place of another.
#[derive(Debug)]
pub(super) struct Mounted {
    /// Where RUN sees it.
    pub(super) target: PathBuf,
    /// What is there.
    pub(super) root: OwnedFd,
    /// Where that is.
    pub(super) real: PathBuf,
    pub(super) read_only: bool,
    pub(super) kind: Kind,
}

impl Mounted {
    /// Returns where RUN sees what is at a path below.
    pub(super) fn shows(&self, rest: &Path) -> PathBuf {
        if rest.as_os_str().is_empty() { self.target.clone() } else { self.target.join(rest) }
    }
}

/// All that RUN sees.
#[derive(Debug)]
pub(super) struct View {
    /// The root comes first.
    pub(super) mounts: Vec<Mounted>,
    /// Which mount is on a file or directory.
    pub(super) crossings: HashMap<Inode, usize>,
    /// Targets below which something of the image's lies hidden.
    pub(super) covered: Vec<PathBuf>,
    pub(super) owners: Owners,
    /// Who files belong to on the disk.
    user: u32,
    /// Who asks: what `/proc/self` is.
    pub(super) caller: Cell<i32>,
    pub(super) people: RefCell<People>,
    pub(super) known: RefCell<Known>,
}

/// Something that is there, and held.
#[derive(Debug)]
pub(super) struct Found {
    /// Opened with `O_PATH`.
    pub(super) at: OwnedFd,
    /// What it is where it is no file of a disk, and so no path leads to it.
    pub(super) special: Option<Special>,
    /// What the disk tells of it, once it was asked for.
    known: OnceCell<Box<Stat>>,
}

/// A file that is made when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// Below `/proc`, by its path from there.
    Process(PathBuf),
    /// Below `/sys`, by its path from there.
    System(PathBuf),
    /// Below the `fd` of a process: the descriptor itself.
    Descriptor,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Where {
    /// To something.
    There(Found),
    /// To a name that a directory does not have.
    Missing { parent: Found, name: OsString },
}

impl Found {
    pub(super) fn special(at: OwnedFd, special: Special) -> Self {
        Self { special: Some(special), ..Self::from(at) }
    }

    /// Returns what the disk tells of it; asked for once, however many look.
    pub(super) fn real(&self) -> Result<Stat, Errno> {
        if let Some(stat) = self.known.get() {
            return Ok(**stat);
        }
        let stat = rustix::fs::fstat(&self.at)?;
        Ok(**self.known.get_or_init(|| Box::new(stat)))
    }

    /// Tells whether it is a file that is made when it is read, and so has nothing to change.
    pub(super) fn is_made_up(&self) -> bool {
        self.special.as_ref().is_some_and(|special| *special != Special::Descriptor)
    }
}

impl From<OwnedFd> for Found {
    fn from(at: OwnedFd) -> Self {
        Self { at, special: None, known: OnceCell::new() }
    }
}

impl View {
    /// Begins with a root.
    pub(super) fn new(root: OwnedFd, real: PathBuf, owners: Owners, people: People) -> Self {
        let user = rustix::process::getuid().as_raw();
        let root = Mounted { target: PathBuf::from("/"), root, real, read_only: false, kind: Kind::Plain };
        let (caller, people, known) = (Cell::new(0), RefCell::new(people), RefCell::default());
        Self { mounts: vec![root], crossings: HashMap::new(), covered: Vec::new(), owners, user, caller, people, known }
    }

    /// Puts a mount on what `target` leads to.
    pub(super) fn mount(&mut self, on: BorrowedFd<'_>, mounted: Mounted) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(on)?;
        let holds_something = is_directory(&stat) && !is_empty(on)?;
        if holds_something && mounted.target != Path::new("/") {
            self.covered.push(mounted.target.clone());
        }
        self.crossings.insert(inode(&stat), self.mounts.len());
        self.mounts.push(mounted);
        Ok(())
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.mounts[0].root.as_fd()
    }

    /// Returns what RUN is told of a file.
    pub(super) fn stat(&self, at: impl AsFd) -> Result<Stat, Errno> {
        Ok(self.told(rustix::fs::fstat(at)?).0)
    }

    /// Returns what RUN is told of something that was found.
    pub(super) fn stat_of(&self, found: &Found) -> Result<Stat, Errno> {
        Ok(self.told(found.real()?).0)
    }

    /// Returns what RUN is told of a file of which the disk tells `stat`, and its row.
    pub(super) fn told(&self, mut stat: Stat) -> (Stat, Row) {
        let row = self.owners.row(inode(&stat));
        if row == Row::default() && stat.st_uid != self.user {
            // Of the machine, or of a volume.
            return (stat, row);
        }
        (stat.st_uid, stat.st_gid) = (row.uid, row.gid);
        if let Some(mode) = row.mode {
            stat.st_mode = stat.st_mode & libc::S_IFMT | u32::from(mode);
        }
        if let Some(device) = row.device {
            let kind = if device.block { libc::S_IFBLK } else { libc::S_IFCHR };
            stat.st_mode = stat.st_mode & 0o7777 | kind;
            stat.st_rdev = rustix::fs::makedev(device.major, device.minor);
            stat.st_size = 0;
        }
        (stat, row)
    }

    /// Tells whether a file is RUN's to change: not of the machine's or of a volume's other users.
    pub(super) fn is_ours(&self, stat: &Stat) -> bool {
        stat.st_uid == self.user
    }

    /// Returns the mount that is on a file.
    pub(super) fn crossing(&self, stat: &Stat) -> Option<&Mounted> {
        self.crossings.get(&inode(stat)).and_then(|index| self.mounts.get(*index))
    }

    /// Tells whether a file is itself what a mount shows, as the script of a heredoc is.
    pub(super) fn is_mounted(&self, stat: &Stat) -> bool {
        let is_it = |mount: &Mounted| rustix::fs::fstat(&mount.root).is_ok_and(|root| inode(&root) == inode(stat));
        self.mounts.iter().any(is_it)
    }

    /// Returns in which mount a file is, and its path from there; none for what is in none.
    pub(super) fn place_of(&self, real: &Path) -> Option<(usize, PathBuf)> {
        let within = |(index, mount): (usize, &Mounted)| {
            real.strip_prefix(&mount.real).ok().map(|rest| (mount.real.as_os_str().len(), index, rest.to_owned()))
        };
        let deepest = self.mounts.iter().enumerate().filter_map(within).max_by_key(|(length, ..)| *length);
        deepest.map(|(_, index, rest)| (index, rest))
    }

    /// Returns where RUN sees what is at a path of ours; none for what it does not see.
    pub(super) fn inside(&self, real: &Path) -> Option<PathBuf> {
        let (index, rest) = self.place_of(real)?;
        Some(self.mounts[index].shows(&rest))
    }

    /// Returns in which mount an open file or directory is.
    pub(super) fn mount_of(&self, at: &OwnedFd) -> usize {
        if self.mounts.len() == 1 {
            return 0;
        }
        let stat = rustix::fs::fstat(at).ok();
        let directory = stat.filter(is_directory).as_ref().map(inode);
        if let Some(known) = directory.and_then(|directory| self.known.borrow().mount_of(directory)) {
            return known;
        }
        let found = real_path(at).and_then(|path| self.place_of(&path)).map(|(index, _)| index);
        if let (Some(directory), Some(index)) = (directory, found)
            && self.mounts[index].kind == Kind::Plain
        {
            self.known.borrow_mut().add_directory(directory, index);
        }
        found.unwrap_or(0)
    }

    /// Returns the directory that a held file is in, and its name there.
    pub(super) fn name_of(&self, at: &OwnedFd) -> Result<(OwnedFd, OsString), Errno> {
        let path = real_path(at).ok_or(Errno::NOENT)?;
        let (parent, name) = (path.parent().ok_or(Errno::NOENT)?, path.file_name().ok_or(Errno::NOENT)?);
        let (index, rest) = self.place_of(parent).ok_or(Errno::NOENT)?;
        let rest = if rest.as_os_str().is_empty() { ".".into() } else { rest };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let parent = openat2(self.mounts[index].root.as_fd(), rest.as_os_str(), PLACE, resolve)?;
        Ok((parent, name.to_owned()))
    }

    /// Fails where a file lies in a mount that is only to be read.
    pub(super) fn check_writable(&self, found: &Found) -> Result<(), Errno> {
        if self.mounts.iter().any(|mount| mount.read_only) && self.mounts[self.mount_of(&found.at)].read_only {
            return Err(Errno::ROFS);
        }
        Ok(())
    }
}

/// Where a path begins that does not begin with a slash.
#[derive(Debug)]
pub(super) enum Start {
    /// The working directory of a task.
    Directory(i32),
    /// What a descriptor of a task is open for.
    Descriptor(i32, i32),
}

impl Start {
    /// Opens it.
    pub(super) fn open(&self) -> Result<OwnedFd, Errno> {
        let opened = rustix::fs::open(self.link(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        match (self, opened) {
            (Self::Descriptor(..), Err(Errno::NOENT)) => Err(Errno::BADF),
            (_, opened) => opened,
        }
    }

    /// Fails for a descriptor that only holds a place: what it holds cannot be changed or read by it.
    pub(super) fn check_opened(&self) -> Result<(), Errno> {
        let Self::Descriptor(task, number) = self else { return Ok(()) };
        let text = std::fs::read_to_string(format!("/proc/{task}/fdinfo/{number}")).map_err(|_| Errno::BADF)?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or_default();
        if OFlags::from_bits_retain(flags).contains(OFlags::PATH) { Err(Errno::BADF) } else { Ok(()) }
    }

    fn link(&self) -> PathBuf {
        match self {
            Self::Directory(task) => PathBuf::from(format!("/proc/{task}/cwd")),
            Self::Descriptor(task, number) => PathBuf::from(format!("/proc/{task}/fd/{number}")),
        }
    }

    /// Returns where RUN sees it.
    pub(super) fn place(&self, view: &View) -> Result<PathBuf, Errno> {
        let missing = if matches!(self, Self::Directory(_)) { Errno::NOENT } else { Errno::BADF };
        let real = rustix::fs::readlink(self.link(), Vec::new()).map_err(|_| missing)?;
        let bytes = real.into_bytes();
        if matches!(self, Self::Descriptor(..)) && !is_directory(&rustix::fs::fstat(self.open()?)?) {
            return Err(Errno::NOTDIR);
        }
        if bytes.ends_with(b" (deleted)") {
            return Err(Errno::NOENT);
        }
        view.inside(Path::new(OsStr::from_bytes(&bytes))).ok_or(Errno::NOTDIR)
    }
}

/// Opens a path as the kernel resolves it, within `from`.
pub(super) fn openat2(
    from: BorrowedFd<'_>,
    path: &OsStr,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat2(from, path, flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Returns the path by which a held file is opened once more.
pub(super) fn again(at: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", at.as_raw_fd())
}

/// Opens a held file once more.
pub(super) fn reopen(at: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(again(at), flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

/// Returns where a held file is; none where it is nowhere any more.
pub(super) fn real_path(at: &OwnedFd) -> Option<PathBuf> {
    let path = rustix::fs::readlinkat(CWD, again(at), Vec::new()).ok()?.into_bytes();
    (!path.ends_with(b" (deleted)")).then(|| PathBuf::from(OsString::from_vec(path)))
}

pub(super) fn inode(stat: &Stat) -> Inode {
    let device = u64::from(rustix::fs::major(stat.st_dev)) << 32 | u64::from(rustix::fs::minor(stat.st_dev));
    Inode { device, number: stat.st_ino }
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    kind(stat) == libc::S_IFDIR
}

pub(super) fn is_link(stat: &Stat) -> bool {
    kind(stat) == libc::S_IFLNK
}

pub(super) fn kind(stat: &Stat) -> u32 {
    stat.st_mode & libc::S_IFMT
}

fn is_empty(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    let mut entries = rustix::fs::Dir::new(opened)?;
    Ok(!entries.any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))))
}
