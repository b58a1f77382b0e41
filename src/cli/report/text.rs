//! Lines of text, with or without colours.

use jiff::Timestamp;

use super::dialect::tamed;
use super::line::{Line, Look};
use super::settings::Dialect;
use crate::cli::args::Verbosity;
use crate::http::redact_within;

const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Writes a line as text and a newline; a message of many lines has the time before each.
pub(super) fn render(line: &Line, colours: bool, time: Option<Timestamp>, dialect: Dialect) -> String {
    let paint = |code: &str, text: &str| if colours { format!("{code}{text}{PLAIN}") } else { text.to_owned() };
    let message = match line.look {
        Look::Verbatim => tamed(&line.message, dialect),
        Look::Plain => redact_within(&line.message),
        Look::Head => paint(BOLD, &redact_within(&line.message)),
        Look::Success => paint(GREEN, &redact_within(&line.message)),
    };
    let word = match line.level {
        Verbosity::Error => paint(RED, "error: "),
        Verbosity::Warn => paint(YELLOW, "warning: "),
        Verbosity::Info | Verbosity::Debug | Verbosity::Trace => String::new(),
    };
    let prefix = line.prefix.as_deref().map(|prefix| paint(CYAN, prefix) + " ").unwrap_or_default();
    let text = format!("{prefix}{word}{message}{}\n", redact_within(&line.below));
    match time {
        None => text,
        Some(time) => text.lines().map(|line| format!("{time:.3} {line}\n")).collect(),
    }
}

/// Returns logrus's name of a level.
pub(super) fn level(level: Verbosity) -> &'static str {
    match level {
        Verbosity::Error => "error",
        Verbosity::Warn => "warning",
        Verbosity::Info => "info",
        Verbosity::Debug => "debug",
        Verbosity::Trace => "trace",
    }
}
