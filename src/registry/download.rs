//! A blob as a stream: continued after a cut from where it was cut, verified at its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use futures_util::Stream;
use futures_util::stream::{self, BoxStream};
use tokio::sync::OwnedSemaphorePermit;

use super::Error;
use super::error::At;
use super::host::Target;
use crate::http::{Attempts, HeaderName, HeaderValue, Method, Response, StatusCode};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::progress::Moving;

/// How often one blob may be continued, however well it goes in between.
const MOST_RESUMES: u32 = 1000;

/// The bytes of a blob. An error is its last item; without one, all bytes came and are verified.
pub struct BlobStream(BoxStream<'static, Result<Bytes, Error>>);

impl BlobStream {
    /// Hands on what `download` gives; `moving` is told how far that is.
    pub(super) fn new(download: Download, permit: OwnedSemaphorePermit, moving: Moving) -> Self {
        let state = Some((download, permit, moving));
        Self(Box::pin(stream::unfold(state, async |state| {
            let (mut download, permit, moving) = state?;
            match download.next().await {
                Ok(Some(piece)) => {
                    moving.advance(piece.len() as u64);
                    Some((Ok(piece), Some((download, permit, moving))))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })))
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobStream")
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

/// A blob on its way.
pub(super) struct Download {
    target: Target,
    size: u64,
    digest: Digest,
    /// How much of the blob has been handed on, or was not wanted.
    offset: u64,
    /// None when the beginning was not wanted: the digest then cannot be known.
    hasher: Option<Hasher>,
    response: Option<Response>,
    /// Bytes of the current answer that were handed on before.
    skip: u64,
    resumes: u32,
    attempts: Attempts,
}

impl Download {
    /// Prepares to get a blob from `offset` on.
    pub(super) fn new(target: Target, descriptor: &Descriptor, offset: u64) -> Self {
        let attempts = target.client.0.agent.attempts(target.retry);
        Self {
            target,
            size: descriptor.size,
            digest: descriptor.digest.clone(),
            offset,
            hasher: (offset == 0).then(Hasher::new),
            response: None,
            skip: 0,
            resumes: 0,
            attempts,
        }
    }

    pub(super) fn at(&self) -> &At {
        &self.target.at
    }

    /// Tells whether all bytes have been handed on.
    pub(super) fn is_complete(&self) -> bool {
        self.offset == self.size
    }

    /// Returns the next piece, or none when all have come and are verified.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.is_complete() && self.response.is_none() {
                return self.finish().map(|()| None);
            }
            self.open().await?;
            let Some(response) = &mut self.response else {
                continue;
            };
            match response.chunk().await {
                Ok(Some(piece)) => {
                    if let Some(piece) = self.take(piece)? {
                        return Ok(Some(piece));
                    }
                }
                Ok(None) if self.is_complete() => return self.finish().map(|()| None),
                Ok(None) => self.resume(self.too_short()).await?,
                // All bytes came: that the connection broke at the end does not matter.
                Err(_) if self.is_complete() => return self.finish().map(|()| None),
                Err(error) => {
                    let error = self.target.transport(error);
                    self.resume(error).await?;
                }
            }
        }
    }

    /// Asks for the rest, unless an answer is being read.
    pub(super) async fn open(&mut self) -> Result<(), Error> {
        while self.response.is_none() {
            let mut call = self.target.call(Method::GET, self.target.url(&format!("blobs/{}", self.digest))?);
            if self.offset > 0 {
                let range = HeaderValue::from_str(&format!("bytes={}-", self.offset)).expect("digits are a header");
                call = call.header(HeaderName::from_static("range"), range);
            }
            let response = self.target.within(self.attempts.rest()).send(call).await?;
            self.skip = match response.status() {
                StatusCode::OK => self.offset,
                StatusCode::PARTIAL_CONTENT => 0,
                StatusCode::RANGE_NOT_SATISFIABLE if self.offset > 0 => return Err(self.too_short()),
                _ => return Err(self.target.refusal(response).await),
            };
            self.check_range(&response)?;
            self.response = Some(response);
        }
        Ok(())
    }

    fn check_range(&self, response: &Response) -> Result<(), Error> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(());
        }
        let range = response.header("content-range").unwrap_or_default();
        if range.starts_with(&format!("bytes {}-", self.offset)) {
            return Ok(());
        }
        Err(self.target.protocol(format!("asked for bytes from {}, got the range `{range}`", self.offset)))
    }

    /// Takes a piece into account; returns what of it is new.
    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, Error> {
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
        piece.advance(known);
        self.skip -= known as u64;
        if piece.is_empty() {
            return Ok(None);
        }
        let offset = self.offset + piece.len() as u64;
        if offset > self.size {
            let (at, expected) = (self.target.at.clone(), self.size);
            return Err(Error::Size { at, expected, actual: offset });
        }
        self.offset = offset;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        self.attempts.progressed();
        Ok(Some(piece))
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.response = None;
        let Some(actual) = self.hasher.take().map(Hasher::finish).filter(|actual| *actual != self.digest) else {
            return Ok(());
        };
        let (at, expected) = (self.target.at.clone(), self.digest.clone());
        Err(Error::Digest { at, expected, actual: actual.to_string() })
    }

    /// Waits before the next attempt, or gives up with the error.
    async fn resume(&mut self, error: Error) -> Result<(), Error> {
        self.response = None;
        self.resumes += 1;
        if self.resumes > MOST_RESUMES || !self.attempts.again(&error.in_short(), None).await {
            return Err(error);
        }
        Ok(())
    }

    fn too_short(&self) -> Error {
        Error::Size { at: self.target.at.clone(), expected: self.size, actual: self.offset }
    }
}
