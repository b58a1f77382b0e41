//! Stages: from a base to an image, step by step; a root file system is made when the first step needs one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::causes;
use crate::context::Context;
use crate::image::{Image, Inventory, Layer};
use crate::isolation::Capacity;
use crate::oci::{History, ImageConfig, Platform};
use crate::outcome::StepDone;
use crate::output::Uploads;
use crate::plan::{Action, Bases, BuildPlan, Stage, StageBase, StageId, Step};
use crate::progress::{Event, Miss, Phase, StageEnd, StepId, StepResult};
use crate::request::{BuildRequest, Snapshots};

use crate::rootfs::Exclusions;

use super::again::Copied;
use super::attempt::Setting;
use super::cached::{self, Caching, StageCache};
use super::existing::BuildKey;
use super::finished::Finished;
use super::once::{Once, Turn};
use super::run::Live;
use super::schedule::Schedule;
use super::seals::Seals;
use super::witness::{Reader, Witness};
use super::{Error, Services, failed, layers, unpoisoned};

/// What BuildKit writes as the comment of each line of history.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// What all stages share.
pub(super) struct Shared<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) plan: &'a BuildPlan,
    pub(super) bases: &'a Bases,
    pub(super) context: &'a Context,
    pub(super) services: &'a Services,
    uploads: Mutex<&'a mut Uploads>,
    schedule: Schedule,
    /// The results of the stages that are done.
    finished: Vec<OnceLock<Finished>>,
    /// The stages whose layers are in the target's image.
    in_target: BTreeSet<StageId>,
    /// How many steps of each stage make files that a RUN sees.
    seen_by_runs: Vec<Option<usize>>,
    /// `--ignore-path`.
    pub(super) ignored: Exclusions,
    pub(super) caching: Caching,
    /// The key of the build, where its image is to be found by it.
    pub(super) asked: Option<&'a BuildKey>,
    pub(super) seals: Seals,
    pub(super) once: Once,
    /// Where a RUN that failed is kept, if it is.
    pub(super) failed: Option<&'a failed::Slot>,
}

/// A stage in progress.
pub(super) struct Progress {
    pub(super) id: StageId,
    pub(super) image: Image,
    /// Which files the image has; known from the first step on that depends on it.
    pub(super) files: Option<Inventory>,
    /// The image's files on disk, if a step needed them.
    pub(super) live: Option<Live>,
    pub(super) cached: StageCache,
    /// The steps that have copied, also those of the stages that it is based on.
    pub(super) copied: Vec<Copied>,
    /// How many steps are done.
    done: usize,
    /// How long the step that is being done has waited for the files of the base.
    pub(super) base_took: Duration,
    pub(super) steps: Vec<StepDone>,
}

/// Builds all stages of a plan, several at a time; returns the target's image, and what was done.
pub(super) fn build_stages(
    setting: &Setting<'_>,
    services: &Services,
    (uploads, failed): (&mut Uploads, &failed::Slot),
) -> Result<(Image, Vec<StepDone>), Error> {
    let Setting { request, plan, bases, context, .. } = *setting;
    let shared = Shared::new(request, plan, bases, context, services, uploads).asked(setting.build_key).keeping(failed);
    if services.isolation.holds() == Capacity::One {
        services.additions.fetch_all(plan, request, services)?;
        services.seal(request, bases)?;
    }
    let build = |id| {
        let result = shared.build_stage(id);
        shared.tell_end(id, result.as_ref().err());
        result
    };
    shared.schedule.run(&build, &|| services.cancel.abandon())?;
    shared.keep_trail(shared.finished.iter().filter_map(OnceLock::get).flat_map(|f| f.cached.trail.clone()).collect());
    let mut image = Image { config: ImageConfig::scratch(request.platform.clone()), layers: Vec::new() };
    let mut steps = Vec::new();
    for (number, finished) in shared.finished.into_iter().enumerate() {
        let Some(finished) = finished.into_inner() else { continue };
        steps.extend(finished.steps);
        if number == plan.target.0 {
            image = finished.image;
        }
    }
    Ok((image, steps))
}

/// Tells what came of a step that was done.
pub(super) fn made(layer: Option<&Layer>) -> StepResult {
    match layer {
        Some(layer) => StepResult::Layer { digest: layer.descriptor.digest.clone(), size: layer.descriptor.size },
        None => StepResult::NoLayer,
    }
}

/// Returns the target and the stages that it is based on.
fn target_chain(plan: &BuildPlan) -> BTreeSet<StageId> {
    let mut chain = BTreeSet::new();
    let mut next = Some(plan.target);
    while let Some(id) = next {
        chain.insert(id);
        next = match plan.stages[id.0].base {
            StageBase::Stage(base) => Some(base),
            StageBase::Scratch | StageBase::Image(_) => None,
        };
    }
    chain
}

