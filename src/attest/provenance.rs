//! The predicate that tells how an image came to be: SLSA provenance v1, with the fields that BuildKit gives it.
//!
//! Source: <https://slsa.dev/spec/v1.1/provenance>;
//! <https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md>. What is ours alone is
//! `externalParameters.dockerfile`, `internalParameters.steps` and `builder.version.yadokari`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::oci::Digest;

/// What the predicate is.
pub const SLSA_PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// How its parameters are to be read: as BuildKit's, since they say what the same Dockerfile, context and arguments
/// would be to BuildKit. Who has built is [`Builder::id`].
pub const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// What BuildKit calls the reader of Dockerfiles.
pub const FRONTEND: &str = "dockerfile.v0";

/// How an image came to be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What went in.
    pub build_definition: BuildDefinition,
    /// How it went.
    pub run_details: RunDetails,
}

/// What went in.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// How the rest is to be read: [`BUILD_TYPE`].
    pub build_type: &'static str,
    /// What the user decides.
    pub external_parameters: ExternalParameters,
    /// What the builder decides.
    pub internal_parameters: InternalParameters,
    /// What was read.
    pub resolved_dependencies: Vec<Dependency>,
}

/// What the user decides.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalParameters {
    /// Where the Dockerfile is from.
    pub config_source: ConfigSource,
    /// What was asked for.
    pub request: Request,
    /// The Dockerfile itself.
    pub dockerfile: DockerfileUsed,
}

/// Where the Dockerfile is from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigSource {
    /// The repository, with the reference that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The commit; of what is no repository, the Dockerfile's own digest.
    #[serde(skip_serializing_if = "DigestSet::is_empty")]
    pub digest: DigestSet,
    /// The path of the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Digests by the name of their algorithm.
pub type DigestSet = BTreeMap<String, String>;

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Request {
    /// Who reads the Dockerfile: [`FRONTEND`].
    pub frontend: &'static str,
    /// `build-arg:NAME`, `label:NAME`, `target`, `platform`, `context:NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// The secrets that RUNs ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Asked>,
    /// The agents that RUNs ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Asked>,
    /// The directories of this machine that were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locals: Vec<Local>,
}

/// A secret or an agent that is named, never told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Asked {
    /// Its id.
    pub id: String,
    /// Whether a RUN can do without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Local {
    /// What it is to the build: `context`, `dockerfile`, or a named context.
    pub name: String,
}

/// The Dockerfile that was read.
#[derive(Clone, Debug, Serialize)]
pub struct DockerfileUsed {
    /// Its path, as it was given.
    pub name: String,
    /// The digest of its bytes.
    #[serde(serialize_with = "digest_set")]
    pub digest: Digest,
}

/// What the builder decides.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalParameters {
    /// The platform that the executor ran on.
    pub builder_platform: String,
    /// What was done, stage after stage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTold>,
}

/// A step that was done.
#[derive(Clone, Debug, Serialize)]
pub struct StepTold {
    /// Its stage.
    pub stage: String,
    /// Its line in the Dockerfile.
    pub line: usize,
    /// Its instruction.
    pub instruction: String,
    /// The layer that came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
}

/// Something that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// What it is called.
    pub uri: String,
    /// What it was, as far as that is known.
    #[serde(skip_serializing_if = "DigestSet::is_empty")]
    pub digest: DigestSet,
    /// What the build knows it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What else is to be known of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'static str, &'static str>,
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
pub struct RunDetails {
    /// Who has built.
    pub builder: Builder,
    /// When, and how well it is known.
    pub metadata: Metadata,
}

/// Who has built.
#[derive(Clone, Debug, Serialize)]
pub struct Builder {
    /// A URI that those who judge know.
    pub id: String,
    /// The versions of its parts.
    pub version: BTreeMap<&'static str, String>,
}

/// When it was built, and how well it is known of what.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    /// What the caller knows the run by.
    #[serde(rename = "invocationId", skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// When it began, RFC 3339; none where the same input is to give the same bytes.
    #[serde(rename = "startedOn", skip_serializing_if = "Option::is_none")]
    pub started_on: Option<String>,
    /// When it ended, likewise.
    #[serde(rename = "finishedOn", skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<String>,
    /// Notes of BuildKit's own.
    pub buildkit_metadata: BuildkitMetadata,
    /// Whether nothing but the dependencies can have been read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub buildkit_hermetic: bool,
    /// Whether anything is left out.
    pub buildkit_completeness: Completeness,
    /// Whether the same input is to give the same bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub buildkit_reproducible: bool,
}

/// Notes of BuildKit's own.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BuildkitMetadata {
    /// What is said, and not checked, of the repository that a local directory is a clone of.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vcs: BTreeMap<&'static str, String>,
    /// The Dockerfile's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Texts that were read.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Each of them.
    pub infos: Vec<SourceText>,
}

/// A text that was read.
#[derive(Clone, Debug, Serialize)]
pub struct SourceText {
    /// Its name.
    pub filename: String,
    /// Its language.
    pub language: &'static str,
    /// Its bytes; written as Base64.
    #[serde(serialize_with = "base64")]
    pub data: Vec<u8>,
}

/// Whether anything is left out.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completeness {
    /// Whether all that was asked for is told.
    pub request: bool,
    /// Whether all that was read is told, each with its digest.
    pub resolved_dependencies: bool,
}

/// Makes the set of one digest.
pub fn sha256(digest: &Digest) -> DigestSet {
    [("sha256".to_owned(), digest.hex().to_owned())].into()
}

/// Makes the set of a Git commit's id.
pub fn commit(id: &str) -> DigestSet {
    let algorithm = if id.len() == 64 { "sha256" } else { "sha1" };
    [(algorithm.to_owned(), id.to_owned())].into()
}

fn digest_set<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    sha256(digest).serialize(serializer)
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes).serialize(serializer)
}
