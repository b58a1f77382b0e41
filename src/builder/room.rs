//! How much room the files of a base need on disk, guessed before they are unpacked.
//!
//! A guess, since only compressed sizes are known before: enough to tell that a disk is far too small while that costs
//! nothing yet. Where it does fit in the end, nothing but a warning was said.

use crate::image::Layer;
use crate::progress::Event;
use crate::rootfs::Tree;

use super::{Services, layers};

/// What a compressed layer becomes, in tenths: Debian's base is 26, a layer of binaries and text 20 to 30.
const TENTHS: u64 = 25;

/// Tells how much room layers are likely to need, and warns where there is less.
pub(super) fn foresee(all: &[Layer], tree: &Tree, services: &Services) {
    let (needed, free) = (all.iter().map(unpacked).sum::<u64>(), tree.free_space().unwrap_or(u64::MAX));
    let text =
        format!("the files of {} layers need about {} MiB, and {} MiB are free", all.len(), needed >> 20, free >> 20);
    layers::decided(services, &text);
    if needed > free {
        let message = format!(
            "the files of the base need about {} MiB, and {} MiB are free on the disk of {}: give --state-dir a larger \
             volume (of an emptyDir, a larger `sizeLimit`), or the pod more with `resources: {{limits: \
             {{ephemeral-storage: …}}}}`",
            needed >> 20,
            free >> 20,
            tree.path().display()
        );
        services.reporter.report(Event::Warning { rule: "LittleRoom", line: None, message: &message });
    }
}

/// Guesses how many bytes a layer has when it is unpacked.
fn unpacked(layer: &Layer) -> u64 {
    let size = layer.descriptor.size;
    let is_compressed = layer.descriptor.media_type.contains("gzip") || layer.descriptor.media_type.contains("zstd");
    if is_compressed { size.saturating_mul(TENTHS) / 10 } else { size }
}
