//! Files that are renamed into another directory of the same file system, many at a time.
//!
//! In an overlay a file of a lower layer is copied when it is renamed, and synced to the disk one by one: several threads
//! wait for that together. *Invariant: of a file with several names the second is moved after the first.*

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More than processors: they wait for the disk.
const THREADS: usize = 8;

/// What is to be moved.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// From where and to where; the names of one file stand together.
    files: Vec<Vec<(PathBuf, PathBuf)>>,
    /// Where a file with several names is in `files`, by device and inode.
    linked: HashMap<(u64, u64), usize>,
    /// Directories that are empty afterwards, each after the one that it is in.
    pub(super) emptied: Vec<PathBuf>,
}

impl Moves {
    /// Takes note of a file, or of anything else that is no directory.
    pub(super) fn add(&mut self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        let metadata = fs::symlink_metadata(&from)?;
        if metadata.nlink() < 2 {
            self.files.push(vec![(from, to)]);
            return Ok(());
        }
        match self.linked.entry((metadata.dev(), metadata.ino())) {
            Entry::Occupied(known) => self.files[*known.get()].push((from, to)),
            Entry::Vacant(vacant) => {
                vacant.insert(self.files.len());
                self.files.push(vec![(from, to)]);
            }
        }
        Ok(())
    }

    /// Returns how many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Moves everything. Stops after an error, and returns the first.
    pub(super) fn carry_out(&self) -> io::Result<()> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(names) = self.files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = move_file(names) {
                    failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                    next.store(self.files.len(), Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..THREADS.min(self.files.len()) {
                // Where no more threads are allowed, fewer do the same.
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)?;
        self.emptied.iter().rev().try_for_each(fs::remove_dir)
    }
}

/// Renames a file; its further names become links to where it is now.
///
/// An overlay copies a file of a lower layer up when it is renamed, and by that tears its names apart.
/// Source: Linux, filesystems/overlayfs, "Non-standard behavior".
fn move_file(names: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    let mut first: Option<&Path> = None;
    for (from, to) in names {
        match first {
            None => fs::rename(from, to)?,
            Some(first) => fs::hard_link(first, to).and_then(|()| fs::remove_file(from))?,
        }
        first.get_or_insert(to);
    }
    Ok(())
}
