//! What is said about an image, and where that goes.

use std::path::PathBuf;

use super::SbomForm;
use crate::oci::{Platform, Reference};

/// What is said about an image, and where that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttestationRequest {
    /// How one finds it when one has the image.
    pub format: AttestationFormat,
    /// Whether it is told how the image came to be, and how much of that.
    pub provenance: Provenance,
    /// Whether registries are offered the least of that, where nobody has asked for it: one that does not take it gets the
    /// image alone.
    pub offers_provenance: bool,
    /// Whether it is told what is installed in it, and in which form.
    pub sbom: Option<SbomForm>,
    /// Who builds, as a URI that those who judge know.
    pub builder_id: String,
    /// What the caller knows this run by.
    pub invocation_id: Option<String>,
    /// What the image is called at all of its destinations.
    pub names: Vec<Reference>,
}

impl AttestationRequest {
    /// Tells whether anything must be said about the image.
    pub fn is_wanted(&self) -> bool {
        self.documents() > 0
    }

    /// Returns how many documents an image must have.
    pub fn documents(&self) -> usize {
        usize::from(self.provenance != Provenance::Off) + usize::from(self.sbom.is_some())
    }

    /// Writes what decides which attestations an image has, but for what is another thing in each run.
    pub fn kinds(&self) -> String {
        format!("{:?} {:?} {:?} {}", self.format, self.provenance, self.sbom, self.builder_id)
    }

    /// Tells whether the image becomes a part of an index, in which what is said stands beside it.
    pub fn makes_index(&self) -> bool {
        self.format == AttestationFormat::Index && self.is_wanted()
    }
}

/// How one finds what is said about an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttestationFormat {
    /// Each document refers to the image; the image's digest is what it was without.
    #[default]
    Referrer,
    /// They stand beside the image in an index, as BuildKit puts them; the digest is the index's.
    Index,
}

/// How much is told of how an image came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provenance {
    /// Nothing.
    #[default]
    Off,
    /// Sources and settings; no values of build arguments.
    Min,
    /// All, with the Dockerfile's text and the values of build arguments.
    Max,
}

/// A directory of documents about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationFiles {
    /// The directory.
    pub directory: PathBuf,
    /// The directories in it, one for each platform; none where there is one image.
    pub parts: Vec<String>,
}

impl AttestationFiles {
    /// Returns what the directory of a platform is called, as BuildKit calls it: `linux_arm_v7`.
    pub fn part(platform: &Platform) -> String {
        platform.to_string().replace('/', "_")
    }
}
