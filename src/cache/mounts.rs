//! Cache mounts: directories that RUNs find again, in this build or, where a directory for them is given, in later
//! builds and in other pods.
//!
//! | path | what |
//! |---|---|
//! | `<name>/about` | the id, for people |
//! | `<name>/used` | held by all that use it; its time is that of the last use |
//! | `<name>/lock-N`, `<name>/data-N` | an instance; further ones are for RUNs that do not share |
//!
//! Locks are flock(2): they end with the process that holds them, however it ends, and hold between pods where the
//! file system has them. *Invariant: nothing that somebody holds a lease of is removed or replaced.*

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, flock, futimens};

use super::Error;
use crate::oci::Digest;
use crate::place::{Folder, Standing};

/// How often a lock that another RUN holds is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What a name that is being removed begins with.
const GONE: &str = ".gone-";

/// The directory of the first instance of a cache mount.
pub const FIRST_INSTANCE: &str = "data-0";

/// How many digits of a digest are in a name.
const NAME_LENGTH: usize = 32;

/// The cache mounts below one directory.
#[derive(Clone, Debug)]
pub struct CacheMounts {
    directory: PathBuf,
    /// In the names of what is this run's alone.
    token: String,
}

/// How a RUN uses a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Together with others.
    Shared,
    /// Alone: it waits for the others.
    Alone,
    /// Alone: it gets another instance where one is in use.
    Private,
}

/// The right to use an instance of a cache mount; ends when dropped.
#[derive(Debug)]
pub struct Lease {
    /// The instance's directory; it may not exist yet.
    pub data: PathBuf,
    _locks: [File; 2],
}

/// What was removed from the cache mounts, and what stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many were removed.
    pub removed: usize,
    /// How many bytes they had.
    pub freed: u64,
    /// How many bytes are left.
    pub left: u64,
}

impl CacheMounts {
    /// Uses a directory, which is made when the first cache mount is; `token` is this run's alone, on any machine.
    pub fn new(directory: &Path, token: &str) -> Self {
        Self { directory: directory.to_owned(), token: token.to_owned() }
    }

    /// Tells whether the directory can be used; nothing is made.
    ///
    /// # Errors
    /// [`Error::Write`] when it cannot.
    pub fn probe(&self) -> Result<(), Error> {
        Folder::of(&self.directory).probe().map_err(|source| Error::Write { path: self.directory.clone(), source })
    }

