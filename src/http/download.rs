//! Large bodies: read in order, several ranges at a time where the server allows it, and continued after a cut.
//!
//! Knows ranges, validators and retries; whoever downloads makes each request itself, since its headers may depend
//! on the range (a signature) and on the time (a token).
//!
//! *Invariant: the bytes of two versions of a body are never mixed; at most [`AHEAD`] pieces are in memory.*

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use tokio::task::JoinHandle;

use super::{
    Agent, Attempt, Attempts, Call, Error as HttpError, Meaning, Response, Retry, StatusCode, Turn, redact, retry_after,
};

/// How many pieces are fetched at the same time, each over a connection of its own.
pub const AHEAD: usize = 4;
/// The size of a piece that is fetched by itself.
const PIECE: u64 = 4 << 20;
/// What is handed on at once: whoever reads may hold several.
const PART: usize = 256 << 10;
/// Smaller bodies come over one connection.
const PARALLEL_FROM: u64 = 4 * PIECE;
/// How often one stretch may be continued, however well it goes in between.
const MOST_RESUMES: u32 = 100;
/// How much of a refusal's text is kept.
const REFUSAL: usize = 2 << 10;

/// A stretch of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Its first byte.
    pub first: u64,
    /// Its last byte; none means the body's.
    pub last: Option<u64>,
}

impl ByteRange {
    /// Writes the range as the header `Range` has it.
    pub fn header(self) -> String {
        let mut text = format!("bytes={}-", self.first);
        if let Some(last) = self.last {
            // Writing to a string cannot fail.
            let _ = write!(text, "{last}");
        }
        text
    }
}

/// Why a request could not be made at all.
pub type MakeError = Box<dyn std::error::Error + Send + Sync>;

/// A request that cannot be made now, and perhaps later, e.g. because a service of credentials is not reached.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Makes the request for a stretch of the body, or for all of it; it sets the header `Range` itself.
pub type MakeCall = Arc<dyn Fn(Option<ByteRange>) -> BoxFuture<'static, Result<Call, MakeError>> + Send + Sync>;

/// A download that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no answer, or it broke off for good.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The request could not be made, e.g. because there are no credentials for it.
    #[error("cannot make the request")]
    Make {
        /// Why.
        #[source]
        source: MakeError,
    },
    /// The server refused.
    #[error("{url}: the server answered {status}{}", if text.is_empty() { String::new() } else { format!(": {text}") })]
    Status {
        /// The URL, redacted.
        url: String,
        /// The status.
        status: StatusCode,
        /// The beginning of its text.
        text: String,
    },
    /// The server now has another version of the body than at the beginning.
    #[error("{url}: what is downloaded was replaced meanwhile, or the server cannot continue a download")]
    Changed {
        /// The URL, redacted.
        url: String,
    },
}

impl Error {
    /// Tells whether the same download may succeed later.
    pub fn is_transient(&self) -> bool {
        self.meaning() == Meaning::Transient
    }

    /// Tells what the failure means to whoever decides what to do.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Http(error) => error.meaning(),
            Self::Status { status, .. } => Meaning::of(*status),
            Self::Changed { .. } => Meaning::Transient,
            Self::Make { source } if source.is::<Unavailable>() => Meaning::Transient,
            // A service of credentials that cannot be reached may be reached later; a refusal by it stays a refusal.
            Self::Make { source } => match source.downcast_ref::<HttpError>().map(HttpError::meaning) {
                Some(meaning @ (Meaning::Transient | Meaning::Settings)) => meaning,
                _ => Meaning::Denied,
            },
        }
    }

    /// Tells whether the body had begun to come, and could not be continued.
    pub fn is_broken_off(&self) -> bool {
        match self {
            Self::Http(error) => error.is_broken_off(),
            Self::Changed { .. } => true,
            Self::Status { .. } | Self::Make { .. } => false,
        }
    }

    fn in_short(&self) -> String {
        match self {
            Self::Http(error) => error.in_short(),
            other => crate::causes::in_one_line(other),
        }
    }
}

/// What a body is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    size: Option<u64>,
    validator: Option<String>,
}

/// A body whose first bytes are there.
pub struct Download {
    source: Source,
    response: Response,
    version: Version,
    ranges: bool,
}

#[derive(Clone)]
struct Source {
    agent: Agent,
    make: MakeCall,
}

