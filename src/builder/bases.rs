//! The images that a Dockerfile names: manifests and configurations, no layers.

use crate::dockerfile::{Dockerfile, suggest};
use crate::image::LayerContent;
use crate::plan::{self, Base, BaseKey, Bases, BuildPlan, Extent, Planned};
use crate::progress::Event;
use crate::registry::Resolved;
use crate::request::BuildRequest;
use crate::trust::{Candidate, Policy};

use super::{Error, Services, joined, layout};

/// Plans the build, asking the registries for what it needs to know; repeated while ONBUILD names new images.
pub(super) fn plan_with_bases(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    services: &Services,
) -> Result<(BuildPlan, Bases), Error> {
    let asked = plan_asking(dockerfile, request, services, Extent::Target, Asking::Must)?;
    Ok((asked.plan, asked.bases))
}

/// What becomes of an image that a registry does not tell about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// It is an error.
    Must,
    /// It stays unknown.
    Tolerant,
}

/// A plan, and what is known of its images.
pub(super) struct Asked {
    pub(super) plan: BuildPlan,
    pub(super) bases: Bases,
    /// The images that stay unknown, and why.
    pub(super) unknown: Vec<(String, Error)>,
}

/// Plans stages, asking the registries as [`plan_with_bases`] does.
pub(super) fn plan_asking(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    services: &Services,
    extent: Extent,
    asking: Asking,
) -> Result<Asked, Error> {
    let (mut bases, mut unknown) = (Bases::new(), Vec::new());
    loop {
        match plan::plan_stages(dockerfile, &bases, request, extent)? {
            Planned::Complete(plan) => return Ok(Asked { plan, bases, unknown }),
            Planned::Needs(keys) => {
                for (key, span) in keys {
                    let base = match (resolve(&key, request, services), asking) {
                        (Ok(base), _) => {
                            if let Some(digest) = &base.pinned.digest {
                                services.reporter.report(Event::Resolved { name: &key.reference, digest });
                            }
                            base
                        }
                        (Err(Error::Interrupted), _) => return Err(Error::Interrupted),
                        (Err(error), Asking::Must) => {
                            return Err(error.at(span, None).meant(stage_meant(dockerfile, &key)));
                        }
                        (Err(error), Asking::Tolerant) => {
                            let platform = key.platform.parse().unwrap_or_else(|_| request.platform.clone());
                            unknown.push((key.reference.to_string(), error));
                            Base::unknown(&key.reference, platform)
                        }
                    };
                    bases.insert(key, base);
                }
            }
        }
    }
}

/// Guesses that a name which no registry knows was to be a stage's.
fn stage_meant(dockerfile: &Dockerfile, key: &BaseKey) -> Option<String> {
    let name = key.reference.repository.strip_prefix("library/")?;
    suggest::hint(name, dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref()))
}

fn resolve(key: &BaseKey, request: &BuildRequest, services: &Services) -> Result<Base, Error> {
    let reference = key.reference.to_string();
    let bad = |reason: String| Error::BadBase { reference: reference.clone(), reason };
    let platform = key.platform.parse().map_err(|error| bad(format!("{error}")))?;
    if let Some(path) = &key.layout {
        services.policy.iter().try_for_each(|policy| policy.check_layout(path))?;
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
    if let Some(policy) = &services.policy {
        check(policy, &resolved, request.offline, services)?;
    }
    services.base_images.lend(&resolved.manifest, &services.store);
    let pinned = key.reference.with_digest(resolved.named());
    let manifest = resolved.digest.clone();
    let content = LayerContent::Remote(key.reference.clone());
    let image = joined::image(resolved.manifest.layers, resolved.config, &content).map_err(bad)?;
    Ok(Base { pinned, manifest, image })
}

/// Checks that an image meets the policy, before anything of it but its documents is fetched.
fn check(policy: &Policy, image: &Resolved, offline: bool, services: &Services) -> Result<(), Error> {
    if offline {
        return Ok(policy.check_offline(&image.reference)?);
    }
    let mut digests = vec![image.named(), image.digest.clone()];
    digests.dedup();
    let image = Candidate { reference: &image.reference, digests };
    Ok(services.wait(policy.check(&image, &services.registry))??)
}
