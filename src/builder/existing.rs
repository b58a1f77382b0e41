//! The key of a whole build, and images that were already built of the same.
//!
//! *Invariant: the key changes with everything that decides the image, but for the time of the build where no epoch is
//! given. Nothing is built to find it, and no layer is read.*

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::CacheKey;
use crate::cache::key::{Frames, Part, Parts};
use crate::context::Context;
use crate::image::{Image, Layer, LayerContent};
use crate::oci::{Descriptor, DiffId, Digest, Reference};
use crate::outcome::{BaseUsed, BuildOutcome, Circumstances};
use crate::output;
use crate::plan::{Action, Base, BaseKey, Bases, BuildPlan, CopyFrom, CopyStep, Stage, StageBase, StageId};
use crate::progress::Event;
use crate::request::{BuildRequest, ImageForm, ImageFormat, Snapshots};

use super::stage::Shared;
use super::witness::{Observer, Reader, Witness};
use super::{Error, Services, keys};

/// What the tag of an image begins with that is found by its build's key.
const TAG: &str = "build-";

/// The key of a build, and what was seen of contexts when it was made.
#[derive(Debug)]
pub(super) struct BuildKey {
    pub(super) key: CacheKey,
    pub(super) witness: Witness,
    /// Whether a step has seen something else.
    pub(super) is_wrong: AtomicBool,
}

/// Returns the key of a build where something asks for it, and tells it.
pub(super) fn key_if_asked(
    request: &BuildRequest,
    plan: &BuildPlan,
    bases: &Bases,
    context: &Context,
    services: &Services,
) -> Result<Option<BuildKey>, Error> {
    if !request.cache.print_key && !request.cache.skip_existing {
        return Ok(None);
    }
    let key = build_key(request, plan, bases, context, services)?;
    services.reporter.report(Event::BuildKey { key: key.key.hex(), is_asked: request.cache.print_key });
    Ok(Some(key))
}

/// Returns the key of a build.
fn build_key(
    request: &BuildRequest,
    plan: &BuildPlan,
    bases: &Bases,
    context: &Context,
    services: &Services,
) -> Result<BuildKey, Error> {
    let witness = Witness::default();
    let mut nowhere = services.uploads(Vec::new());
    let shared = Shared::new(request, plan, bases, context, services, &mut nowhere);
    let settings = &shared.caching.settings;
    let single = request.snapshots == Snapshots::Single;
    let mut frames = Frames::new("build").with(settings.runs.hex()).with(single.to_string());
    frames = frames.with(request.cache.inline.to_string()).list(form(&request.form));
    // What is said about an image is there with it.
    frames = frames.option(request.attestations.is_wanted().then(|| request.attestations.kinds()));
    frames = frames.option(request.platform_is_asked.then(|| request.platform.to_string()));
    for (number, stage) in plan.stages.iter().enumerate() {
        let base = match &stage.base {
            StageBase::Scratch => "scratch".to_owned(),
            StageBase::Image(key) => bases.get(key).map(|base| base.manifest.to_string()).unwrap_or_default(),
            StageBase::Stage(id) => format!("stage {}", id.0),
        };
        frames = frames.with(base).with(stage.platform.to_string()).with(keys::json(&stage.config));
        frames = frames
            .option(stage.author.as_ref())
            .list(shared.step_keys(StageId(number), stage, &witness)?.iter().map(Digest::hex));
    }
    Ok(BuildKey { key: frames.key(), witness, is_wrong: AtomicBool::new(false) })
}

impl Shared<'_> {
    fn step_keys(&self, id: StageId, stage: &Stage, witness: &Witness) -> Result<Vec<Digest>, Error> {
        let settings = &self.caching.settings;
        let mut digests = Vec::new();
        for (number, step) in stage.steps.iter().enumerate() {
            let observer = |mount| Some(witness.record(Reader { stage: id.0, step: number, mount }));
            let place = |error: Error| error.at(step.span, None);
            let parts = match &step.action {
                Action::Configure => Parts::new("configure"),
                Action::Workdir(workdir) => keys::workdir(Parts::new("workdir"), workdir, settings),
                Action::Copy(copy) => {
                    let planned = self.planned(id, copy, observer(0)).map_err(place)?;
                    keys::copy(Parts::new("copy"), copy, &[Some(planned)], settings)
                }
                Action::Run(run) => {
                    let mut shown = Vec::new();
                    for (number, mount) in run.mounts.iter().enumerate() {
                        let what = mount.what.shows();
                        let planned = what.map(|what| self.planned_mount(id, what, observer(number + 1)));
                        shown.push(planned.transpose().map_err(place)?);
                    }
                    keys::run(Parts::new("run"), run, &shown, settings)
                }
            };
            digests.push(Frames::new("step").option(step.created_by.as_ref()).with(parts.key().hex()).digest());
        }
        Ok(digests)
    }

    /// Digests what a step copies, before any stage is built.
    fn planned(&self, id: StageId, copy: &CopyStep, observer: Option<Observer<'_>>) -> Result<Part, Error> {
        match &copy.from {
            CopyFrom::Context | CopyFrom::Named(_) | CopyFrom::Image(_) => self.copied(id, copy, observer),
            CopyFrom::Stage(stage) => Ok(planned_stage(*stage)),
        }
    }

    /// Digests what a mount shows, before any stage is built.
    fn planned_mount(
        &self,
        id: StageId,
        (from, path): (&CopyFrom, &str),
        observer: Option<Observer<'_>>,
    ) -> Result<Part, Error> {
        match from {
            CopyFrom::Context | CopyFrom::Named(_) | CopyFrom::Image(_) => self.shown(id, from, path, observer),
            CopyFrom::Stage(stage) => Ok(planned_stage(*stage)),
        }
    }
}

