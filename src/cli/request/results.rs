//! Flags for result files, and the engine that the surroundings tell of.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{UsageError, absolute, destinations, tekton};
use crate::cli::args::{PipelineName, ResultArgs};
use crate::cli::env::{Environment, TEKTON_RESULTS};
use crate::oci::Reference;
use crate::output::results::argo;
use crate::request::{
    GithubFiles, MetadataFile, NamedDestination, ResultFiles, ResultValue, SecretUrl, ValueFile, ValuePut,
};

/// A path and the flag that gave it.
pub(super) type Named = (&'static str, PathBuf);

/// The file that `--pipeline=gitlab` writes; GitLab's own examples call it so.
const DOTENV: &str = "build.env";

/// Decides which result files are written; `named` are paths that other outputs have already.
pub(super) fn results(
    args: &ResultArgs,
    environment: &Environment,
    mut named: Vec<Named>,
) -> Result<ResultFiles, UsageError> {
    let working = &environment.directories.working;
    let mut path = |flag: &'static str, given: &Option<PathBuf>| -> Result<Option<PathBuf>, UsageError> {
        let path = output_path(flag, given.as_deref(), working)?;
        named.extend(path.clone().map(|path| (flag, path)));
        Ok(path)
    };
    let mut values = Vec::new();
    let mut puts = Vec::new();
    for (flag, given, value) in value_flags(args) {
        match given.as_deref().and_then(Path::to_str).filter(|text| is_url(text)) {
            Some(url) => puts.push(ValuePut { value, url: SecretUrl(url.to_owned()) }),
            None => values.extend(path(flag, given)?.map(|path| ValueFile { value, path })),
        }
    }
    if args.print_image_id {
        values.push(ValueFile { value: ResultValue::ImageId, path: "/dev/stdout".into() });
    }
    let mut results = ResultFiles {
        values,
        puts,
        metadata: path("--metadata-file", &args.metadata_file)?
            .map(|path| MetadataFile { path, trace: environment.trace }),
        trace: path("--trace-file", &args.trace_file)?,
        report: path("--report", &args.report)?,
        tekton_artifacts: path("--tekton-artifacts", &args.tekton_artifacts)?,
        dotenv: path("--dotenv-file", &args.dotenv_file)?,
        ..ResultFiles::default()
    };
    meet(&named)?;
    results.tekton = output_path("--tekton-results-dir", args.tekton_results_dir.as_deref(), working)?;
    results.tekton_limit.bytes = args.tekton_results_limit;
    let argo = output_path("--argo-outputs-dir", args.argo_outputs_dir.as_deref(), working)?;
    results.argo = argo.iter().flat_map(|directory| argo_files(directory)).collect();
    if args.github_output {
        let message = "--github-output needs $GITHUB_OUTPUT, which GitHub sets in a step";
        results.github = Some(github(environment)?.ok_or(UsageError::Missing { message })?);
    }
    engine(args.pipeline, environment, &mut results)?;
    if results.tekton.is_some() {
        results.tekton_limit.step = tekton::step();
    }
    Ok(results)
}

/// Tells whether a value is sent: over http too, as its servers often stand beside the pod.
fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn value_flags(args: &ResultArgs) -> [(&'static str, &Option<PathBuf>, ResultValue); 15] {
    [
        ("--digest-file", &args.digest_file, ResultValue::Digest),
        ("--image-id-file", &args.image_id_file, ResultValue::ImageId),
        ("--image-name-with-digest-file", &args.image_name_with_digest_file, ResultValue::KanikoNames),
        ("--image-name-tag-with-digest-file", &args.image_name_tag_with_digest_file, ResultValue::KanikoTags),
        ("--image-url-file", &args.image_url_file, ResultValue::Url),
        ("--image-ref-file", &args.image_ref_file, ResultValue::Reference),
        ("--images-file", &args.images_file, ResultValue::Images),
        ("--base-images-digests-file", &args.base_images_digests_file, ResultValue::BaseImages),
        ("--git-url-file", &args.git_url_file, ResultValue::GitUrl),
        ("--git-commit-file", &args.git_commit_file, ResultValue::GitCommit),
        ("--image-size-file", &args.image_size_file, ResultValue::Size),
        ("--attestations-file", &args.attestations_file, ResultValue::Attestations),
        ("--error-kind-file", &args.error_kind_file, ResultValue::ErrorKind),
        ("--error-reason-file", &args.error_reason_file, ResultValue::ErrorReason),
        ("--error-message-file", &args.error_message_file, ResultValue::ErrorMessage),
    ]
}

/// Finds the destination that results name: the one that is asked for, else the first of `destinations`.
pub(super) fn named(args: &ResultArgs, destinations: &[String]) -> Result<Option<NamedDestination>, UsageError> {
    let named = |text: &String| {
        Ok::<_, UsageError>(NamedDestination { text: text.clone(), reference: destinations::read(text)? })
    };
    let all = destinations.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    let Some(given) = args.result_image.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(all.into_iter().next());
    };
    let is_meant = |named: &NamedDestination| given.parse().is_ok_and(|meant: Reference| meant == named.reference);
    let refused = || {
        let reason = "no --destination has this name".to_owned();
        UsageError::Value { flag: "--result-image", value: given.to_owned(), reason }
    };
    all.into_iter().find(is_meant).map(Some).ok_or_else(refused)
}

