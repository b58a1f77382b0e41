//! Files of which the archive leaves out the holes: where their data goes.
//!
//! Knows GNU's old sparse headers and the three PAX forms (0.0, 0.1, 1.0); a map it does not understand is an error,
//! never a file with wrong content.
//!
//! Source: GNU tar manual, "Storing Sparse Files".

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::header::{BLOCK, Fault, number, text};
use super::pax;

/// More pieces than this make a map larger than 1 MiB in memory.
const MOST_SEGMENTS: usize = 1 << 16;

const MALFORMED: Fault = "its sparse map is malformed";

/// A piece of data within a file that is otherwise zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Where the data of a sparse file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SparseMap {
    pub(super) segments: Vec<Segment>,
    /// The file's size with its holes.
    pub(super) size: u64,
}

impl SparseMap {
    /// Checks that the segments stand in order, within the file, and add up to the data that the archive holds.
    pub(super) fn new(segments: Vec<Segment>, size: u64, stored: u64) -> Result<Self, Fault> {
        let mut end = 0;
        let mut total: u64 = 0;
        for segment in &segments {
            if segment.offset < end {
                return Err(MALFORMED);
            }
            end = segment.offset.checked_add(segment.length).ok_or(MALFORMED)?;
            total = total.checked_add(segment.length).ok_or(MALFORMED)?;
        }
        if end > size || total != stored {
            return Err(MALFORMED);
        }
        Ok(Self { segments, size })
    }
}

/// What the PAX records of an entry say about holes.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) name: Option<Vec<u8>>,
    version: (Option<u64>, Option<u64>),
    size: Option<u64>,
    numbers: Vec<u64>,
    found: bool,
}

/// How the map of an entry is to be had.
pub(super) enum Form {
    /// Not a sparse file.
    Dense,
    /// The records held it.
    Known(SparseMap),
    /// It stands before the data, in blocks of its own; the file's size is known.
    InData(u64),
}

impl Records {
    /// Takes note of the record `GNU.sparse.<key>`.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.found = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.version.0 = Some(pax::unsigned(value)?),
            b"minor" => self.version.1 = Some(pax::unsigned(value)?),
            b"size" | b"realsize" => self.size = Some(pax::unsigned(value)?),
            b"numblocks" => {}
            b"offset" | b"numbytes" => {
                // The two alternate, offset first.
                if self.numbers.len().is_multiple_of(2) != (key == b"offset") {
                    return Err(MALFORMED);
                }
                self.push(pax::unsigned(value)?)?;
            }
            b"map" => {
                self.numbers.clear();
                for part in value.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
                    self.push(pax::unsigned(part)?)?;
                }
            }
            _ => return Err("it is a sparse file of an unknown form"),
        }
        Ok(())
    }

    fn push(&mut self, number: u64) -> Result<(), Fault> {
        if self.numbers.len() == 2 * MOST_SEGMENTS {
            return Err("its sparse map is too large");
        }
        self.numbers.push(number);
        Ok(())
    }

    /// Tells the form of an entry with `stored` bytes of data.
    pub(super) fn form(&self, stored: u64) -> Result<Form, Fault> {
        if !self.found {
            return Ok(Form::Dense);
        }
        let size = self.size.ok_or(MALFORMED)?;
        match self.version {
            (Some(1), Some(0)) => Ok(Form::InData(size)),
            (None, None) | (Some(0), Some(0 | 1)) => {
                Ok(Form::Known(SparseMap::new(pairs(&self.numbers)?, size, stored)?))
            }
            _ => Err("it is a sparse file of an unknown form"),
        }
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Segment>, Fault> {
    let (pairs, rest) = numbers.as_chunks();
    if !rest.is_empty() {
        return Err(MALFORMED);
    }
    Ok(pairs.iter().map(|[offset, length]| Segment { offset: *offset, length: *length }).collect())
}

/// Reads the map that stands before the data, block by block.
#[derive(Default)]
pub(super) struct MapInData {
    line: Vec<u8>,
    /// How many numbers there will be, when the first line has been read.
    expected: Option<usize>,
    numbers: Vec<u64>,
}

impl MapInData {
    /// Takes one block; returns the segments when it was the last of the map.
    pub(super) fn block(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Segment>>, Fault> {
        for byte in block {
            if *byte != b'\n' {
                if self.line.len() == 20 {
                    return Err(MALFORMED);
                }
                self.line.push(*byte);
                continue;
            }
            let number = pax::unsigned(&self.line).map_err(|_| MALFORMED)?;
            self.line.clear();
            match self.expected {
                None => {
                    let count = usize::try_from(number).ok().filter(|count| *count <= MOST_SEGMENTS);
                    self.expected = Some(2 * count.ok_or("its sparse map is too large")?);
                }
                Some(_) => self.numbers.push(number),
            }
            if self.expected == Some(self.numbers.len()) {
                return pairs(&self.numbers).map(Some);
            }
        }
        Ok(None)
    }
}

/// Reads the first segments and the file's size from an old GNU header (type `S`); tells whether blocks with more
/// segments follow.
pub(super) fn gnu(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, u64, bool), Fault> {
    let header = Header::from_byte_slice(block).as_gnu().ok_or("it is a sparse file without a GNU header")?;
    let mut segments = Vec::new();
    add(&mut segments, &header.sparse)?;
    let size = u64::try_from(number(&header.realsize)?).map_err(|_| MALFORMED)?;
    Ok((segments, size, header.isextended[0] == 1))
}

/// Reads a block of further segments; tells whether another follows.
pub(super) fn gnu_more(block: &[u8; BLOCK], segments: &mut Vec<Segment>) -> Result<bool, Fault> {
    let mut extension = GnuExtSparseHeader::new();
    extension.as_mut_bytes().copy_from_slice(block);
    add(segments, &extension.sparse)?;
    Ok(extension.isextended[0] == 1)
}

fn add(segments: &mut Vec<Segment>, found: &[GnuSparseHeader]) -> Result<(), Fault> {
    for segment in found {
        if text(&segment.offset).is_empty() && text(&segment.numbytes).is_empty() {
            continue;
        }
        if segments.len() == MOST_SEGMENTS {
            return Err("its sparse map is too large");
        }
        let field = |field| number(field).and_then(|value| u64::try_from(value).map_err(|_| MALFORMED));
        segments.push(Segment { offset: field(&segment.offset)?, length: field(&segment.numbytes)? });
    }
    Ok(())
}

/// Where in a sparse file the reading stands.
pub(super) struct Holes {
    map: SparseMap,
    next: usize,
    position: u64,
}

impl Holes {
    /// Stands at the beginning.
    pub(super) fn new(map: SparseMap) -> Self {
        Self { map, next: 0, position: 0 }
    }

    /// Takes note of bytes that were read.
    pub(super) fn advance(&mut self, count: u64) {
        self.position += count;
    }

    /// Returns whether a hole comes next, and how many bytes of it or of data are left.
    pub(super) fn run(&mut self) -> (bool, u64) {
        while let Some(segment) = self.map.segments.get(self.next) {
            if self.position < segment.offset {
                return (true, segment.offset - self.position);
            }
            let end = segment.offset + segment.length;
            if self.position < end {
                return (false, end - self.position);
            }
            self.next += 1;
        }
        (true, self.map.size - self.position)
    }
}
