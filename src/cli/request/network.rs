//! How registries are spoken to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{UsageError, pairs};
use crate::cli::args::RegistryArgs;
use crate::cli::env::{Environment, KANIKO, Proxies, Trust};
use crate::oci::DEFAULT_REGISTRY;

/// How registries are spoken to.
#[derive(Clone)]
pub struct Network {
    /// Where trusted certificates are.
    pub trust: Trust,
    /// Further trusted certificates, PEM files by registry.
    pub certificates: BTreeMap<String, Vec<PathBuf>>,
    /// Where any TLS certificate is accepted.
    pub any_certificate: Reach,
    /// Where HTTP is spoken without TLS.
    pub plain_http: Reach,
    /// Where requests go instead of straight to their host.
    pub proxies: Proxies,
    /// Docker configuration files with credentials, the first to be asked first; they need not exist.
    pub credential_files: Vec<PathBuf>,
    /// Directories in which credential helpers are looked for.
    pub helper_directories: Vec<PathBuf>,
    /// What calls us, for the `User-Agent`.
    pub upstream: Option<String>,
    /// How often a push is tried again after a failure that may pass, each request's own retries apart.
    pub push_retries: u32,
    /// Whether the registry is asked before the build if we may push.
    pub check_push_permission: bool,
}

/// Where something holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// For pushes, to every registry.
    pub push: bool,
    /// For pulls, from every registry.
    pub pull: bool,
    /// For both, with these registries: `host[:port]` as references name them.
    pub registries: Vec<String>,
}

pub(super) fn network(args: &RegistryArgs, environment: &Environment) -> Result<Network, UsageError> {
    let directories = &environment.directories;
    Ok(Network {
        trust: environment.trust.clone(),
        certificates: pairs::certificates(&args.registry_certificate, &directories.working)?,
        any_certificate: Reach {
            push: args.skip_tls_verify,
            // kaniko has one transport for both and never asks for the pull flag: users rely on the first part.
            pull: args.skip_tls_verify || args.skip_tls_verify_pull,
            registries: registries("--skip-tls-verify-registry", &args.skip_tls_verify_registry)?,
        },
        plain_http: Reach {
            push: args.insecure,
            pull: args.insecure_pull,
            registries: registries("--insecure-registry", &args.insecure_registry)?,
        },
        proxies: environment.proxies.clone(),
        credential_files: credential_files(directories.docker_config.as_deref(), directories.home.as_deref()),
        helper_directories: directories.programs.clone(),
        upstream: environment.variable("UPSTREAM_CLIENT_TYPE")?.filter(|name| !name.is_empty()).map(str::to_owned),
        push_retries: args.push_retry,
        check_push_permission: !args.skip_push_permission_check,
    })
}

fn registries(flag: &'static str, given: &[String]) -> Result<Vec<String>, UsageError> {
    given.iter().map(|name| registry(flag, name)).collect()
}

/// Reads the name of a registry as references have it.
pub(super) fn registry(flag: &'static str, given: &str) -> Result<String, UsageError> {
    let error = |reason: &str| UsageError::Value { flag, value: given.to_owned(), reason: reason.to_owned() };
    match given {
        "" => Err(error("name a registry: host or host:port")),
        _ if given.contains("://") => Err(error("leave the scheme out: host or host:port")),
        _ if given.contains('/') => Err(error("it holds for a whole registry: host or host:port")),
        "index.docker.io" | "registry-1.docker.io" => Ok(DEFAULT_REGISTRY.to_owned()),
        _ => Ok(given.to_owned()),
    }
}

/// Lists the Docker configuration files, each once.
fn credential_files(docker_config: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let directories = [
        docker_config.map(Path::to_owned),
        Some(Path::new(KANIKO).join(".docker")),
        home.map(|home| home.join(".docker")),
    ];
    let mut files: Vec<PathBuf> = Vec::new();
    for file in directories.into_iter().flatten().map(|directory| directory.join("config.json")) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}
