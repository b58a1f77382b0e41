//! `yadokari index`: from flags to the end of the process.

use std::process::ExitCode;

use super::args::IndexArgs;
use super::env::Environment;
use super::exit::Failure;
use super::failure::output_kind;
use super::report::{Report, Settings};
use super::{request, services};
use crate::output;
use crate::progress::{Event, Reporter as _};

/// Joins the images and tells about it.
pub fn run(args: &IndexArgs) -> ExitCode {
    let environment = Environment::read();
    let report = Report::to_standard_error(Settings::resolve(&args.messages, &environment));
    report.conclude(join(args, &environment, &report))
}

fn join(args: &IndexArgs, environment: &Environment, report: &Report) -> Result<(), Failure> {
    let (request, network) = request::resolve_index(args, environment, |path| std::fs::read_to_string(path))?;
    let failed = |error: output::Error| Failure::from_error(output_kind(&error), &error);
    let joined = output::remove_stale(&request.results).map_err(failed).and_then(|()| {
        let (runtime, client) = (services::runtime()?, services::client(&network)?);
        let outcome = runtime.block_on(output::join(&request, &client, report)).map_err(failed)?;
        output::write_index_results(&outcome, &request.results, report).map_err(failed)?;
        for reference in &outcome.pushed {
            report.report(Event::Note(&format!("Pushed {}@{}", reference.name(), outcome.index.digest)));
        }
        Ok(())
    });
    if let Err(failure) = &joined {
        failure.write_metadata(request.results.metadata.as_ref());
    }
    joined
}
