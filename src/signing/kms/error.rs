//! Why a key in a KMS cannot be used, and what to do about that.

use crate::http::{self, Meaning, StatusCode};

/// How much of a service's own words is told, in characters.
const LONGEST_WORDS: usize = 400;

/// Why no such key signs, whatever the cloud.
pub(super) const NO_ED25519: &str = "an Ed25519 key signs whole messages, of which a KMS takes a few thousand bytes only, and statements \
                          are longer";

/// A key in a KMS that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the key {key}: {problem}")]
pub struct KmsError {
    key: String,
    problem: String,
    meaning: Meaning,
    hint: Option<String>,
    #[source]
    source: Option<http::Error>,
}

impl KmsError {
    pub(super) fn new(key: &str, wrong: Wrong, service: &Service) -> Self {
        let hint = match wrong.what {
            What::Right => Some(format!("whoever signs needs {}", service.rights)),
            What::Credentials => Some(format!("these are looked for: {}", service.credentials)),
            What::Missing => Some("name a key that is there, in its own region, project or vault".to_owned()),
            What::Disabled => Some("enable the key, or name one that is".to_owned()),
            What::Usage => Some(format!("name a key for signing: {}", service.keys)),
            What::Other => None,
        };
        let problem = match wrong.shows_who {
            true => format!("{} ({})", wrong.problem, service.who),
            false => wrong.problem,
        };
        Self { key: key.to_owned(), problem, meaning: wrong.meaning, hint, source: wrong.source }
    }

    /// Tells what it means to whoever decides what to do.
    pub fn meaning(&self) -> Meaning {
        self.meaning
    }

    /// Says what to do, where something can be done.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// What messages say of a service.
pub(super) struct Service {
    /// With whose credentials it was asked.
    pub(super) who: &'static str,
    /// Which credentials there may be.
    pub(super) credentials: &'static str,
    /// Which rights are needed.
    pub(super) rights: &'static str,
    /// Which keys of its can be used.
    pub(super) keys: &'static str,
}

/// What it is that went wrong; it decides what is advised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A right is missing.
    Right,
    /// There are no credentials, or they are refused.
    Credentials,
    /// There is no such key.
    Missing,
    /// It is disabled, or to be deleted.
    Disabled,
    /// It is for something else, or of a kind that is not supported.
    Usage,
    /// Something else.
    Other,
}

/// What went wrong, before it is said of which key.
#[derive(Debug)]
pub(super) struct Wrong {
    what: What,
    problem: String,
    meaning: Meaning,
    shows_who: bool,
    source: Option<http::Error>,
}

impl Wrong {
    /// The key itself cannot be used.
    pub(super) fn key(what: What, problem: impl Into<String>) -> Self {
        Self { what, problem: problem.into(), meaning: Meaning::Wrong, shows_who: false, source: None }
    }

    /// There are no credentials.
    pub(super) fn credentials(problem: impl Into<String>, is_transient: bool) -> Self {
        let meaning = if is_transient { Meaning::Transient } else { Meaning::Denied };
        let what = if is_transient { What::Other } else { What::Credentials };
        Self { what, problem: problem.into(), meaning, shows_who: false, source: None }
    }

    /// The service cannot be reached.
    pub(super) fn unreachable(source: http::Error) -> Self {
        let what = if source.is_unknown_host() { What::Missing } else { What::Other };
        let problem = "its KMS cannot be reached".to_owned();
        Self { what, problem, meaning: source.meaning(), shows_who: false, source: Some(source) }
    }

    /// The service says something else than its interface has.
    pub(super) fn unclear(url: &http::Url, problem: &str) -> Self {
        let problem = format!("{} {problem}", http::redact(url));
        Self { what: What::Other, problem, meaning: Meaning::Wrong, shows_who: false, source: None }
    }

    /// What the service says is damaged each time.
    #[cfg(any(feature = "google", test))]
    pub(super) fn damaged(url: &http::Url, problem: &str) -> Self {
        Self { meaning: Meaning::Transient, ..Self::unclear(url, problem) }
    }

    /// The service refuses.
    pub(super) fn refused(call: &http::Call, status: StatusCode, refusal: &Refusal) -> Self {
        let meaning = match refusal.what {
            What::Right | What::Credentials => Meaning::Denied,
            What::Missing | What::Disabled | What::Usage => Meaning::Wrong,
            What::Other => Meaning::of(status),
        };
        let words = [&*refusal.code, &*refusal.message].into_iter().filter(|part| !part.is_empty());
        let words = words.collect::<Vec<_>>().join(": ");
        let problem = format!("{} answered {status} {}", http::redact(&call.url), shown(call, &words));
        let problem = problem.trim_end().to_owned();
        let shows_who = matches!(refusal.what, What::Right | What::Credentials);
        Self { what: refusal.what, problem, meaning, shows_who, source: None }
    }
}

/// What a service says when it refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) what: What,
    /// Its own word for it.
    pub(super) code: String,
    pub(super) message: String,
    /// Whether it may answer otherwise later.
    pub(super) passes: bool,
}

/// Writes what a service says in one line, without what was sent in secret: services may quote it.
fn shown(call: &http::Call, words: &str) -> String {
    let secrets = call.headers.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
    let mut words = words.to_owned();
    for secret in secrets {
        let secret = secret.trim_start_matches("Bearer ");
        words = if secret.is_empty() { words } else { words.replace(secret, "…") };
    }
    let words = words.replace(|c: char| c.is_control(), " ");
    words.chars().take(LONGEST_WORDS).collect()
}
