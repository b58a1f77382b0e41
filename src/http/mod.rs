//! HTTP for everyone: one agent that makes every client, resolves every name, and follows every redirect.
//!
//! Knows TLS roots, proxies, DNS, redirects, timeouts, retries and which part of a URL is secret. Knows
//! nothing of registries or buckets: the callers give URLs and headers and judge the status themselves.
//!
//! What is waited for, how long and how often is decided in [`retry`], and where a server may send us in `redirect`; both
//! for everybody who speaks HTTP.
//!
//! *Invariant: all that comes from files (TLS roots, extra certificates, resolv.conf, hosts) is read in
//! [`Agent::new`], because later `/` may be another image's root; the environment is never read; a URL in a
//! message is redacted; credentials do not follow a redirect to another origin.*

mod client;
mod date;
mod dns;
pub mod download;
mod error;
mod exchange;
mod mention;
mod percent;
mod reach;
mod redact;
mod redirect;
mod response;
mod retry;
mod roots;
mod silence;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
pub use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode, Url};

pub use date::parse_date;
pub use error::{Error, Meaning, TlsProblem, is_of_client};
pub use mention::redact_within;
pub use percent::decoded;
pub use reach::is_loopback;
pub use redact::{redact, redact_text};
pub use response::Response;
pub use retry::{Attempt, Attempts, Retry, Turn, is_transient_status, retry_after};

use crate::progress::{Reporter, Silent};

/// What an [`Agent`] is made from; the command line fills it in.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where trusted certificates are.
    pub roots: Roots,
    /// Where requests go instead of straight to their host.
    pub proxies: Proxies,
    /// TLS settings by `host` or `host:port`, as a reference names it.
    pub hosts: BTreeMap<String, Tls>,
    /// The name server configuration; usually `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// The table of host names; usually `/etc/hosts`.
    pub hosts_file: PathBuf,
    /// What calls us, put behind our own name in `User-Agent`.
    pub upstream: Option<String>,
    /// How long connections and answers may take.
    pub timeouts: Timeouts,
    /// When and how often a failed request is made again.
    pub retry: Retry,
    /// Whether every exchange is refused, because nothing may use the network.
    pub offline: bool,
    /// Whether requests may go to link-local addresses, and be redirected to this machine by others.
    pub allow_link_local: bool,
}

/// Places of trusted certificates.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// A PEM bundle (`SSL_CERT_FILE`).
    pub file: Option<PathBuf>,
    /// Directories of PEM files (`SSL_CERT_DIR`, split at colons).
    pub directories: Vec<PathBuf>,
}

/// Proxies by the scheme of the request's URL, as `http://[user:password@]host:port`.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://` URLs (`HTTP_PROXY`).
    pub http: Option<String>,
    /// For `https://` URLs (`HTTPS_PROXY`).
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached directly (`NO_PROXY`); loopback and metadata services always are.
    pub exceptions: Option<String>,
}

/// How one host is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether any certificate is accepted.
    pub skip_verify: bool,
    /// PEM files with further trusted certificates, for this host only.
    pub certificates: Vec<PathBuf>,
    /// PEM files with the certificate that we show to this host alone, and with its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until an answer to a request that only reads begins, the connection included, and without a byte in either
    /// direction after that.
    pub idle: Duration,
    /// Until an answer to what was sent begins: registries hash or move the content in that time. For large uploads a
    /// second more for each 16 MiB.
    pub commit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            roots: Roots::default(),
            proxies: Proxies::default(),
            hosts: BTreeMap::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            hosts_file: "/etc/hosts".into(),
            upstream: None,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            offline: false,
            allow_link_local: false,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30), commit: Duration::from_secs(60) }
    }
}

impl Timeouts {
    /// Returns what is left of them when there is only so much time.
    fn at_most(self, limit: Option<Duration>) -> Self {
        let limit = limit.unwrap_or(Duration::MAX);
        Self { connect: self.connect, idle: self.idle.min(limit), commit: self.commit.min(limit) }
    }
}

/// How much time and how many attempts exchanges are worth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// How long connections and answers may take.
    pub timeouts: Timeouts,
    /// When and how often a failed request is made again.
    pub retry: Retry,
}

/// One request, complete and repeatable.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// The headers; secrets among them must be marked as sensitive.
    pub headers: HeaderMap,
    /// The body; streams go through [`Agent::send_stream`].
    pub body: Bytes,
    /// Whose settings of [`Options::hosts`] hold; none for the URL's own host. They also hold for the hosts
    /// that this one sends us to, such as its token server or its blob store, unless these have their own.
    pub on_behalf_of: Option<String>,
    /// Whether any certificate is accepted, whatever the host's settings say.
    pub skip_verify: bool,
    /// Who named the URL.
    pub named_by: NamedBy,
    /// Where the credential in its headers is from, for those who look at exchanges.
    pub credential: Option<String>,
}

