//! Steps and the cache: what is looked for before a step is done, what is kept after it, and why something was missing.
//!
//! A step's key has three kinds of parts: what stands for the files before it (the *state*), what the plan says of it,
//! and the digests of what it reads. The state after a COPY or WORKDIR is its key, since that decides what it makes; the
//! state after a RUN is the layer that it made, since the next time it may make another one.
//!
//! *Invariant: no layer is put on top of another one than that which it was made on, but for times of files.*

use std::sync::atomic::Ordering;

use crate::cache::key::{Part, Parts};
use crate::cache::{CacheKey, Entry, Found, Hit, INLINE_FIELD, InlineStep, Lend, Trail, TrailStep, key::Frames};
use crate::http::redact_within;
use crate::image::{Image, Layer};
use crate::plan::{Action, Stage, StageBase, Step};
use crate::progress::{Event, Miss, StepId, StepResult};
use crate::request::{BuildRequest, Snapshots};

use super::Error;
use super::finished::Finished;
use super::keys::{self, Settings};
use super::stage::{Progress, Shared, rfc3339};
use super::witness::Witness;

/// What is known of a stage for the cache.
#[derive(Clone, Debug)]
pub(super) struct StageCache {
    /// What stands for the files that the image has.
    pub(super) state: CacheKey,
    /// What the state came from, for messages.
    origin: &'static str,
    /// Whether a step had to be done.
    pub(super) has_missed: bool,
    /// The steps whose layers the image has.
    pub(super) inline: Vec<InlineStep>,
    /// What the steps depended on.
    pub(super) trail: Vec<TrailStep>,
}

/// A step that was looked for.
pub(super) struct Sought {
    parts: Parts,
    /// What it reads from elsewhere, which is among the parts.
    inputs: Vec<Option<Part>>,
    /// What was seen of contexts for them.
    pub(super) witness: Witness,
    key: CacheKey,
    /// Another key that the next build looks for first, where there is one.
    alias: Option<CacheKey>,
    /// Whether its result is kept and found again.
    is_kept: bool,
    hit: Option<Box<Hit>>,
    pub(super) miss: Option<Miss>,
}

/// What the cache needs to know of a build as a whole.
pub(super) struct Caching {
    pub(super) settings: Settings,
    pub(super) is_on: bool,
    /// Whether a destination gets the target's layers anyway.
    is_pushed: bool,
    /// Names the trail of this build.
    trail_key: CacheKey,
    trail: std::sync::OnceLock<Option<Trail>>,
}

impl Caching {
    pub(super) fn new(request: &BuildRequest, services: &super::Services) -> Self {
        let settings = Settings::new(request, services.fidelity);
        // One layer for all steps belongs to none of them.
        let is_on = (services.cache.is_on() || request.cache.inline) && request.snapshots == Snapshots::EachStep;
        let is_pushed = !crate::output::registries(&request.outputs).is_empty();
        Self { settings, is_on, is_pushed, trail_key: trail_key(request), trail: std::sync::OnceLock::new() }
    }
}

/// Names a build among those that share a cache: so that it is compared with its own past.
fn trail_key(request: &BuildRequest) -> CacheKey {
    let names = crate::output::registries(&request.outputs);
    let names = names.first().map(crate::oci::Reference::name);
    Frames::new("trail")
        .option(names)
        .with(format!("{:?}", request.dockerfile))
        .option(request.target.as_ref())
        .with(request.platform.to_string())
        .key()
}

impl StageCache {
    /// Starts with a base that is no stage.
    pub(super) fn of_base(layers: &[Layer], stage: &Stage) -> Self {
        let state = keys::base_state(layers, &stage.platform);
        Self { state, origin: "the base image", has_missed: false, inline: Vec::new(), trail: Vec::new() }
    }

    /// Starts with a stage.
    pub(super) fn of_stage(finished: &Finished) -> Self {
        Self { origin: "the stage it is based on", trail: Vec::new(), ..finished.cached.clone() }
    }

    /// Returns what a step has changed; `before` is what [`Self::lengths`] said before it.
    pub(super) fn since(&self, before: (usize, usize)) -> Self {
        let (inline, trail) = (self.inline[before.0..].to_vec(), self.trail[before.1..].to_vec());
        Self { state: self.state.clone(), origin: self.origin, has_missed: self.has_missed, inline, trail }
    }

