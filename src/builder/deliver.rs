//! The last step: the image goes to its files and registries.

use crate::oci::Reference;
use crate::output::{self, Assembled, Delivery, Uploads};
use crate::progress::Phase;
use crate::request::{BuildRequest, Output};

use super::{Error, Services, layers, platforms};

/// Writes the outputs that are files, then finishes the push; returns the references that were pushed.
pub(super) fn deliver(
    request: &BuildRequest,
    services: &Services,
    image: &Assembled,
    uploads: Uploads,
) -> Result<Vec<Reference>, Error> {
    write(&request.outputs, image, platforms::joins(request), services)?;
    Ok(services.wait(uploads.finish(image))??)
}

/// Writes those of the outputs that are files; `is_part` tells that the image is one of several in them.
pub(super) fn write(outputs: &[Output], image: &Assembled, is_part: bool, services: &Services) -> Result<(), Error> {
    let needs_files = outputs.iter().any(output::needs_files);
    let files = needs_files.then(|| layers::inventory(services, &image.layers)).transpose()?;
    let open = |layer: &_| {
        let blob = layers::open(services, layer, false)?;
        Ok(Box::new(layers::moving(services, Phase::Write, layer).reading(blob)) as _)
    };
    let (files, reporter, places) = (files.as_ref(), &*services.reporter, &*services.places);
    let delivery = Delivery { image, files, open: &open, stop: services.stop(), is_part, reporter, places };
    Ok(output::write_files(outputs, &delivery)?)
}

/// Brings the layers here that the cache has lent, for outputs that are files.
pub(super) fn borrow(image: &Assembled, services: &Services) -> Result<(), Error> {
    for layer in &image.layers {
        let failure = |source| Error::Fetch { digest: layer.descriptor.digest.to_string(), source };
        layers::borrow(services, layer).map_err(failure)?;
    }
    Ok(())
}
