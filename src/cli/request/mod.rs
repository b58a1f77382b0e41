//! Flags and environment become a request: complete, valid, with every default applied.
//!
//! Knows what flags mean together and which combinations make no sense. Opens no connection and
//! reads no file but those of --build-arg-file and --registries-conf: what a path or a registry holds is for the build to find out.
//!
//! *Invariant: after [`resolve`] every path is absolute, and nobody needs to know how a flag was called.*

mod access;
mod annotation;
mod attestations;
mod build;
mod cache;
mod context;
mod credentials;
mod destinations;
mod export;
mod form;
mod git;
mod index;
mod legacy;
mod mirrors;
mod network;
mod offline;
mod output;
mod pairs;
mod push;
mod results;
mod run;
mod sbom;
mod signing;
mod tekton;
mod warm;

use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) use build::{isolation as isolation_choice, state_directory};
pub(super) use cache::{cache_place, prune_limits};
pub use index::resolve_index;
pub use network::Network;
pub(super) use network::network as registry_network;
pub use push::resolve_push;
pub(super) use signing::signing as signing_settings;
pub(super) use signing::unfit_key;
pub use signing::{SigningSettings, Who};
pub use warm::{WarmRequest, resolve_warm};

use super::args::{Args, LogFormat, MessageArgs, ProgressName};
use super::env::{Environment, NotText};
use super::exit::{Failure, Kind};
use super::report::Settings;
pub use super::report::Warning;
use super::telemetry::Telemetry;
use super::termination;
use crate::place::Places;
use crate::request::{BuildRequest, ContextSource, ResultFiles};

/// What kaniko leaves out of snapshots, since a cluster puts its secrets there.
const VAR_RUN: &str = "/var/run";

/// All that a run needs to know.
#[derive(Clone)]
pub struct Resolved {
    /// What to build.
    pub request: BuildRequest,
    /// How registries are spoken to.
    pub network: Network,
    /// Who signs what is pushed, if anybody does.
    pub signing: Option<SigningSettings>,
    /// Whether a variable says that this is a container.
    pub names_container: bool,
    /// How messages look.
    pub messages: Settings,
    /// What the user should be warned about, in order.
    pub warnings: Vec<Warning>,
    /// Where Argo reads how far we are.
    pub progress_file: Option<PathBuf>,
    /// Where spans are sent, if anywhere.
    pub telemetry: Option<Telemetry>,
    /// How long the build may take.
    pub timeout: Option<Duration>,
    /// The working directory.
    pub working: PathBuf,
    /// Directories that somebody else may have filled: the context, the working directory.
    pub regions: Vec<PathBuf>,
    /// Where outputs and results go; none before [`Resolved::begin`].
    pub places: Arc<Places>,
}

impl Resolved {
    /// Finds where outputs and results go, and removes result files of an earlier run: whatever happens from now on, they
    /// are not this one's.
    ///
    /// # Errors
    /// A [`Failure`] when one of them cannot be removed, or leads where nothing is written.
    pub fn begin(self) -> Result<Self, Failure> {
        if self.request.cache.print_key {
            return Ok(self);
        }
        let BuildRequest { outputs, on_failure, results, .. } = &self.request;
        let outputs: Vec<_> = outputs.iter().chain(on_failure).cloned().collect();
        let begun = crate::output::begin(&outputs, results, self.regions.clone());
        let mut places = begun.map_err(|error| Failure::from_error(Kind::Output, &error))?;
        // Where there is none, or it cannot be read, nothing is put back.
        let _no_pod = places.record(Path::new(termination::FILE));
        Ok(Self { places: Arc::new(places), ..self })
    }
}

/// Flags or variables that make no valid request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// A flag's value is wrong.
    #[error("{flag} cannot be `{value}`: {reason}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// The value; never a build argument's.
        value: String,
        /// Why not.
        reason: String,
    },
    /// A flag's value is wrong, and may be a secret.
    #[error("{flag} {reason}")]
    Secret {
        /// The flag.
        flag: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// An environment variable's value is wrong.
    #[error("the environment variable {name} cannot be `{value}`: {reason}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// The value.
        value: String,
        /// Why not.
        reason: String,
    },
    /// An environment variable cannot be read.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// Something of kaniko's that is not there yet.
    #[error("{what} is not there yet")]
    NotYet {
        /// What was asked for.
        what: String,
    },
    /// Flags that exclude each other.
    #[error("{first} and {second} do not go together: {reason}")]
    Conflict {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why.
        reason: String,
    },
    /// A flag that needs another one.
    #[error("{message}")]
    Missing {
        /// Which flag needs what.
        message: &'static str,
    },
}

/// Returns what is told of old flags; what is contradictory in how messages look is refused first.
fn first_warnings(args: &Args, environment: &Environment) -> Result<Vec<Warning>, UsageError> {
    messages(&args.messages)?;
    Ok(legacy::warnings(&args.legacy, environment).into_iter().collect())
}

/// Refuses two flags that ask for different forms of messages.
fn messages(args: &MessageArgs) -> Result<(), UsageError> {
    let reason = match (args.progress, args.log_format) {
        (ProgressName::Json, LogFormat::Text | LogFormat::Color) => "one asks for JSON, and the other for text",
        (ProgressName::Tty, LogFormat::Json) => "rows that change are text",
        _ => return Ok(()),
    };
    Err(UsageError::Conflict { first: "--progress", second: "--log-format", reason: reason.to_owned() })
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        let failure = Failure::from_error(Kind::Usage, &error);
        match error {
            UsageError::NotYet { .. } => failure.hint("leave it out, or stay with kaniko for this build until it is"),
            UsageError::Value { .. }
            | UsageError::Secret { .. }
            | UsageError::Variable { .. }
            | UsageError::NotText(_)
            | UsageError::Conflict { .. }
            | UsageError::Missing { .. } => failure,
        }
    }
}

