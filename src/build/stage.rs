//! Stages: from a base to an image, step by step; a root file system is made when the first step needs one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::image::{Image, Inventory, Layer};
use crate::isolation::Capacity;
use crate::oci::{History, ImageConfig};
use crate::outcome::StepDone;
use crate::output::Uploads;
use crate::plan::{Action, Bases, BuildPlan, CopyFrom, Stage, StageBase, StageId, Step};
use crate::progress::{Event, Phase, StepId, StepResult};
use crate::request::{BuildRequest, Snapshots};

use crate::rootfs::Exclusions;

use super::run::Live;
use super::{Error, Services, layers};

/// What BuildKit writes as the comment of each line of history.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// What all stages share.
pub(super) struct Shared<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) plan: &'a BuildPlan,
    pub(super) bases: &'a Bases,
    pub(super) context: &'a Context,
    pub(super) services: &'a mut Services,
    uploads: &'a mut Uploads,
    /// The results of the stages before this one.
    pub(super) finished: Vec<Finished>,
    /// The stages whose layers are in the target's image.
    in_target: BTreeSet<StageId>,
    /// `--ignore-path`.
    pub(super) ignored: Exclusions,
    steps: Vec<StepDone>,
}

/// A stage that is done.
pub(super) struct Finished {
    pub(super) image: Image,
    /// Which files it has, if that was needed.
    pub(super) files: Option<Inventory>,
    /// Its root file system, while a later stage can still use it.
    pub(super) live: Option<Live>,
}

/// A stage in progress.
pub(super) struct Progress {
    pub(super) id: StageId,
    pub(super) image: Image,
    /// Which files the image has; known from the first step on that depends on it.
    pub(super) files: Option<Inventory>,
    /// The image's files on disk, if a step needed them.
    pub(super) live: Option<Live>,
}

/// Builds all stages of a plan; returns the last one's image, and what was done.
pub(super) fn build_stages(
    request: &BuildRequest,
    plan: &BuildPlan,
    bases: &Bases,
    context: &Context,
    services: &mut Services,
    uploads: &mut Uploads,
) -> Result<(Image, Vec<StepDone>), Error> {
    let in_target = target_chain(plan);
    let mut shared = Shared {
        request,
        plan,
        bases,
        context,
        services,
        uploads,
        finished: Vec::new(),
        in_target,
        ignored: Exclusions::new(&request.ignore_paths),
        steps: Vec::new(),
    };
    for number in 0..plan.stages.len() {
        let finished = shared.build_stage(StageId(number))?;
        shared.finished.push(finished);
        shared.discard_unneeded(StageId(number))?;
    }
    let Shared { mut finished, steps, .. } = shared;
    match finished.pop() {
        Some(target) => Ok((target.image, steps)),
        None => Ok((Image { config: ImageConfig::scratch(request.platform.clone()), layers: Vec::new() }, steps)),
    }
}

/// Returns the target and the stages that it is based on.
fn target_chain(plan: &BuildPlan) -> BTreeSet<StageId> {
    let mut chain = BTreeSet::new();
    let mut next = plan.stages.len().checked_sub(1).map(StageId);
    while let Some(id) = next {
        chain.insert(id);
        next = match plan.stages[id.0].base {
            StageBase::Stage(base) => Some(base),
            StageBase::Scratch | StageBase::Image(_) => None,
        };
    }
    chain
}

/// Tells whether a stage after `user` is based on `id` or copies from it.
fn is_used_after(plan: &BuildPlan, id: StageId, user: StageId) -> bool {
    plan.stages[user.0 + 1..].iter().any(|stage| stage.base == StageBase::Stage(id) || copies_from(stage, id))
}

