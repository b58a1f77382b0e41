//! Where a repository may be pulled from: the mirrors of its registry, and the registry itself.
//!
//! Knows the order of the places and remembers which one answered for a repository, so that an image's blobs
//! come from where its manifest is. Knows nothing of how a place is asked.
//!
//! *Invariant: a reference keeps the name that the user gave it; only requests go to a mirror. Nothing is ever
//! pushed to one.*

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::{Client, Error, settings_key};
use crate::http::Retry;
use crate::oci::Reference;
use crate::progress::Event;

/// How often a place is asked while there are others: who waits long for a mirror has no use for it.
const ATTEMPTS: u32 = 2;

/// A place that has what a registry has: another registry, and what goes before the repository there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The other registry's name.
    pub registry: String,
    /// The beginning of each repository's path there, without slashes around it; may be empty.
    pub prefix: String,
}

/// The mirrors of each registry, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// By the registry's name as [`settings_key`] gives it.
    pub of: BTreeMap<String, Vec<Mirror>>,
    /// Whether a registry that has mirrors is not asked itself when all of them failed.
    pub only: bool,
}

/// A text that names no mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mirror is host[:port], and perhaps /path")]
pub struct MirrorError;

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let bare = text.trim().split_once("://").map_or(text.trim(), |(_, rest)| rest);
        let (host, prefix) = bare.split_once('/').unwrap_or((bare, ""));
        let mirror = Self { registry: settings_key(host), prefix: prefix.trim_matches('/').to_owned() };
        // The grammar of references tells what is a host and a path.
        let whole: Result<Reference, _> = mirror.name("x/x").parse();
        let fits = whole.is_ok_and(|whole| whole.registry == mirror.registry);
        if fits { Ok(mirror) } else { Err(MirrorError) }
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.registry)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Mirror {
    fn name(&self, repository: &str) -> String {
        format!("{self}/{repository}")
    }

    fn place(&self, reference: &Reference) -> Reference {
        let repository = match &*self.prefix {
            "" => reference.repository.clone(),
            prefix => format!("{prefix}/{}", reference.repository),
        };
        Reference { registry: self.registry.clone(), repository, ..reference.clone() }
    }
}

impl Mirrors {
    /// Returns where a reference's content may be, in the order in which to ask.
    pub(super) fn places(&self, reference: &Reference) -> Vec<Reference> {
        let mirrors = self.of.get(&reference.registry).map_or(&[][..], Vec::as_slice);
        let mut places: Vec<Reference> = Vec::new();
        for place in mirrors.iter().map(|mirror| mirror.place(reference)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        if (places.is_empty() || !self.only) && !places.contains(reference) {
            places.push(reference.clone());
        }
        places
    }
}

/// Which place answered for each repository.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<HashMap<String, String>>);

impl Answered {
    fn of(&self, reference: &Reference) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&reference.name()).cloned()
    }
}

/// One operation's way from place to place.
pub(super) struct Places<'a> {
    client: &'a Client,
    asked: Reference,
    known: Option<String>,
    left: std::vec::IntoIter<Reference>,
    failed: Vec<String>,
}

impl Client {
    /// Begins to look for what a reference names; the place that answered for its repository before is the first.
    pub(super) fn places(&self, reference: &Reference) -> Places<'_> {
        let mut places = self.0.options.mirrors.places(reference);
        let known = self.0.answered.of(reference);
        // Stable: the others keep their order.
        places.sort_by_key(|place| Some(place.name()) != known);
        Places { client: self, asked: reference.clone(), known, left: places.into_iter(), failed: Vec::new() }
    }

    /// Returns the place that answered for a reference's repository, or the reference itself.
    pub(super) fn place_of(&self, reference: &Reference) -> Reference {
        let Some(known) = self.0.answered.of(reference) else { return reference.clone() };
        let places = self.0.options.mirrors.places(reference);
        places.into_iter().find(|place| place.name() == known).unwrap_or_else(|| reference.clone())
    }
}

impl Places<'_> {
    /// Returns the next place and how persistently to ask there.
    pub(super) fn next(&mut self) -> Option<(Reference, Retry)> {
        let place = self.left.next()?;
        let retry = self.client.0.agent.retry();
        let is_best = self.left.len() == 0 || self.known.as_ref() == Some(&place.name());
        let attempts = if is_best { retry.attempts } else { retry.attempts.min(ATTEMPTS) };
        Some((place, Retry { attempts, ..retry }))
    }

    /// Takes note of the place that answered.
    pub(super) fn answered(&self, place: &Reference) {
        if place.name() != self.asked.name() || !self.failed.is_empty() {
            let mut known = self.client.0.answered.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(self.asked.name(), place.name());
        }
    }

    /// Takes note of a failure.
    ///
    /// # Errors
    /// The failure, with those before it, when it was the last place.
    pub(super) fn failed(&mut self, place: &Reference, error: Error) -> Result<(), Error> {
        if self.left.len() == 0 {
            if self.failed.is_empty() {
                return Err(error);
            }
            return Err(Error::Places { tried: std::mem::take(&mut self.failed), last: Box::new(error) });
        }
        let told = told(&error);
        let message = format!("{} is not used for {}: {told}", place.name(), self.asked);
        self.client.report(Event::Warning { rule: "RegistryMirror", line: None, message: &message });
        self.failed.push(told);
        Ok(())
    }
}

/// Writes an error and its causes in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(mirrors: &[&str], only: bool, of: &str) -> Vec<String> {
        let mirrors = mirrors.iter().map(|text| text.parse().expect("a mirror")).collect();
        let mirrors = Mirrors { of: BTreeMap::from([("docker.io".to_owned(), mirrors)]), only };
        mirrors.places(&of.parse().expect("reference")).iter().map(Reference::to_string).collect()
    }

    #[test]
    fn mirrors_come_first_and_keep_the_whole_repository() {
        for (mirrors, only, of, expected) in [
            (
                &["m.example"][..],
                false,
                "busybox:1",
                &["m.example/library/busybox:1", "docker.io/library/busybox:1"][..],
            ),
            (&["https://m.example:5000/proxy/hub/"], true, "a/b", &["m.example:5000/proxy/hub/a/b:latest"]),
            (
                &["m.example", "n.example/x", "m.example"],
                false,
                "a/b",
                &["m.example/a/b:latest", "n.example/x/a/b:latest", "docker.io/a/b:latest"],
            ),
            (&["m.example"], true, "other.example/a", &["other.example/a:latest"]),
            (&["index.docker.io"], false, "a/b", &["docker.io/a/b:latest"]),
            (&[], true, "a/b", &["docker.io/a/b:latest"]),
        ] {
            assert_eq!(places(mirrors, only, of), expected, "{mirrors:?} {only} {of}");
        }
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for text in ["", "/", "m.example/UPPER", "m.example/a b", "mirror", "user@m.example"] {
            assert_eq!(text.parse::<Mirror>(), Err(MirrorError), "{text}");
        }
    }
}
