//! Flags for what is said about an image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values;

/// What is said about the image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Attestations")]
pub struct AttestationArgs {
    /// Say how the image came to be, as SLSA provenance v1 with BuildKit's fields.
    ///
    /// min: sources with their digests, target, platform, times; no values of build arguments or labels. max: these, too,
    /// the Dockerfile's text, steps with their layers, and the names of secrets. Values of arguments whose names say
    /// that they are secrets are masked. auto, the default of `yadokari build`: min, to registries that take it; where one
    /// does not, a warning says so, and the build goes on.
    #[arg(long, value_name = "EXTENT", default_value = "off", ignore_case = true)]
    pub provenance: ProvenanceName,
    /// Where the documents go: each refers to the image (OCI referrers), or they stand beside it in an index, as BuildKit
    /// puts them.
    ///
    /// With `index` the digest of the build is the index's.
    #[arg(long, value_name = "FORMAT", default_value = "referrer", ignore_case = true)]
    pub attestation_format: AttestationFormatName,
    /// Also write the documents into this directory: `provenance.json`; of several platforms, `linux_arm64/provenance.json`.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub attestations_dir: Option<PathBuf>,
    /// What the provenance names as the builder; by default this program. Name the service that runs it, where policies
    /// are to trust that.
    #[arg(long, value_name = "URI")]
    pub builder_id: Option<String>,
    /// What the provenance names as this run, such as the TaskRun's uid; by default the trace of $TRACEPARENT.
    #[arg(long, value_name = "ID")]
    pub invocation_id: Option<String>,
}

/// How much is told of how an image came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProvenanceName {
    /// Nothing.
    #[value(alias = "false")]
    Off,
    /// Sources and settings, to registries that take them.
    Auto,
    /// Sources and settings.
    #[value(aliases = ["true", "mode=min"])]
    Min,
    /// All.
    #[value(alias = "mode=max")]
    Max,
}

/// Where documents about an image go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttestationFormatName {
    /// They refer to the image.
    Referrer,
    /// They stand beside it in an index.
    Index,
}
