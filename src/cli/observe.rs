//! What is left of a build for those who look at it afterwards: the trace file, the page, spans at a collector.
//!
//! *Invariant: none of it makes a build fail, and each that is not there is told in a warning.*

use super::exit::Failure;
use super::report::Report;
use super::request::Resolved;
use crate::http::redact_within;
use crate::outcome::BuildOutcome;
use crate::place::Places;
use crate::progress::{Event, Phase, Reporter as _};
use crate::record::{Heading, Record, chrome_trace, page};
use crate::request::ResultFiles;
use crate::sys;

/// Tells whether it is recorded what happens when.
pub fn is_wanted(resolved: &Resolved) -> bool {
    let results = &resolved.request.results;
    let is_asked = results.trace.is_some() || results.report.is_some() || resolved.telemetry.is_some();
    is_asked && !resolved.request.cache.print_key
}

/// Writes the files that tell how a build went, and sends its spans.
pub fn tell(resolved: &Resolved, report: &Report, result: Result<Option<&BuildOutcome>, &Failure>) {
    let Some(record) = report.record(result.err()) else { return };
    write_record(report, &record, result, &resolved.request.results, &resolved.places);
    if let Some(telemetry) = &resolved.telemetry
        && let Err(message) = telemetry.send(&record, &resolved.network.http)
    {
        report.report(Event::Warning { rule: "SpansNotSent", line: None, message: &message });
    }
}

/// Writes the files alone, of a build that did not end in order.
pub(super) fn write_files(report: &Report, failure: &Failure, results: &ResultFiles, places: &Places) {
    if let Some(record) = report.record(Some(failure)) {
        write_record(report, &record, Err(failure), results, places);
    }
}

fn write_record(
    report: &Report,
    record: &Record,
    result: Result<Option<&BuildOutcome>, &Failure>,
    results: &ResultFiles,
    places: &Places,
) {
    let write = |flag: &str, path: &std::path::Path, content: &[u8]| {
        if let Err(error) = places.write(path, content) {
            let message = format!("{flag}: {} cannot be written: {error}", path.display());
            report.report(Event::Warning { rule: "NotWritten", line: None, message: &message });
        }
    };
    if let Some(path) = &results.trace {
        write("--trace-file", path, chrome_trace(record).to_string().as_bytes());
    }
    if let Some(path) = &results.report {
        write("--report", path, page(record, &heading(record, report.most_taken(), result)).as_bytes());
    }
}

/// Says what was built, and how it went.
fn heading(record: &Record, taken: Option<u64>, result: Result<Option<&BuildOutcome>, &Failure>) -> Heading {
    let mut facts = vec![("Began", format!("{:.3}", record.begun))];
    let mut heading = Heading::default();
    match result {
        Ok(Some(outcome)) => {
            facts.push(("Image", outcome.manifest.digest.to_string()));
            facts.extend(outcome.pushed.iter().map(|reference| ("Pushed to", reference.to_string())));
            facts.push(("Size", format!("{} to pull", super::report::bytes(outcome.size))));
            facts.push(("Layers", format!("{}, {} of them of the base", outcome.layers, outcome.base_layers)));
        }
        Ok(None) => {}
        Err(failure) => {
            let kind = format!("{}, exit code {}", failure.kind.name(), failure.exit_code);
            facts.push(("Kind of failure", kind));
            if let Some(place) = &failure.place {
                facts.push(("Place", format!("{} line {}", place.file, place.line)));
            }
            let explanations = failure.explanations().map(|(word, text)| format!("{word}: {text}"));
            heading.failure =
                Some((redact_within(&failure.message), explanations.map(|text| redact_within(&text)).collect()));
        }
    }
    let begun: Vec<&str> = record.platforms().into_iter().collect();
    // An image that was there already began no stage.
    let platform = match result {
        Ok(Some(outcome)) if begun.is_empty() => Some(outcome.platform.to_string()),
        _ => Some(begun.join(", ")).filter(|_| !begun.is_empty()),
    };
    facts.extend(platform.map(|platform| ("Platform", platform)));
    let has_run = record.phases.contains_key(&Phase::Run);
    let isolation = if has_run { record.isolation } else { Some("none was needed: no RUN was done") };
    facts.extend(isolation.map(|name| ("Isolation of RUN", name.to_owned())));
    if let Some(peak) = sys::memory::peak() {
        facts.push(("Memory of the builder", format!("{} at most", super::report::bytes(peak))));
    }
    if let Some(taken) = taken.filter(|taken| *taken > 0) {
        facts.push(("Disk of the state directory", format!("{} taken at most", super::report::bytes(taken))));
    }
    Heading { facts, ..heading }
}
