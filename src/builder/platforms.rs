//! Several platforms: one build for each, after another, and an index that joins their images; or one whose image has
//! beside it what is said about it.
//!
//! The images are pushed by digest: a tag is only ever the index's, and appears when all images are there.
//!
//! *Invariant: with one platform, beside whose image nothing stands in an index, nothing here does anything.*

use crate::context::Context;
use crate::oci::{Descriptor, Platform, Reference};
use crate::outcome::{Attested, BaseUsed, BuildOutcome};
use crate::output::{self, Joined};
use crate::plan::BuildPlan;
use crate::progress::{Event, Phase};
use crate::request::{BuildRequest, Output};

use super::{Error, Services, build_context, signatures};

/// Builds the image, or those of all platforms and their index.
pub(super) fn build(
    request: &BuildRequest,
    context: &Context,
    services: &mut Services,
) -> Result<Option<BuildOutcome>, Error> {
    if !joins(request) {
        return build_context(request, context, services);
    }
    let built = each(request, context, services)?;
    // Where only keys were asked for, nothing was built.
    if built.is_empty() {
        return Ok(None);
    }
    let images = built.iter().map(|one| Descriptor { platform: Some(one.platform.clone()), ..one.manifest.clone() });
    let (beside, referrers) = built
        .iter()
        .flat_map(|one| &one.attested)
        .filter(|one| !one.is_offered)
        .partition::<Vec<_>, _>(|one| one.is_in_index);
    let all = |attested: Vec<&Attested>| attested.into_iter().map(|one| one.manifest.clone()).collect();
    let joined = output::of_platforms(images.collect(), all(beside), all(referrers));
    signatures::sign(&joined.index, request, services)?;
    let delivered = services.timed(Phase::Push, |services| {
        services.wait(output::deliver_joined(&joined, &request.outputs, &services.registry, &services.places))
    });
    Ok(outcome(built, joined, delivered??))
}

/// Tells whether what destinations point to is an index.
pub(super) fn joins(request: &BuildRequest) -> bool {
    request.platforms.len() > 1 || request.attestations.makes_index()
}

/// Says in the names of stages for which platform they are, where there are several.
pub(super) fn name_stages(request: &BuildRequest, plan: &mut BuildPlan) {
    if request.platforms.len() < 2 {
        return;
    }
    for stage in &mut plan.stages {
        stage.name = format!("{} {}", request.platform, stage.name);
    }
}

/// Builds for each platform.
fn each(request: &BuildRequest, context: &Context, services: &mut Services) -> Result<Vec<BuildOutcome>, Error> {
    let mut built = Vec::new();
    for (number, platform) in request.platforms.iter().enumerate() {
        if request.platforms.len() > 1 {
            let note = format!("platform {platform}, {} of {}", number + 1, request.platforms.len());
            services.reporter.report(Event::Note(&note));
        }
        if number > 0 {
            // Root file systems and copies are those of another platform.
            services.finish_isolation()?;
            services.run.forget_copies();
        }
        built.extend(build_context(&of_platform(request, platform), context, services)?);
    }
    Ok(built)
}

fn of_platform(request: &BuildRequest, platform: &Platform) -> BuildRequest {
    let mut outputs: Vec<Output> = Vec::new();
    for output in &request.outputs {
        let output = match output {
            Output::Registry(destination) => Output::Registry(Reference { tag: None, ..destination.clone() }),
            other => other.clone(),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    BuildRequest { platform: platform.clone(), outputs, ..request.clone() }
}

/// Makes one outcome of those of all platforms.
fn outcome(built: Vec<BuildOutcome>, joined: Joined, pushed: Vec<Reference>) -> Option<BuildOutcome> {
    let mut all = built.into_iter();
    let mut outcome = all.next()?;
    for one in all {
        outcome.size = outcome.size.saturating_add(one.size);
        outcome.layers += one.layers;
        outcome.base_layers += one.base_layers;
        outcome.steps.extend(one.steps);
        outcome.attested.extend(one.attested);
        outcome.sboms.extend(one.sboms);
        let is_new = |base: &BaseUsed| !outcome.bases.contains(base);
        let new: Vec<BaseUsed> = one.bases.into_iter().filter(is_new).collect();
        outcome.bases.extend(new);
    }
    outcome.size = outcome.size.saturating_add(joined.index.size);
    Some(BuildOutcome { manifest: joined.index, images: joined.images, pushed, ..outcome })
}
