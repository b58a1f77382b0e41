//! What a pod mounts into the executor's own container, where `/` is RUN's root: what it hides, and what RUN does to it.
//!
//! A layer holds nothing of a mount. So what RUN leaves in one is missing in the image, and changes files that are not
//! the build's. Nothing of it can be prevented; but it is found, by comparing each writable mount before and after.
//!
//! *Invariant: a difference is only RUN's if nobody else was seen to write there: what changed while no RUN ran, and what
//! another process of the container has open for writing (the log, above all), is not.*

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::hash::Hasher as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::mountinfo::Mounted;
use crate::rootfs::{Directory, Exclusions, FileKind, Inode, Stat, Tree};

/// Kernel file systems, in every container, even where a sandbox does not list them as mounts.
pub(super) const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What container runtimes and clusters mount into every container, and RUN may see in place of the image's.
const OF_RUNTIMES: [&str; 7] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/hostname",
    "/.dockerenv",
    "/run/.containerenv",
    "/run/secrets",
    "/var/run/secrets",
];

/// Tells whether containers have something of their own at a path, whatever is in their image.
pub(super) fn is_in_every_container(path: &Path) -> bool {
    KERNEL.iter().chain(&OF_RUNTIMES).any(|known| path.starts_with(known))
}

/// What RUN has changed in a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Where the mount is.
    pub(super) volume: PathBuf,
    /// What was changed first in it, as far as is known.
    pub(super) path: PathBuf,
    /// How many directories something else was changed in.
    pub(super) more: usize,
}

/// The writable mounts of a container, and how they were at the last look.
#[derive(Debug)]
pub(super) struct Watch {
    volumes: Vec<PathBuf>,
    /// All mounts: each is looked at by itself, or not at all.
    mounts: HashSet<PathBuf>,
    /// What the executor itself writes to.
    own: Exclusions,
    /// What processes of the container had open before the RUN.
    open: HashSet<Inode>,
    last: Census,
    /// Directories in which somebody else than a RUN was seen to write.
    of_others: BTreeSet<PathBuf>,
}

/// A number for each directory of a mount that changes with any of its entries; a mount that is a file has one, too.
///
/// One a directory, not one a file: a workspace of 100,000 files takes a few megabytes.
type Census = BTreeMap<PathBuf, u64>;

impl Watch {
    /// Looks at all mounts that can be written to, but for those of the kernel, of runtimes, and at or below `unwatched`.
    pub(super) fn begin(mounts: &[Mounted], unwatched: &[PathBuf]) -> Self {
        let own = Exclusions::new(unwatched);
        let is_watched = |mount: &&Mounted| {
            let path = mount.target.as_path();
            let is_other = path == Path::new("/") || is_in_every_container(path) || mount.read_only;
            !is_other && !own.contains(below_root(path))
        };
        let volumes: BTreeSet<PathBuf> = mounts.iter().filter(is_watched).map(|mount| mount.target.clone()).collect();
        let volumes = volumes.into_iter().collect();
        let mounts = mounts.iter().map(|mount| mount.target.clone()).collect();
        let (last, of_others) = (Census::new(), BTreeSet::new());
        let mut watch = Self { volumes, mounts, own, open: open_files(), last, of_others };
        watch.last = watch.census();
        watch
    }

