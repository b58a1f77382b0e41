//! What changed in a root file system since a snapshot.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::contents::{Known, hash_file, hash_target, hash_xattrs};
use super::exclusions::is_at_or_below;
use super::snapshot::{Node, order};
use super::walk::{Visit, walk};
use super::{Contents, Error, Exclusions, FileKind, Inode, Rootfs, RootfsKind, Snapshot, Stat, overlay};
use crate::request::SnapshotMode;

/// What is different between two moments, sorted: a directory comes before what is below it.
#[derive(Clone, Debug)]
pub struct Changes {
    /// One for each changed path.
    pub entries: Vec<Change>,
    after: Snapshot,
}

/// A changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path from the root; empty for the root itself.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It differs: in type, metadata, content, or by being another file under the same name.
    Modified,
    /// The same as before, but the file has other names that changed, and is written with them so that they
    /// stay one file. (containerd's differ does the same: the first name of the group gets the content, the
    /// others become links to it. <https://github.com/containerd/containerd/blob/main/pkg/archive/tar.go>)
    Linked,
    /// It is gone, and everything below it; what was below is not told.
    Removed,
}

impl Changes {
    /// Tells whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many bytes the files have that were added or modified; names of one file count each.
    pub fn size(&self) -> u64 {
        let mut changed = self.entries.iter().filter(|change| change.kind != ChangeKind::Removed).peekable();
        let mut size = 0_u64;
        // Both are in the same order.
        for index in 0..self.after.len() {
            if changed.next_if(|change| change.path == self.after.path(index)).is_some()
                && let Some(node) = self.after.node(index)
                && node.stat.kind == FileKind::Regular
            {
                size = size.saturating_add(node.stat.size);
            }
        }
        size
    }

    /// Returns the state after the changes, as what later changes are compared to. `contents` tells what
    /// packing has read.
    pub fn into_snapshot(self, contents: &Contents) -> Snapshot {
        let mut after = self.after;
        after.learn(contents);
        after
    }
}

impl Snapshot {
    /// Finds what is different in `rootfs` now; `mode` says which differences count.
    ///
    /// In an overlay only its upper directory is looked through. Elsewhere every file is looked at, and none is
    /// read whose inode and ctime are those of the snapshot (the header of `snapshot` says why that is sound).
    /// Where they are not, type, owner, mode, size, time of modification, device number, link text, extended
    /// attributes and the names it shares its inode with are compared, and the content last, by its hash: a file
    /// that was touched back to the same state is no change.
    ///
    /// The root itself counts as changed only if its mode, owner or attributes are: its times change with every
    /// new name in it, and no image needs an entry for that.
    pub fn changes(&self, rootfs: &Rootfs, mode: SnapshotMode) -> Result<Changes, Error> {
        let exclusions = Exclusions::new(&rootfs.excluded);
        let mut differ = Differ::new(self, &exclusions, mode);
        match &rootfs.kind {
            RootfsKind::Plain => walk(&rootfs.tree, &exclusions, &mut |visit| differ.visit(visit))?,
            RootfsKind::Overlay { upper } => overlay::look_through(upper, &rootfs.tree, &exclusions, &mut differ)?,
        }
        Ok(differ.finish())
    }
}

/// Goes through the old state and the new one side by side, in order.
pub(super) struct Differ<'a> {
    old: &'a Snapshot,
    /// The first file of the old state that was not passed yet.
    next: usize,
    exclusions: &'a Exclusions,
    mode: SnapshotMode,
    entries: Vec<Change>,
    after: Snapshot,
    /// Nothing below this path is told as removed: it was removed itself, or became no directory.
    covered: Option<PathBuf>,
    /// The inodes of changed files that have several names.
    links: HashSet<Inode>,
}

impl<'a> Differ<'a> {
    fn new(old: &'a Snapshot, exclusions: &'a Exclusions, mode: SnapshotMode) -> Self {
        let mut after = Snapshot::begin();
        after.reserve_like(old);
        Self { old, next: 0, exclusions, mode, entries: Vec::new(), after, covered: None, links: HashSet::new() }
    }

    /// Takes note of a file that is there now; those of the old state that would come before it are gone.
    pub(super) fn visit(&mut self, visit: &Visit<'_>) -> Result<(), Error> {
        self.remove_before(visit.path);
        let Some((_, node)) = self.peek().filter(|(path, _)| *path == visit.path) else {
            self.change(visit.path, ChangeKind::Added, visit.stat);
            self.after.push(visit.path, *visit.stat, None);
            return Ok(());
        };
        self.next += 1;
        let (differs, known) = self.compare(node, visit)?;
        if differs {
            self.change(visit.path, ChangeKind::Modified, visit.stat);
            if node.stat.kind == FileKind::Directory && visit.stat.kind != FileKind::Directory {
                self.covered = Some(visit.path.to_owned());
            }
        }
        self.after.push(visit.path, *visit.stat, known);
        Ok(())
    }

