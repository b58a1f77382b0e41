//! What was seen of contexts when keys were made of them, to tell whether a later reading saw the same.
//!
//! A key is made of one reading of a step's files, its layer of another one. Whoever can write to the context may change
//! it between the two, and what was made of one state would be found under the key of the other. So the second reading is
//! compared with the first, file by file, as the bytes are packed.
//!
//! *Invariant: where a witness holds, what was read the second time had the names, attributes and bytes of the first; only
//! times may differ.*

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::cache::key::Frames;
use crate::image::{Entry, EntryKind};
use crate::oci::{Digest, Hasher};
use crate::request::SnapshotMode;
use crate::rootfs::{Rootfs, Snapshot};

use super::copy::LinkedFile;
use super::{Error, unpoisoned};

/// Who reads a context: a COPY or ADD, or a mount of a RUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    /// The number of the stage.
    pub(super) stage: usize,
    /// The number of the step in it.
    pub(super) step: usize,
    /// The number of the mount; 0 for a step that copies.
    pub(super) mount: usize,
}

/// What was seen of contexts by those who read them first.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<HashMap<Reader, Seen>>);

/// What one reading saw.
#[derive(Debug, Default)]
struct Seen {
    files: HashMap<PathBuf, File>,
    /// All of it in one digest; known when it was read to its end.
    digest: Option<Digest>,
    /// Files that are shown where they are, and their state before they were read.
    shown: Option<(Rootfs, Snapshot)>,
    /// Whether a second reading was begun.
    is_compared: bool,
    /// Whether it, or the first one in itself, saw something else.
    differs: bool,
}

/// A file as it was seen, in short.
#[derive(Debug)]
struct File {
    attributes: Sum,
    content: Option<Sum>,
    /// Whether the second reading has come by.
    is_met: bool,
}

type Sum = [u8; 32];

/// Tells a witness what a reading sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observer<'a> {
    witness: &'a Witness,
    reader: Reader,
    is_first: bool,
}

impl Witness {
    /// Observes the first reading.
    pub(super) fn record(&self, reader: Reader) -> Observer<'_> {
        Observer { witness: self, reader, is_first: true }
    }

    /// Observes the second one.
    pub(super) fn compare(&self, reader: Reader) -> Observer<'_> {
        Observer { witness: self, reader, is_first: false }
    }

    /// Tells whether all that was read a second time was the same.
    pub(super) fn holds(&self) -> bool {
        unpoisoned(&self.0).values().all(Seen::holds)
    }

    /// Tells whether what was read a second time was the same.
    pub(super) fn holds_for(&self, reader: Reader) -> bool {
        unpoisoned(&self.0).get(&reader).is_some_and(Seen::holds)
    }

    /// Tells whether another witness has seen the same in what both have read.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let (own, other) = (unpoisoned(&self.0), unpoisoned(&other.0));
        own.iter().all(|(reader, seen)| other.get(reader).is_none_or(|other| other.digest == seen.digest))
    }

    /// Returns the digest of what was seen first; none where nothing was.
    pub(super) fn digest(&self, reader: Reader) -> Option<Digest> {
        unpoisoned(&self.0).get(&reader)?.digest.clone()
    }

    /// Takes note that what a reading uses is not what was seen first.
    pub(super) fn contradict(&self, reader: Reader) {
        let mut all = unpoisoned(&self.0);
        let seen = all.entry(reader).or_default();
        (seen.is_compared, seen.differs) = (true, true);
    }

    /// Compares the state of files that were shown where they are with that before they were read.
    pub(super) fn look_again(&self, reader: Reader) -> Result<(), Error> {
        let shown = unpoisoned(&self.0).get_mut(&reader).and_then(|seen| seen.shown.take());
        // Files that are not known to have stayed the same may have changed.
        let is_same = match shown {
            Some((files, before)) => before.changes(&files, SnapshotMode::Full)?.is_empty(),
            None => false,
        };
        if !is_same {
            self.contradict(reader);
        }
        Ok(())
    }
}

impl Seen {
    fn holds(&self) -> bool {
        !self.differs && (!self.is_compared || self.files.values().all(|file| file.is_met))
    }
}

impl Observer<'_> {
    /// Takes note of a file and its attributes.
    pub(super) fn file(&self, path: &Path, entry: &Entry, link: Option<LinkedFile>) {
        let attributes = attributes(entry, link);
        self.with(|seen, is_first| match seen.files.get_mut(path) {
            Some(known) => {
                known.is_met |= !is_first;
                seen.differs |= known.attributes != attributes;
            }
            None if is_first => {
                let file = File { attributes, content: None, is_met: false };
                seen.files.insert(path.to_owned(), file);
            }
            None => seen.differs = true,
        });
    }

    /// Takes note of a file's bytes.
    pub(super) fn content(&self, path: &Path, hasher: Hasher) {
        let content = hasher.sum();
        self.with(|seen, is_first| match seen.files.get_mut(path) {
            Some(known) if is_first && known.content.is_none() => known.content = Some(content),
            known => seen.differs |= known.is_none_or(|known| known.content != Some(content)),
        });
    }

    /// Takes note that all was read, and what it is altogether.
    pub(super) fn ended(&self, digest: &Digest) {
        self.with(|seen, _| seen.digest = Some(digest.clone()));
    }

    /// Takes note of the state of files that will be shown where they are, before they are read.
    pub(super) fn shows(&self, directory: &Path) -> Result<(), Error> {
        let files = Rootfs::open(directory, Vec::new(), crate::rootfs::RootfsKind::Plain)?;
        let mut snapshot = Snapshot::take(&files, &crate::rootfs::Contents::default())?;
        snapshot.settle();
        self.with(|seen, _| seen.shown = Some((files, snapshot)));
        Ok(())
    }

    fn with(&self, note: impl FnOnce(&mut Seen, bool)) {
        let mut all = unpoisoned(&self.witness.0);
        let seen = all.entry(self.reader).or_default();
        seen.is_compared |= !self.is_first;
        note(seen, self.is_first);
    }
}

