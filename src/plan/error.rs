//! Why a Dockerfile cannot be built, and where.

use crate::dockerfile::{Span, Warning};
use crate::oci::{PlatformError, ReferenceError};

/// A Dockerfile that cannot be planned.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Error {
    /// The instruction's place; none when it is the request that does not fit the Dockerfile.
    pub span: Option<Span>,
    /// What is wrong.
    pub reason: ErrorReason,
    /// What to do about it.
    pub hint: Option<String>,
    /// What should be changed in the Dockerfile, found until then.
    pub warnings: Vec<Warning>,
}

/// What is wrong with a Dockerfile.
#[derive(Debug, thiserror::Error)]
pub enum ErrorReason {
    /// `--target` names no stage.
    #[error("target stage `{0}` is not in the Dockerfile")]
    UnknownTarget(String),
    /// A FROM expands to nothing.
    #[error("the base name `{0}` is empty after its variables are replaced")]
    EmptyBase(String),
    /// A stage number is too large.
    #[error("there is no stage number {0}")]
    UnknownStageNumber(String),
    /// A stage copies from itself or from one that needs it.
    #[error("stage `{stage}` needs itself: {path}")]
    Circle {
        /// The stage.
        stage: String,
        /// The way round, `a → b → a`.
        path: String,
    },
    /// A base that is no image reference.
    #[error("neither a stage nor an image is named `{name}`: {}", source.reason)]
    Reference {
        /// The name, expanded.
        name: String,
        /// Why it is no reference.
        #[source]
        source: ReferenceError,
    },
    /// `--platform` with something else.
    #[error("`--platform` of FROM is no platform")]
    Platform(#[source] PlatformError),
    /// Words that cannot be expanded.
    #[error("cannot replace the variables in `{word}`: {reason}")]
    Expansion {
        /// The word as written.
        word: String,
        /// Why.
        reason: String,
    },
    /// A value of an instruction that is not of its form.
    #[error("{0}")]
    Invalid(String),
    /// Something that the language has and this executor does not do.
    #[error("{0} is not supported by this version of yadokari")]
    Unsupported(String),
    /// Something that would be fetched, where nothing may use the network.
    #[error("{0} would fetch this, and no network may be used")]
    Offline(&'static str),
    /// An ONBUILD trigger of a base image that does not parse.
    #[error("ONBUILD trigger `{text}` of {base} cannot be used")]
    Trigger {
        /// The trigger.
        text: String,
        /// The image that has it.
        base: String,
        /// What is wrong with it.
        #[source]
        source: Box<crate::dockerfile::ParseError>,
    },
}

impl Error {
    /// Makes an error of an instruction.
    pub(super) fn at(span: Span, reason: ErrorReason) -> Self {
        Self { span: Some(span), reason, hint: None, warnings: Vec::new() }
    }

    /// Makes an error for what the language has and we do not do.
    pub(super) fn unsupported(span: Span, what: &str) -> Self {
        Self::at(span, ErrorReason::Unsupported(what.to_owned()))
    }

    /// Makes an error for a value that is not of its form.
    pub(super) fn invalid(span: Span, message: String) -> Self {
        Self::at(span, ErrorReason::Invalid(message))
    }

    /// Adds what to do about it.
    pub(super) fn with_hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }
}