impl<'a> Shared<'a> {
    /// Makes ready; nothing is built or fetched yet.
    pub(super) fn new(
        request: &'a BuildRequest,
        plan: &'a BuildPlan,
        bases: &'a Bases,
        context: &'a Context,
        services: &'a Services,
        uploads: &'a mut Uploads,
    ) -> Self {
        let jobs = match services.isolation.holds() {
            Capacity::One => 1,
            Capacity::Many => request.jobs,
        };
        Self {
            request,
            plan,
            bases,
            context,
            services,
            uploads: Mutex::new(uploads),
            schedule: Schedule::new(plan, jobs),
            finished: plan.stages.iter().map(|_| OnceLock::new()).collect(),
            in_target: target_chain(plan),
            seen_by_runs: plan.seen_by_runs(),
            ignored: Exclusions::new(&request.ignore_paths),
            caching: Caching::new(request, services),
            asked: None,
            seals: Seals::default(),
            once: Once::new(plan),
            failed: None,
        }
    }

    /// Keeps a RUN that fails, if that is asked for.
    fn keeping(self, failed: &'a failed::Slot) -> Self {
        Self { failed: self.request.on_failure.as_ref().map(|_| failed), ..self }
    }

    /// Compares what steps read with what the key of the build was made of.
    pub(super) fn asked(self, asked: Option<&'a BuildKey>) -> Self {
        Self { asked, ..self }
    }
}

impl Progress {
    /// Says who of the build reads a context now; `mount` is 0 for a step that copies.
    pub(super) fn reader(&self, mount: usize) -> Reader {
        Reader { stage: self.id.0, step: self.done, mount }
    }

    /// Returns how many steps are done.
    pub(super) fn steps_done(&self) -> usize {
        self.done
    }
}

