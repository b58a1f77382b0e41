//! A plan as it is shown: texts and numbers, nothing that must not be seen.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::builder::{Expected, Forecast, Preview};
use crate::http::{MASKED, redact_within};
use crate::plan::{Action, BuildPlan, CopyFrom, CopySource, Mounted, RunStep, Stage, StageBase, Step};
use crate::request::RunNetwork;

/// What would be built.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    schema_version: u32,
    /// The Dockerfile's name as the user knows it.
    pub(super) file: String,
    /// The stage that becomes the image.
    pub(super) target: String,
    /// The platform of the image.
    pub(super) platform: String,
    /// The stages that are needed, each after those it needs itself.
    pub(super) stages: Vec<StageView>,
    /// The stages that are not needed.
    pub(super) unneeded: Vec<Unneeded>,
    /// The images that are started or copied from.
    pub(super) images: Vec<ImageView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StageView {
    pub(super) name: String,
    pub(super) line: usize,
    /// What it starts from: an image, `scratch`, or a stage.
    pub(super) base: Input,
    pub(super) platform: String,
    /// Whether a root file system must be unpacked for it, if nothing comes from the cache.
    pub(super) needs_rootfs: bool,
    pub(super) steps: Vec<StepView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepView {
    /// From 1, within its stage.
    pub(super) number: usize,
    pub(super) line: usize,
    /// The instruction as it is written, on one line.
    pub(super) instruction: String,
    /// The same with its values, where it has some.
    pub(super) expanded: Option<String>,
    /// Whether the image gets a layer, if files change.
    pub(super) layer: bool,
    pub(super) needs_rootfs: bool,
    /// What it reads besides the image that it changes.
    pub(super) inputs: Vec<Input>,
    /// How a process is run, if one is.
    pub(super) run: Option<RunView>,
    /// What the cache has, where there is one and the step has a result of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<CacheView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheView {
    /// None where it cannot be known yet.
    pub(super) key: Option<String>,
    /// `hit`, `miss`, `unknown` or `never`.
    pub(super) expected: &'static str,
    /// For a miss: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) because: Option<String>,
    /// For what is unknown: before what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<String>,
    /// When the result was made that is there, or that does not fit any more, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<i64>,
    /// The layer that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layer: Option<LayerView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LayerView {
    pub(super) digest: String,
    pub(super) size: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Input {
    /// `context`, `named-context`, `stage`, `image`, `url`, `git`, `dockerfile`, `cache`, `secret`, `ssh` or `scratch`.
    pub(super) kind: &'static str,
    /// Which one; empty for the context.
    pub(super) name: String,
    /// Which files of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) paths: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunView {
    pub(super) argv: Vec<String>,
    pub(super) user: String,
    pub(super) directory: String,
    pub(super) network: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unneeded {
    pub(super) name: String,
    pub(super) line: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageView {
    pub(super) name: String,
    pub(super) platform: String,
    /// None where it could not be asked for.
    pub(super) digest: Option<String>,
}

impl View {
    pub(super) fn of(preview: &Preview) -> Self {
        let plan = &preview.plan;
        let planned: BTreeSet<usize> = plan.stages.iter().map(|stage| stage.span.start).collect();
        let stages = preview.parsed.stages.iter().enumerate();
        let unneeded = stages.filter(|(_, stage)| !planned.contains(&stage.span.start)).map(|(index, stage)| {
            Unneeded { name: stage.from.name.clone().unwrap_or_else(|| index.to_string()), line: stage.span.first_line }
        });
        let image = |(key, base): (&crate::plan::BaseKey, &crate::plan::Base)| ImageView {
            name: key.reference.to_string(),
            platform: key.platform.clone(),
            digest: base.pinned.digest.as_ref().map(ToString::to_string),
        };
        let mut images: Vec<ImageView> = preview.bases.iter().map(image).collect();
        images.sort();
        let last = plan.stages.get(plan.target.0);
        let mask = Mask { secrets: &preview.secrets };
        Self {
            schema_version: 1,
            file: preview.dockerfile.name.display().to_string(),
            target: last.map(|stage| stage.name.clone()).unwrap_or_default(),
            platform: last.map(|stage| stage.platform.to_string()).unwrap_or_default(),
            stages: stages_view(preview, &mask),
            unneeded: unneeded.collect(),
            images,
        }
    }

    /// Writes the plan for programs.
    pub(super) fn to_json(&self) -> String {
        // Plain data with names for keys: nothing in it can fail to be JSON.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }
}

/// Hides what must not be seen.
struct Mask<'a> {
    secrets: &'a [String],
}

impl Mask<'_> {
    fn text(&self, text: &str) -> String {
        let masked = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASKED));
        redact_within(&masked)
    }
}

fn stages_view(preview: &Preview, mask: &Mask<'_>) -> Vec<StageView> {
    let forecasts = preview.forecast.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
    let stages = preview.plan.stages.iter().zip(forecasts);
    stages.map(|(stage, forecast)| stage_view(stage, forecast, &preview.plan, mask)).collect()
}

fn stage_view(stage: &Stage, forecast: &[Option<Forecast>], plan: &BuildPlan, mask: &Mask<'_>) -> StageView {
    let base = match &stage.base {
        StageBase::Scratch => Input::new("scratch", ""),
        StageBase::Image(key) => Input::new("image", &key.reference.to_string()),
        StageBase::Stage(id) => Input::new("stage", stage_name(plan, *id)),
    };
    let steps = stage.steps.iter().enumerate();
    StageView {
        name: stage.name.clone(),
        line: stage.span.first_line,
        base,
        platform: stage.platform.to_string(),
        needs_rootfs: stage.steps.iter().any(|step| step.action.needs_rootfs()),
        steps: steps
            .map(|(index, step)| {
                let cache = forecast.get(index).and_then(Option::as_ref).map(|forecast| cache_view(forecast, mask));
                StepView { cache, ..step_view(index + 1, step, plan, mask) }
            })
            .collect(),
    }
}

fn stage_name(plan: &BuildPlan, id: crate::plan::StageId) -> &str {
    plan.stages.get(id.0).map_or("", |stage| stage.name.as_str())
}

fn step_view(number: usize, step: &Step, plan: &BuildPlan, mask: &Mask<'_>) -> StepView {
    let history = step.created_by.as_deref().map(|text| text.trim_end_matches(" # buildkit"));
    let (expanded, inputs, run) = match &step.action {
        Action::Configure | Action::Workdir(_) => (history, Vec::new(), None),
        Action::Copy(copy) => (history, copy_inputs(&copy.from, &copy.sources, plan), None),
        Action::Run(run) => (None, run_inputs(run, plan), Some(run_view(run, mask))),
    };
    let hidden = |input: Input| Input {
        name: mask.text(&input.name),
        paths: input.paths.iter().map(|path| mask.text(path)).collect(),
        ..input
    };
    StepView {
        number,
        line: step.span.first_line,
        instruction: mask.text(&step.text),
        expanded: expanded.map(|text| mask.text(text)),
        layer: !matches!(step.action, Action::Configure),
        needs_rootfs: step.action.needs_rootfs(),
        inputs: inputs.into_iter().map(hidden).collect(),
        run,
        cache: None,
    }
}

fn cache_view(forecast: &Forecast, mask: &Mask<'_>) -> CacheView {
    let key = forecast.key.as_ref().map(ToString::to_string);
    let view = CacheView { key, expected: "never", because: None, until: None, made: None, layer: None };
    match &forecast.expected {
        Expected::Hit { made, layer } => {
            let layer = layer.as_ref().map(|(digest, size)| LayerView { digest: digest.to_string(), size: *size });
            CacheView { expected: "hit", made: Some(*made), layer, ..view }
        }
        Expected::Miss(miss) => {
            CacheView { expected: "miss", because: Some(mask.text(&miss.because)), made: miss.since, ..view }
        }
        Expected::Unknown { until } => CacheView { expected: "unknown", until: Some(mask.text(until)), ..view },
        Expected::Never => view,
    }
}

fn run_view(run: &RunStep, mask: &Mask<'_>) -> RunView {
    RunView {
        argv: run.argv.iter().map(|word| mask.text(word)).collect(),
        user: if run.user.is_empty() { "root".to_owned() } else { run.user.clone() },
        directory: run.directory.clone(),
        network: match run.network {
            RunNetwork::Host => "host",
            RunNetwork::None => "none",
        },
    }
}

fn copy_inputs(from: &CopyFrom, sources: &[CopySource], plan: &BuildPlan) -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut paths = Vec::new();
    for source in sources {
        match source {
            CopySource::Path(path) => paths.push(path.clone()),
            CopySource::Inline { name, .. } => inputs.push(Input::new("dockerfile", &format!("<<{name}"))),
            CopySource::Url { source, .. } => inputs.push(Input::new("url", &source.url.0)),
            CopySource::Git(source) => inputs.push(Input::new("git", &source.url.0)),
        }
    }
    if !paths.is_empty() {
        inputs.insert(0, Input { paths, ..from_input(from, plan) });
    }
    inputs
}

