//! Steps that several stages begin with alike: the first stage that comes to one does it, for all of them.
//!
//! Which steps these are is known from the plan: stages with the same base and platform whose steps so far say the same,
//! but for those that only set the configuration. Contexts, secrets and settings are the same for the whole build. What RUN
//! makes may differ each time; here it is made once, whatever `--no-cache` says, as in BuildKit.
//!
//! *Invariant: a step that is waited for is being done by a stage that waits for no step itself. One that fails never
//! has a result: the build ends then, and those who wait with it.*

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::image::Layer;
use crate::plan::{Action, BaseKey, BuildPlan, Stage, StageBase, Step};
use crate::progress::{StepId, StepResult};

use super::cached::StageCache;
use super::stage::{Progress, Shared};
use super::{Error, unpoisoned};

/// How often one that waits looks whether the build has ended.
const LOOK: Duration = Duration::from_millis(50);

/// A state of files: the same for all stages that come to it by the same steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State(usize);

/// What is to be done once.
pub(super) struct Once {
    /// For each step of each stage that others begin with as well, the state that it leads to.
    ahead: Vec<Vec<Option<State>>>,
    known: Mutex<HashMap<State, Known>>,
    changed: Condvar,
}

enum Known {
    /// A stage is at it.
    Begun,
    Made(Box<Made>),
}

/// What came of a step.
#[derive(Clone)]
struct Made {
    step: StepId,
    result: StepResult,
    layer: Option<Layer>,
    /// When, as the history says it.
    created: Option<String>,
    /// What it changed of what is known for the cache.
    cached: StageCache,
}

/// What a stage is to do with a step.
pub(super) enum Turn {
    /// To do it: no other stage has it.
    Alone,
    /// To do it, and to say what came of it.
    Mine(State),
    /// Nothing: another stage did it.
    Taken(StepResult),
}

impl Once {
    /// Finds out which steps of a plan are the same.
    pub(super) fn new(plan: &BuildPlan) -> Self {
        let mut states = States::default();
        let mut ahead: Vec<Vec<Option<State>>> = Vec::with_capacity(plan.stages.len());
        // One stage has nobody to share with.
        let stages = if plan.stages.len() > 1 { &plan.stages[..] } else { &[] };
        for stage in stages {
            let mut state = states.of_base(stage);
            let mut steps = Vec::with_capacity(stage.steps.len());
            for step in &stage.steps {
                let after = (step.action != Action::Configure).then(|| states.after(state, &step.action));
                state = after.unwrap_or(state);
                steps.push(after);
            }
            states.ends.push(state);
            ahead.push(steps);
        }
        for state in ahead.iter_mut().flatten() {
            *state = state.filter(|state| states.users[state.0] > 1);
        }
        Self { ahead, known: Mutex::default(), changed: Condvar::new() }
    }

    /// Returns the state that the next step of a stage leads to, where other stages come to it as well.
    fn ahead(&self, progress: &Progress) -> Option<State> {
        self.ahead.get(progress.id.0)?.get(progress.steps_done()).copied().flatten()
    }

