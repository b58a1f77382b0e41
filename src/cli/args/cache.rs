//! Flags for what is taken from earlier builds and kept for later ones, and those of `yadokari cache`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::values;
use super::{MessageArgs, RegistryArgs};

/// What is taken from earlier builds and kept for later ones.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cache")]
pub struct CacheArgs {
    /// Keep the layers of steps, and take them instead of doing the same steps again.
    ///
    /// In --cache-dir, if given, and in --cache-repo. `auto` does so where one of them is given.
    #[arg(long, value_name = "BOOL|auto", num_args = 0..=1, require_equals = true, action = ArgAction::Set,
        default_value = "false", default_missing_value = "true", value_parser = cache_switch)]
    pub cache: CacheSwitch,
    /// The repository of the cache, or `oci:DIRECTORY` to keep it in a directory only.
    ///
    /// The default is that of the first destination with `/cache` behind it.
    #[arg(long, value_name = "REPOSITORY")]
    pub cache_repo: Option<String>,
    /// How old the result of a step may be, for example 336h.
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "336h")]
    pub cache_ttl: Duration,
    /// Cache COPY and ADD.
    ///
    /// Without it their layers are written anew each time, with the times that the files have then.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set,
        default_value = "true", default_missing_value = "true", value_parser = values::boolean)]
    pub cache_copy_layers: bool,
    /// Cache RUN and WORKDIR.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set,
        default_value = "true", default_missing_value = "true", value_parser = values::boolean)]
    pub cache_run_layers: bool,
    /// Whether this build also writes to the cache.
    #[arg(long, value_name = "MODE", default_value = "rw", ignore_case = true)]
    pub cache_mode: CacheModeName,
    /// Keep nothing in the cache; kaniko's name for --cache-mode=ro.
    #[arg(long)]
    pub no_push_cache: bool,
    /// Write to, and read from, a part of the cache only: names with slashes between them, such as `pr/12`.
    ///
    /// What stands above it (`pr`, and the cache itself) is read, too, and never written; nothing above reads it. In a
    /// registry it is a repository of its own below --cache-repo, for which rights can be given.
    #[arg(long, value_name = "NAME")]
    pub cache_namespace: Option<String>,
    /// Seal what is kept with the key in this file, and take only what has that seal.
    ///
    /// At least 32 bytes, such as the text of `openssl rand -hex 32`. In container isolation a RUN could read the file:
    /// give the key in the variable YADOKARI_CACHE_KEY there.
    #[arg(long, value_name = "FILE")]
    pub cache_key_file: Option<PathBuf>,
    /// Also take layers from this image, if it was built with --cache-inline; may be given many times.
    #[arg(long, value_name = "IMAGE")]
    pub cache_from: Vec<String>,
    /// Let the image itself say which of its layers belongs to which step, for --cache-from.
    #[arg(long)]
    pub cache_inline: bool,
    /// Print one hash of everything that decides the image, and build nothing.
    #[arg(long)]
    pub print_build_key: bool,
    /// Take the image that a destination's repository has of the same build key, instead of building.
    ///
    /// It is found by the tag `build-KEY`, which is pushed with each image that is built with this flag.
    #[arg(long)]
    pub skip_existing: bool,
}

/// Whether steps are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSwitch {
    /// No.
    Off,
    /// Yes; without a place for them that is an error.
    On,
    /// Where there is a place for them.
    Auto,
}

fn cache_switch(text: &str) -> Result<CacheSwitch, String> {
    match values::boolean(text) {
        Ok(true) => Ok(CacheSwitch::On),
        Ok(false) => Ok(CacheSwitch::Off),
        Err(_) if text == "auto" => Ok(CacheSwitch::Auto),
        Err(_) => Err("write true, false or auto".to_owned()),
    }
}

/// Whether the cache is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CacheModeName {
    /// It is only read.
    Ro,
    /// It is read and written.
    Rw,
}

/// Lists and collects a cache.
#[derive(Debug, Args)]
pub struct CacheCommand {
    /// What to do.
    #[command(subcommand)]
    pub action: CacheAction,
}

impl CacheCommand {
    /// Returns the flags for what is printed.
    pub(in crate::cli) fn messages(&self) -> &MessageArgs {
        match &self.action {
            CacheAction::Ls(args) => &args.place.messages,
            CacheAction::Prune(args) => &args.place.messages,
        }
    }
}

/// What to do with a cache.
#[derive(Debug, Subcommand)]
pub enum CacheAction {
    /// Lists what is in a cache, what was used last first.
    Ls(CacheListArgs),
    /// Removes what is old, and what was not used for the longest time where the cache is too large.
    Prune(CachePruneArgs),
}

/// Which cache.
#[derive(Debug, Args)]
pub struct CachePlaceArgs {
    /// The directory, as a build has it.
    #[arg(long, value_name = "DIRECTORY")]
    pub cache_dir: Option<PathBuf>,
    /// The repository, or `oci:DIRECTORY`, as a build has it.
    #[arg(long, value_name = "REPOSITORY")]
    pub cache_repo: Option<String>,
    /// The part of the cache, as a build has it.
    #[arg(long, value_name = "NAME")]
    pub cache_namespace: Option<String>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// The flags of `yadokari cache ls`.
#[derive(Debug, Args)]
pub struct CacheListArgs {
    /// Which cache.
    #[command(flatten)]
    pub place: CachePlaceArgs,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

/// The flags of `yadokari cache prune`.
#[derive(Debug, Args)]
pub struct CachePruneArgs {
    /// Which cache.
    #[command(flatten)]
    pub place: CachePlaceArgs,
    /// Remove what was not used for this time; in a registry, what was made before it.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub older_than: Option<Duration>,
    /// Keep at most this much: bytes, or a number with k, M, G or T.
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Only say what would go.
    #[arg(long)]
    pub dry_run: bool,
}
