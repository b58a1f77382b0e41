//! Lists: words behind one flag that are a flag each, for engines that put the elements of an array where one stands.
//!
//! Tekton replaces `$(params.BUILD_ARGS[*])` by one argument for each element, and can put nothing before them. So
//! `--build-args A=1 B=2 --end-lists` is `--build-arg=A=1 --build-arg=B=2`. An element may also be a JSON array of
//! elements: Argo Workflows has arrays in that form only.
//!
//! *Invariant: no element of an array becomes another flag. A list is begun once, a word with dashes in it is refused
//! unless it begins another list or ends all, and they are ended once: who writes an array cannot close it early.*

use std::ffi::OsString;

use crate::cli::exit::{Failure, Kind};

/// What ends all lists.
pub(super) const END: &str = "--end-lists";

/// A flag that begins a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Build arguments.
    BuildArgs,
    /// Labels.
    Labels,
    /// Platforms, all of them one value.
    Platforms,
}

impl List {
    /// Finds the list that a word begins.
    pub(super) fn named(word: &str) -> Option<Self> {
        match word {
            "--build-args" => Some(Self::BuildArgs),
            "--labels" => Some(Self::Labels),
            "--platforms" => Some(Self::Platforms),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BuildArgs => "--build-args",
            Self::Labels => "--labels",
            Self::Platforms => "--platforms",
        }
    }

    /// Makes flags of the elements.
    fn flags(self, elements: &[String]) -> Vec<OsString> {
        let each = |flag: &str| elements.iter().map(|element| format!("{flag}={element}").into()).collect();
        match self {
            Self::BuildArgs => each("--build-arg"),
            Self::Labels => each("--label"),
            Self::Platforms if elements.is_empty() => Vec::new(),
            Self::Platforms => vec![format!("--custom-platform={}", elements.join(",")).into()],
        }
    }
}

/// The lists so far.
#[derive(Debug, Default)]
pub(super) struct Open {
    current: Option<(List, Vec<String>)>,
    begun: Vec<List>,
    ended: bool,
}

impl Open {
    pub(super) fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// Begins a list; returns the flags of the one before it.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage where the list was begun before, or all are ended.
    pub(super) fn begin(&mut self, list: List) -> Result<Vec<OsString>, Failure> {
        if self.begun.contains(&list) || self.ended {
            return Err(usage(format!("{} can be given once", list.name())));
        }
        self.begun.push(list);
        Ok(self.current.replace((list, Vec::new())).map_or_else(Vec::new, |(list, elements)| list.flags(&elements)))
    }

    /// Takes a word of the list that is open; returns its flags where the word is its end.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage for a word that is no element.
    pub(super) fn element(&mut self, word: OsString) -> Result<Vec<OsString>, Failure> {
        let Some((list, elements)) = &mut self.current else { return Ok(Vec::new()) };
        let Ok(word) = word.into_string() else {
            return Err(usage(format!("an element of {} is no UTF-8 text", list.name())));
        };
        if word == END {
            let flags = list.flags(elements);
            self.current = None;
            self.ended = true;
            return Ok(flags);
        }
        if word.starts_with('[') {
            let array: Result<Vec<String>, _> = serde_json::from_str(&word);
            // The word is not shown: a build argument may be a secret that somebody passes all the same.
            let array =
                array.map_err(|error| usage(format!("an element of {} is no JSON array: {error}", list.name())))?;
            for element in array {
                push(*list, elements, element)?;
            }
            return Ok(Vec::new());
        }
        push(*list, elements, word).map(|()| Vec::new())
    }

    /// Checks that no list is open at the end.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage where one is.
    pub(super) fn end(&self) -> Result<(), Failure> {
        match &self.current {
            Some((list, _)) => Err(usage(format!("{} needs {END} behind its last word", list.name()))),
            None => Ok(()),
        }
    }
}

/// The failure for an end where no list is open.
pub(super) fn no_list() -> Failure {
    usage(format!("{END} ends a list, and none is open"))
}

fn push(list: List, elements: &mut Vec<String>, element: String) -> Result<(), Failure> {
    if element.starts_with("--") {
        let name = list.name();
        return Err(usage(format!(
            "a word behind {name} begins with `--`: it would be a flag and no element of the list"
        ))
        .hint(format!("write {END} behind the last element of {name}")));
    }
    if !element.is_empty() {
        elements.push(element);
    }
    Ok(())
}

fn usage(message: String) -> Failure {
    Failure::new(Kind::Usage, message)
}
