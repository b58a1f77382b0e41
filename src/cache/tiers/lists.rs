//! What is known of layers by their digests: the files they hold, and what these record as installed.

use std::io::Read as _;

use super::{Blob, Cache, EntryKind, EntryName, Put};
use crate::image::LayerInventory;
use crate::oci::Digest;
use crate::sbom::LayerPackages;

/// Inventories are larger only where something is wrong.
const LARGEST_INVENTORY: u64 = 512 << 20;
const PACKAGES_TYPE: &str = "application/vnd.yadokari.packages.v1+zstd";
const INVENTORY_TYPE: &str = "application/vnd.yadokari.inventory.v1+zstd";

impl Cache {
    /// Returns the inventory of a layer, if a store has it.
    pub fn inventory(&self, layer: &Digest) -> Option<LayerInventory> {
        LayerInventory::read_from(&mut &*self.list(EntryKind::Inventory, layer)?).ok()
    }

    /// Returns what was found in a layer, if a store has it.
    pub fn packages(&self, layer: &Digest) -> Option<LayerPackages> {
        LayerPackages::from_bytes(&self.list(EntryKind::Packages, layer)?).ok()
    }

    /// Keeps what was found in a layer.
    pub fn keep_packages(&self, layer: &Digest, packages: &LayerPackages) {
        if self.is_written() {
            self.keep_list(EntryKind::Packages, PACKAGES_TYPE, layer, &packages.to_bytes());
        }
    }

    fn list(&self, kind: EntryKind, layer: &Digest) -> Option<Vec<u8>> {
        let bytes = self.blob(&EntryName { kind, hex: layer.hex().to_owned() })?;
        let mut plain = Vec::new();
        let decoder = zstd::Decoder::new(&*bytes).ok()?;
        decoder.take(LARGEST_INVENTORY).read_to_end(&mut plain).ok()?;
        Some(plain)
    }

    fn is_written(&self) -> bool {
        self.tiers.iter().any(|tier| tier.is_written())
    }

    fn keep_list(&self, kind: EntryKind, media_type: &'static str, layer: &Digest, plain: &[u8]) {
        if let Ok(bytes) = zstd::encode_all(plain, 0) {
            let name = EntryName { kind, hex: layer.hex().to_owned() };
            self.keep(&Put { name, document: "{}".to_owned(), blob: Blob::Bytes { media_type, bytes } });
        }
    }

    /// Keeps the inventory of a layer.
    pub fn keep_inventory(&self, layer: &Digest, inventory: &LayerInventory) {
        if !self.is_written() {
            return;
        }
        let mut plain = Vec::new();
        // Only a failing disk could fail here, and this is memory.
        if inventory.write_to(&mut plain).is_ok() {
            self.keep_list(EntryKind::Inventory, INVENTORY_TYPE, layer, &plain);
        }
    }
}