fn from_input(from: &CopyFrom, plan: &BuildPlan) -> Input {
    match from {
        CopyFrom::Context => Input::new("context", ""),
        CopyFrom::Named(name) => Input::new("named-context", name),
        CopyFrom::Stage(id) => Input::new("stage", stage_name(plan, *id)),
        CopyFrom::Image(key) => Input::new("image", &key.reference.to_string()),
    }
}

fn run_inputs(run: &RunStep, plan: &BuildPlan) -> Vec<Input> {
    let mut inputs = Vec::new();
    for mount in &run.mounts {
        match &mount.what {
            Mounted::Bind { from, source, .. } => {
                inputs.push(Input { paths: vec![source.clone()], ..from_input(from, plan) });
            }
            Mounted::Cache(cache) => {
                inputs.push(Input::new("cache", &cache.id));
                inputs.extend(cache.from.as_ref().map(|from| from_input(from, plan)));
            }
            Mounted::Secret { id, .. } => inputs.push(Input::new("secret", id)),
            Mounted::Ssh { id, .. } => inputs.push(Input::new("ssh", id)),
            Mounted::Tmpfs { .. } | Mounted::Script(_) => {}
        }
    }
    inputs
}

impl Input {
    fn new(kind: &'static str, name: &str) -> Self {
        Self { kind, name: name.to_owned(), paths: Vec::new() }
    }
}
