//! Why an image cannot be looked at.

use crate::oci::{Digest, ManifestError};
use crate::{image, output, registry, trust};

/// An image that cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry does not do what is asked.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A layout or archive cannot be read.
    #[error(transparent)]
    Packed(#[from] output::Error),
    /// Signatures cannot be read.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// There is no such image.
    #[error("there is no image {name}")]
    NoImage {
        /// Its name.
        name: String,
    },
    /// A manifest or index is none.
    #[error("the manifest {digest} of {name} cannot be read")]
    Manifest {
        /// The image.
        name: String,
        /// The manifest.
        digest: Digest,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A configuration is none.
    #[error("the configuration {digest} of {name} cannot be read: it is no configuration of an image")]
    Config {
        /// The image.
        name: String,
        /// The configuration.
        digest: Digest,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Something in it is not what it should be.
    #[error("{name} cannot be looked at: {reason}")]
    Unfit {
        /// The image.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no image for the platform.
    #[error("{name} has no image for {wanted}; it has: {offered}")]
    Platform {
        /// What was asked.
        name: String,
        /// The platform.
        wanted: String,
        /// The platforms that it has.
        offered: String,
    },
    /// A layer cannot be read.
    #[error("layer {layer} of {name} cannot be read")]
    Layer {
        /// The image.
        name: String,
        /// The layer's number, from 1.
        layer: usize,
        /// Why.
        #[source]
        source: image::Error,
    },
    /// The layers of an image do not fit each other.
    #[error("the layers of {name} cannot be laid over each other")]
    Files {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: image::Error,
    },
    /// Work in the background has failed.
    #[error("a task failed: {0}")]
    Task(String),
}
