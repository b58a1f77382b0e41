//! From a download to a context's directory: archives and files as they come, and all again where they broke off.
//!
//! Knows the border between the network's tasks and unpacking; does not know where a request goes.
//!
//! *Invariant: what failed to come is told as such, not as a damaged archive.*

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::writer::Writer;
use super::{Error, Means, archive};
use crate::http::download::{self, Download, MakeCall};
use crate::http::parse_date;
use crate::image::Timestamp;
use crate::oci::{Digest, Hasher};
use crate::progress::{Activity, Event, Phase};
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

/// A file that was downloaded.
pub(super) struct Saved {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// What the server says of its age.
    pub(super) modified: Option<Timestamp>,
}

/// Downloads and unpacks an archive into `directory`.
pub(super) fn fetch(archive: &Archive, directory: &Path, limit: u64, means: &Means<'_>) -> Result<Writer, Error> {
    again(means, || {
        let mut writer = Writer::create(directory, limit)?;
        unpack(archive, &mut writer, means)?;
        Ok(writer)
    })
}

/// Downloads something as it is into the new file `path`.
pub(super) fn save(archive: &Archive, path: &Path, limit: u64, means: &Means<'_>) -> Result<Saved, Error> {
    again(means, || {
        let failed = |source| Error::State { doing: "write", path: path.to_owned(), source };
        let mut file = File::create(path).map_err(failed)?;
        let mut body = archive.remote.open(means)?;
        let modified = body.modified;
        let copied = io::copy(&mut body.by_ref().take(limit.saturating_add(1)), &mut file).map_err(failed);
        let size = copied.as_ref().copied().unwrap_or(0);
        if size > limit {
            return Err(Error::TooBig { path: archive.remote.what.clone().into(), limit });
        }
        let digest = body.finish(&archive.remote, copied, means)?;
        archive.check(&digest)?;
        Ok(Saved { digest, size, modified })
    })
}

/// Fetches something whole, and again where it cannot be continued.
fn again<T>(means: &Means<'_>, mut fetch: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut attempt = 1;
    loop {
        match fetch() {
            // The stream has tried again by itself, unless the server could not continue it.
            Err(Error::Download { source, what, .. }) if attempt < WHOLE_ATTEMPTS && source.is_broken_off() => {
                attempt += 1;
                let why = format!("{what} broke off and cannot be continued");
                let (wait, attempts) = (Duration::ZERO, WHOLE_ATTEMPTS);
                means.reporter.report(Event::Retry { why: &why, wait, attempt, attempts });
            }
            result => return result,
        }
    }
}

fn unpack(archive: &Archive, writer: &mut Writer, means: &Means<'_>) -> Result<(), Error> {
    let mut body = archive.remote.open(means)?;
    writer.modified = body.modified;
    let unpacked = archive::unpack(&archive.remote.what, &mut body, writer, &means.is_cancelled);
    let actual = body.finish(&archive.remote, unpacked, means)?;
    archive.check(&actual)
}

impl Archive {
    fn check(&self, actual: &Digest) -> Result<(), Error> {
        match &self.checksum {
            Some(expected) if expected != actual => {
                let (what, expected) = (self.remote.what.clone(), expected.to_string());
                Err(Error::Checksum { what, expected, actual: actual.to_string() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Remote {
    /// Starts the download.
    pub(super) fn open<'m>(&self, means: &'m Means<'_>) -> Result<Body<'m>, Error> {
        let opened = means.wait(download::open(means.agent, self.make.clone()))?;
        let download = opened.map_err(|source| self.failed(source))?;
        Ok(Body::new(&self.what, download, means))
    }

    pub(super) fn failed(&self, source: download::Error) -> Error {
        Error::Download { what: self.what.clone(), tried: self.tried.clone(), source }
    }
}

/// A download that is read; it keeps the reason when it fails.
pub(super) struct Body<'m> {
    modified: Option<Timestamp>,
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
    fn new(what: &str, download: Download, means: &'m Means<'_>) -> Self {
        let moving = Activity::new(Phase::Context, what).of(download.size()).begin(means.reporter);
        let modified = download.header("last-modified").and_then(moment);
        let failure = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&failure);
        let stream = download.into_stream().map(move |item| {
            item.map_err(|error| {
                *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Failed
            })
        });
        let reader = Box::new(moving.reading(read_blocking(stream, means.runtime)));
        Self { modified, reader, failure, hasher: Hasher::new(), is_cancelled: &*means.is_cancelled }
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

/// Reads a time as HTTP writes it.
fn moment(text: &str) -> Option<Timestamp> {
    let moment = parse_date(text)?;
    Some(Timestamp { seconds: moment.as_second(), nanoseconds: 0 })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_http_writes_it() {
        assert_eq!(moment("Sun, 06 Nov 1994 08:49:37 GMT").map(|moment| moment.seconds), Some(784_111_777));
        assert_eq!(moment("yesterday"), None);
    }
}
