//! The images that a Dockerfile names: manifests and configurations, no layers.

use crate::dockerfile::Dockerfile;
use crate::image::{Image, Layer, LayerContent};
use crate::oci::{Descriptor, DiffId, ImageConfig};
use crate::plan::{self, Base, BaseKey, Bases, BuildPlan, Planned};
use crate::request::BuildRequest;

use super::{Error, Services, layout};

/// Plans the build, asking the registries for what it needs to know; repeated while ONBUILD names new images.
pub(super) fn plan_with_bases(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    services: &Services,
) -> Result<(BuildPlan, Bases), Error> {
    let mut bases = Bases::new();
    loop {
        match plan::plan(dockerfile, &bases, request)? {
            Planned::Complete(plan) => return Ok((plan, bases)),
            Planned::Needs(keys) => {
                for (key, span) in keys {
                    let base = resolve(&key, request, services).map_err(|error| error.at(span, None))?;
                    bases.insert(key, base);
                }
            }
        }
    }
}

fn resolve(key: &BaseKey, request: &BuildRequest, services: &Services) -> Result<Base, Error> {
    let reference = key.reference.to_string();
    let bad = |reason: String| Error::BadBase { reference: reference.clone(), reason };
    let platform = key.platform.parse().map_err(|error| bad(format!("{error}")))?;
    if let Some(path) = &key.layout {
        return layout::resolve(path, &key.reference, &platform, &services.store).map_err(bad);
    }
    let resolved = match services.base_images.find(&key.reference, &platform) {
        Some(known) => known,
        None if request.offline => return Err(Error::Offline { reference }),
        None => {
            let resolved = services.wait(services.registry.resolve(&key.reference, &platform))?;
            resolved.map_err(|source| Error::Base { reference: reference.clone(), source })?
        }
    };
    services.base_images.lend(&resolved.manifest, &services.store);
    let digest = resolved.index_digest.clone().unwrap_or_else(|| resolved.digest.clone());
    let pinned = key.reference.with_digest(digest);
    let manifest = resolved.digest.clone();
    let content = LayerContent::Remote(key.reference.clone());
    let image = image(resolved.manifest.layers, resolved.config, &content).map_err(bad)?;
    Ok(Base { pinned, manifest, image })
}

/// Joins the manifest's layers with the configuration's digests.
pub(super) fn image(layers: Vec<Descriptor>, config: ImageConfig, content: &LayerContent) -> Result<Image, String> {
    let diff_ids: &[DiffId] = &config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        return Err(format!("its manifest has {} layers, its configuration {}", layers.len(), diff_ids.len()));
    }
    let joined = layers.into_iter().zip(diff_ids);
    let layers =
        joined.map(|(descriptor, diff_id)| Layer { descriptor, diff_id: diff_id.clone(), content: content.clone() });
    Ok(Image { layers: layers.collect(), config })
}
