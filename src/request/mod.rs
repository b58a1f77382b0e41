//! What is asked for: one value, complete and valid, that the whole build reads and nobody changes.
//!
//! Knows no flag names, no environment variables and no clap types; defaults are already applied.

mod attestations;
mod cache;
mod git;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use attestations::{AttestationFiles, AttestationFormat, AttestationRequest, Provenance};
pub use cache::{CacheRequest, CachedSteps, part_of};

use crate::oci::{Digest, Platform, Reference};

mod output;
#[cfg(any(test, fuzzing))]
mod plain;
mod run;
mod sbom;
mod tekton;
mod trace;

pub use output::{ArchiveForm, DirectoryMode, ImageForm, ImageFormat, OriginMarks, Output, Target};
pub use run::{CacheMounts, Host, LimitedResource, ResourceLimit, RunNetwork, RunSettings, SecretSource};
pub use sbom::SbomForm;
pub use tekton::{TektonLimit, TektonStep, message_room};
pub use trace::{TraceContext, TraceContextError};

/// Everything that decides a build and where its results go.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Where the build context comes from.
    pub context: ContextSource,
    /// A directory below the context that is taken instead of its root.
    pub context_sub_path: Option<PathBuf>,
    /// How many bytes a context that is fetched may have.
    pub context_max_size: u64,
    /// Further contexts and images, by the name that FROM and `--from` give them.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// The stage to build; none means the last.
    pub target: Option<String>,
    /// Further stages that are built with it; nothing of them is delivered.
    pub also_targets: Vec<String>,
    /// Values for ARG, by name.
    pub build_args: BTreeMap<String, String>,
    /// Labels added to the image.
    pub labels: BTreeMap<String, String>,
    /// The platform the image is for.
    pub platform: Platform,
    /// All platforms that images are built for; of several, an index is made, and each has its turn as `platform`.
    pub platforms: Vec<Platform>,
    /// Whether that was asked for; if not, an image is for the platform that its base is for.
    pub platform_is_asked: bool,
    /// The platform this executor runs on.
    pub build_platform: Platform,
    /// What is written as the time of creation: seconds since 1970.
    pub created: i64,
    /// The latest time that a file in a new layer may have, seconds since 1970; none keeps all times.
    pub epoch: Option<i64>,
    /// What gives the epoch where its value is no number: `context`, a named context, or a stage.
    pub epoch_of: Option<String>,
    /// When layers are made from what RUN changed.
    pub snapshots: Snapshots,
    /// What decides that a file has changed.
    pub snapshot_mode: SnapshotMode,
    /// How layers are compressed.
    pub compression: Compression,
    /// What else decides what the image's documents and layers look like.
    pub form: ImageForm,
    /// Paths of the root file system that are neither unpacked nor put into layers.
    pub ignore_paths: Vec<PathBuf>,
    /// The directory that a warmer fills with base images; it need not be there.
    pub base_images: PathBuf,
    /// The policy that base images must meet, if there is one.
    pub base_policy: Option<PathBuf>,
    /// Whether nothing may use the network.
    pub offline: bool,
    /// Whether the last stage is unpacked at its end even if no step of it needs that.
    pub materialize: bool,
    /// Which isolation RUN gets.
    pub isolation: IsolationChoice,
    /// What all RUNs get beyond what their instructions say.
    pub run: RunSettings,
    /// Whether `container` isolation may run where no container was found.
    pub force: bool,
    /// How many stages may be built at the same time, at least 1.
    pub jobs: usize,
    /// What is taken from earlier builds, and kept for later ones.
    pub cache: CacheRequest,
    /// The directory for everything temporary.
    pub state_directory: PathBuf,
    /// Where the files go that a RUN which failed has left; none to keep nothing of them.
    pub on_failure: Option<Output>,
    /// Where the image goes.
    pub outputs: Vec<Output>,
    /// What is said about it, and where that goes.
    pub attestations: AttestationRequest,
    /// Whether it is told what is installed in the image, and in which form.
    pub sbom: Option<SbomForm>,
    /// Whether the right to push is checked before anything is built.
    pub check_push: bool,
    /// Which files tell about it.
    pub results: ResultFiles,
}

/// Where a build context comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory on this machine.
    Directory(PathBuf),
    /// A tar archive on this machine.
    Tar(PathBuf),
    /// A tar archive on standard input.
    Stdin,
    /// A Git repository.
    Git(GitSource),
    /// A tar archive that an HTTPS server has.
    Https(HttpsSource),
    /// Google Cloud Storage.
    Gcs(ObjectSource),
    /// S3, or something that speaks its protocol.
    S3(ObjectSource),
    /// A tar archive in Azure Blob Storage.
    Azblob(SecretUrl),
}

