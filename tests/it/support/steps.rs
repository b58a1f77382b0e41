//! What a build says of its steps, as a program reads it: from the metadata file.

use std::time::Duration;

use serde_json::Value;

use super::executor::Build;

/// A step of a build that wrote `metadata.json`.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// `stage number`.
    pub(crate) place: String,
    /// The instruction, on one line.
    pub(crate) instruction: String,
    /// `cached`, `built`, `shared` or `none`.
    cache: String,
    /// Whether it was looked for in a cache and not found.
    missed: bool,
}

impl Step {
    /// Tells whether another stage did it for this one.
    pub(crate) fn is_shared(&self) -> bool {
        self.cache == "shared"
    }

    /// Tells whether it was done: carried out rather than found, or nothing at all.
    pub(crate) fn is_done(&self) -> bool {
        let keyword = self.instruction.split_whitespace().next().unwrap_or_default().to_uppercase();
        // These always do something; others may only change the configuration.
        let does_something = ["RUN", "COPY", "ADD"].contains(&keyword.as_str());
        self.missed || self.cache == "built" || does_something && !["cached", "shared"].contains(&self.cache.as_str())
    }
}

/// Returns the steps of a build, stage after stage.
pub(crate) fn all(build: &Build) -> Vec<Step> {
    let metadata: Value = serde_json::from_str(&build.result("metadata.json").expect("metadata")).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let step = |step: &Value| Step {
        place: format!("{} {}", text(&step["stage"]), step["step"]),
        instruction: text(&step["instruction"]),
        cache: text(&step["cache"]),
        missed: step["miss"].is_object(),
    };
    metadata["steps"].as_array().expect("steps").iter().map(step).collect()
}

/// Returns the instructions that were done.
pub(crate) fn done(build: &Build) -> Vec<String> {
    all(build).into_iter().filter(Step::is_done).map(|step| step.instruction).collect()
}

/// Returns the steps that were done, as `stage number`.
pub(crate) fn places_done(build: &Build) -> Vec<String> {
    all(build).into_iter().filter(Step::is_done).map(|step| step.place).collect()
}

/// Waits until another second has begun. Layers have times of whole seconds: a step that is done again in the second in which it
/// was first done makes the same layer, and the steps after it are found.
pub(crate) fn next_second() {
    std::thread::sleep(Duration::from_millis(1100));
}
