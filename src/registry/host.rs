//! One registry for one purpose: its address, how it wants to be asked, and the tokens it gave.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::auth::{Authoriser, Token};
use super::challenge::{self, Challenge};
use super::error::{At, Error, detail, named};
use super::mirrors::Place;
use super::{Client, Options, Registry};
use crate::http::{
    self, AUTHORIZATION, Attempt, Call, Method, NamedBy, Response, Retry, StatusCode, Turn, Url, redact,
};
use crate::oci::{DEFAULT_REGISTRY, Reference};
use crate::progress::Event;

/// How much of an error's body is read.
const LARGEST_ERROR: usize = 8 << 10;

/// What a repository is wanted for: it decides settings and scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Pull,
    Push,
    /// To remove something; registries want a right of its own for that.
    Delete,
}

/// What is wanted of a repository, as messages name it, and how persistently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) purpose: Purpose,
    pub(super) operation: &'static str,
    pub(super) retry: Retry,
}

/// All registries that were met.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: Mutex<HashMap<(String, Purpose, Registry), Arc<Host>>>,
    /// What was told about them.
    told: Mutex<HashSet<String>>,
}

/// One registry for one purpose, under the same settings.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) registry: String,
    pub(super) settings: Registry,
    base: OnceCell<Url>,
    challenge: Mutex<Option<Challenge>>,
    pub(super) tokens: tokio::sync::Mutex<Vec<Token>>,
}

/// One operation on one repository.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) host: Arc<Host>,
    pub(super) reference: Reference,
    pub(super) at: At,
    pub(super) retry: Retry,
    base: Url,
    authoriser: Arc<Authoriser>,
}

impl Client {
    /// Prepares an operation on a repository; `also` are further repositories that it reads.
    pub(super) async fn target(
        &self,
        reference: &Reference,
        purpose: Purpose,
        operation: &'static str,
        also: Option<&Reference>,
    ) -> Result<Target, Error> {
        let wanted = Wanted { purpose, operation, retry: self.0.agent.retry() };
        self.target_as(&self.0.options.mirrors.itself(reference), wanted, also).await
    }

    /// Does the same in a place that may not be the registry itself, and with another persistence.
    pub(super) async fn target_as(
        &self,
        place: &Place,
        wanted: Wanted,
        also: Option<&Reference>,
    ) -> Result<Target, Error> {
        let Wanted { purpose, operation, retry } = wanted;
        let reference = &place.reference;
        let at = At { operation, subject: reference.to_string() };
        if let Some(scope) = self.0.options.mirrors.blocked(reference) {
            return Err(Error::Blocked { at, scope: scope.to_string() });
        }
        let host = self.0.hosts.get(&self.0.options, place, purpose);
        let base = host.base.get_or_try_init(|| self.ping(&host, &at, retry)).await?.clone();
        let found = self.0.credentials.find(reference).await;
        for message in found.warnings.iter().filter(|warning| self.0.hosts.is_new(warning)) {
            self.report(Event::Warning { rule: "CredentialHelper", line: None, message });
        }
        let scopes = scopes(reference, purpose, also);
        let authoriser = Arc::new(Authoriser::new(found, scopes));
        Ok(Target { client: self.clone(), host, reference: reference.clone(), at, retry, base, authoriser })
    }

    /// Finds the registry's address and its challenge.
    ///
    /// With `insecure`, plain http comes first; https follows where it is refused, so that one flag for all
    /// destinations does not break those that speak TLS. On this machine it is the other way round, unasked, as with
    /// Docker and kaniko.
    async fn ping(&self, host: &Host, at: &At, retry: Retry) -> Result<Url, Error> {
        let schemes: &[&str] = match host.settings.insecure {
            true => &["http", "https"],
            false if host.is_on_this_machine() => &["https", "http"],
            false => &["https"],
        };
        let mut attempts = self.0.agent.attempts(retry);
        loop {
            let attempt = match self.ping_any(host, schemes, at, attempts.turn()).await {
                Err((error, asked)) if error.kind() == super::ErrorKind::Transient => {
                    Attempt::Passing { why: error.in_short(), value: Err(error), asked }
                }
                other => Attempt::Final(other.map_err(|(error, _)| error)),
            };
            if let Some(result) = attempts.settle(attempt).await {
                return result;
            }
        }
    }

