//! Where a repository may be pulled from: the mirrors of its registry, and the registry itself.
//!
//! Knows the order of the places and remembers which one answered for a repository, so that an image's blobs
//! come from where its manifest is. Knows nothing of how a place is asked, nor of where its settings were written.
//!
//! *Invariant: a reference keeps the name that the user gave it; only requests go to a mirror. Nothing is ever
//! pushed to one. A host that is not this machine is spoken to in plain HTTP only in the place for which that was said.*

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::{Client, Error, settings_key};
use crate::causes;
use crate::http::Retry;
use crate::oci::{Digest, Reference};
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

/// Where a reference's content may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// What it is there.
    pub(super) reference: Reference,
    /// Whether it may be asked for in plain HTTP, and with any certificate: of another place of the same registry
    /// something else may be said.
    pub(super) insecure: bool,
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

    /// Returns where a reference's content is here, if the rest of its name makes a name here.
    fn place(&self, reference: &Reference, rest: &Rest<'_>) -> Option<Place> {
        let has_port = self.registry.rsplit(']').next().is_some_and(|end| end.contains(':'));
        // What is left of a name follows the mirror, a port too; there is not room for it everywhere.
        if !rest.port.is_empty() && (has_port || !self.prefix.is_empty()) {
            return None;
        }
        let registry = format!("{}{}", self.registry, rest.port);
        let parts = [self.prefix.as_str(), rest.path].into_iter().filter(|part| !part.is_empty());
        let repository = parts.collect::<Vec<_>>().join("/");
        let is_named = !repository.is_empty();
        is_named.then(|| Place {
            reference: Reference { registry, repository, ..reference.clone() },
            insecure: self.insecure,
        })
    }

    fn is_for(&self, reference: &Reference) -> bool {
        match self.pulls {
            Pulls::All => true,
            Pulls::ByDigest => reference.digest.is_some(),
            Pulls::ByTag => reference.digest.is_none(),
        }
    }
}

impl Place {
    /// Returns the same place for what has a digest.
    pub(super) fn with_digest(&self, digest: Digest) -> Self {
        Self { reference: self.reference.with_digest(digest), insecure: self.insecure }
    }

    /// Returns what it is known by: its repository, and how that is spoken to.
    fn key(&self) -> Key {
        (self.reference.name(), self.insecure)
    }
}

/// What follows a scope in a reference.
#[derive(Clone, Copy)]
struct Rest<'a> {
    /// The port of its host, after its colon; may be empty.
    port: &'a str,
    /// The rest of its repository, which may be all or nothing of it.
    path: &'a str,
}

impl Scope {
    /// Returns what follows the scope in a reference; none for one that is not in it.
    fn rest<'a>(&self, reference: &'a Reference) -> Option<Rest<'a>> {
        match self {
            Self::Name { registry, path } if *registry == reference.registry => {
                below(path, &reference.repository).map(|path| Rest { port: "", path })
            }
            Self::Name { .. } => None,
            Self::Below(domain) => {
                let end = reference.registry.find(':').unwrap_or(reference.registry.len());
                let (host, port) = reference.registry.split_at(end);
                let is_below = host.strip_suffix(domain.as_str()).is_some_and(|labels| labels.ends_with('.'));
                is_below.then_some(Rest { port, path: &reference.repository })
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
    pub(super) fn places(&self, reference: &Reference) -> Vec<Place> {
        let all = Rest { port: "", path: &reference.repository };
        let mirrors = self.of.get(&reference.registry).map_or(&[][..], Vec::as_slice);
        let mirrors = mirrors.iter().filter_map(|mirror| mirror.place(reference, &all));
        // A flag that names mirrors does not say how to speak to them: settings of their hosts do.
        let mirrors = mirrors.map(|place| self.itself(&place.reference));
        let mut places: Vec<Place> = Vec::new();
        for place in mirrors.chain(self.of_rule(reference).unwrap_or_default()) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Returns the registry itself as a place, spoken to as is said of it and not of what it stands in for.
    pub(super) fn itself(&self, reference: &Reference) -> Place {
        let insecure = self.rule(reference).is_some_and(|(rule, _)| rule.insecure);
        Place { reference: reference.clone(), insecure }
    }

    /// Returns the same without all places that stand in for a registry.
    pub(super) fn without_places(&self) -> Self {
        let itself = |rule: &Rule| Rule { location: None, mirrors: Vec::new(), ..rule.clone() };
        Self { of: BTreeMap::new(), rules: self.rules.iter().map(itself).collect(), only: false }
    }

    /// Tells why there is no place for a reference.
    fn why_nowhere(&self, reference: &Reference) -> &'static str {
        if self.of_rule(reference).is_some() {
            "none of its registry's mirrors is for it (pull-from-mirror, mirror-by-digest-only), and \
             --skip-default-registry-fallback keeps the registry itself from being asked"
        } else {
            "what --registries-conf leaves of its name makes no name at one of the places that it names"
        }
    }

    /// Returns the places that are not those of its whole registry; none if one of them has no name for it. Who moves
    /// everything there wants it from nowhere else.
    fn of_rule(&self, reference: &Reference) -> Option<Vec<Place>> {
        let found = self.rule(reference);
        let (mirrors, location) = found.map_or((&[][..], None), |(rule, _)| (&*rule.mirrors, rule.location.as_ref()));
        let is_whole_mirrored = self.of.get(&reference.registry).is_some_and(|mirrors| !mirrors.is_empty());
        let is_mirrored = is_whole_mirrored || !mirrors.is_empty();
        let last = !(self.only && is_mirrored);
        let mut places = Vec::new();
        if let Some((_, rest)) = found {
            let mirrors = mirrors.iter().filter(|mirror| mirror.is_for(reference));
            for place in mirrors.chain(location.filter(|_| last)) {
                places.push(place.place(reference, &rest)?);
            }
        }
        if last && location.is_none() {
            places.push(self.itself(reference));
        }
        Some(places)
    }

    /// Returns what of a place's registry must not be spoken to, if it is in it.
    pub(super) fn blocked<'a>(&'a self, place: &'a Reference) -> Option<&'a Scope> {
        self.rule(place).filter(|(rule, _)| rule.blocked).map(|(rule, _)| &rule.scope)
    }

    /// Tells whether the places of a repository differ from reference to reference.
    fn choose(&self, reference: &Reference) -> bool {
        self.rule(reference).is_some_and(|(rule, _)| rule.mirrors.iter().any(|mirror| mirror.pulls != Pulls::All))
    }

    /// Finds the rule that holds for a reference, and what follows its scope in the repository.
    fn rule<'a>(&'a self, reference: &'a Reference) -> Option<(&'a Rule, Rest<'a>)> {
        let fitting = self.rules.iter().filter_map(|rule| Some((rule, rule.scope.rest(reference)?)));
        // Of two scopes of the same length the first one counts.
        fitting.rev().max_by_key(|(rule, _)| rule.scope.to_string().len())
    }
}

