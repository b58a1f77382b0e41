//! The flags of the warmer, and the one by which builds find what it brought.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{MessageArgs, RegistryArgs, values};

/// Where base images are that need not be pulled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cache")]
pub struct BaseArgs {
    /// A directory, such as a volume that many builds share, with base images that the warmer brought; `/cache` by
    /// itself. With --cache, also the layers of steps, in `layers`; it is asked before --cache-repo.
    ///
    /// The layers of such a base image are not fetched; where it is named by digest, no registry is asked at all.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub cache_dir: Option<PathBuf>,
}

/// Brings base images into a directory, for builds with the same --cache-dir.
///
/// Several warmers and builds may use it at the same time. An image that cannot be had is a warning as long as another
/// one can.
#[derive(Debug, Args)]
pub struct WarmerArgs {
    /// An image to bring; may be given many times.
    #[arg(long, short, value_name = "IMAGE")]
    pub image: Vec<String>,
    /// A Dockerfile, also as an `https://` URL, whose images are brought: of every FROM and `COPY --from`.
    #[arg(long, short, value_name = "PATH")]
    pub dockerfile: Option<String>,
    /// Set an ARG of the Dockerfile, as for a build.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// The directory.
    #[arg(long, short, value_name = "DIRECTORY", default_value = "/cache")]
    pub cache_dir: PathBuf,
    /// Bring again what is there already.
    #[arg(long, short)]
    pub force: bool,
    /// Does nothing: what is there has the digest that it is asked for by, however old it is.
    #[arg(long, value_name = "DURATION", value_parser = values::duration, hide = true)]
    pub cache_ttl: Option<Duration>,
    /// Bring the images for this platform, for example linux/arm64, instead of the executor's own.
    #[arg(long, alias = "customPlatform", value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub custom_platform: Option<String>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}
