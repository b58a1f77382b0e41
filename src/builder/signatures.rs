//! What is delivered is signed, before any name leads to it.
//!
//! *Invariant: where nobody signs, nothing here does anything.*

use crate::attest::Statement;
use crate::oci::{Descriptor, Digest, Reference};
use crate::output;
use crate::progress::{Event, Phase};
use crate::request::BuildRequest;
use crate::signing::SignedStatement;
use crate::trust;

use super::{Error, Services};

/// Finds out, before anything is built, whether there will be a key to sign with, where something will be signed.
pub(super) fn check(request: &BuildRequest, destinations: &[Reference], services: &Services) -> Result<(), Error> {
    let Some(signing) = &services.signing else { return Ok(()) };
    let signs = !destinations.is_empty() || request.attestations.is_wanted();
    if signs && !request.cache.print_key {
        services.wait(signing.signer.public())?.map_err(trust::Error::from)?;
    }
    Ok(())
}

/// Signs an image, or an index, in every repository that it goes to.
pub(super) fn sign(image: &Descriptor, request: &BuildRequest, services: &Services) -> Result<(), Error> {
    let Some(signing) = &services.signing else { return Ok(()) };
    // What is pushed is there, and not where bases come from in place of it.
    let client = services.registry.direct();
    for repository in output::repositories(&output::registries(&request.outputs)) {
        let signed =
            services.timed(Phase::Push, |services| services.wait(signing.sign(&client, &repository, image)))??;
        let (what, places) = (repository.with_digest(image.digest.clone()), signed.places.join(", "));
        services.reporter.report(Event::Note(&format!("Signed {what}: {places}")));
    }
    Ok(())
}

/// Keeps a signed statement about an image in every repository that the image goes to.
pub(super) fn keep(
    statement: &Statement,
    signed: &SignedStatement,
    request: &BuildRequest,
    services: &Services,
) -> Result<(), Error> {
    let Some(signing) = &services.signing else { return Ok(()) };
    let client = services.registry.direct();
    let mut images: Vec<&Digest> = statement.subjects.iter().map(|subject| &subject.digest).collect();
    images.dedup();
    for repository in output::repositories(&output::registries(&request.outputs)) {
        for image in &images {
            let about = (&*statement.predicate_type, signed);
            services.wait(signing.keep(&client, (&repository, image), about))??;
        }
    }
    Ok(())
}
