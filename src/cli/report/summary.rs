//! What a build came to: counted from the events, told at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::line::{self, Line, Look};
use super::units;
use crate::cli::args::Verbosity;
use crate::oci::{Digest, Reference};
use crate::outcome::BuildOutcome;
use crate::progress::{Delivery, Phase, StepId, StepResult};

/// Steps that took less are left out of the text: their times would be noise.
const WORTH_TELLING: Duration = Duration::from_millis(10);

/// What the outcome of a build adds to the events.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The digest of the image's manifest.
    pub digest: Digest,
    /// The image's size in the registry, in bytes: its layers, compressed, and configuration.
    pub size: u64,
    /// How many layers it has.
    pub layers: usize,
    /// How many of these are the base's.
    pub base_layers: usize,
    /// `registry/repository` of each destination that it was pushed to, in order.
    pub repositories: Vec<String>,
    /// How long it all took.
    pub elapsed: Duration,
}

impl Finished {
    /// Takes what the summary tells from a build's outcome; `elapsed` is the time since the start.
    pub fn new(outcome: &BuildOutcome, elapsed: Duration) -> Self {
        let mut repositories: Vec<String> = outcome.pushed.iter().map(Reference::name).collect();
        repositories.dedup();
        Self {
            digest: outcome.manifest.digest.clone(),
            size: outcome.size,
            layers: outcome.layers,
            base_layers: outcome.base_layers,
            repositories,
            elapsed,
        }
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    steps: Vec<Step>,
    phases: BTreeMap<Phase, Duration>,
    pulled: u64,
    pulled_layers: BTreeSet<Digest>,
    uploaded: Count,
    mounted: Count,
    existed: Count,
}

#[derive(Debug)]
struct Step {
    id: StepId,
    text: String,
    cached: bool,
    elapsed: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    blobs: usize,
    bytes: u64,
}

impl Tally {
    pub(super) fn step(&mut self, step: &StepId, text: String, result: &StepResult, elapsed: Duration) {
        let cached = matches!(result, StepResult::Cached { .. });
        self.steps.push(Step { id: step.clone(), text, cached, elapsed });
    }

    pub(super) fn spent(&mut self, phase: Phase, elapsed: Duration) {
        *self.phases.entry(phase).or_default() += elapsed;
    }

    pub(super) fn pulled(&mut self, digest: &Digest, bytes: u64) {
        self.pulled = self.pulled.saturating_add(bytes);
        if !self.pulled_layers.contains(digest) {
            self.pulled_layers.insert(digest.clone());
        }
    }

    pub(super) fn pushed(&mut self, size: u64, delivery: Delivery) {
        let count = match delivery {
            Delivery::Uploaded => &mut self.uploaded,
            Delivery::Mounted => &mut self.mounted,
            Delivery::Existed => &mut self.existed,
        };
        count.blobs += 1;
        count.bytes = count.bytes.saturating_add(size);
    }

    /// Makes the closing lines. The last one names the image; with `Pushed NAME@DIGEST`, as kaniko says it.
    pub(super) fn summary(&self, finished: &Finished) -> Vec<Line> {
        let text = |message: String| Line::new(Verbosity::Info, "summary", message, json!({}));
        let mut message = format!("image    {}", finished.digest);
        message += &format!("\nsize     {} in {}", units::bytes(finished.size), self.layers(finished));
        message += &format!("\nnetwork  {}", self.transfers());
        message += &format!("\ntime     {}{}", units::duration(finished.elapsed), self.phase_times());
        for step in self.steps.iter().filter(|step| step.elapsed >= WORTH_TELLING) {
            let (name, took) = (line::step_name(&step.id), units::duration(step.elapsed));
            message += &format!("\n  {took:>10}  {name} {}", step.text);
        }
        let mut lines = vec![Line { facts: self.facts(finished), ..text(message) }];
        let ends = finished.repositories.iter().map(|repository| {
            let facts = json!({ "repository": repository, "digest": finished.digest });
            let message = format!("Pushed {repository}@{}", finished.digest);
            Line::new(Verbosity::Info, "pushed", message, facts).look(Look::Success)
        });
        lines.extend(ends);
        if finished.repositories.is_empty() {
            lines.push(line::note("Skipping push to container registry due to --no-push flag"));
        }
        lines
    }

    fn layers(&self, finished: &Finished) -> String {
        let own = finished.layers.saturating_sub(finished.base_layers);
        let cached = self.steps.iter().filter(|step| step.cached).count();
        let cached = if cached > 0 { format!(", {cached} steps from the cache") } else { String::new() };
        format!("{} layers: {} reused from the base, {own} built{cached}", finished.layers, finished.base_layers)
    }

    fn transfers(&self) -> String {
        let blobs = |count: Count, word: &str| format!("{} blobs {word}", count.blobs);
        format!(
            "{} of {} base layers pulled; {} ({}), {}, {}",
            units::bytes(self.pulled),
            self.pulled_layers.len(),
            blobs(self.uploaded, "uploaded"),
            units::bytes(self.uploaded.bytes),
            blobs(self.mounted, "mounted"),
            blobs(self.existed, "already there"),
        )
    }

    fn phase_times(&self) -> String {
        let times: Vec<String> = self
            .phases
            .iter()
            .map(|(phase, time)| format!("{} {}", phase_name(*phase), units::duration(*time)))
            .collect();
        if times.is_empty() { String::new() } else { format!(" ({})", times.join(", ")) }
    }

    fn facts(&self, finished: &Finished) -> serde_json::Map<String, Value> {
        let count = |count: Count| json!({ "blobs": count.blobs, "bytes": count.bytes });
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                json!({
                    "stage": step.id.stage,
                    "step": step.id.number,
                    "instruction": step.text,
                    "cached": step.cached,
                    "elapsed_ms": units::milliseconds(step.elapsed),
                })
            })
            .collect();
        let phases: serde_json::Map<String, Value> = self
            .phases
            .iter()
            .map(|(phase, time)| (phase_name(*phase).to_owned(), units::milliseconds(*time).into()))
            .collect();
        let facts = json!({
            "digest": finished.digest,
            "size": finished.size,
            "layers": { "all": finished.layers, "base": finished.base_layers },
            "pulled": { "layers": self.pulled_layers.len(), "bytes": self.pulled },
            "uploaded": count(self.uploaded),
            "mounted": count(self.mounted),
            "existed": count(self.existed),
            "elapsed_ms": units::milliseconds(finished.elapsed),
            "phases_ms": phases,
            "steps": steps,
        });
        match facts {
            Value::Object(facts) => facts,
            _ => serde_json::Map::new(),
        }
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Context => "context",
        Phase::Resolve => "resolve",
        Phase::Index => "index",
        Phase::Unpack => "unpack",
        Phase::Run => "run",
        Phase::Snapshot => "snapshot",
        Phase::Copy => "copy",
        Phase::Push => "push",
    }
}
