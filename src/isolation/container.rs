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

use super::aside::{Aside, PutBack, Untouched};
use super::directories::files;
use super::mirror::Mirror;
use super::own_program::OwnProgram;
use super::pod_files::PodFiles;
use super::protocol::{Place, Spec};
use super::stubs::Stubs;
use super::supervise::supervise;
use super::volumes::{KERNEL, Watch, Written, is_in_every_container};
use super::{
    Abilities, Cancel, Capacity, Chosen, Error, Exit, Isolation, Mount, MountSource, Mounting, Obstacle, Options,
    Process, Stream, WrittenFile, choose, mountinfo, placed, remedy,
};
use crate::rootfs::{Exclusions, Rootfs, RootfsKind};
use crate::sys::process::CapabilitySet;

/// Where things are set aside. Not in the state directory: that may be on another file system, is another one
/// for each run, and is removed with all in it, while these are the user's files.
pub(super) const ASIDE: &str = "/.yadokari-aside";

/// The backend.
#[derive(Debug)]
pub(super) struct Container {
    untouched: Untouched,
    /// What the executor itself writes to, and what it is told to leave alone.
    own: Vec<PathBuf>,
    /// `--ignore-path`, which no image has anything at.
    ignored: Vec<PathBuf>,
    /// Files that RUN must not read.
    confidential: Vec<PathBuf>,
    program: Option<OwnProgram>,
    /// What RUN may have.
    capabilities: CapabilitySet,
    root: Mutex<Root>,
    cancel: Cancel,
    /// What another isolation is opened with where this one was not asked for.
    otherwise: Option<Options>,
    /// Held for as long as this lives: there is one `/`, whatever state directories its builds have.
    _lock: Option<OwnedFd>,
}

/// The one root file system.
#[derive(Debug, Default)]
struct Root {
    aside: Option<Aside>,
    in_use: bool,
    /// What is mounted, from the first root file system on.
    volumes: Option<(Watch, PodFiles)>,
}

