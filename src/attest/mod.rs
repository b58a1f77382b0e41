//! Attestations: what is said about an image, by whom it may be checked later, as documents.
//!
//! Knows in-toto statements, the SLSA provenance predicate, and the manifests by which registries keep documents about
//! an image. Knows neither builds nor registries; reads and writes nothing.
//!
//! *Invariant: the same facts make the same bytes.*

mod attachment;
pub mod provenance;
mod statement;
mod summary;

pub use attachment::{Artifact, Attachment, Form, Kind, Written, attested};
pub use statement::{IN_TOTO, PREDICATE_TYPE, Statement, Subject};
pub use summary::{Origin, Packages, Read, Summary};
