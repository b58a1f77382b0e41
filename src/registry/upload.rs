//! One blob's way up: in one request if all goes well, and continued in pieces from where the registry has
//! it after a failure.
//!
//! Source: OCI distribution-spec, "Pushing blobs". The first attempt is POST then PUT, because every registry
//! does that well; some do pieces badly, so these are only for an upload that broke, and given up for one
//! that starts over where the registry does not take them. Docker's own registry (2.8) continues only where
//! the request that failed brought it no byte: it compares its size with the offset in the signed address,
//! and forgets the session if they differ; then there is nothing left but to start over.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::Error;
use super::host::Target;
use super::source::{Body, Source};
use crate::http::{self, Attempts, CONTENT_TYPE, Call, HeaderName, HeaderValue, Method, Response, StatusCode, Url};
use crate::oci::Descriptor;
use crate::progress::{Activity, Moving, Phase};

/// Asks whether a repository has a blob.
pub(super) async fn exists(target: &Target, descriptor: &Descriptor) -> Result<bool, Error> {
    let url = target.url(&format!("blobs/{}", descriptor.digest))?;
    let response: Response = target.send(target.call(Method::HEAD, url)).await?;
    if response.status().as_u16() == 404 {
        return Ok(false);
    }
    target.expect(response, &[200]).await.map(|_| true)
}

/// An upload session at the registry; ended there when it is dropped unfinished.
pub(super) struct Upload {
    target: Target,
    location: Url,
    /// The smallest piece that the registry takes, but for the last one.
    least: u64,
    open: bool,
}

impl Upload {
    /// Reads the answer that began a session.
    pub(super) fn begin(target: &Target, response: &Response) -> Result<Self, Error> {
        let location = location(target, response)?
            .ok_or_else(|| target.protocol("the registry began an upload without saying where".to_owned()))?;
        let least = response.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Self { target: target.clone(), location, least, open: true })
    }

    /// Ends the session, as far as the registry lets us.
    pub(super) async fn cancel(mut self) {
        self.open = false;
        delete(&self.target, self.location.clone()).await;
    }

    /// Takes the session's next address from an answer; the registry's state may be in its query.
    fn follow(&mut self, response: &Response) -> Result<(), Error> {
        if let Some(location) = location(&self.target, response)? {
            self.location = location;
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // Dropped in the middle: the build was cancelled. Without a runtime the registry's own clean-up has to do.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (target, location) = (self.target.clone(), self.location.clone());
            runtime.spawn(async move { delete(&target, location).await });
        }
    }
}

async fn delete(target: &Target, location: Url) {
    // A session that cannot be ended is no failure of ours; registries drop old ones.
    if let Ok(call) = target.authorised(target.call(Method::DELETE, location)).await {
        let _ = target.client.0.agent.send(&call).await;
    }
}

fn location(target: &Target, response: &Response) -> Result<Option<Url>, Error> {
    let Some(text) = response.header("location") else {
        return Ok(None);
    };
    let url = response.url().join(text);
    url.map(Some).map_err(|e| target.protocol(format!("the upload's address is not a URL: {e}")))
}

/// Sends a blob, in the session that a refused mount left if there is one; returns the bytes that were sent.
pub(super) async fn run(
    target: &Target,
    source: &Source,
    descriptor: &Descriptor,
    session: Option<Upload>,
) -> Result<u64, Error> {
    let (subject, size) = (format!("{} to {}", descriptor.digest.short(), target.reference.name()), descriptor.size);
    let moving = Activity::new(Phase::Push, subject).of(Some(size)).begin(&*target.client.0.reporter);
    let mut sending = Sending {
        target,
        source,
        descriptor,
        sent: Arc::new(AtomicU64::new(0)),
        moving: Arc::new(moving),
        attempts: target.client.0.agent.attempts(target.retry),
        most: 0,
        pieces: Pieces::AfterFailure,
    };
    let mut session = session;
    let mut sessions = 0;
    loop {
        sessions += 1;
        let mut upload = match session.take() {
            Some(upload) => upload,
            None => sending.start().await?,
        };
        match sending.send(&mut upload).await {
            Ok(()) => {
                upload.open = false;
                return Ok(sending.sent.load(Ordering::Relaxed));
            }
            Err(Failure::Lost(error)) => {
                upload.cancel().await;
                if sessions >= target.client.0.agent.retry().attempts {
                    return Err(error);
                }
            }
            Err(Failure::Final(error)) => {
                upload.cancel().await;
                return Err(error);
            }
        }
    }
}