/// Asks for a body; transient failures are tried again.
///
/// # Errors
/// [`Error`] when there is no answer, or another one than 200.
pub async fn open(agent: &Agent, make: MakeCall) -> Result<Download, Error> {
    let source = Source { agent: agent.clone(), make };
    let response = source.ask(None, agent.retry()).await?;
    let version = version(&response);
    let ranges = response.header("accept-ranges").is_some_and(|value| value.eq_ignore_ascii_case("bytes"));
    Ok(Download { source, response, version, ranges })
}

impl Download {
    /// Returns the body's size, where the server tells it.
    pub fn size(&self) -> Option<u64> {
        self.version.size
    }

    /// Returns a header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// Returns the whole body, which must not be larger than `limit` bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn bytes(self, limit: usize) -> Result<Bytes, Error> {
        Ok(self.response.bytes(limit).await?)
    }

    /// Returns the body in order. An error is the last item; without one, all bytes came.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, Error>> {
        let size = self.version.size.unwrap_or(0);
        let parallel = self.ranges && self.version.validator.is_some() && size >= PARALLEL_FROM;
        let end = if parallel { Some(PIECE) } else { self.version.size };
        let stretch = Stretch::new(self.source.clone(), self.version.clone(), 0, end, Some(self.response));
        let next = if parallel { PIECE } else { size };
        let body = Body {
            first: Some(stretch),
            source: self.source,
            version: self.version,
            next,
            size,
            ahead: VecDeque::new(),
            current: Bytes::new(),
        };
        Box::pin(stream::unfold(Some(body), async |body| {
            let mut body = body?;
            match body.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(body))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

impl Source {
    /// Makes a request until there is an answer with a body.
    async fn ask(&self, range: Option<ByteRange>, retry: Retry) -> Result<Response, Error> {
        let mut attempts = self.agent.attempts(retry);
        loop {
            let attempt = match self.ask_once(range, attempts.turn()).await {
                Err((error, asked)) if error.is_transient() => {
                    Attempt::Passing { why: error.in_short(), value: Err(error), asked }
                }
                other => Attempt::Final(other.map_err(|(error, _)| error)),
            };
            if let Some(result) = attempts.settle(attempt).await {
                return result;
            }
        }
    }

    async fn ask_once(&self, range: Option<ByteRange>, turn: Turn) -> Result<Response, (Error, Option<Duration>)> {
        let call = (self.make)(range).await.map_err(|source| (Error::Make { source }, None))?;
        let response = self.agent.send_in(&call, turn).await.map_err(|error| (error.into(), None))?;
        if matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(response);
        }
        let (status, url, asked) = (response.status(), redact(&call.url), retry_after(response.headers()));
        let text = String::from_utf8_lossy(&response.beginning(REFUSAL).await).trim().to_owned();
        Err((Error::Status { url, status, text: printable(&words(&text)) }, asked))
    }
}

/// What is left of a body: a first stretch that comes as it is read, and pieces that are fetched ahead.
struct Body {
    first: Option<Stretch>,
    source: Source,
    version: Version,
    /// Where the next piece begins that nobody fetches yet.
    next: u64,
    size: u64,
    ahead: VecDeque<Piece>,
    /// What is left of the piece that is handed on.
    current: Bytes,
}

/// A piece on its way; nobody fetches it any more when it is dropped.
struct Piece(JoinHandle<Result<Bytes, Error>>);

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.current.is_empty() {
            return Ok(Some(self.current.split_to(PART.min(self.current.len()))));
        }
        self.fetch_ahead();
        if let Some(first) = &mut self.first {
            if let Some(piece) = first.next().await? {
                return Ok(Some(piece));
            }
            self.first = None;
            self.fetch_ahead();
        }
        let Some(mut piece) = self.ahead.pop_front() else { return Ok(None) };
        match (&mut piece.0).await {
            Ok(result) => {
                self.current = result?;
                Ok(Some(self.current.split_to(PART.min(self.current.len()))))
            }
            // It was neither aborted nor did it panic, unless the runtime ends.
            Err(_) => Err(Error::Changed { url: "(the download was abandoned)".to_owned() }),
        }
    }

    fn fetch_ahead(&mut self) {
        while self.next < self.size && self.ahead.len() + usize::from(self.first.is_some()) < AHEAD {
            let end = (self.next + PIECE).min(self.size);
            let mut stretch = Stretch::new(self.source.clone(), self.version.clone(), self.next, Some(end), None);
            let length = usize::try_from(end - self.next).unwrap_or(0);
            self.next = end;
            self.ahead.push_back(Piece(tokio::spawn(async move {
                let mut whole = BytesMut::with_capacity(length);
                while let Some(piece) = stretch.next().await? {
                    whole.extend_from_slice(&piece);
                }
                Ok(whole.freeze())
            })));
        }
    }
}

