//! The variables that an instruction sees, and the expansion of its words.

use crate::dockerfile::expand::{ExpandError, Expanded, Expander};
use crate::dockerfile::{Span, Word};

use super::{Error, ErrorReason};

/// Variables by name, in order of their first definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    /// Takes `NAME=value` texts; one without `=` has the empty value, as in Docker.
    pub(super) fn from_environment(environment: &[String]) -> Self {
        let mut variables = Self::default();
        for text in environment {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            variables.set(name, value);
        }
        variables
    }

    /// Returns a variable's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Defines a variable; one that exists keeps its place.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Returns all variables.
    pub(super) fn all(&self) -> &[(String, String)] {
        &self.0
    }

    /// Expands one word of the instruction at `span`.
    pub(super) fn word(&self, escape: char, word: &Word, span: Span) -> Result<String, Error> {
        self.word_expanded(escape, word, span).map(|expanded| expanded.text)
    }

    /// Expands one word of the instruction at `span`, telling which variables it asked for.
    pub(super) fn word_expanded(&self, escape: char, word: &Word, span: Span) -> Result<Expanded, Error> {
        self.expanded(escape, |expander| expander.word(word.as_str())).map_err(|error| failure(word, span, &error))
    }

    /// Expands a word and splits the result into words.
    pub(super) fn words(&self, escape: char, word: &Word, span: Span) -> Result<Vec<String>, Error> {
        self.expanded(escape, |expander| expander.words(word.as_str())).map_err(|error| failure(word, span, &error))
    }
}

impl Variables {
    /// Calls `expand` with an expander that sees these variables.
    pub(super) fn expanded<T>(
        &self,
        escape: char,
        expand: impl FnOnce(&Expander<'_>) -> Result<T, ExpandError>,
    ) -> Result<T, ExpandError> {
        expand(&Expander::new(escape, &|name| self.get(name).map(str::to_owned)))
    }
}

fn failure(word: &Word, span: Span, error: &ExpandError) -> Error {
    Error::at(span, ErrorReason::Expansion { word: word.as_str().to_owned(), reason: error.reason.to_string() })
}
