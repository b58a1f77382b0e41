//! An image in an OCI layout as a base.
//!
//! *Invariant: every byte that is used has the digest that it is named by.*

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::image::LayerContent;
use crate::oci::{
    Descriptor, Digest, Document, ImageConfig, Index, LARGEST_DOCUMENT, Manifest, Platform, Reference, from_json,
    media_type,
};
use crate::place;
use crate::plan::Base;
use crate::store::{Store, Verified};

use super::joined;

/// How often an index may lead to another one.
const DEEPEST: usize = 4;

/// Reads the image for a platform and brings its layers into the store.
///
/// A digest in the reference names anything in the layout, wherever an index has it.
pub(super) fn resolve(path: &Path, reference: &Reference, platform: &Platform, store: &Store) -> Result<Base, String> {
    let name = path.join("index.json");
    let index =
        place::read_anywhere(&name, LARGEST_DOCUMENT).map_err(|error| format!("{}: {error}", name.display()))?;
    let (mut digest, mut document) = match &reference.digest {
        Some(digest) => (digest.clone(), named(path, digest)?),
        None => (Digest::of(&index), parsed(media_type::OCI_INDEX, &index)?),
    };
    for _ in 0..DEEPEST {
        let index = match document {
            Document::Index(index) => index,
            Document::Manifest(manifest) => {
                let config = config(path, &manifest)?;
                for layer in &manifest.layers {
                    keep(path, layer, store)?;
                }
                let image = joined::image(manifest.layers, config, &LayerContent::Stored)?;
                return Ok(Base { pinned: reference.with_digest(digest.clone()), manifest: digest, image });
            }
        };
        let chosen = choose(path, &index, platform)?;
        digest = chosen.digest.clone();
        document = parsed(&chosen.media_type, &read(path, chosen)?)?;
    }
    Err(format!("its indexes are nested more than {DEEPEST} deep"))
}

/// Says what to look at next for a platform.
fn choose<'i>(path: &Path, index: &'i Index, platform: &Platform) -> Result<&'i Descriptor, String> {
    if let [only] = &index.manifests[..] {
        return Ok(only);
    }
    if let Some(chosen) = index.choose(platform) {
        return Ok(chosen);
    }
    for unlabelled in index.unlabelled() {
        if let Document::Manifest(manifest) = parsed(&unlabelled.media_type, &read(path, unlabelled)?)?
            && platform.is_served_by(&config(path, &manifest)?.platform)
        {
            return Ok(unlabelled);
        }
    }
    Err(format!("{} has several images and none for {platform}: add @ and a digest", path.display()))
}

/// Reads what a digest alone names: a manifest or an index, told by its fields where it does not say what it is.
fn named(path: &Path, digest: &Digest) -> Result<Document, String> {
    let bytes = read_whole(path, digest)?;
    Document::parse_alone(&bytes).map_err(|error| error.to_string())
}

fn parsed(said: &str, bytes: &[u8]) -> Result<Document, String> {
    Document::parse(said, bytes).map_err(|error| error.to_string())
}

fn config(path: &Path, manifest: &Manifest) -> Result<ImageConfig, String> {
    from_json(&read(path, &manifest.config)?).map_err(|error| format!("its configuration: {error}"))
}

fn open(path: &Path, digest: &Digest) -> Result<Verified<File>, String> {
    let blob = path.join("blobs/sha256").join(digest.hex());
    let file = place::open_anywhere(&blob).map_err(|error| format!("{}: {error}", blob.display()))?;
    Ok(Verified::new(file, digest.clone()))
}

fn read(path: &Path, blob: &Descriptor) -> Result<Vec<u8>, String> {
    let bytes = read_whole(path, &blob.digest)?;
    must_have(blob, bytes.len() as u64).map(|()| bytes)
}

fn read_whole(path: &Path, digest: &Digest) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = open(path, digest)?.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("{digest}: {error}"))?;
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        return Err(format!("{digest} is larger than {LARGEST_DOCUMENT} bytes"));
    }
    Ok(bytes)
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