/// A Git repository, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// Its URL: `https`, `http`, `ssh`, `git` (the protocol) or `file`.
    pub url: SecretUrl,
    /// A branch, a tag, a full reference name or a commit id, short or whole; none means what HEAD names.
    pub reference: Option<String>,
    /// The commit to take, wherever it is; whole or short.
    pub commit: Option<String>,
    /// What the id of the commit that the reference names must begin with.
    pub checksum: Option<String>,
    /// A directory of the repository that is taken instead of its root.
    pub sub_directory: Option<PathBuf>,
    /// How many commits of history are fetched; none means all.
    pub depth: Option<u32>,
    /// Whether submodules are fetched too.
    pub submodules: bool,
    /// Whether any certificate is accepted.
    pub skip_tls_verify: bool,
    /// Whether `.git` stays in the context.
    pub keep_git_directory: bool,
}

/// A file behind a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsSource {
    /// The URL, without its fragment.
    pub url: SecretUrl,
    /// The digest that its bytes must have.
    pub checksum: Option<Digest>,
}

/// An archive in a bucket, or a directory of files in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSource {
    /// The bucket.
    pub bucket: String,
    /// The object; with a slash at its end, or empty, the prefix of the names of files.
    pub key: String,
    /// Which version (S3) or generation (Google) of the object; none means the latest.
    pub version: Option<String>,
}

/// A URL that may hold a password or a signature; it is never shown as a whole.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(pub String);

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.split_once("://").map_or("", |(scheme, _)| scheme);
        write!(f, "{scheme}://…")
    }
}

/// What a name in FROM or `--from` stands for, other than a stage or an image of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// Files, as a build context has them.
    Files(ContextSource),
    /// Nothing at all (`docker-image://scratch`).
    Scratch,
    /// An image of a registry.
    Image(Reference),
    /// An image of an OCI layout.
    Layout {
        /// The layout's directory.
        path: PathBuf,
        /// The manifest; none means the only one.
        digest: Option<Digest>,
    },
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A path; relative ones are looked for in the working directory first, then in the context.
    Path {
        /// As it was given.
        given: PathBuf,
        /// Made absolute with the working directory of the start.
        absolute: PathBuf,
    },
    /// An `https` URL.
    Url(SecretUrl),
    /// Standard input.
    Stdin,
}

/// When layers are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshots {
    /// After each step that may change files.
    EachStep,
    /// Once, after the last step of a stage.
    Single,
}

/// What decides that a file has changed. Weaker modes are faster for kaniko; here all start from the same
/// walk, and the mode says which differences count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Type, size, mode, owner, modification time, extended attributes and content.
    Full,
    /// As full, but content is not compared where size and modification time are the same.
    Redo,
    /// Only the modification time, and the type.
    Time,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip at a level from 1 to 9.
    Gzip {
        /// The level.
        level: u32,
    },
    /// zstd at a level from 1 to 22.
    Zstd {
        /// The level.
        level: i32,
    },
    /// None.
    Uncompressed,
}

impl Compression {
    /// gzip where no level is asked for: of the levels that are no larger than what BuildKit makes, the fastest. The table in
    /// `docs/outputs.md` has what was measured.
    pub const GZIP: Self = Self::Gzip { level: 5 };
    /// zstd where no level is asked for.
    pub const ZSTD: Self = Self::Zstd { level: 3 };
}

/// Which isolation RUN gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationChoice {
    /// The strongest that is allowed here.
    Auto,
    /// User, mount and pid namespaces.
    Namespace,
    /// chroot(2) only.
    Chroot,
    /// The container's own root file system.
    Container,
    /// A private root behind a supervisor that answers system calls.
    Mediated,
}

/// The files that tell a pipeline what was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultFiles {
    /// One value a file; there only when the value is.
    pub values: Vec<ValueFile>,
    /// Values that are sent elsewhere, before any file is written.
    pub puts: Vec<ValuePut>,
    /// What is installed: a file for each platform, in the order of these.
    pub sboms: Vec<PathBuf>,
    /// Everything, as JSON; also written for a build that fails.
    pub metadata: Option<MetadataFile>,
    /// What happened when, in the Trace Event Format; also written for a build that fails.
    pub trace: Option<PathBuf>,
    /// The same as a page for people.
    pub report: Option<PathBuf>,
    /// Tekton's directory of results, a file for each.
    pub tekton: Option<PathBuf>,
    /// How much Tekton takes of them.
    pub tekton_limit: TektonLimit,
    /// The file in which Tekton looks for a step's artifacts.
    pub tekton_artifacts: Option<PathBuf>,
    /// Output parameters of an Argo template. They are empty from the start until the build succeeds, since
    /// Argo takes a missing file for an error of its own, even after a build that failed.
    pub argo: Vec<ValueFile>,
    /// Cloud Build's directory for what a step tells, `$BUILDER_OUTPUT`.
    pub cloud_build: Option<PathBuf>,
    /// GitHub's files, which are appended to.
    pub github: Option<GithubFiles>,
    /// `NAME=value` lines for GitLab.
    pub dotenv: Option<PathBuf>,
    /// Where the documents about the image are written.
    pub attestations: Option<AttestationFiles>,
    /// The engine that was found, and by what, for the log; none when flags alone decide.
    pub found: Option<&'static str>,
    /// The destination that results of one value name; none means the first, by its full name.
    pub named: Option<NamedDestination>,
}

