//! The clients behind an agent: one for each set of TLS settings, made when first needed from what was read
//! at the start; and the exchange itself, redirects and stalled uploads included.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, LOCATION};
use reqwest::{Certificate, Identity, Method, NoProxy, Proxy, Url};
use tokio::net::TcpStream;

use super::dns::Resolver;
use super::roots::Platform;
use super::{Call, Error, Options, Proxies, Response, Timeouts, redact, roots};

const MOST_REDIRECTS: usize = 10;
/// What no proxy can reach: this machine, and the metadata services of the machine that it runs on.
const DIRECT: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fd00:ec2::/32,metadata.google.internal";

/// What one client differs in from another: whether it knows certificates, whose extra ones, as whom it comes, and
/// whether it verifies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Profile {
    tls: bool,
    host: Option<String>,
    identity: Option<String>,
    skip_verify: bool,
}

/// One host's settings, read.
struct HostTls {
    skip_verify: bool,
    certificates: Vec<Certificate>,
    identity: Option<Identity>,
}

pub(super) struct Clients {
    roots: Platform,
    hosts: BTreeMap<String, HostTls>,
    proxies: Vec<Proxy>,
    proxy_has_tls: bool,
    resolver: Arc<Resolver>,
    user_agent: String,
    connect_timeout: Duration,
    offline: bool,
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
            roots: Platform::read(&options.roots),
            hosts,
            proxies: proxies(&options.proxies)?,
            proxy_has_tls: options.proxies.http.iter().any(|url| url.starts_with("https:")),
            resolver: Arc::new(Resolver::new(&options.resolv_conf, &options.hosts_file)),
            user_agent,
            connect_timeout: options.timeouts.connect,
            offline: options.offline,
            made: Mutex::new(HashMap::new()),
        })
    }

    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        if self.offline {
            return Err(Error::Offline { url: format!("{host}:{port}") });
        }
        let failed = |source: io::Error| Error::Connect { address: format!("{host}:{port}"), source };
        let addresses = self.resolver.addresses(host).await;
        let addresses = addresses.map_err(|error| failed(io::Error::new(io::ErrorKind::NotFound, error)))?;
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

    pub(super) async fn send(&self, call: &Call, timeouts: &Timeouts) -> Result<Response, Error> {
        let mut url = call.url.clone();
        let mut headers = call.headers.clone();
        for _ in 0..=MOST_REDIRECTS {
            let client = self.client(&url, call)?;
            let mut request = client.request(call.method.clone(), url.clone()).headers(headers.clone());
            // A GET with `Content-Length: 0` irritates some servers; a POST without it irritates others.
            if call.method != Method::GET && call.method != Method::HEAD {
                request = request.body(call.body.clone());
                if call.body.is_empty() {
                    request = request.header(CONTENT_LENGTH, 0);
                }
            }
            let after = longest_silence(call, timeouts, timeouts.commit);
            let response = answer(call, &url, request.send(), after).await?;
            let Some(target) = redirect_target(&call.method, &url, &response)? else {
                return Ok(Response::new(response, timeouts.idle));
            };
            if target.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
                headers.remove(COOKIE);
            }
            url = target;
        }
        Err(Error::Redirect { url: redact(&call.url), location: redact(&url) })
    }

    pub(super) async fn send_stream<S>(
        &self,
        call: &Call,
        length: u64,
        body: S,
        timeouts: Timeouts,
    ) -> Result<Response, Error>
    where
        S: Stream<Item = Result<Bytes, io::Error>> + Send + 'static,
    {
        let client = self.client(&call.url, call)?;
        let activity = Arc::new(Activity::new(length));
        let request = client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(activity.clone().watch(body)));
        tokio::select! {
            answer = answer(call, &call.url, request.send(), longest_silence(call, &timeouts, Duration::MAX)) => {
                Ok(Response::new(answer?, timeouts.idle))
            }
            error = activity.stalled(&call.url, timeouts) => Err(error),
        }
    }

    fn client(&self, url: &Url, call: &Call) -> Result<reqwest::Client, Error> {
        if self.offline {
            return Err(Error::Offline { url: redact(url) });
        }
        let profile = self.profile(url, call);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&profile) {
            return Ok(client.clone());
        }
        let extra = profile.host.as_ref().and_then(|host| self.hosts.get(host));
        let extra: &[Certificate] = extra.map_or(&[], |tls| &tls.certificates);
        let roots = if profile.tls { self.roots.certificates() } else { Vec::new() };
        let client = match self.build(&profile, [&roots, extra].concat()) {
            Err(error) if error.is_builder() => self.build(&profile, [&roots::usable(&roots), extra].concat()),
            result => result,
        };
        let client = client.map_err(|source| Error::Setup { source })?;
        made.insert(profile, client.clone());
        Ok(client)
    }

    fn profile(&self, url: &Url, call: &Call) -> Profile {
        let host = url.host_str().unwrap_or_default();
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        let names = [with_port.as_deref(), Some(host), call.on_behalf_of.as_deref()];
        let found = names.into_iter().flatten().find_map(|name| self.hosts.get_key_value(name));
        let skip_verify = call.skip_verify || found.is_some_and(|(_, tls)| tls.skip_verify);
        let host = found.filter(|(_, tls)| !tls.certificates.is_empty()).map(|(name, _)| name.clone());
        // Who we are is for the host itself, not for the token server or the blob store that it names.
        let has_identity = |name: &&str| self.hosts.get(*name).is_some_and(|tls| tls.identity.is_some());
        let identity = names[..2].iter().copied().flatten().find(has_identity).map(str::to_owned);
        // A client parses all roots when it is made, some milliseconds that a plain exchange need not wait for.
        let tls = url.scheme() != "http" || self.proxy_has_tls;
        Profile { tls, host, identity, skip_verify }
    }

    fn build(&self, profile: &Profile, certificates: Vec<Certificate>) -> Result<reqwest::Client, reqwest::Error> {
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
            .dns_resolver(self.resolver.clone())
            .tls_certs_only(certificates)
            .tls_danger_accept_invalid_certs(profile.skip_verify);
        let identity = profile.identity.as_ref().and_then(|host| self.hosts.get(host)?.identity.clone());
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        builder.build()
    }
}

