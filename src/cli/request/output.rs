//! Flags for where the image goes.

use std::path::{Path, PathBuf};

use super::export::{self, Says};
use super::results::{self, Named, output_path};
use super::{UsageError, absolute, destinations, legacy};
use crate::cli::args::Args;
use crate::cli::env::Environment;
use crate::cli::report::PRINT_PLAN;
use crate::oci::Reference;
use crate::request::{ArchiveForm, NamedDestination, Output, ResultFiles, ResultValue, Target};

/// The name that kaniko gives an image without one, since a loaded image needs a name to be found.
const NAMELESS: &str = "docker.io/unset-repo/unset-image-name:latest";

/// Where the image goes, what that says of the image, and which files tell about it.
pub(super) struct Outputs {
    pub(super) images: Vec<Output>,
    pub(super) says: Vec<Says>,
    pub(super) results: ResultFiles,
    /// Where it is written what is installed in the image.
    pub(super) sbom: Option<PathBuf>,
}

pub(super) fn outputs(args: &Args, environment: &Environment) -> Result<Outputs, UsageError> {
    let output = &args.output;
    let working = &environment.directories.working;
    let destinations = output.destination.iter().map(|text| destinations::read(text)).collect::<Result<Vec<_>, _>>()?;
    let destinations = if output.push_by_digest { destinations::untagged(destinations) } else { destinations };
    let no_push = no_push(output.no_push, environment)?;
    let no_push = no_push || (args.limits.dryrun && args.output.destination.is_empty()) || args.cache.print_build_key;
    // A pipeline whose parameter is not set passes an empty value.
    let exports = args.export.output.iter().filter(|text| !text.is_empty());
    let exports = exports.map(|text| export::export(text, &destinations, working)).collect::<Result<Vec<_>, _>>()?;
    if destinations.is_empty() && exports.is_empty() && !no_push {
        let message = "the image needs a --destination or an --output, or --no-push to only build it";
        return Err(UsageError::Missing { message });
    }
    let layout = output_path("--oci-layout-path", output.oci_layout_path.as_deref(), working)?;
    let archive = archive(output.tar_path.as_deref(), working);
    let mut named: Vec<Named> = Vec::new();
    named.extend(layout.clone().map(|path| ("--oci-layout-path", path)));
    if let Some(Target::File(path)) = &archive {
        named.push(("--tar-path", path.clone()));
    }
    named.extend(exports.iter().filter_map(|export| export.path.clone()).map(|path| (export::FLAG, path)));
    let sbom = output_path("--sbom-path", args.sbom.sbom_path.as_deref(), working)?;
    named.extend(sbom.clone().map(|path| ("--sbom-path", path)));
    let mut results = results::results(&args.results, environment, named)?;
    results.named = results::named(&args.results, &output.destination)?.map(|named| match output.push_by_digest {
        true => by_digest(named),
        false => named,
    });
    let mut images: Vec<Output> = destinations.iter().cloned().map(Output::Registry).collect();
    images.extend(layout.map(|path| Output::Layout { path, names: destinations.clone() }));
    images.extend(archive.map(|target| docker_archive(target, destinations)));
    let mut says = Vec::new();
    for export in exports {
        images.extend(export.outputs);
        says.push(export.says);
    }
    if results.values.iter().any(|file| is_name(file.value)) && !images.iter().any(is_push) {
        let message = "a file for image names needs a --destination to take the names from";
        return Err(UsageError::Missing { message });
    }
    if no_push {
        images.retain(|output| !is_push(output));
    }
    check_standard_output(&images, prints_plan(args, environment)?, environment)?;
    Ok(Outputs { images, says, results, sbom })
}

fn by_digest(named: NamedDestination) -> NamedDestination {
    let reference = Reference { tag: None, ..named.reference };
    NamedDestination { text: reference.name(), reference }
}

/// Reads `--tar-path`; `-` is standard output.
fn archive(given: Option<&Path>, working: &Path) -> Option<Target> {
    let given = given.filter(|path| !path.as_os_str().is_empty())?;
    Some(if given == "-" { Target::Stdout } else { Target::File(absolute(given, working)) })
}

fn docker_archive(target: Target, destinations: Vec<Reference>) -> Output {
    let names = if destinations.is_empty() { NAMELESS.parse().into_iter().collect() } else { destinations };
    Output::Archive { form: ArchiveForm::Docker, target, names }
}

fn is_push(output: &Output) -> bool {
    match output {
        Output::Registry(_) => true,
        Output::Layout { .. } | Output::Archive { .. } | Output::Tar(_) | Output::Directory { .. } => false,
    }
}

/// Standard output takes one stream, and terminals do not take it well.
fn check_standard_output(
    images: &[Output],
    prints_plan: Option<&'static str>,
    environment: &Environment,
) -> Result<(), UsageError> {
    let is_stdout = |output: &&Output| match output {
        Output::Archive { target, .. } | Output::Tar(target) => *target == Target::Stdout,
        Output::Registry(_) | Output::Layout { .. } | Output::Directory { .. } => false,
    };
    let count = images.iter().filter(is_stdout).count();
    if let Some(first) = prints_plan.filter(|_| count > 0) {
        let reason = "both would write to standard output; `yadokari plan` prints the plan alone".to_owned();
        return Err(UsageError::Conflict { first, second: "an image to standard output", reason });
    }
    match count {
        0 => Ok(()),
        1 if environment.output_is_terminal => {
            let message = "standard output is a terminal: redirect it, or give dest= or --tar-path a file";
            Err(UsageError::Missing { message })
        }
        1 => Ok(()),
        _ => {
            let message = "two outputs would go to standard output; give one of them a file";
            Err(UsageError::Missing { message })
        }
    }
}

/// Returns what asks for the plan beside a build, if anything does; a dry run writes nothing else.
fn prints_plan(args: &Args, environment: &Environment) -> Result<Option<&'static str>, UsageError> {
    let variable = legacy::switch(PRINT_PLAN, environment)?;
    Ok(match variable {
        _ if args.limits.dryrun => None,
        Some(true) => Some(PRINT_PLAN),
        Some(false) => None,
        None => args.messages.print_plan.then_some("--print-plan"),
    })
}

/// Decides whether to push: the variable overrides the flag, as for kaniko.
fn no_push(flag: bool, environment: &Environment) -> Result<bool, UsageError> {
    Ok(legacy::switch("KANIKO_NO_PUSH", environment)?.unwrap_or(flag))
}

fn is_name(value: ResultValue) -> bool {
    match value {
        ResultValue::Url
        | ResultValue::Reference
        | ResultValue::Images
        | ResultValue::Attestations
        | ResultValue::KanikoNames
        | ResultValue::KanikoTags => true,
        ResultValue::Digest
        | ResultValue::ImageId
        | ResultValue::BaseImages
        | ResultValue::GitUrl
        | ResultValue::GitCommit
        | ResultValue::Size
        | ResultValue::ArtifactOutput
        | ResultValue::ArtifactInput(_)
        | ResultValue::ErrorKind
        | ResultValue::ErrorReason
        | ResultValue::ErrorMessage => false,
    }
}
