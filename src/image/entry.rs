//! One file of a layer, without its content.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file, directory, link or device as a layer holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path relative to the root, with neither leading nor trailing slash; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When its content was last modified.
    pub mtime: Timestamp,
    /// Extended attributes by full name, e.g. `security.capability`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// The target's text, not resolved.
        target: PathBuf,
    },
    /// Another name of a file that stands earlier in the same layer, or in a lower one.
    HardLink {
        /// The other name's path, relative to the root.
        target: PathBuf,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// A moment, to the nanosecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after that second, below 10⁹.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Returns the second that this moment is in.
    pub fn whole(self) -> Self {
        Self { nanoseconds: 0, ..self }
    }

    /// Returns the earlier of this moment and `epoch` (seconds since 1970).
    ///
    /// Source: <https://reproducible-builds.org/specs/source-date-epoch/>: later times are clamped, earlier ones kept.
    pub fn clamped(self, epoch: Option<i64>) -> Self {
        match epoch {
            Some(seconds) => self.min(Self { seconds, nanoseconds: 0 }),
            None => self,
        }
    }
}
