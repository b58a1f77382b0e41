//! Result files: what a pipeline reads about an image, in the form each engine wants.
//!
//! Knows the engines' names and limits; does not know how it was found out which engine this is.
//!
//! *Invariant: stale files are gone before anything is built; new ones appear after the last push, and after a
//! failure there are none but those that tell of it. Nothing that was not pushed is told in a form that a signer would take for an image.*

pub mod argo;
mod cloudbuild;
mod file;
mod github;
mod gitlab;
mod metadata;
mod put;
mod tekton;
mod value;

use std::path::PathBuf;

use crate::outcome::{BuildOutcome, IndexOutcome, PushOutcome};
use crate::progress::{Event, Reporter};
use crate::request::{MetadataFile, ResultFiles, ResultValue, ValueFile};

use super::Error;

pub use file::write_atomically;
pub use put::put_values;
pub use value::Facts;

/// Removes the result files of an earlier build, so that none of them can be taken for this one's.
///
/// # Errors
/// [`Error::Write`] when a file is there and cannot be removed.
pub fn remove_stale(results: &ResultFiles) -> Result<(), Error> {
    let single = results.values.iter().map(|file| &file.path);
    let single = single
        .chain(results.metadata.iter().map(|file| &file.path))
        .chain(&results.tekton_artifacts)
        .chain(&results.dotenv);
    single.into_iter().try_for_each(|path| file::clear(path))?;
    argo::clear(&results.argo)?;
    results.tekton.iter().try_for_each(|directory| tekton::clear(directory))?;
    results.cloud_build.iter().try_for_each(|directory| cloudbuild::clear(directory))
}

/// Checks that the results will fit where they are asked for; of `facts`, the digest need not be known yet.
///
/// # Errors
/// [`Error::TooLarge`] when Tekton would refuse them.
pub fn check_results(facts: &Facts<'_>, results: &ResultFiles) -> Result<(), Error> {
    let facts = &facts.naming(results);
    match &results.tekton {
        Some(directory) => tekton::check(directory, results.tekton_artifacts.is_some(), facts),
        None => Ok(()),
    }
}

/// Writes the result files of an image; called once the registries have confirmed it.
///
/// # Errors
/// [`Error::Write`] with the file; those that were written are removed again.
pub fn write_results(outcome: &BuildOutcome, results: &ResultFiles, reporter: &dyn Reporter) -> Result<(), Error> {
    write(&outcome.into(), &metadata::image(outcome), results, reporter)
}

/// Writes the result files of an index.
///
/// # Errors
/// As [`write_results`].
pub fn write_index_results(
    outcome: &IndexOutcome,
    results: &ResultFiles,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    write(&outcome.into(), &metadata::index(outcome), results, reporter)
}

/// Writes the file that tells everything, with the trace that the run belongs to.
///
/// # Errors
/// [`Error::Write`].
pub fn write_metadata(file: &MetadataFile, mut metadata: serde_json::Value) -> Result<(), Error> {
    if let Some(trace) = file.trace {
        metadata["trace"] = serde_json::json!({ "traceId": trace.trace_id(), "spanId": trace.span_id() });
    }
    file::write_atomically(&file.path, metadata.to_string().as_bytes())
}

/// Writes the result files of an image that was pushed as it was.
///
/// # Errors
/// As [`write_results`].
pub fn write_push_results(outcome: &PushOutcome, results: &ResultFiles, reporter: &dyn Reporter) -> Result<(), Error> {
    write(&outcome.into(), &metadata::pushed(outcome), results, reporter)
}

fn write(
    facts: &Facts<'_>,
    metadata: &serde_json::Value,
    results: &ResultFiles,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    let written = write_all(&facts.naming(results), metadata, results);
    if written.is_err() {
        // The error that made them useless is told; that one could not be removed adds nothing.
        let _ = remove_stale(results);
    }
    let mut written = written?;
    if let Some(found) = results.found {
        written.insert(0, format!("found {found}"));
    }
    if !written.is_empty() {
        reporter.report(Event::Note(&format!("results: {}", written.join("; "))));
    }
    Ok(())
}

/// Writes everything, and returns what went where. Files that are added to come last: they cannot be taken back.
fn write_all(facts: &Facts<'_>, metadata: &serde_json::Value, results: &ResultFiles) -> Result<Vec<String>, Error> {
    let mut written = Vec::new();
    let value = |file: &ValueFile| Some((file.path.clone(), facts.value(file.value)?));
    written.extend(write_values(results.values.iter().filter_map(value))?);
    if let Some(directory) = &results.tekton {
        let names = tekton::write(directory, facts)?;
        written.push(format!("{} in {}", names.join(", "), directory.display()));
    }
    if let Some(path) = &results.tekton_artifacts {
        file::write_atomically(path, tekton::provenance(facts).as_bytes())?;
        written.push(path.display().to_string());
    }
    argo::write(&results.argo, facts)?;
    let told = results.argo.iter().filter(|file| facts.value(file.value).is_some());
    written.extend(told.map(|file| file.path.display().to_string()));
    if let Some(directory) = &results.cloud_build {
        cloudbuild::write(directory, facts)?;
        written.push(format!("output in {}", directory.display()));
    }
    if let Some(path) = &results.dotenv {
        gitlab::write(path, facts)?;
        written.push(path.display().to_string());
    }
    if let Some(file) = &results.metadata {
        write_metadata(file, metadata.clone())?;
        written.push(file.path.display().to_string());
    }
    if let Some(files) = &results.github {
        github::write(files, facts)?;
        written.push(format!("outputs in {}", files.output.display()));
    }
    Ok(written)
}

/// Writes values, and returns where. Values that go to one place (a device: [`remove_stale`] leaves nothing there) stand
/// on a line each.
fn write_values(values: impl Iterator<Item = (PathBuf, String)>) -> Result<Vec<String>, Error> {
    let mut by_path: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for (path, value) in values {
        match by_path.iter_mut().find(|(known, _)| *known == path) {
            Some((_, values)) => values.push(value),
            None => by_path.push((path, vec![value])),
        }
    }
    for (path, values) in &by_path {
        let values: Vec<&str> = match values.as_slice() {
            [only] => vec![only],
            several => several.iter().map(|value| value.trim_end_matches('\n')).collect(),
        };
        file::write_atomically(path, values.join("\n").as_bytes())?;
    }
    Ok(by_path.into_iter().map(|(path, _)| path.display().to_string()).collect())
}

/// What result files tell of a build that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailureFacts<'a> {
    /// The error's kind.
    pub kind: &'a str,
    /// Its message, in one line.
    pub message: &'a str,
}

impl FailureFacts<'_> {
    fn value(&self, value: ResultValue) -> Option<String> {
        match value {
            ResultValue::ErrorKind => Some(self.kind.to_owned()),
            ResultValue::ErrorReason => {
                let (first, rest) = self.kind.split_at_checked(1)?;
                Some(first.to_uppercase() + rest)
            }
            ResultValue::ErrorMessage => Some(self.message.to_owned()),
            _ => None,
        }
    }
}

/// Writes the result files of a build that failed.
///
/// # Errors
/// [`Error::Write`] with the file.
pub fn write_failure(facts: &FailureFacts<'_>, results: &ResultFiles) -> Result<(), Error> {
    let of_tekton = results.tekton.iter().flat_map(|directory| tekton::files(directory));
    let files = results.values.iter().chain(&results.argo).cloned().chain(of_tekton);
    write_values(files.filter_map(|file| Some((file.path, facts.value(file.value)?)))).map(|_| ())
}
