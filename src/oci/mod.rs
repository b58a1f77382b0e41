//! The words of the OCI specifications as plain data: digests, references, descriptors, manifests,
//! image configurations, platforms, media types.
//!
//! Knows the image-spec and the distribution-spec, and Docker's equivalents where registries still
//! serve them, and how package URLs name images. Does no I/O and knows nothing of builds.
//!
//! *Invariant: unknown fields of a configuration survive a round trip; a manifest that was read keeps its
//! own bytes beside the parsed form, because its digest is of those bytes.*

mod config;
mod descriptor;
mod digest;
mod json;
mod manifest;
pub mod media_type;
mod platform;
pub mod purl;
mod reference;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{DiffId, Digest, DigestError, Hasher};
pub use json::{LARGEST_DOCUMENT, from_json};
pub use manifest::{Document, Index, Manifest, ManifestError};
pub use platform::{Platform, PlatformError};
pub use reference::{DEFAULT_REGISTRY, DEFAULT_TAG, Reference, ReferenceError};
