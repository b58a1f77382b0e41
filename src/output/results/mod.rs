//! Result files: what a pipeline reads about an image, in the form each engine wants.
//!
//! Knows the engines' names and limits; does not know how it was found out which engine this is.
//!
//! *Invariant: what a RUN wrote into a result file is gone when the last one has ended, and what other steps had told is
//! back; new results appear after the last push, and after a failure there are none but those that tell of it. Nothing
//! that was not pushed is told in a form that a signer would take for an image.*

pub mod argo;
mod attestations;
mod cloudbuild;
mod github;
mod gitlab;
mod metadata;
mod put;
mod tekton;
mod value;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::outcome::{BuildOutcome, IndexOutcome, PushOutcome};
use crate::place::Places;
use crate::progress::{Event, Reporter};
use crate::request::{MetadataFile, ResultFiles, ResultValue, ValueFile};

use super::Error;

pub use put::put_values;
pub use value::Facts;

/// Finds the result files. Those of an earlier build are removed, so that none of them can be taken for this one's;
/// what is added to, and what other steps of a Tekton Task have told, is recorded.
pub(super) fn begin(results: &ResultFiles, places: &mut Places) -> Result<(), Error> {
    let single = results.values.iter().map(|file| &file.path);
    let mut own: Vec<PathBuf> = single
        .chain(results.metadata.iter().map(|file| &file.path))
        .chain(&results.trace)
        .chain(&results.report)
        .chain(&results.sboms)
        .chain(&results.tekton_artifacts)
        .chain(&results.dotenv)
        .cloned()
        .collect();
    own.extend(results.cloud_build.iter().flat_map(|directory| cloudbuild::files(directory)));
    own.extend(results.attestations.iter().flat_map(attestations::paths));
    for path in &own {
        places.clear(path).map_err(failure("remove the old", path))?;
    }
    if let Some(files) = &results.attestations {
        places.find_folder(&files.directory).map_err(failure("write to", &files.directory))?;
    }
    for file in &results.argo {
        places.begin_with(&file.path, b"").map_err(failure("write", &file.path))?;
    }
    let recorded = results.tekton.iter().flat_map(|directory| tekton::files(directory)).map(|file| file.path);
    let added = results.github.iter().flat_map(|files| std::iter::once(&files.output).chain(&files.summary)).cloned();
    for path in recorded.chain(added) {
        places.record(&path).map_err(failure("read", &path))?;
    }
    Ok(())
}

/// Puts back what result files held before the build: a RUN may have written into them.
///
/// # Errors
/// [`Error::Write`] with the first file of which that was not possible.
pub fn restore(places: &Places) -> Result<(), Error> {
    places.restore().map_err(|(path, source)| Error::Write { action: "put back", path, source })
}

fn failure(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write { action, path, source }
}

fn put(places: &Places, path: &Path, content: &[u8]) -> Result<(), Error> {
    places.write(path, content).map_err(failure("write", path))
}

/// Checks that the results will fit where they are asked for; of `facts`, the digest need not be known yet.
///
/// # Errors
/// [`Error::TooLarge`] when Tekton would refuse them.
pub fn check_results(facts: &Facts<'_>, results: &ResultFiles, places: &Places) -> Result<(), Error> {
    let facts = &facts.naming(results);
    let has_artifacts = results.tekton_artifacts.is_some();
    match &results.tekton {
        Some(directory) => tekton::check(directory, has_artifacts, facts, &results.tekton_limit, places),
        None => Ok(()),
    }
}

/// Writes the result files of an image; called once the registries have confirmed it.
///
/// # Errors
/// [`Error::Write`] with the file; those that were written are removed again.
pub fn write_results(
    outcome: &BuildOutcome,
    results: &ResultFiles,
    places: &Places,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    write_documents(outcome, results, places, reporter).inspect_err(|_| {
        // The error that made them useless is told; that one could not be put back adds nothing.
        let _ = restore(places);
    })?;
    write(&outcome.into(), &|| metadata::image(outcome), (results, places), reporter)
}

