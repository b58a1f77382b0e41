//! An answer whose body is read under a limit: of time between two pieces, and of size where it is kept.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};

use super::error::NO_DATA;
use super::silence::Silence;
use super::{Error, redact};

/// The answer to a [`super::Call`], of any status.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    url: Url,
    idle: Duration,
    silence: Silence,
}

impl Response {
    pub(super) fn new(inner: reqwest::Response, idle: Duration, silence: Silence) -> Self {
        Self { url: inner.url().clone(), inner, idle, silence }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Returns a header's value, if it is there once and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// Returns the URL that answered, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the next piece of the body, or none at its end.
    ///
    /// # Errors
    /// [`Error::Body`] when the connection broke, [`Error::Timeout`] when nothing came for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Self { inner, url, idle, silence } = self;
        match silence.bound("the rest of the answer of", url, *idle, inner.chunk()).await {
            Some(Ok(piece)) => Ok(piece),
            Some(Err(source)) => Err(Error::Body { url: redact(url), source: source.without_url() }),
            None => Err(Error::Timeout { url: redact(url), what: NO_DATA, after: *idle }),
        }
    }

    /// Returns the whole body, which must not be larger than `limit` bytes.
    ///
    /// # Errors
    /// As [`Response::chunk`], and [`Error::TooLarge`].
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if whole.len() + piece.len() > limit {
                return Err(Error::TooLarge { url: redact(&self.url), limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Returns the body's first `limit` bytes, as far as they came; for error texts.
    pub async fn beginning(mut self, limit: usize) -> Bytes {
        let mut start = BytesMut::new();
        while start.len() < limit {
            match self.chunk().await {
                Ok(Some(piece)) => start.extend_from_slice(&piece[..piece.len().min(limit - start.len())]),
                Ok(None) | Err(_) => break,
            }
        }
        start.freeze()
    }
}
