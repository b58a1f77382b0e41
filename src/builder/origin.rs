//! What an image says of its origin, where that was asked for: when and of what it was made.
//!
//! Source of the keys: OCI image-spec, annotations.md, "Pre-Defined Annotation Keys".

use std::collections::BTreeMap;

use crate::context::Context;
use crate::image::Image;
use crate::plan::{Base, BaseKey, Bases, BuildPlan, StageBase};
use crate::request::{BuildRequest, ImageForm};

use super::stage::rfc3339;

/// Returns the image and its form with the marks; what labels and annotations say already stays.
pub(super) fn marked(
    mut image: Image,
    request: &BuildRequest,
    base: Option<&(BaseKey, Base)>,
    context: &Context,
) -> (Image, ImageForm) {
    let mut form = request.form.clone();
    // The same image from the cache is not another one because it is later.
    let created = image.config.created.clone().unwrap_or_else(|| rfc3339(request.created));
    let add = |known: &mut BTreeMap<String, String>| {
        for (key, value) in marks(&created, base, context) {
            known.entry(format!("org.opencontainers.image.{key}")).or_insert(value);
        }
    };
    if form.origin.labels {
        // What the base says of its own origin would be untrue for this image.
        let labels = &mut image.config.config.labels;
        let inherited = base.map(|(_, base)| &base.image.config.config.labels);
        labels.retain(|key, value| !is_origin(key) || inherited.and_then(|labels| labels.get(key)) != Some(value));
        add(labels);
    }
    if form.origin.annotations {
        add(&mut form.annotations);
    }
    (image, form)
}

/// Returns the image that the target starts from; none where that is nothing at all.
pub(super) fn target_base(plan: &BuildPlan, bases: &Bases) -> Option<(BaseKey, Base)> {
    let mut next = plan.stages.get(plan.target.0);
    while let Some(stage) = next {
        next = match &stage.base {
            StageBase::Scratch => None,
            StageBase::Image(key) => return bases.get(key).map(|base| (key.clone(), base.clone())),
            StageBase::Stage(id) => plan.stages.get(id.0),
        };
    }
    None
}

const KEYS: [&str; 5] = ["created", "revision", "source", "base.name", "base.digest"];

fn is_origin(label: &str) -> bool {
    label.strip_prefix("org.opencontainers.image.").is_some_and(|key| KEYS.contains(&key))
}

fn marks(
    created: &str,
    base: Option<&(BaseKey, Base)>,
    context: &Context,
) -> impl Iterator<Item = (&'static str, String)> {
    let source = context.origin.as_ref().and_then(|origin| origin.source.as_ref());
    // A layout's directory is no place that a reader of the image could look at.
    let base = base.filter(|(key, _)| key.layout.is_none());
    let values = [
        Some(created.to_owned()),
        source.map(|source| source.commit.clone()),
        source.map(|source| source.url.clone()),
        base.map(|(key, _)| key.reference.to_string()),
        base.and_then(|(_, base)| base.pinned.digest.as_ref().map(ToString::to_string)),
    ];
    KEYS.into_iter().zip(values).filter_map(|(key, value)| value.map(|value| (key, value)))
}