    /// Returns how many steps are known.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.inline.len(), self.trail.len())
    }

    /// Goes on after a step that another stage did from the same state, and which changed this there; `id` is what it is
    /// called here.
    pub(super) fn follow(&mut self, change: Self, id: &StepId) {
        let Self { state, origin, has_missed, inline, trail } = change;
        (self.state, self.origin, self.has_missed) = (state, origin, has_missed);
        self.inline.extend(inline);
        let here = |step| TrailStep { stage: id.stage.clone(), number: id.number, ..step };
        self.trail.extend(trail.into_iter().map(here));
    }

    pub(super) fn advance(&mut self, effect: &CacheKey) {
        self.state = keys::state_after(&self.state, effect);
        self.origin = "an earlier step";
    }
}

impl Shared<'_> {
    /// Looks for a step's result; none where the cache is off, or the step has none of its own.
    pub(super) fn seek(&self, progress: &Progress, step: &Step, id: &StepId) -> Result<Option<Sought>, Error> {
        if !self.caching.is_on {
            return Ok(None);
        }
        let steps = self.request.cache.steps;
        let is_kept = match &step.action {
            Action::Configure => return Ok(None),
            Action::Run(_) | Action::Workdir(_) => steps.runs,
            Action::Copy(_) => steps.copies,
        };
        // What cannot be read is the step's own failure, when it is done.
        let witness = Witness::default();
        let Ok(inputs) = self.inputs(progress, step, Some(&witness)) else { return Ok(None) };
        let parts = self.parts(progress, step, &inputs);
        self.is_as_asked(&witness);
        let (key, alias) = (parts.key(), None);
        let text = format!("{id} has the key {}, of {parts}", &key.hex()[..12]);
        self.services.reporter.report(Event::Decided { about: "cache", text: &text });
        let mut sought = Sought { parts, inputs, witness, key, alias, is_kept, hit: None, miss: None };
        if is_kept {
            self.look_up(progress, step, id, &mut sought);
            if let Some(miss) = &sought.miss {
                self.services.reporter.report(Event::Missed { step: id, miss });
            }
        }
        Ok(Some(sought))
    }

    fn look_up(&self, progress: &Progress, step: &Step, id: &StepId, sought: &mut Sought) {
        let found = self.services.cache.step(&sought.key, &self.services.store, Lend::Lazily);
        let found = match (found, &step.action) {
            (Found::Hit(hit), _) => Found::Hit(hit),
            (other, Action::Copy(_) | Action::Run(_)) => self.look_up_contents(progress, step, sought).unwrap_or(other),
            (other, Action::Configure | Action::Workdir(_)) => other,
        };
        let miss = |because: String, since| Some(Miss { because, since });
        sought.miss = match found {
            Found::Hit(hit) => {
                let made_now = hit.made_now;
                sought.hit = Some(hit);
                if made_now { miss("this build made it, before it began again".to_owned(), None) } else { None }
            }
            Found::Expired { made } => miss("its result is older than --cache-ttl".to_owned(), Some(made)),
            Found::Refused { reason } => miss(format!("its result was refused: {reason}"), None),
            Found::Nothing => self.explain(step, id, &sought.parts),
        };
    }

    /// Looks for what reads from stages by the contents that it copies or mounts: a stage may have been done again, with
    /// the same files in the end. From now on these are what counts.
    fn look_up_contents(&self, progress: &Progress, step: &Step, sought: &mut Sought) -> Option<Found> {
        if !step.action.stages().any(|id| self.finished(id).cached.has_missed) {
            return None;
        }
        self.inputs_by_contents(progress, step, &mut sought.inputs).ok()?;
        sought.parts = self.parts(progress, step, &sought.inputs);
        let first = std::mem::replace(&mut sought.key, sought.parts.key());
        let found = self.services.cache.step(&sought.key, &self.services.store, Lend::Lazily);
        match &found {
            // The next build finds it without reading the files.
            Found::Hit(hit) => {
                let entry = Entry { key: first, by_contents: Some(sought.key.clone()), ..hit.entry.clone() };
                self.services.cache.keep_step(&entry, hit.layer.as_ref(), &self.services.store, false);
            }
            Found::Nothing | Found::Expired { .. } | Found::Refused { .. } => sought.alias = Some(first),
        }
        Some(found)
    }

    pub(super) fn explain(&self, step: &Step, id: &StepId, parts: &Parts) -> Option<Miss> {
        let trail = self.caching.trail.get_or_init(|| self.services.cache.trail(&self.caching.trail_key));
        let Some(known) = trail.as_ref().and_then(|trail| trail.find(&id.stage, id.number, &shown(step))) else {
            let because = if trail.is_some() { "the step is new" } else { Miss::NOTHING_KNOWN };
            return Some(Miss { because: because.to_owned(), since: None });
        };
        let now = self.trail_step(step, id, parts, self.services.cache.now());
        let because = known.difference(&now).unwrap_or_else(|| "its result is no longer there".to_owned());
        Some(Miss { because, since: Some(known.made) })
    }

    /// Returns what is kept of a step in a trail.
    fn trail_step(&self, step: &Step, id: &StepId, parts: &Parts, made: i64) -> TrailStep {
        let (stage, number, text) = (id.stage.clone(), id.number, shown(step));
        TrailStep { stage, number, text, made, key: Some(parts.key()), parts: self.services.cache.trace(parts) }
    }

    fn start(&self, progress: &Progress, kind: &'static str, apart: bool) -> Parts {
        let before = (!apart).then_some((progress.cached.origin, &progress.cached.state));
        keys::start(kind, &self.plan.stages[progress.id.0].platform, before)
    }

    /// Returns the parts of a step's key; `inputs` is what it reads from elsewhere.
    pub(super) fn parts(&self, progress: &Progress, step: &Step, inputs: &[Option<Part>]) -> Parts {
        let settings = &self.caching.settings;
        match &step.action {
            Action::Configure => Parts::new("configure"),
            Action::Workdir(workdir) => keys::workdir(self.start(progress, "workdir", false), workdir, settings),
            Action::Run(run) => keys::run(self.start(progress, "run", false), run, inputs, settings),
            Action::Copy(copy) => {
                keys::copy(self.start(progress, "copy", keys::is_apart(copy)), copy, inputs, settings)
            }
        }
    }

    /// Takes a result that was found.
    pub(super) fn reuse(&self, progress: &mut Progress, step: &Step, hit: &Hit) -> Result<StepResult, Error> {
        self.adopt(progress, hit.layer.as_ref())?;
        self.record(progress, step, hit.layer.clone(), hit.entry.created.clone());
        Ok(match &hit.layer {
            layer if hit.made_now => super::stage::made(layer.as_ref()),
            Some(layer) => StepResult::Cached { digest: layer.descriptor.digest.clone(), size: layer.descriptor.size },
            None => StepResult::CachedNoLayer,
        })
    }

    /// Takes a layer that this stage has not made: as part of what is on disk and what is known already.
    pub(super) fn adopt(&self, progress: &mut Progress, layer: Option<&Layer>) -> Result<(), Error> {
        let is_seen = self.is_seen_by_run(progress);
        if let Some(layer) = layer {
            match (&mut progress.live, &mut progress.files) {
                (Some(live), files) => {
                    let inventory = live.unpack(self.services, layer, is_seen)?;
                    let number = u32::try_from(progress.image.layers.len()).unwrap_or(u32::MAX);
                    files.as_mut().map_or(Ok(()), |files| files.apply(number, &inventory))?;
                }
                // What it holds is read when a step must know it.
                (None, files) => *files = None,
            }
        }
        Ok(())
    }

    /// Keeps a result, found or made, and takes note of it for the steps that follow.
    pub(super) fn settle(
        &self,
        progress: &mut Progress,
        step: &Step,
        id: &StepId,
        sought: Option<Sought>,
        layer: Option<&Layer>,
    ) {
        if !self.caching.is_on || matches!(step.action, Action::Configure) {
            return;
        }
        let made = keys::made(layer.map(|layer| &layer.descriptor.digest));
        let Some(sought) = sought else {
            progress.cached.has_missed = true;
            return progress.cached.advance(&made);
        };
        let is_true = sought.witness.holds();
        if !is_true {
            self.is_not_as_seen(step);
        }
        let is_kept = sought.is_kept && is_true;
        let hit = sought.hit.unwrap_or_else(|| {
            progress.cached.has_missed = true;
            let effect = match &step.action {
                Action::Copy(_) | Action::Workdir(_) if is_true => sought.key.clone(),
                // The key says nothing of what was made.
                Action::Copy(_) | Action::Workdir(_) | Action::Run(_) | Action::Configure => made,
            };
            let (diff_id, text) = (layer.map(|layer| layer.diff_id.clone()), shown(step));
            let (key, now, created) = (sought.key, self.services.cache.now(), rfc3339(self.request.created));
            let entry = Entry { key, effect, made: now, created, diff_id, text, by_contents: None };
            if is_kept {
                let later = self.is_in_target(progress.id) && self.caching.is_pushed;
                let by_contents = Some(entry.key.clone());
                let alias = sought.alias.map(|key| Entry { key, by_contents, ..entry.clone() });
                for entry in [&entry].into_iter().chain(&alias) {
                    self.services.cache.keep_step(entry, layer, &self.services.store, later);
                }
            }
            Box::new(Hit { entry, layer: layer.cloned(), made_now: true })
        });
        let traced = self.trail_step(step, id, &sought.parts, hit.entry.made);
        // What is not kept has no name in the cache, and the trail gives it none.
        progress.cached.trail.push(TrailStep { key: traced.key.filter(|_| is_kept), ..traced });
        if is_kept {
            // It may have been found by the state of a stage, or by the files that are read from there: only the latter is
            // the same whether the stage was found or made.
            let key = match &step.action {
                Action::Copy(_) | Action::Workdir(_) => &hit.entry.effect,
                Action::Run(_) | Action::Configure => hit.entry.by_contents.as_ref().unwrap_or(&hit.entry.key),
            };
            progress.cached.inline.push(self.services.cache.inline(&hit, key));
        }
        progress.cached.advance(&hit.entry.effect);
    }

    /// Takes note, for the key of the build, of a step that was done with other files than were seen for its own.
    fn is_not_as_seen(&self, step: &Step) {
        if let Some(asked) = self.asked {
            asked.is_wrong.store(true, Ordering::Relaxed);
        }
        let message = "files of the context changed while they were read: the cache does not keep this step";
        let line = Some(step.span.first_line);
        self.services.reporter.report(Event::Warning { rule: "ContextChanged", line, message });
    }

    /// Compares what was seen for a step with what was seen for the key of the build.
    fn is_as_asked(&self, witness: &Witness) {
        if let Some(asked) = self.asked {
            asked.is_wrong.fetch_or(!asked.witness.agrees(witness), Ordering::Relaxed);
        }
    }

    /// Gives the lines of the history that have no layer their times, and the image its own, so that the same steps with
    /// the same layers are the same image, whenever it is built.
    pub(super) fn date(&self, progress: &mut Progress, stage: &Stage) {
        if !self.caching.is_on {
            return;
        }
        let inherited = match &stage.base {
            StageBase::Scratch => 0,
            StageBase::Image(key) => self.bases.get(key).map_or(0, |base| base.image.config.history.len()),
            StageBase::Stage(id) => self.finished(*id).image.config.history.len(),
        };
        let image = &mut progress.image;
        // A line without a layer has the time of the step after it that makes one.
        let mut next: Option<String> = None;
        for line in image.config.history.iter_mut().skip(inherited).rev() {
            match &line.created {
                Some(created) => next = Some(created.clone()),
                None => line.created.clone_from(&next),
            }
        }
        if !self.is_in_target(progress.id) {
            return;
        }
        let key = keys::image(&image.config, &image.layers);
        let known = self.services.cache.image(&key, rfc3339(self.request.created));
        for line in image.config.history.iter_mut().skip(inherited).filter(|line| line.created.is_none()) {
            line.created = Some(known.created.clone());
        }
        image.config.created = Some(known.created.clone());
        if self.request.cache.inline {
            let inline = self.services.cache.inline_image(progress.cached.inline.clone(), known);
            let inline = serde_json::to_value(&inline).expect("strings and numbers always serialize");
            image.config.extra.insert(INLINE_FIELD.to_owned(), inline);
        }
    }

    /// Keeps what this build depended on, so that the next one can say what has changed.
    pub(super) fn keep_trail(&self, steps: Vec<TrailStep>) {
        if self.caching.is_on && !steps.is_empty() {
            self.services.cache.keep_trail(&self.caching.trail_key, &Trail { steps });
        }
    }

    /// Returns the time of a line of the history: none yet where the cache decides it later.
    pub(super) fn history_time(&self) -> Option<String> {
        (!self.caching.is_on).then(|| rfc3339(self.request.created))
    }
}

impl Sought {
    /// Returns the result that was found.
    pub(super) fn hit(&self) -> Option<Hit> {
        self.hit.as_deref().cloned()
    }
}

/// Returns an instruction as others may read it: what is kept of it goes where logs do not.
fn shown(step: &Step) -> String {
    redact_within(&step.text)
}

/// Returns a base without what it says of its own steps: they are not those of an image that is based on it.
pub(super) fn without_inline(mut image: Image) -> Image {
    image.config.extra.remove(INLINE_FIELD);
    image
}
