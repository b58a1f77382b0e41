//! A build from its request to its outcome: the whole flow in order.
//!
//! Knows how a planned stage becomes an image, through the rooms below. Parses no flags, prints nothing, makes no
//! system calls of its own.
//!
//! *Invariant: a root file system exists only while a step needs one; what a step reads is what the plan says.*

mod additions;
mod again;
mod ahead;
mod attempt;
mod attestations;
mod bases;
mod cached;
mod copy;
mod deliver;
mod dependencies;
mod epoch;
mod error;
mod existing;
mod failed;
mod files;
mod finished;
mod forecast;
mod inputs;
mod joined;
mod keys;
mod layers;
mod layout;
mod lint;
mod mounts;
mod offered;
mod once;
mod origin;
mod packages;
mod platforms;
mod preview;
mod provenance;
mod reach;
mod recompress;
mod room;
mod run;
mod sbom;
mod schedule;
mod seals;
mod signatures;
mod single;
mod stage;
mod volumes;
mod witness;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use attempt::{Delivered, Setting};

use crate::cache::{BaseImages, Cache, Inventories};
use crate::causes;
use crate::context::{self, Access, Context};
use crate::dockerfile::Dockerfile;
use crate::http::Agent;
use crate::image;
use crate::isolation::{Cancel, Capacity, Isolation};
use crate::oci::{Digest, Reference};
use crate::outcome::{BaseUsed, BuildOutcome, Circumstances};
use crate::output::results::Facts;
use crate::output::{self, Uploads};
use crate::place::Places;
use crate::plan::{Base, BaseKey, Bases, BuildPlan, CopyFrom, Listing, Stage, StageBase};
use crate::progress::{Activity, Event, Phase, Reporter};
use crate::registry::Client;
use crate::request::BuildRequest;
use crate::rootfs::{Fidelity, Rootfs, Tree};
use crate::store::Store;
use crate::trust::{Policy, Signing};

pub use additions::Additions;
pub use copy::Error as CopyError;
pub use error::{Error, Place};
pub use forecast::{Expected, Forecast};
pub use layers::Fetching;
pub use mounts::RunServices;
pub use packages::Packages;
pub use preview::{Checked, Preview, check, previews};

/// The services that a build uses, opened once.
pub struct Services {
    /// Makes requests.
    pub agent: Agent,
    /// What gives access to contexts.
    pub access: Access,
    /// Speaks to registries.
    pub registry: Client,
    /// Reads what registries of the cache lend.
    pub cache_registry: Client,
    /// Drives the network's tasks.
    pub runtime: Handle,
    /// Holds the blobs of this build.
    pub store: Store,
    /// Base images that a warmer brought.
    pub base_images: BaseImages,
    /// What signs images that are pushed, if anything.
    pub signing: Option<Signing>,
    /// What base images must meet, if anything.
    pub policy: Option<Policy>,
    /// What earlier builds made of steps.
    pub cache: Arc<Cache>,
    /// What earlier builds know of base layers.
    pub inventories: Inventories,
    /// What is found in layers as installed, where that is asked for.
    pub packages: Packages,
    /// Holds root file systems and runs processes.
    pub isolation: Box<dyn Isolation>,
    /// What RUNs may ask for.
    pub run: RunServices,
    /// What happens where the isolation cannot give a file its owner or attributes.
    pub fidelity: Fidelity,
    /// Tells what happens.
    pub reporter: Arc<dyn Reporter>,
    /// Ends the build.
    pub cancel: Cancel,
    /// The layers that are being fetched into the store.
    pub fetching: Fetching,
    /// What ADD has brought from elsewhere.
    pub additions: Additions,
    /// Whether base layers that are read are kept, because an output needs their bytes.
    pub keep_layers: bool,
    /// Where outputs and results go.
    pub places: Arc<Places>,
    /// When the run began.
    pub started: Instant,
    /// The same by the clock.
    pub began: jiff::Timestamp,
    /// What the time was spent on.
    pub spent: Spent,
}

/// How long phases took, added up.
#[derive(Debug, Default)]
pub struct Spent(Mutex<BTreeMap<Phase, Duration>>);

impl Services {
    /// Opens a directory in the isolation's workspace, whose files belong to whom the isolation says.
    fn tree(&self, path: &Path) -> Result<Tree, crate::rootfs::Error> {
        self.isolation.tree(path)
    }

