//! An image from its manifest and its configuration.

use crate::image::{Image, Layer, LayerContent};
use crate::oci::{Descriptor, DiffId, ImageConfig};

/// Each ONBUILD trigger of a base is a step of the build, and costs some kilobytes.
const MOST_TRIGGERS: usize = 10_000;

/// Joins the manifest's layers with the configuration's digests.
pub(super) fn image(layers: Vec<Descriptor>, mut config: ImageConfig, content: &LayerContent) -> Result<Image, String> {
    let diff_ids: &[DiffId] = &config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        return Err(format!("its manifest has {} layers, its configuration {}", layers.len(), diff_ids.len()));
    }
    let triggers = config.config.on_build.len();
    if triggers > MOST_TRIGGERS {
        return Err(format!("it has {triggers} ONBUILD triggers, more than {MOST_TRIGGERS}"));
    }
    let joined = layers.into_iter().zip(diff_ids);
    let layers =
        joined.map(|(descriptor, diff_id)| Layer { descriptor, diff_id: diff_id.clone(), content: content.clone() });
    let layers = layers.collect();
    config.match_history();
    Ok(Image { layers, config })
}
