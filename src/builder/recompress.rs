//! `--force-compression`: layers of the base that are compressed otherwise than new ones are compressed anew.
//!
//! What is in them, and so their place in the configuration, stays the same; that is checked.

use crate::image::{self, Layer};
use crate::output;
use crate::plan::{Base, BaseKey, Bases};
use crate::request::{BuildRequest, Compression};

use super::{Error, Services, layers};

/// Checks that the image's format has names for the layers that the target has from its base.
///
/// # Errors
/// [`crate::output::Error::NoMediaType`], unless they are compressed anew.
pub(super) fn check(request: &BuildRequest, target_base: Option<&(BaseKey, Base)>) -> Result<(), Error> {
    match target_base {
        Some((_, base)) if !request.form.recompress => Ok(output::check_layers(&base.image.layers, &request.form)?),
        _ => Ok(()),
    }
}

/// Puts layers in the place of those of the target's base that are compressed otherwise, where that is asked for.
///
/// # Errors
/// When a layer cannot be fetched, or is not the one that its image says.
pub(super) fn force(
    request: &BuildRequest,
    services: &Services,
    target_base: Option<&(BaseKey, Base)>,
    bases: &mut Bases,
) -> Result<(), Error> {
    let Some((key, base)) = target_base.filter(|_| request.form.recompress) else { return Ok(()) };
    let layers = base.image.layers.iter().map(|layer| recompressed(services, layer, request.compression));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    bases.entry(key.clone()).and_modify(|base| base.image.layers = layers);
    Ok(())
}

fn recompressed(services: &Services, layer: &Layer, compression: Compression) -> Result<Layer, Error> {
    if image::is_compressed_as(&layer.descriptor.media_type, compression) {
        return Ok(layer.clone());
    }
    let digest = || layer.descriptor.digest.to_string();
    let mut tar = layers::open_tar(services, layer).map_err(|source| Error::Fetch { digest: digest(), source })?;
    // A stream that ends well is the one that the image's configuration names.
    let new = image::compress_layer(&mut tar, &services.store, compression);
    new.map_err(|source| Error::Layer { digest: digest(), source })
}
