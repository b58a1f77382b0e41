//! How a key of config.json matches a repository. Pure.

use crate::oci::{DEFAULT_REGISTRY, Reference};

/// How Docker's files and helpers call Docker Hub.
pub(in super::super) const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A key of config.json: a registry, and perhaps the beginning of a repository's path.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Key<'a> {
    registry: &'a str,
    path: &'a str,
}

impl Key<'_> {
    pub(super) fn is_hub(&self) -> bool {
        self.registry == DEFAULT_REGISTRY
    }

    /// Returns how many characters of path match, or none when the key is not for this repository.
    pub(super) fn matches(&self, reference: &Reference) -> Option<usize> {
        let within = |path: &str| {
            reference.repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_for = self.registry == reference.registry && (self.path.is_empty() || within(self.path));
        is_for.then_some(self.path.len())
    }
}

/// Brings a key to its normal form: with a scheme only the host counts, as in Docker; without one a path
/// restricts the key to repositories below it, as in Podman. `v1` and `v2` are no path.
pub(in super::super) fn normal_key(key: &str) -> Key<'_> {
    let key = key.trim();
    let (bare, has_scheme) = match key.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (key, false),
    };
    let (registry, path) = bare.split_once('/').unwrap_or((bare, ""));
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_REGISTRY,
        other => other,
    };
    let path = path.trim_end_matches('/');
    let path = if has_scheme || matches!(path, "v1" | "v2") { "" } else { path };
    Key { registry, path }
}

/// Returns the key that matches with the longest path, and that length.
pub(super) fn best_key<'a>(
    keys: impl Iterator<Item = &'a String>,
    reference: &Reference,
) -> Option<(usize, &'a String)> {
    let matching = keys.filter_map(|key| Some((normal_key(key).matches(reference)?, key)));
    matching.max_by_key(|(length, _)| *length)
}

/// Returns the name by which helpers know a registry.
pub(in super::super) fn server_name(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { HUB_KEY } else { registry }
}