/// A part of a body, continued after each cut.
struct Stretch {
    source: Source,
    version: Version,
    /// How far it has come.
    offset: u64,
    /// Where it ends; none means with the body, whose size is not known.
    end: Option<u64>,
    response: Option<Response>,
    /// Bytes of the current answer that were handed on before.
    skip: u64,
    resumes: u32,
    attempts: Attempts,
}

impl Stretch {
    fn new(source: Source, version: Version, offset: u64, end: Option<u64>, response: Option<Response>) -> Self {
        let attempts = source.agent.attempts(source.agent.retry());
        Self { source, version, offset, end, response, skip: 0, resumes: 0, attempts }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.end == Some(self.offset) {
                return Ok(None);
            }
            let mut response = match self.response.take() {
                Some(response) => response,
                None => self.open().await?,
            };
            match response.chunk().await {
                Ok(Some(piece)) => {
                    self.response = Some(response);
                    if let Some(piece) = self.take(piece) {
                        return Ok(Some(piece));
                    }
                }
                // Without a length the connection's end is the body's.
                Ok(None) if self.end.is_none() => {
                    self.end = Some(self.offset);
                }
                Ok(None) => self.pause(Error::Changed { url: redact(response.url()) }).await?,
                Err(error) => self.pause(error.into()).await?,
            }
        }
    }

    fn take(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
        piece.advance(known);
        self.skip -= known as u64;
        if let Some(end) = self.end {
            piece.truncate(usize::try_from(end - self.offset).unwrap_or(usize::MAX));
        }
        if piece.is_empty() {
            return None;
        }
        self.offset += piece.len() as u64;
        self.attempts.progressed();
        Some(piece)
    }

    /// Asks for what is missing. A server without ranges sends all once more.
    async fn open(&mut self) -> Result<Response, Error> {
        let range = ByteRange { first: self.offset, last: self.end.map(|end| end - 1) };
        let response = self.source.ask(Some(range), self.attempts.rest()).await?;
        let changed = || Error::Changed { url: redact(response.url()) };
        let now = version(&response);
        self.skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let given = response.header("content-range").unwrap_or_default();
                if !given.starts_with(&format!("bytes {}-", self.offset)) {
                    return Err(changed());
                }
                0
            }
            _ => self.offset,
        };
        // Without a validator nobody knows whether it is still the same.
        let same = now.validator.is_some() && now == self.version;
        if self.offset > 0 && !same { Err(changed()) } else { Ok(response) }
    }

    async fn pause(&mut self, error: Error) -> Result<(), Error> {
        self.resumes += 1;
        let known = self.version.validator.is_some() || self.offset == 0;
        if !known || self.resumes > MOST_RESUMES || !self.attempts.again(&error.in_short(), None).await {
            return Err(error);
        }
        Ok(())
    }
}

/// Says which version of a body an answer has, and how large the whole is.
fn version(response: &Response) -> Version {
    let total = match response.status() {
        StatusCode::PARTIAL_CONTENT => response.header("content-range").and_then(|range| range.rsplit_once('/')),
        _ => None,
    };
    let size = match total {
        Some((_, total)) => total.parse().ok(),
        // What is compressed on the way has another length than what arrives.
        None if response.header("content-encoding").is_some() => None,
        None => response.header("content-length").and_then(|text| text.parse().ok()),
    };
    // A weak tag names a meaning, not bytes.
    let tag = response.header("etag").filter(|tag| !tag.is_empty() && !tag.starts_with("W/"));
    let validator = tag.or_else(|| response.header("last-modified")).map(str::to_owned);
    Version { size, validator }
}

/// Returns what a refusal says: of the documents of object stores (`<Error><Code>…`) code and message, of pages nothing.
fn words(text: &str) -> String {
    if !text.starts_with('<') && !text.starts_with('\u{feff}') {
        return text.to_owned();
    }
    let between = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (inner, _) = rest.split_once(&format!("</{name}>"))?;
        let plain = inner.replace("&quot;", "\"").replace("&apos;", "'").replace("&lt;", "<").replace("&gt;", ">");
        Some(plain.replace("&amp;", "&").trim().to_owned())
    };
    let parts = [between("Code"), between("Message")];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

