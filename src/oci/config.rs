//! The image configuration, with the fields that Docker has and the OCI schema leaves out.
//!
//! Plain structs rather than `oci-spec`'s, because Docker's `Healthcheck`, `Shell` and `OnBuild`, and any
//! field that a later tool adds, must survive the way through a build.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{DiffId, Platform};

/// An image configuration. Source: OCI image-spec, config.md; Docker's image spec v1.2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The platform, flattened into `architecture`, `os`, `variant` …
    #[serde(flatten)]
    pub platform: Platform,
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who maintains the image (MAINTAINER).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What a container of this image runs, and how.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// The layers' uncompressed digests, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How each layer and each change of the configuration came about, oldest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// Fields that we do not know, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The execution parameters of an image. Source: OCI image-spec, config.md `config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `USER`.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub user: String,
    /// `EXPOSE`: a set, written as a map to empty objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `ENV`, as `NAME=value`, in order of first definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `CMD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// `HEALTHCHECK` (Docker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// `VOLUME`: a set, written as a map to empty objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Value>,
    /// `WORKDIR`.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// `ONBUILD` (Docker): instructions for a build that is based on this image.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// `LABEL`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// `SHELL` (Docker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Fields that we do not know, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Docker's health check; durations in nanoseconds, zero means inherited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a check has failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time during which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers of an image. Source: OCI image-spec, config.md `rootfs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// One for each layer, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

fn layers() -> String {
    "layers".to_owned()
}

/// One line of an image's history. Source: OCI image-spec, config.md `history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The maintainer at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether no layer belongs to this line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Returns the configuration of `FROM scratch` for a platform: no layers, no history, no environment.
    pub fn scratch(platform: Platform) -> Self {
        Self {
            platform,
            created: None,
            author: None,
            config: ContainerConfig::default(),
            rootfs: RootFs::default(),
            history: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Makes the history tell of as many layers as the image has: lines that are missing come at the end, and of those
    /// that are too many the last ones become lines without a layer.
    ///
    /// Lines of later steps would otherwise be taken for those of other layers. BuildKit evens out the same, though only
    /// when it has all lines of the new image.
    pub fn match_history(&mut self) {
        let layers = self.rootfs.diff_ids.len();
        let mut told = 0;
        for line in self.history.iter_mut().filter(|line| !line.empty_layer) {
            line.empty_layer = told == layers;
            told += usize::from(!line.empty_layer);
        }
        let missing =
            History { created: self.created.clone(), comment: Some(MISSING_HISTORY.to_owned()), ..History::default() };
        self.history.extend(std::iter::repeat_n(missing, layers - told));
    }
}

/// What BuildKit writes as the comment of a line that an image has a layer for, but no line.
const MISSING_HISTORY: &str = "buildkit.exporter.image.v0";

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Reads `null` as the empty value: Go programs write it for empty lists and maps.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_a_line_for_each_layer() {
        for (layers, lines, expected) in
            [(2, "", "LL"), (2, "e", "eLL"), (1, "LLe", "Lee"), (0, "LL", "ee"), (2, "LeL", "LeL"), (3, "LeL", "LeLL")]
        {
            let mut config = ImageConfig::scratch("linux/amd64".parse().expect("platform"));
            config.rootfs.diff_ids = vec![DiffId(crate::oci::Digest::of(b"")); layers];
            let line = |c| History { empty_layer: c == 'e', ..History::default() };
            config.history = lines.chars().map(line).collect();
            config.match_history();
            let found: String = config.history.iter().map(|line| if line.empty_layer { 'e' } else { 'L' }).collect();
            assert_eq!(found, expected, "{layers} layers, {lines}");
        }
    }

    #[test]
    fn what_go_programs_write_for_nothing_is_nothing() {
        for text in [
            r#"{"architecture":"amd64","os":"linux","config":null,"rootfs":null,"history":null}"#,
            r#"{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":null}}"#,
        ] {
            let config: ImageConfig = serde_json::from_str(text).expect(text);
            assert_eq!(config, ImageConfig::scratch("linux/amd64".parse().expect("platform")));
        }
    }

    #[test]
    fn dockers_fields_and_unknown_ones_survive_a_round_trip() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"OnBuild":["RUN x"],"Shell":["a","b"],
            "Healthcheck":{"Test":["CMD","x"],"StartInterval":5},"ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":null},
            "docker_version":"20","moby.buildkit.cache.v0":{"a":1}}"#;
        let config: ImageConfig = serde_json::from_str(text).expect("parses");
        assert!(config.config.env.is_empty());
        let back: Value = serde_json::to_value(&config).expect("serializes");
        assert_eq!(back["config"]["OnBuild"][0], "RUN x");
        assert_eq!(back["config"]["Shell"][1], "b");
        assert_eq!(back["config"]["Healthcheck"]["StartInterval"], 5);
        assert_eq!(back["config"]["ArgsEscaped"], true);
        assert_eq!(back["docker_version"], "20");
        assert_eq!(back["moby.buildkit.cache.v0"]["a"], 1);
    }
}