/// Returns how long an answer may take: only that to a request that changes something takes its time.
fn longest_silence(call: &Call, timeouts: &Timeouts, longest: Duration) -> Duration {
    let reads = call.method == Method::GET || call.method == Method::HEAD;
    if reads { timeouts.idle } else { longest }
}

async fn answer(
    call: &Call,
    url: &Url,
    exchange: impl Future<Output = Result<reqwest::Response, reqwest::Error>>,
    after: Duration,
) -> Result<reqwest::Response, Error> {
    match tokio::time::timeout(after, exchange).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(source)) => {
            let source = source.without_url();
            Err(Error::Exchange { method: call.method.clone(), url: redact(url), source })
        }
        Err(_) => Err(Error::Timeout { url: redact(url), what: "no answer", after }),
    }
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

/// Returns where an answer sends us, if it does and we may go there with this method.
fn redirect_target(method: &Method, url: &Url, response: &reqwest::Response) -> Result<Option<Url>, Error> {
    let reads = *method == Method::GET || *method == Method::HEAD;
    let follow = match response.status().as_u16() {
        301..=303 => reads,
        307 | 308 => true,
        _ => false,
    };
    let Some(location) = response.headers().get(LOCATION).filter(|_| follow) else {
        return Ok(None);
    };
    let target = location.to_str().ok().and_then(|text| url.join(text).ok());
    match target.filter(|target| matches!(target.scheme(), "http" | "https")) {
        Some(target) => Ok(Some(target)),
        None => Err(Error::Redirect { url: redact(url), location: "(not a URL)".to_owned() }),
    }
}

/// When an upload last moved.
struct Activity {
    start: Instant,
    last: AtomicU64,
    left: AtomicU64,
}

impl Activity {
    fn new(length: u64) -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0), left: AtomicU64::new(length) }
    }

    /// Notes each piece that the connection takes. The end shows by the bytes that are left, since a client
    /// that knows the length does not ask for more.
    fn watch<S>(self: Arc<Self>, body: S) -> impl Stream<Item = S::Item> + Send
    where
        S: Stream<Item = Result<Bytes, io::Error>> + Send + 'static,
    {
        body.inspect(move |item| {
            let length = item.as_ref().map_or(0, |piece| piece.len() as u64);
            self.left.fetch_sub(length.min(self.left.load(Ordering::Relaxed)), Ordering::Relaxed);
            self.touch();
        })
    }

    fn touch(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// Returns when the upload has not moved for too long.
    async fn stalled(&self, url: &Url, timeouts: Timeouts) -> Error {
        loop {
            let ended = self.left.load(Ordering::Relaxed) == 0;
            let (what, after) = if ended { ("no answer", timeouts.commit) } else { ("no progress", timeouts.idle) };
            let deadline = Duration::from_millis(self.last.load(Ordering::Relaxed)) + after;
            let now = self.start.elapsed();
            if now >= deadline {
                return Error::Timeout { url: redact(url), what, after };
            }
            tokio::time::sleep(deadline - now).await;
        }
    }
}