/// Stands for the files of a stage, which its own steps decide.
fn planned_stage(stage: StageId) -> Part {
    Part::new("a planned stage", Frames::new("planned stage").with(stage.0.to_string()).digest())
}

/// What the documents of the image look like; an origin is of the context, whose contents count anyway.
fn form(form: &ImageForm) -> Vec<Vec<u8>> {
    let ImageForm { format, recompress, annotations, descriptor_annotations: _, origin } = form;
    let format = match format {
        ImageFormat::Oci => "oci",
        ImageFormat::Docker => "docker",
    };
    let marks = format!("{recompress} {} {}", origin.annotations, origin.labels);
    vec![format.into(), marks.into(), keys::json(annotations)]
}

/// Looks for an image of the same key in the repositories of all destinations; where each has it, it gets their tags.
pub(super) fn find(
    request: &BuildRequest,
    key: Option<&BuildKey>,
    services: &Services,
) -> Result<Option<Existing>, Error> {
    let Some(BuildKey { key, .. }) = key.filter(|_| request.cache.skip_existing && !request.attestations.makes_index())
    else {
        return Ok(None);
    };
    let destinations = output::registries(&request.outputs);
    // An archive or a layout is written of layers, which would have to be fetched: that is what a build does.
    if request.outputs.len() > destinations.len() {
        return Ok(None);
    }
    // What was pushed to a destination is there, and not where bases come from in place of it.
    let registry = services.registry.direct();
    let mut found: Option<(bytes::Bytes, Digest)> = None;
    for destination in &destinations {
        let Some(image) = services.wait(registry.manifest(&tagged(destination, key)))?.map_err(output::Error::from)?
        else {
            return Ok(None);
        };
        match &found {
            Some((_, digest)) if *digest != image.1 => return Ok(None),
            Some(_) => {}
            None => found = Some(image),
        }
    }
    let (Some((bytes, digest)), Some(first)) = (found, destinations.first()) else { return Ok(None) };
    let resolved = services.wait(registry.resolve(&first.with_digest(digest), &request.platform))?;
    let resolved = resolved.map_err(output::Error::from)?;
    let media_type = &resolved.manifest.media_type;
    let put = async |destination: &Reference| {
        Ok(registry.push_manifest(destination, media_type, bytes.clone()).await.map(drop)?)
    };
    services.wait(output::point(&destinations, put))??;
    let media_type = resolved.manifest.media_type.clone();
    let manifest = Descriptor::of(&media_type, &bytes);
    let note = format!("already built: {} has the key {key}", manifest.digest);
    services.reporter.report(Event::Note(&note));
    Ok(Some(Existing { manifest, document: resolved.manifest, config: resolved.config, pushed: destinations }))
}

/// An image that was found.
pub(super) struct Existing {
    pub(super) manifest: Descriptor,
    pub(super) document: crate::oci::Manifest,
    config: crate::oci::ImageConfig,
    pub(super) pushed: Vec<Reference>,
}

impl Existing {
    /// Returns it as an image, whose layers are in the registry.
    pub(super) fn image(&self) -> Image {
        let place = |reference: &Reference| LayerContent::Remote(Reference { tag: None, ..reference.clone() });
        let content = self.pushed.first().map_or(LayerContent::Stored, place);
        let layers = self.document.layers.iter().zip(&self.config.rootfs.diff_ids);
        let layer = |(descriptor, diff_id): (&Descriptor, &DiffId)| Layer {
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
            content: content.clone(),
        };
        Image { config: self.config.clone(), layers: layers.map(layer).collect() }
    }

    /// Tells about it as about an image that was built.
    pub(super) fn outcome(
        self,
        context: &Context,
        base: Option<&(BaseKey, Base)>,
        bases: Vec<BaseUsed>,
    ) -> BuildOutcome {
        let layers: u64 = self.document.layers.iter().map(|layer| layer.size).sum();
        BuildOutcome {
            size: layers + self.document.config.size + self.manifest.size,
            manifest: self.manifest,
            layers: self.document.layers.len(),
            config: self.document.config,
            images: Vec::new(),
            base_layers: base.map_or(0, |(_, base)| base.image.layers.len()),
            platform: self.config.platform,
            pushed: self.pushed,
            bases,
            context: context.origin.clone(),
            source: context.source().cloned(),
            steps: Vec::new(),
            attested: Vec::new(),
            sboms: Vec::new(),
            circumstances: Circumstances::default(),
        }
    }
}

/// Lets an image be found by the key of its build.
pub(super) fn tag(
    image: &output::Assembled,
    key: Option<&BuildKey>,
    pushed: &[Reference],
    services: &Services,
) -> Result<(), Error> {
    let Some(BuildKey { key, witness, is_wrong }) = key else { return Ok(()) };
    if is_wrong.load(Ordering::Relaxed) || !witness.holds() {
        let message = "files of the context changed during the build: the image is not to be found by the build's key";
        services.reporter.report(Event::Warning { rule: "ContextChanged", line: None, message });
        return Ok(());
    }
    for destination in pushed {
        let tagged = tagged(destination, key);
        let (media_type, bytes) = (&image.manifest.media_type, image.manifest_bytes.clone());
        let tagged = services.wait(services.registry.push_manifest(&tagged, media_type, bytes))?;
        tagged.map_err(output::Error::from)?;
    }
    Ok(())
}

fn tagged(destination: &Reference, key: &CacheKey) -> Reference {
    Reference { tag: Some(format!("{TAG}{key}")), digest: None, ..destination.clone() }
}
