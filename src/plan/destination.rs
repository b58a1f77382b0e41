//! The places of an image that RUN counts on: what is put there before it, and what is said of it.
//!
//! *Invariant: only what a RUN can still see is named: nothing that comes after the last one.*

use std::path::Path;

use crate::dockerfile::Span;

use super::draft::clean;
use super::{Action, BuildPlan, Stage, StageBase, Step};

/// A place that a RUN counts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Absolute and clean; never the root itself.
    pub path: String,
    /// How much of what is there matters.
    pub reach: Reach,
    /// What names it, for people: `WORKDIR /src`.
    pub what: String,
    /// The instruction that names it.
    pub span: Span,
}

/// How much of what is at a place matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All that is there.
    Whole,
    /// Only what is put there; beside it there may be anything.
    Put,
}

impl BuildPlan {
    /// Returns how many steps of each stage, from its first on, make files that a RUN sees: in its own stage, or in one
    /// that is based on it. None for a stage of which no RUN sees anything, not even its base.
    pub fn seen_by_runs(&self) -> Vec<Option<usize>> {
        let last_run = |stage: &Stage| stage.steps.iter().rposition(|step| step.action.needs_rootfs());
        let mut seen: Vec<Option<usize>> =
            self.stages.iter().map(|stage| last_run(stage).map(|number| number + 1)).collect();
        // A stage comes after the one that it is based on.
        for (number, stage) in self.stages.iter().enumerate().rev() {
            if let (StageBase::Stage(base), Some(_)) = (&stage.base, seen[number]) {
                seen[base.0] = Some(self.stages[base.0].steps.len());
            }
        }
        seen
    }

    /// Returns the places that RUNs count on, in the order of the plan.
    pub fn destinations_of_runs(&self) -> Vec<Destination> {
        let mut destinations = Vec::new();
        for (stage, seen) in self.stages.iter().zip(self.seen_by_runs()) {
            let Some(seen) = seen else { continue };
            destinations.extend(stage.steps.iter().take(seen).flat_map(of_step));
            destinations.extend(volumes(stage));
        }
        destinations.retain(|destination| destination.path != "/");
        destinations
    }
}

fn of_step(step: &Step) -> Vec<Destination> {
    let named = |path: &str, reach, keyword: &str| {
        let path = clean(path);
        Destination { what: format!("{keyword} {path}"), path, reach, span: step.span }
    };
    match &step.action {
        Action::Configure => Vec::new(),
        Action::Workdir(workdir) => vec![named(&workdir.path, Reach::Whole, "WORKDIR")],
        Action::Copy(copy) => {
            let keyword = step.text.split_ascii_whitespace().next().unwrap_or("COPY").to_ascii_uppercase();
            let destination = named(&copy.destination, Reach::Put, &format!("{keyword} to"));
            vec![destination]
        }
        Action::Run(run) => {
            let targets = run.mounts.iter().filter_map(|mount| mount.target.as_deref());
            let targets = targets.map(|target| named(target, Reach::Whole, "the mount at"));
            std::iter::once(named(&run.directory, Reach::Whole, "the working directory")).chain(targets).collect()
        }
    }
}

/// Returns the volumes of a stage's image, its base's among them: a RUN fills the place, since nothing that comes later
/// could.
fn volumes(stage: &Stage) -> Vec<Destination> {
    let span_of = |volume: &str| {
        let names = |step: &&Step| {
            let mut words = step.text.split_ascii_whitespace();
            words.next().is_some_and(|word| word.eq_ignore_ascii_case("VOLUME")) && step.text.contains(volume)
        };
        stage.steps.iter().find(names).map_or(stage.span, |step| step.span)
    };
    let volumes = stage.config.volumes.keys().filter(|volume| Path::new(volume).is_absolute());
    let destination = |volume: &String| {
        let (path, span) = (clean(volume), span_of(volume));
        Destination { what: format!("VOLUME {path}"), path, reach: Reach::Whole, span }
    };
    volumes.map(destination).collect()
}