    /// Asks with one scheme after the other; the error comes with the wait that the registry asked for.
    async fn ping_any(
        &self,
        host: &Host,
        schemes: &[&str],
        at: &At,
        turn: Turn,
    ) -> Result<Url, (Error, Option<Duration>)> {
        let mut best: Option<Error> = None;
        let mut asked = None;
        for scheme in schemes {
            let error = match self.ping_once(host, scheme, at, turn).await {
                Ok(Ok(base)) => return Ok(base),
                Ok(Err(response)) if response.status() == StatusCode::BAD_REQUEST => continue,
                Ok(Err(response)) => {
                    asked = http::retry_after(response.headers());
                    status_error(at.clone(), response).await
                }
                Err(error) => error,
            };
            // A server that shows a certificate speaks TLS, so plain HTTP is not tried.
            let is_untrusted = error.is_untrusted();
            // The first error is the one to tell, unless the second shows that TLS is spoken there.
            if best.is_none() || is_untrusted {
                best = Some(error);
            }
            if is_untrusted {
                break;
            }
        }
        let nothing = || Error::Protocol { at: at.clone(), reason: "no scheme to ask with".to_owned() };
        Err((best.unwrap_or_else(nothing), asked))
    }

    async fn ping_once(&self, host: &Host, scheme: &str, at: &At, turn: Turn) -> Result<Result<Url, Response>, Error> {
        let address = if host.registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { &host.registry };
        let base = Url::parse(&format!("{scheme}://{address}/v2/"))
            .map_err(|e| Error::Protocol { at: at.clone(), reason: format!("`{address}` is not a host name: {e}") })?;
        let call = host.call(Method::GET, base.clone());
        let sent = self.0.agent.send_in(&call, turn).await;
        let response = sent.map_err(|source| Error::Transport { at: at.clone(), source })?;
        let status = response.status();
        // Go's servers say so to plain http on their TLS port; proxies in front of a registry redirect instead.
        let wants_tls = scheme == "http" && status == StatusCode::BAD_REQUEST;
        if http::is_transient_status(status) || wants_tls {
            return Ok(Err(response));
        }
        host.set_challenge(challenge::best(response.headers()));
        Ok(Ok(if is_its_own_tls(&base, response.url()) { response.url().clone() } else { base }))
    }
}

/// Tells whether a registry that was asked in plain http has sent us to itself behind TLS: to the same host, and to the
/// same port or to that of https. Where else it sends us is another server, which gets no credential of ours.
fn is_its_own_tls(base: &Url, moved: &Url) -> bool {
    let same_host = moved.host_str() == base.host_str() && moved.path() == base.path() && moved.query().is_none();
    // No port means the scheme's own.
    same_host && base.scheme() == "http" && moved.scheme() == "https" && moved.port() == base.port()
}

impl Hosts {
    /// Tells whether something was not told before.
    fn is_new(&self, message: &str) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(message.to_owned())
    }

    fn get(&self, options: &Options, place: &Place, purpose: Purpose) -> Arc<Host> {
        let settings = settings(options, place, purpose);
        let mut hosts = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = &place.reference.registry;
        let make = || Arc::new(Host::new(registry, settings.clone()));
        hosts.entry((registry.clone(), purpose, settings.clone())).or_insert_with(make).clone()
    }
}

/// Joins what was said of a place, of its registry, and of all registries.
fn settings(options: &Options, place: &Place, purpose: Purpose) -> Registry {
    let own = options.registries.get(&place.reference.registry).cloned().unwrap_or_default();
    let all = match purpose {
        Purpose::Pull => &options.pull,
        Purpose::Push | Purpose::Delete => &options.push,
    };
    Registry {
        insecure: own.insecure || all.insecure || place.insecure,
        skip_verify: own.skip_verify || all.skip_verify || place.insecure,
    }
}

impl Host {
    fn new(registry: &str, settings: Registry) -> Self {
        Self {
            registry: registry.to_owned(),
            settings,
            base: OnceCell::new(),
            challenge: Mutex::new(None),
            tokens: tokio::sync::Mutex::new(Vec::new()),
        }
    }

    /// Starts a request under this registry's TLS settings.
    pub(super) fn call(&self, method: Method, url: Url) -> Call {
        let mut call = Call::new(method, url);
        call.on_behalf_of = Some(self.registry.clone());
        call.skip_verify = self.settings.skip_verify;
        call
    }

