//! `yadokari index`: from flags to the end of the process.

use std::sync::Arc;

use super::args::IndexArgs;
use super::env::Environment;
use super::exit::Failure;
use super::failure::output_kind;
use super::report::{Report, pushed};
use super::work::{told, wait};
use super::{request, services};
use crate::output;
use crate::place;
use crate::progress::{Event, Reporter as _};

/// The largest file with names of images, in bytes: it is read into memory.
const LARGEST_LIST: u64 = 16 << 20;

/// Joins the images.
pub(super) fn run(args: &IndexArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let (request, network) = request::resolve_index(args, environment, |path| {
        let bytes = place::read_named(path, &environment.directories.working, LARGEST_LIST)?;
        String::from_utf8(bytes).map_err(|error| std::io::Error::other(error.utf8_error()))
    })?;
    let failed = |error: output::Error| Failure::from_error(output_kind(&error), &error);
    let places = output::begin(&[], &request.results, environment.regions()).map_err(failed)?;
    let joined = (|| {
        let (agent, client) = services::client(&network, report.clone())?;
        let outcome = wait(async {
            let joined = output::join(&request, &client, report.as_ref()).await.map_err(failed)?;
            output::put_values(&(&joined).into(), &request.results, &agent).await.map_err(failed)?;
            Ok(joined)
        })?;
        output::write_index_results(&outcome, &request.results, &places, report.as_ref()).map_err(failed)?;
        for reference in &outcome.pushed {
            report.report(Event::Note(&pushed(reference, &outcome.index.digest)));
        }
        Ok(())
    })();
    told(joined, &request.results, &places)
}
