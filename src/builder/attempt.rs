//! From the plan to the delivered image; once more where a layer that the cache had lent could not be read, or where files
//! turned out to be hidden from RUN ([`volumes`]).
//!
//! A layer that was found is read when something needs its bytes, which is mostly never, and always after steps were
//! taken over that stand on it. So where one turns out to be damaged, or cannot be had, all is begun again: this time
//! a step counts as found only once its layer was read, and what the first attempt made is found at once.
//!
//! Files are only written when all layers are here, since what has gone to a pipe cannot be taken back.
//!
//! *Invariant: each of the two is a reason once at most, and a failed attempt leaves nothing but blobs that are what their
//! digests say.*

use crate::causes;
use crate::context::Context;
use crate::oci::{Digest, Reference};
use crate::outcome::{Attested, StepDone};
use crate::output::{self, Assembled};
use crate::plan::{Base, BaseKey, Bases, BuildPlan};
use crate::progress::{Event, Phase};
use crate::request::BuildRequest;

use super::existing::BuildKey;
use super::layers::Unreadable;
use super::sbom::{self, Document};
use super::{
    Error, Services, attestations, deliver, existing, failed, mounts, offered, origin, signatures, stage, unpoisoned,
    volumes,
};

/// What is built.
pub(super) struct Setting<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) plan: &'a BuildPlan,
    pub(super) bases: &'a Bases,
    pub(super) context: &'a Context,
    /// The image that the target starts from.
    pub(super) target_base: Option<&'a (BaseKey, Base)>,
    /// The key of the build, where something asks for it.
    pub(super) build_key: Option<&'a BuildKey>,
}

/// An image that was built and delivered.
pub(super) struct Delivered {
    pub(super) image: Assembled,
    pub(super) steps: Vec<StepDone>,
    pub(super) pushed: Vec<Reference>,
    /// What registries have taken that nobody has asked for.
    pub(super) offered: Vec<Attested>,
    /// What is installed in the image, where that was asked for.
    pub(super) sbom: Option<Document>,
}

/// Builds all stages, and delivers the image.
pub(super) fn build(setting: &Setting<'_>, services: &mut Services) -> Result<Delivered, Error> {
    let mut built = attempt(setting, services);
    if let Err(error) = &built
        && volumes::gives_way(error, services)
    {
        built = attempt(setting, services);
    }
    match &built {
        Err(error) if begins_again(error, services) => attempt(setting, services),
        Ok(_) | Err(_) => built,
    }
}

/// Makes ready for a second attempt, if the first failed because of the cache.
fn begins_again(error: &Error, services: &Services) -> bool {
    let Some(layer) = unreadable(error) else { return false };
    if services.cancel.is_interrupted() || !services.cache.distrust(&layer) {
        return false;
    }
    if let Err(error) = services.finish_isolation() {
        super::not_put_back(services, &error);
        return false;
    }
    let text = causes::in_one_line(error);
    let note = format!("a layer that the cache has is not usable, and the build begins again without it: {text}");
    services.reporter.report(Event::Note(&note));
    services.run.forget_copies();
    services.cancel.resume()
}

/// Returns the layer whose reading is what failed, if it is that. Whatever else failed, a RUN above all, is not done
/// again: it could end well by chance.
fn unreadable(error: &Error) -> Option<Digest> {
    let lent = causes::of(error).find_map(|cause| cause.downcast_ref::<Unreadable>());
    lent.map(|lent| lent.digest.clone()).or_else(|| error.undelivered())
}

fn attempt(setting: &Setting<'_>, services: &Services) -> Result<Delivered, Error> {
    let Setting { request, context, target_base, build_key, .. } = *setting;
    let mut uploads = services.uploads(output::registries(&request.outputs));
    let failed = failed::Slot::default();
    let built = stage::build_stages(setting, services, (&mut uploads, &failed));
    // What caches hold is in the isolation's workspace.
    mounts::pack(request, services);
    let (image, steps) = match built {
        Ok(built) => built,
        Err(error) => return Err(failed::keep(error, unpoisoned(&failed).take(), request, services)),
    };
    // The container's own files come back before outputs are written among them.
    services.finish_isolation()?;
    let (image, form) = origin::marked(image, request, target_base, context);
    let assembled = output::assemble(&image, &form)?;
    let sbom = sbom::document(&image, &assembled.manifest.digest, request, services)?;
    let image = attestations::attached(assembled, sbom.as_ref(), &steps, setting, services)?;
    if request.outputs.iter().any(output::is_written_here) {
        deliver::borrow(&image, services)?;
    }
    signatures::sign(&image.manifest, request, services)?;
    let pushed = services.timed(Phase::Push, |services| deliver::deliver(request, services, &image, uploads))?;
    existing::tag(&image, build_key, &pushed, services)?;
    let offered = offered::offer(&image, &steps, setting, services)?;
    Ok(Delivered { image, steps, pushed, offered, sbom })
}
