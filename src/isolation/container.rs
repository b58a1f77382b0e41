//! `container` isolation: the container's own `/` is the root file system, for pods that may neither unshare
//! nor mount. kaniko's way, but what stood in `/` is put back afterwards.
//!
//! RUN is a child in the same pid namespace with the image's environment only; it sees what is mounted in the
//! container, and nothing can be done about that. Whatever the executor itself needs of its own root must be
//! read before the first root file system is asked for.
//!
//! *Invariant: mount points, the state directory and the executor are never moved, removed or handed out.*

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::aside::{Aside, Untouched};
use super::directories::files;
use super::protocol::{Place, Spec};
use super::stubs::Stubs;
use super::supervise::supervise;
use super::{
    Abilities, Cancel, Capacity, Error, Exit, Isolation, Mount, MountSource, Mounting, Obstacle, Process, Stream,
    mountinfo, placed, remedy,
};
use crate::rootfs::{Rootfs, RootfsKind};

/// Where things are set aside. Not in the state directory: that may be on another file system, is another one
/// for each run, and is removed with all in it, while these are the user's files.
const ASIDE: &str = "/.yadokari-aside";

/// Kernel file systems, left alone even where a sandbox does not list them as mounts.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The backend.
#[derive(Debug)]
pub(super) struct Container {
    untouched: Untouched,
    root: Mutex<Root>,
    cancel: Cancel,
    /// Held for as long as this lives: there is one `/`, whatever state directories its builds have.
    _lock: Option<OwnedFd>,
}

/// The one root file system.
#[derive(Debug, Default)]
struct Root {
    aside: Option<Aside>,
    in_use: bool,
}

/// How often a lock that another build holds is tried again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Container {
    /// Waits until no other build uses `/`, finds out what is not to be touched, and puts back what an earlier
    /// build that was killed had set aside.
    pub(super) fn open(state: &Path, ignored: &[PathBuf], cancel: Cancel) -> Result<Self, Error> {
        let lock = lock_root(&cancel)?;
        fs::create_dir_all(state).map_err(files("making", state))?;
        // Relations of paths go by their names: no symbolic link may be in them.
        let state = fs::canonicalize(state).map_err(files("finding", state))?;
        let mut paths = mount_points()?;
        paths.extend(KERNEL.iter().map(PathBuf::from));
        paths.extend(ignored.iter().filter(|path| path.is_absolute()).map(|path| plain(path)));
        paths.extend(fs::read_link("/proc/self/exe").ok().filter(|path| path.exists()));
        paths.push(PathBuf::from(ASIDE));
        paths.extend(family(&state));
        paths.push(state);
        paths.retain(|path| path != Path::new("/"));
        let untouched = Untouched::new(paths);
        if let Some(aside) = Aside::found(Path::new("/"), Path::new(ASIDE), untouched.clone()) {
            aside.put_back(mount_points()?).map_err(|error| lost(&error))?;
        }
        Ok(Self { untouched, root: Mutex::default(), cancel, _lock: lock })
    }

    /// Returns the state of `/`; a thread that died with it in hand leaves it true.
    fn root(&self) -> MutexGuard<'_, Root> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses mounts whose place, as links lead to it now, is in the way of something of the container's.
    fn must_be_free(&self, stubs: &Stubs, mounts: &[Mount]) -> Result<(), Error> {
        // Read again: RUN may be allowed to mount, and a volume may have come since.
        let paths = Untouched::new(self.untouched.paths().iter().cloned().chain(mount_points()?).collect());
        for mount in mounts {
            let place = stubs.resolve(&mount.target)?;
            let is_file = matches!(mount.what, MountSource::File { .. });
            let in_the_way = |obstacle: &Obstacle| !is_file || obstacle.is_below(&place);
            if let Some(Obstacle(obstacle)) = obstacle(&paths, &place).filter(in_the_way) {
                return Err(Error::Obstructed { target: mount.target.clone(), obstacle });
            }
        }
        Ok(())
    }

    /// Makes a directory of ours on the root's own file system. It goes with all that is set aside.
    fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        if self.root().aside.is_none() {
            return Err(Error::NeverOpened);
        }
        let path = Path::new(ASIDE).join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(files("making", &path))?;
        Ok(path)
    }
}

impl Root {
    fn clear(&self) -> Result<(), Error> {
        let Some(aside) = &self.aside else { return Ok(()) };
        // Read again: what is mounted since is not to be emptied either.
        aside.clear(mount_points()?).map_err(files("clearing", Path::new("/")))
    }
}

