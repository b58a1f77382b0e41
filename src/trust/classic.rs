//! Cosign's tags: an image whose layers are what was signed, with the signatures in their annotations.
//!
//! Source: <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>, and `ATTESTATION_SPEC.md` beside it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::Error;
use super::claims::MOST;
use crate::oci::{Descriptor, Digest, Document, Manifest, Reference, media_type};
use crate::registry::{BlobSource, Client};

/// What a layer is that was signed.
pub(super) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What a layer is that is a signed statement.
pub(super) const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// Adds to the list under a tag.
pub(super) async fn add(
    client: &Client,
    place: &Reference,
    (mut listed, layer, content): (Vec<Descriptor>, Descriptor, Bytes),
) -> Result<(), Error> {
    client.push_blob(place, &BlobSource::Bytes(content), &layer, None).await?;
    listed.push(layer);
    push_list(client, place, listed).await
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

/// Reads the list under a tag; an empty one where there is none.
pub(super) async fn layers(client: &Client, place: &Reference) -> Result<Vec<Descriptor>, Error> {
    let Some((bytes, _)) = client.manifest(place).await? else { return Ok(Vec::new()) };
    let unfit = |reason: String| Error::Unfit { reference: place.to_string(), reason };
    let document = Document::parse(media_type::OCI_MANIFEST, &bytes);
    match document.map_err(|source| Error::Manifest { reference: place.to_string(), source })? {
        Document::Manifest(manifest) if manifest.layers.len() > MOST => {
            Err(unfit(format!("there are {}, more than {MOST}", manifest.layers.len())))
        }
        Document::Manifest(manifest) => Ok(manifest.layers),
        Document::Index(_) => Err(unfit("it is an index".to_owned())),
    }
}

/// Reads a blob that fits into memory.
pub(super) async fn small_blob(
    client: &Client,
    place: &Reference,
    blob: &Descriptor,
    largest: u64,
) -> Result<Bytes, Error> {
    if blob.size > largest {
        let reason = format!("one has {} bytes, more than {largest}", blob.size);
        return Err(Error::Unfit { reference: place.to_string(), reason });
    }
    Ok(client.whole_blob(place, blob).await?)
}