/// A repository's name, and whether it is spoken to in plain HTTP, and with any certificate.
type Key = (String, bool);

/// Which place answered for each repository.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<HashMap<String, Key>>);

impl Answered {
    fn of(&self, reference: &Reference) -> Option<Key> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&reference.name()).cloned()
    }
}

/// One operation's way from place to place.
pub(super) struct Places<'a> {
    client: &'a Client,
    asked: Reference,
    known: Option<Key>,
    left: std::vec::IntoIter<Place>,
    failed: Vec<String>,
}

impl Client {
    /// Begins to look for what a reference names; the place that answered for its repository before is the first.
    pub(super) fn places(&self, reference: &Reference) -> Places<'_> {
        let mut places = self.0.options.mirrors.places(reference);
        let known = self.0.answered.of(reference);
        // Stable: the others keep their order.
        places.sort_by_key(|place| Some(place.key()) != known);
        Places { client: self, asked: reference.clone(), known, left: places.into_iter(), failed: Vec::new() }
    }

    /// Returns the place that answered for a reference's repository, or the reference itself.
    pub(super) fn place_of(&self, reference: &Reference) -> Reference {
        let Some(known) = self.0.answered.of(reference) else { return reference.clone() };
        let places = self.0.options.mirrors.places(reference).into_iter();
        places.map(|place| place.reference).find(|place| place.name() == known.0).unwrap_or_else(|| reference.clone())
    }
}

impl Places<'_> {
    /// Returns the next place and how persistently to ask there.
    ///
    /// # Errors
    /// When there is none at all; the last place that fails returns its error.
    pub(super) fn next(&mut self) -> Result<(Place, Retry), Error> {
        let nowhere = || {
            let reason = self.client.0.options.mirrors.why_nowhere(&self.asked);
            Error::Nowhere { reference: self.asked.to_string(), reason }
        };
        let place = self.left.next().ok_or_else(nowhere)?;
        let retry = self.client.0.agent.retry();
        let is_best = self.left.len() == 0 || self.known.as_ref() == Some(&place.key());
        let attempts = if is_best { retry.attempts } else { retry.attempts.min(ATTEMPTS) };
        Ok((place, Retry { attempts, ..retry }))
    }

    /// Takes note of the place that answered.
    pub(super) fn answered(&self, place: &Place) {
        let is_chosen = self.client.0.options.mirrors.choose(&self.asked);
        if place.reference.name() != self.asked.name() || !self.failed.is_empty() || is_chosen {
            let mut known = self.client.0.answered.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(self.asked.name(), place.key());
        }
    }

    /// Takes note of a failure.
    ///
    /// # Errors
    /// The failure, with those before it, when it was the last place.
    pub(super) fn failed(&mut self, place: &Place, error: Error) -> Result<(), Error> {
        if self.left.len() == 0 {
            if self.failed.is_empty() {
                return Err(error);
            }
            return Err(Error::Places { tried: std::mem::take(&mut self.failed), last: Box::new(error) });
        }
        let told = causes::in_one_line(&error);
        let message = format!("{} is not used for {}: {told}", place.reference.name(), self.asked);
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
        let places = mirrors.places(&of.parse().expect("reference"));
        places.iter().map(|place| place.reference.to_string()).collect()
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
