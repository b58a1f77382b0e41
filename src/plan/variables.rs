//! The variables that an instruction sees, and the expansion of its words.

use std::collections::HashMap;

use crate::dockerfile::expand::{ExpandError, Expanded, Expander};
use crate::dockerfile::{Span, Word};

use super::{Error, ErrorReason};

/// Variables by name, in order of their first definition.
pub(super) type Variables = Named<String>;

/// Values by name, in order of their first definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<T> {
    all: Vec<(String, T)>,
    places: HashMap<String, usize>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

impl<T> Named<T> {
    /// Returns what has a name.
    pub(super) fn find(&self, name: &str) -> Option<&T> {
        self.places.get(name).map(|place| &self.all[*place].1)
    }

    /// Gives a name a value; one that exists keeps its place.
    pub(super) fn define(&mut self, name: &str, value: T) {
        match self.places.get(name) {
            Some(place) => self.all[*place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.all.len());
                self.all.push((name.to_owned(), value));
            }
        }
    }

    /// Returns all, in order.
    pub(super) fn all(&self) -> &[(String, T)] {
        &self.all
    }
}

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
        self.find(name).map(String::as_str)
    }

    /// Defines a variable; one that exists keeps its place.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.define(name, value.to_owned());
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
