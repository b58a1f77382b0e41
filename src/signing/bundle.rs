//! Sigstore's bundles: a signed statement in one document with what vouches for its key.
//!
//! Source: <https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto>, in protobuf's JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::certificate::Chain;
use super::dsse::{Envelope, signed_bytes};
use super::evidence::{Evidence, Signed, Statement, signer};
use super::key::PublicKey;
use super::log::Entry;
use super::simple::{Refusal, Trust};
use crate::attest::IN_TOTO;
use crate::oci::{Digest, from_json};

/// The media type of a bundle, and the type of the artifact that is one.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The predicate type of a statement that says nothing but that the image is signed. Source: cosign, `pkg/types`.
pub const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The largest that is read, in bytes: a statement about packages has megabytes.
pub const LARGEST_BUNDLE: u64 = 64 << 20;

/// A bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    media_type: String,
    verification_material: Material,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Envelope>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Raw>,
    /// As versions before 0.3 have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<RawChain>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tlog_entries: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    raw_bytes: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RawChain {
    certificates: Vec<Raw>,
}

impl Bundle {
    /// Joins an envelope with a hint at its key, which whoever verifies must have.
    pub fn by_key(envelope: Envelope, key: &PublicKey, entry: Option<Entry>) -> Self {
        // A digest's digits are always such.
        let fingerprint = hex::decode(key.fingerprint().hex()).unwrap_or_default();
        let hint = Hint { hint: STANDARD.encode(fingerprint) };
        Self::new(envelope, Material { public_key: Some(hint), ..Material::default() }, entry)
    }

    /// Joins an envelope with the certificate of its key.
    pub fn by_certificate(envelope: Envelope, chain: &Chain, entry: Option<Entry>) -> Self {
        let certificate = Raw { raw_bytes: STANDARD.encode(chain.leaf()) };
        Self::new(envelope, Material { certificate: Some(certificate), ..Material::default() }, entry)
    }

    fn new(envelope: Envelope, mut material: Material, entry: Option<Entry>) -> Self {
        material.tlog_entries = entry.into_iter().collect();
        Self { media_type: BUNDLE.to_owned(), verification_material: material, dsse_envelope: Some(envelope) }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        from_json(bytes).map_err(|error| Refusal::Malformed(format!("it is no bundle: {error}")))
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the envelope of the statement.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.dsse_envelope.as_ref()
    }

    /// Checks that this is a statement about an image by whom it must be.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, image: &Digest, trust: &Trust) -> Result<Signed, Refusal> {
        let malformed = |what: &str| Refusal::Malformed(what.to_owned());
        let envelope = self.dsse_envelope.as_ref().ok_or_else(|| malformed("it has no statement"))?;
        let material = &self.verification_material;
        let decoded = |raw: &Raw| STANDARD.decode(&raw.raw_bytes).map_err(|_| malformed("its certificate"));
        let chain: Vec<&Raw> = match (&material.certificate, &material.x509_certificate_chain) {
            (Some(leaf), _) => vec![leaf],
            (None, Some(chain)) => chain.certificates.iter().collect(),
            (None, None) => Vec::new(),
        };
        let chain = chain.into_iter().map(decoded).collect::<Result<Vec<_>, _>>()?;
        let chain = if chain.is_empty() { None } else { Some(Chain::new(chain)?) };
        verify_envelope(envelope, &Evidence { chain, entry: material.tlog_entries.first().cloned() }, image, trust)
    }
}

/// Checks that an envelope has a statement about an image by whom it must be.
///
/// # Errors
/// [`Refusal`].
pub fn verify_envelope(
    envelope: &Envelope,
    evidence: &Evidence,
    image: &Digest,
    trust: &Trust,
) -> Result<Signed, Refusal> {
    let malformed = |what: &str| Refusal::Malformed(what.to_owned());
    let (payload, signatures) = envelope.open().ok_or_else(|| malformed("its envelope is not in base64"))?;
    if envelope.payload_type != IN_TOTO {
        return Err(malformed("its payload is no in-toto statement"));
    }
    let message = signed_bytes(&envelope.payload_type, &payload);
    let mut by = Err(malformed("its envelope has no signature"));
    for signature in &signatures {
        by = signer(trust, &message, signature, evidence, Some(&payload));
        if by.is_ok() {
            break;
        }
    }
    let by = by?;
    let statement = Statement::parse(&payload)?;
    if !statement.is_about(image) {
        let other = statement.images().next();
        return Err(other.map_or_else(|| malformed("its statement is about no image"), Refusal::OtherImage));
    }
    Ok(Signed { image: image.clone(), name: None, statement: Some(statement), by })
}
