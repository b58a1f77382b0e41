//! The services that a build uses, opened once from what the flags say.
//!
//! *Invariant: all that the executor needs of its own root file system (certificates, resolver configuration,
//! credentials) is read here, before anything is unpacked: in `container` isolation `/` is another image later.*

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::confidential;
use super::exit::{Failure, Kind};
use super::failure::isolation_kind;
use super::observe;
use super::progress_file::ProgressFile;
use super::report::{Report, Ticker, Warning};
use super::request::{Network, Resolved};
use super::signals::{LastWords, Signals};
use super::state::StateDirectory;
use super::work;
use crate::builder::{Additions, Failed, Fetching, Packages, Services, Spent};
use crate::cache::{self, BaseImages, Cache, Directory, Inline, Inventories, Key, MountRepository, Repository, Seal};
use crate::http::Agent;
use crate::isolation::{self, Cancel, Ground, Isolation};
use crate::output;
use crate::place::{self, Folder};
use crate::progress::{Event, Reporter};
use crate::registry::{Client, Clouds, Credentials};
use crate::request::{BuildRequest, SecretSource};
use crate::rootfs::Fidelity;
use crate::store::Store;

/// Keys are shorter.
const LARGEST_KEY: u64 = 64 << 10;

/// Opens services, does a build's job with them, and clears up, however it ends.
///
/// # Errors
/// That of opening, of the job, or of clearing up; told as the signal that was the cause, if one was.
pub fn with<T>(
    resolved: &Resolved,
    report: &Arc<Report>,
    open: impl FnOnce(&Runtime, Cancel) -> Result<Services, Failure>,
    job: impl FnOnce(&BuildRequest, &mut Services) -> Result<T, Failed>,
) -> Result<T, Failure> {
    let system = |error: &dyn std::error::Error| Failure::from_error(Kind::System, error);
    let cancel = Cancel::new().map_err(|error| system(&error))?;
    let last_words = last_words(resolved, report);
    let state = &resolved.request.state_directory;
    let signals = Signals::watch(cancel.clone(), resolved.timeout, last_words, Some(state));
    let signals = signals.map_err(|error| system(&error))?;
    // After the signals are watched, as are all threads that are made.
    let _ticker = Ticker::start(report);
    let disk = |error| Failure::from_error(Kind::Disk, &error);
    let state = StateDirectory::create(state).map_err(disk)?;
    // After the signals are watched: a thread made before would take one itself, and end the process.
    let runtime = work::runtime()?;
    let mut services = open(&runtime, cancel)?;
    let done = job(&resolved.request, &mut services);
    drop(services);
    runtime.shutdown_background();
    let done = done.map_err(|failed| signals.explain(failed.into()))?;
    state.remove().map_err(disk)?;
    Ok(done)
}

/// Tells of a build that did not end in order, and puts back what result files held.
fn last_words(resolved: &Resolved, report: &Arc<Report>) -> LastWords {
    let (places, results, report) =
        (Arc::clone(&resolved.places), resolved.request.results.clone(), Arc::clone(report));
    Box::new(move |failure| {
        // The failure is what is told.
        let _put_back_or_not = output::restore(&places);
        failure.write_results(&results, &places);
        observe::write_files(&report, &failure, &results, &places);
        let _told = report.conclude(Err(failure));
    })
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
    let request = &resolved.request;
    let reporter = match &resolved.progress_file {
        Some(path) => Arc::new(ProgressFile::new(path, reporter)),
        None => reporter,
    };
    // First: it puts back what a killed build in this container had set aside, configuration files among it.
    let options = isolation::Options {
        choice: request.isolation,
        state_directory: request.state_directory.clone(),
        platforms: request.platforms.clone(),
        ignore_paths: request.ignore_paths.clone(),
        kept_paths: kept(request),
        confidential: confidential::files(resolved),
        force: request.force,
        named_by_environment: resolved.names_container,
        cancel: cancel.clone(),
    };
    let opened = isolation::open(&options, ground);
    let (isolation, chosen) = opened.map_err(|error| Failure::from_error(isolation_kind(&error), &error))?;
    chosen.tell(&*reporter);
    let text =
        format!("asked for {:?}, and {} was opened ({:?})", request.isolation, chosen.name, isolation.abilities());
    reporter.report(Event::Isolation { name: chosen.name, text: &text });
    assemble(resolved, (isolation, chosen.fidelity), runtime, reporter, cancel)
}

