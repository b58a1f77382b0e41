//! Flags for where the image goes.

use std::path::PathBuf;

use super::results::{self, Named, output_path};
use super::{UsageError, legacy};
use crate::cli::args::{Args, CompressionName};
use crate::cli::env::Environment;
use crate::oci::Reference;
use crate::request::{Output, ResultFiles, ResultValue};

/// The name that kaniko gives an image without one, since a loaded image needs a name to be found.
const NAMELESS: &str = "docker.io/unset-repo/unset-image-name:latest";

/// Where the image goes, and which files tell about it.
pub(super) struct Outputs {
    pub(super) images: Vec<Output>,
    pub(super) results: ResultFiles,
}

pub(super) fn outputs(args: &Args, environment: &Environment) -> Result<Outputs, UsageError> {
    let output = &args.output;
    let working = &environment.directories.working;
    let destinations = output.destination.iter().map(|text| destination(text)).collect::<Result<Vec<_>, _>>()?;
    let no_push = no_push(output.no_push, environment)?;
    let no_push = no_push || args.limits.dryrun;
    if destinations.is_empty() && !no_push {
        return Err(UsageError::Missing { message: "the image needs a --destination, or --no-push to only build it" });
    }
    let layout = output_path("--oci-layout-path", output.oci_layout_path.as_deref(), working)?;
    let archive = output_path("--tar-path", output.tar_path.as_deref(), working)?;
    let mut named: Vec<Named> = Vec::new();
    named.extend(layout.clone().map(|path| ("--oci-layout-path", path)));
    named.extend(archive.clone().map(|path| ("--tar-path", path)));
    let results = results::results(&args.results, environment, named)?;
    if destinations.is_empty() && results.values.iter().any(|file| is_name(file.value)) {
        let message = "a file for image names needs a --destination to take the names from";
        return Err(UsageError::Missing { message });
    }
    let files = Files { layout, archive };
    if files.archive.is_some() && args.image.compression == CompressionName::Zstd {
        let reason = "`docker load` does not read zstd everywhere; use gzip, or --oci-layout-path".to_owned();
        return Err(UsageError::Conflict { first: "--tar-path", second: "--compression=zstd", reason });
    }
    Ok(Outputs { images: files.images(&destinations, no_push), results })
}

/// The paths that images are written to.
struct Files {
    layout: Option<PathBuf>,
    archive: Option<PathBuf>,
}

impl Files {
    fn images(&self, destinations: &[Reference], no_push: bool) -> Vec<Output> {
        let names =
            if destinations.is_empty() { NAMELESS.parse().into_iter().collect() } else { destinations.to_vec() };
        let pushes = destinations.iter().filter(|_| !no_push).cloned().map(Output::Registry);
        let layout = self.layout.iter().cloned().map(Output::OciLayout);
        let archive = self.archive.iter().cloned().map(|path| Output::DockerArchive { path, names: names.clone() });
        pushes.chain(layout).chain(archive).collect()
    }
}

pub(super) fn destination(text: &str) -> Result<Reference, UsageError> {
    let error = |reason: String| UsageError::Value { flag: "--destination", value: text.to_owned(), reason };
    let reference: Reference = text.parse().map_err(|e: crate::oci::ReferenceError| error(e.reason))?;
    match reference.digest {
        Some(_) => Err(error("an image's digest is not known before it is built; give a tag, or none".to_owned())),
        None => Ok(reference),
    }
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
        | ResultValue::KanikoNames
        | ResultValue::KanikoTags => true,
        ResultValue::Digest | ResultValue::BaseImages | ResultValue::GitUrl | ResultValue::GitCommit => false,
    }
}
