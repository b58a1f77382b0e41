//! Signatures under cosign's tag: an image whose layers are what was signed, with the signatures in their annotations.
//!
//! Source: <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;

use super::{Error, tag};
use crate::oci::{Descriptor, Digest, Document, Manifest, Reference, media_type};
use crate::registry::{BlobSource, Client};
use crate::signing::{LARGEST_PAYLOAD, PublicKey, Refusal, Signature, Trust};

const SUFFIX: &str = "sig";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// How many signatures of one image are read: each costs a request and a verification.
const MOST: usize = 64;

/// What became of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Where it is.
    pub place: Reference,
    /// Whether it was there already.
    pub existed: bool,
}

/// Keeps a signature beside those that an image has; not a second time where the same key has signed the same.
///
/// # Errors
/// [`Error`].
pub async fn attach(
    client: &Client,
    repository: &Reference,
    (image, signature, key): (&Digest, &Signature, &PublicKey),
) -> Result<Attached, Error> {
    let place = tag(repository, image, SUFFIX);
    let payload = Descriptor::of(PAYLOAD, &signature.payload);
    let mut layers = manifest(client, &place).await?.map(|manifest| manifest.layers).unwrap_or_default();
    let is_same = |layer: &Descriptor| {
        let read = Signature::read(signature.payload.clone(), &layer.annotations);
        layer.digest == payload.digest && read.is_ok_and(|read| key.has_signed(&read.payload, &read.signature))
    };
    if layers.iter().any(is_same) {
        return Ok(Attached { place, existed: true });
    }
    client.push_blob(repository, &BlobSource::Bytes(signature.payload.clone()), &payload, None).await?;
    layers.push(Descriptor { annotations: signature.annotations(), ..payload });
    push_list(client, &place, layers).await?;
    Ok(Attached { place, existed: false })
}

/// Pushes an image that is a list; its configuration is what cosign writes, for registries that look into one.
async fn push_list(client: &Client, place: &Reference, layers: Vec<Descriptor>) -> Result<(), Error> {
    let digests: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let config = json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": vec![json!({"created": "0001-01-01T00:00:00Z"}); layers.len()],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": digests},
        "config": {},
    });
    let config = Bytes::from(config.to_string());
    let described = Descriptor::of(media_type::OCI_CONFIG, &config);
    client.push_blob(place, &BlobSource::Bytes(config), &described, None).await?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config: described,
        layers,
        annotations: BTreeMap::new(),
        subject: None,
    };
    client.push_manifest(place, media_type::OCI_MANIFEST, manifest.to_bytes().into()).await?;
    Ok(())
}

/// Reads the signatures of an image under cosign's tag, those that are malformed with the reason.
///
/// # Errors
/// [`Error`] when the registry cannot be read; not when there is no signature.
pub async fn signatures(
    client: &Client,
    repository: &Reference,
    image: &Digest,
) -> Result<Vec<Result<Signature, Refusal>>, Error> {
    let place = tag(repository, image, SUFFIX);
    let Some(manifest) = manifest(client, &place).await? else { return Ok(Vec::new()) };
    let mut signatures = Vec::new();
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == PAYLOAD) {
        let payload = small_blob(client, &place, layer, LARGEST_PAYLOAD).await?;
        signatures.push(Signature::read(payload, &layer.annotations));
    }
    Ok(signatures)
}

/// Reads the list under a tag.
async fn manifest(client: &Client, place: &Reference) -> Result<Option<Manifest>, Error> {
    let Some((bytes, _)) = client.manifest(place).await? else { return Ok(None) };
    let unfit = |reason: String| Error::Unfit { reference: place.to_string(), reason };
    let document = Document::parse(media_type::OCI_MANIFEST, &bytes);
    match document.map_err(|source| Error::Manifest { reference: place.to_string(), source })? {
        Document::Manifest(manifest) if manifest.layers.len() > MOST => {
            Err(unfit(format!("there are {}, more than {MOST}", manifest.layers.len())))
        }
        Document::Manifest(manifest) => Ok(Some(manifest)),
        Document::Index(_) => Err(unfit("it is an index".to_owned())),
    }
}

/// Reads a blob that fits into memory.
async fn small_blob(client: &Client, place: &Reference, blob: &Descriptor, largest: u64) -> Result<Bytes, Error> {
    if blob.size > largest {
        let reason = format!("one has {} bytes, more than {largest}", blob.size);
        return Err(Error::Unfit { reference: place.to_string(), reason });
    }
    let mut stream = client.blob(place, blob).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.into())
}

/// Tells which signatures hold, and why the others do not.
pub fn judge(
    signatures: &[Result<Signature, Refusal>],
    image: &Digest,
    trust: &Trust,
) -> (Vec<crate::signing::Signed>, Vec<Refusal>) {
    let (mut holding, mut refused) = (Vec::new(), Vec::new());
    for signature in signatures {
        match signature.clone().and_then(|signature| signature.verify(image, trust)) {
            Ok(signed) => holding.push(signed),
            Err(refusal) => refused.push(refusal),
        }
    }
    (holding, refused)
}
