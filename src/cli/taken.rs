//! How much of a disk a build takes, at most.
//!
//! Knows what is free now and then; what others take or give back meanwhile counts, too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::room;

/// The room that is taken on the disk of a directory.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) path: PathBuf,
    /// How many bytes were free at first.
    before: Option<u64>,
    /// How many fewer were free when least were.
    most: AtomicU64,
}

impl Taken {
    /// Begins with what is free now.
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), before: room::free(path), most: AtomicU64::new(0) }
    }

    /// Looks at what is free now.
    pub(super) fn measure(&self) {
        if let Some((before, now)) = self.before.zip(room::free(&self.path)) {
            self.most.fetch_max(before.saturating_sub(now), Ordering::Relaxed);
        }
    }

    /// Returns how many bytes were taken when it was most.
    pub(super) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Taken {
    /// Says that so much was taken.
    pub(super) fn so_much(bytes: u64) -> Self {
        Self { path: "/state".into(), before: None, most: AtomicU64::new(bytes) }
    }
}
