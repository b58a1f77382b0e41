//! What is kept of a step: which layer it made, and when.
//!
//! *Invariant: an entry names its own key, so that one that was put under another key's name is refused.*

use serde::{Deserialize, Serialize};

use super::key::CacheKey;
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
