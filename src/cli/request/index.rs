//! `yadokari index`: flags become a request.

use std::collections::BTreeMap;
use std::path::Path;

use super::annotation::{self, Annotation, Level};
use super::results;
use super::{Network, UsageError, destinations, network};
use crate::cli::args::{IndexArgs, IndexFormatName};
use crate::cli::env::Environment;
use crate::oci::Reference;
use crate::request::{DescriptorAnnotation, IndexFormat, IndexRequest, ResultFiles};

/// Makes a request of flags and environment. Files with images are read by the caller: `read` does that.
///
/// # Errors
/// [`UsageError`] for values that cannot be used.
pub fn resolve_index(
    args: &IndexArgs,
    environment: &Environment,
    read: impl Fn(&Path) -> std::io::Result<String>,
) -> Result<(IndexRequest, Network), UsageError> {
    let mut images = Vec::new();
    for text in &args.images {
        add("IMAGE", text, &mut images)?;
    }
    for path in &args.images_from {
        let (flag, value) = ("--images-from", path.display().to_string());
        let text = read(&environment.directories.working.join(path));
        let text = text.map_err(|error| UsageError::Value { flag, value, reason: error.to_string() })?;
        if text.trim_start().starts_with('[') {
            add(flag, text.trim(), &mut images)?;
        } else {
            text.lines().map(str::trim).try_for_each(|line| add(flag, line, &mut images))?;
        }
    }
    if images.is_empty() {
        return Err(UsageError::Missing { message: "an index needs images: name them, best by digest" });
    }
    let network = network::network(&args.registry, environment)?;
    let (annotations, descriptor_annotations) = annotations(args)?;
    let request = IndexRequest {
        images,
        destinations: args.destination.iter().map(|text| destinations::read(text)).collect::<Result<_, _>>()?,
        format: match args.format {
            IndexFormatName::Auto => IndexFormat::LikeImages,
            IndexFormatName::Oci => IndexFormat::Oci,
            IndexFormatName::Docker => IndexFormat::Docker,
        },
        annotations,
        descriptor_annotations,
        check_push: network.check_push_permission,
        results: ResultFiles {
            named: results::named(&args.results, &args.destination)?,
            ..results::results(&args.results, environment, Vec::new())?
        },
    };
    Ok((request, network))
}

/// Reads `--annotation`; without a type it is of the index, the one document that is made.
fn annotations(args: &IndexArgs) -> Result<(BTreeMap<String, String>, Vec<DescriptorAnnotation>), UsageError> {
    let (mut of_index, mut of_descriptors) = (BTreeMap::new(), Vec::new());
    for annotation in annotation::annotations(&args.annotation)? {
        match annotation.level {
            None | Some(Level::Index) if annotation.platform.is_none() => annotation::add(&mut of_index, annotation),
            None | Some(Level::Index) => return Err(annotation.refused("an index has no platform")),
            Some(Level::ManifestDescriptor) => {
                let Annotation { platform, key, value, .. } = annotation;
                of_descriptors.push(DescriptorAnnotation { platform, key, value });
            }
            Some(Level::Manifest) => {
                return Err(annotation.refused("images are made already; give it to their builds, or write `index:`"));
            }
            Some(Level::IndexDescriptor) => {
                return Err(annotation.refused("a registry has no descriptor of an index; write `index:`"));
            }
        }
    }
    let has_any = !of_index.is_empty() || !of_descriptors.is_empty();
    if has_any && args.format == IndexFormatName::Docker {
        let reason = "Docker's lists have none".to_owned();
        return Err(UsageError::Conflict { first: "--format=docker", second: "--annotation", reason });
    }
    Ok((of_index, of_descriptors))
}

