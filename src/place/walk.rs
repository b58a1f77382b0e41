//! From `/` to a directory, one component after the other.
//!
//! `rootfs::resolve` walks through links, too, in another world: one root that no link leaves, where all links mean the
//! same and the kernel does it alone where it can. Here each link is judged by where it stands, and mounts count. What
//! the two would share is a loop over names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, fstatfs, openat, readlinkat, statat, statx};
use rustix::io::Errno;

use super::Refused;
use super::refused::link;

/// As many as the kernel follows in one lookup. Source: path_resolution(7).
const MAX_LINKS: usize = 40;
/// Source: statfs(2).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// What becomes of links that stand in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// They are followed as if they stood in none: the user wrote the path.
    Trusted,
    /// They are followed within their region.
    Confined,
    /// The same, but the region is the directory that was named, whatever holds it; a link that is absolute starts there,
    /// as in an image.
    Whole,
    /// They are refused.
    Refused,
}

/// What tells one file from all others, and in which mount it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

struct Visited {
    fd: OwnedFd,
    name: OsString,
    identity: Identity,
}

/// A directory with all that are above it, none of them a link.
pub(super) struct Walk {
    above: Vec<Visited>,
    links: usize,
    /// Directories that must not be left: those of links that were followed, with the link.
    confined: Vec<(Identity, PathBuf, PathBuf)>,
    /// Directories that somebody else fills.
    regions: Vec<Identity>,
}

impl Walk {
    /// Begins at `/`; `regions` are directories that somebody else fills, which need not be there.
    pub(super) fn begin(regions: &[PathBuf]) -> io::Result<Self> {
        let fd = openat(CWD, "/", directory_flags(), Mode::empty())?;
        let identity = Identity::of(fd.as_fd(), OsStr::new(""))?;
        let mut walk = Self {
            above: vec![Visited { fd, name: OsString::new(), identity }],
            links: 0,
            confined: Vec::new(),
            regions: Vec::new(),
        };
        // A region at `/` would make everything on the machine somebody else's.
        let found = regions.iter().filter(|path| path.parent().is_some()).filter_map(|path| {
            let fd = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
            Identity::of(fd.as_fd(), OsStr::new("")).ok()
        });
        walk.regions = found.collect();
        Ok(walk)
    }

