//! Flags for the files that tell a pipeline what was built.

use std::path::PathBuf;

use clap::Args;

use super::values::{self, PipelineName};

/// Which files tell about it.
///
/// Every file appears only after everything is delivered, whole or not at all; what an earlier build left in
/// its place is removed at the start. Files of one value have no newline at their end.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub struct ResultArgs {
    /// Write the image's digest, `sha256:…` without a newline, to this file.
    ///
    /// As all result files it appears only after everything is delivered, and whole or not at all. This one, and the
    /// others of one value, may also be a URL (`https://…`), to which the value is sent by PUT.
    #[arg(long, visible_alias = "image-digest-file", value_name = "FILE", value_parser = values::path)]
    pub digest_file: Option<PathBuf>,
    /// Write the image's id, the digest of its configuration, to this file; of several platforms their index's.
    #[arg(long, alias = "iidfile", value_name = "FILE", value_parser = values::path)]
    pub image_id_file: Option<PathBuf>,
    /// Print the image's id to standard output, as --image-id-file would write it.
    #[arg(long)]
    pub print_image_id: bool,
    /// Write `registry/repository@sha256:…` to this file, one line for each destination.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub image_name_with_digest_file: Option<PathBuf>,
    /// Write `registry/repository:tag@sha256:…` to this file, one line for each destination.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// Let results of one value name this destination, instead of the first; it is one of --destination.
    #[arg(long, value_name = "REFERENCE")]
    pub result_image: Option<String>,
    /// Write the first destination to this file, as it was given, if it was pushed.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub image_url_file: Option<PathBuf>,
    /// Write `registry/repository@sha256:…` of the first destination to this file, if it was pushed.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub image_ref_file: Option<PathBuf>,
    /// Write `registry/repository:tag@sha256:…` of every destination to this file, if it was pushed.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub images_file: Option<PathBuf>,
    /// Write the base images with their digests to this file, one a line.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub base_images_digests_file: Option<PathBuf>,
    /// Write the URL of a Git context to this file.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub git_url_file: Option<PathBuf>,
    /// Write the commit of a Git context to this file.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub git_commit_file: Option<PathBuf>,
    /// Write the size of the image in bytes, as a pull has it, to this file.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub image_size_file: Option<PathBuf>,
    /// Write `registry/repository@sha256:…` of each manifest that tells about the image to this file, one a line.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub attestations_file: Option<PathBuf>,
    /// After a failure, write its kind to this file: `run`, `dockerfile`, `transient` …
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub error_kind_file: Option<PathBuf>,
    /// After a failure, write its kind to this file as a reason that Kubernetes could have: `Run`, `Dockerfile` …
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub error_reason_file: Option<PathBuf>,
    /// After a failure, write its message to this file, one line of at most 200 bytes.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub error_message_file: Option<PathBuf>,
    /// Write everything known about the build to this file, as JSON; after a failure, what went wrong.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub metadata_file: Option<PathBuf>,
    /// Write when each stage, step, transfer and wait began and ended to this file, also after a failure.
    ///
    /// In the Trace Event Format, which Perfetto (`https://ui.perfetto.dev`) and `chrome://tracing` open.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub trace_file: Option<PathBuf>,
    /// Write a page that shows how the build went to this file (HTML), also after a failure.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub report: Option<PathBuf>,
    /// Tell the pipeline engine about the image in its own way.
    ///
    /// auto writes where the surroundings say that somebody reads: /tekton/results, the output parameters of
    /// the Argo template, $BUILDER_OUTPUT, $GITHUB_OUTPUT. GitLab has no such place: name the engine, or give
    /// --dotenv-file.
    #[arg(long, value_name = "ENGINE", default_value = "auto", ignore_case = true)]
    pub pipeline: PipelineName,
    /// Write Tekton's results into this directory: IMAGE_URL, IMAGE_DIGEST, IMAGE_REF, IMAGES …
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub tekton_results_dir: Option<PathBuf>,
    /// Refuse a build whose results Tekton would not take: so many bytes, 0 for any number.
    ///
    /// By default what the termination message of a step holds, with all results that the Task declares: 4096, less in
    /// pods of four containers and more. Where Tekton reads results by a sidecar (`results-from: sidecar-logs`), the
    /// room of each result: give the cluster's `max-result-size`, if it is not 4096.
    #[arg(long, value_name = "BYTES")]
    pub tekton_results_limit: Option<usize>,
    /// Write the inputs and outputs of a Tekton step to this file, `$(step.artifacts.path)`.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub tekton_artifacts: Option<PathBuf>,
    /// Write a file for each output parameter of an Argo template into this directory.
    ///
    /// image-url, image-digest, image-ref, images, base-images-digests, git-url, git-commit, attestations. All of them are
    /// there from the start, empty until the build succeeds: Argo takes a missing one for an error.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub argo_outputs_dir: Option<PathBuf>,
    /// Add the outputs to $GITHUB_OUTPUT and a table to $GITHUB_STEP_SUMMARY.
    #[arg(long)]
    pub github_output: bool,
    /// Write `NAME=value` lines to this file, for GitLab's `artifacts:reports:dotenv`.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub dotenv_file: Option<PathBuf>,
}