/// Who named a URL: it decides to which addresses it may lead.
#[derive(Clone, Debug)]
pub enum NamedBy {
    /// The user, in a flag or a Dockerfile: not link-local.
    User,
    /// A server that we asked at this URL, as its token server or the place of an upload: the same rules hold as for a
    /// redirect.
    Server(Url),
    /// We ourselves, for what a cloud gives its machines: everywhere.
    Cloud,
}

impl Call {
    /// Makes a request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, body, named_by) = (HeaderMap::new(), Bytes::new(), NamedBy::User);
        Self { method, url, headers, body, on_behalf_of: None, skip_verify: false, named_by, credential: None }
    }

    /// Says who named the URL.
    pub fn named_by(self, named_by: NamedBy) -> Self {
        Self { named_by, ..self }
    }

    /// Adds a header, replacing one of the same name.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Makes requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct Agent {
    clients: Arc<client::Clients>,
    patience: Patience,
    silence: silence::Silence,
}

impl Agent {
    /// Makes an agent, reading every file that it will ever need.
    ///
    /// # Errors
    /// [`Error::Certificate`] for a certificate or key file of [`Options::hosts`] that cannot be used, and
    /// [`Error::Proxy`]. Missing platform roots or name servers are no error until a request needs them.
    pub fn new(options: Options) -> Result<Self, Error> {
        let patience = Patience { timeouts: options.timeouts, retry: options.retry };
        let silence = silence::Silence(Arc::new(Silent));
        Ok(Self { clients: Arc::new(client::Clients::new(options)?), patience, silence })
    }

    /// Returns the same agent; what it waits for and tries again is told to `reporter`.
    #[must_use]
    pub fn telling(self, reporter: Arc<dyn Reporter>) -> Self {
        Self { silence: silence::Silence(reporter), ..self }
    }

    /// Returns the same agent, with all its connections, but with another patience; the time to connect stays the same,
    /// but where the time without a byte is shorter.
    #[must_use]
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Returns the retry policy.
    pub fn retry(&self) -> Retry {
        self.patience.retry
    }

    /// Starts a series of attempts.
    pub fn attempts(&self, retry: Retry) -> Attempts {
        Attempts::new(retry, Arc::clone(&self.silence.0))
    }

    /// Makes a request once, following redirects, and returns the answer whatever its status is.
    ///
    /// # Errors
    /// [`Error`] when there is no answer.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        self.send_in(call, Turn::default()).await
    }

    /// Does the same in the time that is left for an attempt.
    ///
    /// # Errors
    /// As [`Agent::send`].
    pub async fn send_in(&self, call: &Call, turn: Turn) -> Result<Response, Error> {
        let timeouts = self.patience.timeouts.at_most(turn.limit);
        exchange::send(&self.clients, call, (&timeouts, turn.attempt), &self.silence).await
    }

    /// Opens a connection for a protocol that is not HTTP; names are resolved as for HTTP, proxies are not asked.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Address`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<tokio::net::TcpStream, Error> {
        self.clients.connect(host, port).await
    }

    /// Makes a request, again after transient failures; the last answer is returned whatever its status is.
    ///
    /// # Errors
    /// [`Error`] when there is no answer, or none after all attempts.
    pub async fn send_retrying(&self, call: &Call) -> Result<Response, Error> {
        self.send_retrying_as(call, self.retry()).await
    }

    /// Does the same under another policy than the agent's own.
    ///
    /// # Errors
    /// As [`Agent::send_retrying`].
    pub async fn send_retrying_as(&self, call: &Call, retry: Retry) -> Result<Response, Error> {
        let mut attempts = self.attempts(retry);
        loop {
            let result = self.send_in(call, attempts.turn()).await;
            if let Some(result) = attempts.settle(judged(call, result)).await {
                return result;
            }
        }
    }

    /// Makes a request whose body is a stream of `length` bytes, once and without following redirects.
    ///
    /// # Errors
    /// [`Error`] when there is no answer, the stream fails, or neither side moves for too long.
    pub async fn send_stream<S>(&self, call: &Call, body: (u64, S), turn: Turn) -> Result<Response, Error>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    {
        let timeouts = self.patience.timeouts.at_most(turn.limit);
        exchange::send_stream(&self.clients, call, body, (timeouts, turn.attempt), &self.silence).await
    }
}

/// Tells whether the outcome of an exchange may be another one the next time.
fn judged(call: &Call, result: Result<Response, Error>) -> Attempt<Result<Response, Error>> {
    let (why, asked) = match &result {
        Ok(response) if is_transient_status(response.status()) => {
            (answered(call, response), retry_after(response.headers()))
        }
        Err(error) if error.is_transient() => (error.in_short(), None),
        Ok(_) | Err(_) => return Attempt::Final(result),
    };
    Attempt::Passing { value: result, why, asked }
}

/// Says in one line what a server answered.
fn answered(call: &Call, response: &Response) -> String {
    format!("{} {} was answered with {}", call.method, redact(&call.url), response.status())
}
