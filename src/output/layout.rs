//! An image as an OCI image layout in a directory. Source: OCI image-spec, image-layout.md.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::oci::{DEFAULT_TAG, Index, Reference, media_type};
use crate::store::Store;

use super::{Assembled, Error, OpenLayer, write_atomically};

const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// Writes the image; an index that is there already is replaced, blobs that are there stay.
///
/// The image is named by the tags of the destinations, and `latest` when there are none.
pub(super) fn write(path: &Path, image: &Assembled, names: &[Reference], open: &OpenLayer<'_>) -> Result<(), Error> {
    let blobs = Store::open(path)?;
    for layer in &image.layers {
        let digest = &layer.descriptor.digest;
        if blobs.contains(digest) {
            continue;
        }
        let failure = |source| Error::Layer { digest: digest.to_string(), source };
        let mut reader = open(layer).map_err(failure)?;
        let mut writer = blobs.create()?;
        io::copy(&mut reader, &mut writer).map_err(failure)?;
        writer.finish()?;
    }
    blobs.put(&image.config_bytes)?;
    blobs.put(&image.manifest_bytes)?;
    write_atomically(&path.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write_atomically(&path.join("index.json"), &index(image, names).to_bytes())
}

fn index(image: &Assembled, names: &[Reference]) -> Index {
    let mut tags: BTreeSet<&str> = names.iter().filter_map(|name| name.tag.as_deref()).collect();
    if tags.is_empty() {
        tags.insert(DEFAULT_TAG);
    }
    let named = |tag: &str| {
        let mut descriptor = image.manifest.clone();
        descriptor.annotations.insert(REFERENCE_NAME.to_owned(), tag.to_owned());
        descriptor
    };
    Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: tags.into_iter().map(named).collect(),
        annotations: BTreeMap::new(),
    }
}
