//! Texts that others have written, for a terminal: all of them is seen, and none obeyed.

use std::fmt::Write as _;

use serde::Serialize;

use super::exit::{Failure, Kind};

/// How wide a page is, in characters.
pub(super) const WIDTH: usize = 80;

/// Tells whether a terminal would obey a character, or show what stands beside it in another order.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Writes a text with what would be obeyed as escapes: `\n`, `\u{1b}`.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Writes a document as JSON with the number of its form; what a terminal would obey stands there as escapes.
pub(super) fn json(document: &impl Serialize) -> Result<String, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Versioned<'a, T> {
        schema_version: u32,
        #[serde(flatten)]
        document: &'a T,
    }
    let text = serde_json::to_string_pretty(&Versioned { schema_version: 1, document });
    let text = text.map_err(|error| Failure::from_error(Kind::Bug, &error))?;
    let mut safe = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // A line's end between values is none of theirs.
        if c != '\n' && is_obeyed(c) {
            // Writing to a string cannot fail; all of these have four digits.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    Ok(safe)
}

/// Breaks a text at spaces into lines of at most `width` characters; a longer word stays whole.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Adds a text behind a head, and goes on below it where it is longer than the page.
pub(super) fn add(page: &mut String, head: &str, text: &str) {
    let indent = head.chars().count();
    for (number, line) in wrapped(text, WIDTH.saturating_sub(indent)).into_iter().enumerate() {
        let line = if number == 0 { format!("{head}{line}") } else { format!("{:indent$}{line}", "") };
        page.push_str(line.trim_end());
        page.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_obeyed_and_nothing_is_lost() {
        assert_eq!(shown("a\x1b[2J\nb\u{9b}c\u{202e}ä"), "a\\u{1b}[2J\\nb\\u{9b}c\\u{202e}ä");
        let text = json(&serde_json::json!({"a\u{9b}": "x\u{7f}\u{202e}\x1b\nä"})).expect("JSON");
        assert!(!text.chars().any(|c| c != '\n' && is_obeyed(c)), "{text:?}");
        let back: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(back, serde_json::json!({"schemaVersion": 1, "a\u{9b}": "x\u{7f}\u{202e}\x1b\nä"}));
    }

    #[test]
    fn long_texts_go_on_below_themselves() {
        let mut page = String::new();
        add(&mut page, "head  ", &["word"; 20].join(" "));
        add(&mut page, "head  ", &"x".repeat(100));
        let words = |count: usize| ["word"; 20][..count].join(" ");
        assert_eq!(page, format!("head  {}\n      {}\nhead  {}\n", words(15), words(5), "x".repeat(100)));
    }
}