    /// Opens such a directory as a root file system.
    fn files(&self, path: &Path) -> Result<Rootfs, crate::rootfs::Error> {
        self.tree(path).map(Rootfs::of)
    }
}

/// A build that failed, with the Dockerfile for the message.
#[derive(Debug)]
pub struct Failed {
    /// What went wrong.
    pub error: Error,
    /// The Dockerfile, if it was found.
    pub dockerfile: Option<context::Dockerfile>,
}

/// How often a wait for the network looks whether the build was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// Builds the requested image and delivers it. Result files of an earlier build are gone already
/// ([`output::begin`]), since much can fail before this is called. Where only the key of the build is asked for,
/// there is no outcome.
///
/// # Errors
/// [`Failed`]; then no result file is there, and no destination has a new tag, unless it was one of several
/// destinations that failed.
pub fn build(request: &BuildRequest, services: &mut Services) -> Result<Option<BuildOutcome>, Failed> {
    let without = |error| Failed { error, dockerfile: None };
    let context = services.timed(Phase::Context, |services| services.fetch_context(request)).map_err(without)?;
    let built = platforms::build(request, &context, services);
    mounts::prune(request, services);
    let finished = services.finish_isolation();
    if let (Err(_), Err(error)) = (&built, &finished) {
        // The build's own error is the one to tell; where the container's files are must not be lost over it.
        not_put_back(services, error);
    }
    // No process of a RUN is left: what one wrote into result files goes now.
    let restored = output::restore(&services.places).map_err(Error::from);
    let outcome = built.and_then(|outcome| finished.and(restored).map(|()| outcome));
    let outcome = outcome.and_then(|outcome| {
        let outcome = outcome.map(|outcome| BuildOutcome { circumstances: services.circumstances(), ..outcome });
        if let Some(outcome) = &outcome {
            services.wait(output::put_values(&outcome.into(), &request.results, &services.agent))??;
        }
        let (places, reporter) = (&services.places, &*services.reporter);
        outcome.iter().try_for_each(|outcome| output::write_results(outcome, &request.results, places, reporter))?;
        Ok(outcome)
    });
    outcome.map_err(|error| {
        // Whatever failed because of the signal, the signal is what to tell.
        let error = if services.cancel.is_interrupted() { error.interrupted() } else { error };
        Failed { error, dockerfile: Some(context.dockerfile.clone()) }
    })
}

/// Locks; a thread that died with the lock takes the whole process with it.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_put_back(services: &Services, error: &dyn std::error::Error) {
    let message = format!("what stood here before could not be put back: {}", causes::in_one_line(error));
    services.reporter.report(Event::Warning { rule: "NotPutBack", line: None, message: &message });
}

fn build_context(
    request: &BuildRequest,
    context: &Context,
    services: &mut Services,
) -> Result<Option<BuildOutcome>, Error> {
    let dockerfile = lint::parse(context, request, &*services.reporter)?;
    let request = &*epoch::settled(request, &dockerfile, context, services)?;
    let destinations = output::registries(&request.outputs);
    let (plan, mut bases) =
        services.timed(Phase::Resolve, |services| planned(&dockerfile, request, (context, &destinations), services))?;
    let target_base = origin::target_base(&plan, &bases);
    let used = bases_used(&bases, target_base.as_ref());
    refuse_early(&plan, request, context, services)?;
    check_results(request, context, &destinations, &used, &services.places)?;
    recompress::check(request, target_base.as_ref())?;
    let steps = plan.steps().count();
    let skipped = dockerfile.stages.len().saturating_sub(plan.stages.len());
    services.reporter.report(Event::Planned { steps, skipped, plan: &Listing { plan: &plan, bases: &bases } });
    let build_key = existing::key_if_asked(request, &plan, &bases, context, services)?;
    if request.cache.print_key {
        return Ok(None);
    }
    if let Some(existing) = existing::find(request, build_key.as_ref(), services)? {
        signatures::sign(&existing.manifest, request, services)?;
        let sbom = sbom::document(&existing.image(), &existing.manifest.digest, request, services)?;
        let outcome = existing.outcome(context, target_base.as_ref(), used);
        return Ok(Some(BuildOutcome { sboms: sbom.iter().map(sbom::Document::text).collect(), ..outcome }));
    }
    recompress::force(request, services, target_base.as_ref(), &mut bases)?;
    services.keep_layers = keeps_layers(request, &plan, &destinations, &bases);
    let (target_base, build_key) = (target_base.as_ref(), build_key.as_ref());
    let setting = Setting { request, plan: &plan, bases: &bases, context, target_base, build_key };
    let delivered = attempt::build(&setting, services);
    // Also after a failure: the steps that went well need not be done again.
    let has_layers = delivered.as_ref().map(|delivered| &*delivered.pushed).unwrap_or_default();
    services.timed(Phase::Cache, |services| services.cache.finish(has_layers));
    services.timed(Phase::Cache, mounts::keep);
    let Delivered { image, steps, pushed, offered, sbom } = delivered?;
    Ok(Some(BuildOutcome {
        manifest: image.manifest.clone(),
        config: image.config.clone(),
        images: Vec::new(),
        size: image.size(),
        layers: image.layers.len(),
        base_layers: target_base.map_or(0, |(_, base)| base.image.layers.len()),
        platform: image.platform.clone(),
        pushed,
        bases: used,
        context: context.origin.clone(),
        source: context.source().cloned(),
        steps,
        attested: attestations::told(&image.attachments).into_iter().chain(offered).collect(),
        sboms: sbom.iter().map(sbom::Document::text).collect(),
        circumstances: Circumstances::default(),
    }))
}

