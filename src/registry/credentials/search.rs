//! The search itself, and what it can tell of each source.
//!
//! All documents count as one: the key with the longest path wins, and among equals the first document. Within a
//! document a registry's own helper goes before entries, as in Podman, and the general store comes last, as in Docker.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::document::State;
use super::key::{HUB_KEY, best_key, normal_key, server_name};
use super::{Credential, Credentials, Found, Granted, Keychain, keychain};
use crate::oci::Reference;
use crate::registry::helper::{self, Answer};

/// How long a helper's answer is good: the tokens of most last an hour.
const HELPER_LASTS: Duration = Duration::from_secs(600);
/// How long a cloud that could not help is left alone.
const FAILURE_LASTS: Duration = Duration::from_secs(60);

/// What each source has for a repository, in the order of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The credential that is used; none means to ask anonymously.
    pub credential: Option<Credential>,
    /// The sources.
    pub lookups: Vec<Lookup>,
    /// What is probably not meant: the registry's own helper failed, and others are asked, or nobody.
    pub warnings: Vec<String>,
}

/// One source, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The source.
    pub source: String,
    /// What it has.
    pub outcome: Outcome,
}

/// What a source has for a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is used: by which key or program.
    Answers(String),
    /// It was not asked, because another one answered: by which key or program it might have.
    NotAsked(String),
    /// Nothing, and why.
    Nothing(String),
    /// It should have something, and this went wrong.
    Failed(String),
}

/// One way to an answer.
struct Candidate<'a> {
    /// The position of its source, for the order of what is told.
    position: usize,
    /// How much of the repository's path its key matches.
    length: usize,
    source: &'a str,
    way: Way<'a>,
}

enum Way<'a> {
    Helper { program: &'a str, key: &'a str, is_own: bool },
    Entry { key: &'a str, entry: &'a super::document::Entry },
    Keychain(&'a Keychain),
}

impl Credentials {
    /// Finds what to use for a repository.
    pub async fn find(&self, reference: &Reference) -> Found {
        let Explanation { credential, lookups, warnings } = self.explain(reference).await;
        let failed = lookups.into_iter().filter_map(|lookup| match lookup.outcome {
            Outcome::Failed(reason) => Some(format!("{}: {reason}", lookup.source)),
            Outcome::Answers(_) | Outcome::NotAsked(_) | Outcome::Nothing(_) => None,
        });
        let mut notes: Vec<String> = failed.collect();
        if credential.is_none() && notes.is_empty() {
            notes.push(self.nothing_found(reference));
        }
        Found { credential, notes, warnings }
    }

    /// Finds what to use for a repository, and tells of every source what it has.
    pub async fn explain(&self, reference: &Reference) -> Explanation {
        let mut credential = None;
        let mut told: Vec<(usize, Lookup)> = Vec::new();
        let mut warnings = Vec::new();
        for candidate in self.candidates(reference) {
            let outcome = match credential {
                Some(_) => self.not_asked(&candidate, reference),
                None => match self.ask(&candidate, reference).await {
                    Ok(found) => {
                        credential = Some(found);
                        Outcome::Answers(candidate.name())
                    }
                    Err(outcome) => {
                        warnings.extend(candidate.warning(&outcome));
                        outcome
                    }
                },
            };
            told.push((candidate.position, Lookup { source: candidate.source(), outcome }));
        }
        told.extend(self.silent(reference, &told));
        told.sort_by_key(|(position, _)| *position);
        Explanation { credential, lookups: told.into_iter().map(|(_, lookup)| lookup).collect(), warnings }
    }

