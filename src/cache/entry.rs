//! What is kept of a step: which layer it made, and when.
//!
//! *Invariant: an entry names its own key, so that one that was put under another key's name is refused.*

use serde::{Deserialize, Serialize};

use super::key::{CacheKey, TracedPart};
use crate::oci::DiffId;

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key that it belongs to.
    pub key: CacheKey,
    /// What stands for what the step did, in the keys of the steps that follow.
    pub effect: CacheKey,
    /// When the step was done, in seconds since 1970.
    pub made: i64,
    /// The time that the image's history has for it, RFC 3339.
    pub created: String,
    /// The digest of the layer's uncompressed stream; none where the step made no layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// The instruction, for people.
    pub text: String,
    /// The key that tells what was read from other stages by its contents, where `key` tells it by what those were made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_contents: Option<CacheKey>,
}

/// What a build's steps depended on: kept to tell in the next build what has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The steps, stage after stage.
    pub steps: Vec<TrailStep>,
}

/// A step of an earlier build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailStep {
    /// The stage's name.
    pub stage: String,
    /// The step's number within the stage, from 1.
    pub number: usize,
    /// The instruction.
    pub text: String,
    /// When its result was made, in seconds since 1970.
    pub made: i64,
    /// What it depended on.
    pub parts: Vec<TracedPart>,
}

impl Trail {
    /// Finds the step that is the most like one: the same instruction in the same stage, else the one with its number.
    pub fn find(&self, stage: &str, number: usize, text: &str) -> Option<&TrailStep> {
        let of_stage = || self.steps.iter().filter(|step| step.stage == stage);
        let same = |step: &&TrailStep| step.number == number && step.text == text;
        let text_only = |step: &&TrailStep| step.text == text;
        of_stage().find(same).or_else(|| of_stage().find(text_only)).or_else(|| of_stage().find(|s| s.number == number))
    }
}
