//! Any bytes, taken as a layer: entries or an error, no panic, no path outside the root, and an inventory that
//! survives being kept.

#![no_main]

use std::io;
use std::path::Component;

use libfuzzer_sys::fuzz_target;
use yadokari::image::{Inventory, LayerInventory, LayerReader, decompressed};

/// A sparse file may claim any size; this much of it is enough.
const ENOUGH: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tar) = decompressed(bytes) {
        let mut reader = LayerReader::new(tar);
        while let Ok(Some((entry, content))) = reader.next_entry() {
            assert!(entry.path.components().all(|part| matches!(part, Component::Normal(_))));
            let _ = io::copy(&mut io::Read::take(content, ENOUGH), &mut io::sink());
        }
    }
    if let Ok(inventory) = LayerInventory::read(bytes) {
        let mut kept = Vec::new();
        inventory.write_to(&mut kept).expect("memory does not fail");
        assert_eq!(LayerInventory::read_from(&mut &kept[..]).expect("just written"), inventory);
        let _ = Inventory::new().apply(0, &inventory);
    }
    let _ = LayerInventory::read_from(&mut &bytes[..]);
});
