//! A plan for people.

use std::fmt::Write as _;

use super::view::{CacheView, Input, StageView, StepView, View};

/// Writes the stages with their steps, and below each step what it reads and how it is run.
pub(super) fn render(view: &View) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let steps: usize = view.stages.iter().map(|stage| stage.steps.len()).sum();
    let View { file, target, platform, .. } = view;
    let _ = writeln!(
        text,
        "{file}: target {target} for {platform}: {}, {}",
        count(view.stages.len(), "stage"),
        count(steps, "step")
    );
    for stage in &view.stages {
        push_stage(&mut text, stage);
    }
    if !view.images.is_empty() {
        text.push_str("\nimages\n");
    }
    for image in &view.images {
        let digest = image.digest.as_deref().unwrap_or("not asked for");
        let _ = writeln!(text, "  {} ({}): {digest}", image.name, image.platform);
    }
    let unneeded: Vec<String> =
        view.unneeded.iter().map(|stage| format!("{} (line {})", stage.name, stage.line)).collect();
    if !unneeded.is_empty() {
        let _ = writeln!(text, "\nnot needed: {}", unneeded.join(", "));
    }
    text
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn push_stage(text: &mut String, stage: &StageView) {
    let base = match stage.base.kind {
        "stage" => format!("stage {}", stage.base.name),
        "image" => stage.base.name.clone(),
        other => other.to_owned(),
    };
    let rootfs = if stage.needs_rootfs { "needs a root file system" } else { "needs no root file system" };
    let StageView { name, line, platform, .. } = stage;
    let _ = writeln!(text, "\nstage {name} (line {line}) from {base}, {platform}; {rootfs}");
    let width = stage.steps.len().to_string().len();
    for step in &stage.steps {
        push_step(text, step, width);
    }
}

fn push_step(text: &mut String, step: &StepView, width: usize) {
    let _ = writeln!(text, "  {:>width$}  {}", step.number, step.instruction);
    let indent = width + 4;
    let mut detail = |line: String| {
        let _ = writeln!(text, "{:indent$}{line}", "");
    };
    if let Some(expanded) = step.expanded.as_ref().filter(|expanded| !same(expanded, &step.instruction)) {
        detail(format!("= {expanded}"));
    }
    if let Some(run) = &step.run {
        let network = if run.network == "none" { ", without a network" } else { "" };
        detail(format!("runs as {} in {}{network}", run.user, run.directory));
    }
    for input in &step.inputs {
        detail(format!("reads {}", described(input)));
    }
    if let Some(cache) = &step.cache {
        detail(cached(cache));
    }
}

/// Says what the cache has: `key 0123…: MISS because file a changed since …`.
fn cached(cache: &CacheView) -> String {
    let moment = cache.made.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let since = moment.map(|moment| format!(" since {moment}")).unwrap_or_default();
    let known = match cache.expected {
        "hit" => format!("CACHED{since}"),
        "miss" => format!("MISS because {}{since}", cache.because.as_deref().unwrap_or("it is not there")),
        "unknown" => format!("unknown until {}", cache.until.as_deref().unwrap_or("it is done")),
        _ => "not looked for".to_owned(),
    };
    match &cache.key {
        Some(key) => format!("key {key}: {known}"),
        None => format!("key {known}"),
    }
}

fn described(input: &Input) -> String {
    let what = match (input.kind, input.name.as_str()) {
        ("context", _) => "the context".to_owned(),
        ("dockerfile", name) => format!("the Dockerfile ({name})"),
        ("named-context", name) => format!("the context {name}"),
        (kind, name) => format!("{kind} {name}"),
    };
    if input.paths.is_empty() { what } else { format!("{what}: {}", input.paths.join(" ")) }
}

/// Tells whether two texts differ in their spaces only.
fn same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}
