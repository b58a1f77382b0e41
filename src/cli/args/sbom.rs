//! Flags for the document that tells what is installed in the image.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::values;

/// What is told of what is in the image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Attestations")]
pub struct SbomArgs {
    /// Tell which packages are installed in the image, in this form (SBOM).
    ///
    /// Packages are found in the layers while they are read or written anyway; those of a base are kept by layer, so that
    /// they are found once. The document goes where the image goes, as a statement about it (--attestation-format).
    #[arg(long, value_name = "FORM", default_value = "off", ignore_case = true)]
    pub sbom: SbomName,
    /// Whether the document of --sbom goes where the image goes; if not, it is only written to --sbom-path.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set,
        default_value = "true", default_missing_value = "true", value_parser = values::boolean)]
    pub sbom_attach: bool,
    /// Also write what is installed to this file, as it is and without a statement around it; with several platforms, one file for each: `sbom.linux-arm64.json`.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub sbom_path: Option<PathBuf>,
}

/// The forms of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SbomName {
    /// Nothing is told.
    Off,
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.6, JSON.
    Cyclonedx,
}
