//! How a large file is written: beside its place until it is whole; standard output as the bytes come.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::place::{Draft, Places};
use crate::request::Target;

use super::Error;

/// Few writes for large files.
const BUFFER: usize = 256 << 10;

/// A file in the making; dropped unfinished, it leaves nothing.
pub(super) struct Staged {
    writer: BufWriter<Sink>,
    /// For messages.
    path: PathBuf,
}

enum Sink {
    Draft(Draft),
    Stdout(std::fs::File),
}

impl Staged {
    /// Opens the target; missing directories are made.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub(super) fn create(target: &Target, places: &Places) -> Result<Self, Error> {
        let path = match target {
            Target::File(path) => path.clone(),
            Target::Stdout => PathBuf::from("standard output"),
        };
        let failure = |source| Error::Write { action: "create", path: path.clone(), source };
        let sink = match target {
            Target::Stdout => Sink::Stdout(io::stdout().as_fd().try_clone_to_owned().map_err(failure)?.into()),
            Target::File(path) => Sink::Draft(places.with(path, crate::place::Place::draft).map_err(failure)?),
        };
        Ok(Self { writer: BufWriter::with_capacity(BUFFER, sink), path })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub(super) fn finish(self) -> Result<(), Error> {
        let failure = |source| Error::Write { action: "write", path: self.path.clone(), source };
        match self.writer.into_inner().map_err(|error| failure(error.into_error()))? {
            Sink::Draft(draft) => draft.finish().map_err(failure),
            Sink::Stdout(_) => Ok(()),
        }
    }

    /// Returns an error of writing, with the path.
    pub(super) fn failed(&self, source: io::Error) -> Error {
        Error::Write { action: "write", path: self.path.clone(), source }
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Draft(draft) => draft.write(bytes),
            Self::Stdout(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Draft(draft) => draft.flush(),
            Self::Stdout(file) => file.flush(),
        }
    }
}
