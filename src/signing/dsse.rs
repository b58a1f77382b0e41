//! Signed statements: DSSE envelopes.
//!
//! Source: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>, `envelope.md`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::attest::IN_TOTO;

/// A payload with signatures of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The payload in base64.
    pub payload: String,
    /// What the payload is.
    pub payload_type: String,
    /// At least one.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// In base64.
    pub sig: String,
}

impl Envelope {
    /// Joins a statement with a signature of [`signed_bytes`].
    pub fn of(statement: &[u8], signature: &[u8]) -> Self {
        let signatures = vec![EnvelopeSignature { sig: STANDARD.encode(signature) }];
        Self { payload: STANDARD.encode(statement), payload_type: IN_TOTO.to_owned(), signatures }
    }

    /// Returns the payload, and the signatures.
    pub fn open(&self) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
        let signatures = self.signatures.iter().map(|signature| decode(&signature.sig));
        Some((decode(&self.payload)?, signatures.collect::<Option<_>>()?))
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Either alphabet may stand there.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// Returns what is signed of a payload: DSSE's "pre-authentication encoding".
pub(super) fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of protocol.md.
    #[test]
    fn what_is_signed_says_how_long_its_parts_are() {
        let bytes = signed_bytes("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
