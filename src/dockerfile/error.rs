//! What may be wrong with a Dockerfile, and where.

use serde::Serialize;

use super::instruction::Span;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The rule's name, BuildKit's where it has the rule.
    pub rule: &'static str,
    /// The place.
    pub span: Span,
    /// What is wrong.
    pub message: String,
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
}
