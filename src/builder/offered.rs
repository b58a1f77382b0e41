//! Provenance that nobody has asked for: registries are offered it when they have the image.
//!
//! *Invariant: whatever becomes of it, the image is delivered as it is, and nothing names what a registry did not take.*

use crate::attest::provenance::SLSA_PROVENANCE;
use crate::attest::{Attachment, Statement};
use crate::causes;
use crate::outcome::{Attested, StepDone};
use crate::output::{self, Assembled};
use crate::progress::{Event, Phase};

use super::attempt::Setting;
use super::{Error, Services, attestations, provenance};

/// Offers the provenance of an image to the repositories that it was pushed to; returns what all of them have taken. That
/// one has not is a warning.
pub(super) fn offer(
    image: &Assembled,
    steps: &[StepDone],
    setting: &Setting<'_>,
    services: &Services,
) -> Result<Vec<Attested>, Error> {
    if !setting.request.attestations.offers_provenance {
        return Ok(Vec::new());
    }
    match services.timed(Phase::Push, |services| pushed(image, steps, setting, services)) {
        Ok(attachment) => {
            let told = attestations::told(&[attachment]).into_iter();
            Ok(told.map(|one| Attested { is_offered: true, ..one }).collect())
        }
        Err(error) if services.cancel.is_cancelled() => Err(error),
        Err(error) => {
            let cause = causes::in_one_line(&error);
            let message =
                format!("the image was pushed without provenance, which --provenance=off leaves out: {cause}");
            services.reporter.report(Event::Warning { rule: "NotAttested", line: None, message: &message });
            Ok(Vec::new())
        }
    }
}

fn pushed(
    image: &Assembled,
    steps: &[StepDone],
    setting: &Setting<'_>,
    services: &Services,
) -> Result<Attachment, Error> {
    let request = setting.request;
    let provenance = provenance::provenance(setting, steps, services);
    let subjects = attestations::subjects(image, request);
    let statement = Statement::new(subjects, SLSA_PROVENANCE, &provenance).map_err(Error::Attest)?;
    let attachment = Attachment::referrer(attestations::document(&statement, request, services)?, &image.manifest);
    let client = services.registry.direct();
    for repository in output::repositories(&output::registries(&request.outputs)) {
        let pushed = output::push_attachment(&attachment, &repository, &client, &*services.reporter);
        services.wait(pushed)?.map_err(output::Error::from)?;
    }
    Ok(attachment)
}
