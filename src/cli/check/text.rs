//! Findings for people: `file:line:column: Rule: message`, as compilers write them, and the line.

use std::fmt::Write as _;

use super::{Finding, Findings};

/// Writes all findings, and how many there are.
pub(super) fn render(findings: &Findings) -> String {
    let mut text = String::new();
    for finding in &findings.findings {
        push(&mut text, findings, finding);
    }
    let count = match findings.findings.len() {
        // What is wrong stands in the error, which follows.
        0 if findings.failure.is_some() => return text,
        0 => "nothing found".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let _ = writeln!(text, "{}: {count}", findings.file);
    text
}

fn push(text: &mut String, findings: &Findings, finding: &Finding) {
    // Writing to a string cannot fail.
    let (file, rule, message) = (&findings.file, finding.rule.name(), &finding.message);
    let Some(place) = finding.place else {
        let _ = writeln!(text, "{file}: {rule}: {message}\n");
        return;
    };
    let _ = writeln!(text, "{file}:{}:{}: {rule}: {message}", place.line, place.column);
    if let Some(line) = findings.source.trim_start_matches('\u{feff}').lines().nth(place.line - 1) {
        let end = if place.end_line == place.line { place.end_column } else { line.chars().count() + 1 };
        let before = line.chars().take(place.column - 1);
        // Tabs stay tabs, so that the carets stand below their characters however wide they are.
        let before: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(end.saturating_sub(place.column).max(1));
        let width = place.line.to_string().len();
        let _ = writeln!(text, "{} | {}\n{:width$} | {before}{carets}", place.line, line.trim_end(), "");
    }
    if let Some(url) = finding.rule.url() {
        let _ = writeln!(text, "see {url}");
    }
    text.push('\n');
}
