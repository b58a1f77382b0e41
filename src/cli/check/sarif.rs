//! Findings as SARIF, which code hosts and editors show beside the lines.
//!
//! Source: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use serde_json::{Value, json};

use super::Findings;
use crate::dockerfile::lint::Rule;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The rule of a Dockerfile that cannot be built.
const INVALID: &str = "InvalidDockerfile";

/// Writes one run with all rules; what makes a build impossible is a result, too.
pub(super) fn render(findings: &Findings) -> String {
    let mut rules: Vec<Value> = Rule::ALL.iter().map(|rule| described(*rule)).collect();
    rules.push(json!({
        "id": INVALID,
        "shortDescription": { "text": "The Dockerfile can be built" },
        "defaultConfiguration": { "level": "error" },
    }));
    let uri = uri(&findings.file);
    let mut results: Vec<Value> = Vec::new();
    for finding in &findings.findings {
        let index = Rule::ALL.iter().position(|rule| *rule == finding.rule);
        let region = finding.place.map(|place| {
            json!({
                "startLine": place.line,
                "startColumn": place.column,
                "endLine": place.end_line,
                "endColumn": place.end_column,
            })
        });
        results.push(result(finding.rule.name(), index, "warning", &finding.message, &location(&uri, region)));
    }
    if let Some(failure) = &findings.failure {
        let region = failure.place.as_ref().map(|place| match place.column {
            Some(column) => json!({ "startLine": place.line, "startColumn": column }),
            None => json!({ "startLine": place.line }),
        });
        let parts = [failure.message.clone()].into_iter().chain(failure.causes.clone()).chain(failure.hints.clone());
        let message = parts.collect::<Vec<_>>().join("; ");
        results.push(result(INVALID, Some(Rule::ALL.len()), "error", &message, &location(&uri, region)));
    }
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "yadokari",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{document:#}\n")
}

fn described(rule: Rule) -> Value {
    let mut described = json!({
        "id": rule.name(),
        "shortDescription": { "text": rule.description() },
        "defaultConfiguration": { "level": "warning", "enabled": !rule.is_experimental() },
    });
    if let Some(url) = rule.url() {
        described["helpUri"] = url.into();
    }
    described
}

fn result(rule: &str, index: Option<usize>, level: &str, message: &str, location: &Value) -> Value {
    json!({
        "ruleId": rule,
        "ruleIndex": index,
        "level": level,
        "message": { "text": message },
        "locations": [location],
    })
}

fn location(uri: &str, region: Option<Value>) -> Value {
    let mut location = json!({ "physicalLocation": { "artifactLocation": { "uri": uri } } });
    if let Some(region) = region {
        location["physicalLocation"]["region"] = region;
    }
    location
}

/// Writes a path as a URI: relative where the path is, since it names a file of the repository that is checked.
fn uri(path: &str) -> String {
    if path.starts_with("http://") || path.starts_with("https://") {
        return path.to_owned();
    }
    let encoded: String = path
        .strip_prefix("./")
        .unwrap_or(path)
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    if path.starts_with('/') { format!("file://{encoded}") } else { encoded }
}
