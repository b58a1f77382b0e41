//! One conversation with a Git server: who we are to it, and why it failed.
//!
//! *Invariant: a login is only sent to the server that it is for: that of the environment and of the URL to the
//! repository's own host, those of files to the host that stands beside them.*

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::address::{Address, WithLogin};
use super::config::Config;
use super::logins;
use crate::context::access::{GitAccess, Login};
use crate::context::{Error, ErrorKind, Means};
use crate::http::{AUTHORIZATION, Agent, Call, HeaderName, Response, StatusCode, Url, secret_header};

/// A conversation.
pub(super) struct Session {
    pub(super) address: Address,
    pub(super) skip_tls_verify: bool,
    pub(super) agent: Agent,
    pub(super) runtime: Handle,
    pub(super) access: GitAccess,
    pub(super) homes: Vec<PathBuf>,
    pub(super) is_cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
    config: Config,
    /// The login that the context's own URL had, and the host that it and the environment's are for.
    main: Main,
    progress: Mutex<Progress>,
}

#[derive(Clone)]
struct Main {
    host: String,
    /// None where it is reached through SSH.
    url: Option<Url>,
    login: Option<Login>,
}

/// What was learned on the way.
#[derive(Default)]
struct Progress {
    /// The login that a server took, by its origin.
    logins: HashMap<String, Option<Login>>,
    /// Where the repository moved to.
    base: Option<Url>,
    failure: Option<Failure>,
    /// Whether a request was tried as often as one is tried.
    is_exhausted: bool,
}

/// Why a conversation failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) kind: ErrorKind,
    pub(super) tried: String,
}

thread_local! {
    /// libgit2 makes a transport from nothing but a URL: whose conversation it belongs to is told on this way.
    static CURRENT: RefCell<Option<Arc<Session>>> = const { RefCell::new(None) };
}

/// Calls libgit2 on behalf of a session.
pub(super) fn with<T>(session: &Arc<Session>, call: impl FnOnce() -> Result<T, git2::Error>) -> Result<T, git2::Error> {
    session.progress().failure = None;
    let before = CURRENT.replace(Some(Arc::clone(session)));
    let result = call();
    CURRENT.set(before);
    result
}

/// Returns the session on whose behalf this thread calls libgit2.
pub(super) fn current() -> Option<Arc<Session>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Says what libgit2 says; where it cannot read a repository at all, what to do.
fn reason(message: &str) -> String {
    let other_format = ["unknown object format", "unknown remote object format"];
    if !other_format.iter().any(|known| message.starts_with(known)) {
        return message.to_owned();
    }
    format!(
        "{message}: repositories whose ids are of SHA-1 can be read here, and no others; clone it in a step before, and give \
         that directory as --context, or as --build-context NAME=DIRECTORY where the Dockerfile ADDs it"
    )
}

impl Session {
    pub(super) fn new(parsed: WithLogin, skip_tls_verify: bool, config: Config, means: &Means<'_>) -> Arc<Self> {
        let url = match &parsed.address {
            Address::Url(url) => Some(url.clone()),
            Address::Ssh { .. } => None,
        };
        let main = Main { host: parsed.address.host().to_owned(), url, login: parsed.login };
        Arc::new(Self {
            address: parsed.address,
            skip_tls_verify,
            agent: means.agent.clone(),
            runtime: means.runtime.clone(),
            access: means.access.git.clone(),
            homes: means.access.homes.clone(),
            is_cancelled: Arc::clone(&means.is_cancelled),
            config,
            main,
            progress: Mutex::default(),
        })
    }

