//! The clouds' own registries: who we are to the cloud becomes a credential for its registry.
//!
//! *Invariant: a cloud is asked only for a registry whose host name is the cloud's.*

mod acr;
#[cfg(feature = "aws")]
mod ecr;
#[cfg(feature = "google")]
mod google;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::credentials::{Keychain, Secret};
use crate::cloud::azure::Identity;
use crate::http::Agent;

/// How the clouds are reached, and what is known of us that their SDKs do not find out by themselves.
#[derive(Clone)]
pub struct Clouds {
    /// Makes the requests.
    pub agent: Agent,
    /// Who we are to Azure.
    pub azure: Identity,
    /// Other addresses than the clouds' own.
    pub endpoints: Endpoints,
    /// Registries that are spoken to in plain HTTP.
    pub plain: BTreeSet<String>,
}

/// Addresses of cloud services, as the environment names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// For ECR (`AWS_ENDPOINT_URL_ECR`, `AWS_ENDPOINT_URL`).
    pub ecr: Option<String>,
    /// For public ECR (`AWS_ENDPOINT_URL_ECR_PUBLIC`, `AWS_ENDPOINT_URL`).
    pub ecr_public: Option<String>,
    /// The region of AWS's other services, where it is not the registry's (`AWS_REGION`).
    pub aws_region: Option<String>,
    /// Google's metadata server (`GCE_METADATA_HOST`).
    pub google_metadata: Option<String>,
    /// The file with Google's credentials, if there is one: no metadata server is asked then.
    pub google_file: Option<PathBuf>,
}

impl Clouds {
    /// Says why a cloud is not asked for a registry; none when it is.
    pub(super) fn is_not_for(&self, keychain: &Keychain, registry: &str) -> Option<String> {
        let host = host(registry);
        let (is_for, hosts) = match keychain {
            #[cfg(feature = "aws")]
            Keychain::Ecr => (ecr::Registry::parse(host).is_some(), "*.dkr.ecr.*.amazonaws.com and public.ecr.aws"),
            #[cfg(feature = "google")]
            Keychain::Google => (google::is_for(host), "gcr.io and *.pkg.dev"),
            Keychain::Acr => (acr::is_for(host), "*.azurecr.io"),
            _ => return Some("it is not part of this executor".to_owned()),
        };
        (!is_for).then(|| format!("only for {hosts}"))
    }

    /// Asks a cloud for a registry's credential; returns it and how long it is good.
    pub(super) async fn ask(&self, keychain: &Keychain, registry: &str) -> Result<(Secret, Duration), String> {
        match keychain {
            #[cfg(feature = "aws")]
            Keychain::Ecr => ecr::ask(self, host(registry)).await,
            #[cfg(feature = "google")]
            Keychain::Google => google::ask(self).await,
            Keychain::Acr => acr::ask(self, registry).await,
            _ => Err("it is not part of this executor".to_owned()),
        }
    }
}

fn host(registry: &str) -> &str {
    registry.split(':').next().unwrap_or(registry)
}