    /// Looks again, before a RUN: what is otherwise than at the last look is somebody else's work. `kept` are directories
    /// that are not the image's, either: they are looked at from now on.
    pub(super) fn before_run<'a>(&mut self, kept: impl Iterator<Item = &'a PathBuf>) {
        self.open = open_files();
        let known = self.volumes.len();
        self.volumes.extend(kept.filter(|path| !self.volumes.contains(path)).cloned().collect::<Vec<_>>());
        if self.volumes.len() > known {
            self.volumes.sort();
            self.last = self.census();
            return;
        }
        let now = self.census();
        let changed: Vec<PathBuf> = differing(&self.last, &now).map(Path::to_owned).collect();
        self.of_others.extend(changed);
        self.last = now;
    }

    /// Looks again, after a RUN; returns what it has changed.
    pub(super) fn after_run(&mut self) -> Option<Written> {
        let now = self.census();
        let changed: Vec<&Path> =
            differing(&self.last, &now).filter(|directory| !self.of_others.contains(*directory)).collect();
        let written = changed.first().map(|first| Written {
            volume: self.volumes.iter().rfind(|volume| first.starts_with(volume)).cloned().unwrap_or_default(),
            path: newest(first),
            more: changed.len() - 1,
        });
        self.last = now;
        written
    }

    fn census(&self) -> Census {
        let mut census = Census::new();
        for volume in &self.volumes {
            let Ok(tree) = Tree::open(volume) else {
                // A single file, or gone.
                if let Ok(metadata) = fs::symlink_metadata(volume) {
                    census.insert(volume.clone(), of_file(&metadata, &self.open));
                }
                continue;
            };
            // By their paths: a directory of many directories must not need as many descriptors.
            let mut pending = vec![PathBuf::new()];
            while let Some(path) = pending.pop() {
                let Ok(directory) = tree.directory(&path) else { continue };
                let mut hash = Xxh3::new();
                if let (true, Ok(stat)) = (path.as_os_str().is_empty(), directory.stat_self()) {
                    add(&mut hash, b"", &stat);
                }
                let place = if path.as_os_str().is_empty() { volume.clone() } else { volume.join(&path) };
                let below = self.look(&directory, &place, &mut hash);
                pending.extend(below.into_iter().map(|name| path.join(name)));
                census.insert(place, hash.finish());
            }
        }
        census
    }

    /// Adds the entries of the directory at `place`; returns the names of those that are directories. What cannot be
    /// read, RUN could not write to either.
    fn look(&self, directory: &Directory, place: &Path, hash: &mut Xxh3) -> Vec<OsString> {
        let mut below = Vec::new();
        for name in directory.names().unwrap_or_default() {
            let name = name.as_os_str();
            let path = place.join(name);
            if self.mounts.contains(&path) || self.own.contains(below_root(&path)) {
                continue;
            }
            let Ok(Some(stat)) = directory.stat(name) else { continue };
            if self.open.contains(&stat.inode) {
                continue;
            }
            add(hash, name.as_bytes(), &stat);
            if stat.kind == FileKind::Directory {
                below.push(name.to_owned());
            }
        }
        below
    }
}

/// Adds what tells whether an entry has changed. The times of a directory do not: they move with what is put into it for
/// a while, too.
fn add(hash: &mut Xxh3, name: &[u8], stat: &Stat) {
    hash.write_usize(name.len());
    hash.write(name);
    let Stat { kind, mode, uid, gid, inode, .. } = *stat;
    for number in [u64::from(mode), u64::from(uid), u64::from(gid), inode.device, inode.number] {
        hash.write_u64(number);
    }
    if kind != FileKind::Directory {
        hash.write_u64(stat.size);
        hash.write_i64(stat.ctime.seconds);
        hash.write_u32(stat.ctime.nanoseconds);
    }
}

fn of_file(metadata: &fs::Metadata, open: &HashSet<Inode>) -> u64 {
    let mut hash = Xxh3::new();
    if !open.contains(&inode(metadata)) {
        for number in [metadata.mode(), metadata.uid(), metadata.gid()] {
            hash.write_u32(number);
        }
        hash.write_u64(metadata.size());
        hash.write_i64(metadata.ctime());
        hash.write_i64(metadata.ctime_nsec());
    }
    hash.finish()
}

pub(super) fn inode(metadata: &fs::Metadata) -> Inode {
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    Inode { device: u64::from(major) << 32 | u64::from(minor), number: metadata.ino() }
}

/// Returns the files that processes of the container have open for writing: the executor's log is among them where a CI
/// system keeps that in a volume, whoever writes it there.
pub(super) fn open_files() -> HashSet<Inode> {
    const WRITABLE: u32 = 0o200;
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let descriptors =
        processes.flat_map(|process| fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten());
    // The link to what is open has the mode that it was opened with. Source: proc_pid_fd(5).
    let writable = descriptors.filter(|descriptor| descriptor.metadata().is_ok_and(|link| link.mode() & WRITABLE != 0));
    let files = writable.filter_map(|descriptor| fs::metadata(descriptor.path()).ok());
    files.filter(fs::Metadata::is_file).map(|metadata| inode(&metadata)).collect()
}

/// Returns the directories that are not the same, or not in both.
fn differing<'a>(before: &'a Census, after: &'a Census) -> impl Iterator<Item = &'a Path> {
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let other = after.iter().filter(|(path, hash)| before.get(*path) != Some(hash)).map(|(path, _)| path);
    let all: BTreeSet<&Path> = gone.chain(other).map(PathBuf::as_path).collect();
    all.into_iter()
}

