//! Flags for where registry credentials are, and the command that tells which are used.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{MessageArgs, RegistryArgs, values};

/// Where registry credentials are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct CredentialArgs {
    /// Read registry credentials from this Docker or Podman configuration file before all others; may be given many
    /// times.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub registry_auth_file: Vec<PathBuf>,
    /// Ask these, in this order, when no file has credentials for a registry: `env`, `google`, `ecr`, `acr`, `gitlab`,
    /// or the NAME of a program docker-credential-NAME; an empty value asks none. May be given many times.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub credential_helpers: Option<Vec<String>>,
}

/// Tells which credentials are used for a repository, and why not others.
///
/// Every source is listed in the order in which it is asked, without its secrets. Helpers and clouds are asked as a
/// build would ask them; the registry itself is not.
#[derive(Debug, Args)]
pub struct AuthArgs {
    /// What to do.
    #[arg(value_name = "explain")]
    pub action: AuthAction,
    /// The repository, `[registry/]repository`.
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// What `yadokari auth` can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthAction {
    /// Tell which credentials are used.
    Explain,
}
