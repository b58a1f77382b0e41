//! Trust: the signatures that registries hold of images, and which of them an image needs.
//!
//! Knows where signatures are kept beside an image, and what a policy asks of it. Does not know what makes a signature hold
//! (`signing` does), nor which images a build uses.
//!
//! *Invariant: what is read of a registry is bounded, and counts only once a signature over the image's own digest holds.*

mod check;
mod claims;
mod classic;
mod error;
mod identity;
mod policy;
mod provenance;
mod sign;

pub use check::Candidate;
pub use claims::{Claim, Judged, claims, is_signature, judge};
pub use error::Error;
pub use identity::Identity;
pub use policy::{Policy, PolicyError, Requirement, Rule};
pub use provenance::Provenance;
pub use sign::{BUNDLED_PREDICATE_TYPE, Forms, Signatures, Signing};

use crate::oci::{Digest, Reference};

/// The ends of the tags for signatures, and for signed statements.
const SIGNATURES: &str = "sig";
const ATTESTATIONS: &str = "att";

/// The form in which cosign names what belongs to an image: `sha256-<hex>.sig`.
/// Source: cosign's SIGNATURE_SPEC.md, "Discovery".
fn tag(repository: &Reference, image: &Digest, suffix: &str) -> Reference {
    let tag = format!("{}.{suffix}", image.as_str().replace(':', "-"));
    Reference { tag: Some(tag), digest: None, ..repository.clone() }
}
