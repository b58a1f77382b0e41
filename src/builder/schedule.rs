//! Which stage is built when: each after its base, several at a time; a step that reads from another stage waits for it.
//!
//! Knows numbers and who needs whom; does not know what a stage does.
//!
//! *Invariant: with one job stages run in the order of the plan. No more stages are at work than there are jobs; one that
//! waits for another gives its place away meanwhile. After a failure nothing new is started, and the failure that came first
//! is the one that is told.*
//!
//! Nobody waits forever: a stage needs lower numbers only, and of those that can begin the lowest begins. So what the lowest
//! of the waiting stages waits for is being built, or is begun by the next thread that is free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::plan::{Action, BuildPlan, Stage, StageBase, StageId};

use super::{Error, unpoisoned};

/// How often one that waits looks whether the build has ended.
const LOOK: Duration = Duration::from_millis(50);

/// The stages of a plan, and how far they are.
pub(super) struct Schedule {
    needs: Vec<Needs>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What a stage needs of others.
#[derive(Clone, Debug, Default)]
struct Needs {
    /// Its base, where that is a stage: without it there is nothing to begin with.
    base: Option<StageId>,
    /// What its first step that does anything reads.
    first: BTreeSet<StageId>,
    /// Its base, and all that its steps read.
    all: BTreeSet<StageId>,
}

struct State {
    phases: Vec<Phase>,
    /// How many stages that are not done need each stage.
    users: Vec<usize>,
    /// How many stages may be at work.
    jobs: usize,
    /// How many are.
    running: usize,
    /// Those that have begun and wait, each with what it waits for.
    parked: BTreeMap<StageId, BTreeSet<StageId>>,
    failure: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Begun,
    Done,
}

impl Needs {
    fn of(stage: &Stage) -> Self {
        let base = match stage.base {
            StageBase::Stage(id) => Some(id),
            StageBase::Scratch | StageBase::Image(_) => None,
        };
        let first = stage.steps.iter().find(|step| step.action != Action::Configure);
        let first = first.map(|step| step.action.stages().collect()).unwrap_or_default();
        Self { base, first, all: stage.inputs() }
    }
}

impl State {
    fn are_done(&self, stages: &BTreeSet<StageId>) -> bool {
        stages.iter().all(|id| self.is_done(*id))
    }

    fn is_done(&self, id: StageId) -> bool {
        self.phases[id.0] == Phase::Done
    }

    /// Tells whether one more stage may begin. Those that have begun, and could go on, come first.
    fn has_place(&self) -> bool {
        let woken = self.parked.values().filter(|inputs| self.are_done(inputs)).count();
        self.running + woken < self.jobs
    }

    /// Tells whether one more stage may wait without keeping its place. Each keeps what it has unpacked, hence the limit.
    fn can_park(&self) -> bool {
        self.parked.len() < self.jobs
    }
}

impl Schedule {
    /// Makes the schedule of a plan; nothing has begun.
    pub(super) fn new(plan: &BuildPlan, jobs: usize) -> Self {
        Self::of(plan.stages.iter().map(Needs::of).collect(), jobs)
    }