    /// Takes note that what the old state has before `path` is gone.
    pub(super) fn remove_before(&mut self, path: &Path) {
        while let Some((old, _)) = self.peek()
            && order(old, path).is_lt()
        {
            self.remove_next();
        }
    }

    /// Takes over what the old state has at and below `path` as unchanged.
    pub(super) fn keep(&mut self, path: &Path) {
        while let Some((old, node)) = self.peek()
            && is_at_or_below(old, path)
        {
            self.after.push(old, node.stat, node.known());
            self.next += 1;
        }
    }

    /// Takes note that what the old state still has at or below `path` is gone.
    pub(super) fn remove(&mut self, path: &Path) {
        while let Some((old, _)) = self.peek()
            && is_at_or_below(old, path)
        {
            self.remove_next();
        }
    }

    /// Tells whether the file that comes next in the old state is the directory `path`.
    pub(super) fn was_directory(&self, path: &Path) -> bool {
        self.peek().is_some_and(|(old, node)| old == path && node.stat.kind == FileKind::Directory)
    }

    fn peek(&self) -> Option<(&'a Path, &'a Node)> {
        let old = self.old;
        old.node(self.next).map(|node| (old.path(self.next), node))
    }

    fn remove_next(&mut self) {
        let path = self.old.path(self.next);
        self.next += 1;
        let covered = self.covered.as_ref().is_some_and(|covered| is_at_or_below(path, covered));
        // What was excluded only after the snapshot is not gone, but out of sight.
        if !covered && !self.exclusions.contains(path) {
            self.entries.push(Change { path: path.to_owned(), kind: ChangeKind::Removed });
            self.covered = Some(path.to_owned());
        }
    }

    fn change(&mut self, path: &Path, kind: ChangeKind, stat: &Stat) {
        self.entries.push(Change { path: path.to_owned(), kind });
        if stat.linked {
            self.links.insert(stat.inode);
        }
    }

    /// Tells whether the file differs, and what is known of its content now.
    fn compare(&self, node: &Node, visit: &Visit<'_>) -> Result<(bool, Option<Known>), Error> {
        let (old, new) = (&node.stat, visit.stat);
        if old.kind != new.kind {
            return Ok((true, None));
        }
        if old.inode == new.inode && old.ctime == new.ctime && self.old.is_settled(node) {
            return Ok((false, node.known()));
        }
        let is_root = visit.path.as_os_str().is_empty();
        if self.mode == SnapshotMode::Time {
            return Ok((old.mtime != new.mtime && !is_root, None));
        }
        let metadata = |stat: &Stat| (stat.mode, stat.uid, stat.gid, stat.size);
        // Another inode under the same name leaves the group of names that the old one had, or joins another.
        let regrouped = old.inode != new.inode && (old.linked || new.linked);
        if metadata(old) != metadata(new) || (old.mtime != new.mtime && !is_root) || regrouped {
            return Ok((true, None));
        }
        let Some(before) = node.known() else { return Ok((true, None)) };
        if before.xattrs != hash_xattrs(&visit.parent.xattrs(visit.name())?) {
            return Ok((true, None));
        }
        let content = match new.kind {
            FileKind::Regular if self.mode == SnapshotMode::Full => {
                let file = visit.parent.open_file(visit.name())?;
                hash_file(file).map_err(|source| Error::Call {
                    call: "read",
                    path: visit.parent.path().join(visit.name()),
                    source,
                })?
            }
            FileKind::Symlink => hash_target(&visit.parent.read_link(visit.name())?),
            FileKind::Regular
            | FileKind::Directory
            | FileKind::Fifo
            | FileKind::Socket
            | FileKind::CharacterDevice
            | FileKind::BlockDevice => before.content,
        };
        Ok((content != before.content, Some(Known { content, ..before })))
    }

    fn finish(mut self) -> Changes {
        while self.peek().is_some() {
            self.remove_next();
        }
        self.after.finish();
        self.add_other_names();
        Changes { entries: self.entries, after: self.after }
    }

    /// Adds the unchanged names of changed files.
    fn add_other_names(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let changed: HashSet<&Path> = self.entries.iter().map(|change| change.path.as_path()).collect();
        let mut others = Vec::new();
        for index in 0..self.after.len() {
            let path = self.after.path(index);
            let is_linked = self.after.node(index).is_some_and(|node| self.links.contains(&node.stat.inode));
            if is_linked && !changed.contains(path) {
                others.push(Change { path: path.to_owned(), kind: ChangeKind::Linked });
            }
        }
        self.entries.append(&mut others);
        self.entries.sort_by(|a, b| order(&a.path, &b.path));
    }
}
