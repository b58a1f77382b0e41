//! A signature as `cosign` and containers/image keep it: beside a payload, with what vouches for its key.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::key::{KeyError, PrivateKey, PublicKey};
use super::payload::Payload;
use crate::oci::Digest;

/// The annotation with the signature, in base64. Source: cosign's SIGNATURE_SPEC.md.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The largest payload that is read, in bytes; a name and a digest are some hundred.
pub const LARGEST_PAYLOAD: u64 = 64 << 10;

/// One signature of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What is signed.
    pub payload: Bytes,
    /// The signature, as its algorithm writes it.
    pub signature: Vec<u8>,
}

/// Who must have signed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The owner of one of these keys.
    Keys(Vec<PublicKey>),
}

impl std::fmt::Display for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys(keys) => {
                let names: Vec<String> = keys.iter().map(|key| format!("the key {}", key.fingerprint())).collect();
                f.write_str(&names.join(" or "))
            }
        }
    }
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub payload: Payload,
    /// Whose it is, for messages: a key's fingerprint, or an identity.
    pub by: String,
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
}

impl Signature {
    /// Signs a payload.
    ///
    /// # Errors
    /// [`KeyError`] of the key.
    pub fn make(payload: &Payload, key: &PrivateKey) -> Result<Self, KeyError> {
        let payload = Bytes::from(payload.to_bytes());
        let signature = key.sign(&payload)?;
        Ok(Self { payload, signature })
    }

    /// Returns the annotations that go with the payload.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(SIGNATURE.to_owned(), STANDARD.encode(&self.signature))])
    }

    /// Joins a payload with its annotations.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn read(payload: Bytes, annotations: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let malformed = |text: &str| Refusal::Malformed(text.to_owned());
        let text = annotations.get(SIGNATURE).ok_or_else(|| malformed("it has no signature"))?;
        let signature = STANDARD.decode(text).map_err(|_| malformed("its signature is not in base64"))?;
        Ok(Self { payload, signature })
    }

    /// Checks that this is a signature of an image by whom it must be.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, image: &Digest, trust: &Trust) -> Result<Signed, Refusal> {
        let by = match trust {
            Trust::Keys(keys) => {
                let key = keys.iter().find(|key| key.has_signed(&self.payload, &self.signature));
                format!("the key {}", key.ok_or(Refusal::OtherKey)?.fingerprint())
            }
        };
        let payload = Payload::parse(&self.payload).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if payload.image != *image {
            return Err(Refusal::OtherImage(payload.image));
        }
        Ok(Signed { payload, by })
    }
}