    /// Begins a conversation with a submodule's server.
    pub(super) fn submodule(&self, url: &str) -> Result<Arc<Self>, Error> {
        let parsed = self.address.join(&self.config.rewritten(url))?;
        let same = parsed.address.host() == self.main.host;
        let main = match parsed.login {
            Some(login) if same => Main { login: Some(login), ..self.main.clone() },
            Some(_) | None => self.main.clone(),
        };
        Ok(Arc::new(Self {
            address: parsed.address,
            skip_tls_verify: self.skip_tls_verify && same,
            agent: self.agent.clone(),
            runtime: self.runtime.clone(),
            access: self.access.clone(),
            homes: self.homes.clone(),
            is_cancelled: Arc::clone(&self.is_cancelled),
            config: self.config.clone(),
            main,
            progress: Mutex::default(),
        }))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the reason of a failure, since libgit2 hands on only a text.
    pub(super) fn note(&self, failure: Failure) -> git2::Error {
        let error = git2::Error::from_str(&failure.reason);
        self.progress().failure = Some(failure);
        error
    }

    /// Keeps the reason of a failure of a stream, which libgit2 sees as an error of reading or writing.
    pub(super) fn noted(&self, failure: Failure) -> io::Error {
        io::Error::other(self.note(failure))
    }

    /// Makes our error of libgit2's.
    pub(super) fn failed(&self, error: &git2::Error) -> Error {
        let noted = self.progress().failure.take();
        let failure = noted.unwrap_or_else(|| Failure {
            reason: reason(error.message()),
            kind: if error.class() == git2::ErrorClass::Net { ErrorKind::Transient } else { ErrorKind::Wrong },
            tried: self.who(),
        });
        self.refused(failure)
    }

    /// Makes an error for what no other try changes.
    pub(super) fn wrong(&self, reason: String) -> Error {
        self.refused(Failure { reason, kind: ErrorKind::Wrong, tried: self.who() })
    }

    pub(super) fn refused(&self, failure: Failure) -> Error {
        let Failure { reason, kind, tried } = failure;
        Error::Refused { what: format!("the Git repository {}", self.address.shown()), tried, reason, kind }
    }

    /// Tells whether a request was tried again and again already, so that there is no sense in doing all of it once more.
    pub(super) fn is_exhausted(&self) -> bool {
        self.progress().is_exhausted
    }

    /// Says who we are to the server, as far as it is known.
    fn who(&self) -> String {
        let logins: Vec<String> = self.progress().logins.values().flatten().map(|login| login.source.clone()).collect();
        if logins.is_empty() {
            "without credentials".to_owned()
        } else {
            format!("with credentials of {}", logins.join(", "))
        }
    }

    /// Returns the repository's URL as the server wants it: where it has redirected to, if it has.
    pub(super) fn base(&self) -> Option<Url> {
        match (&self.progress().base, &self.address) {
            (Some(base), _) => Some(base.clone()),
            (None, Address::Url(url)) => Some(url.clone()),
            (None, Address::Ssh { .. }) => None,
        }
    }

    /// Returns the repository's URL as it was given, if it has one.
    pub(super) fn address_url(&self) -> Option<Url> {
        match &self.address {
            Address::Url(url) => Some(url.clone()),
            Address::Ssh { .. } => None,
        }
    }

    pub(super) fn moved(&self, base: Url) {
        self.progress().base = Some(base);
    }

    /// Makes a request; where the server wants to know who is there, tries what fits it.
    pub(super) async fn send(&self, call: &Call) -> Result<Response, Failure> {
        let origin = call.url.origin().ascii_serialization();
        let known = self.progress().logins.get(&origin).cloned();
        let tries = known.map_or_else(|| self.tries(&call.url), |login| vec![login]);
        let count = tries.len();
        let mut tried: Vec<String> = Vec::new();
        for (number, login) in tries.into_iter().enumerate() {
            let source = login.as_ref().map_or("no credentials".to_owned(), |login| login.source.clone());
            if !tried.contains(&source) {
                tried.push(source);
            }
            let call = self.authorized(call, login.as_ref());
            let response = self.agent.send_retrying(&call).await.map_err(|error| {
                self.progress().is_exhausted = true;
                let tried = format!("tried: {}", tried.join(", "));
                Failure { kind: error.meaning().into(), reason: error.in_short(), tried }
            })?;
            let status = response.status();
            let asks = status == StatusCode::UNAUTHORIZED;
            let hides = matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) && number + 1 < count;
            if !asks && !hides {
                self.progress().logins.insert(origin, login);
                return Ok(response);
            }
        }
        let reason = "the server wants other credentials: set GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD, or put them \
                      into .git-credentials or .netrc of $HOME or /tekton/creds";
        let tried = format!("tried: {}", tried.join(", "));
        Err(Failure { reason: reason.to_owned(), kind: ErrorKind::Denied, tried })
    }

    /// Lists who we may be to a server. What was given for it goes first, without being asked.
    fn tries(&self, url: &Url) -> Vec<Option<Login>> {
        let given = [self.main.login.as_ref(), self.access.login.as_ref()];
        // Another port is another service, and what goes in clear text goes only where it was meant for.
        let is_its_https = url.scheme() == "https" && url.port().is_none();
        let is_same = self.main.url.as_ref().is_some_and(|main| main.origin() == url.origin());
        let is_main = url.host_str() == Some(&*self.main.host) && (is_same || is_its_https);
        let given: Vec<Option<Login>> =
            given.into_iter().flatten().filter(|_| is_main).flat_map(logins::spellings).map(Some).collect();
        let files = logins::from_files(&self.homes, &self.config.stores, url).into_iter().map(Some);
        let first = if given.is_empty() { vec![None] } else { given };
        first.into_iter().chain(files).collect()
    }

    fn authorized(&self, call: &Call, login: Option<&Login>) -> Call {
        let mut call = Call { skip_verify: self.skip_tls_verify, ..call.clone() };
        for line in self.config.headers(call.url.clone().as_str()) {
            if let Some((name, value)) = line.split_once(':')
                && let (Ok(name), Ok(value)) = (name.trim().parse::<HeaderName>(), secret_header(value.trim()))
            {
                call = call.header(name, value);
            }
        }
        if let Some(value) = login.and_then(|login| secret_header(&login.secret.header()).ok()) {
            call = call.header(AUTHORIZATION, value);
        }
        call
    }
}
