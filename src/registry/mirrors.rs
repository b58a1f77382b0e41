//! Where a repository may be pulled from: the mirrors of its registry, and the registry itself.
//!
//! Knows the order of the places and remembers which one answered for a repository, so that an image's blobs
//! come from where its manifest is. Knows nothing of how a place is asked, nor of where its settings were written.
//!
//! *Invariant: a reference keeps the name that the user gave it; only requests go to a mirror. Nothing is ever
//! pushed to one.*

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::{Client, Error, settings_key};
use crate::causes;
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
    /// What it is asked for.
    pub pulls: Pulls,
    /// Whether it may be asked in plain HTTP, and with any certificate.
    pub insecure: bool,
}

/// Which references are asked for at a mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pulls {
    /// All of them.
    #[default]
    All,
    /// Those with a digest.
    ByDigest,
    /// Those with a tag and no digest.
    ByTag,
}

/// The mirrors of each registry, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// By the registry's name as [`settings_key`] gives it; they are asked before those of rules.
    pub of: BTreeMap<String, Vec<Mirror>>,
    /// What holds for parts of registries.
    pub rules: Vec<Rule>,
    /// Whether a registry that has mirrors is not asked itself when all of them failed.
    pub only: bool,
}

/// What holds for the references of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which references; of several rules the one with the longest scope holds alone.
    pub scope: Scope,
    /// Where they are; none where they say themselves.
    pub location: Option<Mirror>,
    /// Where they are also, in the order in which to ask.
    pub mirrors: Vec<Mirror>,
    /// Whether the registry that they name must not be spoken to.
    pub blocked: bool,
    /// Whether that registry may be spoken to in plain HTTP, and with any certificate.
    pub insecure: bool,
}

/// A set of references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of a registry whose repository is this path or below it; the path may be empty.
    Name {
        /// The registry.
        registry: String,
        /// The path, without slashes around it.
        path: String,
    },
    /// Those of all hosts below this domain.
    Below(String),
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
        let (registry, prefix) = (settings_key(host), prefix.trim_matches('/').to_owned());
        let mirror = Self { registry, prefix, pulls: Pulls::All, insecure: false };
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

    /// Returns where a reference's content is here, if the rest of its repository makes a name here.
    fn place(&self, reference: &Reference, rest: &str) -> Option<Reference> {
        let parts = [self.prefix.as_str(), rest].into_iter().filter(|part| !part.is_empty());
        let repository = parts.collect::<Vec<_>>().join("/");
        let registry = self.registry.clone();
        (!repository.is_empty()).then(|| Reference { registry, repository, ..reference.clone() })
    }

    fn is_for(&self, reference: &Reference) -> bool {
        match self.pulls {
            Pulls::All => true,
            Pulls::ByDigest => reference.digest.is_some(),
            Pulls::ByTag => reference.digest.is_none(),
        }
    }

    fn has(&self, place: &Reference) -> bool {
        self.registry == place.registry && below(&self.prefix, &place.repository).is_some()
    }
}

