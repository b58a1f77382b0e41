//! SIGTERM, SIGINT, SIGHUP and their kin: the first ends the build in order, the second at once; and the end of its time,
//! as the first does.
//!
//! Where RUN shares our pid namespace it can signal us, too. That ends the build as a failure of the RUN, and never at
//! once: what stood in `/` has to be put back.
//!
//! *Invariant: within [`PATIENCE`] and [`LAST_WORDS`] of the first the process has ended, whatever its threads are doing.*

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::exit::{Failure, Kind};
use super::report::rough;
use super::taken::Taken;
use crate::isolation::{Cancel, Sender};
use crate::sys::signal::Received;
use crate::sys::{self, signal};

/// How long the build may take to end in order: a RUN has some seconds of it to end.
const PATIENCE: Duration = Duration::from_secs(7);
/// How long it may take to tell that it did not.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it is looked whether the end was asked for.
const INTERVAL: Duration = Duration::from_millis(50);

/// Is called where the build does not end in order: tells the user, and puts result files in order.
pub type LastWords = Box<dyn FnOnce(Failure) + Send>;

/// What ended the build; none at first.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    end: Arc<Mutex<Option<End>>>,
    /// What is taken on the disk of the state directory, as of the end.
    taken: Arc<Taken>,
}

/// From how many bytes on it is worth telling what a build has taken.
const MUCH: u64 = 1 << 30;

/// Says what to look for where much was taken: a kubelet ends pods that take more of a disk than they may, by SIGTERM as
/// for any other reason.
fn eviction(taken: &Taken) -> Option<String> {
    let most = Some(taken.most()).filter(|most| *most >= MUCH)?;
    Some(format!(
        "{} MiB of the disk of {} were taken meanwhile: where `kubectl describe pod` says Evicted, the pod needs \
         `resources: {{limits: {{ephemeral-storage: …}}}}` that is larger, or --state-dir on a volume",
        most >> 20,
        taken.path.display()
    ))
}

/// The first thing that ended the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Signal(Signal, Sender),
    Timeout(Duration),
}

impl End {
    fn kind(self) -> Kind {
        match self {
            Self::Signal(_, Sender::Run) => Kind::Run,
            Self::Signal(Signal::SIGINT, _) => Kind::Interrupted,
            Self::Signal(..) => Kind::Terminated,
            Self::Timeout(_) => Kind::Timeout,
        }
    }
}

impl Signals {
    /// Blocks the signals for this thread and those it makes, and waits for them, and for the end of the build's time,
    /// in threads of its own.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub fn watch(
        cancel: Cancel,
        timeout: Option<Duration>,
        last_words: LastWords,
        state: Option<&Path>,
    ) -> Result<Self, sys::Error> {
        let watched: SigSet = signal::ending().iter().filter(|signal| !signal::is_ignored(*signal)).collect();
        signal::block(&watched)?;
        let signals = Self { taken: Arc::new(state.map(Taken::of).unwrap_or_default()), ..Self::default() };
        signals.cut_off(cancel.clone(), last_words);
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
                    cancel.end_process(end.kind().exit_code());
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
        drop(known);
        if first {
            self.taken.measure();
        }
        first
    }

    /// Ends the process where it does not end by itself, some time after the end was asked for.
    fn cut_off(&self, cancel: Cancel, last_words: LastWords) {
        let signals = self.clone();
        std::thread::spawn(move || {
            while signals.end.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                std::thread::sleep(INTERVAL);
            }
            std::thread::sleep(PATIENCE);
            let failure = signals.explain(Failure::new(Kind::Terminated, "the build was interrupted"));
            let failure = failure.hint("what it was doing did not stop, and was cut off");
            let code = failure.exit_code;
            let (said, heard) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                last_words(failure);
                // Nobody listens any more if it took too long.
                let _ = said.send(());
            });
            let _said_or_not = heard.recv_timeout(LAST_WORDS);
            cancel.end_process(code);
        });
    }

    fn end_after(&self, timeout: Duration, cancel: Cancel) {
        let signals = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            // A signal that came before keeps its exit code.
            let _ended_already = signals.begin(End::Timeout(timeout));
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
            End::Timeout(limit) => {
                let message = format!("the build has taken longer than the {} of --timeout", rough(limit));
                (Kind::Timeout, message)
            }
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
            End::Signal(Signal::SIGTERM, Sender::Above) => match eviction(&self.taken) {
                Some(hint) => told.hint(hint),
                None => told,
            },
            End::Signal(_, Sender::Above) | End::Timeout(_) => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_much_room_is_told_what_an_eviction_looks_like() {
        for (end, taken, is_told) in [
            (End::Signal(Signal::SIGTERM, Sender::Above), 2 * MUCH, true),
            (End::Signal(Signal::SIGTERM, Sender::Above), MUCH / 2, false),
            (End::Signal(Signal::SIGTERM, Sender::Run), 2 * MUCH, false),
            (End::Timeout(Duration::from_secs(9)), 2 * MUCH, false),
        ] {
            let signals = Signals { taken: Arc::new(Taken::so_much(taken)), ..Signals::default() };
            assert!(signals.begin(end));
            let told = signals.explain(Failure::new(Kind::Terminated, "the build was interrupted"));
            assert_eq!(told.hints.iter().any(|hint| hint.contains("Evicted")), is_told, "{end:?} {taken}");
        }
    }

    #[test]
    fn a_signal_of_runs_is_told_as_its_failure_and_the_first_end_counts() {
        let failure = || Failure::new(Kind::Terminated, "the build was interrupted");
        for (end, kind, code) in [
            (End::Signal(Signal::SIGTERM, Sender::Above), Kind::Terminated, 143),
            (End::Signal(Signal::SIGHUP, Sender::Other(7)), Kind::Terminated, 143),
            (End::Signal(Signal::SIGINT, Sender::Gone(7)), Kind::Interrupted, 130),
            (End::Signal(Signal::SIGHUP, Sender::Run), Kind::Run, 129),
            (End::Timeout(Duration::from_secs(90)), Kind::Timeout, 124),
        ] {
            let signals = Signals::default();
            assert_eq!(signals.explain(failure()), failure());
            assert!(signals.begin(end) && !signals.begin(End::Timeout(Duration::ZERO)));
            let told = signals.explain(failure());
            assert_eq!((told.kind, told.exit_code), (kind, code), "{end:?}");
        }
    }
}
