//! Which files layers hold, by the layer's digest: in a directory of this machine, and in what builds share.
//!
//! *Invariant: a damaged inventory counts as missing; it is made anew from the layer.*

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Cache, Error};
use crate::image::LayerInventory;
use crate::oci::Digest;

/// Inventories of layers, by the digest of the compressed layer.
#[derive(Clone)]
pub struct Inventories {
    directory: PathBuf,
    /// A name that no other run has, in whatever pod.
    token: String,
    /// What builds on other machines share.
    shared: Option<Arc<Cache>>,
    /// Stages may keep the same one at the same time.
    next_temporary: Arc<AtomicU64>,
}

impl Inventories {
    /// Uses a directory, which is made when the first inventory is kept; `token` is a name that no other run has.
    pub fn new(directory: &Path, token: &str) -> Self {
        let (directory, token) = (directory.to_owned(), token.to_owned());
        Self { directory, token, shared: None, next_temporary: Arc::default() }
    }

    /// Also uses what builds share.
    #[must_use]
    pub fn shared(self, cache: Arc<Cache>) -> Self {
        Self { shared: Some(cache), ..self }
    }

    /// Returns the inventory of a layer, if it is known.
    pub fn get(&self, layer: &Digest) -> Option<LayerInventory> {
        let known = File::open(self.path(layer)).ok();
        // A damaged entry is one that is not there: it is made anew from the layer.
        let known = known.and_then(|file| LayerInventory::read_from(&mut BufReader::new(file)).ok());
        if known.is_some() {
            return known;
        }
        let shared = self.shared.as_ref()?.inventory(layer)?;
        // Looked for here first by the next stage; that it cannot be kept costs only that.
        let _ = self.keep(layer, &shared);
        Some(shared)
    }

    /// Keeps the inventory of a layer.
    ///
    /// # Errors
    /// [`Error::Write`]; the build can go on without it.
    pub fn put(&self, layer: &Digest, inventory: &LayerInventory) -> Result<(), Error> {
        if let Some(shared) = &self.shared {
            shared.keep_inventory(layer, inventory);
        }
        self.keep(layer, inventory)
    }

    fn keep(&self, layer: &Digest, inventory: &LayerInventory) -> Result<(), Error> {
        let path = self.path(layer);
        let failure = |source| Error::Write { path: path.clone(), source };
        fs::create_dir_all(&self.directory).map_err(failure)?;
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!(".{}.{}-{number}.tmp", layer.hex(), self.token));
        let written = write(&temporary, inventory).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            // The error that made it useless is told; that it could not be removed adds nothing.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(failure)
    }

    fn path(&self, layer: &Digest) -> PathBuf {
        self.directory.join(layer.hex())
    }
}

fn write(path: &Path, inventory: &LayerInventory) -> io::Result<()> {
    let mut output = BufWriter::new(File::create(path)?);
    inventory.write_to(&mut output).map_err(io::Error::other)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_entry_counts_as_missing() {
        let directory = tempfile::tempdir().expect("tempdir");
        let inventories = Inventories::new(&directory.path().join("new"), "one");
        let layer = Digest::of(b"layer");
        assert!(inventories.get(&layer).is_none());
        let empty = LayerInventory::read(io::Cursor::new(vec![0; 1024])).expect("an empty layer");
        inventories.put(&layer, &empty).expect("writes");
        assert!(inventories.get(&layer).is_some());
        let path = inventories.path(&layer);
        let mut bytes = fs::read(&path).expect("reads");
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        fs::write(&path, bytes).expect("damages");
        assert!(inventories.get(&layer).is_none());
    }
}
