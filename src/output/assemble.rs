//! The documents of a finished image: its configuration and its manifest, and their digests.

use bytes::Bytes;

use crate::image::{Image, Layer};
use crate::oci::{Descriptor, Manifest, media_type};

/// A finished image, ready to be delivered.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The layers, lowest first, with OCI media types.
    pub layers: Vec<Layer>,
    /// The configuration's bytes.
    pub config_bytes: Bytes,
    /// What describes them.
    pub config: Descriptor,
    /// The manifest's bytes.
    pub manifest_bytes: Bytes,
    /// What describes them; its digest is the image's.
    pub manifest: Descriptor,
}

impl Assembled {
    /// Returns the size in bytes of all that a pull fetches.
    pub fn size(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.descriptor.size).sum();
        layers + self.config.size + self.manifest.size
    }
}

/// Writes the documents of an image.
pub fn assemble(image: &Image) -> Assembled {
    let config_bytes =
        Bytes::from(serde_json::to_vec(&image.config).expect("strings, numbers and lists always serialize"));
    let config = Descriptor::of(media_type::OCI_CONFIG, &config_bytes);
    let layers: Vec<Layer> = image.layers.iter().map(with_oci_media_type).collect();
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        config: config.clone(),
        layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        annotations: std::collections::BTreeMap::new(),
    };
    let manifest_bytes = Bytes::from(manifest.to_bytes());
    let manifest = Descriptor::of(media_type::OCI_MANIFEST, &manifest_bytes);
    Assembled { layers, config_bytes, config, manifest_bytes, manifest }
}

fn with_oci_media_type(layer: &Layer) -> Layer {
    let mut layer = layer.clone();
    layer.descriptor.media_type = media_type::to_oci(&layer.descriptor.media_type).to_owned();
    layer
}