impl Shared<'_> {
    fn build_stage(&mut self, id: StageId) -> Result<Finished, Error> {
        let stage = &self.plan.stages[id.0];
        let base = base_text(&stage.base, self.plan);
        self.services.reporter.report(Event::StageStarted { stage: &stage.name, base: &base });
        let mut progress = self.begin(id, stage).map_err(|error| error.at(stage.span, None))?;
        self.upload(id, &progress.image.layers.clone());
        let beginning = match self.request.snapshots {
            Snapshots::EachStep => None,
            Snapshots::Single => Some(self.begin_single(&mut progress)?),
        };
        for (number, step) in stage.steps.iter().enumerate() {
            let step_id = StepId { stage: stage.name.clone(), number: number + 1, total: stage.steps.len() };
            self.build_step(&mut progress, step, &step_id).map_err(|error| error.at(step.span, Some(&step_id)))?;
        }
        if let Some(beginning) = beginning {
            self.end_single(&mut progress, beginning)?;
            self.upload(id, &progress.image.layers.clone());
        }
        self.configure(stage, &mut progress.image);
        Ok(Finished { image: progress.image, files: progress.files, live: progress.live })
    }

    /// Starts a stage from its base; a root file system of the base that nobody else needs is taken over.
    fn begin(&mut self, id: StageId, stage: &Stage) -> Result<Progress, Error> {
        let (image, files, live) = match &stage.base {
            StageBase::Scratch => {
                let image = Image { config: ImageConfig::scratch(stage.platform.clone()), layers: Vec::new() };
                (image, Some(Inventory::new()), None)
            }
            StageBase::Image(key) => {
                let image = self.bases.get(key).map(|base| base.image.clone());
                let missing =
                    || Error::BadBase { reference: key.reference.to_string(), reason: "not resolved".to_owned() };
                (image.ok_or_else(missing)?, None, None)
            }
            StageBase::Stage(base) => {
                let last_use = !is_used_after(self.plan, *base, id) && !copies_from(stage, *base);
                let finished = &mut self.finished[base.0];
                let live = if last_use { finished.live.take() } else { None };
                let files = if last_use { finished.files.take() } else { finished.files.clone() };
                (finished.image.clone(), files, live)
            }
        };
        Ok(Progress { id, image, files, live })
    }

    fn build_step(&mut self, progress: &mut Progress, step: &Step, id: &StepId) -> Result<(), Error> {
        if self.services.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let start = Instant::now();
        self.services.reporter.report(Event::StepStarted { step: id, text: &step.text });
        let layer = match &step.action {
            Action::Configure => None,
            Action::Workdir(workdir) => self.workdir(progress, workdir)?,
            Action::Copy(copy) => self.copy(progress, copy)?,
            Action::Run(run) => self.run(progress, run, id)?,
        };
        let result = match &layer {
            Some(layer) => StepResult::Layer { digest: layer.descriptor.digest.clone(), size: layer.descriptor.size },
            None => StepResult::NoLayer,
        };
        self.record(progress, step, layer);
        self.finish_step(step, id, result, start.elapsed());
        Ok(())
    }

    fn finish_step(&mut self, step: &Step, id: &StepId, result: StepResult, elapsed: Duration) {
        self.services.reporter.report(Event::StepFinished { step: id, result: &result, elapsed });
        let (line, text) = (step.span.first_line, step.text.clone());
        self.steps.push(StepDone { step: id.clone(), line, text, result, elapsed });
    }

    /// Puts a step into the image's history, with its layer if it made one, and starts to upload that.
    fn record(&mut self, progress: &mut Progress, step: &Step, layer: Option<Layer>) {
        let Some(created_by) = &step.created_by else { return };
        let history = History {
            created: Some(rfc3339(self.request.created)),
            created_by: Some(created_by.clone()),
            comment: Some(HISTORY_COMMENT.to_owned()),
            ..History::default()
        };
        let image = std::mem::replace(
            &mut progress.image,
            Image { config: ImageConfig::scratch(self.request.platform.clone()), layers: Vec::new() },
        );
        progress.image = match layer {
            Some(layer) => {
                if self.request.snapshots == Snapshots::EachStep {
                    self.upload(progress.id, std::slice::from_ref(&layer));
                }
                image.with_layer(layer, history)
            }
            None => image.with_history(history),
        };
    }

    fn upload(&mut self, id: StageId, layers: &[Layer]) {
        if self.in_target.contains(&id) {
            for layer in layers {
                self.uploads.layer(layer);
            }
        }
    }

    /// Gives the image the configuration that the plan decided.
    fn configure(&self, stage: &Stage, image: &mut Image) {
        image.config.config = stage.config.clone();
        image.config.author.clone_from(&stage.author);
        image.config.created = Some(rfc3339(self.request.created));
        image.config.platform = stage.platform.clone();
    }

    /// Returns the files of the image. Where nothing has asked for them before, its layers are read: into a root
    /// file system if a step of the stage needs one anyway, so that each is read once, else for their headers only.
    pub(super) fn files<'p>(&mut self, progress: &'p mut Progress) -> Result<&'p mut Inventory, Error> {
        let needs_rootfs = self.plan.stages[progress.id.0].steps.iter().any(|step| step.action.needs_rootfs());
        if progress.files.is_none() && needs_rootfs && progress.live.is_none() {
            progress.live = Some(self.unpack(progress)?);
        }
        if progress.files.is_none() {
            let layers = &progress.image.layers;
            progress.files = Some(self.services.timed(Phase::Index, |services| layers::inventory(services, layers))?);
        }
        Ok(progress.files.get_or_insert_with(Inventory::new))
    }

    /// Gives back the root file systems that no later stage can use.
    fn discard_unneeded(&mut self, done: StageId) -> Result<(), Error> {
        let only_one = self.services.isolation.holds() == Capacity::One;
        for number in 0..=done.0 {
            let id = StageId(number);
            let next_is_based_on_it =
                self.plan.stages.get(done.0 + 1).is_some_and(|next| next.base == StageBase::Stage(id));
            let used = is_used_after(self.plan, id, done) && (!only_one || next_is_based_on_it);
            let finished = &mut self.finished[number];
            if !used && let Some(live) = finished.live.take() {
                self.services.isolation.discard(live.into_rootfs())?;
            }
            if !is_used_after(self.plan, id, done) {
                finished.files = None;
            }
        }
        Ok(())
    }
}

fn copies_from(stage: &Stage, id: StageId) -> bool {
    stage.steps.iter().any(|step| step.action.sources().contains(&&CopyFrom::Stage(id)))
}

fn base_text(base: &StageBase, plan: &BuildPlan) -> String {
    match base {
        StageBase::Scratch => "scratch".to_owned(),
        StageBase::Image(key) => key.reference.to_string(),
        StageBase::Stage(id) => plan.stages[id.0].name.clone(),
    }
}

/// Writes a moment as the specification asks: RFC 3339, in UTC.
fn rfc3339(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(moment) => moment.to_string(),
        Err(_) => "1970-01-01T00:00:00Z".to_owned(),
    }
}
