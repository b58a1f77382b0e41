//! What a build came to: counted from the events, told at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::line::{self, Line, Look};
use super::units;
use crate::cli::args::Verbosity;
use crate::cli::exit::Failure;
use crate::http::redact_within;
use crate::oci::{Digest, Reference};
use crate::outcome::BuildOutcome;
use crate::progress::{Delivery, StepId, StepResult};

/// Steps that took less are left out of the text: their times would be noise.
const WORTH_TELLING: Duration = Duration::from_millis(10);

/// The end of a build that went well.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// What came of it.
    pub outcome: &'a BuildOutcome,
    /// How long it all took.
    pub elapsed: Duration,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    /// How many steps there are in all.
    planned: usize,
    /// How many stages the target does not need.
    skipped: usize,
    /// In the order in which they were done.
    steps: BTreeMap<usize, Step>,
    places: HashMap<StepId, usize>,
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
    done: Done,
    /// The size of the layer that the cache had, in bytes.
    saved: u64,
    elapsed: Duration,
}

/// How a step came to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Built,
    Cached,
    Shared,
    Configured,
}

impl Done {
    fn of(result: &StepResult) -> Self {
        match result {
            StepResult::Layer { .. } | StepResult::NoLayer => Self::Built,
            StepResult::Cached { .. } | StepResult::CachedNoLayer => Self::Cached,
            StepResult::Alike { .. } => Self::Shared,
            StepResult::Configured => Self::Configured,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    blobs: usize,
    bytes: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            planned: 0,
            skipped: 0,
            steps: BTreeMap::new(),
            places: HashMap::new(),
            pulled: 0,
            pulled_layers: BTreeSet::new(),
            uploaded: Count::default(),
            mounted: Count::default(),
            existed: Count::default(),
        }
    }
}

impl Tally {
    pub(super) fn planned(&mut self, steps: usize, skipped: usize) {
        (self.planned, self.skipped) = (steps, skipped);
    }

    /// Says in one line how far all of it is.
    pub(super) fn head(&self) -> String {
        let steps = match self.planned {
            0 => String::new(),
            planned => format!(", {} of {planned} steps", self.steps.len().min(planned)),
        };
        let moved = [("pulled", self.pulled), ("pushed", self.uploaded.bytes)];
        let moved = moved.iter().filter(|(_, size)| *size > 0);
        let moved: String = moved.map(|(word, size)| format!(", {word} {}", units::bytes(*size))).collect();
        format!("{}{steps}{moved}", units::rough(self.begun.elapsed()))
    }

    pub(super) fn step(&mut self, step: &StepId, text: String, result: &StepResult, elapsed: Duration) {
        let done = Done::of(result);
        let saved = match result {
            StepResult::Cached { size, .. } => *size,
            StepResult::Layer { .. } | StepResult::CachedNoLayer | StepResult::Alike { .. } => 0,
            StepResult::NoLayer | StepResult::Configured => 0,
        };
        // A build that begins again has done only what it did in the end.
        let place = self.steps.last_key_value().map_or(0, |(last, _)| last + 1);
        if let Some(earlier) = self.places.insert(step.clone(), place) {
            self.steps.remove(&earlier);
        }
        self.steps.insert(place, Step { id: step.clone(), text, done, saved, elapsed });
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

    /// Makes the closing lines. The last one names the image; with `Pushed NAME@DIGEST`, as kaniko says it,
    /// and the tag. What only programs read, which is large where there are many steps, is there if `for_programs`.
    pub(super) fn summary(&self, finished: &Finished<'_>, for_programs: bool) -> Vec<Line> {
        let digest = &finished.outcome.manifest.digest;
        let mut below = String::new();
        for base in &finished.outcome.bases {
            below += &format!("\nbase     {}@{}", at_tag(&base.name), base.digest);
        }
        below += &format!("\nsize     {}; {}", units::bytes(finished.outcome.size), layers(finished));
        below += &format!("\nsteps    {}", self.counts());
        below += &format!("\nnetwork  {}", self.transfers());
        below += &format!("\ntime     {}{}", units::duration(finished.elapsed), Self::phase_times(finished));
        for step in self.steps.values().filter(|step| step.elapsed >= WORTH_TELLING) {
            let took = units::duration(step.elapsed);
            below += &format!("\n  {took:>10}  {} {}", step.id, step.text);
        }
        let message = format!("image    {digest}");
        let facts = if for_programs { self.facts(finished) } else { json!({}) };
        let summary = Line::new(Verbosity::Info, "summary", message, facts);
        let mut lines = vec![Line { below, ..summary }];
        let ends = finished.outcome.pushed.iter().map(|reference| {
            let repository = reference.name();
            let facts = json!({ "repository": repository, "tag": reference.tag, "digest": digest });
            let message = pushed(reference, digest);
            Line::new(Verbosity::Info, "pushed", message, facts).look(Look::Success)
        });
        lines.extend(ends);
        if finished.outcome.pushed.is_empty() {
            lines.push(line::note("Skipping push to container registry due to --no-push flag"));
        }
        lines
    }

    fn count(&self, done: Done) -> usize {
        self.steps.values().filter(|step| step.done == done).count()
    }

    /// Says how the steps came to be done.
    fn counts(&self) -> String {
        let (built, cached) = (self.count(Done::Built), self.count(Done::Cached));
        let mut text = format!("{built} built, {cached} from the cache");
        if self.saved() > 0 {
            text += &format!(" ({} not made again)", units::bytes(self.saved()));
        }
        let others = [
            (self.count(Done::Shared), "done once for several stages"),
            (self.count(Done::Configured), "of the configuration alone"),
        ];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            text += &format!(", {count} {what}");
        }
        match self.skipped {
            0 => text,
            1 => text + "; 1 stage skipped, which the target does not need",
            skipped => format!("{text}; {skipped} stages skipped, which the target does not need"),
        }
    }

