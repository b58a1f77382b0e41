//! `yadokari push`: an image in a file or directory goes to registries.

use std::path::Path;
use std::sync::Arc;

use super::args::PushArgs;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::failure::output_kind;
use super::report::{Report, pushed};
use super::state::StateDirectory;
use super::work::{told, wait};
use super::{named, request, services};
use crate::output;
use crate::progress::{Event, Reporter as _};
use crate::store::Store;

pub(super) fn run(args: &PushArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let (request, network) = request::resolve_push(args, environment)?;
    let failed = |error: output::Error| Failure::from_error(output_kind(&error), &error);
    let places = output::begin(&[], &request.results, environment.regions()).map_err(failed)?;
    let pushed = (|| {
        let disk = |error: &dyn std::error::Error| Failure::from_error(Kind::Disk, error);
        let state = StateDirectory::create(&request.state_directory).map_err(|error| disk(&error))?;
        let store = Store::open(&request.state_directory.join("store")).map_err(|error| disk(&error))?;
        let path = Some(request.path.clone()).filter(|path| path != Path::new("-"));
        let (agent, client) = services::client(&network, report.clone())?;
        let outcome = wait(async {
            if request.check_push {
                output::check_push(&client, &request.destinations).await.map_err(failed)?;
            }
            let packed = named::packed(path, store).await.map_err(failed)?;
            let pushed = output::push(&packed, &request.destinations, &client, report.as_ref()).await;
            let pushed = pushed.map_err(failed)?;
            output::put_values(&(&pushed).into(), &request.results, &agent).await.map_err(failed)?;
            Ok(pushed)
        })?;
        output::write_push_results(&outcome, &request.results, &places, report.as_ref()).map_err(failed)?;
        for reference in &outcome.pushed {
            report.report(Event::Note(&pushed(reference, &outcome.image.digest)));
        }
        state.remove().map_err(|error| disk(&error))
    })();
    told(pushed, &request.results, &places)
}
