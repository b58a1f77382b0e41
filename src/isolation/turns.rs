//! Who may run where RUNs at the same time see each other's processes: one that holds secrets runs alone.
//!
//! The kernel lets a process look into any other that may do no more than itself, and RUNs may all do the same.
//! *Invariant: while a RUN with secrets runs, no other does; whoever waits for that is not overtaken by later ones.*

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Cancel, Error};

/// How often a wait looks whether the build was cancelled.
const PAUSE: Duration = Duration::from_millis(50);

/// The turns of one build.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    alone: bool,
    /// How many wait to run alone: later ones let them.
    waiting: usize,
}

/// The right to run, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until a RUN may begin; `alone` where it holds what others must not see.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the build was cancelled meanwhile.
    pub(super) fn take(&self, alone: bool, cancel: &Cancel) -> Result<Turn<'_>, Error> {
        let mut state = self.state();
        if alone {
            state.waiting += 1;
        }
        while !state.admits(alone) && !cancel.is_cancelled() {
            state = self.ended.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
        if alone {
            state.waiting -= 1;
        }
        if !state.admits(alone) {
            return Err(Error::Interrupted);
        }
        state.running += 1;
        state.alone = alone;
        Ok(Turn(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admits(&self, alone: bool) -> bool {
        if alone { self.running == 0 } else { !self.alone && self.waiting == 0 }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running -= 1;
        state.alone = false;
        drop(state);
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_secrets_waits_for_all_others_and_they_for_it() {
        let (turns, cancel) = (Turns::default(), Cancel::new().unwrap());
        let (one, other) = (turns.take(false, &cancel).unwrap(), turns.take(false, &cancel).unwrap());
        std::thread::scope(|scope| {
            let alone = scope.spawn(|| drop(turns.take(true, &cancel).unwrap()));
            while turns.state().waiting == 0 {
                std::thread::yield_now();
            }
            // It is not overtaken, and not let in before both have ended.
            let later = scope.spawn(|| drop(turns.take(false, &cancel).unwrap()));
            drop(one);
            std::thread::sleep(PAUSE * 2);
            assert!(!alone.is_finished() && !later.is_finished());
            drop(other);
        });
        let _alone = turns.take(true, &cancel).unwrap();
        cancel.cancel();
        for alone in [true, false] {
            assert!(matches!(turns.take(alone, &cancel), Err(Error::Interrupted)));
        }
    }
}
