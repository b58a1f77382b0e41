//! What `check` and `plan` have in common: the way from flags to a build that is only looked at.

use std::sync::Arc;

use super::args::Args;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::{request, services};
use crate::builder::{Error, Failed, Services};
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
    report.notes(&args.repeated);
    report.warnings(&resolved.warnings);
    let open = |runtime: &_, cancel| services::open_to_look(&resolved, runtime, report.clone(), cancel);
    services::with(&resolved, report, open, |request, services| work(request, services))
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
