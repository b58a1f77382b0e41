//! Flags for where the image goes.

use std::path::{Path, PathBuf};

use super::{UsageError, absolute};
use crate::cli::args::{Args, CompressionName};
use crate::cli::env::Environment;
use crate::oci::Reference;
use crate::request::{Output, ResultFiles};

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
    if destinations.is_empty() && !no_push {
        return Err(UsageError::Missing { message: "the image needs a --destination, or --no-push to only build it" });
    }
    let path = |flag, given: &Option<PathBuf>| output_path(flag, given.as_deref(), working);
    let files = Files {
        layout: path("--oci-layout-path", &output.oci_layout_path)?,
        archive: path("--tar-path", &output.tar_path)?,
        results: ResultFiles {
            digest: path("--digest-file", &output.digest_file)?,
            name_with_digest: path("--image-name-with-digest-file", &output.image_name_with_digest_file)?,
            name_tag_with_digest: path("--image-name-tag-with-digest-file", &output.image_name_tag_with_digest_file)?,
            metadata: path("--metadata-file", &output.metadata_file)?,
            git_url: path("--git-url-file", &output.git_url_file)?,
            git_commit: path("--git-commit-file", &output.git_commit_file)?,
        },
    };
    files.check(destinations.is_empty())?;
    if files.archive.is_some() && args.image.compression == CompressionName::Zstd {
        let reason = "`docker load` does not read zstd everywhere; use gzip, or --oci-layout-path".to_owned();
        return Err(UsageError::Conflict { first: "--tar-path", second: "--compression=zstd", reason });
    }
    Ok(Outputs { images: files.images(&destinations, no_push), results: files.results })
}

/// The paths that are written.
struct Files {
    layout: Option<PathBuf>,
    archive: Option<PathBuf>,
    results: ResultFiles,
}

impl Files {
    /// Checks that no two outputs meet, and that result files can have content.
    fn check(&self, nameless: bool) -> Result<(), UsageError> {
        let named = [
            ("--oci-layout-path", &self.layout),
            ("--tar-path", &self.archive),
            ("--digest-file", &self.results.digest),
            ("--image-name-with-digest-file", &self.results.name_with_digest),
            ("--image-name-tag-with-digest-file", &self.results.name_tag_with_digest),
            ("--metadata-file", &self.results.metadata),
            ("--git-url-file", &self.results.git_url),
            ("--git-commit-file", &self.results.git_commit),
        ];
        for (index, (first, path)) in named.iter().enumerate() {
            let Some(path) = path else { continue };
            let other = named[..index].iter().find(|(_, other)| other.as_ref().is_some_and(|other| other == path));
            if let Some((second, _)) = other {
                let reason = format!("both would write {}", path.display());
                return Err(UsageError::Conflict { first: second, second: first, reason });
            }
        }
        if nameless && (self.results.name_with_digest.is_some() || self.results.name_tag_with_digest.is_some()) {
            let message = "a file for image names needs a --destination to take the names from";
            return Err(UsageError::Missing { message });
        }
        Ok(())
    }

    fn images(&self, destinations: &[Reference], no_push: bool) -> Vec<Output> {
        let names =
            if destinations.is_empty() { NAMELESS.parse().into_iter().collect() } else { destinations.to_vec() };
        let pushes = destinations.iter().filter(|_| !no_push).cloned().map(Output::Registry);
        let layout = self.layout.iter().cloned().map(Output::OciLayout);
        let archive = self.archive.iter().cloned().map(|path| Output::DockerArchive { path, names: names.clone() });
        pushes.chain(layout).chain(archive).collect()
    }
}

fn destination(text: &str) -> Result<Reference, UsageError> {
    let error = |reason: String| UsageError::Value { flag: "--destination", value: text.to_owned(), reason };
    let reference: Reference = text.parse().map_err(|e: crate::oci::ReferenceError| error(e.reason))?;
    match reference.digest {
        Some(_) => Err(error("an image's digest is not known before it is built; give a tag, or none".to_owned())),
        None => Ok(reference),
    }
}

/// Decides whether to push: the variable overrides the flag, as for kaniko.
fn no_push(flag: bool, environment: &Environment) -> Result<bool, UsageError> {
    let name = "KANIKO_NO_PUSH";
    match environment.variable(name)?.filter(|value| !value.is_empty()) {
        None => Ok(flag),
        Some(value) => crate::cli::args::boolean(value).map_err(|reason| UsageError::Variable {
            name,
            value: value.to_owned(),
            reason,
        }),
    }
}

fn output_path(flag: &'static str, given: Option<&Path>, working: &Path) -> Result<Option<PathBuf>, UsageError> {
    match given.and_then(Path::to_str) {
        Some("-") => Err(UsageError::NotYet { what: format!("{flag}=- (standard output)") }),
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
            Err(UsageError::NotYet { what: format!("{flag} with a URL") })
        }
        _ => Ok(given.filter(|path| !path.as_os_str().is_empty()).map(|path| absolute(path, working))),
    }
}
