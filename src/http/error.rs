//! What can go wrong in an exchange, and what that says about trying again.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;

use super::dns::LookupError;
use super::{is_transient_status, redact};
use crate::causes;

/// What did not happen when an answer had begun.
pub(super) const NO_DATA: &str = "no data";

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
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing may use the network.
    #[error("{url}: no network may be used")]
    Offline {
        /// The redacted URL, or host and port.
        url: String,
    },
    /// The connection could not be made, or broke.
    #[error("{method} {url}: no answer{}", by(proxy.as_deref()))]
    Exchange {
        /// The request's method.
        method: reqwest::Method,
        /// The redacted URL.
        url: String,
        /// Whether the server wanted a certificate of ours meanwhile, and got none.
        wanted: bool,
        /// The proxy that was asked in its stead, redacted.
        proxy: Option<String>,
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
    #[error("{url}: {what} within {} s", rounded(*after))]
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
    /// A server sends us where we do not go.
    #[error("{url} leads to `{location}`, which is not followed: {reason}")]
    Redirect {
        /// The redacted URL.
        url: String,
        /// The redacted target.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// The address is one to which nobody may send us.
    #[error(
        "{url}: {address} is a link-local address, or one of this machine that another server leads to; if that is \
         meant, allow it with --allow-link-local"
    )]
    Address {
        /// The redacted URL, or host and port.
        url: String,
        /// The address, or the name that stands for one.
        address: String,
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

/// What a failure means to whoever decides what to do about it: the same for all that speak HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It may pass: try later.
    Transient,
    /// Our settings do not fit the server: certificates, proxies, plain HTTP.
    Settings,
    /// The server wants other credentials, or any.
    Denied,
    /// There is no such thing, or it cannot be had in this way: another try ends the same.
    Wrong,
}

impl Meaning {
    /// Tells what a status means that is not the one which was hoped for.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 | 407 => Self::Denied,
            _ if is_transient_status(status) => Self::Transient,
            _ => Self::Wrong,
        }
    }
}

/// A failure to speak TLS that the user's settings can mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProblem {
    /// The certificate is not trusted, or out of date.
    Untrusted,
    /// The certificate is for another host.
    OtherName,
    /// The other side does not speak TLS.
    NotTls,
    /// The other side wants a certificate of ours, or another one.
    WantsOurs,
}

impl Error {
    /// Makes the error of an exchange that the client gave up.
    pub(super) fn exchange(
        (method, url): (&reqwest::Method, &reqwest::Url),
        (wanted, proxy): (bool, Option<String>),
        source: reqwest::Error,
    ) -> Self {
        let url = redact(url);
        let lookup = causes::of(&source).find_map(|cause| cause.downcast_ref::<LookupError>());
        if let Some(LookupError::OutOfReach { host, address }) = lookup {
            return Self::Address { url, address: format!("{address} ({host})") };
        }
        Self::Exchange { method: method.clone(), url, wanted, proxy, source: source.without_url() }
    }

    /// Tells whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        self.meaning() == Meaning::Transient
    }

    /// Tells whether no address is known of the host.
    pub fn is_unknown_host(&self) -> bool {
        matches!(self, Self::Exchange { source, .. } if is_unknown_host(source))
    }

    /// Tells whether the answer had begun to come.
    pub fn is_broken_off(&self) -> bool {
        matches!(self, Self::Body { .. }) || matches!(self, Self::Timeout { what, .. } if *what == NO_DATA)
    }

    /// Tells what the failure means to whoever decides what to do.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Timeout { .. } | Self::Body { .. } => Meaning::Transient,
            Self::Connect { source, .. } if !is_final(source) => Meaning::Transient,
            Self::Exchange { source, .. } if self.tls_problem().is_none() => {
                if is_unknown_host(source) || source.is_builder() { Meaning::Wrong } else { Meaning::Transient }
            }
            Self::Exchange { .. } | Self::Certificate { .. } | Self::Proxy { .. } | Self::Setup { .. } => {
                Meaning::Settings
            }
            Self::Connect { .. }
            | Self::Offline { .. }
            | Self::TooLarge { .. }
            | Self::Redirect { .. }
            | Self::Address { .. } => Meaning::Wrong,
        }
    }

    /// Writes the error and its first cause in one line; what the client's layers say in between tells nobody anything.
    pub fn in_short(&self) -> String {
        let text = self.to_string();
        match causes::of(self).last().map(ToString::to_string) {
            Some(cause) if !text.ends_with(&cause) => format!("{text}: {cause}"),
            _ => text,
        }
    }

    /// Tells what was wrong with TLS, if that was it.
    ///
    /// By text, since the TLS library's own error type is not reachable through the HTTP client's.
    pub fn tls_problem(&self) -> Option<TlsProblem> {
        let Self::Exchange { source, wanted, .. } = self else {
            return None;
        };
        let told = causes::of(source).find_map(|cause| {
            let text = cause.to_string();
            if text.contains("certificate not valid for name") {
                return Some(TlsProblem::OtherName);
            }
            if text.contains("invalid peer certificate") {
                return Some(TlsProblem::Untrusted);
            }
            // Go's servers say the second of these until version 1.21.
            if ["alert: CertificateRequired", "alert: BadCertificate"].iter().any(|alert| text.contains(alert)) {
                return Some(TlsProblem::WantsOurs);
            }
            text.contains("corrupt message").then_some(TlsProblem::NotTls)
        });
        told.or(wanted.then_some(TlsProblem::WantsOurs))
    }
}

/// Names the proxy that was asked.
fn by(proxy: Option<&str>) -> String {
    proxy.map(|proxy| format!(" by way of the proxy {proxy}")).unwrap_or_default()
}

/// Tells whether an error is the HTTP client's own, whose causes are its layers.
pub fn is_of_client(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<reqwest::Error>()
}

/// Writes seconds without more digits than anybody reads.
fn rounded(time: Duration) -> f32 {
    (time.as_secs_f32() * 10.0).ceil() / 10.0
}

/// Tells whether a name is not known, and will not be the next time.
fn is_final(error: &std::io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<LookupError>()).is_some_and(LookupError::is_final)
}

/// Tells whether the host has no address, according to a name server that answered.
fn is_unknown_host(error: &reqwest::Error) -> bool {
    causes::of(error).find_map(|cause| cause.downcast_ref()).is_some_and(LookupError::is_final)
}
