//! Dockerfile text becomes typed stages with spans; so does a `.dockerignore` become patterns.
//!
//! Knows the whole language of `docker/dockerfile` 1.x as BuildKit parses it, whether the builder can do
//! it or not. Does not know a value of any variable, images or the disk.
//!
//! *Invariant*: pure, and no input makes it panic. What stands in the file is kept as written; what it
//! means is for the plan to say.

mod copy;
mod csv;
pub mod duration;
mod error;
pub mod expand;
#[cfg(test)]
mod expand_properties;
mod flags;
pub mod form;
pub mod glob;
mod healthcheck;
mod heredoc;
pub mod ignore;
#[cfg(test)]
mod ignore_properties;
mod input;
pub mod instruction;
mod interpret;
mod lex;
pub mod lint;
mod mount;
mod parse;
mod pattern;
pub mod pin;
mod shell_pattern;
pub mod suggest;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;

pub use csv::{CsvError, csv};
pub use error::{ParseError, Warning};
pub use instruction::{
    Add, ArgInstruction, Argument, CommandLine, Copy, Expose, From, Healthcheck, HealthcheckCommand, Heredoc,
    Instruction, Located, Network, Onbuild, Pair, Pairs, Program, Run, Security, Source, Span, Spanned, Stage, Word,
};
pub use mount::{Device, Mount, MountError, MountField, MountKind, MountOwner, MountSpec, Sharing};
pub use parse::{parse, parse_instruction, parse_until_error};

/// A parsed Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dockerfile {
    /// The directives of its first lines.
    pub directives: Directives,
    /// The ARGs before the first FROM: the only variables that FROM lines see.
    pub arguments: Vec<Spanned<ArgInstruction>>,
    /// The stages, at least one.
    pub stages: Vec<Stage>,
    /// What should be changed, in the order of the file.
    pub warnings: Vec<Warning>,
    /// The comments right above an instruction, by the offset where that begins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub comments: BTreeMap<usize, Vec<String>>,
}

/// The `# name=value` lines at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Directives {
    /// `escape`: a backslash or a backtick.
    pub escape: char,
    /// `syntax`: the frontend image asked for.
    pub syntax: Option<Spanned<String>>,
    /// `check`: options for the linter.
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', syntax: None, check: None }
    }
}
