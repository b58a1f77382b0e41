//! Path lookup that cannot leave a directory.
//!
//! Two ways with the same results: openat2(2) with `RESOLVE_IN_ROOT`, and where the kernel (before 5.6) or a
//! seccomp profile (which answers EPERM or ENOSYS) has no openat2, a walk with one descriptor a component.
//!
//! *Invariant: an absolute symbolic link starts again at the root, and `..` at the root stays there.*

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::nest::OPEN;

/// As many as the kernel follows in one lookup. Source: path_resolution(7).
pub(super) const MAX_LINKS: usize = 40;

/// No path that a call takes is longer, its closing zero included.
const PATH_MAX: usize = 4096;

/// How often a lookup that raced with a rename is tried again before it is walked by component.
const MAX_RACES: usize = 64;

/// A way to look paths up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolver {
    /// In the kernel.
    Openat2,
    /// By component.
    Walk,
}

impl Resolver {
    /// Returns what works here.
    pub(super) fn probe(root: BorrowedFd<'_>) -> Self {
        match openat2(root, Path::new("."), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Self::Openat2,
            Err(_) => Self::Walk,
        }
    }

    /// Opens `path` below `root`; `flags` must not create anything. The last component is followed where it is
    /// a symbolic link, but for `O_NOFOLLOW`.
    pub(super) fn open(self, root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = plain(path);
        if path.as_os_str().len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        match self {
            Self::Walk => walk(root, &path, flags),
            Self::Openat2 => {
                for _ in 0..MAX_RACES {
                    match openat2(root, &path, flags) {
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        result => return result,
                    }
                }
                walk(root, &path, flags)
            }
        }
    }
}

fn openat2(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Returns `path` without slashes at its ends and without `.`, so that both ways see the same components.
fn plain(path: &Path) -> PathBuf {
    let plain: PathBuf =
        path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir)).collect();
    if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
}

fn walk(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut above = Above::default();
    let mut pending = Vec::new();
    push(&mut pending, path);
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == ".." {
            above.leave()?;
            continue;
        }
        let directory = above.last(root);
        let found =
            rustix::fs::openat(directory, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let last = pending.is_empty();
        let stat = rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink && !(last && flags.contains(OFlags::NOFOLLOW)) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target = PathBuf::from(OsString::from_vec(rustix::fs::readlinkat(&found, "", [])?.into_bytes()));
            if target.is_absolute() {
                above = Above::default();
            }
            push(&mut pending, &target);
        } else if last {
            // The name is opened again, for the flags; a symbolic link that came between is not followed.
            return rustix::fs::openat(directory, &name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        } else if kind == FileType::Directory {
            above.enter(found, (stat.st_dev, stat.st_ino));
        } else {
            return Err(Errno::NOTDIR);
        }
    }
    rustix::fs::openat(above.last(root), ".", flags | OFlags::CLOEXEC, Mode::empty())
}

/// The directories that a walk went through, of which the last are open.
#[derive(Default)]
struct Above(Vec<(Option<OwnedFd>, (u64, u64))>);

impl Above {
    fn last<'a>(&'a self, root: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.0.last().and_then(|(fd, _)| fd.as_ref()).map_or(root, AsFd::as_fd)
    }

    fn enter(&mut self, directory: OwnedFd, inode: (u64, u64)) {
        self.0.push((Some(directory), inode));
        if let Some(far) = self.0.len().checked_sub(OPEN + 1) {
            self.0[far].0 = None;
        }
    }

    fn leave(&mut self) -> Result<(), Errno> {
        let below = self.0.pop();
        if let (Some((Some(below), _)), Some((last @ None, inode))) = (below, self.0.last_mut()) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let found = rustix::fs::openat(&below, "..", flags, Mode::empty())?;
            let stat = rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH)?;
            // Somebody may have moved the directory meanwhile.
            if (stat.st_dev, stat.st_ino) != *inode {
                return Err(Errno::STALE);
            }
            *last = Some(found);
        }
        Ok(())
    }
}

fn push(pending: &mut Vec<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => pending.push(name.to_owned()),
            Component::ParentDir => pending.push(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}