/// Reads one reference, or a JSON array of them; Argo has the outputs of a fan-out in that form.
fn add(flag: &'static str, text: &str, images: &mut Vec<Reference>) -> Result<(), UsageError> {
    let error = |reason| UsageError::Value { flag, value: text.to_owned(), reason };
    if text.starts_with('[') {
        let texts: Vec<String> = serde_json::from_str(text).map_err(|e| error(format!("it is no JSON array: {e}")))?;
        return texts.iter().try_for_each(|text| add(flag, text, images));
    }
    if !text.is_empty() {
        images.push(text.parse().map_err(|e: crate::oci::ReferenceError| error(e.reason))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::args::{Command, Invocation, parse};
    use crate::cli::env::Moment;

    fn resolved(words: &[&str]) -> Result<IndexRequest, String> {
        let words = ["yadokari", "index", "-d", "r.io/app:1"].iter().chain(words).map(OsString::from);
        let Ok(Invocation::Command(Command::Index(args))) = parse(words) else { panic!("no index") };
        let moment = Moment { now: 0, token: "t".to_owned() };
        let environment = Environment::new([], "/work".into(), moment, false);
        let read = |path: &Path| match path.to_str() {
            Some("/work/lines") => Ok("r.io/b:2\n\nr.io/c:3\n".to_owned()),
            Some("/work/array") => Ok("[\"r.io/d:4\"]\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        resolve_index(&args, &environment, read).map(|(request, _)| request).map_err(|error| error.to_string())
    }

    #[test]
    fn images_come_as_words_as_json_and_from_files() {
        let rows: [(&[&str], &[&str]); 4] = [
            (&["r.io/a:1", "r.io/b:2"], &["r.io/a:1", "r.io/b:2"]),
            (&["[\"r.io/a:1\", \"r.io/b:2\"]", "r.io/c:3", ""], &["r.io/a:1", "r.io/b:2", "r.io/c:3"]),
            (&["--images-from=lines", "--images-from=array"], &["r.io/b:2", "r.io/c:3", "r.io/d:4"]),
            (&["--images-from=lines", "r.io/a:1", "--insecure"], &["r.io/a:1", "r.io/b:2", "r.io/c:3"]),
        ];
        for (words, expected) in rows {
            let request = resolved(words).expect("resolves");
            assert_eq!(request.images.iter().map(Reference::to_string).collect::<Vec<_>>(), expected, "{words:?}");
        }
    }

    #[test]
    fn annotations_have_their_places() {
        let words = [
            "r.io/a:1",
            "--annotation=a=1",
            "--annotation=index:b=2",
            "--annotation=manifest-descriptor:c=3",
            "--annotation=manifest-descriptor[linux/arm64]:c=4",
        ];
        let request = resolved(&words).expect("resolves");
        assert_eq!(request.annotations, [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let of_descriptors: Vec<_> = request
            .descriptor_annotations
            .iter()
            .map(|one| (one.platform.as_ref().map(ToString::to_string), &*one.key, &*one.value))
            .collect();
        assert_eq!(of_descriptors, [(None, "c", "3"), (Some("linux/arm64".to_owned()), "c", "4")]);
        for (words, expected) in [
            (&["r.io/a:1", "--annotation=manifest:a=1"][..], "made already"),
            (&["r.io/a:1", "--annotation=index-descriptor:a=1"][..], "no descriptor"),
            (&["r.io/a:1", "--annotation=index[linux/amd64]:a=1"][..], "no platform"),
            (&["r.io/a:1", "--annotation=a=1", "--format=docker"][..], "Docker's lists"),
        ] {
            let message = resolved(words).expect_err("is refused");
            assert!(message.contains(expected), "{words:?}: {message}");
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for (words, expected) in [
            (&[][..], "needs images"),
            (&["[\"r.io/a:1\""][..], "no JSON array"),
            (&["https://r.io/a"][..], "scheme"),
            (&["--images-from=none"][..], "none"),
        ] {
            let message = resolved(words).expect_err("is refused");
            assert!(message.contains(expected), "{words:?}: {message}");
        }
    }
}
