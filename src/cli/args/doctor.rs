//! The flags of what looks at the pod and at the executor itself: `doctor`, `version`, `man`.

use std::path::PathBuf;

use clap::Args;

use super::{IsolationName, MessageArgs, RegistryArgs, values};

/// Tells what this pod allows: the isolations and why not others, rights, limits, disks, memory, credentials.
///
/// Each isolation is opened as a build would open it, and nothing is built. Secrets are not among what is printed, names
/// of registries and users are. The exit code is 0 whatever is found.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Ask the registry of this repository whether we may push, as before a build; may be given many times.
    #[arg(long = "registry", value_name = "REFERENCE")]
    pub registries: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The directory for everything temporary, as of a build.
    #[arg(long, alias = "kaniko-dir", value_name = "DIRECTORY", value_parser = values::path)]
    pub state_dir: Option<PathBuf>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub network: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// Prints the version.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Print also commit, features, target and compiler, the kernel, and what came of each isolation.
    #[arg(long)]
    pub verbose: bool,
}

/// Opens one isolation and tells how that went, as JSON; started by `doctor`.
#[derive(Debug, Args)]
pub struct TryArgs {
    /// Which one.
    #[arg(value_name = "ISOLATION", ignore_case = true)]
    pub isolation: IsolationName,
    /// The directory for everything temporary.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub state_dir: Option<PathBuf>,
}

/// Writes manual pages into a directory: one of the executor, one of each command.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The directory, which is made where it is not there.
    #[arg(value_name = "DIRECTORY", value_parser = values::path)]
    pub directory: PathBuf,
}
