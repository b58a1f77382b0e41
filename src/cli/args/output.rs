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
    /// Build only, and push nothing; `--oci-layout-path` and `--tar-path` are still written.
    #[arg(long)]
    pub no_push: bool,
    /// Write the image as an OCI image layout into this directory.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub oci_layout_path: Option<PathBuf>,
    /// Write the image to this file, as `docker save` does, with all destinations as its names.
    #[arg(long, alias = "tarPath", value_name = "FILE", value_parser = values::path)]
    pub tar_path: Option<PathBuf>,
    /// Write the image's digest, `sha256:…` without a newline, to this file.
    ///
    /// As all result files it appears only after everything is delivered, and whole or not at all.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub digest_file: Option<PathBuf>,
    /// Write `registry/repository@sha256:…` to this file, one line for each destination.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub image_name_with_digest_file: Option<PathBuf>,
    /// Write `registry/repository:tag@sha256:…` to this file, one line for each destination.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// Write everything known about the build to this file, as JSON; after a failure, what went wrong.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub metadata_file: Option<PathBuf>,
    /// Write the URL of the context's Git repository to this file, without a newline (Tekton's CHAINS-GIT_URL).
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub git_url_file: Option<PathBuf>,
    /// Write the commit of the context's Git repository to this file, without a newline (Tekton's CHAINS-GIT_COMMIT).
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub git_commit_file: Option<PathBuf>,
}
