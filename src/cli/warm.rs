//! The warmer: base images go into a directory, for builds to come.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::args::WarmerArgs;
use super::env::Environment;
use super::exit::Failure;
use super::failure::base_kind;
use super::report::Report;
use super::request::{self, WarmRequest};
use super::services;
use super::work::Network;
use crate::builder;
use crate::cache::BaseImages;
use crate::context::{self, Means};
use crate::http::Agent;
use crate::oci::{Platform, Reference};
use crate::progress::{Event, Reporter as _};
use crate::request::BuildRequest;
use crate::{dockerfile, plan};

pub(super) fn run(args: &WarmerArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let request = request::resolve_warm(args, environment)?;
    report.warnings(&request.warnings);
    let network = Network::new()?;
    let (agent, client) = services::client(&request.network, report.clone())?;
    let mut images: Vec<(Reference, Platform)> =
        request.images.iter().map(|image| (image.clone(), request.platform.clone())).collect();
    if let Some(build) = &request.dockerfile {
        images.extend(named(build, &request, (&agent, &network.runtime), report)?);
    }
    images.dedup();
    let bases = BaseImages::new(&request.cache);
    bases.clear_abandoned(environment.moment.now);
    let count = images.len();
    let mut failures = network.wait(async {
        let mut failures = Vec::new();
        for (reference, platform) in images {
            match bases.keep(&reference, &platform, &client, request.again).await {
                Ok(kept) => report.report(Event::Note(&format!("{reference} for {platform} is kept as {kept}"))),
                Err(error) => failures.push(Failure::from_error(base_kind(&error), &error)),
            }
        }
        Ok(failures)
    })?;
    // As for kaniko, an image that cannot be had is an error only when there is no other one.
    if failures.len() == count && count > 0 {
        return Err(failures.remove(0));
    }
    for failure in &failures {
        let message = [std::slice::from_ref(&failure.message), &failure.causes].concat().join(": ");
        report.report(Event::Warning { rule: "NotKept", line: None, message: &message });
    }
    Ok(())
}

/// Lists the images that a Dockerfile names.
fn named(
    build: &BuildRequest,
    request: &WarmRequest,
    (agent, runtime): (&Agent, &Runtime),
    report: &Report,
) -> Result<Vec<(Reference, Platform)>, Failure> {
    let means = Means {
        agent,
        runtime: runtime.handle(),
        state: build.state_directory.clone(),
        access: &request.network.context,
        reporter: report,
        is_cancelled: Arc::new(|| false),
        origin: context::main_origin(build),
    };
    let found = context::read_dockerfile(&build.dockerfile, &means);
    let found = found.map_err(|error| Failure::from(builder::Failed { error: error.into(), dockerfile: None }))?;
    let failed = |error: builder::Error| Failure::from(builder::Failed { error, dockerfile: Some(found.clone()) });
    let parsed = dockerfile::parse(&found.text).map_err(|error| failed(error.into()))?;
    let keys = plan::images(&parsed, build).map_err(|error| failed(error.into()))?;
    let known = |key: plan::BaseKey| Some((key.reference, key.platform.parse().ok()?));
    Ok(keys.into_iter().filter_map(known).collect())
}
