//! The exchange itself: one request and its answer, redirects and stalled uploads included.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, Url};

use super::client::Clients;
use super::redirect::Hop;
use super::silence::Silence;
use super::{Call, Error, Response, Timeouts, redact, redact_within};
use crate::causes;
use crate::progress::{Event, Exchange};

const MOST_REDIRECTS: usize = 10;
/// How many bytes of an upload give its answer a second more: the registry may hash or move them once it has all.
const COMMITTED_A_SECOND: u64 = 16 << 20;

/// Makes a request once, following redirects.
pub(super) async fn send(
    clients: &Clients,
    call: &Call,
    (timeouts, attempt): (&Timeouts, u32),
    silence: &Silence,
) -> Result<Response, Error> {
    let mut hop = Hop::first(call, clients.allows_link_local)?;
    for _ in 0..=MOST_REDIRECTS {
        let client = clients.client(&hop.url, hop.reach, call)?;
        let mut request = client.request(call.method.clone(), hop.url.clone()).headers(hop.headers.clone());
        // A GET with `Content-Length: 0` irritates some servers; a POST without it irritates others.
        if call.method != Method::GET && call.method != Method::HEAD {
            request = request.body(call.body.clone());
            if call.body.is_empty() {
                request = request.header(CONTENT_LENGTH, 0);
            }
        }
        let after = if reads(call) { timeouts.idle } else { timeouts.commit };
        let exchange = exchange(clients, (call, &hop.url, attempt), request, silence);
        let what = format!("an answer to {}", call.method);
        let begun = Instant::now();
        let response = match silence.bound(&what, &hop.url, after, exchange).await {
            Some(result) => result?,
            None => {
                let url = format!("{} {}", call.method, redact(&hop.url));
                let told = Told { call, url: &hop.url, attempt, begun };
                told.tell(silence, Err("no answer"));
                return Err(Error::Timeout { url, what: "no answer", after });
            }
        };
        let answered = (response.status(), response.headers());
        match hop.next(call, answered, clients.allows_link_local)? {
            Some(next) => hop = next,
            None => return Ok(Response::new(response, timeouts.idle, silence.clone())),
        }
    }
    let (url, location) = (redact(&call.url), redact(&hop.url));
    Err(Error::Redirect { url, location, reason: "there are too many redirects" })
}

/// Makes a request with a streamed body once, without following redirects.
pub(super) async fn send_stream<S>(
    clients: &Clients,
    call: &Call,
    (length, body): (u64, S),
    (timeouts, attempt): (Timeouts, u32),
    silence: &Silence,
) -> Result<Response, Error>
where
    S: Stream<Item = Result<Bytes, io::Error>> + Send + 'static,
{
    let hop = Hop::first(call, clients.allows_link_local)?;
    let client = clients.client(&hop.url, hop.reach, call)?;
    let activity = Arc::new(Activity::new(length));
    let request = client
        .request(call.method.clone(), hop.url.clone())
        .headers(hop.headers)
        .header(CONTENT_LENGTH, length)
        .body(reqwest::Body::wrap_stream(activity.clone().watch(body)));
    let more = Duration::from_secs(length / COMMITTED_A_SECOND);
    let timeouts = Timeouts { commit: timeouts.commit + more, ..timeouts };
    tokio::select! {
        answer = exchange(clients, (call, &call.url, attempt), request, silence) => {
            Ok(Response::new(answer?, timeouts.idle, silence.clone()))
        }
        error = activity.stalled(&call.url, timeouts, silence) => Err(error),
    }
}

/// Tells whether a request changes nothing: only an answer to one that does takes its time.
fn reads(call: &Call) -> bool {
    call.method == Method::GET || call.method == Method::HEAD
}

async fn exchange(
    clients: &Clients,
    (call, url, attempt): (&Call, &Url, u32),
    request: reqwest::RequestBuilder,
    silence: &Silence,
) -> Result<reqwest::Response, Error> {
    let (before, begun) = (clients.wanted.count(), Instant::now());
    let answer = request.send().await;
    let answer = answer.map_err(|source| {
        let wanted = clients.wanted.count() > before;
        Error::exchange((&call.method, url), (wanted, clients.proxy_of(url)), source)
    });
    let told = Told { call, url, attempt, begun };
    match &answer {
        Ok(response) => told.tell(silence, Ok(response)),
        Err(error) => told.tell(silence, Err(&causes::of(error).last().map(ToString::to_string).unwrap_or_default())),
    }
    answer
}

/// The headers of an answer that say what happened; none of them holds a secret, but for what is in a URL.
const TELLING: [&str; 9] = [
    "content-type",
    "content-length",
    "content-range",
    "docker-content-digest",
    "location",
    "range",
    "retry-after",
    "server",
    "www-authenticate",
];

/// An exchange for those who look at them.
struct Told<'a> {
    call: &'a Call,
    url: &'a Url,
    attempt: u32,
    begun: Instant,
}

impl Told<'_> {
    fn tell(&self, silence: &Silence, answer: Result<&reqwest::Response, &str>) {
        let headers: Vec<(&'static str, String)> = match answer {
            Ok(response) => TELLING
                .iter()
                .filter_map(|name| Some((*name, redact_within(response.headers().get(*name)?.to_str().ok()?))))
                .collect(),
            Err(_) => Vec::new(),
        };
        silence.0.report(Event::Exchange(&Exchange {
            method: self.call.method.as_str(),
            url: &redact(self.url),
            answer: answer.map(|response| response.status().as_u16()),
            headers: &headers,
            elapsed: self.begun.elapsed(),
            attempt: self.attempt,
            credential: self.call.credential.as_deref(),
        }));
    }
}

/// When an upload last moved.
struct Activity {
    start: Instant,
    last: AtomicU64,
    left: AtomicU64,
    /// Whether it was told that nothing moves.
    told: AtomicBool,
}

impl Activity {
    fn new(length: u64) -> Self {
        let (last, told) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { start: Instant::now(), last, left: AtomicU64::new(length), told }
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
        self.told.store(false, Ordering::Relaxed);
    }

    /// Returns when the upload has not moved for too long.
    async fn stalled(&self, url: &Url, timeouts: Timeouts, silence: &Silence) -> Error {
        loop {
            let ended = self.left.load(Ordering::Relaxed) == 0;
            let (what, limit) = if ended { ("no answer", timeouts.commit) } else { ("no progress", timeouts.idle) };
            let still = self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
            if still >= limit {
                return Error::Timeout { url: redact(url), what, after: limit };
            }
            let notice = Silence::notice(limit).filter(|_| !self.told.load(Ordering::Relaxed));
            if notice.is_some_and(|notice| still >= notice) {
                self.told.store(true, Ordering::Relaxed);
                let what = if ended {
                    "an answer to what was sent to"
                } else {
                    "the other side to take more of what is sent to"
                };
                silence.tell(what, url, limit);
                continue;
            }
            tokio::time::sleep(notice.unwrap_or(limit).min(limit) - still).await;
        }
    }
}