    /// Returns where it is.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.above.last().expect("the root stays").fd.as_fd()
    }

    /// Returns the path of where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.path_of(self.above.len() - 1)
    }

    fn path_of(&self, index: usize) -> PathBuf {
        let names = self.above[..=index].iter().map(|visited| visited.name.as_os_str());
        std::iter::once(OsStr::new("/")).chain(names).collect()
    }

    /// Gives up all but the last directory.
    pub(super) fn into_directory(mut self) -> OwnedFd {
        self.above.pop().expect("the root stays").fd
    }

    /// Goes on to the directory `path`, which is relative to where it is, or absolute.
    ///
    /// Returns the names that are left where one of them is not there.
    pub(super) fn go(&mut self, path: &Path, links: Links) -> io::Result<Vec<OsString>> {
        let mut pending = Vec::new();
        self.push(&mut pending, path);
        while let Some(name) = pending.pop() {
            if name == ".." {
                if self.above.len() > 1 {
                    self.above.pop();
                }
                continue;
            }
            match openat(self.here(), &name, directory_flags(), Mode::empty()) {
                Ok(fd) => {
                    let identity = Identity::of(fd.as_fd(), OsStr::new(""))?;
                    self.above.push(Visited { fd, name, identity });
                }
                Err(Errno::NOENT) => {
                    pending.push(name);
                    pending.reverse();
                    return Ok(pending);
                }
                Err(errno @ (Errno::NOTDIR | Errno::LOOP)) => match self.target(&name) {
                    Some(target) => {
                        let target = self.judge(&name, target, links)?;
                        self.push(&mut pending, &target);
                    }
                    None => return Err(errno.into()),
                },
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Vec::new())
    }

    /// Follows `path` to what is no link, and returns its name in the directory that was reached; none where nothing is
    /// there.
    pub(super) fn find(&mut self, path: &Path, links: Links) -> io::Result<Option<OsString>> {
        let mut path = path.to_owned();
        loop {
            let Some(name) = path.file_name().map(OsStr::to_owned) else { return Err(Errno::ISDIR.into()) };
            let parent = path.parent().unwrap_or(Path::new(""));
            if !self.go(parent, links)?.is_empty() {
                return Ok(None);
            }
            // What the kernel's links lead to has no name that could be walked to: pipes, files that were removed.
            if self.is_proc() {
                return Ok(Some(name));
            }
            match self.target(&name) {
                Some(target) => path = self.judge(&name, target, links)?,
                None => match statat(self.here(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => return Ok(Some(name)),
                    Err(Errno::NOENT) => return Ok(None),
                    Err(errno) => return Err(errno.into()),
                },
            }
        }
    }

    /// Checks that what was reached is in the regions of the links that led there, and in their mounts.
    pub(super) fn check(&self, name: &OsStr) -> io::Result<()> {
        for (region, path, link) in &self.confined {
            let position = self.above.iter().position(|visited| visited.identity == *region);
            let is_within = position.is_some_and(|position| {
                self.above[position..].iter().all(|visited| visited.identity.mount == region.mount)
            });
            let found = Identity::of(self.here(), name);
            if !is_within || found.is_ok_and(|found| found.mount != region.mount) {
                return Err(Refused::LeadsOut { link: link.clone(), region: path.clone() }.into());
            }
        }
        Ok(())
    }

    /// Tells whether this is the kernel's file system of processes, whose links nobody can plant.
    pub(super) fn is_proc(&self) -> bool {
        is_proc(self.here())
    }

    fn push(&mut self, pending: &mut Vec<OsString>, path: &Path) {
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => pending.push(name.to_owned()),
                Component::ParentDir => pending.push("..".into()),
                Component::RootDir => self.above.truncate(1),
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }

    fn target(&self, name: &OsStr) -> Option<PathBuf> {
        let target = readlinkat(self.here(), name, Vec::new()).ok()?;
        Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Decides whether the link `name` is followed, and returns where to, from here.
    fn judge(&mut self, name: &OsStr, target: PathBuf, links: Links) -> io::Result<PathBuf> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        if links == Links::Trusted {
            return Ok(target);
        }
        let Some(index) = self.region(links) else { return Ok(target) };
        let (path, region) = (self.path().join(name), self.path_of(index));
        if links == Links::Refused {
            return Err(link(&path, &region));
        }
        self.confined.push((self.above[index].identity, region, path));
        match target.strip_prefix("/") {
            Ok(rest) if links == Links::Whole => {
                self.above.truncate(index + 1);
                Ok(rest.to_owned())
            }
            Ok(_) | Err(_) => Ok(target),
        }
    }

    /// Returns which of the directories above is the region that this one is in; none in the machine's own.
    fn region(&self, links: Links) -> Option<usize> {
        let named = || self.above.iter().rposition(|visited| self.regions.contains(&visited.identity));
        if links == Links::Whole {
            return named();
        }
        if self.is_proc() {
            return None;
        }
        let mount = self.above.last()?.identity.mount;
        let first = self.above.iter().rposition(|visited| visited.identity.mount != mount).map_or(0, |last| last + 1);
        if first > 0 {
            return Some(first);
        }
        let is_work_tree = |visited: &Visited| statat(&visited.fd, ".git", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        self.above.iter().rposition(is_work_tree).or_else(named)
    }
}

impl Identity {
    pub(super) fn of(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let at = if name.as_bytes().is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
        let flags = at | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let found = statx(directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
        let device = (found.stx_dev_major, found.stx_dev_minor);
        // Before Linux 5.8 statx gives no id of a mount: two mounts are told apart by their file systems alone.
        let by_device = u64::from(device.0) << 32 | u64::from(device.1) | 1 << 63;
        let is_known = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let mount = if is_known { found.stx_mnt_id } else { by_device };
        Ok(Self { device, inode: found.stx_ino, mount })
    }

    pub(super) fn is_in_mount_of(&self, other: &Self) -> bool {
        self.mount == other.mount
    }
}

fn directory_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

pub(super) fn is_proc(directory: BorrowedFd<'_>) -> bool {
    fstatfs(directory).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC)
}
