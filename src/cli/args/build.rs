//! Flags for what is built, how, and what is said about it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::values::{self, IsolationName, LogFormat, ProgressName, SnapshotModeName, Verbosity};

/// What is built.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// The build context: where COPY and ADD take their files from.
    ///
    /// A directory (also `dir://PATH`); a tar archive, plain or compressed by gzip, zstd, bzip2 or xz (`tar://PATH`,
    /// `tar://stdin` or `-`, `https://…[#sha256=…]`, `gs://BUCKET/OBJECT[#GENERATION]`,
    /// `s3://BUCKET/KEY[?versionId=…]`, `https://ACCOUNT.blob.core.windows.net/…`); a directory of objects (`gs://` and
    /// `s3://` with a slash at the end); a Git repository (`git://HOST/PATH[#REF[#COMMIT]]`,
    /// `https://….git[#REF[:DIRECTORY]]`, `ssh://…`, `git@HOST:PATH`, `file://…`).
    #[arg(long, short = 'c', value_name = "CONTEXT", default_value = "/workspace/")]
    pub context: String,
    /// Take a context that is a path, absolute ones too, as one below this directory.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub context_base: Option<PathBuf>,
    /// Take this directory below the context as the context.
    #[arg(long, value_name = "PATH")]
    pub context_sub_path: Option<String>,
    /// Refuse a context that is fetched and larger than this: bytes, or a number with k, M, G or T.
    #[arg(long, value_name = "SIZE", default_value = "64G")]
    pub context_max_size: String,
    /// A bucket of Google Cloud Storage with the context; the old way to write `--context=gs://…`.
    #[arg(long, short = 'b', value_name = "BUCKET", hide = true)]
    pub bucket: Option<String>,
    /// How a Git context is fetched: `branch=NAME`, `depth=N` (1; 0 is all), `recurse-submodules=BOOL`,
    /// `insecure-skip-tls=BOOL`; may be given many times.
    ///
    /// `single-branch` is taken and does nothing: only what is needed is ever fetched.
    #[arg(long, value_name = "NAME=VALUE")]
    pub git: Vec<String>,
    /// Another context under a name for FROM and `--from`; may be given many times.
    ///
    /// The value is written as for --context, or `docker-image://REFERENCE`, or `oci-layout://DIRECTORY[@DIGEST]`.
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub build_context: Vec<String>,
    /// The Dockerfile; a relative path is looked for in the working directory first, then in the context.
    ///
    /// Also an `https://` URL, or `-` for standard input.
    #[arg(long, short = 'f', value_name = "PATH", default_value = "Dockerfile")]
    pub dockerfile: String,
    /// Set an ARG: `NAME=VALUE`, or `NAME` to take the value of that environment variable.
    ///
    /// May be given many times; commas are part of the value. Values are not printed, but what a RUN does
    /// with one may end up in the image: do not pass secrets.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Build this stage and what it needs, instead of the last one; of several (`a,b`), all are built, and the first is
    /// the image.
    #[arg(long, value_name = "STAGE")]
    pub target: Vec<String>,
    /// Build for this platform, for example linux/arm64, instead of the executor's own.
    ///
    /// Bases are chosen for it. Nothing is emulated: RUN needs a machine that can execute it. Several, with commas
    /// between them, are built one after another; their images become an index, and its digest is what results tell.
    #[arg(long, alias = "customPlatform", value_name = "OS/ARCHITECTURE[/VARIANT][,…]")]
    pub custom_platform: Option<String>,
}

/// How the build goes about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Build")]
pub struct BuildArgs {
    /// How RUN is kept apart from the executor.
    ///
    /// `auto` takes the strongest that the system allows and says which one and why; a name takes that one
    /// or fails, saying which right is missing.
    #[arg(long, value_name = "NAME", default_value = "auto", ignore_case = true)]
    pub isolation: IsolationName,
    /// Allow `container` isolation where no container was recognised; it replaces what stands in `/`.
    #[arg(long)]
    pub force: bool,
    /// Accepted as kaniko's, and always the case here: after a build `/` is cleared of the image, and what stood there is put back.
    #[arg(long)]
    pub cleanup: bool,
    /// How many stages that do not need each other are built at the same time.
    ///
    /// Default: as many as there are processors, at least 2. `container` isolation has one root file system and builds
    /// one stage at a time, whatever this says.
    #[arg(long, value_name = "NUMBER")]
    pub jobs: Option<NonZeroUsize>,
    /// Keep what a RUN that failed has left, with its environment and command, as an image to look into.
    ///
    /// `keep` writes an archive for `docker load` and `podman load` beside the state directory; else as --output has it:
    /// `type=docker,dest=FILE`, `type=oci,dest=FILE` or `type=registry,name=REFERENCE`. The error names the image.
    #[arg(long, value_name = "keep|FIELDS")]
    pub on_failure: Option<String>,
    /// Leave this path of the image's file system alone: it is neither unpacked nor put into layers.
    ///
    /// May be given many times. Holds for everything below it; a component may contain `*` and `?`.
    #[arg(long, value_name = "PATH")]
    pub ignore_path: Vec<String>,
    /// Leave `/var/run` of the image's file system alone, as with --ignore-path.
    #[arg(long, alias = "whitelist-var-run")]
    pub ignore_var_run: bool,
    /// Unpack the image's last stage at its end, even if no step needs it unpacked.
    #[arg(long)]
    pub materialize: bool,
    /// What decides that a file has changed.
    #[arg(long, alias = "snapshotMode", value_name = "MODE", default_value = "full")]
    pub snapshot_mode: SnapshotModeName,
    /// Make one layer of a whole stage, instead of one for each instruction.
    #[arg(long)]
    pub single_snapshot: bool,
    /// Keep everything temporary in a directory of its own below this one, removed at the end.
    ///
    /// Default: $KANIKO_DIR, else /kaniko if it can be written to, else $TMPDIR, else /tmp.
    #[arg(long, alias = "kaniko-dir", value_name = "DIRECTORY", value_parser = values::path)]
    pub state_dir: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub struct MessageArgs {
    /// How much to print; fatal and panic are the same as error.
    #[arg(long, short, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    pub verbosity: Verbosity,
    /// The form of messages; all of them go to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "auto", ignore_case = true)]
    pub log_format: LogFormat,
    /// How progress is shown.
    ///
    /// `auto` shows what is going on below the log on a terminal, and elsewhere with a line whenever there was none for
    /// ten seconds.
    #[arg(long, value_name = "HOW", default_value = "auto", ignore_case = true)]
    pub progress: ProgressName,
    /// Print the plan to standard output before the build: stages, bases with digests, steps.
    #[arg(long)]
    pub print_plan: bool,
    /// Put the time (UTC) before each line of text.
    #[arg(long)]
    pub log_timestamp: bool,
}
