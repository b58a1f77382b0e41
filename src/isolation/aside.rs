//! Sets aside what stands in a root directory, so that it can hold an image, and puts it back.
//!
//! Entries are renamed into a directory of the same file system, which costs nothing whatever they hold. What
//! is not to be touched (mount points …) stays, and so do the directories above it, whose other children are
//! moved. A journal beside the moved tree is written ahead of each change, so that whoever finds it after a
//! crash knows what to do.
//!
//! What RUN could do to the tree meanwhile is found out when it is put back; files that must not be read are in no tree.
//!
//! *Invariant: at any moment an entry is in its place, in the tree, or held, and putting back may be repeated. The
//! process that has set something aside believes nothing of what is in the journal or in the tree.*

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use serde::{Deserialize, Serialize};

use super::held::Held;
use super::moves::Moves;
use crate::dockerfile::glob;
use crate::request::SnapshotMode;
use crate::rootfs::{Contents, Rootfs, RootfsKind, Snapshot};

/// More files than this take a time that somebody notices.
const MANY: usize = 1000;

/// Paths that are never moved or removed, absolute; a component may be a pattern of Go's `filepath.Match`, as
/// in what a root file system excludes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Untouched(Vec<PathBuf>);

/// How a path stands to the untouched ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// It is one of them, or below one.
    Untouched,
    /// One of them is below it.
    Above,
    /// Neither.
    Free,
}

impl Untouched {
    /// Takes a list of paths in any order.
    pub(super) fn new(mut paths: Vec<PathBuf>) -> Self {
        paths.sort();
        // In this order a path comes right after those that it is below.
        paths.dedup_by(|path, before| path.starts_with(before));
        Self(paths)
    }

    /// The paths, sorted, without those that are below another.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    fn relation(&self, path: &Path) -> Relation {
        let mut relation = Relation::Free;
        for untouched in &self.0 {
            let same = untouched.components().zip(path.components()).take_while(|(one, other)| is_same(*one, *other));
            let same = same.count();
            if same == untouched.components().count() {
                return Relation::Untouched;
            }
            if same == path.components().count() {
                relation = Relation::Above;
            }
        }
        relation
    }
}

/// Compares a component of an untouched path, which may be a pattern, with one of a path.
fn is_same(untouched: Component<'_>, other: Component<'_>) -> bool {
    let (untouched, other) = (untouched.as_os_str().as_bytes(), other.as_os_str().as_bytes());
    // A malformed pattern is only a name.
    untouched == other || (glob::has_wildcards(untouched) && glob::matches(untouched, other).unwrap_or(false))
}

/// One line of the journal.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// A directory whose children are moved one by one, as it was before.
    Directory(Attributes),
    /// This file is held in memory; while it is neither in its place nor in the tree, it is lost with the process.
    Held(#[serde(with = "super::process::path_bytes")] PathBuf),
    /// Everything is set aside: what is in the root from now on is the image's.
    Emptied,
    /// The image's files are removed: what is in the root from now on has been put back.
    Restoring,
}

/// What a directory has beside its children.
#[derive(Debug, Serialize, Deserialize)]
struct Attributes {
    #[serde(with = "super::process::path_bytes")]
    path: PathBuf,
    mode: u32,
    owner: (u32, u32),
    accessed: (i64, i64),
    modified: (i64, i64),
}

/// What was set aside from a root directory.
#[derive(Debug)]
pub(super) struct Aside {
    root: PathBuf,
    /// Holds the journal and the tree; itself untouched.
    directory: PathBuf,
    untouched: Untouched,
    held: Vec<Held>,
    /// What this process has written to the journal; none where an earlier one wrote it.
    journal: Option<Mutex<Vec<u8>>>,
    /// The tree as it was when everything was set aside.
    before: Option<(Rootfs, Snapshot)>,
}

/// What was found when everything was put back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PutBack {
    /// Files that were held by a process that was killed: they are lost.
    pub(super) lost: Vec<PathBuf>,
    /// What is not as it was before.
    pub(super) changed: Vec<PathBuf>,
}

