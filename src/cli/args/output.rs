//! Flags for where the image goes and which files tell about it.

use std::path::PathBuf;

use clap::Args;

use super::values;

/// Where it goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Push the image here: `[registry/]repository[:tag]`; may be given many times.
    ///
    /// All destinations get the same image. Without a tag it is `latest`.
    #[arg(long, short, value_name = "REFERENCE")]
    pub destination: Vec<String>,
    /// Build only, and push nothing; outputs that are files are still written.
    #[arg(long)]
    pub no_push: bool,
    /// Push by digest only: no tag is made, and those of the destinations do not count.
    ///
    /// For the images of an index, which would be nothing but litter under tags of their own.
    #[arg(long)]
    pub push_by_digest: bool,
    /// Write the image as an OCI image layout into this directory.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub oci_layout_path: Option<PathBuf>,
    /// Write the image to this file, as `docker save` does, with all destinations as its names; `-` is standard output.
    #[arg(long, alias = "tarPath", value_name = "FILE", value_parser = values::path)]
    pub tar_path: Option<PathBuf>,
}