/// Makes a request of flags and environment.
///
/// # Errors
/// [`UsageError`] for values that cannot be used, flags that exclude each other, and what is not there yet.
pub fn resolve(args: &Args, environment: &Environment) -> Result<Resolved, UsageError> {
    let mut warnings = first_warnings(args, environment)?;
    let mut given = run::build_arg_files(&args.run.build_arg_file, environment)?;
    given.extend_from_slice(&args.input.build_arg);
    let build_args = pairs::build_args(&given, environment, &mut warnings)?;
    let times = build::times(args, environment, build_args)?;
    let mut outputs = output::outputs(args, environment)?;
    let input = &args.input;
    let sources = context::sources(input, &times.build_args, environment)?;
    let (target, also_targets) = build::targets(&input.target);
    let platforms = build::platforms(input.custom_platform.as_deref())?;
    build::check_outputs(&platforms, &outputs.images)?;
    outputs.results.sboms = sbom::files(outputs.sbom, &platforms);
    let mut network = network::network(&args.registry, environment)?;
    network.http.offline = args.limits.offline;
    let (compression, form) = form::form(args, outputs.says, &outputs.images, &platforms)?;
    let (attestations, said_in) = attestations::attestations(args, (&outputs.images, &form), &platforms, environment)?;
    let cache = cache::cache(args, &crate::output::registries(&outputs.images), environment)?;
    let request = BuildRequest {
        context: sources.context,
        context_sub_path: sources.sub_path,
        context_max_size: sources.max_size,
        named_contexts: sources.named,
        dockerfile: sources.dockerfile,
        target,
        also_targets,
        build_args: times.build_args,
        labels: pairs::labels(&args.image.label)?,
        platform: platforms.first().cloned().unwrap_or_else(crate::oci::Platform::host),
        platforms,
        platform_is_asked: input.custom_platform.as_deref().is_some_and(|text| !text.is_empty()),
        build_platform: crate::oci::Platform::host(),
        created: times.created,
        epoch: times.epoch,
        epoch_of: times.epoch_of,
        snapshots: build::snapshots(args.build.single_snapshot),
        snapshot_mode: build::snapshot_mode(args.build.snapshot_mode),
        compression,
        form,
        ignore_paths: ignore_paths(args)?,
        base_images: cache::base_images(args, environment),
        base_policy: cache::base_policy(args, environment),
        offline: args.limits.offline,
        materialize: args.build.materialize,
        isolation: build::isolation(args.build.isolation),
        run: run::settings(&args.run, environment)?,
        force: args.build.force,
        jobs: jobs(args.build.jobs),
        cache,
        on_failure: build::on_failure(args, environment)?,
        state_directory: build::state_directory(args.build.state_dir.as_deref(), environment),
        outputs: outputs.images,
        attestations,
        sbom: sbom::form(&args.sbom)?,
        check_push: network.check_push_permission,
        results: ResultFiles { attestations: said_in, ..outputs.results },
    };
    offline::check(&request)?;
    let messages = Settings::of_build(args, environment);
    let progress_file = environment.value("ARGO_PROGRESS_FILE")?.map(PathBuf::from);
    warnings.extend(cache::unused(args));
    let telemetry = Telemetry::of(environment).unwrap_or_else(|message| {
        warnings.push(Warning { rule: "SpansNotSent", message });
        None
    });
    Ok(Resolved {
        regions: regions(&request, environment),
        request,
        network,
        signing: signing::signing(&args.signing, environment)?,
        names_container: environment.names_container,
        messages,
        warnings,
        progress_file,
        telemetry,
        timeout: args.limits.timeout,
        working: environment.directories.working.clone(),
        places: Arc::default(),
    })
}

/// Lists the directories that somebody else may have filled.
fn regions(request: &BuildRequest, environment: &Environment) -> Vec<PathBuf> {
    let mut regions = environment.regions();
    if let ContextSource::Directory(path) = &request.context {
        regions.push(path.clone());
    }
    regions.retain(|path| path.parent().is_some());
    regions
}

/// Lists the paths that are left alone.
fn ignore_paths(args: &Args) -> Result<Vec<PathBuf>, UsageError> {
    let given = args.build.ignore_path.iter().map(|path| ignore_path(path));
    given.chain(args.build.ignore_var_run.then(|| Ok(PathBuf::from(VAR_RUN)))).collect()
}

/// Reads `--ignore-path`: a path of the image, hence from its root.
fn ignore_path(given: &str) -> Result<PathBuf, UsageError> {
    let path = absolute(Path::new(given), Path::new("/"));
    if given.is_empty() || path == Path::new("/") {
        let reason = "everything would be ignored; give a path below `/`".to_owned();
        return Err(UsageError::Value { flag: "--ignore-path", value: given.to_owned(), reason });
    }
    Ok(path)
}

/// Makes a path absolute, without `.` parts. `..` stays: what it means depends on symbolic links.
fn absolute(path: &Path, working: &Path) -> PathBuf {
    working.join(path).components().filter(|part| *part != Component::CurDir).collect()
}

/// Stages wait for networks and disks as much as for a processor: one has room for two.
fn jobs(wanted: Option<NonZeroUsize>) -> usize {
    wanted.map_or_else(|| std::thread::available_parallelism().map_or(2, |count| count.get().max(2)), NonZeroUsize::get)
}

#[cfg(test)]
mod snippets;
#[cfg(test)]
mod tests;
