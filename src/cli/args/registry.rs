//! Flags for how registries are spoken to.

use clap::Args;

use super::{CredentialArgs, MirrorArgs};

/// How registries are spoken to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Push over plain HTTP, to every destination; better name the registry with --insecure-registry.
    #[arg(long)]
    pub insecure: bool,
    /// Pull bases over plain HTTP, from every registry; better name the registry with --insecure-registry.
    #[arg(long)]
    pub insecure_pull: bool,
    /// Speak plain HTTP with this registry (`host[:port]`), for pull and push; may be given many times.
    #[arg(long, value_name = "REGISTRY")]
    pub insecure_registry: Vec<String>,
    /// Accept any TLS certificate, for pull and push; better trust the registry's with --registry-certificate.
    #[arg(long)]
    pub skip_tls_verify: bool,
    /// Accept any TLS certificate when pulling; better trust the registry's with --registry-certificate.
    #[arg(long)]
    pub skip_tls_verify_pull: bool,
    /// Accept any TLS certificate from this registry (`host[:port]`); may be given many times.
    #[arg(long, value_name = "REGISTRY")]
    pub skip_tls_verify_registry: Vec<String>,
    /// Trust the certificates in this PEM file for this registry (`host[:port]`); may be given many times.
    #[arg(long, value_name = "REGISTRY=FILE")]
    pub registry_certificate: Vec<String>,
    /// Let registries, contexts and ADD lead to link-local addresses (169.254.0.0/16, fe80::/10: the machine's own services),
    /// and let other servers redirect to this machine.
    #[arg(long)]
    pub allow_link_local: bool,
    /// Try a push again this many times when it failed for a reason that may pass, each request's own retries apart.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub push_retry: u32,
    /// Do not ask the registry before the build whether we may push.
    #[arg(long)]
    pub skip_push_permission_check: bool,
    /// Which registries stand in for others.
    #[command(flatten)]
    pub mirrors: MirrorArgs,
    /// Where credentials are.
    #[command(flatten)]
    pub credentials: CredentialArgs,
}
