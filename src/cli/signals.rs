//! SIGTERM, SIGINT, SIGHUP and their kin: the first ends the build in order, the second at once; and the end of its time,
//! as the first does.
//!
//! Where RUN shares our pid namespace it can signal us, too. That ends the build as a failure of the RUN, and never at
//! once: what stood in `/` has to be put back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::exit::{Failure, Kind};
use crate::isolation::{Cancel, Sender};
use crate::sys::signal::Received;
use crate::sys::{self, process, signal};

/// What ended the build; none at first.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    end: Arc<Mutex<Option<End>>>,
}

/// The first thing that ended the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Signal(Signal, Sender),
    Timeout,
}

impl End {
    fn kind(self) -> Kind {
        match self {
            Self::Signal(_, Sender::Run) => Kind::Run,
            Self::Signal(Signal::SIGINT, _) => Kind::Interrupted,
            Self::Signal(..) => Kind::Terminated,
            Self::Timeout => Kind::Timeout,
        }
    }
}

impl Signals {
    /// Blocks the signals for this thread and those it makes, and waits for them, and for the end of the build's time,
    /// in threads of its own.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub fn watch(cancel: Cancel, timeout: Option<Duration>) -> Result<Self, sys::Error> {
        let watched: SigSet = signal::ending().iter().filter(|signal| !signal::is_ignored(*signal)).collect();
        signal::block(&watched)?;
        let signals = Self::default();
        if let Some(timeout) = timeout {
            signals.end_after(timeout, cancel.clone());
        }
        let watching = signals.clone();
        std::thread::spawn(move || {
            while let Ok(next) = signal::wait(&watched) {
                let Some(Received { signal, sender, .. }) = next else { continue };
                let sender = Sender::of(sender);
                let end = End::Signal(signal, sender);
                // RUN must not be able to end us before what stood in `/` is put back, by sending two.
                if !watching.begin(end) && matches!(sender, Sender::Above | Sender::Other(_)) {
                    process::exit_now(i32::from(end.kind().exit_code()));
                }
                cancel.cancel();
            }
        });
        Ok(signals)
    }

    /// Takes note of what ends the build; tells whether it is the first.
    fn begin(&self, end: End) -> bool {
        let mut known = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.is_none();
        known.get_or_insert(end);
        first
    }

    fn end_after(&self, timeout: Duration, cancel: Cancel) {
        let signals = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            // A signal that came before keeps its exit code.
            let _ended_already = signals.begin(End::Timeout);
            cancel.cancel();
        });
    }

    /// Tells a failure as what ended the build, if something did: whatever failed then, failed because of it.
    #[must_use]
    pub fn explain(&self, failure: Failure) -> Failure {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(end) = end else { return failure };
        let (kind, message) = match end {
            End::Signal(signal, Sender::Run) => {
                (Kind::Run, format!("RUN sent {signal} to the executor, and that ended the build"))
            }
            End::Signal(signal, _) => (end.kind(), format!("{signal} interrupted the build")),
            End::Timeout => (Kind::Timeout, "the time that --timeout gives the build is over".to_owned()),
        };
        // Where it was is worth knowing; why that failed is not.
        let told = Failure { place: failure.place, ..Failure::new(kind, message) };
        match end {
            End::Signal(signal, Sender::Run) => {
                Failure { exit_code: u8::try_from(128 + signal as i32).unwrap_or(u8::MAX), ..told }
            }
            End::Signal(signal, Sender::Other(process)) => {
                told.hint(format!("{signal} came from process {process} of this container"))
            }
            End::Signal(signal, Sender::Gone(process)) => told.hint(format!(
                "{signal} came from process {process} of this container, which has ended: one of RUN's, perhaps"
            )),
            End::Signal(_, Sender::Above) | End::Timeout => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_of_runs_is_told_as_its_failure_and_the_first_end_counts() {
        let failure = || Failure::new(Kind::Terminated, "the build was interrupted");
        for (end, kind, code) in [
            (End::Signal(Signal::SIGTERM, Sender::Above), Kind::Terminated, 143),
            (End::Signal(Signal::SIGHUP, Sender::Other(7)), Kind::Terminated, 143),
            (End::Signal(Signal::SIGINT, Sender::Gone(7)), Kind::Interrupted, 130),
            (End::Signal(Signal::SIGHUP, Sender::Run), Kind::Run, 129),
            (End::Timeout, Kind::Timeout, 124),
        ] {
            let signals = Signals::default();
            assert_eq!(signals.explain(failure()), failure());
            assert!(signals.begin(end) && !signals.begin(End::Timeout));
            let told = signals.explain(failure());
            assert_eq!((told.kind, told.exit_code), (kind, code), "{end:?}");
        }
    }
}