/// A destination, and how it was written: people compare names as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDestination {
    /// As it was given, without the tag or the registry that are understood.
    pub text: String,
    /// What that means.
    pub reference: Reference,
}

/// A value that is sent to a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuePut {
    /// What.
    pub value: ResultValue,
    /// Where to.
    pub url: SecretUrl,
}

/// The file that tells everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataFile {
    /// Where it is.
    pub path: PathBuf,
    /// The trace that the run belongs to.
    pub trace: Option<TraceContext>,
}

/// A file that holds one value, without a newline at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFile {
    /// What it holds.
    pub value: ResultValue,
    /// Where it is.
    pub path: PathBuf,
}

/// What a pipeline may want to know of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResultValue {
    /// `sha256:…`.
    Digest,
    /// The digest of the configuration, or of an index.
    ImageId,
    /// The destination that is named, as it was given.
    Url,
    /// `registry/repository@sha256:…` of the destination that is named.
    Reference,
    /// `registry/repository:tag@sha256:…` of every destination, one a line.
    Images,
    /// The images that the build started from, `registry/repository:tag@sha256:…`, one a line.
    BaseImages,
    /// The repository of a Git context.
    GitUrl,
    /// The commit of a Git context.
    GitCommit,
    /// `registry/repository@sha256:…`, one destination a line, each line with its newline, as kaniko writes it.
    KanikoNames,
    /// `registry/repository:tag@sha256:…`, likewise.
    KanikoTags,
    /// How many bytes a pull fetches.
    Size,
    /// The image as an object of `uri` and `digest`, as Tekton Chains reads it.
    ArtifactOutput,
    /// An image that the build started from, likewise, by its number; 0 is the one that the image is based on.
    ArtifactInput(usize),
    /// The manifests of what is said about the image, `registry/repository@sha256:…`, one a line.
    Attestations,
    /// The kind of the error that ended the build; only after a failure.
    ErrorKind,
    /// The same as one word in capitals and small letters.
    ErrorReason,
    /// The message of the error, in one line; only after a failure.
    ErrorMessage,
}

/// The files that GitHub gives a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GithubFiles {
    /// `$GITHUB_OUTPUT`.
    pub output: PathBuf,
    /// `$GITHUB_STEP_SUMMARY`.
    pub summary: Option<PathBuf>,
}

/// What decides how images are joined, and where the index goes.
#[derive(Clone, Debug)]
pub struct IndexRequest {
    /// The images: one for each platform, by tag or digest.
    pub images: Vec<Reference>,
    /// Where the index goes.
    pub destinations: Vec<Reference>,
    /// Which media type it has.
    pub format: IndexFormat,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of what describes the images in it; those without a platform are for all.
    pub descriptor_annotations: Vec<DescriptorAnnotation>,
    /// Whether the right to push is checked first.
    pub check_push: bool,
    /// Which files tell about it.
    pub results: ResultFiles,
}

/// An annotation of what describes an image in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorAnnotation {
    /// The image's platform; none means all images.
    pub platform: Option<Platform>,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// What decides which packed image is pushed, and where.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The image's file or directory; `-` for standard input.
    pub path: PathBuf,
    /// Where it goes.
    pub destinations: Vec<Reference>,
    /// Whether the right to push is checked first.
    pub check_push: bool,
    /// The directory for everything temporary.
    pub state_directory: PathBuf,
    /// Which files tell about it.
    pub results: ResultFiles,
}

/// The media type of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexFormat {
    /// A Docker list when all images are Docker's, else an OCI index.
    LikeImages,
    /// An OCI image index.
    Oci,
    /// A Docker manifest list.
    Docker,
}

/// The build argument, and the variable, by which the world names the time of a build.
///
/// Source: <https://reproducible-builds.org/docs/source-date-epoch/>.
pub const EPOCH_ARGUMENT: &str = "SOURCE_DATE_EPOCH";

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write, as image configurations must.
const MAXIMUM_EPOCH: i64 = 253_402_300_799;

/// Reads seconds since 1970.
pub fn epoch_in(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|epoch| (0..=MAXIMUM_EPOCH).contains(epoch))
}
