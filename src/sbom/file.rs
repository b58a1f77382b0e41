//! One file, while its content passes.

use std::io;

use serde::{Deserialize, Serialize};

use super::package::{Distribution, Package};
use super::readers::{elf, jar, rpm};
use super::select::{self, Chosen};
use super::text::Lines;

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The packages that it records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// Which distribution it says the image is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Licences of the package that the file's directory is named after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<String>,
    /// What of it could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Findings {
    /// Returns packages.
    pub(super) fn of(packages: Vec<Package>) -> Self {
        Self { packages, ..Self::default() }
    }

    /// Says that the file was not read, and why.
    pub(super) fn unread(reason: impl Into<String>) -> Self {
        Self { notes: vec![reason.into()], ..Self::default() }
    }

    /// Tells whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The content of a file that is read here and there.
pub trait Pages {
    /// Returns its length in bytes.
    fn length(&self) -> u64;

    /// Fills `buffer` with what stands at `offset`.
    ///
    /// # Errors
    /// When that cannot be read, or the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Pages for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Reads a whole text once it is there.
pub(super) type Parse = fn(path: &[u8], text: &[u8]) -> Result<Findings, String>;

/// Reads one file.
pub struct FileScan(State);

enum State {
    /// Nothing of it is known but that it may be a program.
    Unknown(Vec<u8>),
    Lines(Lines),
    Whole {
        path: Vec<u8>,
        bytes: Vec<u8>,
        parse: Parse,
    },
    Elf(Box<elf::Scan>),
    Jar(Box<jar::Scan>),
    Rpm(rpm::Database),
    Unread(String),
    Done,
}

impl FileScan {
    /// Begins with a regular file, `path` relative to the root and `size` in bytes; none where nothing of it is wanted.
    pub fn begin(path: &[u8], size: u64) -> Option<Self> {
        let state = match select::choose(path, size)? {
            Chosen::Program => State::Unknown(Vec::new()),
            Chosen::Lines(make) => State::Lines(make(path)),
            Chosen::Whole { most, .. } if size > most => {
                State::Unread(format!("it has {size} bytes, and no more than {most} are read"))
            }
            Chosen::Whole { parse, .. } => State::Whole { path: path.to_vec(), bytes: Vec::new(), parse },
            Chosen::Jar => State::Jar(Box::new(jar::Scan::new(path))),
            Chosen::Rpm(database) => State::Rpm(database),
            Chosen::Unread(reason) => State::Unread(reason.to_owned()),
        };
        Some(Self(state))
    }

    /// Tells whether [`FileScan::end_with`] is to be called with the file's content, which it then reads here and there.
    pub fn wants_pages(&self) -> bool {
        matches!(self.0, State::Rpm(_))
    }

    /// Takes the next piece of the content; tells whether more is wanted.
    pub fn content(&mut self, bytes: &[u8]) -> bool {
        match &mut self.0 {
            State::Unknown(first) => {
                first.extend_from_slice(bytes);
                if first.len() < elf::MAGIC.len() {
                    return true;
                }
                let first = std::mem::take(first);
                if !first.starts_with(elf::MAGIC) {
                    self.0 = State::Done;
                    return false;
                }
                let mut scan = Box::new(elf::Scan::default());
                scan.content(&first);
                self.0 = State::Elf(scan);
                true
            }
            State::Lines(lines) => lines.content(bytes),
            State::Whole { bytes: all, .. } => {
                all.extend_from_slice(bytes);
                true
            }
            State::Elf(scan) => {
                scan.content(bytes);
                true
            }
            State::Jar(scan) => scan.content(bytes),
            State::Rpm(_) => true,
            State::Unread(_) | State::Done => false,
        }
    }

    /// Ends with a file whose content passed.
    pub fn end(self) -> Findings {
        match self.0 {
            State::Unknown(_) | State::Done => Findings::default(),
            State::Lines(lines) => lines.end(),
            State::Whole { path, bytes, parse } => parse(&path, &bytes).unwrap_or_else(Findings::unread),
            State::Elf(scan) => scan.end(),
            State::Jar(scan) => scan.end(),
            State::Rpm(_) => Findings::unread("its content could not be kept for reading"),
            State::Unread(reason) => Findings::unread(reason),
        }
    }

    /// Ends with a file that is read here and there.
    pub fn end_with(self, pages: &dyn Pages) -> Findings {
        match self.0 {
            State::Rpm(database) => database.read(pages).unwrap_or_else(Findings::unread),
            _ => self.end(),
        }
    }
}
