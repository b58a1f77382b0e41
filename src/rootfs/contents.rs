//! What is known of files without reading them again: hashes of what went through our hands.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::Xattrs;

/// How much of a file is in memory at a time.
pub(super) const PIECE: usize = 128 * 1024;

/// Hashes of the contents and extended attributes of files, by path.
///
/// Unpacking and packing fill it on the way, and a [`super::Snapshot`] takes from it what it would otherwise
/// have to read. An entry is only looked at for a path where a file is; since every file that comes to stand
/// at a path through us renews the path's entry, entries of removed files need not be taken out.
///
/// The hash is XXH3: fast, and not made against forgery. Who could forge here is the build itself, and would
/// only hide its own change from its own layer.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    by_path: HashMap<u128, Known>,
}

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The hash of a regular file's bytes or of a symbolic link's text; zero for what has no content.
    pub(super) content: u128,
    /// The hash of its extended attributes.
    pub(super) xattrs: u64,
}

impl Contents {
    pub(super) fn record(&mut self, path: &Path, known: Known) {
        self.by_path.insert(key(path), known);
    }

    pub(super) fn get(&self, path: &Path) -> Option<Known> {
        self.by_path.get(&key(path)).copied()
    }
}

fn key(path: &Path) -> u128 {
    xxh3_128(path.as_os_str().as_bytes())
}

/// Hashes the text of a symbolic link.
pub(super) fn hash_target(target: &Path) -> u128 {
    xxh3_128(target.as_os_str().as_bytes())
}

/// Hashes extended attributes; each part is framed by its length.
pub(super) fn hash_xattrs(xattrs: &Xattrs) -> u64 {
    if xattrs.is_empty() {
        return 0;
    }
    let mut hash = Xxh3::new();
    for part in xattrs.iter().flat_map(|(name, value)| [name, value]) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.digest()
}

/// Hashes all that `file` gives.
pub(super) fn hash_file(mut file: impl Read) -> io::Result<u128> {
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.digest128()),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