impl Scope {
    /// Returns what follows the scope in a reference's repository; none for a reference that is not in it.
    fn rest<'a>(&self, reference: &'a Reference) -> Option<&'a str> {
        match self {
            Self::Name { registry, path } if *registry == reference.registry => below(path, &reference.repository),
            Self::Name { .. } => None,
            Self::Below(domain) => {
                let host = reference.registry.split(':').next().unwrap_or_default();
                let is_below = host.strip_suffix(domain.as_str()).is_some_and(|labels| labels.ends_with('.'));
                is_below.then_some(&*reference.repository)
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { registry, path } if path.is_empty() => f.write_str(registry),
            Self::Name { registry, path } => write!(f, "{registry}/{path}"),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// Returns what a repository has below a path.
fn below<'a>(path: &str, repository: &'a str) -> Option<&'a str> {
    let rest = repository.strip_prefix(path)?;
    if path.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

impl Mirrors {
    /// Returns where a reference's content may be, in the order in which to ask.
    pub(super) fn places(&self, reference: &Reference) -> Vec<Reference> {
        let whole = self.of.get(&reference.registry).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<Option<Reference>> =
            whole.iter().map(|mirror| mirror.place(reference, &reference.repository)).collect();
        let mut own = Some(reference.clone());
        if let Some((rule, rest)) = self.rule(reference) {
            let mirrors = rule.mirrors.iter().filter(|mirror| mirror.is_for(reference));
            found.extend(mirrors.map(|mirror| mirror.place(reference, rest)));
            if let Some(location) = &rule.location {
                own = location.place(reference, rest);
            }
        }
        if found.iter().all(Option::is_none) || !self.only {
            // Who moves everything to a place that has no name for it wants it from nowhere else.
            found.push(own);
        }
        let mut places: Vec<Reference> = Vec::new();
        for place in found.into_iter().flatten() {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Returns what of a place's registry must not be spoken to, if it is in it.
    pub(super) fn blocked<'a>(&'a self, place: &'a Reference) -> Option<&'a Scope> {
        self.rule(place).filter(|(rule, _)| rule.blocked).map(|(rule, _)| &rule.scope)
    }

    /// Tells whether a place may be spoken to in plain HTTP, and with any certificate.
    pub(super) fn is_insecure(&self, place: &Reference, is_pull: bool) -> bool {
        let places = self.rules.iter().flat_map(|rule| rule.mirrors.iter().chain(&rule.location));
        let named = places.filter(|named| is_pull && named.has(place)).max_by_key(|named| named.prefix.len());
        named.map_or_else(|| self.rule(place).is_some_and(|(rule, _)| rule.insecure), |named| named.insecure)
    }

    /// Tells whether the places of a repository differ from reference to reference.
    fn choose(&self, reference: &Reference) -> bool {
        self.rule(reference).is_some_and(|(rule, _)| rule.mirrors.iter().any(|mirror| mirror.pulls != Pulls::All))
    }

    /// Finds the rule that holds for a reference, and what follows its scope in the repository.
    fn rule<'a>(&'a self, reference: &'a Reference) -> Option<(&'a Rule, &'a str)> {
        let fitting = self.rules.iter().filter_map(|rule| Some((rule, rule.scope.rest(reference)?)));
        // Of two that are as long, the first.
        fitting.rev().max_by_key(|(rule, _)| rule.scope.to_string().len())
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
    ///
    /// # Errors
    /// When there is none at all; the last place that fails returns its error.
    pub(super) fn next(&mut self) -> Result<(Reference, Retry), Error> {
        let nowhere = || Error::Nowhere { reference: self.asked.to_string() };
        let place = self.left.next().ok_or_else(nowhere)?;
        let retry = self.client.0.agent.retry();
        let is_best = self.left.len() == 0 || self.known.as_ref() == Some(&place.name());
        let attempts = if is_best { retry.attempts } else { retry.attempts.min(ATTEMPTS) };
        Ok((place, Retry { attempts, ..retry }))
    }

    /// Takes note of the place that answered.
    pub(super) fn answered(&self, place: &Reference) {
        let is_chosen = self.client.0.options.mirrors.choose(&self.asked);
        if place.name() != self.asked.name() || !self.failed.is_empty() || is_chosen {
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
        let told = causes::in_one_line(&error);
        let message = format!("{} is not used for {}: {told}", place.name(), self.asked);
        self.client.report(Event::Warning { rule: "RegistryMirror", line: None, message: &message });
        self.failed.push(told);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(mirrors: &[&str], only: bool, of: &str) -> Vec<String> {
        let mirrors = mirrors.iter().map(|text| text.parse().expect("a mirror")).collect();
        let mirrors = Mirrors { of: BTreeMap::from([("docker.io".to_owned(), mirrors)]), only, ..Mirrors::default() };
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