fn attributes(entry: &Entry, link: Option<LinkedFile>) -> Sum {
    let Entry { path: _, kind, mode, uid: _, gid: _, mtime: _, xattrs } = entry;
    let (kind, target) = match kind {
        EntryKind::Symlink { target } | EntryKind::HardLink { target } => ("link".to_owned(), target.as_path()),
        other => (format!("{other:?}"), Path::new("")),
    };
    let all = Frames::new("attributes").with(kind).with(target.as_os_str().as_bytes()).with(mode.to_le_bytes());
    let xattrs = xattrs.iter().flat_map(|(name, value)| [name, value]);
    all.list(xattrs).with(format!("{link:?}")).sum()
}

/// Reads a file, and hashes what is read.
///
/// [`crate::store::Verified`] compares with a digest that is known before, and a download's reader also keeps why it
/// failed; of the three only the line that hashes is the same.
pub(super) struct Hashed<'a> {
    reader: &'a mut (dyn Read + Send),
    hasher: Hasher,
}

impl<'a> Hashed<'a> {
    pub(super) fn new(reader: &'a mut (dyn Read + Send)) -> Self {
        Self { reader, hasher: Hasher::new() }
    }

    /// Returns the hash of what was read until now.
    pub(super) fn into_hasher(self) -> Hasher {
        self.hasher
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::image::Timestamp;

    const READER: Reader = Reader { stage: 0, step: 1, mount: 0 };

    fn entry(mode: u32, size: u64, seconds: i64) -> Entry {
        let (kind, mtime) = (EntryKind::File { size }, Timestamp { seconds, nanoseconds: 0 });
        Entry { path: "x".into(), kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }

    fn see(observer: Observer<'_>, path: &str, mode: u32, content: &[u8], seconds: i64) {
        observer.file(Path::new(path), &entry(mode, content.len() as u64, seconds), None);
        let mut hasher = Hasher::new();
        hasher.update(content);
        observer.content(Path::new(path), hasher);
    }

    #[test]
    fn only_the_same_files_hold() {
        type Second = fn(Observer<'_>);
        let rows: [(&str, bool, Second); 7] = [
            ("nothing is read again", true, |_| {}),
            ("the same", true, |o| {
                see(o, "a", 0o644, b"one", 9);
                see(o, "b", 0o644, b"two", 9);
            }),
            ("a file is gone", false, |o| see(o, "a", 0o644, b"one", 1)),
            ("other bytes", false, |o| {
                see(o, "a", 0o644, b"one", 1);
                see(o, "b", 0o644, b"TWO", 1);
            }),
            ("another mode", false, |o| {
                see(o, "a", 0o755, b"one", 1);
                see(o, "b", 0o644, b"two", 1);
            }),
            ("another size", false, |o| {
                see(o, "a", 0o644, b"one more", 1);
                see(o, "b", 0o644, b"two", 1);
            }),
            ("a new file", false, |o| {
                see(o, "a", 0o644, b"one", 1);
                see(o, "b", 0o644, b"two", 1);
                see(o, "c", 0o644, b"", 1);
            }),
        ];
        for (what, holds, second) in rows {
            let witness = Witness::default();
            see(witness.record(READER), "a", 0o644, b"one", 1);
            see(witness.record(READER), "b", 0o644, b"two", 1);
            second(witness.compare(READER));
            assert_eq!(witness.holds(), holds, "{what}");
        }
    }

    #[test]
    fn files_that_are_shown_hold_while_nobody_touches_them() {
        let directory = tempfile::tempdir().expect("tempdir");
        std::fs::write(directory.path().join("a"), "one").expect("writes");
        let witness = Witness::default();
        let show = || witness.record(READER).shows(directory.path()).expect("a directory");
        show();
        witness.look_again(READER).expect("reads");
        assert!(witness.holds());
        show();
        let before = std::fs::metadata(directory.path().join("a")).expect("there").modified().expect("a time");
        let file = std::fs::File::options().write(true).open(directory.path().join("a")).expect("opens");
        io::Write::write_all(&mut &file, b"two").expect("writes");
        file.set_modified(before).expect("as if nothing had been");
        witness.look_again(READER).expect("reads");
        assert!(!witness.holds());
    }
}
