//! The state of a root file system at a moment, as far as it is needed to find what changed after it.
//!
//! Holds what statx(2) tells of every file, and hashes of what was read anyway; compact, about 165 bytes a
//! file. [`Snapshot::changes`] is in `changes`.
//!
//! # Why a file is not read again where its inode and its ctime did not move
//!
//! The kernel sets ctime at every change of a file's data or metadata, and no call lets a program choose it
//! (utimensat(2) sets the other two, and thereby ctime to now). A file that was replaced has another inode, or,
//! where the number was reused, a ctime from after its creation. So equal numbers mean an equal file, but for
//! three things:
//!
//! * *Granularity.* Before Linux 6.13 ctime is read from a clock that ticks 100 to 1000 times a second
//!   (CLOCK_REALTIME_COARSE); some file systems keep whole seconds (ext4 with 128-byte inodes) or pairs of
//!   them. A change within the tick of the change before gets the same ctime. Therefore the shortcut only holds
//!   for files whose ctime is *before* the tick in which the walk of the snapshot began (`settled`): whatever
//!   changes after the walk gets at least that tick. [`Snapshot::settle`] waits until that is so for all files,
//!   a few milliseconds; the others are compared in full. (Git's index has the same rule for "racy" files.)
//! * *The clock is set back.* Files with a ctime in the future are compared in full, always. A change after the
//!   clock was set back gets a ctime that differs from the old one, unless it falls into the very same tick.
//! * *Shared writable mappings.* Writing through one sets ctime at the first write to each page since the page
//!   was last clean, not at every write. A process that maps a file during RUN has all its pages clean, and its
//!   first write is seen (tried on ext4, with and without reading the page first); processes do not live
//!   from one RUN to the next. Nothing needs to be synced for that: ctime moves when the page is touched, not
//!   when it is written to the disk. The exception is tmpfs, which has no write-back: there a page that was
//!   first *read* through the mapping is writable at once, and writing to it moves neither ctime nor mtime
//!   (tried on Linux 6.18). On tmpfs such a change is missed if nothing else about the file changes; with an
//!   overlay it is found, since opening the file for writing already copies it up.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::ClockId;

use super::contents::{Known, hash_target, hash_xattrs};
use super::walk::{Visit, walk};
use super::{Contents, Error, Exclusions, FileKind, Rootfs, Stat};
use crate::image::Timestamp;

/// How long [`Snapshot::settle`] waits at most: more than the coarsest file system needs.
const PATIENCE: Duration = Duration::from_secs(3);

/// The state of a root file system at a moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// All paths, one after the other.
    paths: Vec<u8>,
    nodes: Vec<Node>,
    /// Files whose ctime is before this are surely changed if and only if their ctime moves.
    settled: Timestamp,
}

/// One file of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Where its path ends in `Snapshot::paths`.
    end: usize,
    pub(super) stat: Stat,
    /// As in [`Known`]; as two halves, since 16-byte alignment would cost 8 bytes a file.
    content: [u64; 2],
    xattrs: u64,
    /// Whether `content` and `xattrs` are known.
    known: bool,
}

impl Node {
    pub(super) fn known(&self) -> Option<Known> {
        let [high, low] = self.content.map(u128::from);
        self.known.then_some(Known { content: high << 64 | low, xattrs: self.xattrs })
    }
}

impl Snapshot {
    /// Walks `rootfs` and notes the state of every file that is not excluded; `contents` tells what was in them
    /// when they were written.
    ///
    /// A file that `contents` does not know is not read: when its ctime moves later, it counts as changed.
    pub fn take(rootfs: &Rootfs, contents: &Contents) -> Result<Self, Error> {
        let mut snapshot = Self::begin();
        walk(&rootfs.tree, &Exclusions::new(&rootfs.excluded), &mut |visit| {
            let known = match contents.get(visit.path) {
                Some(known) => Some(known),
                None => visit.known_without_reading()?,
            };
            snapshot.push(visit.path, *visit.stat, known);
            Ok(())
        })?;
        snapshot.finish();
        Ok(snapshot)
    }

