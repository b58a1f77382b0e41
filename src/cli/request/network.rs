//! How registries are spoken to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{UsageError, Warning, access, credentials, mirrors, pairs};
use crate::cli::args::RegistryArgs;
use crate::cli::env::Environment;
use crate::cloud::azure::Identity;
use crate::context::Access;
use crate::http::{self, Retry, Tls};
use crate::registry::{self, Endpoints, Registry, Sources};

/// How registries are spoken to.
#[derive(Clone)]
pub struct Network {
    /// What the HTTP agent is made from.
    pub http: http::Options,
    /// What the registry client is made from.
    pub registry: registry::Options,
    /// Where registry credentials are.
    pub credentials: Sources,
    /// Who we are to Azure.
    pub azure: Identity,
    /// Where the clouds' services are.
    pub endpoints: Endpoints,
    /// Another address of Amazon's KMS.
    pub aws_kms: Option<String>,
    /// What gives access to contexts.
    pub context: Access,
    /// Files of credentials that variables name for the clouds' SDKs.
    pub named_files: Vec<PathBuf>,
    /// Whether the registry is asked before the build if we may push.
    pub check_push_permission: bool,
    /// What the user should be warned about.
    pub warnings: Vec<Warning>,
}

/// For how many further attempts there is more time: an hour's worth.
const MOST_MORE: u32 = 180;

pub(in crate::cli) fn network(args: &RegistryArgs, environment: &Environment) -> Result<Network, UsageError> {
    let directories = &environment.directories;
    let mut hosts: BTreeMap<String, Tls> = BTreeMap::new();
    let mut registries: BTreeMap<String, Registry> = BTreeMap::new();
    for (name, certificates) in pairs::certificates(&args.registry_certificate, &directories.working)? {
        hosts.entry(name).or_default().certificates = certificates;
    }
    for (name, identity) in mirrors::identities(&args.mirrors.registry_client_cert, &directories.working)? {
        hosts.entry(name).or_default().identity = Some(identity);
    }
    for given in &args.skip_tls_verify_registry {
        let name = pairs::registry("--skip-tls-verify-registry", given)?;
        registries.entry(name.clone()).or_default().skip_verify = true;
        hosts.entry(name).or_default().skip_verify = true;
    }
    for given in &args.insecure_registry {
        registries.entry(pairs::registry("--insecure-registry", given)?).or_default().insecure = true;
    }
    let (mirrors, warning) = mirrors::mirrors(&args.mirrors, environment)?;
    Ok(Network {
        http: http::Options {
            roots: environment.roots.clone(),
            proxies: environment.proxies.clone(),
            hosts,
            upstream: environment.value("UPSTREAM_CLIENT_TYPE")?.map(str::to_owned),
            retry: retry(args),
            allow_link_local: args.allow_link_local,
            ..http::Options::default()
        },
        registry: registry::Options {
            registries,
            // kaniko has one transport for both and never asks for the pull flag: users rely on the first part.
            pull: Registry {
                insecure: args.insecure_pull,
                skip_verify: args.skip_tls_verify || args.skip_tls_verify_pull,
            },
            push: Registry { insecure: args.insecure, skip_verify: args.skip_tls_verify },
            mirrors,
            ignore_immutable_tags: args.mirrors.push_ignore_immutable_tag_errors,
            ..registry::Options::default()
        },
        credentials: credentials::sources(&args.credentials, environment)?,
        azure: access::azure(environment)?,
        endpoints: credentials::endpoints(environment)?,
        aws_kms: credentials::aws_kms(environment)?,
        context: access::access(environment)?,
        named_files: credentials::named_files(environment)?,
        check_push_permission: !args.skip_push_permission_check,
        warnings: warning.into_iter().collect(),
    })
}

/// Adds what kaniko counts on top of its client's own attempts, with the time for them; pushes and pulls have one policy
/// here.
fn retry(args: &RegistryArgs) -> Retry {
    let usual = Retry::default();
    let more = args.push_retry.max(args.mirrors.image_download_retry);
    let (attempts, time) =
        (usual.attempts.saturating_add(more), usual.longest_delay.saturating_mul(more.min(MOST_MORE)));
    Retry { attempts, total: usual.total + time, ..usual }
}
