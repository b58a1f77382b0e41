//! What Tekton takes of a step's results.

use std::path::PathBuf;

/// What a termination message may hold, in bytes, and what Tekton's sidecar reads of one result unless the cluster says
/// otherwise (`max-result-size`).
///
/// Source: <https://tekton.dev/docs/pipelines/tasks/#emitting-results>.
const DEFAULT: usize = 4096;

/// How many bytes results may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TektonLimit {
    /// What was asked for; 0 judges nothing.
    pub bytes: Option<usize>,
    /// What the surroundings tell of this step; none where Tekton does not run it.
    pub step: Option<TektonStep>,
}

/// What Tekton's entrypoint was told of the step that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TektonStep {
    /// Where the results of the Task are.
    pub directory: PathBuf,
    /// The results that the Task declares.
    pub results: Vec<String>,
    /// The results that the StepAction declares.
    pub step_results: Vec<String>,
    /// Whether a sidecar reads results from their files: each has its own room then.
    pub by_sidecar: bool,
    /// What the termination message holds before the kubelet cuts it, in bytes.
    pub most: usize,
}

impl TektonLimit {
    /// Returns the most that results may take; 0 for no limit.
    pub fn most(&self) -> usize {
        let message = self.step.as_ref().filter(|step| !step.by_sidecar).map(|step| step.most);
        self.bytes.or(message).unwrap_or(DEFAULT)
    }

    /// Tells whether each result has that room, and not all together.
    pub fn is_each(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.by_sidecar)
    }
}

/// Returns what is left of a termination message in a pod with so many containers, init containers and sidecars among
/// them: the kubelet shares 12 KiB among all.
///
/// Source: <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>.
pub fn message_room(containers: usize) -> usize {
    DEFAULT.min(12 * 1024 / containers.max(1))
}
