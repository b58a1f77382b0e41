//! `yadokari check`: from flags to findings on standard output.
//!
//! *Invariant: each finding has a rule, and a file, a line and a column unless it is about none; all forms say the
//! same.*

mod json;
mod sarif;
mod text;

use std::sync::Arc;

use super::args::{CheckArgs, FindingsFormatName};
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::{preview, work};
use crate::builder::{self, Checked};
use crate::dockerfile::lint::{Place, Rule};
use crate::http::redact_within;

/// Checks and tells about it.
pub(super) fn run(args: &CheckArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let checked = preview::look(&args.build, environment, report, builder::check)?;
    preview::tell_unknown(&checked.unknown, report);
    let violated = if args.error { rules(&checked) } else { checked.linted.violated.clone() };
    let mut findings = Findings::of(checked);
    if findings.failure.is_none() && !violated.is_empty() {
        let names: Vec<&str> = violated.iter().map(|rule| rule.name()).collect();
        let message = format!("lint violation found for rules: {}", names.join(", "));
        findings.failure = Some(Failure::new(Kind::Dockerfile, message));
        findings.is_found = true;
    }
    work::print(&match args.format {
        FindingsFormatName::Text => text::render(&findings),
        FindingsFormatName::Json => json::render(&findings),
        FindingsFormatName::Sarif => sarif::render(&findings),
    })?;
    findings.failure.map_or(Ok(()), Err)
}

/// Returns all rules that were broken, each once.
fn rules(checked: &Checked) -> Vec<Rule> {
    let mut rules: Vec<Rule> = checked.linted.warnings.iter().map(|warning| warning.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// What a check found, ready to be written in any form.
struct Findings {
    /// The Dockerfile's name as the user knows it.
    file: String,
    /// Its text.
    source: String,
    findings: Vec<Finding>,
    /// Why it cannot be built, or may not.
    failure: Option<Failure>,
    /// Whether that is one of the findings.
    is_found: bool,
    /// The images that could not be asked for.
    unknown: Vec<String>,
}

struct Finding {
    rule: Rule,
    message: String,
    place: Option<Place>,
}

impl Findings {
    fn of(checked: Checked) -> Self {
        let dockerfile = checked.dockerfile;
        let finding = |warning: &crate::dockerfile::Warning| Finding {
            rule: warning.rule,
            message: redact_within(&warning.message),
            place: Place::of(warning, &dockerfile.text),
        };
        let findings: Vec<Finding> = checked.linted.warnings.iter().map(finding).collect();
        let failure = checked.error.map(Failure::from);
        let line = failure.as_ref().and_then(|failure| Some(failure.place.as_ref()?.line));
        let is_missing =
            |finding: &Finding| finding.rule == Rule::CopyMissingFile && finding.place.map(|place| place.line) == line;
        Self {
            is_found: findings.iter().any(is_missing),
            findings,
            file: dockerfile.name.display().to_string(),
            source: String::from_utf8_lossy(&dockerfile.text).into_owned(),
            failure,
            unknown: checked.unknown.into_iter().map(|(reference, _)| reference).collect(),
        }
    }
}
