//! The ways in which the text of an instruction falls into words, before any expansion.
//!
//! Knows four: keyword, flags and the rest; words with quotes (ENV, LABEL, ARG); words between spaces; and
//! JSON lists. Offsets are in bytes of the logical line, so that a fault can be shown where it stands.
//!
//! *Invariant*: quotes and escapes are kept, but for flags, whose quoting ends here.

use super::error::Fault;

/// A word and where it begins in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) offset: usize,
}

/// A line taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command<'a> {
    pub(super) keyword: &'a str,
    pub(super) flags: Vec<Token>,
    /// What follows the flags, trimmed.
    pub(super) rest: &'a str,
    /// Where `rest` begins.
    pub(super) offset: usize,
}

/// What stands between words; a no-break space, say, is part of one.
pub(super) fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Takes a line apart; `offset` is where the line begins.
pub(super) fn split_command(line: &str, offset: usize, escape: char) -> Command<'_> {
    let (line, offset) = trim(line, offset);
    let Some((keyword, rest)) = line.split_once(is_separator) else {
        return Command { keyword: line, flags: Vec::new(), rest: "", offset: offset + line.len() };
    };
    let rest_offset = offset + line.len() - rest.len();
    let (flags, at) = split_flags(rest, rest_offset, escape);
    let (rest, offset) = trim(&rest[at..], rest_offset + at);
    Command { keyword, flags, rest, offset }
}

fn trim(text: &str, offset: usize) -> (&str, usize) {
    let start = text.trim_start();
    (start.trim_end(), offset + text.len() - start.len())
}

/// Reads the `--…` words at the start, without their quotes; returns them and where the rest begins. A
/// lone `--` ends them.
fn split_flags(text: &str, base: usize, escape: char) -> (Vec<Token>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (flags, at);
        }
        let (word, length) = unquoted_word(&text[at..], escape);
        let offset = base + at;
        at += length;
        if word == "--" {
            return (flags, at);
        }
        flags.push(Token { text: word, offset });
    }
}

/// Returns how long a flag is as it is written, quotes included.
pub(super) fn length(text: &str, escape: char) -> usize {
    unquoted_word(text, escape).1
}

/// Reads up to a space outside quotes; returns the word without quotes and escapes, and its length as written.
fn unquoted_word(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// Splits at spaces outside quotes; quotes and escapes stay in the words.
pub(super) fn quoted_words(text: &str, base: usize, escape: char) -> Vec<Token> {
    let mut words = Vec::new();
    let mut current: Option<Token> = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(current.take());
            continue;
        }
        let word = &mut current.get_or_insert_with(|| Token { text: String::new(), offset: base + at }).text;
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape character at the very end is dropped.
            let Some((_, escaped)) = chars.next() else { break };
            word.push(c);
            word.push(escaped);
        } else {
            word.push(c);
        }
    }
    words.extend(current.filter(|word| !word.text.is_empty()));
    words
}

/// Splits at spaces, whatever the quotes.
pub(super) fn plain_words(text: &str, base: usize) -> Vec<Token> {
    let mut words = Vec::new();
    let mut at = 0;
    for piece in text.split(is_separator) {
        if !piece.is_empty() {
            words.push(Token { text: piece.to_owned(), offset: base + at });
        }
        at += piece.len() + 1;
    }
    words
}

/// What a text is as a JSON list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JsonForm {
    /// A list of strings.
    List(Vec<String>),
    /// Begins like a list but is no JSON, hence ordinary text.
    Broken,
    /// Ordinary text.
    None,
}

/// Reads a text as a JSON list.
pub(super) fn json_form(text: &str) -> Result<JsonForm, Fault> {
    if !text.trim_start().starts_with('[') {
        return Ok(JsonForm::None);
    }
    let Ok(list) = serde_json::from_str::<Vec<serde_json::Value>>(text.trim_start()) else {
        return Ok(JsonForm::Broken);
    };
    let strings: Option<Vec<String>> = list.into_iter().map(string).collect();
    match strings {
        Some(strings) => Ok(JsonForm::List(strings)),
        None => Err(Fault::new("when using JSON array syntax, arrays must be comprised of strings only")),
    }
}

fn string(value: serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    }
}
