//! What the cache has for a plan: each step's key, and whether its result would be found.
//!
//! Goes through the steps as a build does, but does none of them. *Invariant: a key that is told is the one that a build
//! looks for, if nothing changes meanwhile; where that depends on what a step makes, the step is named instead.*

use crate::cache::{CacheKey, Found, Lend};
use crate::context::Context;
use crate::oci::Digest;
use crate::plan::{Action, Bases, BuildPlan, CopyFrom, Stage, StageBase, StageId, Step};
use crate::progress::{Miss, StepId};
use crate::request::BuildRequest;

use super::keys::is_apart;
use super::stage::{Progress, Shared};
use super::{Error, Services};

/// What is to be expected of the cache for a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The step's key; none where it cannot be known yet.
    pub key: Option<CacheKey>,
    /// Whether its result would be found.
    pub expected: Expected,
}

/// Whether a step's result would be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is there.
    Hit {
        /// When it was made, in seconds since 1970.
        made: i64,
        /// Its layer, and the layer's size in bytes; none where it made none.
        layer: Option<(Digest, u64)>,
    },
    /// It is not there.
    Miss(Miss),
    /// That cannot be known before this: `[app 1/2] is done`.
    Unknown {
        /// Before what.
        until: String,
    },
    /// The flags say that it is not looked for.
    Never,
}

/// Tells for each step of each stage what the cache has; none for those that have no result of their own, and no stage
/// where there is no cache.
pub(super) fn forecast(
    request: &BuildRequest,
    plan: &BuildPlan,
    bases: &Bases,
    context: &Context,
    services: &Services,
) -> Result<Vec<Vec<Option<Forecast>>>, Error> {
    let mut nowhere = services.uploads(Vec::new());
    let shared = Shared::new(request, plan, bases, context, services, &mut nowhere);
    if !shared.caching.is_on {
        return Ok(Vec::new());
    }
    let mut walk = Walk { shared, unknown: Vec::new(), missed: Vec::new() };
    plan.stages.iter().enumerate().map(|(number, stage)| walk.stage(StageId(number), stage)).collect()
}

struct Walk<'a> {
    shared: Shared<'a>,
    /// For each stage that was gone through, what must be before the files of it are known.
    unknown: Vec<Option<String>>,
    /// And the first step of it that is to be done.
    missed: Vec<Option<String>>,
}

impl Walk<'_> {
    fn stage(&mut self, id: StageId, stage: &Stage) -> Result<Vec<Option<Forecast>>, Error> {
        let mut progress = self.shared.begin(id, stage).map_err(|error| error.at(stage.span, None))?;
        let mut unknown = match &stage.base {
            StageBase::Scratch => None,
            StageBase::Image(key) => self.image(key),
            StageBase::Stage(base) => self.unknown[base.0].clone(),
        };
        let mut missed = match &stage.base {
            StageBase::Stage(base) => self.missed[base.0].clone(),
            StageBase::Scratch | StageBase::Image(_) => None,
        };
        let mut forecasts = Vec::new();
        for (number, step) in stage.steps.iter().enumerate() {
            if self.shared.services.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let step_id = stage.step_id(number);
            let forecast = self.step(&mut progress, step, &step_id, &mut unknown);
            let is_done = forecast.as_ref().is_some_and(|forecast| !matches!(forecast.expected, Expected::Hit { .. }));
            if is_done && missed.is_none() {
                missed = Some(done(&step_id));
            }
            forecasts.push(forecast);
        }
        self.unknown.push(unknown);
        self.missed.push(missed);
        self.shared.pretend(progress);
        Ok(forecasts)
    }

    /// Looks for a step's result. `unknown` says what must be before the files in front of it are known, and then what
    /// must be before those behind it are.
    fn step(
        &self,
        progress: &mut Progress,
        step: &Step,
        id: &StepId,
        unknown: &mut Option<String>,
    ) -> Option<Forecast> {
        let steps = self.shared.request.cache.steps;
        let (is_kept, is_apart) = match &step.action {
            Action::Configure => return None,
            Action::Run(_) | Action::Workdir(_) => (steps.runs, false),
            Action::Copy(copy) => (steps.copies, is_apart(copy)),
        };
        let before = unknown.clone().filter(|_| !is_apart).or_else(|| self.input(step));
        if let Some(until) = before {
            unknown.get_or_insert_with(|| done(id));
            return Some(Forecast { key: None, expected: Expected::Unknown { until } });
        }
        let parts = match self.shared.inputs(progress, step, None) {
            Ok(inputs) => self.shared.parts(progress, step, &inputs),
            Err(error) => {
                unknown.get_or_insert_with(|| done(id));
                let until = format!("what it reads is there: {error}");
                return Some(Forecast { key: None, expected: Expected::Unknown { until } });
            }
        };
        let key = parts.key();
        let services = self.shared.services;
        let found = if is_kept { services.cache.step(&key, &services.store, Lend::Look) } else { Found::Nothing };
        let because = |because: &str, since| Expected::Miss(Miss { because: because.to_owned(), since });
        let expected = match found {
            Found::Hit(hit) => {
                progress.cached.advance(&hit.entry.effect);
                let layer = hit.layer.map(|layer| (layer.descriptor.digest, layer.descriptor.size));
                let expected = Expected::Hit { made: hit.entry.made, layer };
                return Some(Forecast { key: Some(key), expected });
            }
            Found::Nothing if !is_kept => Expected::Never,
            Found::Nothing => match self.contents(step) {
                // What it copies may be the same in the end.
                Some(until) => {
                    unknown.get_or_insert_with(|| done(id));
                    return Some(Forecast { key: Some(key), expected: Expected::Unknown { until } });
                }
                None => Expected::Miss(self.shared.explain(step, id, &parts)?),
            },
            Found::Expired { made } => because("its result is older than --cache-ttl", Some(made)),
            Found::Refused { reason } => because(&format!("its result is refused: {reason}"), None),
        };
        match &step.action {
            Action::Copy(_) | Action::Workdir(_) => progress.cached.advance(&key),
            Action::Run(_) | Action::Configure => {
                unknown.get_or_insert_with(|| done(id));
            }
        }
        Some(Forecast { key: Some(key), expected })
    }

    /// Returns what must be before what a step reads from other stages and images is known.
    fn input(&self, step: &Step) -> Option<String> {
        let of = |from: &CopyFrom| match from {
            CopyFrom::Stage(id) => self.unknown[id.0].clone(),
            CopyFrom::Image(key) => self.image(key),
            CopyFrom::Context | CopyFrom::Named(_) => None,
        };
        step.action.sources().into_iter().find_map(of)
    }

    /// Returns the step that must be done before the contents are known that a step reads from stages.
    fn contents(&self, step: &Step) -> Option<String> {
        step.action.sources().into_iter().find_map(|from| self.missed[from.stage()?.0].clone())
    }

    fn image(&self, key: &crate::plan::BaseKey) -> Option<String> {
        let known = self.shared.bases.get(key).is_some_and(crate::plan::Base::is_known);
        let anew = self.shared.request.form.recompress && self.is_target_base(key);
        match (known, anew) {
            (true, false) => None,
            (true, true) => Some(format!("the layers of {} are compressed anew", key.reference)),
            (false, _) => Some(format!("the image {} is known", key.reference)),
        }
    }

    fn is_target_base(&self, key: &crate::plan::BaseKey) -> bool {
        super::origin::target_base(self.shared.plan, self.shared.bases).is_some_and(|(base, _)| base == *key)
    }
}

fn done(id: &StepId) -> String {
    format!("{id} is done")
}
