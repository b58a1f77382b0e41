//! `yadokari inspect`: what an image is, on standard output.

mod text;

use std::sync::Arc;

use super::args::{FormatName, InspectArgs};
use super::env::Environment;
use super::exit::Failure;
use super::named::{Images, platform};
use super::report::Report;
use super::work::{print, wait};
use super::{request, services, shown, signing};
use crate::inspect;

/// Looks at an image, and tells.
pub(super) fn run(args: &InspectArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let platform = platform(args.platform.as_deref())?;
    let network = request::registry_network(&args.registry, environment)?;
    let (agent, client) = services::client(&network, report.clone())?;
    let mut images = Images::new(client, environment, args.state_dir.as_deref());
    let inspected = wait(async {
        let trust = signing::trusted(&args.who, environment, &network, &agent).await?;
        let source = images.open(&args.image).await?;
        Ok(inspect::inspect(&source, platform.as_ref(), trust.as_ref()).await?)
    })?;
    print(&match args.format {
        FormatName::Text => text::render(&inspected),
        FormatName::Json => shown::json(&inspected)?,
    })
}
