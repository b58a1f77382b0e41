//! Which stage is built when: each after those it needs, several at a time where they do not need each other.
//!
//! Knows numbers and who needs whom; does not know what a stage does.
//!
//! *Invariant: with one job stages run in the order of the plan. After a failure nothing new is started, and the
//! failure that came first is the one that is told.*

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::plan::{BuildPlan, StageId};

use super::{Error, unpoisoned};

/// The stages of a plan, and how far they are.
pub(super) struct Schedule {
    inputs: Vec<BTreeSet<StageId>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phases: Vec<Phase>,
    /// How many stages that are not done need each stage.
    users: Vec<usize>,
    failure: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Done,
}

impl Schedule {
    /// Makes the schedule of a plan; nothing has begun.
    pub(super) fn new(plan: &BuildPlan) -> Self {
        Self::of(plan.stages.iter().map(crate::plan::Stage::inputs).collect())
    }

    fn of(inputs: Vec<BTreeSet<StageId>>) -> Self {
        let mut users = vec![0; inputs.len()];
        inputs.iter().flatten().for_each(|input| users[input.0] += 1);
        let state = State { phases: vec![Phase::Waiting; inputs.len()], users, failure: None };
        Self { inputs, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Calls `build` once for each stage, up to `jobs` at a time, and `stop` when one of several has failed.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn run(
        &self,
        jobs: usize,
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
            // The first job is this thread: where there is only one, no other is made.
            for _ in 1..jobs.min(self.inputs.len()) {
                // Where no more threads are allowed, fewer do the same.
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        self.state().failure.take().map_or(Ok(()), Err)
    }

    /// Tells whether only one stage that is not done needs this one.
    pub(super) fn has_one_user(&self, stage: StageId) -> bool {
        self.state().users[stage.0] == 1
    }

    /// Takes note that a stage needs its inputs no longer; returns those that now nobody needs, and the stage itself
    /// where nobody does.
    pub(super) fn release_inputs(&self, stage: StageId) -> Vec<StageId> {
        let mut state = self.state();
        for input in &self.inputs[stage.0] {
            state.users[input.0] -= 1;
        }
        let mut candidates = self.inputs[stage.0].clone();
        candidates.insert(stage);
        candidates.into_iter().filter(|id| state.users[id.0] == 0).collect()
    }

    /// Waits for a stage that can begin; none when all have begun, or one has failed.
    fn next(&self) -> Option<StageId> {
        let mut state = self.state();
        loop {
            if state.failure.is_some() || !state.phases.contains(&Phase::Waiting) {
                return None;
            }
            let is_done = |id: &StageId| state.phases[id.0] == Phase::Done;
            let ready =
                |number: &usize| state.phases[*number] == Phase::Waiting && self.inputs[*number].iter().all(is_done);
            if let Some(number) = (0..self.inputs.len()).find(ready) {
                state.phases[number] = Phase::Running;
                return Some(StageId(number));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes note of the end of a stage; returns whether it failed while others are at work.
    fn end(&self, stage: StageId, result: Result<(), Error>) -> bool {
        let mut state = self.state();
        state.phases[stage.0] = Phase::Done;
        let first = state.failure.is_none();
        if let Err(error) = result
            && first
        {
            state.failure = Some(error);
        }
        self.changed.notify_all();
        first && state.failure.is_some() && state.phases.contains(&Phase::Running)
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

    fn schedule(inputs: &[&[usize]]) -> Schedule {
        Schedule::of(inputs.iter().map(|inputs| inputs.iter().copied().map(StageId).collect()).collect())
    }

    #[test]
    fn one_job_keeps_the_order_of_the_plan() {
        let order = Mutex::new(Vec::new());
        let build = |stage: StageId| {
            order.lock().unwrap().push(stage.0);
            Ok(())
        };
        schedule(&[&[], &[], &[0], &[1, 2]]).run(1, &build, &|| panic!("nothing failed")).unwrap();
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3]);
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
        schedule(&[&[], &[], &[0, 1]]).run(2, &build, &|| {}).unwrap();
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
        let result = schedule(&[&[], &[], &[0], &[]]).run(2, &build, &stop);
        assert!(matches!(result, Err(Error::Interrupted)));
        assert_eq!(begun.into_inner(), 2);
    }

    #[test]
    fn inputs_are_free_after_their_last_user() {
        let schedule = schedule(&[&[], &[0], &[0], &[1, 2]]);
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
        fn every_stage_runs_once_and_after_its_inputs(
            seeds in proptest::collection::vec(any::<u16>(), 1..10), jobs in 1_usize..5,
        ) {
            let inputs: Vec<BTreeSet<StageId>> = seeds.iter().enumerate()
                .map(|(number, bits)| (0..number).filter(|input| bits >> input & 1 == 1).map(StageId).collect())
                .collect();
            let done: Mutex<Vec<StageId>> = Mutex::default();
            let build = |stage: StageId| {
                let mut done = done.lock().unwrap();
                assert!(inputs[stage.0].iter().all(|input| done.contains(input)));
                done.push(stage);
                Ok(())
            };
            Schedule::of(inputs.clone()).run(jobs, &build, &|| {}).unwrap();
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            prop_assert_eq!(done, (0..inputs.len()).map(StageId).collect::<Vec<_>>());
        }
    }
}
