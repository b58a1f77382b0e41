//! The commands beside a build: from their flags to the end of the process.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::args::{Command, MessageArgs};
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::{Report, Settings};
use super::signals::{LastWords, Signals};
use super::{
    args, auth, cache, check, diff, doctor, index, inspect, login, pin, plan, push, services, sign, verify, warm,
};
use crate::isolation::Cancel;
use crate::place::Places;
use crate::request::ResultFiles;

/// How often a wait looks whether a signal came.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Does what a command asks for, and tells about it.
pub fn run(command: &Command) -> ExitCode {
    let environment = Environment::read();
    let report =
        |messages: &MessageArgs| Arc::new(Report::to_standard_error(Settings::resolve(messages, &environment)));
    match command {
        Command::Index(args) => {
            let report = report(&args.messages);
            report.conclude(index::run(args, &environment, &report))
        }
        Command::Push(args) => {
            let report = report(&args.messages);
            report.conclude(push::run(args, &environment, &report))
        }
        Command::Warm(args) => {
            let report = report(&args.messages);
            report.conclude(warm::run(args, &environment, &report))
        }
        Command::Cache(command) => {
            let report = report(command.messages());
            report.conclude(cache::run(command, &environment, &report))
        }
        Command::Check(args) => {
            let report = report(&args.build.messages);
            report.conclude(check::run(args, &environment, &report))
        }
        Command::Plan(args) => {
            let report = report(&args.build.messages);
            report.conclude(plan::run(args, &environment, &report))
        }
        Command::Auth(args) => {
            let report = report(&args.messages);
            report.conclude(auth::run(args, &environment, &report))
        }
        Command::Doctor(args) => {
            let report = report(&args.messages);
            report.conclude(doctor::run(args, &environment, &report))
        }
        Command::Sign(args) => {
            let report = report(&args.messages);
            report.conclude(sign::run(args, &environment, &report))
        }
        Command::Verify(args) => {
            let report = report(&args.messages);
            report.conclude(verify::run(args, &environment, &report))
        }
        Command::Inspect(args) => {
            let report = report(&args.messages);
            report.conclude(inspect::run(args, &environment, &report))
        }
        Command::Diff(args) => {
            let report = report(&args.messages);
            report.conclude(diff::run(args, &environment, &report))
        }
        Command::Pin(args) => {
            let report = report(&args.messages);
            report.conclude(pin::run(args, &environment, &report))
        }
        Command::Login(args) => {
            let report = Report::to_standard_error(Settings::before_flags(&environment, false));
            report.conclude(login::run(args, &environment, &report))
        }
        Command::Version(args) => {
            let report = Report::to_standard_error(Settings::before_flags(&environment, false));
            report.conclude(doctor::version(args))
        }
        Command::Man(args) => {
            let report = Report::to_standard_error(Settings::before_flags(&environment, false));
            let written = args::manual(&args.directory);
            report.conclude(written.map_err(|error| Failure::from_error(Kind::Output, &error)))
        }
    }
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
        Ok(Self { cancel, signals, runtime: services::runtime()? })
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