impl Shared<'_> {
    /// Returns the result of a stage that another one needs.
    pub(super) fn finished(&self, id: StageId) -> &Finished {
        self.finished[id.0].get().expect("a step begins after the stages that it needs")
    }

    /// Returns which step is being done.
    pub(super) fn step_id(&self, progress: &Progress) -> StepId {
        self.plan.stages[progress.id.0].step_id(progress.done)
    }

    /// Says what a stage is based on: an image with the digest that its name has now.
    fn base_text(&self, base: &StageBase) -> String {
        match base {
            StageBase::Scratch => "scratch".to_owned(),
            StageBase::Image(key) => {
                let pinned = self.bases.get(key).and_then(|base| base.pinned.digest.as_ref());
                match pinned.filter(|_| key.reference.digest.is_none()) {
                    Some(digest) => format!("{}@{digest}", key.reference),
                    None => key.reference.to_string(),
                }
            }
            StageBase::Stage(id) => self.plan.stages[id.0].name.clone(),
        }
    }

    /// Tells whether a RUN will see the files that a stage has now, or that its current step makes.
    pub(super) fn is_seen_by_run(&self, progress: &Progress) -> bool {
        self.seen_by_runs[progress.id.0].is_some_and(|steps| progress.done < steps)
    }

    /// Takes a stage for done that was only looked at, for those that need it.
    pub(super) fn pretend(&self, progress: Progress) {
        let id = progress.id;
        let _first = self.finished[id.0].set(Finished::new(progress));
    }

    /// Builds a stage, and gives back what nobody needs any more.
    fn build_stage(&self, id: StageId) -> Result<(), Error> {
        let finished = self.build_steps(id)?;
        let only_one = self.services.isolation.holds() == Capacity::One;
        let next = self.plan.stages.get(id.0 + 1);
        if only_one
            && next.is_none_or(|next| next.base != StageBase::Stage(id))
            && let Some(live) = finished.take_live()
        {
            // The next stage needs the place.
            self.services.room(|isolation| isolation.discard(live.into_rootfs()))?;
        }
        let _first = self.finished[id.0].set(finished);
        for unneeded in self.schedule.release_inputs(id) {
            let finished = self.finished(unneeded);
            if let Some(live) = finished.take_live() {
                self.services.room(|isolation| isolation.discard(live.into_rootfs()))?;
            }
            unpoisoned(&finished.files).take();
        }
        Ok(())
    }

    /// Tells how a stage ended. What fails while the build is ending was only cut off.
    fn tell_end(&self, id: StageId, error: Option<&Error>) {
        let text = error.map(|error| causes::in_one_line(error)).unwrap_or_default();
        let end = match error {
            None => StageEnd::Done,
            Some(_) if self.services.cancel.is_cancelled() => StageEnd::CutOff,
            Some(_) => StageEnd::Failed(&text),
        };
        self.services.reporter.report(Event::StageEnded { stage: &self.plan.stages[id.0].name, end });
    }

    fn build_steps(&self, id: StageId) -> Result<Finished, Error> {
        let stage = &self.plan.stages[id.0];
        let base = self.base_text(&stage.base);
        self.services.reporter.report(Event::StageStarted {
            stage: &stage.name,
            base: &base,
            platform: &stage.platform,
        });
        let mut progress = self.begin(id, stage).map_err(|error| error.at(stage.span, None))?;
        self.upload(id, &progress.image.layers.clone());
        let beginning = match self.request.snapshots {
            Snapshots::EachStep => None,
            Snapshots::Single => Some(self.begin_single(&mut progress)?),
        };
        for (number, step) in stage.steps.iter().enumerate() {
            let step_id = stage.step_id(number);
            self.build_step(&mut progress, step, &step_id).map_err(|error| error.at(step.span, Some(&step_id)))?;
        }
        if self.request.materialize && id.0 + 1 == self.plan.stages.len() && progress.live.is_none() {
            progress.live = Some(self.unpack(&mut progress)?);
        }
        if let Some(beginning) = beginning {
            self.end_single(&mut progress, beginning)?;
            self.upload(id, &progress.image.layers.clone());
        }
        self.configure(stage, &mut progress.image);
        self.date(&mut progress, stage);
        Ok(Finished::new(progress))
    }

    /// Starts a stage from its base; a root file system of the base that nobody else needs is taken over.
    pub(super) fn begin(&self, id: StageId, stage: &Stage) -> Result<Progress, Error> {
        let (image, files, live, cached) = match &stage.base {
            StageBase::Scratch => {
                let image = Image { config: ImageConfig::scratch(stage.platform.clone()), layers: Vec::new() };
                (image, Some(Inventory::new()), None, StageCache::of_base(&[], stage))
            }
            StageBase::Image(key) => {
                let image = self.bases.get(key).map(|base| base.image.clone());
                let missing =
                    || Error::BadBase { reference: key.reference.to_string(), reason: "not resolved".to_owned() };
                let image = cached::without_inline(image.ok_or_else(missing)?);
                let cached = StageCache::of_base(&image.layers, stage);
                (image, None, None, cached)
            }
            StageBase::Stage(base) => {
                let last_use = self.schedule.has_one_user(*base) && !stage.reads(*base);
                // Where there is but one place, later readers have the layers.
                let takes_over = last_use || self.services.isolation.holds() == Capacity::One;
                let finished = self.finished(*base);
                let live = if takes_over { finished.take_live() } else { None };
                let files = unpoisoned(&finished.files).clone();
                let image = cached::without_inline(finished.image.clone());
                (image, files.map(Arc::unwrap_or_clone), live, StageCache::of_stage(finished))
            }
        };
        let copied = match &stage.base {
            StageBase::Stage(base) => self.finished(*base).copied.clone(),
            StageBase::Scratch | StageBase::Image(_) => Vec::new(),
        };
        Ok(Progress { id, image, files, live, cached, copied, done: 0, base_took: Duration::ZERO, steps: Vec::new() })
    }

    fn build_step(&self, progress: &mut Progress, step: &Step, id: &StepId) -> Result<(), Error> {
        if self.services.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        self.wait_for_inputs(progress, step, id)?;
        let (start, began) = (Instant::now(), Timestamp::now());
        self.services.reporter.report(Event::StepStarted { step: id, text: &step.text });
        let layers = progress.image.layers.len();
        let (result, miss) = match self.take_turn(progress, step, id)? {
            Turn::Alone => {
                let (_, result, miss) = self.find_or_do(progress, step, id)?;
                (result, miss)
            }
            Turn::Mine(state) => {
                let before = progress.cached.lengths();
                let (layer, result, miss) = self.find_or_do(progress, step, id)?;
                let cached = progress.cached.since(before);
                self.made_once(state, progress, (id, result.clone(), layer, cached));
                (result, miss)
            }
            Turn::Taken(result) => (result, None),
        };
        if matches!(step.action, Action::Copy(_)) && progress.image.layers.len() > layers {
            let layer = u32::try_from(layers).unwrap_or(u32::MAX);
            progress.copied.push(Copied { layer, stage: progress.id, step: progress.done });
        }
        progress.done += 1;
        // What the base took to come here is told by itself: the same step may be the second tomorrow.
        let elapsed = start.elapsed().saturating_sub(std::mem::take(&mut progress.base_took));
        self.services.reporter.report(Event::StepFinished { step: id, result: &result, elapsed });
        let (line, text) = (step.span.first_line, step.text.clone());
        progress.steps.push(StepDone { step: id.clone(), line, text, result, miss, began, elapsed });
        Ok(())
    }

    /// Waits for the stages that a step reads from. What it certainly needs of its own base comes here before.
    fn wait_for_inputs(&self, progress: &mut Progress, step: &Step, id: &StepId) -> Result<(), Error> {
        let inputs: BTreeSet<StageId> = step.action.stages().collect();
        if !self.schedule.lacks(&inputs) {
            return Ok(());
        }
        let names: Vec<&str> = inputs.iter().map(|input| &*self.plan.stages[input.0].name).collect();
        let text = format!("{id} waits for {}", names.join(", "));
        self.services.reporter.report(Event::Decided { about: "stage", text: &text });
        let is_looked_up = self.caching.is_on && !progress.cached.has_missed;
        if !is_looked_up && step.action.needs_files() {
            self.files(progress)?;
            progress.base_took = Duration::ZERO;
        }
        self.schedule.wait_for(progress.id, &inputs, &|| self.services.cancel.is_cancelled())
    }

    /// Takes a step's result from the cache, or does it.
    fn find_or_do(
        &self,
        progress: &mut Progress,
        step: &Step,
        id: &StepId,
    ) -> Result<(Option<Layer>, StepResult, Option<Miss>), Error> {
        let mut sought = self.seek(progress, step, id)?;
        let witness = sought.as_ref().map(|sought| &sought.witness).or(self.asked.map(|asked| &asked.witness));
        let (layer, result) = match sought.as_ref().and_then(cached::Sought::hit) {
            Some(hit) => {
                let result = self.reuse(progress, step, &hit)?;
                (hit.layer, result)
            }
            None => self.do_step(progress, step, id, witness)?,
        };
        let miss = sought.as_mut().and_then(|sought| sought.miss.take());
        self.settle(progress, step, id, sought, layer.as_ref());
        Ok((layer, result, miss))
    }

    fn do_step(
        &self,
        progress: &mut Progress,
        step: &Step,
        id: &StepId,
        witness: Option<&Witness>,
    ) -> Result<(Option<Layer>, StepResult), Error> {
        self.services.reporter.report(Event::Working { step: id });
        let (layer, created) = match &step.action {
            Action::Configure => (None, self.history_time()),
            Action::Workdir(workdir) => (self.workdir(progress, workdir)?, Some(rfc3339(self.request.created))),
            Action::Copy(copy) => (self.copy(progress, copy, witness)?, Some(rfc3339(self.request.created))),
            Action::Run(run) => (self.run(progress, run, id, witness)?, Some(rfc3339(self.request.created))),
        };
        let result = match step.action {
            Action::Configure => StepResult::Configured,
            _ => made(layer.as_ref()),
        };
        self.record(progress, step, layer.clone(), created);
        Ok((layer, result))
    }

    /// Puts a step into the image's history, with its layer if it made one, and starts to upload that.
    pub(super) fn record(
        &self,
        progress: &mut Progress,
        step: &Step,
        layer: Option<Layer>,
        created: impl Into<Option<String>>,
    ) {
        let Some(created_by) = &step.created_by else { return };
        let history = History {
            created: created.into(),
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

    /// Tells whether a stage's layers are in the target's image.
    pub(super) fn is_in_target(&self, id: StageId) -> bool {
        self.in_target.contains(&id)
    }

    fn upload(&self, id: StageId, layers: &[Layer]) {
        if self.is_in_target(id) {
            let mut uploads = unpoisoned(&self.uploads);
            for layer in layers {
                uploads.layer(layer);
            }
        }
    }

    /// Gives the image the configuration that the plan decided.
    fn configure(&self, stage: &Stage, image: &mut Image) {
        image.config.config = stage.config.clone();
        image.config.author.clone_from(&stage.author);
        image.config.created = Some(rfc3339(self.request.created));
        let asked = self.request.platform_is_asked.then_some(&self.request.platform);
        image.config.platform = Platform::of_image(&image.config.platform, asked);
    }

    /// Returns the files of the image. Where nothing has asked for them before, its layers are read: into a root
    /// file system if a step that is still to come needs one anyway, so that each is read once, else for their headers
    /// only.
    pub(super) fn files<'p>(&self, progress: &'p mut Progress) -> Result<&'p mut Inventory, Error> {
        let mut left = self.plan.stages[progress.id.0].steps.iter().skip(progress.done);
        let needs_rootfs = left.any(|step| step.action.needs_rootfs());
        if progress.files.is_none() && needs_rootfs && progress.live.is_none() {
            progress.live = Some(self.unpack(progress)?);
        }
        if progress.files.is_none() {
            let (layers, start) = (&progress.image.layers, Instant::now());
            progress.files = Some(self.services.timed(Phase::Index, |services| layers::inventory(services, layers))?);
            progress.base_took += start.elapsed();
        }
        Ok(progress.files.get_or_insert_with(Inventory::new))
    }
}

/// Writes a moment as the specification asks: RFC 3339, in UTC.
pub(super) fn rfc3339(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(moment) => moment.to_string(),
        Err(_) => "1970-01-01T00:00:00Z".to_owned(),
    }
}
