//! Findings as SARIF, which code hosts and editors show beside the lines.
//!
//! Source: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>, and what GitHub's code scanning asks for:
//! <https://docs.github.com/en/code-security/reference/code-scanning/sarif-support-for-code-scanning>.

use serde_json::{Value, json};

use super::Findings;
use crate::dockerfile::lint::Rule;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The rule of a Dockerfile that cannot be built.
const INVALID: &str = "InvalidDockerfile";

/// Writes one run with all rules; what makes a build impossible is a result, too.
pub(super) fn render(findings: &Findings) -> String {
    let mut rules: Vec<Value> = Rule::ALL.iter().map(|rule| described(*rule)).collect();
    let mut invalid = rule(INVALID, "The Dockerfile can be built", None);
    invalid["defaultConfiguration"] = json!({ "level": "error" });
    rules.push(invalid);
    let uri = uri(&findings.file);
    let mut results: Vec<Value> = Vec::new();
    for finding in &findings.findings {
        let index = Rule::ALL.iter().position(|rule| *rule == finding.rule);
        let region = match finding.place {
            Some(place) => region([place.line, place.column, place.end_line, place.end_column]),
            None => rest_of_line(&findings.source, 1, 1),
        };
        results.push(result(finding.rule.name(), index, "warning", &finding.message, &location(&uri, &region)));
    }
    if let Some(failure) = findings.failure.as_ref().filter(|_| !findings.is_found) {
        let place = failure.place.as_ref().map(|place| (place.line, place.column.unwrap_or(1)));
        let (line, column) = place.unwrap_or((1, 1));
        let region = rest_of_line(&findings.source, line, column);
        let parts = [failure.message.clone()].into_iter().chain(failure.causes.clone()).chain(failure.hints.clone());
        let message = parts.collect::<Vec<_>>().join("; ");
        results.push(result(INVALID, Some(Rule::ALL.len()), "error", &message, &location(&uri, &region)));
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

fn described(of: Rule) -> Value {
    let mut described = rule(of.name(), of.description(), of.url());
    described["defaultConfiguration"] = json!({ "level": "warning", "enabled": !of.is_experimental() });
    described
}

fn rule(id: &str, description: &str, url: Option<String>) -> Value {
    let help = url.as_ref().map_or(format!("{description}."), |url| format!("{description}. See {url}"));
    let mut rule = json!({
        "id": id,
        "name": id,
        "shortDescription": { "text": description },
        "fullDescription": { "text": format!("{description}.") },
        "help": { "text": help },
    });
    if let Some(url) = url {
        rule["helpUri"] = url.into();
    }
    rule
}

/// Writes a region; lines and columns count from 1, and the end is behind the last character.
fn region([line, column, end_line, end_column]: [usize; 4]) -> Value {
    let end_column = if end_line == line { end_column.max(column + 1) } else { end_column };
    json!({ "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column })
}

/// Writes the region from a place to the end of its line, for what has no end of its own.
fn rest_of_line(source: &str, line: usize, column: usize) -> Value {
    let length = source.lines().nth(line - 1).map_or(0, |text| text.chars().count());
    region([line, column, line, length + 1])
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

fn location(uri: &str, region: &Value) -> Value {
    json!({ "physicalLocation": { "artifactLocation": { "uri": uri }, "region": region } })
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
