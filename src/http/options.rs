//! What an agent is made from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::retry::Retry;

/// What an [`Agent`](super::Agent) is made from; the command line fills it in.
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
    pub(super) fn at_most(self, limit: Option<Duration>) -> Self {
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
