//! `yadokari index`: from flags to the end of the process.

use std::sync::Arc;

use super::args::IndexArgs;
use super::commands::{told, wait};
use super::env::Environment;
use super::exit::Failure;
use super::failure::output_kind;
use super::report::{Report, pushed};
use super::{request, services};
use crate::output;
use crate::progress::{Event, Reporter as _};

/// Joins the images.
pub(super) fn run(args: &IndexArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let (request, network) = request::resolve_index(args, environment, |path| std::fs::read_to_string(path))?;
    let failed = |error: output::Error| Failure::from_error(output_kind(&error), &error);
    let joined = output::remove_stale(&request.results).map_err(failed).and_then(|()| {
        let (agent, client) = services::client(&network, report.clone())?;
        let outcome = wait(async {
            let joined = output::join(&request, &client, report.as_ref()).await.map_err(failed)?;
            output::put_values(&(&joined).into(), &request.results, &agent).await.map_err(failed)?;
            Ok(joined)
        })?;
        output::write_index_results(&outcome, &request.results, report.as_ref()).map_err(failed)?;
        for reference in &outcome.pushed {
            report.report(Event::Note(&pushed(reference, &outcome.index.digest)));
        }
        Ok(())
    });
    told(joined, &request.results)
}