impl Aside {
    /// Moves everything in `root` that is not untouched to `directory`, which must be on the same file system
    /// and one of the untouched paths; the files at the `confidential` paths are on no disk meanwhile. `tell` is called
    /// when that takes long, with the number of files that are moved one by one. Where it fails half-way, what was moved
    /// is put back.
    pub(super) fn set(
        root: &Path,
        directory: &Path,
        untouched: Untouched,
        confidential: &[PathBuf],
        tell: &dyn Fn(usize),
    ) -> io::Result<Self> {
        let mut aside = Self::new(root, directory, untouched, Some(Mutex::default()));
        // Through links, which lead elsewhere later.
        let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        let mut held: Vec<PathBuf> = confidential.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        held.retain(|path| path.starts_with(root) && aside.untouched.relation(path) == Relation::Free && is_file(path));
        held.sort();
        held.dedup();
        // The times of the root as they are before the directory is made in it.
        let attributes = Attributes::of(root)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(aside.tree())?;
        let moved = aside
            .note(&Line::Directory(attributes))
            .and_then(|()| aside.move_all(tell))
            .and_then(|()| aside.hold(&held))
            .and_then(|()| aside.note(&Line::Emptied))
            .and_then(|()| aside.smooth(root))
            .and_then(|()| aside.remember());
        match moved {
            Ok(()) => Ok(aside),
            Err(error) => {
                aside.put_back(Vec::new())?;
                Err(error)
            }
        }
    }

    fn new(root: &Path, directory: &Path, untouched: Untouched, journal: Option<Mutex<Vec<u8>>>) -> Self {
        let (root, directory) = (root.to_owned(), directory.to_owned());
        Self { root, directory, untouched, held: Vec::new(), journal, before: None }
    }

    /// Finds what an earlier process set aside in `directory` and did not put back.
    pub(super) fn found(root: &Path, directory: &Path, untouched: Untouched) -> Option<Self> {
        fs::symlink_metadata(directory).ok()?;
        Some(Self::new(root, directory, untouched, None))
    }

    /// Takes files out of the tree into memory.
    fn hold(&mut self, files: &[PathBuf]) -> io::Result<()> {
        let tree = self.tree();
        for path in files {
            let held = Held::read(&tree, path.strip_prefix(&self.root).unwrap_or(path))?;
            self.note(&Line::Held(path.clone()))?;
            held.remove_from(&tree)?;
            self.held.push(held);
        }
        Ok(())
    }

    /// Takes note of how the tree is now.
    fn remember(&mut self) -> io::Result<()> {
        let tree = Rootfs::open(&self.tree(), Vec::new(), RootfsKind::Plain).map_err(io::Error::other)?;
        let mut snapshot = Snapshot::take(&tree, &Contents::default()).map_err(io::Error::other)?;
        snapshot.settle();
        self.before = Some((tree, snapshot));
        Ok(())
    }

    /// Lists what of the tree is not as it was, by its path in the root.
    fn changed(&self) -> io::Result<Vec<PathBuf>> {
        let Some((tree, snapshot)) = &self.before else { return Ok(Vec::new()) };
        let changes = snapshot.changes(tree, SnapshotMode::Full).map_err(io::Error::other)?;
        let here = fs::symlink_metadata(self.tree()).is_ok_and(|metadata| metadata.is_dir());
        let gone = (!here).then(|| self.root.clone());
        Ok(gone.into_iter().chain(changes.entries.into_iter().map(|change| self.root.join(change.path))).collect())
    }

    /// Removes everything from the root but the untouched paths and the directories above them. Goes on after
    /// an error, and returns the first.
    pub(super) fn clear(&self, also_untouched: Vec<PathBuf>) -> io::Result<()> {
        let untouched = Untouched::new(self.untouched.0.iter().cloned().chain(also_untouched).collect());
        let cleared = clear_children(&self.root, &untouched);
        cleared.and(self.smooth(&self.root))
    }

    /// Removes the image's files, but for `also_untouched`, and puts everything back as it was.
    pub(super) fn put_back(&self, also_untouched: Vec<PathBuf>) -> io::Result<PutBack> {
        let changed = self.changed();
        // First: whatever fails later, they are on the disk for the next start.
        let written = self.held.iter().try_for_each(|held| held.write_to(&self.tree()));
        if let Some(mounted) = also_untouched.iter().find(|path| path.starts_with(&self.directory)) {
            // What is mounted there would be emptied with it.
            let text = format!("something is mounted at {}", mounted.display());
            return Err(io::Error::new(ErrorKind::ResourceBusy, text));
        }
        let lines = self.journal()?;
        let emptied = lines.iter().any(|line| matches!(line, Line::Emptied));
        let restoring = lines.iter().any(|line| matches!(line, Line::Restoring));
        if emptied && !restoring {
            self.clear(also_untouched)?;
            self.note(&Line::Restoring)?;
        }
        if fs::symlink_metadata(self.tree()).is_ok() {
            restore_children(&self.tree(), &self.root)?;
            fs::remove_dir(self.tree())?;
        }
        let directories = || {
            lines.iter().filter_map(|line| match line {
                Line::Directory(attributes) => Some(attributes),
                Line::Held(_) | Line::Emptied | Line::Restoring => None,
            })
        };
        directories().try_for_each(Attributes::apply)?;
        fs::remove_dir_all(&self.directory)?;
        // The first line is the root's: its times may have changed with that last removal.
        directories().next().map_or(Ok(()), Attributes::apply)?;
        if written.is_err() {
            // RUN has put something in the way, which is gone now.
            self.held.iter().try_for_each(|held| held.write_to(&self.root))?;
        }
        let lost = lines.iter().filter_map(|line| match line {
            Line::Held(path) if fs::symlink_metadata(path).is_err() => Some(path.clone()),
            Line::Held(_) | Line::Directory(_) | Line::Emptied | Line::Restoring => None,
        });
        Ok(PutBack { lost: lost.collect(), changed: changed? })
    }

    fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    fn note(&self, line: &Line) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.directory.join("journal"))?;
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        file.write_all(&text)?;
        if let Some(journal) = &self.journal {
            journal.lock().unwrap_or_else(PoisonError::into_inner).extend(&text);
        }
        Ok(())
    }

    /// Reads the journal; a last line that a crash has cut off was not yet acted on.
    fn journal(&self) -> io::Result<Vec<Line>> {
        let known = self.journal.as_ref().map(|text| text.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let text = match known.map_or_else(|| fs::read(self.directory.join("journal")), Ok) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            result => result?,
        };
        Ok(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    fn move_all(&self, tell: &dyn Fn(usize)) -> io::Result<()> {
        let mut moves = Moves::default();
        self.move_children(&self.root, &self.tree(), &mut moves)?;
        if moves.len() > MANY {
            tell(moves.len());
        }
        moves.carry_out()
    }

    /// Moves directories as a whole, where that is possible, and takes note of what is to be moved by itself.
    fn move_children(&self, from: &Path, to: &Path, moves: &mut Moves) -> io::Result<()> {
        for entry in entries(from)? {
            let (path, target) = (from.join(entry.file_name()), to.join(entry.file_name()));
            match self.untouched.relation(&path) {
                Relation::Untouched => {}
                Relation::Above => self.move_one_by_one(&path, &target, moves)?,
                Relation::Free if entry.file_type()?.is_dir() => match fs::rename(&path, &target) {
                    // An overlay does not rename a directory of a lower layer: its children are moved then.
                    // Source: Linux, filesystems/overlayfs, "Renaming directories".
                    Err(error) if is_elsewhere(&error) => {
                        moves.emptied.push(path.clone());
                        self.move_one_by_one(&path, &target, moves)?;
                    }
                    result => result?,
                },
                Relation::Free => moves.add(path, target)?,
            }
        }
        Ok(())
    }

    fn move_one_by_one(&self, from: &Path, to: &Path, moves: &mut Moves) -> io::Result<()> {
        self.note(&Line::Directory(Attributes::of(from)?))?;
        fs::DirBuilder::new().mode(0o700).create(to)?;
        self.move_children(from, to, moves)
    }

    /// Gives the directories above untouched paths the same attributes in every build.
    fn smooth(&self, directory: &Path) -> io::Result<()> {
        for entry in entries(directory)? {
            let path = directory.join(entry.file_name());
            if self.untouched.relation(&path) == Relation::Above && entry.file_type()?.is_dir() {
                self.smooth(&path)?;
            }
        }
        let (never, path) = ((0, 0), directory.to_owned());
        Attributes { path, mode: 0o755, owner: (0, 0), accessed: never, modified: never }.apply()
    }
}

impl Attributes {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            accessed: (metadata.atime(), metadata.atime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn apply(&self) -> io::Result<()> {
        let now = fs::symlink_metadata(&self.path)?;
        if (now.uid(), now.gid()) != self.owner {
            let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
            rustix::fs::chownat(CWD, &self.path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::chmod(&self.path, Mode::from_raw_mode(self.mode))?;
        let time = |(seconds, nanoseconds)| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time(self.accessed), last_modification: time(self.modified) };
        Ok(rustix::fs::utimensat(CWD, &self.path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Reads a directory whole, since it is changed while it is walked.
fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    fs::read_dir(directory)?.collect()
}

fn is_elsewhere(error: &io::Error) -> bool {
    error.kind() == ErrorKind::CrossesDevices
}

fn clear_children(directory: &Path, untouched: &Untouched) -> io::Result<()> {
    let mut result = Ok(());
    for entry in entries(directory)? {
        let path = directory.join(entry.file_name());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = match untouched.relation(&path) {
            Relation::Untouched => Ok(()),
            Relation::Above if is_directory => clear_children(&path, untouched),
            Relation::Above | Relation::Free if is_directory => fs::remove_dir_all(&path),
            Relation::Above | Relation::Free => fs::remove_file(&path),
        };
        result = result.and(removed);
    }
    result
}

/// Moves what is in `from` back into `to`, where directories may stand already.
fn restore_children(from: &Path, to: &Path) -> io::Result<()> {
    for entry in entries(from)? {
        let (path, target) = (from.join(entry.file_name()), to.join(entry.file_name()));
        let is_directory = entry.file_type()?.is_dir();
        let merges = is_directory && fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir());
        if merges {
            restore_children(&path, &target)?;
            fs::remove_dir(&path)?;
            continue;
        }
        match fs::rename(&path, &target) {
            Err(error) if is_elsewhere(&error) && is_directory => {
                fs::create_dir(&target)?;
                restore_children(&path, &target)?;
                fs::remove_dir(&path)?;
            }
            // A rename onto another name of the same file does nothing: a crash left both.
            Ok(()) if !is_directory && fs::symlink_metadata(&path).is_ok() => fs::remove_file(&path)?,
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Path below the root → mode, modification time, link target or content.
    type Listing = BTreeMap<PathBuf, (u32, (i64, i64), Vec<u8>)>;

    fn list(root: &Path, directory: &Path, listing: &mut Listing) {
        let metadata = fs::symlink_metadata(directory).unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_symlink() => fs::read_link(directory).unwrap().into_os_string().into_encoded_bytes(),
            kind if kind.is_file() => fs::read(directory).unwrap(),
            _ => Vec::new(),
        };
        let name = directory.strip_prefix(root).unwrap().to_owned();
        listing.insert(name, (metadata.mode(), (metadata.mtime(), metadata.mtime_nsec()), content));
        if metadata.is_dir() {
            for entry in entries(directory).unwrap() {
                list(root, &entry.path(), listing);
            }
        }
    }

    fn listing(root: &Path) -> Listing {
        let mut listing = Listing::new();
        list(root, root, &mut listing);
        // The directory that holds the state changes when something is made in it; it is not part of `/`.
        listing.remove(Path::new("state"));
        listing
    }

    /// A root with a mount point two levels down, a state directory, and ordinary things.
    fn furnished() -> (tempfile::TempDir, Untouched) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in ["etc/ssl", "var/run/secrets/token", "state", "home/user", "proc"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for (path, content) in [
            ("etc/passwd", "root"),
            ("etc/hosts", "mounted"),
            ("var/log", "log"),
            ("var/run/pid", "1"),
            ("var/run/secrets/token/data", "secret"),
            ("proc/stat", "kernel"),
            ("state/executor", "binary"),
        ] {
            fs::write(root.join(path), content).unwrap();
        }
        std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
        fs::hard_link(root.join("etc/passwd"), root.join("var/run/passwd")).unwrap();
        for (number, path) in ["home/user", "home", "var/run/secrets", "var/run", "var", "etc", ""].iter().enumerate() {
            let path = root.join(path);
            rustix::fs::chmod(&path, Mode::from_raw_mode([0o700, 0o1777, 0o755][number % 3])).unwrap();
            let time = Timespec { tv_sec: 1_000 + i64::try_from(number).unwrap(), tv_nsec: 7 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        }
        let untouched = ["etc/hosts", "var/run/secrets/token", "proc", "state"];
        let untouched = Untouched::new(untouched.iter().map(|path| root.join(path)).collect());
        (directory, untouched)
    }

    /// What an image would leave there.
    fn build(root: &Path) {
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/sh"), "shell").unwrap();
        fs::write(root.join("etc/passwd"), "image").unwrap();
        fs::write(root.join("bin"), "no link").unwrap();
        rustix::fs::chmod(root.join("var/run"), Mode::from_raw_mode(0o711)).unwrap();
    }

    #[test]
    fn everything_is_as_it_was_after_a_build() {
        let (directory, untouched) = furnished();
        let root = directory.path();
        let before = listing(root);
        let aside = Aside::set(root, &root.join("state/aside"), untouched, &[], &|_| {}).unwrap();
        let mut left: Vec<_> = listing(root).into_keys().filter(|path| !path.starts_with("state")).collect();
        left.retain(|path| !path.starts_with("proc"));
        let expected = ["", "etc", "etc/hosts", "var", "var/run", "var/run/secrets", "var/run/secrets/token"];
        assert_eq!(left[..7], expected.map(PathBuf::from));
        for _stage in 0..2 {
            build(root);
            aside.clear(Vec::new()).unwrap();
            assert!(!root.join("usr").exists() && !root.join("etc/passwd").exists());
            assert_eq!(fs::read(root.join("var/run/secrets/token/data")).unwrap(), b"secret");
            assert_eq!(fs::symlink_metadata(root.join("var/run")).unwrap().mode() & 0o7777, 0o755);
        }
        build(root);
        aside.put_back(Vec::new()).unwrap();
        assert_eq!(listing(root), before);
        let inode = |path| fs::metadata(root.join(path)).unwrap().ino();
        assert_eq!(inode("etc/passwd"), inode("var/run/passwd"));
        assert!(!root.join("state/aside").exists());
    }

    /// Does the renames of `set` (or those of `put_back`) only up to a point, as if killed there.
    #[test]
    fn everything_is_as_it_was_after_a_crash_anywhere() {
        for (phase, steps) in
            [("setting", 0), ("setting", 1), ("setting", 2), ("emptied", 0), ("restoring", 1), ("restoring", 3)]
        {
            let (directory, untouched) = furnished();
            let root = directory.path();
            let before = listing(root);
            let place = root.join("state/aside");
            let aside = Aside::set(root, &place, untouched.clone(), &[], &|_| {}).unwrap();
            if phase == "setting" {
                // Between the two halves of moving a further name of a file.
                fs::hard_link(place.join("tree/etc/passwd"), root.join("var/run/passwd")).unwrap();
            }
            if phase == "emptied" {
                build(root);
            }
            if phase == "restoring" {
                aside.note(&Line::Restoring).unwrap();
            }
            if phase == "setting" {
                let journal = fs::read_to_string(place.join("journal")).unwrap();
                let kept: Vec<_> = journal.lines().filter(|line| !line.contains("Emptied")).collect();
                fs::write(place.join("journal"), format!("{}\n{{\"Dir", kept.join("\n"))).unwrap();
            }
            for entry in entries(&place.join("tree")).unwrap().into_iter().take(steps) {
                if !root.join(entry.file_name()).exists() {
                    fs::rename(entry.path(), root.join(entry.file_name())).unwrap();
                }
            }
            drop(aside);
            Aside::found(root, &place, untouched).unwrap().put_back(Vec::new()).unwrap();
            assert_eq!(listing(root), before, "{phase} {steps}");
            assert!(!place.exists());
        }
    }

    #[test]
    fn nothing_is_moved_for_good_when_a_part_fails() {
        let (directory, untouched) = furnished();
        let root = directory.path();
        let before = listing(root);
        // The tree cannot take a second entry of a name that it holds already.
        fs::create_dir_all(root.join("state/aside/tree/home/in-the-way")).unwrap();
        assert!(Aside::set(root, &root.join("state/aside"), untouched, &[], &|_| {}).is_err());
        let mut after = listing(root);
        after.retain(|path, _| !path.ends_with("in-the-way"));
        // It came to lie in there.
        after.insert("home".into(), before[Path::new("home")].clone());
        assert_eq!(after, before);
    }

    #[test]
    fn relations_go_by_whole_components() {
        let untouched = ["/var/run/x", "/proc/sys", "/proc", "/proc/acpi/y", "/var/run/x", "/k/run-*/s", "/a[1"];
        let untouched = Untouched::new(untouched.map(PathBuf::from).to_vec());
        assert_eq!(untouched.paths(), ["/a[1", "/k/run-*/s", "/proc", "/var/run/x"].map(PathBuf::from));
        for (path, expected) in [
            ("/proc", Relation::Untouched),
            ("/proc/1", Relation::Untouched),
            ("/process", Relation::Free),
            ("/var", Relation::Above),
            ("/var/run", Relation::Above),
            ("/var/run/xy", Relation::Free),
            ("/k", Relation::Above),
            ("/k/run-1", Relation::Above),
            ("/k/run-1/s/t", Relation::Untouched),
            ("/k/run-1/t", Relation::Free),
            ("/k/other", Relation::Free),
            ("/a[1/b", Relation::Untouched),
            ("/a", Relation::Free),
        ] {
            assert_eq!(untouched.relation(Path::new(path)), expected, "{path}");
        }
    }
}
