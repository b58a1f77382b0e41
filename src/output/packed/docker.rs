//! An archive as `docker save` writes it; its image has no manifest, so it gets one.
//!
//! Source: <https://github.com/moby/docker-image-spec/blob/main/spec.md>, "Combined Image JSON + Filesystem
//! Changeset Format".

use std::collections::BTreeMap;
use std::io::{self, Read};

use bytes::Bytes;
use serde::Deserialize;

use super::place::Place;
use super::{Error, Packed};
use crate::image::{Compressor, Encoding, decompressed};
use crate::oci::{Descriptor, Digest, Hasher, ImageConfig, Manifest, from_json, media_type};
use crate::registry::BlobSource;
use crate::request::Compression;
use crate::store::Store;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

pub(super) fn read(place: &Place, store: &Store) -> Result<Packed, Error> {
    let manifest: Vec<Saved> =
        from_json(&place.document("manifest.json")?).map_err(|error| place.error(format!("manifest.json: {error}")))?;
    let [saved] = &manifest[..] else {
        return Err(place.error(format!("it holds {} images; one is taken", manifest.len())));
    };
    let config_bytes = place.document(&saved.config)?;
    let config: ImageConfig =
        from_json(&config_bytes).map_err(|error| place.error(format!("{}: {error}", saved.config)))?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != saved.layers.len() {
        let (layers, ids) = (saved.layers.len(), diff_ids.len());
        return Err(place.error(format!("it has {layers} layers, its configuration {ids}")));
    }
    let mut blobs: Vec<(Descriptor, BlobSource)> = Vec::new();
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
        let (descriptor, blob) = layer(place, name, &diff_id.0, store)?;
        if blobs.iter().all(|(known, _)| known.digest != descriptor.digest) {
            blobs.push((descriptor.clone(), blob));
        }
        layers.push(descriptor);
    }
    let config = Descriptor::of(media_type::OCI_CONFIG, &config_bytes);
    blobs.push((config.clone(), BlobSource::Bytes(config_bytes)));
    let media_type = media_type::OCI_MANIFEST.to_owned();
    let manifest = Manifest {
        schema_version: 2,
        media_type,
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let root_bytes = Bytes::from(manifest.to_bytes());
    let root = Descriptor::of(media_type::OCI_MANIFEST, &root_bytes);
    Ok(Packed { root, root_bytes, parts: Vec::new(), blobs, referrers: Vec::new() })
}

/// Takes a layer as it is where it is compressed, and compresses it where it is not.
fn layer(place: &Place, name: &str, diff_id: &Digest, store: &Store) -> Result<(Descriptor, BlobSource), Error> {
    let failure = |error: io::Error| place.error(format!("{name}: {error}"));
    let mut prefix = Vec::new();
    place.open(name)?.take(Encoding::PREFIX as u64).read_to_end(&mut prefix).map_err(failure)?;
    let media_type = match Encoding::of(&prefix) {
        Encoding::Gzip => media_type::OCI_LAYER_GZIP,
        Encoding::Zstd => media_type::OCI_LAYER_ZSTD,
        Encoding::Plain => return compressed(place, name, diff_id, store),
        Encoding::Bzip2 | Encoding::Xz => return Err(place.error(format!("{name}: no image has such a layer"))),
    };
    let (found, _) = digest(decompressed(place.open(name)?).map_err(failure)?, &mut io::sink()).map_err(failure)?;
    if found != *diff_id {
        return Err(damaged(place, name, &found, diff_id));
    }
    let (digest, size) = digest(place.open(name)?, &mut io::sink()).map_err(failure)?;
    let (blob, _) = place.blob(name)?;
    Ok((Descriptor::new(media_type, digest, size), blob))
}

fn compressed(place: &Place, name: &str, diff_id: &Digest, store: &Store) -> Result<(Descriptor, BlobSource), Error> {
    let failure = |error: io::Error| place.error(format!("{name}: {error}"));
    let mut compressor = Compressor::new(store.create()?, Compression::GZIP);
    let (found, _) = digest(place.open(name)?, &mut compressor).map_err(failure)?;
    if found != *diff_id {
        return Err(damaged(place, name, &found, diff_id));
    }
    let (digest, size) = compressor.finish().map_err(failure)?.finish()?;
    let blob = BlobSource::open(&store.path(&digest)).map_err(failure)?;
    Ok((Descriptor::new(media_type::OCI_LAYER_GZIP, digest, size), blob))
}

fn damaged(place: &Place, name: &str, found: &Digest, diff_id: &Digest) -> Error {
    place.error(format!("{name} is damaged: its content has digest {found} instead of {diff_id}"))
}

/// Copies a stream and returns the digest and number of its bytes.
fn digest(mut stream: impl Read, copy: &mut impl io::Write) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(&buffer[..count]);
        copy.write_all(&buffer[..count])?;
        size += count as u64;
    }
}
