//! What commands do alike: they wait for the network, and tell what came of it.

use std::future::Future;
use std::io::Write as _;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::exit::{Failure, Kind};
use super::signals::{LastWords, Signals};
use crate::isolation::Cancel;
use crate::place::Places;
use crate::request::ResultFiles;

/// How often a wait looks whether a signal came.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Makes the runtime that drives the network's tasks.
///
/// # Errors
/// When no thread can be made.
pub fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| Failure::from_error(Kind::System, &error))
}

/// Writes to standard output.
///
/// # Errors
/// [`Failure`] of kind output when it cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::from_error(Kind::Output, &error))
}

/// Waits for work with the network, but not longer than until a signal comes.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let network = Network::new()?;
    let result = network.wait(work);
    network.runtime.shutdown_background();
    result
}

/// A runtime for work with the network that a signal ends.
pub(super) struct Network {
    cancel: Cancel,
    signals: Signals,
    pub(super) runtime: Runtime,
}

impl Network {
    /// Watches for signals, and then makes the runtime: a thread made before would take the signal, and end the
    /// process where it stands.
    pub(super) fn new() -> Result<Self, Failure> {
        let system = |error: &dyn std::error::Error| Failure::from_error(Kind::System, error);
        let cancel = Cancel::new().map_err(|error| system(&error))?;
        let last_words: LastWords = Box::new(|_| {
            // Nobody is left to tell when standard error is closed.
            let _ =
                writeln!(std::io::stderr(), "error: the command was interrupted, and did not stop what it was doing");
        });
        let signals = Signals::watch(cancel.clone(), None, last_words, None).map_err(|error| system(&error))?;
        Ok(Self { cancel, signals, runtime: runtime()? })
    }

    /// Waits for work, but not longer than until a signal comes.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let result = self.runtime.block_on(async {
            let cancelled = async {
                while !self.cancel.is_cancelled() {
                    tokio::time::sleep(SIGNAL_INTERVAL).await;
                }
            };
            tokio::select! {
                result = work => result,
                () = cancelled => Err(Failure::new(Kind::Terminated, "the command was interrupted")),
            }
        });
        result.map_err(|failure| self.signals.explain(failure))
    }
}

/// Writes what went wrong into the files that are asked for.
pub(super) fn told<T>(result: Result<T, Failure>, results: &ResultFiles, places: &Places) -> Result<T, Failure> {
    if let Err(failure) = &result {
        failure.write_results(results, places);
    }
    result
}
