//! From a download to a context's directory: archives and files as they come, and all again where they broke off.
//!
//! Knows the border between the network's tasks and unpacking; does not know where a request goes.
//!
//! *Invariant: what failed to come is told as such, not as a damaged archive.*

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;

use super::writer::Writer;
use super::{Error, Means, archive};
use crate::http::download::{self, Download, MakeCall};
use crate::oci::{Digest, Hasher};
use crate::registry::read_blocking;

/// How often a whole archive is fetched where it cannot be continued.
const WHOLE_ATTEMPTS: u32 = 3;

/// Something to download.
pub(super) struct Remote {
    /// What it is called in messages.
    pub(super) what: String,
    /// Which credentials are used, for messages.
    pub(super) tried: String,
    pub(super) make: MakeCall,
}

/// An archive to download.
pub(super) struct Archive {
    pub(super) remote: Remote,
    pub(super) checksum: Option<Digest>,
}

/// Downloads and unpacks an archive into `directory`.
pub(super) fn fetch(archive: &Archive, directory: &Path, limit: u64, means: &Means<'_>) -> Result<Writer, Error> {
    let mut attempt = 1;
    loop {
        let mut writer = Writer::create(directory, limit)?;
        match unpack(archive, &mut writer, means) {
            Ok(()) => return Ok(writer),
            // The stream has tried again by itself, unless the server could not continue it.
            Err(Error::Download { source: download::Error::Changed { .. } | download::Error::Http(_), .. })
                if attempt < WHOLE_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn unpack(archive: &Archive, writer: &mut Writer, means: &Means<'_>) -> Result<(), Error> {
    let mut body = archive.remote.open(means)?;
    let what = &archive.remote.what;
    let unpacked = archive::unpack(what, &mut body, writer);
    let actual = body.finish(&archive.remote, unpacked, means)?;
    match &archive.checksum {
        Some(expected) if *expected != actual => {
            let (what, expected, actual) = (what.clone(), expected.to_string(), actual.to_string());
            Err(Error::Checksum { what, expected, actual })
        }
        Some(_) | None => Ok(()),
    }
}

impl Remote {
    /// Starts the download.
    pub(super) fn open<'m>(&self, means: &'m Means<'_>) -> Result<Body<'m>, Error> {
        let opened = means.wait(download::open(means.agent, self.make.clone()))?;
        let download = opened.map_err(|source| self.failed(source))?;
        Ok(Body::new(download, means))
    }

    pub(super) fn failed(&self, source: download::Error) -> Error {
        Error::Download { what: self.what.clone(), tried: self.tried.clone(), source }
    }
}

/// A download that is read; it keeps the reason when it fails.
pub(super) struct Body<'m> {
    reader: Box<dyn Read + Send>,
    failure: Arc<Mutex<Option<download::Error>>>,
    hasher: Hasher,
    is_cancelled: &'m (dyn Fn() -> bool + Send + Sync),
}

/// Stands for the reason that is kept aside.
#[derive(Debug, thiserror::Error)]
#[error("the download failed")]
struct Failed;

impl<'m> Body<'m> {
    fn new(download: Download, means: &'m Means<'_>) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&failure);
        let stream = download.into_stream().map(move |item| {
            item.map_err(|error| {
                *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Failed
            })
        });
        let reader = Box::new(read_blocking(stream, means.runtime));
        Self { reader, failure, hasher: Hasher::new(), is_cancelled: &*means.is_cancelled }
    }

    /// Judges what came of reading: a failed download is the reason for all that failed after it.
    pub(super) fn finish<T>(
        self,
        remote: &Remote,
        result: Result<T, Error>,
        means: &Means<'_>,
    ) -> Result<Digest, Error> {
        if (means.is_cancelled)() {
            return Err(Error::Interrupted);
        }
        if let Some(error) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(remote.failed(error));
        }
        result?;
        Ok(self.hasher.finish())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_cancelled)() {
            return Err(io::Error::other("the build was interrupted"));
        }
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