    /// Returns the right to use the cache mount that `identity` stands for; `about` says for people which it is.
    ///
    /// Waits where others are in the way; `wait` is called before each pause, and ends the waiting with its error.
    ///
    /// # Errors
    /// [`Error`] when the directory cannot be used or knows no locks, or what `wait` returned.
    pub fn lease<E: From<Error>>(
        &self,
        identity: &Digest,
        about: &str,
        how: Use,
        wait: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Lease, E> {
        let base = self.directory.join(&identity.hex()[..NAME_LENGTH]);
        let mut instance = 0;
        loop {
            if let Some(locks) = self.locked(&base, instance, about, how)? {
                return Ok(Lease { data: base.join(format!("data-{instance}")), _locks: locks });
            }
            if how == Use::Private {
                instance += 1;
                continue;
            }
            wait()?;
            std::thread::sleep(PAUSE);
        }
    }

    /// Removes what was not used for `max_age` seconds, and then what was not used for the longest time until at
    /// most `max_size` bytes are left. What is in use stays.
    ///
    /// # Errors
    /// [`Error`] when the directory cannot be read or written; what went before is done.
    pub fn prune(&self, max_age: Option<u64>, max_size: Option<u64>) -> Result<Pruned, Error> {
        let failure = |source| Error::Write { path: self.directory.clone(), source };
        if !self.directory.exists() || (max_age.is_none() && max_size.is_none()) {
            return Ok(Pruned::default());
        }
        let now = self.now().map_err(failure)?;
        let mut caches: Vec<((i64, i64), PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failure)? {
            let path = entry.map_err(failure)?.path();
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(GONE.as_bytes()) {
                // Its owner was killed, or is at it: either way it is nobody's.
                let _another_has_removed_it = fs::remove_dir_all(&path);
            } else if name.len() == NAME_LENGTH && name.iter().all(u8::is_ascii_hexdigit) {
                let used = fs::metadata(path.join("used")).map_or((0, 0), |used| (used.mtime(), used.mtime_nsec()));
                let size = max_size.map_or(0, |_| size_of_tree(&path));
                caches.push((used, path, size));
            }
        }
        caches.sort();
        let mut pruned = Pruned { left: caches.iter().map(|(_, _, size)| size).sum(), ..Pruned::default() };
        for (used, path, size) in caches {
            let too_old =
                max_age.is_some_and(|age| now.saturating_sub(used.0) > i64::try_from(age).unwrap_or(i64::MAX));
            let too_much = max_size.is_some_and(|limit| pruned.left > limit);
            if (too_old || too_much) && self.remove(&path).map_err(failure)? {
                pruned.removed += 1;
                pruned.freed += size;
                pruned.left -= size;
            }
        }
        Ok(pruned)
    }

    /// Returns the time by the clock that gives files theirs.
    fn now(&self) -> io::Result<i64> {
        let clock = Folder::of(&self.directory).file(".now");
        clock.write(b"")?;
        let made = clock.open()?.ok_or(ErrorKind::NotFound)?;
        Ok(made.metadata()?.mtime())
    }

    /// Removes a cache mount unless somebody uses it.
    fn remove(&self, path: &Path) -> io::Result<bool> {
        let used = self.open_lock(path, "used")?;
        match flock(&used, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(_) => return Ok(false),
        }
        if !is_at(&used, &path.join("used")) {
            return Ok(false);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let gone = self.directory.join(format!("{GONE}{name}-{}", self.token));
        fs::rename(path, &gone)?;
        // Another pod, which takes it for the rest of one that was killed, may be at it, too.
        fs::remove_dir_all(&gone).or_else(|error| if gone.exists() { Err(error) } else { Ok(()) })?;
        Ok(true)
    }

    /// Locks one instance; none where somebody else has it.
    fn locked(&self, base: &Path, instance: usize, about: &str, how: Use) -> Result<Option<[File; 2]>, Error> {
        let failure = |source| Error::Write { path: base.to_owned(), source };
        loop {
            let used = match self.open_lock(base, "used") {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                result => result.map_err(failure)?,
            };
            if !try_lock(&used, FlockOperation::NonBlockingLockShared).map_err(failure)? {
                // It is being removed.
                return Ok(None);
            }
            if !is_at(&used, &base.join("used")) {
                continue;
            }
            let lock = self.open_lock(base, &format!("lock-{instance}")).map_err(failure)?;
            let operation = match how {
                Use::Shared => FlockOperation::NonBlockingLockShared,
                Use::Alone | Use::Private => FlockOperation::NonBlockingLockExclusive,
            };
            if !try_lock(&lock, operation).map_err(failure)? {
                return Ok(None);
            }
            touch(&used).map_err(failure)?;
            let note = self.folder(base).file("about");
            if note.standing().map_err(failure)? == Standing::Nothing {
                note.write(about.as_bytes()).map_err(failure)?;
            }
            return Ok(Some([used, lock]));
        }
    }

    /// Returns the directory of a cache mount: a RUN that had the volume may have left anything there.
    fn folder(&self, base: &Path) -> Folder {
        Folder::of(&self.directory).below(base.file_name().unwrap_or_default())
    }

    /// Opens a file that is locked, and makes it and its directory where they are not there.
    fn open_lock(&self, base: &Path, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let directory = self.folder(base).make()?;
        Ok(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o666))?.into())
    }
}

fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Tells whether the file is still what stands at the path.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(there)) => id(file) == id(there),
        (Ok(_) | Err(_), _) => false,
    }
}

fn touch(file: &File) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(futimens(file, &Timestamps { last_access: now, last_modification: now })?)
}

