//! The last step: the image goes to its files and registries.

use crate::oci::Reference;
use crate::output::{self, Assembled, Delivery, Uploads};
use crate::progress::Phase;
use crate::request::BuildRequest;

use super::{Error, Services, layers, platforms};

/// Writes the outputs that are files, then finishes the push; returns the references that were pushed.
pub(super) fn deliver(
    request: &BuildRequest,
    services: &Services,
    image: &Assembled,
    uploads: Uploads,
) -> Result<Vec<Reference>, Error> {
    let needs_files = request.outputs.iter().any(output::needs_files);
    let files = needs_files.then(|| layers::inventory(services, &image.layers)).transpose()?;
    let open = |layer: &_| {
        let blob = layers::open(services, layer, false)?;
        Ok(Box::new(layers::moving(services, Phase::Write, layer).reading(blob)) as _)
    };
    let (files, is_part) = (files.as_ref(), platforms::joins(request));
    let (reporter, places) = (&*services.reporter, &*services.places);
    let delivery = Delivery { image, files, open: &open, stop: services.stop(), is_part, reporter, places };
    output::write_files(&request.outputs, &delivery)?;
    Ok(services.wait(uploads.finish(image))??)
}
