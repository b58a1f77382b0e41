//! Flags for registries that stand in for others, and for what they want of us.

use std::path::PathBuf;

use clap::Args;

use super::values;

/// Which registries stand in for others, and what they want of us.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct MirrorArgs {
    /// Pull what is of one registry from another, in the order given, and from the registry itself if all fail;
    /// may be given many times.
    #[arg(long, value_name = "REGISTRY=HOST[/PATH][;…]")]
    pub registry_map: Vec<String>,
    /// Pull what is of Docker Hub from this registry; may be given many times.
    #[arg(long, value_name = "HOST[/PATH]")]
    pub registry_mirror: Vec<String>,
    /// Read mirrors and other places of registries from this file, as Podman does: containers-registries.conf(5).
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub registries_conf: Option<PathBuf>,
    /// Do not pull from a registry itself when all that stand in for it failed.
    #[arg(long)]
    pub skip_default_registry_fallback: bool,
    /// Show this certificate to this registry (`host[:port]`); may be given many times.
    #[arg(long, value_name = "REGISTRY=CERT,KEY")]
    pub registry_client_cert: Vec<String>,
    /// Try a pull again this many times when it failed for a reason that may pass, each request's own retries apart.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub image_download_retry: u32,
    /// Succeed when a registry does not let us move a tag; the image is then there by its digest.
    #[arg(long)]
    pub push_ignore_immutable_tag_errors: bool,
}