/// Plans the build, tells what should be changed, and finds out whether the image may be pushed and signed.
fn planned(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    (context, destinations): (&Context, &[Reference]),
    services: &Services,
) -> Result<(BuildPlan, Bases), Error> {
    let planned = bases::plan_with_bases(dockerfile, request, services);
    let plan = planned.as_ref().map(|(plan, _)| plan);
    let linted = lint::judge(dockerfile, plan, context, request)?;
    lint::tell(&linted, &*services.reporter);
    let (mut plan, bases) = planned?;
    platforms::name_stages(request, &mut plan);
    lint::refuse(&linted)?;
    if request.check_push {
        services.wait(output::check_push(&services.registry, destinations))??;
    }
    signatures::check(request, destinations, services)?;
    Ok((plan, bases))
}

/// Finds what would fail later, before anything is fetched or run.
fn refuse_early(
    plan: &BuildPlan,
    request: &BuildRequest,
    context: &Context,
    services: &mut Services,
) -> Result<(), Error> {
    check_context(plan, context)?;
    copy::check_sources(plan, context)?;
    volumes::settle(plan, services)?;
    mounts::check(plan, &request.run, &services.run, &*services.isolation, &*services.reporter)?;
    reach::check(plan, request, &*services.isolation, &*services.reporter)
}

/// Checks, before anything is built, that the results will fit: any digest is as long as the image's will be.
fn check_results(
    request: &BuildRequest,
    context: &Context,
    destinations: &[Reference],
    bases: &[BaseUsed],
    places: &Places,
) -> Result<(), Error> {
    let (digest, source) = (Digest::of(b""), context.source());
    let (size, bases) = (Some(u64::MAX), Some(bases));
    let attested = &attestations::expected(request);
    let facts =
        Facts { digest: &digest, config: None, size, pushed: destinations, named: None, bases, source, attested };
    Ok(output::check_results(&facts, &request.results, places)?)
}

/// Checks that a context is there where a step takes something from it.
pub(super) fn check_context(plan: &BuildPlan, context: &Context) -> Result<(), Error> {
    let Some(path) = &context.missing else { return Ok(()) };
    if dependencies::reads_context(plan) {
        return Err(context::Error::NoContext { path: path.clone() }.into());
    }
    Ok(())
}

/// Base layers that are read are kept when their bytes are needed once more: by an archive or a layout, by a
/// registry that cannot mount them, or by a second stage that unpacks them or copies from them.
fn keeps_layers(request: &BuildRequest, plan: &BuildPlan, destinations: &[Reference], bases: &Bases) -> bool {
    let files = request.outputs.iter().any(output::is_written_here);
    let elsewhere = |key: &BaseKey| destinations.iter().any(|d| d.registry != key.reference.registry);
    let often = |key: &BaseKey| plan.stages.iter().map(|stage| uses(stage, key)).sum::<usize>() > 1;
    files || bases.keys().any(|key| elsewhere(key) || often(key))
}

