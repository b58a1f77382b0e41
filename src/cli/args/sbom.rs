//! Flags for the document that tells what is installed in the image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values;

/// What is told of what is in the image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Supply chain")]
pub struct SbomArgs {
    /// Tell which packages are installed in the image, in this form (SBOM).
    ///
    /// Packages are found in the layers while they are read or written anyway; those of a base are kept by layer, so that
    /// they are found once.
    #[arg(long, value_name = "FORM", default_value = "off", ignore_case = true)]
    pub sbom: SbomName,
    /// Write what is installed to this file; with several platforms, one file for each: `sbom.linux-arm64.json`.
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
