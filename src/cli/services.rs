//! The services that a build uses, opened once from what the flags say.
//!
//! *Invariant: all that the executor needs of its own root file system (certificates, resolver configuration,
//! credentials) is read here, before anything is unpacked: in `container` isolation `/` is another image later.*

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::exit::{Failure, Kind};
use super::failure::isolation_kind;
use super::progress_file::ProgressFile;
use super::request::{Network, Resolved};
use crate::build::{Fetching, Services};
use crate::cache::BaseImages;
use crate::cache::Inventories;
use crate::http::Agent;
use crate::isolation::{self, Cancel, Ground};
use crate::progress::{Event, Reporter};
use crate::registry::{Client, Credentials};
use crate::request::BuildRequest;
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
    let reporter = match &resolved.progress_file {
        Some(path) => Arc::new(ProgressFile::new(path, reporter)),
        None => reporter,
    };
    // First: it puts back what a killed build in this container had set aside, configuration files among it.
    let options = isolation::Options {
        choice: request.isolation,
        state_directory: request.state_directory.clone(),
        ignore_paths: left_alone(request),
        force: request.force,
        named_by_environment: resolved.names_container,
        cancel: cancel.clone(),
    };
    let opened = isolation::open(&options, ground);
    let (isolation, chosen) = opened.map_err(|error| Failure::from_error(isolation_kind(&error), &error))?;
    reporter.report(Event::Note(&format!("isolation {}: {}", chosen.name, chosen.reason)));
    for message in &chosen.warnings {
        reporter.report(Event::Warning { rule: "Isolation", line: None, message });
    }
    let agent = Agent::new(network.http.clone()).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let credentials = Credentials::load(&network.credential_files, &network.helper_directories);
    let credentials = credentials.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let registry = Client::reporting(agent.clone(), network.registry.clone(), credentials, Arc::clone(&reporter));
    let store = Store::open(&request.state_directory.join("store"));
    Ok(Services {
        agent,
        access: network.context.clone(),
        registry,
        runtime: runtime.handle().clone(),
        store: store.map_err(|error| Failure::from_error(Kind::Disk, &error))?,
        base_images: BaseImages::new(&request.base_images, "build"),
        inventories: Inventories::new(&inventories(&request.state_directory)),
        isolation,
        run: super::run_services::open(&request.run)?,
        fidelity: chosen.fidelity,
        reporter,
        cancel,
        fetching: Fetching::default(),
        keep_layers: false,
    })
}

/// Makes the agent of all requests; reads certificates.
///
/// # Errors
/// [`Failure`] of kind usage when one of them cannot be read.
pub(super) fn agent(network: &Network) -> Result<Agent, Failure> {
    Agent::new(network.http.clone()).map_err(|error| Failure::from_error(Kind::Usage, &error))
}

/// Returns the paths of `/` that `container` isolation leaves alone: those of --ignore-path, and the cache mounts.
fn left_alone(request: &BuildRequest) -> Vec<PathBuf> {
    request.ignore_paths.iter().cloned().chain(request.run.caches.directory.clone()).collect()
}

/// Makes the client of registries; reads certificates and credentials.
///
/// # Errors
/// [`Failure`] of kind usage when one of them cannot be read.
pub(super) fn client(network: &Network) -> Result<Client, Failure> {
    let agent = Agent::new(network.http.clone()).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let credentials = Credentials::load(&network.credential_files, &network.helper_directories);
    let credentials = credentials.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    Ok(Client::new(agent, network.registry.clone(), credentials))
}

/// Inventories of base layers outlive the run: they stand beside its directory.
fn inventories(state_directory: &Path) -> std::path::PathBuf {
    state_directory.with_file_name("yadokari-inventories")
}