/// Writes what is said about an image.
fn write_documents(
    outcome: &BuildOutcome,
    results: &ResultFiles,
    places: &Places,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    for (path, document) in results.sboms.iter().zip(&outcome.sboms) {
        put(places, path, document.as_bytes())?;
        reporter.report(Event::Note(&format!("what is installed: {}", path.display())));
    }
    if let Some(files) = &results.attestations {
        let written = attestations::write(outcome, files, places)?;
        reporter.report(Event::Note(&format!("attestations: {}", written.join("; "))));
    }
    Ok(())
}

/// Writes the result files of an index.
///
/// # Errors
/// As [`write_results`].
pub fn write_index_results(
    outcome: &IndexOutcome,
    results: &ResultFiles,
    places: &Places,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    write(&outcome.into(), &|| metadata::index(outcome), (results, places), reporter)
}

/// Writes the file that tells everything, with the program that tells it, and the trace that the run belongs to.
///
/// # Errors
/// [`Error::Write`].
pub fn write_metadata(file: &MetadataFile, mut metadata: Value, places: &Places) -> Result<(), Error> {
    metadata["builder"] = json!({
        "name": "yadokari", "version": env!("CARGO_PKG_VERSION"), "commit": env!("YADOKARI_COMMIT"),
    });
    if let Some(trace) = file.trace {
        metadata["trace"] = json!({ "traceId": trace.trace_id(), "spanId": trace.span_id() });
    }
    put(places, &file.path, metadata.to_string().as_bytes())
}

/// Writes the result files of an image that was pushed as it was.
///
/// # Errors
/// As [`write_results`].
pub fn write_push_results(
    outcome: &PushOutcome,
    results: &ResultFiles,
    places: &Places,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    write(&outcome.into(), &|| metadata::pushed(outcome), (results, places), reporter)
}

fn write(
    facts: &Facts<'_>,
    metadata: &dyn Fn() -> Value,
    (results, places): (&ResultFiles, &Places),
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    let written = write_all(&facts.naming(results), metadata, results, places);
    if written.is_err() {
        // The error that made them useless is told; that one could not be put back adds nothing.
        let _ = restore(places);
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
fn write_all(
    facts: &Facts<'_>,
    metadata: &dyn Fn() -> Value,
    results: &ResultFiles,
    places: &Places,
) -> Result<Vec<String>, Error> {
    let mut written = Vec::new();
    let value = |file: &ValueFile| Some((file.path.clone(), facts.value(file.value)?));
    written.extend(write_values(results.values.iter().filter_map(value), places)?);
    if let Some(directory) = &results.tekton {
        let names = tekton::write(directory, facts, places)?;
        written.push(format!("{} in {}", names.join(", "), directory.display()));
    }
    if let Some(path) = &results.tekton_artifacts {
        put(places, path, tekton::provenance(facts).as_bytes())?;
        written.push(path.display().to_string());
    }
    argo::write(&results.argo, facts, places)?;
    let told = results.argo.iter().filter(|file| facts.value(file.value).is_some());
    written.extend(told.map(|file| file.path.display().to_string()));
    if let Some(directory) = &results.cloud_build {
        cloudbuild::write(directory, facts, places)?;
        written.push(format!("output in {}", directory.display()));
    }
    if let Some(path) = &results.dotenv {
        gitlab::write(path, facts, places)?;
        written.push(path.display().to_string());
    }
    if let Some(file) = &results.metadata {
        write_metadata(file, metadata(), places)?;
        written.push(file.path.display().to_string());
    }
    if let Some(files) = &results.github {
        github::write(files, facts, places)?;
        written.push(format!("outputs in {}", files.output.display()));
    }
    Ok(written)
}

/// Writes values, and returns where. Values that go to one place (a device: nothing is left of an earlier value) stand
/// on a line each.
fn write_values(values: impl Iterator<Item = (PathBuf, String)>, places: &Places) -> Result<Vec<String>, Error> {
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
        put(places, path, values.join("\n").as_bytes())?;
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
pub fn write_failure(facts: &FailureFacts<'_>, results: &ResultFiles, places: &Places) -> Result<(), Error> {
    let of_tekton = results.tekton.iter().flat_map(|directory| tekton::files(directory));
    let files = results.values.iter().chain(&results.argo).cloned().chain(of_tekton);
    write_values(files.filter_map(|file| Some((file.path, facts.value(file.value)?))), places).map(|_| ())
}
