//! The clients behind an agent: one for each set of TLS settings and for each reach, made when first needed from what was
//! read at the start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::{NoProxy, Proxy, Url};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;

use super::dns::{LookupError, Resolver, Within};
use super::reach::Reach;
use super::roots::Platform;
use super::tls::{self, Identity, Trusted, Wanted};
use super::{Call, Error, Options, Proxies, redact, roots};

/// What no proxy can reach: this machine, and the metadata services of the machine that it runs on.
const DIRECT: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fd00:ec2::/32,metadata.google.internal";

/// What one client differs in from another: where it may go, whether it knows certificates, whose extra ones, as whom it
/// comes, and whether it verifies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Profile {
    reach: Reach,
    tls: bool,
    host: Option<String>,
    identity: Option<String>,
    skip_verify: bool,
}

/// One host's settings, read.
struct HostTls {
    skip_verify: bool,
    certificates: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
}

pub(super) struct Clients {
    platform: Platform,
    /// What the platform's roots are, parsed when first needed.
    trusted: OnceLock<Trusted>,
    hosts: BTreeMap<String, HostTls>,
    proxies: Vec<Proxy>,
    /// The same as text by the scheme of the URL, and what is reached without them; for messages.
    ways: Vec<(&'static str, String)>,
    exceptions: String,
    proxy_has_tls: bool,
    resolver: Resolver,
    /// The names of proxies: where they are is the user's word.
    chosen: Arc<HashSet<String>>,
    user_agent: String,
    connect_timeout: Duration,
    offline: bool,
    pub(super) allows_link_local: bool,
    pub(super) wanted: Wanted,
    made: Mutex<HashMap<Profile, reqwest::Client>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}

impl Clients {
    pub(super) fn new(options: Options) -> Result<Self, Error> {
        let mut hosts = BTreeMap::new();
        for (host, tls) in options.hosts {
            let mut certificates = Vec::new();
            for path in &tls.certificates {
                certificates.append(&mut roots::named(path)?);
            }
            let identity =
                tls.identity.as_ref().map(|(certificate, key)| roots::identity(certificate, key)).transpose()?;
            hosts.insert(host, HostTls { skip_verify: tls.skip_verify, certificates, identity });
        }
        let version = env!("CARGO_PKG_VERSION");
        let user_agent = match &options.upstream {
            // A header must be printable ASCII; the text comes from outside.
            Some(text) => format!("yadokari/{version} {}", text.replace(|c: char| !(' '..='~').contains(&c), "_")),
            None => format!("yadokari/{version}"),
        };
        Ok(Self {
            platform: Platform::read(&options.roots),
            trusted: OnceLock::new(),
            hosts,
            proxies: proxies(&options.proxies)?,
            ways: [("http", &options.proxies.http), ("https", &options.proxies.https)]
                .into_iter()
                .filter_map(|(scheme, url)| Some((scheme, url.clone().filter(|url| !url.is_empty())?)))
                .collect(),
            exceptions: options.proxies.exceptions.clone().unwrap_or_default(),
            proxy_has_tls: options.proxies.http.iter().any(|url| url.starts_with("https:")),
            resolver: Resolver::new(&options.resolv_conf, &options.hosts_file),
            chosen: Arc::new(names(&options.proxies)),
            user_agent,
            connect_timeout: options.timeouts.connect,
            offline: options.offline,
            allows_link_local: options.allow_link_local,
            wanted: Wanted::default(),
            made: Mutex::new(HashMap::new()),
        })
    }

    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        if self.offline {
            return Err(Error::Offline { url: format!("{host}:{port}") });
        }
        let shown = format!("{host}:{port}");
        let failed = |source: io::Error| Error::Connect { address: shown.clone(), source };
        let reach = if self.allows_link_local { Reach::Everywhere } else { Reach::NotLinkLocal };
        let addresses = self.within(reach).addresses(host).await.map_err(|error| match error {
            LookupError::OutOfReach { address, .. } => {
                Error::Address { url: shown.clone(), address: address.to_string() }
            }
            error => failed(io::Error::new(io::ErrorKind::NotFound, error)),
        })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        for address in addresses {
            match tokio::time::timeout(self.connect_timeout, TcpStream::connect((address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed(last))
    }

    /// Returns the proxy that is asked for a URL, redacted; none where its server is asked itself.
    pub(super) fn proxy_of(&self, url: &Url) -> Option<String> {
        let (_, proxy) = self.ways.iter().find(|(scheme, _)| *scheme == url.scheme())?;
        let host = url.host_str()?.trim_matches(['[', ']']);
        let is_direct = |exception: &str| {
            let exception = exception.trim().trim_start_matches("*.").trim_start_matches('.');
            exception == "*" || exception == host || host.ends_with(&format!(".{exception}"))
        };
        let is_direct = self.exceptions.split(',').filter(|part| !part.trim().is_empty()).any(is_direct);
        (!is_direct && !super::is_loopback(url)).then(|| super::redact_text(proxy))
    }

    fn within(&self, reach: Reach) -> Within {
        Within { resolver: self.resolver.clone(), reach, chosen: Arc::clone(&self.chosen) }
    }

    /// Returns the client for a URL that may be asked within a reach.
    pub(super) fn client(&self, url: &Url, reach: Reach, call: &Call) -> Result<reqwest::Client, Error> {
        if self.offline {
            return Err(Error::Offline { url: redact(url) });
        }
        let profile = self.profile(url, reach, call);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&profile) {
            return Ok(client.clone());
        }
        let client = self.build(&profile)?;
        made.insert(profile, client.clone());
        Ok(client)
    }

    fn profile(&self, url: &Url, reach: Reach, call: &Call) -> Profile {
        let host = url.host_str().unwrap_or_default();
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        let names = [with_port.as_deref(), Some(host), call.on_behalf_of.as_deref()];
        let found = names.into_iter().flatten().find_map(|name| self.hosts.get_key_value(name));
        let skip_verify = call.skip_verify || found.is_some_and(|(_, tls)| tls.skip_verify);
        let host = found.filter(|(_, tls)| !tls.certificates.is_empty()).map(|(name, _)| name.clone());
        // Who we are is for the host itself, not for the token server or the blob store that it names.
        let has_identity = |name: &&str| self.hosts.get(*name).is_some_and(|tls| tls.identity.is_some());
        let identity = names[..2].iter().copied().flatten().find(has_identity).map(str::to_owned);
        // All roots are parsed for the first such client, some milliseconds that a plain exchange need not wait for.
        let tls = url.scheme() != "http" || self.proxy_has_tls;
        Profile { reach, tls, host, identity, skip_verify }
    }

    fn build(&self, profile: &Profile) -> Result<reqwest::Client, Error> {
        let identity = profile.identity.as_ref().and_then(|host| self.hosts.get(host)?.identity.as_ref());
        let config = tls::client(self.trusted(profile), identity, &self.wanted);
        let config = config.map_err(|source| Error::Setup { source: Box::new(source) })?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(45))
            .tcp_keepalive(Duration::from_secs(30))
            // The default window of 64 KiB would bind a download's speed to the distance.
            .http2_initial_stream_window_size(1 << 20)
            .http2_initial_connection_window_size(8 << 20)
            .dns_resolver(Arc::new(self.within(profile.reach)))
            .tls_backend_preconfigured(config);
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        builder.build().map_err(|source| Error::Setup { source: Box::new(source) })
    }

