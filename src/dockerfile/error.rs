//! What may be wrong with a Dockerfile, and where.

use serde::Serialize;

use super::instruction::Span;
use super::lint::rule::Rule;

/// A Dockerfile that is not valid.
///
/// Its text is the message alone; whoever prints it has the span for the lines and the caret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, in BuildKit's words where it has some.
    pub message: String,
    /// The lines of the instruction, or of the file when no instruction is at fault.
    pub span: Span,
    /// The line of the fault itself, from 1.
    pub line: usize,
    /// The column of the fault, from 1, in characters.
    pub column: usize,
    /// What was probably meant: `did you mean COPY?`.
    pub hint: Option<String>,
}

/// Something that works but should not stay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// The instruction's place; the default one for what is in no line of the file.
    pub span: Span,
    /// What is wrong, in BuildKit's words where it has the rule.
    pub message: String,
    /// The words in the instruction that it is about, as they are written.
    pub subject: Option<String>,
}

impl Warning {
    /// Makes a warning about a whole instruction.
    pub fn new(rule: Rule, span: Span, message: impl Into<String>) -> Self {
        Self { rule, span, message: message.into(), subject: None }
    }

    /// Says which words of the instruction it is about.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

/// A fault within one logical line, before it is known where that line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    /// The offset in the logical line, or none for its beginning.
    pub(super) offset: Option<usize>,
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: None, hint: None }
    }

    /// Adds the place, unless a deeper function knew it better.
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.offset.get_or_insert(offset);
        self
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Adds what to do, unless a deeper function knew it better.
    pub(super) fn or_hint(mut self, hint: impl FnOnce() -> String) -> Self {
        self.hint.get_or_insert_with(hint);
        self
    }
}
