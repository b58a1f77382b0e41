//! What `check` and `plan` have in common: the way from flags to a build that is only looked at.

use std::io::Write as _;
use std::sync::Arc;

use super::args::Args;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::signals::Signals;
use super::state::StateDirectory;
use super::{request, services};
use crate::build::{Error, Failed, Services};
use crate::isolation::Cancel;
use crate::progress::{Event, Reporter as _};
use crate::request::BuildRequest;

/// Makes a request of the flags of a build, and looks at it.
pub(super) fn look<T>(
    args: &Args,
    environment: &Environment,
    report: &Arc<Report>,
    work: impl FnOnce(&BuildRequest, &Services) -> Result<T, Failed>,
) -> Result<T, Failure> {
    let resolved = request::resolve(args, environment)?;
    report.warnings(&resolved.warnings);
    let system = |error: &dyn std::error::Error| Failure::from_error(Kind::System, error);
    let cancel = Cancel::new().map_err(|error| system(&error))?;
    let signals = Signals::watch(cancel.clone(), resolved.timeout).map_err(|error| system(&error))?;
    let disk = |error| Failure::from_error(Kind::Disk, &error);
    let state = StateDirectory::create(&resolved.request.state_directory).map_err(disk)?;
    let runtime = services::runtime()?;
    let services = services::open_to_look(&resolved, &runtime, report.clone(), cancel)?;
    let looked = work(&resolved.request, &services);
    drop(services);
    runtime.shutdown_background();
    let looked = looked.map_err(|failed| Failure::from(failed).ended_by(signals.kind()))?;
    state.remove().map_err(disk)?;
    Ok(looked)
}

/// Tells which images could not be asked for.
pub(super) fn tell_unknown(unknown: &[(String, Error)], report: &Report) {
    for (reference, error) in unknown {
        let causes = Failure::from_error(Kind::Transient, error).causes;
        let why = causes.last().cloned().unwrap_or_else(|| error.to_string());
        let message = format!("what depends on the image {reference} is not known: {why}");
        report.report(Event::Warning { rule: "UnknownBase", line: None, message: &message });
    }
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::from_error(Kind::Output, &error))
}