    fn of(needs: Vec<Needs>, jobs: usize) -> Self {
        let mut users = vec![0; needs.len()];
        needs.iter().flat_map(|needs| &needs.all).for_each(|input| users[input.0] += 1);
        let phases = vec![Phase::Waiting; needs.len()];
        let state = State { phases, users, jobs, running: 0, parked: BTreeMap::new(), failure: None };
        Self { needs, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Calls `build` once for each stage, and `stop` when one of several has failed.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn run(
        &self,
        build: &(dyn Fn(StageId) -> Result<(), Error> + Sync),
        stop: &(dyn Fn() + Sync),
    ) -> Result<(), Error> {
        let work = || {
            while let Some(stage) = self.next() {
                let result = build(stage);
                if self.end(stage, result) {
                    stop();
                }
            }
        };
        std::thread::scope(|scope| {
            // The first job is this thread: where there is only one, no other is made. Half of them are for those that wait.
            let jobs = self.state().jobs;
            let threads = if jobs == 1 { 1 } else { jobs.saturating_mul(2).min(self.needs.len()) };
            for _ in 1..threads {
                // Where no more threads are allowed, fewer do the same.
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        self.state().failure.take().map_or(Ok(()), Err)
    }

    /// Waits until stages are done that a stage at work reads from.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the build ends before.
    pub(super) fn wait_for(
        &self,
        stage: StageId,
        inputs: &BTreeSet<StageId>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let mut state = self.state();
        let parks = !state.are_done(inputs) && state.can_park();
        if parks {
            state.parked.insert(stage, inputs.clone());
            state.running -= 1;
            self.changed.notify_all();
        }
        let result = loop {
            if state.failure.is_some() || is_cancelled() {
                break Err(Error::Interrupted);
            }
            if state.are_done(inputs) && (!parks || state.running < state.jobs) {
                break Ok(());
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        };
        if parks {
            state.parked.remove(&stage);
            state.running += 1;
        }
        result
    }

    /// Tells whether some of these are not done.
    pub(super) fn lacks(&self, inputs: &BTreeSet<StageId>) -> bool {
        !self.state().are_done(inputs)
    }

    /// Tells whether only one stage that is not done needs this one.
    pub(super) fn has_one_user(&self, stage: StageId) -> bool {
        self.state().users[stage.0] == 1
    }

    /// Takes note that a stage needs its inputs no longer; returns those that now nobody needs, and the stage itself
    /// where nobody does.
    pub(super) fn release_inputs(&self, stage: StageId) -> Vec<StageId> {
        let mut state = self.state();
        let inputs = &self.needs[stage.0].all;
        for input in inputs {
            state.users[input.0] -= 1;
        }
        let candidates = inputs.iter().copied().chain([stage]);
        candidates.filter(|id| state.users[id.0] == 0).collect()
    }

    /// Waits for a stage that can begin; none when all have begun, or one has failed.
    fn next(&self) -> Option<StageId> {
        let mut state = self.state();
        loop {
            if state.failure.is_some() || !state.phases.contains(&Phase::Waiting) {
                return None;
            }
            let ready = |number: &usize| {
                let needs = &self.needs[*number];
                state.phases[*number] == Phase::Waiting
                    && needs.base.is_none_or(|base| state.is_done(base))
                    && (state.can_park() || state.are_done(&needs.first))
            };
            if state.has_place()
                && let Some(number) = (0..self.needs.len()).find(ready)
            {
                state.phases[number] = Phase::Begun;
                state.running += 1;
                return Some(StageId(number));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes note of the end of a stage; returns whether it failed while others are at work.
    fn end(&self, stage: StageId, result: Result<(), Error>) -> bool {
        let mut state = self.state();
        state.phases[stage.0] = Phase::Done;
        state.running -= 1;
        let first = state.failure.is_none();
        if let Err(error) = result
            && first
        {
            state.failure = Some(error);
        }
        self.changed.notify_all();
        first && state.failure.is_some() && state.phases.contains(&Phase::Begun)
    }

    /// Waits for the state; a thread that died with it leaves the process anyway.
    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// Stages that read each other's files in their last steps, and are based on none.
    fn reading(inputs: &[&[usize]]) -> Vec<Needs> {
        let all = |inputs: &[usize]| inputs.iter().copied().map(StageId).collect();
        inputs.iter().map(|inputs| Needs { all: all(inputs), ..Needs::default() }).collect()
    }

    fn never() -> bool {
        false
    }

    /// Builds stages each of which waits for all that it reads, once it has begun.
    fn order_of(schedule: &Schedule) -> Vec<usize> {
        let order = Mutex::new(Vec::new());
        let build = |stage: StageId| {
            schedule.wait_for(stage, &schedule.needs[stage.0].all, &never)?;
            order.lock().unwrap().push(stage.0);
            Ok(())
        };
        schedule.run(&build, &|| panic!("nothing failed")).unwrap();
        order.into_inner().unwrap()
    }

    #[test]
    fn one_job_keeps_the_order_of_the_plan() {
        assert_eq!(order_of(&Schedule::of(reading(&[&[], &[], &[0], &[1, 2]]), 1)), [0, 1, 2, 3]);
    }

    #[test]
    fn stages_that_do_not_need_each_other_run_at_the_same_time() {
        // Each waits for the other: this ends only when both are at work.
        let both = Barrier::new(2);
        let build = |stage: StageId| {
            if stage.0 < 2 {
                both.wait();
            }
            Ok(())
        };
        Schedule::of(reading(&[&[], &[], &[0, 1]]), 2).run(&build, &|| {}).unwrap();
    }

    #[test]
    fn a_stage_begins_before_what_a_later_step_of_it_reads_is_done() {
        let (both, schedule) = (Barrier::new(2), Schedule::of(reading(&[&[], &[0]]), 2));
        let build = |stage: StageId| {
            both.wait();
            schedule.wait_for(stage, &schedule.needs[stage.0].all, &never)
        };
        schedule.run(&build, &|| {}).unwrap();
    }

    #[test]
    fn a_stage_that_waits_gives_its_place_away_and_no_more_are_at_work_than_may_be() {
        // 0 and 1 begin; 1 waits for 0, and 0 for 2, which needs the place of 1.
        let (begun, at_work, most) = (Barrier::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        let schedule = Schedule::of(reading(&[&[], &[0], &[]]), 2);
        let build = |stage: StageId| {
            let enter = || most.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            enter();
            if stage.0 == 1 {
                at_work.fetch_sub(1, Ordering::SeqCst);
                schedule.wait_for(stage, &schedule.needs[1].all, &never)?;
                enter();
            } else {
                begun.wait();
            }
            at_work.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        schedule.run(&build, &|| {}).unwrap();
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn a_stage_waits_for_its_base_and_for_a_first_step_where_too_many_wait() {
        let needs = |base: Option<usize>, first: &[usize]| {
            let first: BTreeSet<StageId> = first.iter().copied().map(StageId).collect();
            Needs { base: base.map(StageId), all: first.iter().copied().chain(base.map(StageId)).collect(), first }
        };
        let schedule =
            Schedule::of(vec![needs(None, &[]), needs(Some(0), &[]), needs(None, &[0]), needs(None, &[0])], 2);
        assert_eq!([schedule.next(), schedule.next()], [0, 2].map(|id| Some(StageId(id))));
        let mut state = schedule.state();
        state.parked.extend([2, 9].map(|id| (StageId(id), BTreeSet::from([StageId(0)]))));
        state.running = 1;
        assert!(state.has_place() && !state.can_park(), "there is room, but not for one that would only wait");
        drop(state);
        assert!(!schedule.end(StageId(0), Ok(())));
        assert!(!schedule.state().has_place(), "those that have begun come first");
    }

    #[test]
    fn after_a_failure_others_are_stopped_and_none_begins() {
        let (both, stopped, begun) = (Barrier::new(2), Barrier::new(2), AtomicUsize::new(0));
        let build = |stage: StageId| {
            begun.fetch_add(1, Ordering::Relaxed);
            both.wait();
            if stage.0 == 1 {
                return Err(Error::Interrupted);
            }
            stopped.wait();
            Ok(())
        };
        let stop = || {
            stopped.wait();
        };
        let needs = |base: Option<usize>| Needs { base: base.map(StageId), ..Needs::default() };
        let schedule = Schedule::of(vec![needs(None), needs(None), needs(Some(0)), needs(Some(1))], 2);
        assert!(matches!(schedule.run(&build, &stop), Err(Error::Interrupted)));
        assert_eq!(begun.into_inner(), 2);
    }

    #[test]
    fn one_that_waits_ends_when_another_fails_or_the_build_is_cancelled() {
        let schedule = Schedule::of(reading(&[&[], &[0]]), 2);
        let build = |stage: StageId| match stage.0 {
            0 => Err(Error::BadBase { reference: String::new(), reason: String::new() }),
            _ => schedule.wait_for(stage, &schedule.needs[1].all, &never),
        };
        assert!(matches!(schedule.run(&build, &|| {}), Err(Error::BadBase { .. })));
        let schedule = Schedule::of(reading(&[&[], &[0]]), 2);
        assert_eq!([schedule.next(), schedule.next()], [0, 1].map(|id| Some(StageId(id))));
        assert!(schedule.wait_for(StageId(1), &schedule.needs[1].all, &|| true).is_err());
    }

    #[test]
    fn inputs_are_free_after_their_last_user() {
        let schedule = Schedule::of(reading(&[&[], &[0], &[0], &[1, 2]]), 1);
        assert!(!schedule.has_one_user(StageId(0)));
        assert_eq!(schedule.release_inputs(StageId(0)), []);
        assert_eq!(schedule.release_inputs(StageId(1)), []);
        assert!(schedule.has_one_user(StageId(0)));
        assert_eq!(schedule.release_inputs(StageId(2)), [StageId(0)]);
        assert_eq!(schedule.release_inputs(StageId(3)), [1, 2, 3].map(StageId));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_stage_runs_once_and_reads_only_what_is_done(
            seeds in proptest::collection::vec(any::<(u16, u16, bool)>(), 1..12), jobs in 1_usize..5,
        ) {
            let needs = |(number, (reads, first, is_based)): (usize, &(u16, u16, bool))| {
                let some = |bits: u16| (0..number).filter(move |input| bits >> input & 1 == 1).map(StageId);
                let base = some(*first).next_back().filter(|_| *is_based);
                let first: BTreeSet<StageId> = some(reads & first).collect();
                Needs { base, first, all: some(*reads).chain(base).collect() }
            };
            let needs: Vec<Needs> = seeds.iter().enumerate().map(needs).collect();
            let schedule = Schedule::of(needs.clone(), jobs);
            let done: Mutex<Vec<StageId>> = Mutex::default();
            let build = |stage: StageId| {
                let needs = &needs[stage.0];
                let has = |inputs: &BTreeSet<StageId>| inputs.iter().all(|id| done.lock().unwrap().contains(id));
                assert!(has(&needs.base.into_iter().collect()));
                for inputs in [&needs.first, &needs.all] {
                    schedule.wait_for(stage, inputs, &never)?;
                    assert!(has(inputs));
                }
                done.lock().unwrap().push(stage);
                Ok(())
            };
            schedule.run(&build, &|| {}).unwrap();
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            prop_assert_eq!(done, (0..needs.len()).map(StageId).collect::<Vec<_>>());
        }
    }
}