/// Checks that no two outputs have one path, but for what is written into and not replaced: there one value comes
/// after the other.
fn meet(named: &[Named]) -> Result<(), UsageError> {
    for (index, (second, path)) in named.iter().enumerate() {
        let first = named[..index].iter().find(|(_, other)| other == path && !path.starts_with("/dev"));
        if let Some((first, _)) = first {
            let reason = format!("both would write {}", path.display());
            return Err(UsageError::Conflict { first, second, reason });
        }
    }
    Ok(())
}

/// Adds what the engine reads; what flags said already stays.
fn engine(name: PipelineName, environment: &Environment, results: &mut ResultFiles) -> Result<(), UsageError> {
    let automatic = name == PipelineName::Auto;
    let missing = |message| if automatic { Ok(()) } else { Err(UsageError::Missing { message }) };
    let tries = |engine| automatic || name == engine;
    if tries(PipelineName::Tekton) && results.tekton.is_none() && (environment.tekton || !automatic) {
        results.tekton = Some(PathBuf::from(TEKTON_RESULTS));
        results.found = Some("Tekton by /tekton/results");
    }
    if tries(PipelineName::Argo) && results.argo.is_empty() {
        match environment.variable("ARGO_TEMPLATE")?.map(template_files) {
            Some(files) if !files.is_empty() => {
                results.argo = files;
                results.found = Some("Argo by $ARGO_TEMPLATE");
            }
            _ => missing("--pipeline=argo needs $ARGO_TEMPLATE with output parameters; or give --argo-outputs-dir")?,
        }
    }
    if tries(PipelineName::Cloudbuild) {
        match directory(environment, "BUILDER_OUTPUT")? {
            Some(path) => {
                results.cloud_build = Some(path);
                results.found = Some("Cloud Build by $BUILDER_OUTPUT");
            }
            None => missing("--pipeline=cloudbuild needs $BUILDER_OUTPUT, which Cloud Build sets in a step")?,
        }
    }
    if tries(PipelineName::Github) && results.github.is_none() {
        match github(environment)? {
            Some(files) => {
                results.github = Some(files);
                results.found = Some("GitHub Actions by $GITHUB_OUTPUT");
            }
            None => missing("--pipeline=github needs $GITHUB_OUTPUT, which GitHub sets in a step")?,
        }
    }
    // A file that nobody asked for would be part of the next build's context: never by itself.
    if name == PipelineName::Gitlab && results.dotenv.is_none() {
        let project = directory(environment, "CI_PROJECT_DIR")?;
        results.dotenv = Some(project.unwrap_or_else(|| environment.directories.working.clone()).join(DOTENV));
    }
    Ok(())
}

fn github(environment: &Environment) -> Result<Option<GithubFiles>, UsageError> {
    let output = directory(environment, "GITHUB_OUTPUT")?;
    let summary = directory(environment, "GITHUB_STEP_SUMMARY")?;
    Ok(output.map(|output| GithubFiles { output, summary }))
}

/// Reads a variable that names a path.
fn directory(environment: &Environment, name: &str) -> Result<Option<PathBuf>, UsageError> {
    let value = environment.value(name)?;
    Ok(value.map(|value| absolute(Path::new(value), &environment.directories.working)))
}

fn argo_files(directory: &Path) -> impl Iterator<Item = ValueFile> + use<'_> {
    argo::PARAMETERS.into_iter().map(|(name, value)| ValueFile { value, path: directory.join(name) })
}

/// Finds the output parameters of an Argo template that are read from files with names we know.
fn template_files(template: &str) -> Vec<ValueFile> {
    let template: Value = serde_json::from_str(template).unwrap_or_default();
    let paths = template["outputs"]["parameters"].as_array().into_iter().flatten();
    let paths = paths.filter_map(|parameter| parameter["valueFrom"]["path"].as_str()).map(Path::new);
    let known = paths.filter(|path| path.is_absolute()).filter_map(|path| {
        let name = path.file_name()?;
        let (_, value) = argo::PARAMETERS.into_iter().find(|(known, _)| name == *known)?;
        Some(ValueFile { value, path: path.to_owned() })
    });
    known.collect()
}

/// Reads a flag that names a file or directory to write.
pub(super) fn output_path(
    flag: &'static str,
    given: Option<&Path>,
    working: &Path,
) -> Result<Option<PathBuf>, UsageError> {
    match given.and_then(Path::to_str) {
        Some("-") => Err(UsageError::NotYet { what: format!("{flag}=- (standard output)") }),
        Some(url) if is_url(url) => {
            let reason = "only a value, such as that of --digest-file, can be sent to a URL";
            Err(UsageError::Secret { flag, reason })
        }
        _ => Ok(given.filter(|path| !path.as_os_str().is_empty()).map(|path| absolute(path, working))),
    }
}
