//! What can go wrong with signatures in a registry.

use crate::oci::ManifestError;
use crate::oci::Reference;
use crate::registry;
use crate::signing::{self, Refusal};

/// Signatures that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry does not do what is asked.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// What stands where signatures are kept is none.
    #[error("the signatures in {reference} cannot be read")]
    Manifest {
        /// Where.
        reference: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// There is something else than a list of signatures, or too much.
    #[error("the signatures in {reference} cannot be read: {reason}")]
    Unfit {
        /// Where.
        reference: String,
        /// What it is.
        reason: String,
    },
    /// Nothing signs.
    #[error(transparent)]
    Signing(#[from] signing::Error),
    /// A statement cannot be written.
    #[error("a statement cannot be written")]
    Statement(#[source] serde_json::Error),
    /// No signature holds.
    #[error("{image} is not signed by whom it must be: {reason}")]
    Unsigned {
        /// The image, by digest.
        image: String,
        /// What there is.
        reason: String,
    },
    /// An image does not meet the rule that a policy has for it.
    #[error("{image} is not trusted: by the rule `{rule}` {reason}")]
    Untrusted {
        /// The image.
        image: String,
        /// The rule's scope.
        rule: String,
        /// What is missing.
        reason: String,
    },
    /// There is no such image.
    #[error("there is no image {reference}")]
    NoImage {
        /// Its name.
        reference: String,
    },
}

impl Error {
    /// Says that none of the signatures of an image holds, and why.
    pub fn unsigned(image: &Reference, refused: &[Refusal]) -> Self {
        Self::Unsigned { image: image.to_string(), reason: found(refused) }
    }
}

/// Says what signatures there are that do not hold.
pub(super) fn found(refused: &[Refusal]) -> String {
    let mut reasons: Vec<String> = refused.iter().map(ToString::to_string).collect();
    reasons.dedup();
    match &*reasons {
        [] => "it has no signature".to_owned(),
        [one] if refused.len() == 1 => format!("it has one signature, and {one}"),
        several => format!("it has {} signatures: {}", refused.len(), several.join("; ")),
    }
}
