//! Why an image cannot be delivered.

use std::io;
use std::path::PathBuf;

use crate::http::Meaning;
use crate::oci::Reference;
use crate::{image, registry, rootfs, store};

/// How many destinations a message lists.
const LISTED: usize = 3;

impl Error {
    /// Adds to an error of a registry's which destinations were served before.
    pub(super) fn after(self, done: &[Reference]) -> Self {
        let mut names: Vec<String> = done.iter().take(LISTED).map(ToString::to_string).collect();
        if done.len() > LISTED {
            names.push(format!("{} more", done.len() - LISTED));
        }
        match self {
            Self::Registry(source) if !done.is_empty() => Self::Partly { done: names.join(", "), source },
            other => other,
        }
    }
}

/// A destination or result file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A registry refuses or fails.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Some destinations have the image, and one does not take it.
    #[error("the image was pushed to {done}, and then no further")]
    Partly {
        /// The destinations that have it.
        done: String,
        /// Why not to the next.
        #[source]
        source: registry::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot {action} {}", path.display())]
    Write {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A registry does not take what is said about an image.
    #[error("cannot push what is said about {subject}; no tag leads to the image")]
    Attachment {
        /// The image's digest.
        subject: String,
        /// Why.
        #[source]
        source: registry::Error,
    },
    /// An image cannot be read for an index.
    #[error("cannot use the image {reference}")]
    Part {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: registry::Error,
    },
    /// An image cannot be a part of an index.
    #[error("the image {reference} cannot be part of an index: {reason}")]
    NoPart {
        /// The image.
        reference: String,
        /// Why not.
        reason: String,
    },
    /// There is no image that can be read.
    #[error("cannot read the image in {name}: {reason}")]
    Packed {
        /// The file or directory.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Two images of an index are for one platform.
    #[error("{first} and {second} are both for {platform}; an index has one image for each platform")]
    SamePlatform {
        /// The platform.
        platform: String,
        /// One image.
        first: String,
        /// The other.
        second: String,
    },
    /// The results do not fit where they are asked for.
    #[error(
        "{what} would take {size} bytes, and {limit} is the most that Tekton takes here: give fewer destinations, declare \
         fewer results in the Task (IMAGES is the largest), or let Tekton have them by `results-from: sidecar-logs` and \
         give its largest size as --tekton-results-limit (0: do not judge)"
    )]
    TooLarge {
        /// What.
        what: String,
        /// How many bytes it would have.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A layer cannot be read, here or from its registry.
    #[error("cannot read layer {digest}")]
    Layer {
        /// Its digest.
        digest: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Docker has no media type for a layer's compression.
    #[error(
        "Docker's format has no media type for layer {digest} ({media_type}); choose the format OCI, or compress the \
         base's layers anew (--force-compression)"
    )]
    NoMediaType {
        /// The layer.
        digest: String,
        /// What it is.
        media_type: String,
    },
    /// The files of the image cannot be taken out of its layers.
    #[error("cannot write the image's files")]
    Files {
        /// Why.
        #[source]
        source: image::Error,
    },
    /// The files of the image cannot be written to the disk.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// A server does not take a result.
    #[error("cannot send a result to {url}: {reason}")]
    Put {
        /// Where to, redacted.
        url: String,
        /// Why not.
        reason: String,
        /// What that means.
        meaning: Meaning,
    },
    /// The store of blobs fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An upload's task ended without a result.
    #[error("an upload ended without a result: {0}")]
    Task(String),
}
