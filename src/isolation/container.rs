//! `container` isolation: the container's own `/` is the root file system, for pods that may neither unshare
//! nor mount. kaniko's way, but what stood in `/` is put back afterwards.
//!
//! RUN is a child in the same pid namespace with the image's environment only; it sees what is mounted in the
//! container, and nothing can be done about that. Whatever the executor itself needs of its own root must be
//! read before the first root file system is asked for.
//!
//! *Invariant: mount points, the state directory and the executor are never moved, removed or handed out.*

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::aside::{Aside, Untouched};
use super::protocol::{Place, Spec};
use super::supervise::supervise;
use super::{Cancel, Capacity, Error, Exit, Isolation, Process, Stream, mountinfo, only_in_namespaces, remedy};
use crate::rootfs::{Rootfs, RootfsKind};

/// Where things are set aside when the state directory is on another file system than `/`.
const BESIDE: &str = "/.yadokari-aside";

/// Kernel file systems, left alone even where a sandbox does not list them as mounts.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The backend.
#[derive(Debug)]
pub(super) struct Container {
    aside_directory: PathBuf,
    untouched: Untouched,
    aside: Option<Aside>,
    in_use: bool,
    cancel: Cancel,
    /// Held for as long as this lives: there is one `/`, whatever state directories its builds have.
    _lock: Option<OwnedFd>,
}

/// How often a lock that another build holds is tried again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Container {
    /// Waits until no other build uses `/`, finds out what is not to be touched, and puts back what an earlier
    /// build that was killed had set aside.
    pub(super) fn open(state: &Path, ignored: &[PathBuf], cancel: Cancel) -> Result<Self, Error> {
        let lock = lock_root(&cancel)?;
        fs::create_dir_all(state).map_err(super::directories::files("making", state))?;
        // Relations of paths go by their names: no symbolic link may be in them.
        let state = fs::canonicalize(state).map_err(super::directories::files("finding", state))?;
        let mut paths = mount_points()?;
        paths.extend(KERNEL.iter().map(PathBuf::from));
        paths.extend(ignored.iter().filter(|path| path.is_absolute()).map(|path| plain(path)));
        paths.extend(fs::read_link("/proc/self/exe").ok().filter(|path| path.exists()));
        paths.push(PathBuf::from(BESIDE));
        paths.push(state.clone());
        paths.retain(|path| path != Path::new("/"));
        let untouched = Untouched::new(paths);
        for directory in [state.join("aside"), PathBuf::from(BESIDE)] {
            if let Some(aside) = Aside::found(Path::new("/"), &directory, untouched.clone()) {
                aside.put_back().map_err(lost(&directory))?;
            }
        }
        let aside_directory = if same_file_system(&state) { state.join("aside") } else { PathBuf::from(BESIDE) };
        Ok(Self { aside_directory, untouched, aside: None, in_use: false, cancel, _lock: lock })
    }

    fn clear(&self) -> Result<(), Error> {
        let Some(aside) = &self.aside else { return Ok(()) };
        // Read again: what is mounted since is not to be emptied either.
        aside.clear(mount_points()?).map_err(super::directories::files("clearing", Path::new("/")))
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

fn lost(directory: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let aside = directory.to_owned();
    move |error| Error::PutBack { text: error.to_string(), aside }
}

/// Removes `.` and doubled slashes, so that paths can be compared by components.
fn plain(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.components().collect())
}

fn mount_points() -> Result<Vec<PathBuf>, Error> {
    let path = Path::new("/proc/self/mountinfo");
    Ok(mountinfo::targets(&mountinfo::read().map_err(super::directories::files("reading", path))?))
}

fn same_file_system(state: &Path) -> bool {
    // Of directories an overlay tells its own device number, whatever layer they come from.
    match (fs::metadata("/"), fs::metadata(state)) {
        (Ok(root), Ok(state)) => root.dev() == state.dev(),
        _ => false,
    }
}

impl Isolation for Container {
    fn rootfs(&mut self, _stage: usize) -> Result<Rootfs, Error> {
        if self.in_use {
            return Err(Error::Occupied);
        }
        if self.aside.is_none() {
            let aside = Aside::set(Path::new("/"), &self.aside_directory, self.untouched.clone());
            self.aside = Some(aside.map_err(|error| Error::Refused {
                wanted: "container",
                reason: format!("what stands in `/` cannot be set aside ({error})"),
                remedy: remedy::CONTAINER.to_owned(),
            })?);
        } else {
            self.clear()?;
        }
        self.in_use = true;
        let excluded = self.untouched.paths().to_vec();
        Ok(Rootfs::open(Path::new("/"), excluded, RootfsKind::Plain)?)
    }

    fn run(&self, _rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
        only_in_namespaces(process, "container")?;
        supervise(&Spec { process: process.clone(), place: Place::Here }, &self.cancel, output)
    }

    fn discard(&mut self, _rootfs: Rootfs) -> Result<(), Error> {
        self.in_use = false;
        self.clear()
    }

    fn holds(&self) -> Capacity {
        Capacity::One
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.in_use = false;
        match self.aside.take() {
            Some(aside) => aside.put_back().map_err(lost(&self.aside_directory)),
            None => Ok(()),
        }
    }
}

impl Drop for Container {
    /// A build that ends in a panic must not leave a container without its files.
    fn drop(&mut self) {
        let _journal_stays_for_the_next_start = self.finish();
    }
}
