//! The error, told once: message, place with its lines and a caret, causes, hints.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::line::Line;
use crate::cli::args::Verbosity;
use crate::cli::exit::{Failure, Place};
use crate::progress::StepId;

/// Makes the message of a failure; `tail` is what the failed RUN wrote last, where that is not at hand.
pub(super) fn line(failure: &Failure, tail: &[String]) -> Line {
    let mut text = String::new();
    if let Some(place) = &failure.place {
        push_place(&mut text, place);
    }
    if !tail.is_empty() {
        text.push_str("\nlast output:");
    }
    for line in tail {
        text.push_str("\n  ");
        text.push_str(line);
    }
    for (word, more) in failure.explanations() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{word}: {more}");
    }
    let mut facts = json!({
        "kind": failure.kind.name(),
        "exit_code": failure.exit_code,
        "causes": failure.causes,
        "hints": failure.hints,
    });
    if let Some(place) = &failure.place {
        facts["place"] = place_facts(place);
    }
    if !tail.is_empty() {
        facts["last_output"] = tail.into();
    }
    Line { below: text, ..Line::new(Verbosity::Error, "failed", failure.message.clone(), facts) }
}

/// Writes `--> file:line (stage "app", step 4/9)`, the lines, and below the one at fault a caret.
fn push_place(text: &mut String, place: &Place) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\n  --> {}:{}", place.file, place.line);
    if let Some(StepId { stage, number, total }) = &place.step {
        let _ = write!(text, " (stage \"{stage}\", step {number}/{total})");
    }
    let width = place.source.iter().map(|(number, _)| number.to_string().len()).max().unwrap_or(0);
    for (number, line) in &place.source {
        let _ = write!(text, "\n{number:width$} | {line}");
        if let Some(column) = place.column.filter(|_| *number == place.line) {
            // Tabs stay tabs, so that the caret stands below its character however wide they are.
            let before: String =
                line.chars().take(column.saturating_sub(1)).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let _ = write!(text, "\n{:width$} | {before}^", "");
        }
    }
}

fn place_facts(place: &Place) -> Value {
    let mut facts = json!({ "file": place.file, "line": place.line });
    if let Some(column) = place.column {
        facts["column"] = column.into();
    }
    if let Some(StepId { stage, number, total }) = &place.step {
        facts["stage"] = stage.as_str().into();
        facts["step"] = (*number).into();
        facts["steps"] = (*total).into();
    }
    facts
}
