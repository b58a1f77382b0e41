//! The services that a build uses, opened once from what the flags say.
//!
//! *Invariant: all that the executor needs of its own root file system (certificates, resolver configuration,
//! credentials) is read here, before anything is unpacked: in `container` isolation `/` is another image later.*

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::exit::{Failure, Kind};
use super::failure::isolation_kind;
use super::request::{Network, Reach, Resolved};
use crate::build::Services;
use crate::cache::Inventories;
use crate::http::{self, Agent};
use crate::isolation::{self, Cancel, Ground};
use crate::progress::{Event, Reporter};
use crate::registry::{self, Client, Credentials, settings_key};
use crate::store::Store;

/// Makes the runtime that drives the network's tasks.
///
/// # Errors
/// When no thread can be made.
pub fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| Failure::from_error(Kind::System, &error))
}

/// Opens all services.
///
/// # Errors
/// [`Failure`] when certificates or credentials cannot be read, or the state directory cannot be used.
pub fn open(
    resolved: &Resolved,
    ground: Ground,
    runtime: &Runtime,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Result<Services, Failure> {
    let (request, network) = (&resolved.request, &resolved.network);
    let agent = Agent::new(http_options(network)).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let credentials = Credentials::load(&network.credential_files, &network.helper_directories);
    let credentials = credentials.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let registry = Client::new(agent, registry_options(network), credentials);
    let store = Store::open(&request.state_directory.join("store"));
    let options = isolation::Options {
        choice: request.isolation,
        state_directory: request.state_directory.clone(),
        ignore_paths: request.ignore_paths.clone(),
        force: request.force,
        named_by_environment: resolved.in_container,
        cancel: cancel.clone(),
    };
    let opened = isolation::open(&options, ground);
    let (isolation, chosen) = opened.map_err(|error| Failure::from_error(isolation_kind(&error), &error))?;
    reporter.report(Event::Note(&format!("isolation {}: {}", chosen.name, chosen.reason)));
    for message in &chosen.warnings {
        reporter.report(Event::Warning { rule: "Isolation", line: None, message });
    }
    Ok(Services {
        registry,
        runtime: runtime.handle().clone(),
        store: store.map_err(|error| Failure::from_error(Kind::Disk, &error))?,
        inventories: Inventories::new(&inventories(&request.state_directory)),
        isolation,
        fidelity: chosen.fidelity,
        reporter,
        cancel,
        keep_layers: false,
    })
}

/// Inventories of base layers outlive the run: they stand beside its directory.
fn inventories(state_directory: &Path) -> std::path::PathBuf {
    state_directory.with_file_name("yadokari-inventories")
}

fn http_options(network: &Network) -> http::Options {
    let mut hosts = std::collections::BTreeMap::<String, http::Tls>::new();
    for (registry, certificates) in &network.certificates {
        hosts.entry(settings_key(registry)).or_default().certificates.clone_from(certificates);
    }
    for registry in &network.any_certificate.registries {
        hosts.entry(settings_key(registry)).or_default().skip_verify = true;
    }
    let trust = &network.trust;
    http::Options {
        roots: http::Roots { file: trust.file.clone(), directories: trust.directories.clone() },
        proxies: http::Proxies {
            http: network.proxies.http.clone(),
            https: network.proxies.https.clone(),
            exceptions: network.proxies.exceptions.clone(),
        },
        hosts,
        upstream: network.upstream.clone(),
        ..http::Options::default()
    }
}

fn registry_options(network: &Network) -> registry::Options {
    let (plain, any): (&Reach, &Reach) = (&network.plain_http, &network.any_certificate);
    let mut options = registry::Options {
        pull: registry::Registry { insecure: plain.pull, skip_verify: any.pull },
        push: registry::Registry { insecure: plain.push, skip_verify: any.push },
        ..registry::Options::default()
    };
    for name in &plain.registries {
        options.registries.entry(settings_key(name)).or_default().insecure = true;
    }
    for name in &any.registries {
        options.registries.entry(settings_key(name)).or_default().skip_verify = true;
    }
    options
}
