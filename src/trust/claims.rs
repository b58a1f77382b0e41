//! What registries hold that says something of an image and is signed: in cosign's tags, and as bundles that refer to it.

use futures_util::StreamExt as _;

use super::classic::{ENVELOPE, PAYLOAD, layers, small_blob};
use super::{ATTESTATIONS, Error, SIGNATURES, tag};
use crate::oci::{Descriptor, Digest, Document, Reference, media_type};
use crate::registry::Client;
use crate::signing::{
    BUNDLE, Bundle, Envelope, Evidence, LARGEST_BUNDLE, LARGEST_PAYLOAD, Refusal, SIGN, Signature, Signed, Trust,
    verify_envelope,
};

/// How many of one image are read: each costs two requests and a verification.
pub(super) const MOST: usize = 64;

/// Something that is signed.
#[derive(Clone, Debug)]
pub enum Claim {
    /// A signature of a payload.
    Signature(Signature),
    /// A signed statement, with what vouches for its key.
    Bundle(Box<Bundle>),
    /// The same in cosign's tag.
    Envelope(Envelope, Evidence),
}

impl Claim {
    /// Reads the bundle that somebody else has found.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn of_bundle(bytes: &[u8]) -> Result<Self, Refusal> {
        Bundle::parse(bytes).map(|bundle| Self::Bundle(Box::new(bundle)))
    }

    /// Tells whether it is in a bundle; else it is under one of cosign's tags.
    pub fn is_bundle(&self) -> bool {
        matches!(self, Self::Bundle(_))
    }

    /// Returns the statement that is signed, as it is written, whether the signature holds or not; none where an image
    /// alone is signed.
    pub fn statement(&self) -> Option<Vec<u8>> {
        let envelope = match self {
            Self::Signature(_) => None,
            Self::Bundle(bundle) => bundle.envelope(),
            Self::Envelope(envelope, _) => Some(envelope),
        };
        envelope?.open().map(|(payload, _)| payload)
    }

    /// Checks that this is about an image, by whom it must be.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, image: &Digest, trust: &Trust) -> Result<Signed, Refusal> {
        match self {
            Self::Signature(signature) => signature.verify(image, trust),
            Self::Bundle(bundle) => bundle.verify(image, trust),
            Self::Envelope(envelope, evidence) => verify_envelope(envelope, evidence, image, trust),
        }
    }
}

/// Tells whether it is said that the image is signed, and nothing more.
pub fn is_signature(signed: &Signed) -> bool {
    signed.statement.as_ref().is_none_or(|statement| statement.predicate_type == SIGN)
}

/// What was made of the claims about an image.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Those that hold.
    pub holding: Vec<Signed>,
    /// Why the others do not.
    pub refused: Vec<Refusal>,
}

/// Reads the claims about an image, those that are malformed with the reason.
///
/// # Errors
/// [`Error`] when the registry cannot be read; not when there is none.
pub async fn claims(
    client: &Client,
    repository: &Reference,
    image: &Digest,
) -> Result<Vec<Result<Claim, Refusal>>, Error> {
    let mut claims = Vec::new();
    let place = tag(repository, image, SIGNATURES);
    for layer in layers(client, &place).await?.iter().filter(|layer| layer.media_type == PAYLOAD) {
        let payload = small_blob(client, &place, layer, LARGEST_PAYLOAD).await?;
        claims.push(Signature::read(payload, &layer.annotations).map(Claim::Signature));
    }
    let place = tag(repository, image, ATTESTATIONS);
    for layer in layers(client, &place).await?.iter().filter(|layer| layer.media_type == ENVELOPE) {
        let bytes = small_blob(client, &place, layer, LARGEST_BUNDLE).await?;
        let malformed = |error: serde_json::Error| Refusal::Malformed(error.to_string());
        let evidence = Evidence::of_annotations(&layer.annotations);
        let envelope = crate::oci::from_json(&bytes).map_err(malformed);
        claims.push(envelope.and_then(|envelope| Ok(Claim::Envelope(envelope, evidence?))));
    }
    let listed = client.referrers(repository, image, Some(BUNDLE)).await?;
    if listed.len() > MOST {
        let reference = repository.with_digest(image.clone()).to_string();
        return Err(Error::Unfit {
            reference,
            reason: format!("{} bundles refer to it, more than {MOST}", listed.len()),
        });
    }
    let mut read = futures_util::stream::iter(&listed).map(|one| bundle(client, repository, one)).buffered(4);
    while let Some(claim) = read.next().await {
        claims.extend(claim?);
    }
    Ok(claims)
}

/// Reads the bundle that an artifact is; none where it is gone, or none.
async fn bundle(
    client: &Client,
    repository: &Reference,
    artifact: &Descriptor,
) -> Result<Option<Result<Claim, Refusal>>, Error> {
    let place = repository.with_digest(artifact.digest.clone());
    let Some((bytes, _)) = client.manifest(&place).await? else { return Ok(None) };
    let document = Document::parse(media_type::OCI_MANIFEST, &bytes);
    let document = document.map_err(|source| Error::Manifest { reference: place.to_string(), source })?;
    let Document::Manifest(manifest) = document else { return Ok(None) };
    let Some(layer) = manifest.layers.iter().find(|layer| layer.media_type == BUNDLE) else { return Ok(None) };
    let bytes = small_blob(client, &place, layer, LARGEST_BUNDLE).await?;
    Ok(Some(Claim::of_bundle(&bytes)))
}

/// Tells which claims hold, and why the others do not.
pub fn judge(claims: &[Result<Claim, Refusal>], image: &Digest, trust: &Trust) -> Judged {
    let mut judged = Judged::default();
    for claim in claims {
        match claim.as_ref().map_err(Clone::clone).and_then(|claim| claim.verify(image, trust)) {
            Ok(signed) => judged.holding.push(signed),
            Err(refusal) => judged.refused.push(refusal),
        }
    }
    judged
}