/// Why a session did not end well.
enum Failure {
    /// The session is of no more use; another one may be.
    Lost(Error),
    /// Nothing helps.
    Final(Error),
}

/// What one request achieved.
enum Outcome {
    /// The registry has and confirmed the blob.
    Done,
    /// The registry has this many bytes.
    Has(u64),
    /// It failed in a way that may pass, and the registry asked for this wait.
    Again(Error, Option<Duration>),
    /// The registry does not know the session.
    Gone(Error),
    /// It failed for good.
    Refused(Error),
}

/// Whether a blob is sent in pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pieces {
    AfterFailure,
    Now,
    /// The registry was seen not to take them.
    Never,
}

struct Sending<'a> {
    target: &'a Target,
    source: &'a Source,
    descriptor: &'a Descriptor,
    sent: Arc<AtomicU64>,
    moving: Arc<Moving>,
    attempts: Attempts,
    /// The most bytes that any session had: only more than that is progress.
    most: u64,
    pieces: Pieces,
}

impl Sending<'_> {
    async fn start(&self) -> Result<Upload, Error> {
        let target = &self.target.within(self.attempts.rest());
        let response = target.send(target.call(Method::POST, target.url("blobs/uploads/")?)).await?;
        Upload::begin(target, &target.expect(response, &[202]).await?)
    }

    /// Sends all that is missing in one session.
    async fn send(&mut self, upload: &mut Upload) -> Result<(), Failure> {
        let mut offset = 0;
        loop {
            let outcome = self.step(upload, offset).await.unwrap_or_else(Outcome::Refused);
            match outcome {
                Outcome::Done => return Ok(()),
                Outcome::Has(bytes) => offset = self.has(bytes),
                Outcome::Again(error, asked) => {
                    if !self.failed(&error, asked).await {
                        return Err(Failure::Final(error));
                    }
                    match self.find_offset(upload).await {
                        Some(bytes) => offset = bytes,
                        None if self.exists().await => return Ok(()),
                        None => return Err(Failure::Lost(error)),
                    }
                }
                Outcome::Gone(_) if self.exists().await => return Ok(()),
                Outcome::Gone(error) => {
                    return Err(if self.failed(&error, None).await {
                        Failure::Lost(error)
                    } else {
                        Failure::Final(error)
                    });
                }
                Outcome::Refused(error) if self.changes_pieces(&error) => return Err(Failure::Lost(error)),
                Outcome::Refused(error) => return Err(Failure::Final(error)),
            }
        }
    }

    /// Makes the next request of a session in which the registry has `offset` bytes.
    async fn step(&self, upload: &mut Upload, offset: u64) -> Result<Outcome, Error> {
        let size = self.descriptor.size;
        if self.pieces == Pieces::Now && offset < size {
            return self.piece(upload, offset).await;
        }
        let mut url = upload.location.clone();
        url.query_pairs_mut().append_pair("digest", self.descriptor.digest.as_str());
        let call = self.target.call(Method::PUT, url);
        let response = match self.transfer(call, offset, size - offset).await {
            Ok(response) => response,
            Err(outcome) => return Ok(outcome),
        };
        if matches!(response.status().as_u16(), 200 | 201 | 204) {
            return Ok(Outcome::Done);
        }
        Ok(self.judge(response).await)
    }

    async fn piece(&self, upload: &mut Upload, offset: u64) -> Result<Outcome, Error> {
        let chunk = self.target.client.0.options.chunk.max(upload.least).max(1);
        let length = chunk.min(self.descriptor.size - offset);
        let range = format!("{offset}-{}", offset + length - 1);
        let call = self
            .target
            .call(Method::PATCH, upload.location.clone())
            .header(HeaderName::from_static("content-range"), HeaderValue::from_str(&range).expect("digits"));
        let response = match self.transfer(call, offset, length).await {
            Ok(response) => response,
            Err(outcome) => return Ok(outcome),
        };
        if response.status().is_success() {
            upload.follow(&response)?;
            let bytes = received(&response).unwrap_or(offset + length).min(offset + length);
            if bytes > offset {
                return Ok(Outcome::Has(bytes));
            }
            let reason = format!("the registry took none of the bytes {range}");
            return Ok(Outcome::Again(self.target.protocol(reason), None));
        }
        Ok(self.judge(response).await)
    }

    /// Streams `length` bytes from `offset` on as a request's body.
    async fn transfer(&self, call: Call, offset: u64, length: u64) -> Result<Response, Outcome> {
        let octets = HeaderValue::from_static("application/octet-stream");
        let call = self.target.authorised(call.header(CONTENT_TYPE, octets)).await.map_err(Outcome::Refused)?;
        let body = self.source.stream(offset, length, &self.target.at).await.map_err(Outcome::Refused)?;
        let broken = Arc::new(Mutex::new(None));
        self.moving.set(offset);
        let body = self.watched(body, broken.clone());
        let result = self.target.client.0.agent.send_stream(&call, (length, body), self.attempts.turn()).await;
        if let Some(error) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Outcome::Refused(error));
        }
        result.map_err(|source| {
            let transient = source.is_transient();
            let error = self.target.transport(source);
            if transient { Outcome::Again(error, None) } else { Outcome::Refused(error) }
        })
    }

    /// Counts what is sent, and keeps the source's own error, which the HTTP client would bury.
    fn watched(&self, body: Body, broken: Arc<Mutex<Option<Error>>>) -> Body {
        let (sent, moving) = (self.sent.clone(), Arc::clone(&self.moving));
        body.map(move |item| match item {
            Ok(piece) => {
                moving.advance(piece.len() as u64);
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Ok(piece)
            }
            Err(error) => {
                if let Ok(error) = error.downcast::<Error>() {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
                Err(io::Error::other("the content cannot be read"))
            }
        })
        .boxed()
    }

    async fn judge(&self, response: Response) -> Outcome {
        let status = response.status();
        let renewed = self.target.renew(&response).await;
        let asked = http::retry_after(response.headers());
        let error = self.target.refusal(response).await;
        match status {
            StatusCode::NOT_FOUND => Outcome::Gone(error),
            status if renewed || http::is_transient_status(status) || status == StatusCode::RANGE_NOT_SATISFIABLE => {
                Outcome::Again(error, asked)
            }
            _ => Outcome::Refused(error),
        }
    }

    /// Takes note of how much the registry has.
    fn has(&mut self, bytes: u64) -> u64 {
        if bytes > self.most {
            self.most = bytes;
            self.attempts.progressed();
        }
        bytes
    }

    /// Waits after a failure, and goes over to pieces; `false` when it is time to give up.
    async fn failed(&mut self, error: &Error, asked: Option<Duration>) -> bool {
        if self.pieces == Pieces::AfterFailure {
            self.pieces = Pieces::Now;
        }
        self.attempts.again(&error.in_short(), asked).await
    }

    /// Decides after a final answer whether the other way, in pieces or in one, may be accepted.
    fn changes_pieces(&mut self, error: &Error) -> bool {
        let Error::Status { status, .. } = error else {
            return false;
        };
        let next = match (self.pieces, status.as_u16()) {
            (Pieces::Now, 400 | 405 | 411 | 412 | 415 | 501) => Pieces::Never,
            // A gateway before the registry limits the size of requests.
            (Pieces::AfterFailure, 413) => Pieces::Now,
            (Pieces::AfterFailure | Pieces::Now | Pieces::Never, _) => return false,
        };
        self.pieces = next;
        true
    }

    /// Asks the registry how much it has after a failure; none when the session is lost.
    async fn find_offset(&mut self, upload: &mut Upload) -> Option<u64> {
        if self.pieces == Pieces::Never {
            return None;
        }
        let call = self.target.call(Method::GET, upload.location.clone());
        let response = self.target.within(self.attempts.rest()).send(call).await.ok()?;
        if !matches!(response.status().as_u16(), 200 | 202 | 204) {
            return None;
        }
        upload.follow(&response).ok()?;
        let bytes = self.has(received(&response).unwrap_or(0).min(self.descriptor.size));
        Some(bytes)
    }

    /// Tells whether the blob is there after all: the answer to a PUT that succeeded may have been lost.
    async fn exists(&self) -> bool {
        exists(&self.target.within(self.attempts.rest()), self.descriptor).await.unwrap_or(false)
    }
}

/// Reads how many bytes a session has: `Range: 0-<last>`.
///
/// `0-0` is what registries say of an empty session; that it could mean one byte costs a retry at worst.
fn received(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim_start_matches("bytes=");
    let last: u64 = range.split_once('-')?.1.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}
