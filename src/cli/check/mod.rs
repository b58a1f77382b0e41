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
use super::{commands, preview};
use crate::builder::{self, Checked};
use crate::dockerfile::lint::{Place, Rule};
use crate::http::redact_within;

/// Checks and tells about it.
pub(super) fn run(args: &CheckArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let checked = preview::look(&args.build, environment, report, builder::check)?;
    preview::tell_unknown(&checked.unknown, report);
    let violated = if args.error { rules(&checked) } else { checked.linted.violated.clone() };
    let findings = Findings::of(checked);
    commands::print(&match args.format {
        FindingsFormatName::Text => text::render(&findings),
        FindingsFormatName::Json => json::render(&findings),
        FindingsFormatName::Sarif => sarif::render(&findings),
    })?;
    match (findings.failure, violated.as_slice()) {
        (Some(failure), _) => Err(failure),
        (None, []) => Ok(()),
        (None, rules) => {
            let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
            Err(Failure::new(Kind::Dockerfile, format!("lint violation found for rules: {}", names.join(", "))))
        }
    }
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
    /// Why it cannot be built.
    failure: Option<Failure>,
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
        Self {
            findings: checked.linted.warnings.iter().map(finding).collect(),
            file: dockerfile.name.display().to_string(),
            source: String::from_utf8_lossy(&dockerfile.text).into_owned(),
            failure: checked.error.map(Failure::from),
            unknown: checked.unknown.into_iter().map(|(reference, _)| reference).collect(),
        }
    }
}
