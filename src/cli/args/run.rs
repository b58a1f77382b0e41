//! Flags for what RUN gets: secrets, agents, network, limits, caches.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values;

/// What RUN gets.
#[derive(Debug, Args)]
#[command(next_help_heading = "RUN")]
pub struct RunArgs {
    /// Set ARGs from a file of NAME=VALUE lines; --build-arg goes before it.
    ///
    /// May be given many times. Empty lines and lines that begin with # are left out; a NAME alone takes the value of
    /// that environment variable.
    #[arg(long, value_name = "FILE")]
    pub build_arg_file: Vec<String>,
    /// A secret for `RUN --mount=type=secret`: `id=ID,src=FILE`, `id=ID,env=VARIABLE`, or `id=ID` for the variable or
    /// the file of that name.
    ///
    /// May be given many times. It is in no layer, in no cache and in no message.
    #[arg(long, value_name = "id=ID[,src=FILE|,env=VARIABLE]")]
    pub secret: Vec<String>,
    /// Give every file in this directory as a secret whose id is its name; --secret goes before it.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub secret_dir: Option<PathBuf>,
    /// An SSH agent for `RUN --mount=type=ssh`: `default` for $SSH_AUTH_SOCK, `ID=SOCKET`, or `ID=KEY,KEY` for files of
    /// private keys without a passphrase.
    ///
    /// May be given many times. RUN may ask it for the names of keys and for signatures; it never sees a key.
    #[arg(long, value_name = "default|ID[=SOCKET|=KEY,KEY]")]
    pub ssh: Vec<String>,
    /// The network of each RUN that does not say itself: the executor's (host, default), or none.
    #[arg(long, value_name = "NAME", ignore_case = true)]
    pub network: Option<NetworkName>,
    /// Another line for the /etc/hosts that RUN sees; may be given many times.
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub add_host: Vec<String>,
    /// The size of RUN's /dev/shm instead of 64M: bytes, or a number with k, M, G or T.
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// A resource limit of RUN's processes, for example `nofile=1024:4096`; may be given many times.
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Accepted for `network.host`, which is always the case; there are no other rights that RUN could be given.
    #[arg(long, value_name = "RIGHT")]
    pub allow: Vec<String>,
    /// Where cache mounts last.
    #[command(flatten)]
    pub caches: CacheMountArgs,
}

/// Where cache mounts last.
#[derive(Debug, Args)]
#[command(next_help_heading = "RUN")]
pub struct CacheMountArgs {
    /// Keep what is in `RUN --mount=type=cache` in this directory, for later builds and other pods.
    ///
    /// Several builds may use it at a time. Without it a cache mount lasts as long as the build.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub cache_mounts: Option<PathBuf>,
    /// Keep it in this repository instead: each cache is an artifact, which is pulled when a RUN that mounts it is really
    /// done, and pushed at the end of the build when it has changed.
    ///
    /// Of several builds at a time the last one counts. What RUN writes there can be read by all who may pull.
    /// --cache-mode and --cache-namespace hold here, too.
    #[arg(long, value_name = "REPOSITORY")]
    pub cache_mounts_repo: Option<String>,
    /// Remove from the directory at the end of the build what was not used for the longest time, until it is not larger
    /// than this: bytes, or a number with k, M, G or T. In a repository, let a cache that is larger begin anew.
    #[arg(long, value_name = "SIZE")]
    pub cache_mounts_max_size: Option<String>,
    /// Remove from the directory at the end of the build what was not used for this time (`720h`). In a repository, let
    /// a cache begin anew that was not changed for this time.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub cache_mounts_max_age: Option<Duration>,
}

/// The names of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// The executor's.
    Default,
    /// The executor's.
    Host,
    /// None but loopback.
    None,
}
