//! `sha256:<hex>` digests of content, and the streaming hasher that makes them.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

const SHA256_HEX_LENGTH: usize = 64;

/// The digest of some content, in the form `sha256:<64 lower-case hex digits>`.
///
/// Source: OCI image-spec, descriptor.md "Digests". Only sha256 is accepted: every registry serves it,
/// and content that we cannot verify is content that we must not use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A text that is not a digest we can verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest of the form sha256:<64 hex digits>")]
pub struct DigestError {
    /// The text as it was found.
    pub text: String,
}

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the 64 hex digits after `sha256:`.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// Returns what a person compares: `sha256:` and twelve digits.
    pub fn short(&self) -> &str {
        &self.0[.."sha256:".len() + 12]
    }

    /// Returns the whole text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let is_hex = |hex: &str| hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == SHA256_HEX_LENGTH && is_hex(hex) => Ok(Self(text.to_owned())),
            _ => Err(DigestError { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// The digest of a layer's *uncompressed* tar stream.
///
/// Source: OCI image-spec, config.md "Layer DiffID". A type of its own, so that it is never taken for
/// the digest of the compressed blob.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hashes a stream into a [`Digest`]; also a writer, to stand at the end of a `copy`.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// Starts an empty hash.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes added, as bytes.
    pub fn sum(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// Returns the digest of all bytes added.
    pub fn finish(self) -> Digest {
        let mut text = String::with_capacity("sha256:".len() + SHA256_HEX_LENGTH);
        text.push_str("sha256:");
        for byte in self.sum() {
            for nibble in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Digest(text)
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_well_known_one() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
    }

    #[test]
    fn only_lower_case_sha256_of_full_length_parses() {
        assert!(EMPTY.parse::<Digest>().is_ok());
        for bad in ["", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", &EMPTY.to_uppercase()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad} parsed");
        }
    }
}