    /// Writes a table of the steps in Markdown, and below it what failed.
    pub(super) fn table(&self, failure: Option<&Failure>) -> String {
        let mut text = String::from("| Step | Instruction | Result | Time |\n| --- | --- | --- | ---: |\n");
        for step in self.steps.values() {
            let result = match step.done {
                Done::Built => "built",
                Done::Cached => "cached",
                Done::Shared => "shared",
                Done::Configured => "configuration",
            };
            text += &row(&step.id.to_string(), &step.text, result, &units::duration(step.elapsed));
        }
        if let Some(failure) = failure {
            let step = failure.place.as_ref().and_then(|place| place.step.as_ref());
            let name = step.map(ToString::to_string).unwrap_or_default();
            let line = failure.place.as_ref().and_then(|place| place.source.first()).map(|(_, line)| line.as_str());
            text += &row(&name, line.unwrap_or_default(), "**failed**", "");
            text += &format!("\n**{}**: {}\n", failure.kind.name(), cell(&failure.message));
            for (word, more) in failure.explanations() {
                text += &format!("- {word}: {}\n", cell(more));
            }
        }
        text + "\n"
    }

    fn saved(&self) -> u64 {
        self.steps.values().fold(0, |sum, step| sum.saturating_add(step.saved))
    }

    fn transfers(&self) -> String {
        format!(
            "pulled {} of layers; pushed {} in {}, mounted {}, already there {}",
            units::bytes(self.pulled),
            units::bytes(self.uploaded.bytes),
            blobs(self.uploaded),
            blobs(self.mounted),
            blobs(self.existed),
        )
    }

    fn phase_times(finished: &Finished<'_>) -> String {
        let phases = finished.outcome.circumstances.phases.iter();
        let times: Vec<String> =
            phases.map(|(phase, time)| format!("{} {}", phase.name(), units::duration(*time))).collect();
        if times.is_empty() { String::new() } else { format!(" ({})", times.join(", ")) }
    }

    fn facts(&self, finished: &Finished<'_>) -> Value {
        let count = |count: Count| json!({ "blobs": count.blobs, "bytes": count.bytes });
        let steps: Vec<Value> = self
            .steps
            .values()
            .map(|step| {
                json!({
                    "stage": step.id.stage,
                    "step": step.id.number,
                    "instruction": step.text,
                    "cached": step.done == Done::Cached,
                    "elapsed_ms": units::milliseconds(step.elapsed),
                })
            })
            .collect();
        let phases: serde_json::Map<String, Value> = finished
            .outcome
            .circumstances
            .phases
            .iter()
            .map(|(phase, time)| (phase.name().to_owned(), units::milliseconds(*time).into()))
            .collect();
        json!({
            "digest": finished.outcome.manifest.digest,
            "size": finished.outcome.size,
            "layers": { "all": finished.outcome.layers, "base": finished.outcome.base_layers },
            "pulled": { "layers": self.pulled_layers.len(), "bytes": self.pulled },
            "uploaded": count(self.uploaded),
            "mounted": count(self.mounted),
            "existed": count(self.existed),
            "saved": { "steps": self.count(Done::Cached), "bytes": self.saved() },
            "counts": {
                "built": self.count(Done::Built),
                "cached": self.count(Done::Cached),
                "shared": self.count(Done::Shared),
                "configured": self.count(Done::Configured),
                "skipped_stages": self.skipped,
            },
            "bases": finished.outcome.bases.iter().map(|base| json!({ "name": base.name.to_string(), "digest": base.digest })).collect::<Vec<_>>(),
            "elapsed_ms": units::milliseconds(finished.elapsed),
            "phases_ms": phases,
            "steps": steps,
        })
    }
}

fn row(step: &str, text: &str, result: &str, time: &str) -> String {
    format!("| {} | `{}` | {result} | {time} |\n", cell(step), cell(text).replace('`', "'"))
}

/// Writes a text so that it stays in a cell of a table.
fn cell(text: &str) -> String {
    redact_within(text).replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}

/// Says how many layers the image has, and how many of them came with the base.
fn layers(finished: &Finished<'_>) -> String {
    let (all, base) = (finished.outcome.layers, finished.outcome.base_layers);
    format!("layers: {base} of the base, {} above it", all.saturating_sub(base))
}

/// Writes a name without the digest that it may have.
fn at_tag(name: &Reference) -> String {
    let tag = name.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{}{tag}", name.name())
}

/// Says that a destination has an image: kaniko's line, and behind it the tag.
pub(in crate::cli) fn pushed(reference: &Reference, digest: &Digest) -> String {
    let tag = reference.tag.as_ref().map(|tag| format!(" (tag {tag})")).unwrap_or_default();
    format!("Pushed {}@{digest}{tag}", reference.name())
}

fn blobs(count: Count) -> String {
    format!("{} {}", count.blobs, if count.blobs == 1 { "blob" } else { "blobs" })
}