    /// Takes a step where nobody has, and else waits for what comes of it.
    fn begin(&self, state: State, is_cancelled: &dyn Fn() -> bool) -> Result<Option<Box<Made>>, Error> {
        let mut known = unpoisoned(&self.known);
        loop {
            match known.get(&state) {
                None => {
                    known.insert(state, Known::Begun);
                    return Ok(None);
                }
                Some(Known::Made(made)) => return Ok(Some(made.clone())),
                Some(Known::Begun) if is_cancelled() => return Err(Error::Interrupted),
                Some(Known::Begun) => {}
            }
            known = self.changed.wait_timeout(known, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The states of a plan while they are numbered.
#[derive(Default)]
struct States<'a> {
    bases: HashMap<(Option<&'a BaseKey>, String), State>,
    /// What can be done in each state, and the state after it; by a hash of its text, so that ten thousand stages of one base
    /// are not compared each with each.
    steps: HashMap<(State, u64), Vec<(&'a Action, State)>>,
    /// How many stages come to each.
    users: Vec<usize>,
    /// How each stage ends.
    ends: Vec<State>,
}

impl<'a> States<'a> {
    fn add(&mut self) -> State {
        self.users.push(0);
        State(self.users.len() - 1)
    }

    fn of_base(&mut self, stage: &'a Stage) -> State {
        let image = match &stage.base {
            StageBase::Stage(base) => return self.ends[base.0],
            StageBase::Image(key) => Some(key),
            StageBase::Scratch => None,
        };
        let key = (image, stage.platform.to_string());
        if let Some(state) = self.bases.get(&key) {
            return *state;
        }
        let state = self.add();
        self.bases.insert(key, state);
        state
    }

    fn after(&mut self, state: State, action: &'a Action) -> State {
        let key = (state, xxh3_64(format!("{action:?}").as_bytes()));
        let known = self.steps.get(&key).and_then(|list| list.iter().find(|(known, _)| *known == action));
        let after = known.map(|(_, after)| *after).unwrap_or_else(|| {
            let after = self.add();
            self.steps.entry(key).or_default().push((action, after));
            after
        });
        self.users[after.0] += 1;
        after
    }
}

impl Shared<'_> {
    /// Begins a step: where another stage has it, too, only one of them does it, and the others take what it made.
    pub(super) fn take_turn(&self, progress: &mut Progress, step: &Step, id: &StepId) -> Result<Turn, Error> {
        let Some(state) = self.once.ahead(progress) else { return Ok(Turn::Alone) };
        let Some(made) = self.once.begin(state, &|| self.services.cancel.is_cancelled())? else {
            return Ok(Turn::Mine(state));
        };
        let Made { step: by, result, layer, created, cached } = *made;
        self.adopt(progress, layer.as_ref())?;
        self.record(progress, step, layer.clone(), created);
        progress.cached.follow(cached, id);
        if result.is_cached() {
            return Ok(Turn::Taken(result));
        }
        let layer = layer.map(|layer| (layer.descriptor.digest, layer.descriptor.size));
        Ok(Turn::Taken(StepResult::Alike { step: by, layer }))
    }

    /// Says what came of a step that was this stage's turn, with the layer where it made one, and what it changed of what is
    /// known for the cache.
    pub(super) fn made_once(
        &self,
        state: State,
        progress: &Progress,
        (id, result, layer, cached): (&StepId, StepResult, Option<Layer>, StageCache),
    ) {
        let created = progress.image.config.history.last().and_then(|line| line.created.clone());
        let made = Made { step: id.clone(), result, layer, created, cached };
        unpoisoned(&self.once.known).insert(state, Known::Made(Box::new(made)));
        self.once.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{plan_with, request};

    /// Returns, stage by stage, which of its steps are shared: those with the same letter with each other.
    fn shared(text: &str) -> Vec<String> {
        let once = Once::new(&plan_with(text, &request(&[], None), |_, _| {}).expect(text));
        let mut letters: Vec<State> = Vec::new();
        let mut letter = |state: State| {
            let known = letters.iter().position(|known| *known == state).unwrap_or_else(|| {
                letters.push(state);
                letters.len() - 1
            });
            char::from(b'a' + u8::try_from(known).expect("few"))
        };
        let steps = |stage: &Vec<Option<State>>| stage.iter().map(|step| step.map_or('-', &mut letter)).collect();
        once.ahead.iter().map(steps).collect()
    }

    #[test]
    fn stages_share_the_steps_that_they_begin_with() {
        let end = "FROM scratch\nCOPY --from=one / /\nCOPY --from=two / /\n";
        for (name, stages, expected) in [
            ("the same to the end", "FROM a AS one\nRUN x\nRUN y\nFROM a AS two\nRUN x\nRUN y\n", &["ab", "ab"]),
            (
                "until they part",
                "FROM a AS one\nRUN x\nRUN y\nRUN z\nFROM a AS two\nRUN x\nRUN q\nRUN z\n",
                &["a--", "a--"],
            ),
            ("another base", "FROM a AS one\nRUN x\nFROM b AS two\nRUN x\n", &["-", "-"]),
            ("another platform", "FROM --platform=linux/arm64 a AS one\nRUN x\nFROM a AS two\nRUN x\n", &["-", "-"]),
            ("one and two times", "FROM a AS one\nRUN x\nFROM a AS two\nRUN x\nRUN x\n", &["a", "a-"]),
            ("by way of a stage", "FROM a AS one\nRUN x\nFROM one AS two\nRUN x\n", &["-", "-"]),
            ("another variable", "FROM a AS one\nENV v=1\nRUN x\nFROM a AS two\nRUN x\n", &["--", "-"]),
            ("another label", "FROM a AS one\nLABEL v=1\nRUN x\nFROM a AS two\nRUN x\n", &["-a", "a"]),
            ("another user", "FROM a AS one\nUSER 5\nRUN x\nFROM a AS two\nRUN x\n", &["--", "-"]),
            (
                "another secret",
                "FROM a AS one\nRUN --mount=type=secret,id=s x\nFROM a AS two\nRUN --mount=type=secret,id=t x\n",
                &["-", "-"],
            ),
        ] {
            assert_eq!(shared(&format!("{stages}{end}"))[..2], expected[..], "{name}");
        }
        let two_ways = "FROM a AS one\nRUN x\nFROM one AS two\nRUN y\nFROM a AS three\nRUN x\nRUN y\n\
            FROM scratch\nCOPY --from=two / /\nCOPY --from=three / /\n";
        assert_eq!(shared(two_ways), ["a", "b", "ab", "--"]);
    }
}
