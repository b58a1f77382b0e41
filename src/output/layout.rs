//! An image as an OCI image layout in a directory. Source: OCI image-spec, image-layout.md.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::oci::{DEFAULT_TAG, Descriptor, Index, Reference, media_type};
use crate::request::ArchiveForm;
use crate::store::Store;

use super::{Assembled, Error, Joined, OpenLayer, write_atomically};

/// The file that says that this is a layout.
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What an image of a layout is called. Source: OCI image-spec, annotations.md.
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// The whole name, which containerd, Docker and podman give a loaded image.
///
/// Source: <https://github.com/containerd/containerd/blob/main/core/images/annotations.go>.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Writes the blobs of the image; blobs that are there stay.
pub(super) fn write_blobs(path: &Path, image: &Assembled, open: &OpenLayer<'_>) -> Result<(), Error> {
    let failed = |source| Error::Layout { path: path.to_owned(), source };
    let blobs = Store::open(path).map_err(failed)?;
    for layer in &image.layers {
        let digest = &layer.descriptor.digest;
        if blobs.contains(digest) {
            continue;
        }
        let failure = |source| Error::Layer { digest: digest.to_string(), source };
        let mut reader = open(layer).map_err(failure)?;
        let mut writer = blobs.create().map_err(failed)?;
        io::copy(&mut reader, &mut writer).map_err(failure)?;
        writer.finish().map_err(failed)?;
    }
    blobs.put(&image.config_bytes).map_err(failed)?;
    blobs.put(&image.manifest_bytes).map_err(failed)?;
    Ok(())
}

/// Lets the layout have this image, whose blobs are there; an index that is there already is replaced.
pub(super) fn write_index(path: &Path, image: &Descriptor, names: &[Reference]) -> Result<(), Error> {
    write_atomically(&path.join("oci-layout"), LAYOUT)?;
    write_atomically(&path.join("index.json"), &index(image, names, ArchiveForm::Oci).to_bytes())
}

/// Lets the layout have the index of images that are there.
pub(super) fn write_joined(path: &Path, joined: &Joined, names: &[Reference]) -> Result<(), Error> {
    let put = Store::open(path).and_then(|blobs| blobs.put(&joined.bytes));
    put.map_err(|source| Error::Layout { path: path.to_owned(), source })?;
    write_index(path, &joined.index, names)
}

/// Returns the index of a layout with this one image, under each of its names.
///
/// OCI's readers look for a tag, and take two of the same for a fault: each stands there once, and `latest` where there
/// is no name. Docker loads the image under each whole name, and without one where there is none.
pub(super) fn index(image: &Descriptor, names: &[Reference], form: ArchiveForm) -> Index {
    let mut manifests: Vec<Descriptor> = Vec::new();
    for name in names {
        let tag = name.tag.as_deref().unwrap_or(DEFAULT_TAG);
        let is_there = |one: &Descriptor| one.annotations.get(REFERENCE_NAME).is_some_and(|known| known == tag);
        if !(form == ArchiveForm::Oci && manifests.iter().any(is_there)) {
            manifests.push(named(image, tag, Some(name)));
        }
    }
    if manifests.is_empty() {
        manifests.push(match form {
            ArchiveForm::Oci => named(image, DEFAULT_TAG, None),
            ArchiveForm::Docker => image.clone(),
        });
    }
    Index { schema_version: 2, media_type: media_type::OCI_INDEX.to_owned(), manifests, annotations: BTreeMap::new() }
}

fn named(image: &Descriptor, tag: &str, name: Option<&Reference>) -> Descriptor {
    let mut descriptor = image.clone();
    let mut annotate = |key: &str, value: String| _ = descriptor.annotations.entry(key.to_owned()).or_insert(value);
    annotate(REFERENCE_NAME, tag.to_owned());
    if let Some(name) = name {
        annotate(IMAGE_NAME, name.to_string());
    }
    descriptor
}