fn printable(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    super::redact::hide_queries(&line)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;

    use super::super::testing::{Reply, Request, Server};
    use super::super::{HeaderName, HeaderValue, Method, Options, Retry, Url};
    use super::*;

    fn agent() -> Agent {
        let retry = Retry { first_delay: std::time::Duration::from_millis(1), ..Retry::default() };
        Agent::new(Options { retry, ..Options::default() }).expect("agent")
    }

    fn get(url: &str) -> MakeCall {
        let url: Url = url.parse().expect("url");
        Arc::new(move |range| {
            let mut call = Call::new(Method::GET, url.clone());
            if let Some(range) = range {
                let value = HeaderValue::from_str(&range.header()).expect("header");
                call = call.header(HeaderName::from_static("range"), value);
            }
            Box::pin(async move { Ok(call) })
        })
    }

    fn body(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from((at * 7 + at / 251) % 256).expect("byte")).collect()
    }

    fn ranged(request: &Request, whole: &[u8]) -> Reply {
        let Some(range) = request.header("range").strip_prefix("bytes=") else {
            return Reply::new(200).header("accept-ranges", "bytes").header("etag", "\"1\"").body(whole);
        };
        let (first, last) = range.split_once('-').expect("range");
        let first: usize = first.parse().expect("number");
        let last: usize = if last.is_empty() { whole.len() - 1 } else { last.parse().expect("number") };
        Reply::new(206)
            .header("etag", "\"1\"")
            .header("content-range", format!("bytes {first}-{last}/{}", whole.len()))
            .body(&whole[first..=last])
    }

    async fn fetched(server: &Server) -> Result<Vec<u8>, Error> {
        let mut stream = open(&agent(), get(&format!("http://{}/x", server.address))).await?.into_stream();
        let mut whole = Vec::new();
        while let Some(piece) = stream.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole)
    }

    #[tokio::test]
    async fn a_large_body_comes_in_ranges_and_survives_cuts() {
        let whole = body(40 << 20);
        let expected = whole.clone();
        let count = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            let reply = ranged(request, &whole);
            if count.fetch_add(1, Ordering::Relaxed) % 3 == 1 { reply.cut_after(1 << 20) } else { reply }
        })
        .await;
        assert!(fetched(&server).await.expect("whole") == expected);
        assert!(server.seen().iter().filter(|request| !request.header("range").is_empty()).count() >= 4);
    }

    #[tokio::test]
    async fn a_server_without_ranges_sends_all_again() {
        let whole = body(300_000);
        let expected = whole.clone();
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| {
            let reply = Reply::new(200).header("last-modified", "yesterday").body(whole.clone());
            if count.fetch_add(1, Ordering::Relaxed) == 0 { reply.cut_after(100_000) } else { reply }
        })
        .await;
        assert!(fetched(&server).await.expect("whole") == expected);
        assert_eq!(server.seen().len(), 2);
    }

    #[test]
    fn the_words_of_an_object_store_are_shown_without_their_markup() {
        let s3 = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>No &quot;x&quot; &amp; y</Message>\
                  <Resource>/b/x</Resource><RequestId>1</RequestId></Error>";
        for (text, shown) in [
            (s3, "NoSuchKey: No \"x\" & y"),
            ("<html><body>502</body></html>", ""),
            ("no such thing", "no such thing"),
            ("<Error><Message>alone</Message></Error>", "alone"),
        ] {
            assert_eq!(words(text), shown);
        }
    }

    #[tokio::test]
    async fn versions_are_never_mixed() {
        for second in ["\"2\"", ""] {
            let count = AtomicUsize::new(0);
            let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
                0 => Reply::new(200)
                    .header("etag", if second.is_empty() { "" } else { "\"1\"" })
                    .body(body(5000))
                    .cut_after(1000),
                _ => Reply::new(200).header("etag", second).body(body(5000)),
            })
            .await;
            let error = fetched(&server).await.map(|whole| whole.len()).expect_err("changed");
            assert!(error.is_transient(), "{error}");
        }
    }

    #[tokio::test]
    async fn refusals_are_told_and_busy_servers_asked_again() {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::new(503),
            _ => Reply::new(404).body("no such thing"),
        })
        .await;
        let error = fetched(&server).await.expect_err("refused");
        assert!(error.to_string().contains("404") && error.to_string().contains("no such thing"), "{error}");
        assert_eq!(server.seen().len(), 2);
    }
}
