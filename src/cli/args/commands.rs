//! The flags of the commands beside a build: `push`, `login`, `completion`.

use std::path::PathBuf;

use clap::Args;

use super::{MessageArgs, RegistryArgs, ResultArgs, values};

/// Pushes an image that is in a file or a directory.
///
/// The image is taken as it is: manifest and index of an OCI layout keep their digests. An archive of `docker save`
/// gets a manifest; layers that are not compressed there are compressed.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// An OCI layout, an archive of one, or an archive of `docker save` (also compressed); `-` for standard input.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Push it here: `[registry/]repository[:tag]`; may be given many times.
    #[arg(long, short, value_name = "REFERENCE", required = true)]
    pub destination: Vec<String>,
    /// Keep what must be compressed or unpacked on the way below this directory, as for a build.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub state_dir: Option<PathBuf>,
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

/// Keeps a user's password for a registry in Docker's config.json.
///
/// The file is that of $DOCKER_CONFIG, else that of $HOME/.docker. The registry is not asked.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The registry, `host[:port]`.
    #[arg(value_name = "REGISTRY")]
    pub registry: String,
    /// The user's name.
    #[arg(long, short, value_name = "NAME")]
    pub username: String,
    /// The password; other users of the machine may see it here: better use --password-stdin.
    #[arg(long, short, value_name = "PASSWORD", conflicts_with = "password_stdin", allow_hyphen_values = true)]
    pub password: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    pub password_stdin: bool,
}

/// Prints a script that completes commands and flags in a shell.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
