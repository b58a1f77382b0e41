//! What can go wrong in an exchange, and what that says about trying again.

use std::path::PathBuf;
use std::time::Duration;

use super::dns::LookupError;
use crate::causes;

/// An exchange that brought no answer, or an agent that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate file that was named for a host cannot be used.
    #[error("cannot use certificate file {}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A proxy URL cannot be used.
    #[error("cannot use proxy `{url}`: write http://host:port")]
    Proxy {
        /// The redacted URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up an HTTP client")]
    Setup {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing may use the network.
    #[error("{url}: no network may be used")]
    Offline {
        /// The redacted URL, or host and port.
        url: String,
    },
    /// The connection could not be made, or broke.
    #[error("{method} {url}: no answer")]
    Exchange {
        /// The request's method.
        method: reqwest::Method,
        /// The redacted URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The body of an answer broke off.
    #[error("{url}: the answer broke off")]
    Body {
        /// The redacted URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing came for too long.
    #[error("{url}: {what} within {} s", after.as_secs_f32())]
    Timeout {
        /// The redacted URL.
        url: String,
        /// What did not happen, `no answer`, `no data` …
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that must fit in memory is larger than it may be.
    #[error("{url}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// The redacted URL.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Redirects without end, or to something that is no URL.
    #[error("{url}: cannot follow the redirect to `{location}`")]
    Redirect {
        /// The redacted URL.
        url: String,
        /// The redacted target.
        location: String,
    },
    /// A connection that is not HTTP's does not come about.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A failure to speak TLS that the user's settings can mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProblem {
    /// The certificate is not trusted, not for this host, or out of date.
    Untrusted,
    /// The other side does not speak TLS.
    NotTls,
    /// The other side wants a certificate of ours, or another one.
    WantsOurs,
}

impl Error {
    /// Tells whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Body { .. } => true,
            Self::Connect { source, .. } => !is_final(source),
            Self::Exchange { source, .. } => {
                self.tls_problem().is_none() && !is_unknown_host(source) && !source.is_builder()
            }
            Self::Certificate { .. }
            | Self::Offline { .. }
            | Self::Proxy { .. }
            | Self::Setup { .. }
            | Self::TooLarge { .. }
            | Self::Redirect { .. } => false,
        }
    }

    /// Tells what was wrong with TLS, if that was it.
    ///
    /// By text, since the TLS library's own error type is not reachable through the HTTP client's.
    pub fn tls_problem(&self) -> Option<TlsProblem> {
        let Self::Exchange { source, .. } = self else {
            return None;
        };
        causes::of(source).find_map(|cause| {
            let text = cause.to_string();
            if text.contains("invalid peer certificate") {
                return Some(TlsProblem::Untrusted);
            }
            // Go's servers say the second of these until version 1.21.
            if ["alert: CertificateRequired", "alert: BadCertificate"].iter().any(|alert| text.contains(alert)) {
                return Some(TlsProblem::WantsOurs);
            }
            text.contains("corrupt message").then_some(TlsProblem::NotTls)
        })
    }
}

/// Tells whether a name is not known, and will not be the next time.
fn is_final(error: &std::io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<LookupError>()).is_some_and(LookupError::is_final)
}

/// Tells whether the host has no address, according to a name server that answered.
fn is_unknown_host(error: &reqwest::Error) -> bool {
    causes::of(error).find_map(|cause| cause.downcast_ref()).is_some_and(LookupError::is_final)
}
