//! Result files: digest and names for a pipeline, and everything as JSON.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::oci::{DEFAULT_REGISTRY, Reference};
use crate::outcome::{BuildOutcome, StepDone};
use crate::progress::StepResult;
use crate::request::ResultFiles;

use super::Error;

/// Removes the result files of an earlier build, so that none of them can be taken for this one's.
///
/// # Errors
/// [`Error::Write`] when a file is there and cannot be removed.
pub fn remove_stale(results: &ResultFiles) -> Result<(), Error> {
    let names = [&results.digest, &results.name_with_digest, &results.name_tag_with_digest];
    let files = names.into_iter().chain([&results.metadata, &results.git_url, &results.git_commit]);
    for path in files.flatten() {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Write { action: "remove the old", path: path.clone(), source }),
        }
    }
    Ok(())
}

/// Writes the result files that were asked for; called once the registries have confirmed the image.
///
/// # Errors
/// [`Error::Write`] with the file.
pub fn write_results(outcome: &BuildOutcome, results: &ResultFiles) -> Result<(), Error> {
    let digest = &outcome.manifest.digest;
    if let Some(path) = &results.digest {
        write_atomically(path, digest.as_str().as_bytes())?;
    }
    if let Some(path) = &results.name_with_digest {
        write_lines(path, &outcome.pushed, |reference| format!("{}@{digest}", kaniko_name(reference)))?;
    }
    if let Some(path) = &results.name_tag_with_digest {
        let line = |reference: &Reference| {
            format!("{}:{}@{digest}", kaniko_name(reference), reference.tag.as_deref().unwrap_or_default())
        };
        write_lines(path, &outcome.pushed, line)?;
    }
    let context = outcome.context.as_ref();
    for (path, text) in [
        (&results.git_url, context.and_then(|context| context.url.as_ref().filter(|_| context.commit.is_some()))),
        (&results.git_commit, context.and_then(|context| context.commit.as_ref())),
    ] {
        if let (Some(path), Some(text)) = (path, text) {
            write_atomically(path, text.as_bytes())?;
        }
    }
    if let Some(path) = &results.metadata {
        write_atomically(path, metadata(outcome).to_string().as_bytes())?;
    }
    Ok(())
}

/// Writes a file under a temporary name in the same directory and renames it; missing directories are made.
///
/// # Errors
/// [`Error::Write`] with the file.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failure = |source| Error::Write { action: "write", path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failure)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = File::create(&temporary).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // The error that made it useless is told; that it could not be removed adds nothing.
        let _ = fs::remove_file(&temporary);
    }
    renamed.map_err(failure)
}

fn write_lines(path: &Path, references: &[Reference], line: impl Fn(&Reference) -> String) -> Result<(), Error> {
    let lines: String = references.iter().map(|reference| line(reference) + "\n").collect();
    write_atomically(path, lines.as_bytes())
}

/// Returns `registry/repository` as kaniko writes it, with its old name for Docker Hub.
fn kaniko_name(reference: &Reference) -> String {
    match reference.registry.as_str() {
        DEFAULT_REGISTRY => format!("index.docker.io/{}", reference.repository),
        _ => reference.name(),
    }
}

fn metadata(outcome: &BuildOutcome) -> Value {
    json!({
        "schemaVersion": 1,
        "status": "succeeded",
        "digest": outcome.manifest.digest,
        "mediaType": outcome.manifest.media_type,
        "configDigest": outcome.config.digest,
        "size": outcome.size,
        "platform": outcome.platform.to_string(),
        "references": outcome.pushed.iter().map(Reference::to_string).collect::<Vec<_>>(),
        "baseImages": outcome.bases.iter().map(|base| json!({
            "name": base.name.to_string(),
            "digest": base.digest,
        })).collect::<Vec<_>>(),
        "context": outcome.context.as_ref().map(|context| json!({
            "digest": context.content,
            "url": context.url,
            "commit": context.commit,
        })),
        "steps": outcome.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn step(done: &StepDone) -> Value {
    let (cache, layer) = match &done.result {
        StepResult::Layer { digest, size } => ("built", Some((digest, size))),
        StepResult::Cached { digest, size } => ("cached", Some((digest, size))),
        StepResult::NoLayer => ("none", None),
    };
    let mut value = json!({
        "stage": done.step.stage,
        "step": done.step.number,
        "line": done.line,
        "instruction": done.text,
        "milliseconds": u64::try_from(done.elapsed.as_millis()).unwrap_or(u64::MAX),
        "cache": cache,
    });
    if let Some((digest, size)) = layer {
        value["layer"] = json!({ "digest": digest, "size": size });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_one() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("a/b/digest");
        write_atomically(&path, b"one").expect("writes");
        write_atomically(&path, b"two").expect("replaces");
        assert_eq!(fs::read(&path).expect("reads"), b"two");
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("lists").count(), 1);
    }

    #[test]
    fn docker_hub_has_the_name_that_kaniko_gives_it() {
        let hub: Reference = "busybox".parse().expect("reference");
        assert_eq!(kaniko_name(&hub), "index.docker.io/library/busybox");
        let other: Reference = "registry.example.com/a/b:1".parse().expect("reference");
        assert_eq!(kaniko_name(&other), "registry.example.com/a/b");
    }
}
