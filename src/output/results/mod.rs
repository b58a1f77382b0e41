//! Result files: what a pipeline reads about an image, in the form each engine wants.
//!
//! Knows the engines' names and limits; does not know how it was found out which engine this is.
//!
//! *Invariant: stale files are gone before anything is built; new ones appear after the last push, and after a
//! failure there are none. Nothing that was not pushed is told in a form that a signer would take for an image.*

pub mod argo;
mod cloudbuild;
mod file;
mod github;
mod gitlab;
mod metadata;
mod put;
mod tekton;
mod value;

use crate::outcome::{BuildOutcome, IndexOutcome, PushOutcome};
use crate::progress::{Event, Reporter};
use crate::request::{MetadataFile, ResultFiles};

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
    let written = write_all(facts, metadata, results);
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
    for file in &results.values {
        if let Some(value) = facts.value(file.value) {
            file::write_atomically(&file.path, value.as_bytes())?;
            written.push(file.path.display().to_string());
        }
    }
    if let Some(directory) = &results.tekton {
        let names = tekton::write(directory, facts)?;
        written.push(format!("{} in {}", names.join(", "), directory.display()));
    }
    if let Some(path) = &results.tekton_artifacts {
        file::write_atomically(path, tekton::provenance(facts).as_bytes())?;
        written.push(path.display().to_string());
    }
    argo::write(&results.argo, facts)?;
    written.extend(results.argo.iter().map(|file| file.path.display().to_string()));
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
