//! Whether it is told what is installed in an image.

/// The forms of a document that tells what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SbomForm {
    /// SPDX 2.3 as JSON.
    Spdx,
    /// CycloneDX 1.6 as JSON.
    CycloneDx,
}
