//! The flags of `yadokari index`.

use std::path::PathBuf;

use clap::Args;

use super::values::IndexFormatName;
use super::{MessageArgs, RegistryArgs, ResultArgs};

/// Joins images of several platforms into one index and pushes it.
///
/// Each image is named by digest or tag. The order does not matter, no platform may have two images, and an
/// image of another repository is brought into that of the index.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// The images, one an argument; an argument may also be a JSON array of them.
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Read further images from this file: one a line, or a JSON array.
    #[arg(long, value_name = "FILE")]
    pub images_from: Vec<PathBuf>,
    /// Push the index here: `[registry/]repository[:tag]`; may be given many times.
    #[arg(long, short, value_name = "REFERENCE", required = true)]
    pub destination: Vec<String>,
    /// The form of the index.
    #[arg(long, value_name = "FORMAT", default_value = "auto", ignore_case = true)]
    pub format: IndexFormatName,
    /// Add an annotation; may be given many times.
    ///
    /// TYPE is `index`, the default, or `manifest-descriptor` for what describes the images in it, with
    /// `[PLATFORM]` for that of one platform. An index with annotations is an OCI index.
    #[arg(long, value_name = "[TYPE:]KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Which files tell about it.
    #[command(flatten)]
    pub results: ResultArgs,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}
