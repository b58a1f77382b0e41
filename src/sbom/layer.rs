//! What was found in one layer, kept by its digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::file::{FileScan, Findings, Pages};

/// Begins what is kept; its number changes with the form, and with what readers find: what older ones found is then
/// found anew.
const MAGIC: &[u8] = b"yadokari packages 1\n";
const HASH: usize = 16;

/// What one file records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The file's path in the layer, relative to the root; bytes that are no text are replaced.
    pub path: String,
    /// What it says.
    #[serde(flatten)]
    pub findings: Findings,
}

/// What was found in a layer, by the number of the entry that holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPackages {
    files: BTreeMap<u32, FileRecord>,
}

/// What was kept is damaged, or of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or of another version")]
pub struct Unreadable;

impl LayerPackages {
    /// Returns what the entry of this number records.
    pub fn file(&self, entry: u32) -> Option<&FileRecord> {
        self.files.get(&entry)
    }

    /// Returns all files that record something.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.values()
    }

    /// Adds what was found in the layer otherwise.
    pub fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
    }

    /// Writes it in a form that [`LayerPackages::from_bytes`] understands.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("strings, numbers and lists always serialize");
        [MAGIC, &xxh3_128(&json).to_le_bytes(), &json].concat()
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// [`Unreadable`] where it is damaged, or another version wrote it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Unreadable)?;
        let (hash, json) = rest.split_at_checked(HASH).ok_or(Unreadable)?;
        if xxh3_128(json).to_le_bytes() != hash {
            return Err(Unreadable);
        }
        serde_json::from_slice(json).map_err(|_| Unreadable)
    }
}

/// Finds what a layer records while its files pass, one after the other.
#[derive(Default)]
pub struct LayerScan {
    found: LayerPackages,
    current: Option<Current>,
}

struct Current {
    entry: u32,
    path: String,
    scan: FileScan,
    /// Whether more of the content is wanted.
    goes_on: bool,
    left: u64,
}

impl LayerScan {
    /// Begins with a regular file: the number of its entry in the layer, its path relative to the root, its size in bytes.
    /// Tells whether its content is wanted.
    pub fn begin(&mut self, entry: u32, path: &[u8], size: u64) -> bool {
        self.current = FileScan::begin(path, size).map(|scan| {
            let path = String::from_utf8_lossy(path).into_owned();
            Current { entry, path, scan, goes_on: true, left: size }
        });
        self.current.is_some()
    }

    /// Tells whether the file is one that is to be read here and there at its end ([`LayerScan::end`]).
    pub fn wants_pages(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.scan.wants_pages())
    }

    /// Takes the next piece of the file; tells whether more is wanted.
    pub fn content(&mut self, bytes: &[u8]) -> bool {
        let Some(current) = &mut self.current else { return false };
        current.left = current.left.saturating_sub(bytes.len() as u64);
        if current.goes_on {
            current.goes_on = current.scan.content(bytes);
        }
        current.goes_on
    }

    /// Ends with the file; `pages` is its content where that was asked for and could be kept.
    pub fn end(&mut self, pages: Option<&dyn Pages>) {
        let Some(Current { entry, path, scan, goes_on, left }) = self.current.take() else { return };
        let findings = match pages {
            Some(pages) => scan.end_with(pages),
            None if goes_on && left > 0 => Findings::unread("its content was not seen to its end"),
            None => scan.end(),
        };
        if !findings.is_empty() {
            self.found.files.insert(entry, FileRecord { path, findings });
        }
    }

    /// Returns what was found in the layer.
    pub fn finish(self) -> LayerPackages {
        self.found
    }
}