    /// Waits until every later change is sure to move a file's ctime, usually a few milliseconds; returns the
    /// number of files of which that cannot be had, because their ctime lies in the future.
    ///
    /// To be called before the first process that may change files is started. Without it nothing is missed,
    /// but more files are compared by content.
    pub fn settle(&mut self) -> usize {
        let coarse = self.is_coarse();
        let start = Instant::now();
        loop {
            self.settled = clock(coarse);
            let soon = Timestamp { seconds: self.settled.seconds + PATIENCE.as_secs().cast_signed(), ..self.settled };
            let unsettled = || self.nodes.iter().filter(|node| !self.is_settled(node));
            if !unsettled().any(|node| node.stat.ctime <= soon) || start.elapsed() > PATIENCE {
                return unsettled().count();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns how many files there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Tells whether there are no files at all, not even the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Starts an empty snapshot, now.
    pub(super) fn begin() -> Self {
        Self { paths: Vec::new(), nodes: Vec::new(), settled: clock(false) }
    }

    /// Makes room for as many files as `other` has, and some more.
    pub(super) fn reserve_like(&mut self, other: &Self) {
        self.nodes.reserve_exact(other.nodes.len() + other.nodes.len() / 64 + 64);
        self.paths.reserve_exact(other.paths.len() + other.paths.len() / 64 + 4096);
    }

    /// Adds the file that comes next in order.
    pub(super) fn push(&mut self, path: &Path, stat: Stat, known: Option<Known>) {
        self.paths.extend_from_slice(path.as_os_str().as_bytes());
        let end = self.paths.len();
        let (content, xattrs) = known.map_or((0, 0), |known| (known.content, known.xattrs));
        let [high, low] = halves(content);
        self.nodes.push(Node { end, stat, content: [high, low], xattrs, known: known.is_some() });
    }

    /// Ends the filling.
    pub(super) fn finish(&mut self) {
        self.paths.shrink_to_fit();
        self.nodes.shrink_to_fit();
        if self.is_coarse() {
            self.settled = whole_seconds(self.settled);
        }
    }

    /// Takes from `contents` what is not known yet.
    pub(super) fn learn(&mut self, contents: &Contents) {
        for index in 0..self.nodes.len() {
            if !self.nodes[index].known
                && let Some(known) = contents.get(self.path(index))
            {
                let node = &mut self.nodes[index];
                node.content = halves(known.content);
                node.xattrs = known.xattrs;
                node.known = true;
            }
        }
    }

    pub(super) fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// Returns the path of the file with this index, which must exist.
    pub(super) fn path(&self, index: usize) -> &Path {
        let start = index.checked_sub(1).map_or(0, |before| self.nodes[before].end);
        Path::new(OsStr::from_bytes(&self.paths[start..self.nodes[index].end]))
    }

    /// Tells whether any change after the snapshot was begun must have moved this file's ctime.
    pub(super) fn is_settled(&self, node: &Node) -> bool {
        node.stat.ctime < self.settled
    }

    #[cfg(test)]
    pub(super) fn set_settled(&mut self, settled: Timestamp) {
        self.settled = settled;
    }

    /// Whether the file system keeps whole seconds, as no file's ctime has a fraction.
    fn is_coarse(&self) -> bool {
        self.nodes.iter().all(|node| node.stat.ctime.nanoseconds == 0)
    }
}

impl Visit<'_> {
    /// Returns what can be known of the file without reading its content.
    pub(super) fn known_without_reading(&self) -> Result<Option<Known>, Error> {
        let content = match self.stat.kind {
            FileKind::Regular => return Ok(None),
            FileKind::Symlink => hash_target(&self.parent.read_link(self.name())?),
            FileKind::Directory
            | FileKind::Fifo
            | FileKind::Socket
            | FileKind::CharacterDevice
            | FileKind::BlockDevice => 0,
        };
        Ok(Some(Known { content, xattrs: hash_xattrs(&self.parent.xattrs(self.name())?) }))
    }
}

/// Compares paths component by component, as the walk orders them: no name has a byte that sorts before the
/// zero that stands for the slash.
pub(super) fn order(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => a.len().cmp(&b.len()),
    }
}

fn halves(content: u128) -> [u64; 2] {
    let bytes = content.to_be_bytes();
    let half = |from: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[from..from + 8]);
        u64::from_be_bytes(half)
    };
    [half(0), half(8)]
}

/// Returns the moment that the kernel would stamp on a change now; on a file system of whole seconds, of the
/// coarsest kind: even ones.
fn clock(coarse: bool) -> Timestamp {
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    let now = Timestamp { seconds: now.tv_sec, nanoseconds: u32::try_from(now.tv_nsec).unwrap_or(0) };
    if coarse { whole_seconds(now) } else { now }
}

fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp { seconds: moment.seconds & !1, nanoseconds: 0 }
}