    /// Lists all that may answer, the best first.
    fn candidates<'a>(&'a self, reference: &'a Reference) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::new();
        for (position, document) in self.0.documents.iter().enumerate() {
            let State::Read(contents) = &document.state else { continue };
            let source = document.name.as_str();
            let entries = contents.auths.iter().filter(|(_, entry)| entry.is_filled()).map(|(key, _)| key);
            let entry = best_key(entries, reference);
            if let Some((length, key)) = best_key(contents.helpers.keys(), reference) {
                let length = length.max(entry.map_or(0, |(length, _)| length));
                let way = Way::Helper { program: &contents.helpers[key], key, is_own: true };
                candidates.push(Candidate { position, length, source, way });
            }
            if let Some((length, key)) = entry {
                let way = Way::Entry { key, entry: &contents.auths[key] };
                candidates.push(Candidate { position, length, source, way });
            }
            if let Some(program) = &contents.store {
                let way = Way::Helper { program, key: server_name(&reference.registry), is_own: false };
                candidates.push(Candidate { position, length: 0, source, way });
            }
        }
        // Stable: among equals the first stays first.
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.length));
        let first = self.0.documents.len();
        candidates.extend(self.0.keychains.iter().enumerate().map(|(number, keychain)| Candidate {
            position: first + number,
            length: 0,
            source: "",
            way: Way::Keychain(keychain),
        }));
        candidates
    }

    /// Tells of the documents that have no say at all.
    fn silent(&self, reference: &Reference, told: &[(usize, Lookup)]) -> Vec<(usize, Lookup)> {
        let mut silent = Vec::new();
        for (position, document) in self.0.documents.iter().enumerate() {
            if told.iter().any(|(other, _)| *other == position) {
                continue;
            }
            let outcome = match &document.state {
                State::Absent => Outcome::Nothing("is not there".to_owned()),
                State::Unreadable(reason) => Outcome::Failed(reason.clone()),
                State::Read(contents) => {
                    let known = contents.known();
                    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                    Outcome::Nothing(format!("nothing for {}; it has {known}", reference.name()))
                }
            };
            silent.push((position, Lookup { source: document.name.clone(), outcome }));
        }
        silent
    }

    async fn ask(&self, candidate: &Candidate<'_>, reference: &Reference) -> Result<Credential, Outcome> {
        let answer = match &candidate.way {
            Way::Entry { key, entry } => {
                let secret = entry.secret();
                let bad = || Outcome::Failed(format!("the entry {key} is not base64 of user:password"));
                let source = format!("from {}, key {key}", candidate.source);
                return secret.map(|secret| Credential { secret, source }).ok_or_else(bad);
            }
            Way::Helper { program, key, .. } => self.ask_helper(program, key).await,
            Way::Keychain(Keychain::Program(program)) => {
                self.ask_helper(program, server_name(&reference.registry)).await
            }
            Way::Keychain(keychain) => self.ask_keychain(keychain, &reference.registry).await?,
        };
        let source = match candidate.way {
            Way::Keychain(_) => format!("from {}", candidate.source()),
            Way::Helper { .. } | Way::Entry { .. } => {
                format!("from {} (named in {})", candidate.name(), candidate.source)
            }
        };
        match (answer, &candidate.way) {
            (Answer::Secret(secret), _) => Ok(Credential { secret, source }),
            (Answer::Unknown, _) => Err(Outcome::Nothing(format!("{} knows nothing of it", candidate.name()))),
            (Answer::Failed(reason), Way::Keychain(_)) => Err(Outcome::Failed(reason)),
            (Answer::Failed(reason), Way::Helper { .. } | Way::Entry { .. }) => {
                Err(Outcome::Failed(format!("{} failed: {reason}", candidate.name())))
            }
        }
    }

    async fn ask_helper(&self, program: &str, key: &str) -> Answer {
        let server = if normal_key(key).is_hub() { HUB_KEY } else { key };
        let question = (program.to_owned(), server.to_owned());
        // The lock is held while the helper runs: a second question waits for the first one's answer.
        let mut answers = self.0.answers.lock().await;
        let is_sealed = self.0.sealed.load(Ordering::SeqCst);
        match answers.get(&question) {
            Some(known) if is_sealed || known.until > Instant::now() => return known.answer.clone(),
            None if is_sealed => return Answer::Failed("it is not run while `/` is another image's".to_owned()),
            Some(_) | None => {}
        }
        let answer = helper::get(&self.0.helper_directories, program, server).await;
        answers.insert(question, Granted { answer: answer.clone(), until: Instant::now() + HELPER_LASTS });
        answer
    }

    async fn ask_keychain(&self, keychain: &Keychain, registry: &str) -> Result<Answer, Outcome> {
        if let Some(login) = self.login(keychain, registry) {
            return Ok(Answer::Secret(login.secret()));
        }
        let clouds = match (self.without_say(keychain, registry), &self.0.clouds) {
            (None, Some(clouds)) => clouds,
            (reason, _) => return Err(Outcome::Nothing(reason.unwrap_or_default())),
        };
        let question = (keychain.clone(), registry.to_owned());
        // The lock is held while a cloud is asked, as with helpers.
        let mut granted = self.0.granted.lock().await;
        let is_sealed = self.0.sealed.load(Ordering::SeqCst);
        match granted.get(&question) {
            Some(known) if known.until > Instant::now() => return Ok(known.answer.clone()),
            Some(known) if is_sealed && !clouds.needs_no_files(keychain) => return Ok(known.answer.clone()),
            None if is_sealed => {
                return Err(Outcome::Failed("it is not asked while `/` is another image's".to_owned()));
            }
            Some(_) | None => {}
        }
        let (answer, lasts) = match clouds.ask(keychain, registry).await {
            Ok((secret, lasts)) => (Answer::Secret(secret), lasts),
            Err(reason) => (Answer::Failed(reason), FAILURE_LASTS),
        };
        granted.insert(question, Granted { answer: answer.clone(), until: Instant::now() + lasts });
        Ok(answer)
    }

    fn login(&self, keychain: &Keychain, registry: &str) -> Option<&super::Login> {
        match keychain {
            Keychain::Environment => keychain::login(&self.0.logins, registry, true),
            Keychain::Gitlab => keychain::login(&self.0.logins, registry, false),
            Keychain::Google | Keychain::Ecr | Keychain::Acr | Keychain::Program(_) => None,
        }
    }

    /// Says why a keychain has nothing for a registry, where that is known without asking anybody.
    fn without_say(&self, keychain: &Keychain, registry: &str) -> Option<String> {
        match keychain {
            Keychain::Environment | Keychain::Gitlab => {
                self.login(keychain, registry).is_none().then(|| format!("none are set for {registry}"))
            }
            Keychain::Google | Keychain::Ecr | Keychain::Acr => match &self.0.clouds {
                Some(clouds) => clouds.is_not_for(keychain, registry),
                None => Some("clouds are not asked".to_owned()),
            },
            Keychain::Program(_) => None,
        }
    }

    fn not_asked(&self, candidate: &Candidate<'_>, reference: &Reference) -> Outcome {
        let without_say = match candidate.way {
            Way::Keychain(keychain) => self.without_say(keychain, &reference.registry),
            Way::Helper { .. } | Way::Entry { .. } => None,
        };
        without_say.map_or_else(|| Outcome::NotAsked(candidate.name()), Outcome::Nothing)
    }

    fn nothing_found(&self, reference: &Reference) -> String {
        let read = self.0.documents.iter().filter(|document| matches!(document.state, State::Read(_)));
        let names: Vec<&str> = read.map(|document| document.name.as_str()).collect();
        let more = format!("`yadokari auth explain {}` tells where was looked", reference.name());
        if names.is_empty() {
            return format!("no credentials for {}, no Docker config.json was found; {more}", reference.registry);
        }
        format!("no credentials for {} in {}; {more}", reference.registry, names.join(", "))
    }
}

impl Candidate<'_> {
    /// Tells of a helper that is named for this very registry and fails, where kaniko would end.
    fn warning(&self, outcome: &Outcome) -> Option<String> {
        match (&self.way, outcome) {
            (Way::Helper { is_own: true, .. }, Outcome::Failed(reason)) => {
                Some(format!("{}: {reason}; what else is known of the registry is used instead", self.source))
            }
            _ => None,
        }
    }

    fn source(&self) -> String {
        match self.way {
            Way::Keychain(keychain) => keychain.to_string(),
            Way::Helper { .. } | Way::Entry { .. } => self.source.to_owned(),
        }
    }

    /// Names the key or the program.
    fn name(&self) -> String {
        match &self.way {
            Way::Helper { program, key, .. } => format!("docker-credential-{program} for {key}"),
            Way::Entry { key, .. } => format!("key {key}"),
            Way::Keychain(keychain) => keychain.to_string(),
        }
    }
}
