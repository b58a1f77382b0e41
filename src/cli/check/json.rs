//! Findings for programs: one JSON object.

use serde_json::{Value, json};

use super::{Finding, Findings};
use crate::dockerfile::lint::Origin;

/// Writes all findings, what makes a build impossible, and what could not be judged.
pub(super) fn render(findings: &Findings) -> String {
    let warnings: Vec<Value> = findings.findings.iter().map(warning).collect();
    let error = findings.failure.as_ref().map(|failure| {
        let place = failure.place.as_ref();
        json!({
            "message": failure.message,
            "causes": failure.causes,
            "hints": failure.hints,
            "line": place.map(|place| place.line),
            "column": place.and_then(|place| place.column),
        })
    });
    let document = json!({
        "schemaVersion": 1,
        "file": findings.file,
        "warnings": warnings,
        "error": error,
        "unknownImages": findings.unknown,
    });
    format!("{document:#}\n")
}

fn warning(finding: &Finding) -> Value {
    json!({
        "rule": finding.rule.name(),
        "origin": match finding.rule.origin() {
            Origin::Buildkit => "buildkit",
            Origin::Yadokari => "yadokari",
        },
        "description": finding.rule.description(),
        "url": finding.rule.url(),
        "message": finding.message,
        "line": finding.place.map(|place| place.line),
        "column": finding.place.map(|place| place.column),
        "endLine": finding.place.map(|place| place.end_line),
        "endColumn": finding.place.map(|place| place.end_column),
    })
}
