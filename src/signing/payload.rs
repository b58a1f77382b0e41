//! What is signed of an image: a document that names its digest.
//!
//! Source: <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>, which has it from
//! <https://github.com/containers/image/blob/main/docs/containers-signature.5.md>.

use serde::{Deserialize, Serialize};

use crate::oci::{Digest, from_json};

const KIND: &str = "cosign container image signature";

/// What a signature says: which image, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The digest of the image's manifest, or of the index.
    pub image: Digest,
    /// The name that it is claimed to have: a repository, or with a tag.
    pub name: String,
}

/// Bytes that say nothing about an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature's payload {0}")]
pub struct PayloadError(pub(super) String);

#[derive(Serialize, Deserialize)]
struct Document {
    critical: Critical,
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

impl Payload {
    /// Returns the bytes that are signed; the same for the same image and name.
    pub fn to_bytes(&self) -> Vec<u8> {
        let critical = Critical {
            identity: Identity { reference: self.name.clone() },
            image: Image { digest: self.image.clone() },
            kind: KIND.to_owned(),
        };
        serde_json::to_vec(&Document { critical, optional: None }).unwrap_or_default()
    }

    /// Reads what a signature says.
    ///
    /// # Errors
    /// [`PayloadError`] for another document.
    pub fn parse(bytes: &[u8]) -> Result<Self, PayloadError> {
        let document: Document = from_json(bytes).map_err(|error| PayloadError(format!("is malformed: {error}")))?;
        let Critical { identity, image, kind } = document.critical;
        // containers/image writes another word; both mean an image.
        if kind != KIND && kind != "atomic container signature" {
            return Err(PayloadError(format!("is of type `{kind}`")));
        }
        Ok(Self { image: image.digest, name: identity.reference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_what_cosign_writes() {
        let payload = Payload { image: Digest::of(b""), name: "registry.example.com/app".to_owned() };
        let expected = concat!(
            r#"{"critical":{"identity":{"docker-reference":"registry.example.com/app"},"image":{"docker-manifest-digest":"#,
            r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
            r#""type":"cosign container image signature"},"optional":null}"#
        );
        assert_eq!(String::from_utf8(payload.to_bytes()).expect("text"), expected);
        assert_eq!(Payload::parse(expected.as_bytes()), Ok(payload));
        let other = expected.replace("cosign container", "somebody's");
        assert!(Payload::parse(other.as_bytes()).expect_err("another type").to_string().contains("of type"));
    }
}