/// Counts how often a stage reads the layers of an image, at most.
fn uses(stage: &Stage, key: &BaseKey) -> usize {
    let sources = stage.steps.iter().flat_map(|step| step.action.sources());
    let copies = sources.filter(|source| matches!(source, CopyFrom::Image(image) if image == key));
    usize::from(stage.base == StageBase::Image(key.clone())) + copies.count()
}

/// Lists the images that were used, the target's base first.
fn bases_used(bases: &Bases, first: Option<&(BaseKey, Base)>) -> Vec<BaseUsed> {
    let used = bases
        .iter()
        .filter_map(|(key, base)| Some(BaseUsed { name: key.reference.clone(), digest: base.pinned.digest.clone()? }));
    let mut used: Vec<BaseUsed> = used.collect();
    let is_first = |base: &BaseUsed| first.is_some_and(|(key, _)| key.reference == base.name);
    used.sort_by(|a, b| is_first(b).cmp(&is_first(a)).then_with(|| a.name.cmp(&b.name)));
    used
}

impl Services {
    /// Waits for something of the network, but not longer than until the build is cancelled.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let cancelled = async {
            while !self.cancel.is_cancelled() {
                tokio::time::sleep(CANCEL_INTERVAL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                result = future => Ok(result),
                () = cancelled => Err(Error::Interrupted),
            }
        })
    }

    /// Returns what reading and writing layers ask whether they are to end.
    fn stop(&self) -> image::Stop {
        let cancel = self.cancel.clone();
        Arc::new(move || cancel.is_cancelled())
    }

    fn fetch_context(&self, request: &BuildRequest) -> Result<Context, Error> {
        Ok(context::fetch(request, &self.means(request))?)
    }

    /// Returns what is needed to fetch something.
    fn means(&self, request: &BuildRequest) -> context::Means<'_> {
        let cancel = self.cancel.clone();
        context::Means {
            agent: &self.agent,
            runtime: &self.runtime,
            state: request.state_directory.clone(),
            access: &self.access,
            reporter: &*self.reporter,
            is_cancelled: Arc::new(move || cancel.is_cancelled()),
            origin: context::main_origin(request),
        }
    }

    /// Makes or clears a root file system. Where there is but one, the container's own, that may take its time.
    fn room<T>(&self, work: impl FnOnce(&dyn Isolation) -> T) -> T {
        match self.isolation.holds() {
            Capacity::One => self.timed(Phase::SetAside, |services| work(&*services.isolation)),
            Capacity::Many => work(&*self.isolation),
        }
    }

    /// Finds out, before `/` becomes another image's, who we are to all registries that are asked until it is ours again.
    fn seal(&self, request: &BuildRequest, bases: &Bases) -> Result<(), Error> {
        let mut references = output::registries(&request.outputs);
        references.extend(bases.keys().map(|key| key.reference.clone()));
        references.extend(request.cache.repositories());
        references.extend(request.run.caches.repository.iter().flat_map(|root| request.cache.levels(root)));
        self.wait(self.registry.seal(&references))
    }

    /// Ends the isolation: what stood in `/` is there again.
    fn finish_isolation(&self) -> Result<(), Error> {
        self.room(|isolation| isolation.finish())?;
        self.registry.unseal();
        Ok(())
    }

    /// Reports how long something took.
    fn timed<T>(&self, phase: Phase, work: impl FnOnce(&Self) -> T) -> T {
        let going_on = Activity::new(phase, "").begin(&*self.reporter);
        let result = work(self);
        self.spent(phase, going_on.elapsed());
        result
    }

    /// Takes note of time that a phase took, and tells it.
    fn spent(&self, phase: Phase, elapsed: Duration) {
        *unpoisoned(&self.spent.0).entry(phase).or_default() += elapsed;
        self.reporter.report(Event::Spent { phase, elapsed });
    }

    fn circumstances(&self) -> Circumstances {
        let phases = unpoisoned(&self.spent.0).clone();
        let isolation = Some(self.isolation.abilities().isolation).filter(|_| phases.contains_key(&Phase::Run));
        Circumstances { began: self.began, elapsed: self.started.elapsed(), isolation, phases }
    }

    fn uploads(&self, destinations: Vec<Reference>) -> Uploads {
        let (runtime, store, reporter) = (self.runtime.clone(), self.store.clone(), Arc::clone(&self.reporter));
        Uploads::new(self.registry.clone(), runtime, store, destinations, reporter)
    }
}