/// Opens the services for looking at a build that is not carried out: there is no isolation, and nothing of an
/// earlier build is touched.
///
/// # Errors
/// As [`open`].
pub(super) fn open_to_look(
    resolved: &Resolved,
    runtime: &Runtime,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Result<Services, Failure> {
    assemble(resolved, (isolation::none(), Fidelity::Strict), runtime, reporter, cancel)
}

fn assemble(
    resolved: &Resolved,
    (isolation, fidelity): (Box<dyn Isolation>, Fidelity),
    runtime: &Runtime,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Result<Services, Failure> {
    let (request, network) = (&resolved.request, &resolved.network);
    let (agent, credentials) = credentials(network, &reporter)?;
    let registry = registry_client(agent.clone(), network, credentials, Arc::clone(&reporter));
    let impatient = registry.direct().with_patience(cache::PATIENCE);
    let store = Store::open(&request.state_directory.join("store"));
    let (stopped, heard) = (cancel.clone(), Arc::clone(&reporter));
    let network = cache::Network {
        client: impatient.clone(),
        runtime: runtime.handle().clone(),
        reporter: heard,
        is_cancelled: Arc::new(move || stopped.is_interrupted()),
        given_up: Arc::default(),
    };
    let key = request.cache.key.as_ref().map(cache_key).transpose()?;
    let is_writable = is_writable(request, &*reporter);
    let cache = Arc::new(cache(request, is_writable, &network, key.as_ref()));
    let mounts = mounts(request, &network, key.as_ref());
    let signing = resolved
        .signing
        .as_ref()
        .map(|settings| super::signing::signing(settings, &resolved.network, &agent))
        .transpose()?;
    let known = inventories(request, &*isolation).map_err(|error| Failure::from_error(Kind::System, &error))?;
    let known = known.shared(Arc::clone(&cache));
    Ok(Services {
        agent,
        access: resolved.network.context.clone(),
        registry,
        cache_registry: impatient,
        runtime: runtime.handle().clone(),
        store: store.map_err(|error| Failure::from_error(Kind::Disk, &error))?,
        base_images: BaseImages::new(&request.base_images),
        signing,
        policy: request.base_policy.as_deref().map(super::signing::policy).transpose()?,
        cache,
        packages: Packages::new(request, &known, &reporter),
        inventories: known,
        isolation,
        run: super::run_services::open(&request.run, mounts, &token(request), &resolved.working)?,
        fidelity,
        reporter,
        cancel,
        fetching: Fetching::default(),
        additions: Additions::default(),
        keep_layers: false,
        places: Arc::clone(&resolved.places),
        started: std::time::Instant::now(),
        began: jiff::Timestamp::now(),
        spent: Spent::default(),
    })
}

/// Tells whether the directory of the cache is to be written, and can be. Where it cannot, that is told: the build goes on,
/// and what it makes is not kept there.
fn is_writable(request: &BuildRequest, reporter: &dyn Reporter) -> bool {
    let Some(directory) = request.cache.directory.as_ref().filter(|_| request.cache.writes) else { return false };
    let probed = Folder::of(directory).probe();
    if let Err(error) = &probed {
        let path = directory.display();
        let message = format!(
            "the cache {path} cannot be written ({error}), so that the next build will find nothing of this one there; \
             give the pod the right to, or say --cache-mode=ro"
        );
        reporter.report(Event::Warning { rule: "CacheNotWritable", line: None, message: &message });
    }
    probed.is_ok()
}

/// Opens the stores of the cache, the nearest first; nothing is read yet. A directory is written if `is_writable`.
fn cache(request: &BuildRequest, is_writable: bool, network: &cache::Network, key: Option<&Key>) -> Cache {
    let asked = &request.cache;
    let options = cache::Options { now: asked.now, ttl: asked.ttl };
    let levels = levels(&asked.namespace);
    let seal = |part: &[String]| key.map(|key| Seal::of(key, part));
    // An image has all parts of a cache that its build could read.
    let of_images = seal(&asked.namespace).map(|seal| seal.reading(&levels));
    let cache = Cache::new(options, network.runtime.clone(), Arc::clone(&network.reporter));
    let mut cache = cache.sealed(of_images.clone());
    for (position, namespace) in levels.iter().enumerate() {
        if let Some(directory) = &asked.directory {
            let directory = Directory::new(directory, namespace);
            cache.add(Box::new(directory), is_writable && position == 0, false, seal(namespace));
        }
    }
    if let Some(root) = &asked.repository {
        for (position, (repository, part)) in asked.levels(root).into_iter().zip(&levels).enumerate() {
            let repository = Repository::new(network.clone(), repository);
            cache.add(Box::new(repository), asked.writes && position == 0, true, seal(part));
        }
    }
    for image in &asked.images {
        let image = Inline::new(network.clone(), image.clone(), request.platform.clone());
        cache.add(Box::new(image), false, false, of_images.clone());
    }
    cache
}

/// Returns the name of the run's own directory, which no other run has, on any machine.
fn token(request: &BuildRequest) -> std::borrow::Cow<'_, str> {
    request.state_directory.file_name().unwrap_or_default().to_string_lossy()
}

/// Returns where cache mounts are kept for other pods, if anywhere; nothing is read yet.
fn mounts(request: &BuildRequest, network: &cache::Network, key: Option<&Key>) -> Option<MountRepository> {
    let repository = request.run.caches.repository.as_ref()?;
    // Another registry than that of the layers, perhaps: what gives up the one does not give up the other.
    let network = cache::Network { given_up: Arc::default(), ..network.clone() };
    let parts = levels(&request.cache.namespace);
    let levels = request.cache.levels(repository).into_iter().zip(parts);
    let levels = levels
        .map(|(repository, part)| (Repository::new(network.clone(), repository), key.map(|key| Seal::of(key, part))));
    Some(MountRepository::new(levels.collect(), request.cache.writes, request.cache.now))
}

/// Returns a namespace and those above it. They are read, too; only the first one is written.
fn levels(namespace: &[String]) -> Vec<&[String]> {
    (0..=namespace.len()).rev().map(|level| &namespace[..level]).collect()
}

/// Returns the directories that outlive the build, wherever they are.
fn kept(request: &BuildRequest) -> Vec<PathBuf> {
    // An image may have something at the place where base images would be.
    let bases = Some(&request.base_images).filter(|path| path.is_dir());
    let kept = [request.run.caches.directory.as_ref(), request.cache.directory.as_ref(), bases];
    kept.into_iter().flatten().cloned().collect()
}

/// Makes the agent of all requests and the client of registries; reads certificates and credentials.
///
/// # Errors
/// [`Failure`] of kind usage when one of them cannot be read.
pub(super) fn client(network: &Network, reporter: Arc<dyn Reporter>) -> Result<(Agent, Client), Failure> {
    let (agent, credentials) = credentials(network, &reporter)?;
    Ok((agent.clone(), registry_client(agent, network, credentials, reporter)))
}

/// Makes the client, after telling what of its settings is probably not meant.
fn registry_client(agent: Agent, network: &Network, credentials: Credentials, reporter: Arc<dyn Reporter>) -> Client {
    for Warning { rule, message } in &network.warnings {
        reporter.report(Event::Warning { rule, line: None, message });
    }
    Client::new(agent, network.registry.clone(), credentials, reporter)
}

/// Makes what speaks HTTP, and reads who we are to registries.
pub(super) fn credentials(network: &Network, reporter: &Arc<dyn Reporter>) -> Result<(Agent, Credentials), Failure> {
    let agent = Agent::new(network.http.clone()).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let agent = agent.telling(Arc::clone(reporter));
    let plain = network.registry.registries.iter().filter(|(_, registry)| registry.insecure);
    let clouds = Clouds {
        agent: agent.clone(),
        azure: network.azure.clone(),
        endpoints: network.endpoints.clone(),
        plain: plain.map(|(name, _)| name.clone()).collect(),
        #[cfg(feature = "google")]
        google: crate::registry::KeptGoogle::default(),
    };
    let credentials = Credentials::load(network.credentials.clone(), Some(clouds));
    let credentials = credentials.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    Ok((agent, credentials))
}

/// Reads the key of the cache.
///
/// # Errors
/// [`Failure`] of kind usage when it cannot be read, or is too short.
fn cache_key(source: &SecretSource) -> Result<Key, Failure> {
    let (whence, bytes) = match source {
        SecretSource::Value(value) => {
            ("the key of the cache in YADOKARI_CACHE_KEY".to_owned(), Zeroizing::new(value.clone().into_bytes()))
        }
        SecretSource::File(path) => {
            let whence = format!("the key of the cache in {}", path.display());
            let mut bytes = Zeroizing::new(Vec::new());
            let read = place::open_anywhere(path).and_then(|file| file.take(LARGEST_KEY).read_to_end(&mut bytes));
            read.map_err(|error| Failure::new(Kind::Usage, format!("{whence} cannot be read: {error}")))?;
            (whence, bytes)
        }
    };
    Key::new(&bytes).map_err(|error| Failure::new(Kind::Usage, format!("{whence} cannot be used: {error}")))
}

/// Inventories of base layers outlive the run: they stand beside its directory. Where RUN is root in the container's own
/// root, now or in another build in this container, it could write there: then they last for this run only.
fn inventories(request: &BuildRequest, isolation: &dyn Isolation) -> std::io::Result<Inventories> {
    let (token, now) = (token(request), request.cache.now);
    match isolation.abilities().isolation {
        "container" | "chroot" => {
            Inventories::new(&request.state_directory.join("inventories"), &token, now).of_this_run()
        }
        _ => {
            let name = format!("yadokari-inventories-{}", isolation::outer_user());
            Ok(Inventories::new(&request.state_directory.with_file_name(name), &token, now))
        }
    }
}