/// Locks the root directory against other builds in this container; waits for those that hold it.
///
/// None where the file system knows no locks: then it is as with kaniko, and two builds at a time destroy
/// each other.
fn lock_root(cancel: &Cancel) -> Result<Option<OwnedFd>, Error> {
    let Ok(root) = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
        return Ok(None);
    };
    loop {
        match rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(root)),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(_) => return Ok(None),
        }
        let mut waited = [PollFd::new(cancel, PollFlags::IN)];
        if matches!(poll(&mut waited, Some(&PAUSE)), Ok(ready) if ready > 0) {
            return Err(Error::Interrupted);
        }
    }
}

fn lost(error: &std::io::Error) -> Error {
    Error::PutBack { text: error.to_string(), aside: PathBuf::from(ASIDE) }
}

fn obstacle(paths: &Untouched, target: &Path) -> Option<Obstacle> {
    let mut paths = paths.paths().iter();
    paths.find(|path| path.starts_with(target) || target.starts_with(path)).map(|path| Obstacle(path.clone()))
}

/// Names, as a pattern, what else of executors lies beside the state directory `…/<name>-<token>`: the state of
/// others that wait for their turn, and what outlives a run.
fn family(state: &Path) -> Option<PathBuf> {
    let name = state.file_name()?.as_bytes();
    let length = name.iter().rposition(|byte| *byte == b'-')? + 1;
    let mut pattern = name[..length].to_vec();
    pattern.push(b'*');
    Some(state.with_file_name(OsStr::from_bytes(&pattern)))
}

/// Removes `.` and doubled slashes, so that paths can be compared by components.
fn plain(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.components().collect())
}

fn mount_points() -> Result<Vec<PathBuf>, Error> {
    let path = Path::new("/proc/self/mountinfo");
    Ok(mountinfo::targets(&mountinfo::read().map_err(files("reading", path))?))
}

impl Isolation for Container {
    fn rootfs(&self, _stage: usize) -> Result<Rootfs, Error> {
        let mut root = self.root();
        if root.in_use {
            return Err(Error::Occupied);
        }
        if root.aside.is_none() {
            let aside = Aside::set(Path::new("/"), Path::new(ASIDE), self.untouched.clone());
            root.aside = Some(aside.map_err(|error| Error::Refused {
                wanted: "container",
                reason: format!("what stands in `/` cannot be set aside ({error})"),
                remedy: remedy::CONTAINER.to_owned(),
            })?);
        } else {
            root.clear()?;
        }
        root.in_use = true;
        let excluded = self.untouched.paths().to_vec();
        Ok(Rootfs::open(Path::new("/"), excluded, RootfsKind::Plain)?)
    }

    fn run(&self, _rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
        placed::refuse_namespaces(process, self.abilities())?;
        let scratch = self.directory("run")?;
        let mut stubs = Stubs::new(Path::new("/"));
        let result = self
            .must_be_free(&stubs, &process.mounts)
            .and_then(|()| placed::place(&mut stubs, &process.mounts, &scratch, self.abilities()))
            .and_then(|()| supervise(&Spec { process: process.clone(), place: Place::Here }, &self.cancel, output));
        // The image's own files come out of the scratch directory, so it goes only when they are back.
        let removed = stubs.remove();
        let cleared = removed.and_then(|()| fs::remove_dir_all(&scratch).map_err(files("removing", &scratch)));
        let exit = result?;
        cleared.map(|()| exit)
    }

    fn discard(&self, _rootfs: Rootfs) -> Result<(), Error> {
        let mut root = self.root();
        root.in_use = false;
        root.clear()
    }

    fn holds(&self) -> Capacity {
        Capacity::One
    }

    fn abilities(&self) -> Abilities {
        Abilities { isolation: "container", mounting: Mounting::Linked }
    }

    fn obstacle(&self, target: &Path) -> Option<Obstacle> {
        obstacle(&self.untouched, target)
    }

    fn workspace(&self) -> Result<PathBuf, Error> {
        self.directory("workspace")
    }

    fn finish(&self) -> Result<(), Error> {
        let mut root = self.root();
        root.in_use = false;
        match root.aside.take() {
            Some(aside) => aside.put_back(mount_points()?).map_err(|error| lost(&error)),
            None => Ok(()),
        }
    }
}

impl Drop for Container {
    /// Whoever drops it without having ended it must not leave the container without its files.
    fn drop(&mut self) {
        let _journal_stays_for_the_next_start = self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_the_state_belongs_to_executors_by_its_name() {
        for (state, expected) in [("/k/run-12ab", Some("/k/run-*")), ("/k/a-b-c", Some("/k/a-b-*")), ("/k/state", None)]
        {
            assert_eq!(family(Path::new(state)), expected.map(PathBuf::from), "{state}");
        }
    }
}
