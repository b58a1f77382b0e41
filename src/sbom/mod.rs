//! What is installed in an image: how package managers record it, and the documents that tell it.
//!
//! Knows the files of package managers, SPDX and CycloneDX. Does no I/O: it is shown the contents of a layer's files while
//! they pass ([`LayerScan`]), keeps what was found by layer ([`LayerPackages`]), and lays the layers of an image over each
//! other ([`Bill`]), of which it makes a document. What a layer's tar looks like, and where findings are kept, others know.
//!
//! *Invariant: what is there and cannot be read is told in the document, never left out in silence. Of a file no more is
//! held in memory than its reader's bound, which is stated; whatever the bytes, reading ends in findings or a note.*

mod bill;
mod cyclonedx;
mod file;
mod json;
mod layer;
mod licence;
mod package;
#[cfg(test)]
mod properties;
mod purl;
mod readers;
mod select;
mod spdx;
#[cfg(test)]
mod testing;
mod text;

pub use bill::{Bill, Component, ImageFile, ImageFiles, LayerFacts, Remark, Subject};
pub use file::{FileScan, Findings, Pages};
pub use layer::{FileRecord, LayerPackages, LayerScan, Unreadable};
pub use package::{Distribution, Kind, Package};
pub use select::is_record;

/// The forms of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// SPDX 2.3 as JSON.
    Spdx,
    /// CycloneDX 1.6 as JSON.
    CycloneDx,
}

impl Form {
    /// Returns the type that a statement with such a document as its predicate has.
    ///
    /// Source: <https://github.com/in-toto/attestation/tree/main/spec/predicates>.
    pub const fn predicate_type(self) -> &'static str {
        match self {
            Self::Spdx => "https://spdx.dev/Document",
            Self::CycloneDx => "https://cyclonedx.org/bom",
        }
    }

    /// Writes the document of an image.
    pub fn document(self, bill: &Bill) -> serde_json::Value {
        match self {
            Self::Spdx => spdx::document(bill),
            Self::CycloneDx => cyclonedx::document(bill),
        }
    }
}
