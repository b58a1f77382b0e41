//! How the values of flags are written.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::dockerfile::duration;

/// How much is printed; kaniko's (logrus's) seven names for five levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Verbosity {
    /// Only the error that ends the build.
    #[value(aliases = ["fatal", "panic"])]
    Error,
    /// And warnings.
    #[value(alias = "warning")]
    Warn,
    /// And what happens, with the output of RUN.
    Info,
    /// And how it is done.
    Debug,
    /// And every detail.
    Trace,
}

/// The form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Colours and what is going on on a terminal, plain text elsewhere.
    Auto,
    /// Plain text.
    Text,
    /// Text with colours, terminal or not.
    Color,
    /// One JSON object a line.
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressName {
    /// Rows that change on a terminal, lines elsewhere.
    Auto,
    /// Rows that change, whatever standard error is.
    Tty,
    /// Lines.
    Plain,
    /// One JSON object a line, as --log-format=json.
    #[value(alias = "rawjson")]
    Json,
    /// Nothing but errors.
    #[value(alias = "none")]
    Quiet,
}

/// The names of compressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionName {
    /// gzip, which everything can read.
    Gzip,
    /// zstd: smaller and faster, for runtimes from 2021 on.
    Zstd,
    /// No compression.
    #[value(alias = "uncompressed")]
    None,
}

/// The names of image formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImageFormatName {
    /// OCI's media types.
    Oci,
    /// Docker's media types.
    Docker,
}

/// Where an image tells of its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OriginName {
    /// Nowhere.
    None,
    /// In annotations of the manifest.
    Annotations,
    /// In labels of the configuration.
    Labels,
    /// In both.
    Both,
}

/// The names of snapshot modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnapshotModeName {
    /// Everything about a file counts, its content included.
    Full,
    /// Content is not compared where size and modification time are the same.
    Redo,
    /// Only type and modification time count.
    Time,
}

/// The names of isolations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsolationName {
    /// The strongest that is allowed here; the log says which and why.
    Auto,
    /// User, mount and pid namespaces.
    Namespace,
    /// chroot(2) only: needs CAP_SYS_CHROOT.
    Chroot,
    /// The container's own root file system: needs no right beyond being root in it.
    Container,
    /// A private root behind a supervisor that answers system calls: needs no right at all, where the kernel and the pod's seccomp profile allow it.
    Mediated,
}

/// The names of an index's forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IndexFormatName {
    /// A Docker list when all images are Docker's, else an OCI index.
    Auto,
    /// An OCI image index.
    Oci,
    /// A Docker manifest list.
    Docker,
}

/// The names of pipeline engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PipelineName {
    /// The one whose marks are found.
    Auto,
    /// Tekton: results in /tekton/results.
    Tekton,
    /// Argo Workflows: the output parameters of the template.
    Argo,
    /// Google Cloud Build: files in $BUILDER_OUTPUT.
    Cloudbuild,
    /// GitHub Actions: lines in $GITHUB_OUTPUT.
    Github,
    /// GitLab CI: build.env in $CI_PROJECT_DIR.
    Gitlab,
    /// Nothing but what other flags ask for.
    None,
}

/// Reads a path; unlike clap's own reader it takes an empty one, which a pipeline passes for a parameter that is
/// not set, and which means that the flag is not given.
pub(super) fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(text))
}

/// Reads a duration as Go's `time.ParseDuration` does; it must be longer than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = duration::parse(text).and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    match nanoseconds.filter(|nanoseconds| *nanoseconds > 0) {
        Some(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
        None => Err("write a time with its unit, for example 90m or 1h30m".to_owned()),
    }
}

/// Reads a boolean as Go's `strconv.ParseBool` does, since that is what kaniko's flags and variables take.
pub(in crate::cli) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}
