//! A signature as `cosign` and containers/image keep it: beside a payload, with what vouches for its key.
//!
//! Source: cosign's SIGNATURE_SPEC.md.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::certificate::Chain;
use super::evidence::{Evidence, Signed, signer};
use super::key::PublicKey;
use super::log::Entry;
use super::payload::Payload;
use super::root::IdentityTrust;
use crate::oci::Digest;

/// The annotation with the signature, in base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Those with the certificate, those above it, and the entry of the log.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const ENTRY: &str = "dev.sigstore.cosign/bundle";
/// The largest payload that is read, in bytes; a name and a digest are some hundred.
pub const LARGEST_PAYLOAD: u64 = 64 << 10;

/// One signature of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What is signed.
    pub payload: Bytes,
    /// The signature, as its algorithm writes it.
    pub signature: Vec<u8>,
    /// What vouches for its key.
    pub evidence: Evidence,
}

/// Who must have signed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The owner of one of these keys.
    Keys(Vec<PublicKey>),
    /// Somebody whom an authority has given a certificate.
    Identity(Box<IdentityTrust>),
}

impl std::fmt::Display for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys(keys) => {
                let names: Vec<String> = keys.iter().map(|key| format!("the key {}", key.fingerprint())).collect();
                f.write_str(&names.join(" or "))
            }
            Self::Identity(identity) => write!(f, "{} ({})", identity.subject, identity.issuer),
        }
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no signature that we can read.
    #[error("it is malformed: {0}")]
    Malformed(String),
    /// It is of another image.
    #[error("it is a signature of {0}")]
    OtherImage(Digest),
    /// None of the keys has made it, or what it is of was changed.
    #[error("it was made with another key, or what it signs was changed")]
    OtherKey,
    /// Nobody says whose its key is.
    #[error("it has no certificate")]
    NoCertificate,
    /// The certificate is none that counts.
    #[error("its certificate does not count: {0}")]
    Certificate(String),
    /// No log that is trusted has it.
    #[error("it is not in a transparency log: {0}")]
    Log(String),
    /// Somebody else has made it.
    #[error("it was made by {name} ({issuer})")]
    OtherIdentity {
        /// Whom its certificate was given to.
        name: String,
        /// Who vouches for that.
        issuer: String,
    },
}

impl Signature {
    /// Returns the annotations that go with the payload.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = self.evidence.annotations();
        annotations.insert(SIGNATURE.to_owned(), STANDARD.encode(&self.signature));
        annotations
    }

    /// Joins a payload with its annotations.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn read(payload: Bytes, annotations: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let malformed = |text: &str| Refusal::Malformed(text.to_owned());
        let text = annotations.get(SIGNATURE).ok_or_else(|| malformed("it has no signature"))?;
        let signature = STANDARD.decode(text).map_err(|_| malformed("its signature is not in base64"))?;
        Ok(Self { payload, signature, evidence: Evidence::of_annotations(annotations)? })
    }

    /// Checks that this is a signature of an image by whom it must be.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, image: &Digest, trust: &Trust) -> Result<Signed, Refusal> {
        let by = signer(trust, &self.payload, &self.signature, &self.evidence, None)?;
        let payload = Payload::parse(&self.payload).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if payload.image != *image {
            return Err(Refusal::OtherImage(payload.image));
        }
        Ok(Signed { image: payload.image, name: Some(payload.name), statement: None, by })
    }
}

impl Evidence {
    /// Returns the annotations that say this.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::new();
        if let Some(chain) = &self.chain {
            annotations.insert(CERTIFICATE.to_owned(), chain.leaf_pem());
            annotations.insert(CHAIN.to_owned(), chain.above_pem());
        }
        if let Some(entry) = self.entry.as_ref().and_then(Entry::to_annotation) {
            annotations.insert(ENTRY.to_owned(), entry);
        }
        annotations
    }

    /// Reads what annotations say.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let given = |name: &str| annotations.get(name).filter(|text| !text.is_empty());
        let chain = given(CERTIFICATE).map(|leaf| {
            let above = given(CHAIN).map(String::as_str).unwrap_or_default();
            Chain::from_pem(format!("{leaf}\n{above}").as_bytes())
        });
        let entry = given(ENTRY).map(|text| Entry::from_annotation(text)).transpose()?;
        Ok(Self { chain: chain.transpose()?, entry })
    }
}