/// How often a lock that another build holds is tried again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Container {
    /// Waits until no other build uses `/`, finds out what is not to be touched, and puts back what an earlier
    /// build that was killed had set aside. Where it was `asked_for`, no other isolation will do.
    ///
    /// Returns the files, too, that such a build held in memory: they are lost.
    pub(super) fn open(
        options: &Options,
        asked_for: bool,
        capabilities: CapabilitySet,
    ) -> Result<(Self, Vec<PathBuf>), Error> {
        let Options { state_directory: state, cancel, .. } = options;
        let lock = lock_root(cancel)?;
        fs::create_dir_all(state).map_err(files("making", state))?;
        // Relations of paths go by their names: no symbolic link may be in them.
        let state = fs::canonicalize(state).map_err(files("finding", state))?;
        let absolute = |paths: &[PathBuf]| -> Vec<PathBuf> {
            paths.iter().filter(|path| path.is_absolute()).map(|path| plain(path)).collect()
        };
        let ignored = absolute(&options.ignore_paths);
        let mut own: Vec<PathBuf> = ignored.iter().cloned().chain(absolute(&options.kept_paths)).collect();
        let program = OwnProgram::find();
        own.extend(program.as_ref().map(|program| program.path().to_owned()));
        own.extend(family(&state));
        own.extend([PathBuf::from(ASIDE), state]);
        let mut paths = mount_points()?;
        paths.extend(KERNEL.iter().map(PathBuf::from).chain(own.iter().cloned()));
        paths.retain(|path| path != Path::new("/"));
        let untouched = Untouched::new(paths);
        let found = Aside::found(Path::new("/"), Path::new(ASIDE), untouched.clone());
        let found =
            found.map(|aside| aside.put_back(mount_points()?).map_err(|error| not_put_back(&error))).transpose()?;
        let otherwise = (!asked_for).then(|| options.clone());
        let (confidential, root, cancel) = (options.confidential.clone(), Mutex::default(), cancel.clone());
        let container =
            Self { untouched, own, ignored, confidential, program, capabilities, root, cancel, otherwise, _lock: lock };
        Ok((container, found.map(|found| found.lost).unwrap_or_default()))
    }

    /// Returns the state of `/`; a thread that died with it in hand leaves it true.
    fn root(&self) -> MutexGuard<'_, Root> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spec(&self, process: &Process) -> Spec {
        Spec { process: process.clone(), place: Place::Here, capabilities: self.capabilities.bits() }
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

    /// Runs a process between two looks at what is mounted, and at directories that have to stay above a mount though
    /// the image has something else in their place.
    fn supervise(
        &self,
        rootfs: &Rootfs,
        process: &Process,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Exit, Error> {
        let known = Exclusions::new(self.untouched.paths().iter().chain(&self.ignored));
        let kept = rootfs.excluded.iter().filter(|path| !known.contains(path.strip_prefix("/").unwrap_or(path)));
        let of_pod = |source| files("restoring", Path::new("/etc"))(source);
        if let Some((watch, files)) = &mut self.root().volumes {
            watch.before_run(kept);
            files.before_run().map_err(of_pod)?;
        }
        let links = rootfs.directories_for_links.iter();
        let mirrors = links.map(|(directory, link)| Mirror::show(&rootfs.path, directory, link, &known));
        let mirrors: Vec<Option<Mirror<'_>>> = mirrors.collect::<Result<_, _>>()?;
        let ended = supervise(&self.spec(process), &self.cancel, output);
        let taken = mirrors.into_iter().flatten().try_for_each(Mirror::take_back);
        let restored = self.root().volumes.as_mut().map_or(Ok(()), |(_, files)| files.after_run()).map_err(of_pod);
        let exit = ended?;
        taken.and(restored)?;
        // What a command that has failed has done is of no use to anybody.
        if exit == Exit::Status(0)
            && let Some((watch, _)) = &mut self.root().volumes
            && let Some(Written { volume, path, more }) = watch.after_run()
        {
            return Err(Error::Written { path, more, volume });
        }
        Ok(exit)
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

fn not_put_back(error: &std::io::Error) -> Error {
    Error::PutBack { text: error.to_string(), aside: PathBuf::from(ASIDE) }
}

/// Tells whether a line that tells of a failure names a path, or something below it.
fn names(output: &str, path: &Path) -> bool {
    const FAILURES: [&str; 4] =
        ["Read-only file system", "Device or resource busy", "Resource busy", "Invalid cross-device link"];
    let Some(path) = path.to_str() else { return false };
    let lines = output.lines().filter(|line| FAILURES.iter().any(|failure| line.contains(failure)));
    let is_end = |rest: &str| rest.chars().next().is_none_or(|next| !next.is_alphanumeric() && !"-_.".contains(next));
    if path == "/" {
        return false;
    }
    lines.flat_map(|line| line.match_indices(path).map(move |(at, _)| &line[at + path.len()..])).any(is_end)
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

const MOUNTS: &str = "/proc/self/mountinfo";

pub(super) fn mount_points() -> Result<Vec<PathBuf>, Error> {
    Ok(mountinfo::targets(&mountinfo::read().map_err(files("reading", Path::new(MOUNTS)))?))
}

impl Isolation for Container {
    fn rootfs(&self, _stage: usize, tell: &dyn Fn(&str)) -> Result<Rootfs, Error> {
        let mut root = self.root();
        if root.in_use {
            return Err(Error::Occupied);
        }
        if root.aside.is_none() {
            self.cancel.note_aside(Some(self.untouched.paths().to_vec()));
            let tell = |files| {
                tell(&format!(
                    "setting aside {files} files of this container's own image, which are copied for that; \
                     they are put back after the build"
                ));
            };
            let (untouched, confidential) = (self.untouched.clone(), &self.confidential);
            let aside = Aside::set(Path::new("/"), Path::new(ASIDE), untouched, confidential, &tell);
            if aside.is_err() {
                self.cancel.note_aside(None);
            }
            root.aside = Some(aside.map_err(|error| Error::Refused {
                wanted: "container",
                reason: format!("what stands in `/` cannot be set aside ({error})"),
                remedy: remedy::CONTAINER.to_owned(),
            })?);
        } else {
            root.clear()?;
        }
        if let Some((_, files)) = &mut root.volumes {
            files.begin();
        } else {
            let mounts = mountinfo::read().map_err(files("reading", Path::new(MOUNTS)))?;
            root.volumes = Some((Watch::begin(&mounts, &self.own), PodFiles::save(&mounts, &self.own)));
        }
        root.in_use = true;
        let excluded = self.untouched.paths().to_vec();
        Ok(Rootfs::open(Path::new("/"), excluded, RootfsKind::Plain)?)
    }

    fn run(&self, rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
        placed::refuse_namespaces(process, self.abilities())?;
        let scratch = self.directory("run")?;
        let mut stubs = Stubs::new(Path::new("/"));
        let result = self
            .must_be_free(&stubs, &process.mounts)
            .and_then(|()| placed::place(&mut stubs, &process.mounts, &scratch, self.abilities()))
            .and_then(|()| self.supervise(rootfs, process, output));
        // The image's own files come out of the scratch directory, so it goes only when they are back.
        let removed = stubs.remove();
        let cleared = removed.and_then(|()| fs::remove_dir_all(&scratch).map_err(files("removing", &scratch)));
        // However RUN ended: it must not be what the next build here executes.
        self.program.as_ref().map_or(Ok(()), OwnProgram::verify)?;
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
        Abilities { isolation: "container", mounting: Mounting::MovedBeside }
    }

    fn obstacle(&self, target: &Path) -> Option<Obstacle> {
        obstacle(&self.untouched, target)
    }

    fn hiding(&self) -> Vec<PathBuf> {
        let is_images = |path: &&PathBuf| {
            is_in_every_container(path) || self.ignored.iter().any(|ignored| path.starts_with(ignored))
        };
        self.untouched.paths().iter().filter(|path| !is_images(path)).cloned().collect()
    }

    fn instead(&self, reason: &str) -> Option<(Box<dyn Isolation>, Chosen)> {
        choose::instead_of_container(self.otherwise.as_ref()?, reason)
    }

    fn written(&self) -> Vec<WrittenFile> {
        self.root().volumes.as_ref().map(|(_, files)| files.written()).unwrap_or_default()
    }

    fn explain(&self, output: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(output);
        let mounts = mount_points().ok()?;
        let named = mounts.iter().find(|mount| names(&text, mount));
        // What replaces a file is renamed from beside it, and named in its stead.
        let beside =
            || mounts.iter().find(|mount| mount.is_file() && mount.parent().is_some_and(|at| names(&text, at)));
        let mount = named.or_else(beside)?;
        Some(format!(
            "{} is mounted in this container: RUN can neither remove, rename nor replace it, nor change what is \
             read-only there; leave it out, or use --isolation mediated, namespace or chroot, where RUN does not see it",
            mount.display()
        ))
    }

    fn workspace(&self) -> Result<PathBuf, Error> {
        self.directory("workspace")
    }

    fn finish(&self) -> Result<(), Error> {
        let mut root = self.root();
        root.in_use = false;
        let Some(aside) = root.aside.take() else { return Ok(()) };
        let PutBack { changed, .. } = aside.put_back(mount_points()?).map_err(|error| not_put_back(&error))?;
        self.cancel.note_aside(None);
        if changed.is_empty() { Ok(()) } else { Err(Error::AsideChanged { paths: changed }) }
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
    fn a_failure_on_a_mount_names_it() {
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        for (line, path, expected) in [
            (&*format!("chown: {account}/..data: Read-only file system"), account, true),
            ("rm: cannot remove '/etc/hosts': Device or resource busy", "/etc/hosts", true),
            ("sed: cannot rename /etc/sedAbC12: Device or resource busy", "/etc", true),
            ("sed: cannot rename /etcetera/sedAbC12: Device or resource busy", "/etc", false),
            ("cat /etc/hosts: No such file or directory", "/etc/hosts", false),
            ("rm: cannot remove '/etc/hosts.d': Device or resource busy", "/etc/hosts", false),
        ] {
            assert_eq!(names(line, Path::new(path)), expected, "{line}");
        }
    }

    #[test]
    fn what_lies_beside_the_state_belongs_to_executors_by_its_name() {
        for (state, expected) in [("/k/run-12ab", Some("/k/run-*")), ("/k/a-b-c", Some("/k/a-b-*")), ("/k/state", None)]
        {
            assert_eq!(family(Path::new(state)), expected.map(PathBuf::from), "{state}");
        }
    }
}
