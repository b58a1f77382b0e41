//! The documents of a finished image: its configuration and its manifest, and their digests.

use bytes::Bytes;

use crate::attest::Attachment;
use crate::image::{Image, Layer};
use crate::oci::{Descriptor, Manifest, Platform, media_type};
use crate::request::{ImageForm, ImageFormat};

use super::Error;

/// A finished image, ready to be delivered.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The layers, lowest first, with media types of the image's family.
    pub layers: Vec<Layer>,
    /// The configuration's bytes.
    pub config_bytes: Bytes,
    /// What describes them.
    pub config: Descriptor,
    /// The manifest's bytes.
    pub manifest_bytes: Bytes,
    /// What describes them; its digest is the image's. Its annotations are for indexes only.
    pub manifest: Descriptor,
    /// What the image is for.
    pub platform: Platform,
    /// What is said about it, and goes where it goes.
    pub attachments: Vec<Attachment>,
}

impl Assembled {
    /// Returns the size in bytes of all that a pull fetches.
    pub fn size(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.descriptor.size).sum();
        layers + self.config.size + self.manifest.size
    }
}

/// Writes the documents of an image.
///
/// All media types are of one family, whatever the base's were: mixed ones are refused by some registries.
///
/// # Errors
/// [`Error::NoMediaType`] when the family has no name for a layer's compression.
pub fn assemble(image: &Image, form: &ImageForm) -> Result<Assembled, Error> {
    let (manifest_type, config_type) = match form.format {
        ImageFormat::Oci => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
        ImageFormat::Docker => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    };
    let config_bytes =
        Bytes::from(serde_json::to_vec(&image.config).expect("strings, numbers and lists always serialize"));
    let config = Descriptor::of(config_type, &config_bytes);
    let layers = image.layers.iter().map(|layer| named(layer, form.format)).collect::<Result<Vec<Layer>, _>>()?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: manifest_type.to_owned(),
        artifact_type: None,
        config: config.clone(),
        layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        subject: None,
        annotations: form.annotations.clone(),
    };
    let manifest_bytes = Bytes::from(manifest.to_bytes());
    let mut manifest = Descriptor::of(manifest_type, &manifest_bytes);
    manifest.annotations.clone_from(&form.descriptor_annotations);
    let platform = image.config.platform.clone();
    let attachments = Vec::new();
    Ok(Assembled { layers, config_bytes, config, manifest_bytes, manifest, platform, attachments })
}

/// Checks, before anything is built, that the layers of a base have a name in the image's family.
///
/// # Errors
/// As [`assemble`].
pub fn check_layers(layers: &[Layer], form: &ImageForm) -> Result<(), Error> {
    layers.iter().try_for_each(|layer| named(layer, form.format).map(drop))
}

fn named(layer: &Layer, format: ImageFormat) -> Result<Layer, Error> {
    let old = &*layer.descriptor.media_type;
    let name = match format {
        ImageFormat::Oci => Some(media_type::to_oci(old)),
        ImageFormat::Docker => media_type::to_docker(old),
    };
    let no_name = || Error::NoMediaType { digest: layer.descriptor.digest.to_string(), media_type: old.to_owned() };
    let name = name.ok_or_else(no_name)?.to_owned();
    let mut layer = layer.clone();
    layer.descriptor.media_type = name;
    Ok(layer)
}