    /// Returns who is trusted; none where anybody is.
    fn trusted(&self, profile: &Profile) -> Option<Trusted> {
        if profile.skip_verify {
            return None;
        }
        if !profile.tls {
            return Some(Trusted::nobody());
        }
        let mut trusted = self.trusted.get_or_init(|| self.platform.trusted()).clone();
        let extra = profile.host.as_ref().and_then(|host| self.hosts.get(host));
        trusted.add(extra.iter().flat_map(|tls| tls.certificates.iter().cloned()));
        Some(trusted)
    }
}

/// Returns the names of the hosts that are proxies.
fn names(proxies: &Proxies) -> HashSet<String> {
    let urls = [&proxies.http, &proxies.https].into_iter().flatten();
    let parsed = urls.filter_map(|url| Url::parse(url).ok());
    parsed.filter_map(|url| Some(url.host_str()?.to_lowercase())).collect()
}

fn proxies(options: &Proxies) -> Result<Vec<Proxy>, Error> {
    let exceptions = match options.exceptions.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => format!("{DIRECT},{text}"),
        None => DIRECT.to_owned(),
    };
    let make = |url: &Option<String>, new: fn(&str) -> Result<Proxy, reqwest::Error>| {
        let url = url.as_deref().filter(|url| !url.is_empty())?;
        let source =
            |source: reqwest::Error| Error::Proxy { url: super::redact_text(url), source: source.without_url() };
        Some(new(url).map(|proxy| proxy.no_proxy(NoProxy::from_string(&exceptions))).map_err(source))
    };
    let made = [make(&options.http, |url| Proxy::http(url)), make(&options.https, |url| Proxy::https(url))];
    made.into_iter().flatten().collect()
}