/// Returns the entry of a directory that was changed last; the directory itself where nothing is in it any more.
fn newest(directory: &Path) -> PathBuf {
    // An entry that comes gets its time first, and the directory its own a moment later.
    const MOMENT: i128 = 50_000_000;
    let changed = |found: &fs::Metadata| i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let dated = entries.filter_map(|entry| Some((changed(&entry.metadata().ok()?), entry.path())));
    let last = fs::symlink_metadata(directory).map_or(0, |found| changed(&found));
    dated.filter(|(at, _)| at + MOMENT >= last).max().map_or(directory.to_owned(), |(_, path)| path)
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(volume: &Path, unwatched: &[&str]) -> Watch {
        let mounted =
            |target: &Path, read_only| Mounted { target: target.to_owned(), kind: "ext4".to_owned(), read_only };
        let mounts =
            [mounted(volume, false), mounted(&volume.join("nested"), true), mounted(Path::new("/proc"), false)];
        Watch::begin(&mounts, &unwatched.iter().map(|name| volume.join(name)).collect::<Vec<_>>())
    }

    fn furnished() -> tempfile::TempDir {
        // Not below /dev, which is never watched.
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        for path in ["a/b", "nested", "ours"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        for path in ["a/b/file", "other", "log", "nested/file"] {
            fs::write(directory.path().join(path), "before").unwrap();
        }
        directory
    }

    /// What it is, what is done to the volume, and what is found.
    type Row<'a> = (&'a str, &'a dyn Fn(&Path), Option<&'a str>);

    #[test]
    fn whatever_changes_in_a_volume_is_found() {
        let rows: [Row<'_>; 10] = [
            ("nothing", &|_| {}, None),
            ("a file comes", &|at| fs::write(at.join("a/new"), "").unwrap(), Some("a/new")),
            ("a file is written", &|at| fs::write(at.join("a/b/file"), "after!").unwrap(), Some("a/b/file")),
            ("a file goes", &|at| fs::remove_file(at.join("a/b/file")).unwrap(), Some("a/b")),
            ("a directory goes", &|at| fs::remove_dir_all(at.join("a")).unwrap(), Some("")),
            ("a directory comes", &|at| fs::create_dir(at.join("a/new")).unwrap(), Some("a/new")),
            ("a mode changes", &|at| rustix::fs::chmod(at, rustix::fs::Mode::RWXU).unwrap(), Some("")),
            (
                "a file comes and goes",
                &|at| {
                    fs::write(at.join("a/new"), "").unwrap();
                    fs::remove_file(at.join("a/new")).unwrap();
                },
                None,
            ),
            ("another mount is another mount", &|at| fs::write(at.join("nested/file"), "after").unwrap(), None),
            ("the executor's own place", &|at| fs::write(at.join("ours/new"), "").unwrap(), None),
        ];
        for (what, change, expected) in rows {
            let directory = furnished();
            let volume = directory.path();
            let mut watch = watch(volume, &["ours"]);
            watch.before_run(std::iter::empty());
            // Longer than the moment by which a directory's time may be later than that of an entry that came.
            std::thread::sleep(std::time::Duration::from_millis(120));
            change(volume);
            let found = watch.after_run();
            assert_eq!(
                found.as_ref().map(|written| written.path.clone()),
                expected.map(|path| { if path.is_empty() { volume.to_owned() } else { volume.join(path) } }),
                "{what}"
            );
            assert!(found.is_none_or(|written| written.volume == volume), "{what}");
            assert_eq!(watch.after_run(), None, "{what}: told once");
        }
    }

    #[test]
    fn what_others_write_is_not_runs() {
        let directory = furnished();
        let volume = directory.path();
        let log = fs::File::options().append(true).open(volume.join("log")).unwrap();
        let mut watch = watch(volume, &[]);
        fs::write(volume.join("a/b/file"), "another step's").unwrap();
        watch.before_run(std::iter::empty());
        fs::write(volume.join("a/b/more"), "another step's, too").unwrap();
        std::io::Write::write_all(&mut &log, b"the executor's own log").unwrap();
        assert_eq!(watch.after_run(), None);
        fs::write(volume.join("a/mine"), "").unwrap();
        assert_eq!(watch.after_run().unwrap().path, volume.join("a/mine"));
    }
}