/// Adds up what the files of a tree take on disk; what vanishes meanwhile counts nothing.
pub fn size_of_tree(path: &Path) -> u64 {
    const BLOCK: u64 = 512;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * BLOCK / metadata.nlink().max(1);
    if !metadata.is_dir() {
        return own;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * BLOCK + entries.map(|entry| size_of_tree(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    enum Stopped {
        Busy,
        Failed(#[expect(dead_code, reason = "a failing test shows it")] Error),
    }

    impl From<Error> for Stopped {
        fn from(error: Error) -> Self {
            Self::Failed(error)
        }
    }

    fn lease(caches: &CacheMounts, id: &str, how: Use) -> Result<Lease, Stopped> {
        caches.lease(&Digest::of(id.as_bytes()), id, how, &mut || Err(Stopped::Busy))
    }

    fn instance(lease: &Lease) -> &str {
        lease.data.file_name().and_then(|name| name.to_str()).unwrap()
    }

    #[test]
    fn who_shares_shares_and_who_does_not_waits_or_gets_another() {
        let directory = tempfile::tempdir().unwrap();
        let caches = CacheMounts::new(&directory.path().join("new"), "token");
        let first = lease(&caches, "a", Use::Shared).unwrap();
        let second = lease(&caches, "a", Use::Shared).unwrap();
        assert_eq!(first.data, second.data);
        assert!(matches!(lease(&caches, "a", Use::Alone), Err(Stopped::Busy)));
        let private = lease(&caches, "a", Use::Private).unwrap();
        let another = lease(&caches, "a", Use::Private).unwrap();
        assert_eq!([instance(&private), instance(&another)], ["data-1", "data-2"]);
        drop((first, second));
        let alone = lease(&caches, "a", Use::Alone).unwrap();
        assert!(matches!(lease(&caches, "a", Use::Shared), Err(Stopped::Busy)));
        assert!(lease(&caches, "b", Use::Alone).is_ok(), "another cache mount is free");
        drop((alone, private));
        assert_eq!(instance(&lease(&caches, "a", Use::Private).unwrap()), "data-0");
    }

    fn fill(caches: &CacheMounts, id: &str, age: i64, bytes: usize) -> PathBuf {
        let lease = lease(caches, id, Use::Alone).unwrap();
        fs::create_dir(&lease.data).unwrap();
        fs::write(lease.data.join("file"), vec![1; bytes]).unwrap();
        let base = lease.data.parent().unwrap().to_owned();
        let used = File::open(base.join("used")).unwrap();
        let then = Timespec { tv_sec: used.metadata().unwrap().mtime() - age, tv_nsec: 0 };
        futimens(&used, &Timestamps { last_access: then, last_modification: then }).unwrap();
        base
    }

    #[test]
    fn the_oldest_go_first_and_what_is_in_use_stays() {
        let directory = tempfile::tempdir().unwrap();
        let caches = CacheMounts::new(directory.path(), "token");
        let old = fill(&caches, "old", 5000, 1 << 20);
        let middle = fill(&caches, "middle", 3000, 1 << 20);
        let recent = fill(&caches, "recent", 1000, 1 << 20);
        fs::write(directory.path().join("not-ours"), "x").unwrap();
        fs::create_dir(directory.path().join(".gone-x")).unwrap();
        assert_eq!(caches.prune(None, None).unwrap(), Pruned::default());
        assert_eq!(caches.prune(Some(4000), None).unwrap().removed, 1);
        assert!(!old.exists() && middle.exists() && !directory.path().join(".gone-x").exists());
        let held = lease(&caches, "middle", Use::Shared).unwrap();
        let recent_is_older = File::open(recent.join("used")).unwrap();
        assert_eq!(caches.prune(Some(0), Some(0)).unwrap().removed, 1);
        assert!(!recent.exists() && middle.exists(), "what is in use stays");
        drop((held, recent_is_older));
        fill(&caches, "third", 10, 1 << 20);
        let pruned = caches.prune(None, Some(3 << 19)).unwrap();
        assert_eq!((pruned.removed, middle.exists()), (1, true), "the least recently used went");
        assert!(pruned.left <= 3 << 19 && pruned.freed >= 1 << 20);
        assert!(directory.path().join("not-ours").exists());
    }
}
