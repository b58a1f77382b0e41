//! An image that is in a directory or a file already: an OCI layout, an archive of one, an archive of `docker save`.
//!
//! Knows how these are laid out; does not change what has a digest. Blobs are read where they are, from a plain archive
//! too; only what is compressed as a whole, or not compressed at all, is copied.
//!
//! *Invariant: the bytes of documents have the digest that they are named by; no whole layer is ever in memory.*

mod docker;
mod place;

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::path::Path;

use bytes::Bytes;

use super::Error;
use crate::attest::Written;
use crate::oci::{Descriptor, Digest, Document, Index, Manifest, media_type};
use crate::registry::BlobSource;
use crate::store::{Store, Verified};
use place::{Place, Section};

/// How often an index may lead to another one.
const DEEPEST: usize = 4;
/// The largest document about an image that is read, in bytes.
const LARGEST_ATTESTATION: u64 = 128 << 20;

/// An image or an index of images, with all that it needs.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What a reference to it points to.
    pub root: Descriptor,
    /// The bytes of that.
    pub root_bytes: Bytes,
    /// The documents that an index names, each after those that it names itself.
    pub parts: Vec<(Descriptor, Bytes)>,
    /// Configurations and layers, each once.
    pub blobs: Vec<(Descriptor, BlobSource)>,
    /// What refers to the image or to one of its parts, each with what it refers to.
    pub referrers: Vec<(Digest, Written)>,
}

impl Packed {
    /// Opens a configuration or layer; the read that reaches its end fails where its digest is another one. None where it
    /// is not among them.
    pub fn open(&self, digest: &Digest) -> Option<Box<dyn Read + Send>> {
        let (descriptor, blob) = self.blobs.iter().find(|(descriptor, _)| descriptor.digest == *digest)?;
        let reader: Box<dyn Read + Send> = match blob {
            BlobSource::Bytes(bytes) => Box::new(Cursor::new(bytes.clone())),
            file => Box::new(Section::of(file, descriptor.size)?),
        };
        Some(Box::new(Verified::new(reader, digest.clone())))
    }
}

/// Opens what is at `path`; `store` takes what has to be copied.
///
/// # Errors
/// [`Error::Packed`] when there is no image that can be pushed.
pub fn open_packed(path: &Path, store: &Store) -> Result<Packed, Error> {
    let place = if path.is_dir() { Place::directory(path) } else { Place::archive(path, store)? };
    read(&place, store)
}

/// Reads an archive from a stream, which is copied into `store` first.
///
/// # Errors
/// As [`open_packed`].
pub fn read_packed(stream: impl Read + Send, store: &Store) -> Result<Packed, Error> {
    read(&Place::stream(stream, store)?, store)
}

fn read(place: &Place, store: &Store) -> Result<Packed, Error> {
    if place.has("index.json") {
        return layout(place);
    }
    if place.has("manifest.json") {
        return docker::read(place, store);
    }
    Err(place.error("it is neither an OCI layout nor an archive of one or of `docker save`"))
}

fn layout(place: &Place) -> Result<Packed, Error> {
    let bytes = place.document("index.json")?;
    let document = Document::parse(media_type::OCI_INDEX, &bytes).map_err(|error| place.error(error))?;
    let Document::Index(Index { manifests, .. }) = document else {
        return Err(place.error("its index.json is no index"));
    };
    // What refers to the image stands beside it, and has no name.
    let (referrers, manifests): (Vec<Descriptor>, Vec<Descriptor>) =
        manifests.into_iter().partition(|one| one.artifact_type.is_some());
    // One image has one entry for each of its names.
    let distinct: BTreeSet<&str> = manifests.iter().map(|one| one.digest.as_str()).collect();
    let root = match (manifests.first(), distinct.len()) {
        (Some(root), 1) => root.clone(),
        (_, 0) => return Err(place.error("it holds no image")),
        (_, count) => return Err(place.error(format!("it holds {count} images; one is taken, or an index of them"))),
    };
    let mut collected = Collected::default();
    collected.document(place, &root, 0)?;
    let Collected { mut parts, blobs, .. } = collected;
    let (named, root_bytes) = parts.pop().ok_or_else(|| place.error("it holds no image"))?;
    // The name and the platform in the index are not the image's own.
    let root = Descriptor::new(&named.media_type, named.digest, named.size);
    let referrers = referrers.iter().filter_map(|one| referrer(place, one).transpose()).collect::<Result<_, _>>()?;
    Ok(Packed { root, root_bytes, parts, blobs, referrers })
}

/// Reads an artifact that refers to something; none where it does not say to what.
fn referrer(place: &Place, descriptor: &Descriptor) -> Result<Option<(Digest, Written)>, Error> {
    let bytes = place.document(&blob_name(&descriptor.digest))?;
    if Digest::of(&bytes) != descriptor.digest {
        return Err(place.error(format!("{} is damaged", descriptor.digest)));
    }
    let document = Document::parse(&descriptor.media_type, &bytes).map_err(|error| place.error(error))?;
    let Document::Manifest(Manifest { subject: Some(subject), config, layers, .. }) = document else {
        return Ok(None);
    };
    let mut blobs: Vec<(Descriptor, Bytes)> = Vec::new();
    for blob in [config].into_iter().chain(layers) {
        if blob.size > LARGEST_ATTESTATION {
            return Err(place.error(format!("{} is larger than {LARGEST_ATTESTATION} bytes", blob.digest)));
        }
        let mut content = Vec::new();
        let name = blob_name(&blob.digest);
        let read = place.open(&name)?.take(LARGEST_ATTESTATION).read_to_end(&mut content);
        read.map_err(|error| place.error(format!("{name}: {error}")))?;
        blobs.push((blob, content.into()));
    }
    Ok(Some((subject.digest, Written { descriptor: descriptor.clone(), manifest: bytes, blobs })))
}

#[derive(Default)]
struct Collected {
    parts: Vec<(Descriptor, Bytes)>,
    blobs: Vec<(Descriptor, BlobSource)>,
    seen: BTreeSet<String>,
}

impl Collected {
    /// Takes a document and all below it, those first.
    fn document(&mut self, place: &Place, descriptor: &Descriptor, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(place.error(format!("its indexes are nested more than {DEEPEST} deep")));
        }
        if !self.seen.insert(descriptor.digest.to_string()) {
            return Ok(());
        }
        let bytes = place.document(&blob_name(&descriptor.digest))?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(place.error(format!("{} is damaged", descriptor.digest)));
        }
        let document = Document::parse(&descriptor.media_type, &bytes).map_err(|error| place.error(error))?;
        let media_type = match document {
            Document::Index(index) => {
                index.manifests.iter().try_for_each(|part| self.document(place, part, depth + 1))?;
                index.media_type
            }
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    self.blob(place, blob)?;
                }
                manifest.media_type
            }
        };
        self.parts.push((Descriptor { media_type, ..descriptor.clone() }, bytes));
        Ok(())
    }

    fn blob(&mut self, place: &Place, descriptor: &Descriptor) -> Result<(), Error> {
        if self.seen.insert(descriptor.digest.to_string()) {
            let (blob, size) = place.blob(&blob_name(&descriptor.digest))?;
            if size != descriptor.size {
                let digest = &descriptor.digest;
                return Err(place.error(format!("{digest} has {size} bytes instead of {}", descriptor.size)));
            }
            self.blobs.push((descriptor.clone(), blob));
        }
        Ok(())
    }
}

/// Names a blob's file. Source: OCI image-spec, image-layout.md.
fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}
