//! Whose a signature is: the key or the identity that made it, and what it then says.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::certificate::Chain;
use super::log::Entry;
use super::simple::{Refusal, Trust};
use crate::oci::{Digest, from_json};

/// What comes with a signature and vouches for its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The certificate of the key, and those above it that came with it.
    pub chain: Option<Chain>,
    /// The entry of a transparency log.
    pub entry: Option<Entry>,
}

/// A signature that holds, and what it says.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The image that it is of.
    pub image: Digest,
    /// The name that the image is said to have; statements name none.
    pub name: Option<String>,
    /// The statement, if it is one.
    pub statement: Option<Statement>,
    /// Whose it is, for messages: a key's fingerprint, or an identity.
    pub by: String,
}

/// Something that is said about images.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    subject: Vec<Subject>,
    /// What kind it is.
    pub predicate_type: String,
    /// What is said; none where there is nothing to say.
    #[serde(default)]
    pub predicate: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Subject {
    digest: Digests,
}

#[derive(Clone, Debug, Deserialize)]
struct Digests {
    sha256: Option<String>,
}

impl Statement {
    /// Reads one.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        from_json(bytes).map_err(|error| Refusal::Malformed(format!("its statement is malformed: {error}")))
    }

    /// Lists the images that it is about.
    pub fn images(&self) -> impl Iterator<Item = Digest> {
        self.subject.iter().filter_map(|one| format!("sha256:{}", one.digest.sha256.as_ref()?).parse().ok())
    }

    /// Tells whether it is about an image.
    pub fn is_about(&self, image: &Digest) -> bool {
        self.images().any(|one| one == *image)
    }
}

/// Finds out whose a signature of a message is. `payload` is what an entry of a log has the hash of, where that is
/// not the message itself.
///
/// # Errors
/// [`Refusal`] where it is not by whom it must be.
pub(super) fn signer(
    trust: &Trust,
    message: &[u8],
    signature: &[u8],
    evidence: &Evidence,
    payload: Option<&[u8]>,
) -> Result<String, Refusal> {
    match trust {
        Trust::Keys(keys) => {
            let key = keys.iter().find(|key| key.has_signed(message, signature)).ok_or(Refusal::OtherKey)?;
            Ok(format!("the key {}", key.fingerprint()))
        }
        Trust::Identity(wanted) => wanted.verify(message, signature, evidence, payload.unwrap_or(message)),
    }
}
