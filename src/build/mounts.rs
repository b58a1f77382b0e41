//! What is there for one RUN only: mounts, secrets, agents, caches.

use crate::plan::{Action, BuildPlan, RunStep};
use crate::request::RunNetwork;

use super::Error;

/// Refuses, before anything is built, what the isolation in use cannot give to a RUN.
///
/// # Errors
/// [`Error::Unable`], at the instruction.
pub(super) fn check(plan: &BuildPlan) -> Result<(), Error> {
    for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
        match &step.action {
            Action::Run(run) => check_run(run).map_err(|error| error.at(step.span, None))?,
            Action::Configure | Action::Copy(_) | Action::Workdir(_) => {}
        }
    }
    Ok(())
}

fn check_run(run: &RunStep) -> Result<(), Error> {
    let what = match (run.mounts.first(), run.network) {
        (None, RunNetwork::Host) => return Ok(()),
        (Some(_), _) => "a mount for RUN".to_owned(),
        (None, RunNetwork::None) => "RUN without a network".to_owned(),
    };
    Err(Error::Unable { what, isolation: "this", hint: "it comes with the next version".to_owned() })
}
