//! Where the bytes of a push are from, readable from any offset as often as retries need it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use super::error::Error;
use super::{At, Client};
use crate::oci::{Descriptor, Reference};

/// How much of a file is in memory at a time.
const PIECE: usize = 256 << 10;

/// The content of a blob that is to be pushed.
#[derive(Clone, Debug)]
pub enum BlobSource {
    /// An open file, read at its own offsets, so that clones do not disturb each other.
    File(Arc<File>),
    /// A part of an open file, from this offset on.
    Section {
        /// The file.
        file: Arc<File>,
        /// Where the blob begins, in bytes.
        start: u64,
    },
    /// Bytes at hand.
    Bytes(Bytes),
}

impl BlobSource {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::File(Arc::new(File::open(path)?)))
    }
}

/// Every place that a push can take bytes from.
#[derive(Clone)]
pub(super) enum Source {
    Local(BlobSource),
    Remote(Box<Remote>),
}

/// A blob of another repository.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) from: Reference,
    pub(super) descriptor: Descriptor,
}

/// The stream of a request's body.
pub(super) type Body = BoxStream<'static, Result<Bytes, io::Error>>;

impl Source {
    /// Streams `length` bytes from `offset` on. An [`Error`] becomes the inside of the item's [`io::Error`].
    pub(super) async fn stream(&self, offset: u64, length: u64, at: &At) -> Result<Body, Error> {
        match self {
            Self::Local(BlobSource::Bytes(bytes)) => {
                let range = usize::try_from(offset).ok().zip(usize::try_from(offset + length).ok());
                let slice = range.filter(|(_, end)| *end <= bytes.len()).map(|(start, end)| bytes.slice(start..end));
                let short = || Error::Size { at: at.clone(), expected: offset + length, actual: bytes.len() as u64 };
                let slice = slice.ok_or_else(short)?;
                Ok(stream::once(async { Ok(slice) }).boxed())
            }
            Self::Local(BlobSource::File(file)) => Ok(file_stream(file.clone(), offset, length, at.clone())),
            Self::Local(BlobSource::Section { file, start }) => {
                Ok(file_stream(file.clone(), start + offset, length, at.clone()))
            }
            Self::Remote(remote) => {
                let download = remote.client.open(&remote.from, &remote.descriptor, offset).await?;
                let state = Some((download, length));
                Ok(stream::unfold(state, async |state| {
                    let (mut download, left) = state?;
                    if left == 0 {
                        return None;
                    }
                    match download.next().await {
                        Ok(Some(mut piece)) => {
                            // Verified before the last piece is handed on: a reader that knows the length asks for nothing after it.
                            let end = if download.is_complete() { download.next().await } else { Ok(None) };
                            if let Err(error) = end {
                                return Some((Err(io::Error::other(error)), None));
                            }
                            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                            let left = left - piece.len() as u64;
                            Some((Ok(piece), Some((download, left))))
                        }
                        Ok(None) => None,
                        Err(error) => Some((Err(io::Error::other(error)), None)),
                    }
                })
                .boxed())
            }
        }
    }
}

fn file_stream(file: Arc<File>, offset: u64, length: u64, at: At) -> Body {
    let end = offset + length;
    stream::try_unfold(offset, move |offset| {
        let (file, at) = (file.clone(), at.clone());
        async move {
            if offset == end {
                return Ok(None);
            }
            let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(PIECE);
            let read = tokio::task::spawn_blocking(move || read_at(&file, offset, wanted)).await;
            let piece = read.map_err(io::Error::other)?.map_err(|source| {
                let at = at.clone();
                io::Error::other(Error::Read { at, source })
            })?;
            if piece.is_empty() {
                return Err(io::Error::other(Error::Size { at, expected: end, actual: offset }));
            }
            let next = offset + piece.len() as u64;
            Ok(Some((piece, next)))
        }
    })
    .boxed()
}

fn read_at(file: &File, offset: u64, wanted: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; wanted];
    loop {
        match file.read_at(&mut buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => {
                buffer.truncate(result?);
                return Ok(buffer.into());
            }
        }
    }
}