    /// Tells whether the registry's name is one of this machine.
    fn is_on_this_machine(&self) -> bool {
        Url::parse(&format!("https://{}/", self.registry)).is_ok_and(|url| http::is_loopback(&url))
    }

    pub(super) fn challenge(&self) -> Option<Challenge> {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_challenge(&self, challenge: Option<Challenge>) {
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = challenge;
    }
}

impl Target {
    /// Returns a URL in the repository, as `blobs/uploads/`.
    pub(super) fn url(&self, path: &str) -> Result<Url, Error> {
        let whole = format!("{}/{path}", self.reference.repository);
        self.base.join(&whole).map_err(|e| self.protocol(format!("`{whole}` makes no URL: {e}")))
    }

    /// Starts a request to the repository, or to where the registry sends us for it.
    pub(super) fn call(&self, method: Method, url: Url) -> Call {
        self.host.call(method, url).named_by(NamedBy::Server(self.base.clone()))
    }

    /// Returns the same target for a part of a series of attempts.
    pub(super) fn within(&self, retry: Retry) -> Self {
        Self { retry, ..self.clone() }
    }

    /// Makes a request with authorisation, again after transient failures and once more after a refusal that
    /// a new token may mend; the last answer is returned whatever its status is.
    pub(super) async fn send(&self, call: Call) -> Result<Response, Error> {
        let authorised = self.authorised(call.clone()).await?;
        let response = self.send_as_is(&authorised).await?;
        if self.renew(&response).await {
            let authorised = self.authorised(call).await?;
            return self.send_as_is(&authorised).await;
        }
        Ok(response)
    }

    /// Adds authorisation to a request, if it goes to the registry itself and not to a store behind it.
    pub(super) async fn authorised(&self, mut call: Call) -> Result<Call, Error> {
        if call.url.origin() == self.base.origin()
            && let Some(header) = self.authoriser.header(self).await?
        {
            call.headers.insert(AUTHORIZATION, header);
            call.credential = Some(self.authoriser.owner());
        }
        Ok(call)
    }

    /// Reads a refusal's challenge and drops the token that was refused; tells whether to ask again.
    pub(super) async fn renew(&self, response: &Response) -> bool {
        if response.status() != StatusCode::UNAUTHORIZED {
            return false;
        }
        let Some(challenge) = challenge::best(response.headers()) else {
            return false;
        };
        self.host.set_challenge(Some(challenge.clone()));
        self.authoriser.refused(self, &challenge).await
    }

    /// Returns the answer if its status is one of `good`, else the error that it means.
    pub(super) async fn expect(&self, response: Response, good: &[u16]) -> Result<Response, Error> {
        if good.contains(&response.status().as_u16()) {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// Makes the error that an answer means.
    pub(super) async fn refusal(&self, response: Response) -> Error {
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let detail = detail(&response.beginning(LARGEST_ERROR).await);
                let denied = Box::new(self.authoriser.denied(&self.host.registry, status, detail));
                Error::Denied { at: self.at.clone(), denied }
            }
            _ => status_error(self.at.clone(), response).await,
        }
    }

    pub(super) fn protocol(&self, reason: String) -> Error {
        Error::Protocol { at: self.at.clone(), reason }
    }

    pub(super) fn transport(&self, source: http::Error) -> Error {
        Error::Transport { at: self.at.clone(), source }
    }

    async fn send_as_is(&self, call: &Call) -> Result<Response, Error> {
        self.client.0.agent.send_retrying_as(call, self.retry).await.map_err(|source| self.transport(source))
    }
}

/// Makes the error of an answer that is neither success nor a refusal.
pub(super) async fn status_error(at: At, response: Response) -> Error {
    let (url, status) = (redact(response.url()), response.status());
    let body = response.beginning(LARGEST_ERROR).await;
    Error::Status { at, url, status, detail: detail(&body), named: named(&body) }
}

fn scopes(reference: &Reference, purpose: Purpose, also: Option<&Reference>) -> Vec<String> {
    let actions = match purpose {
        Purpose::Pull => "pull",
        Purpose::Push => "pull,push",
        Purpose::Delete => "pull,delete",
    };
    let mut scopes = vec![format!("repository:{}:{actions}", reference.repository)];
    let same_registry = also.filter(|other| other.registry == reference.registry);
    scopes.extend(same_registry.map(|other| format!("repository:{}:pull", other.repository)));
    scopes
}
