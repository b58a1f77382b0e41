//! An image in an OCI layout as a base.
//!
//! *Invariant: every byte that is used has the digest that it is named by.*

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::image::LayerContent;
use crate::oci::{Descriptor, Digest, Document, Platform, Reference};
use crate::plan::Base;
use crate::store::{Store, Verified};

use super::bases;

/// Manifests and configurations are smaller.
const LARGEST_DOCUMENT: u64 = 16 << 20;
/// How often an index may lead to another one.
const DEEPEST: usize = 4;

/// Reads the image for a platform and brings its layers into the store.
pub(super) fn resolve(path: &Path, reference: &Reference, platform: &Platform, store: &Store) -> Result<Base, String> {
    let index = fs::read(path.join("index.json")).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut document = Document::parse(crate::oci::media_type::OCI_INDEX, &index).map_err(|error| error.to_string())?;
    let mut digest = Digest::of(&index);
    for level in 0..DEEPEST {
        let index = match document {
            Document::Index(index) => index,
            Document::Manifest(manifest) => {
                let config = read(path, &manifest.config)?;
                let config = serde_json::from_slice(&config).map_err(|error| format!("its configuration: {error}"))?;
                for layer in &manifest.layers {
                    keep(path, layer, store)?;
                }
                let image = bases::image(manifest.layers, config, &LayerContent::Stored)?;
                return Ok(Base { pinned: reference.with_digest(digest.clone()), manifest: digest, image });
            }
        };
        let pinned = reference.digest.as_ref().filter(|_| level == 0);
        let chosen = match pinned {
            Some(digest) => index.manifests.iter().find(|one| one.digest == *digest),
            None if index.manifests.len() == 1 => index.manifests.first(),
            None => index.select(platform),
        };
        let chosen = chosen.ok_or_else(|| match pinned {
            Some(digest) => format!("{} has no {digest}", path.display()),
            None => format!("{} has several images and none for {platform}: add @ and a digest", path.display()),
        })?;
        digest = chosen.digest.clone();
        let bytes = read(path, chosen)?;
        document = Document::parse(&chosen.media_type, &bytes).map_err(|error| error.to_string())?;
    }
    Err(format!("its indexes are nested more than {DEEPEST} deep"))
}

fn open(path: &Path, digest: &Digest) -> Result<Verified<File>, String> {
    let blob = path.join("blobs/sha256").join(digest.hex());
    let file = File::open(&blob).map_err(|error| format!("{}: {error}", blob.display()))?;
    Ok(Verified::new(file, digest.clone()))
}

fn read(path: &Path, blob: &Descriptor) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = open(path, &blob.digest)?.take(LARGEST_DOCUMENT).read_to_end(&mut bytes);
    read.map_err(|error| format!("{}: {error}", blob.digest))?;
    must_have(blob, bytes.len() as u64).map(|()| bytes)
}

fn must_have(blob: &Descriptor, size: u64) -> Result<(), String> {
    let wrong = || format!("{} has {size} bytes, and what names it says {}", blob.digest, blob.size);
    (size == blob.size).then_some(()).ok_or_else(wrong)
}

fn keep(path: &Path, layer: &Descriptor, store: &Store) -> Result<(), String> {
    if store.contains(&layer.digest) {
        return Ok(());
    }
    let told = |error: &dyn std::error::Error| format!("{}: {error}", layer.digest);
    let mut blob = open(path, &layer.digest)?;
    let mut writer = store.create().map_err(|error| told(&error))?;
    let size = io::copy(&mut blob, &mut writer).map_err(|error| told(&error))?;
    must_have(layer, size)?;
    writer.finish().map(drop).map_err(|error| told(&error))
}
