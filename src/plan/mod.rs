//! What will be built: the stages that the target needs, in order, and every step as data.
//!
//! Knows Dockerfile semantics: reachable stages, ARG and ENV, expansion, ONBUILD, what each step reads and
//! whether it needs a root file system. Pure: base images' configurations are given to it, and it names those
//! that it still lacks.
//!
//! *Invariant: what this executor cannot do is refused here, with its line, before any step runs; a decision is a
//! field of a [`Step`], never a question to the instruction later.*

mod add;
mod arguments;
mod budget;
mod chmod;
mod copy;
mod destination;
mod draft;
mod error;
mod graph;
mod history;
mod lint;
mod listing;
mod ports;
mod run;
mod stage;
mod step;
mod variables;

use crate::dockerfile::{Dockerfile, Span};
use crate::request::BuildRequest;

pub use chmod::{Chmod, Clause};
pub use destination::{Destination, Reach};
pub use error::{Error, ErrorReason};
pub use graph::Extent;
pub use lint::looks_secret;
pub use listing::Listing;
pub use step::{
    Action, Base, BaseKey, Bases, BuildPlan, CacheMount, CopyFrom, CopySource, CopyStep, Mount, Mounted, RunStep,
    Stage, StageBase, StageId, Step, Unpack, WorkdirStep,
};

/// How far planning came.
#[derive(Clone, Debug, PartialEq)]
pub enum Planned {
    /// All is decided.
    Complete(BuildPlan),
    /// These images, each with the place that names it, must be resolved first; then plan again.
    Needs(Vec<(BaseKey, Span)>),
}

/// Plans the build of the requested target.
///
/// To be repeated with more `bases` until it is complete: an image's ONBUILD triggers may name further images.
///
/// # Errors
/// [`Error`] with the place: an unknown stage, a circle of stages, an instruction that cannot be expanded or that
/// this executor does not support.
pub fn plan(dockerfile: &Dockerfile, bases: &Bases, request: &BuildRequest) -> Result<Planned, Error> {
    plan_stages(dockerfile, bases, request, Extent::Target)
}

/// Returns the value of a global argument: what was given for it, else what an ARG before the first FROM says.
///
/// # Errors
/// [`Error`] when one of them cannot be expanded.
pub fn global_argument(dockerfile: &Dockerfile, request: &BuildRequest, name: &str) -> Result<Option<String>, Error> {
    Ok(arguments::global_arguments(dockerfile, request, &budget::Budget::default())?.get(name).map(str::to_owned))
}

/// Plans stages; see [`plan`].
///
/// # Errors
/// As [`plan`].
pub fn plan_stages(
    dockerfile: &Dockerfile,
    bases: &Bases,
    request: &BuildRequest,
    extent: Extent,
) -> Result<Planned, Error> {
    let findings = lint::Findings::default();
    match plan_judging(dockerfile, bases, request, extent, &findings) {
        Ok(Planned::Complete(plan)) => Ok(Planned::Complete(BuildPlan { warnings: findings.into_vec(), ..plan })),
        Ok(Planned::Needs(needs)) => Ok(Planned::Needs(needs)),
        Err(error) => Err(Error { warnings: findings.into_vec(), ..error }),
    }
}

/// Plans stages; what should be changed goes into `findings`.
fn plan_judging(
    dockerfile: &Dockerfile,
    bases: &Bases,
    request: &BuildRequest,
    extent: Extent,
    findings: &lint::Findings,
) -> Result<Planned, Error> {
    let budget = budget::Budget::default();
    let globals = arguments::global_arguments(dockerfile, request, &budget)?;
    lint::from_lines(dockerfile, &globals, request, findings);
    let graph = match graph::resolve(dockerfile, &globals, bases, request, extent)? {
        graph::Resolved::Complete(graph) => graph,
        graph::Resolved::Needs(keys) => return Ok(Planned::Needs(keys)),
    };
    lint::nodes(dockerfile, &graph, (request, bases), findings);
    let mut stages: Vec<Stage> = Vec::with_capacity(graph.nodes.len());
    let mut environments = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inherited = match &node.base {
            StageBase::Scratch => stage::Inherited::scratch(&node.platform),
            StageBase::Image(key) => stage::Inherited::image(bases, key, request),
            StageBase::Stage(id) => stage::Inherited::stage(&stages[id.0], &environments[id.0]),
        };
        let escape = dockerfile.directives.escape;
        let scope = draft::Scope { globals: &globals, request, escape, findings, budget: &budget };
        let (planned, environment) = stage::plan_stage(node, inherited, &scope)?;
        stages.push(planned);
        environments.push(environment);
    }
    if let Some(target) = stages.get_mut(graph.target.0) {
        target.config.labels.extend(request.labels.clone());
    }
    Ok(Planned::Complete(BuildPlan { stages, target: graph.target, warnings: Vec::new() }))
}

/// Lists the images that a Dockerfile names, for whatever target.
///
/// # Errors
/// As [`plan`], for names that cannot be expanded.
pub fn images(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<Vec<BaseKey>, Error> {
    let mut images = Vec::new();
    let globals = arguments::global_arguments(dockerfile, request, &budget::Budget::default())?;
    let resolved = graph::resolve(dockerfile, &globals, &Bases::new(), request, Extent::All)?;
    if let graph::Resolved::Needs(keys) = resolved {
        images.extend(keys.into_iter().map(|(key, _)| key));
    }
    images.sort();
    images.dedup();
    Ok(images)
}

#[cfg(test)]
pub(crate) mod tests;
