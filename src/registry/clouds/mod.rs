//! The clouds' own registries: who we are to the cloud becomes a credential for its registry.
//!
//! *Invariant: a cloud is asked only for a registry whose host name is the cloud's.*

mod acr;
#[cfg(feature = "aws")]
mod ecr;
#[cfg(feature = "google")]
mod google;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credentials::{Keychain, Secret};
use crate::cloud::azure::Identity;
use crate::http::Agent;
#[cfg(feature = "google")]
pub use google::Kept as KeptGoogle;

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
    /// Google's credentials, once they were asked for: they renew themselves without looking for files again.
    #[cfg(feature = "google")]
    pub google: KeptGoogle,
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

    /// Tells whether a cloud that was asked before can be asked again without looking for files that are not mounts.
    pub(super) fn needs_no_files(&self, keychain: &Keychain) -> bool {
        match keychain {
            #[cfg(feature = "google")]
            Keychain::Google => self.google.get().is_some(),
            Keychain::Acr => self.azure.token_file.as_deref().is_none_or(is_mounted),
            // The SDK looks for its files each time; a password is good for twelve hours.
            _ => false,
        }
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

/// Tells whether a file is in a mount, so that it is still the same where `/` holds another image.
fn is_mounted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(path).is_some() && device(path) != device(Path::new("/"))
}

fn host(registry: &str) -> &str {
    registry.split(':').next().unwrap_or(registry)
}
