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

mod call;
mod client;
mod date;
mod dns;
pub mod download;
mod error;
mod exchange;
mod mention;
mod options;
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

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
pub use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode, Url};

pub use call::{Call, NamedBy, secret_header};
pub use date::parse_date;
pub use error::{Error, Meaning, TlsProblem, is_of_client};
pub use mention::redact_within;
pub use options::{Options, Patience, Proxies, Roots, Timeouts, Tls};
pub use percent::decoded;
pub use reach::is_loopback;
pub use redact::{MASKED, redact, redact_text};
pub use response::Response;
pub use retry::{Attempt, Attempts, Retry, Turn, is_transient_status, retry_after};

use crate::progress::{Reporter, Silent};

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
