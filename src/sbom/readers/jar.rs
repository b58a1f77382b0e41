//! Java archives, and those within them.
//!
//! An archive is a zip, whose list of files stands at its end; here its bytes pass but once, so that it is read by the
//! header before each file. Packages are what Maven notes (`pom.properties`); without it, what the manifest or the file's
//! name says. An archive within another is one as well, up to four deep.
//!
//! Sources: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>,
//! <https://docs.oracle.com/en/java/javase/21/docs/specs/jar/jar.html>.

use super::inflate::{Inflate, Progress};
use crate::sbom::file::Findings;

mod facts;

use facts::Facts;

/// How many archives may lie in each other.
const DEEPEST: usize = 4;
/// The most of a text in an archive that is read.
const LARGEST_TEXT: usize = 256 << 10;
/// What may stand before the first file: the script of an archive that starts itself.
const LONGEST_SCRIPT: u64 = 1 << 20;
const HEADER: usize = 30;
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const DESCRIPTOR: &[u8; 4] = b"PK\x07\x08";

/// Reads an archive while it passes.
pub(in crate::sbom) struct Scan {
    window: Vec<u8>,
    passed: u64,
    depth: usize,
    state: State,
    facts: Facts,
    found: Findings,
    /// The archives within that could not be read.
    unread: usize,
    is_archive: bool,
}

enum State {
    /// Before the first file.
    Script,
    /// At a header, or at the list at the end.
    Header,
    /// Within the bytes of a file of known length.
    Stored {
        left: u64,
        sink: Sink,
        has_descriptor: bool,
    },
    /// Within bytes that tell themselves where they end.
    Deflated {
        inflate: Box<Inflate>,
        sink: Sink,
        has_descriptor: bool,
    },
    /// Behind a file whose length is told there.
    Descriptor,
    Done,
}

/// Who takes the content of a file.
enum Sink {
    Nobody,
    Text { name: Vec<u8>, bytes: Vec<u8> },
    Archive(Box<Scan>),
}

/// The header of a file.
struct Header {
    flags: u16,
    method: u16,
    /// How many bytes it has as it is stored.
    stored: u64,
    name: Vec<u8>,
    length: usize,
}

impl Scan {
    pub(in crate::sbom) fn new(path: &[u8]) -> Self {
        Self::at_depth(path, 1)
    }

    fn at_depth(path: &[u8], depth: usize) -> Self {
        Self {
            window: Vec::new(),
            passed: 0,
            depth,
            state: State::Script,
            facts: Facts::new(path),
            found: Findings::default(),
            unread: 0,
            is_archive: false,
        }
    }

    /// Takes the next piece; tells whether more is wanted.
    pub(in crate::sbom) fn content(&mut self, bytes: &[u8]) -> bool {
        self.window.extend_from_slice(bytes);
        while self.step(false) {}
        !matches!(self.state, State::Done)
    }

    /// Returns what was found.
    pub(in crate::sbom) fn end(mut self) -> Findings {
        while self.step(true) {}
        match &self.state {
            State::Done => {}
            State::Script => self.found.notes.push("it is no archive".to_owned()),
            _ => self.found.notes.push("it is cut off: what comes after is not read".to_owned()),
        }
        if self.unread > 0 {
            let note = format!("{} archives within it lie too deep and are not read", self.unread);
            self.found.notes.push(note);
        }
        let mut packages = if self.is_archive { self.facts.packages() } else { Vec::new() };
        packages.append(&mut self.found.packages);
        packages.sort();
        packages.dedup();
        Findings { packages, ..self.found }
    }

    /// Goes on as far as the window allows; tells whether more can be done with it.
    fn step(&mut self, is_last: bool) -> bool {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Script => self.script(),
            State::Header => self.header(),
            State::Stored { left, mut sink, has_descriptor } => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.window.len());
                sink.content(&self.window[..count]);
                self.drop_front(count);
                let left = left - count as u64;
                if left > 0 {
                    self.state = State::Stored { left, sink, has_descriptor };
                    return false;
                }
                self.end_of_file(sink, has_descriptor)
            }
            State::Deflated { mut inflate, mut sink, has_descriptor } => {
                let mut act = |bytes: &[u8]| {
                    sink.content(bytes);
                    true
                };
                let Ok(Progress { taken, is_end }) = inflate.feed(&self.window, &mut act) else {
                    return self.broken("it is damaged: what comes after is not read");
                };
                self.drop_front(taken);
                if is_end {
                    return self.end_of_file(sink, has_descriptor);
                }
                self.state = State::Deflated { inflate, sink, has_descriptor };
                false
            }
            State::Descriptor => match descriptor(&self.window, is_last) {
                Some(length) => {
                    self.drop_front(length);
                    self.state = State::Header;
                    true
                }
                None => {
                    self.state = State::Descriptor;
                    false
                }
            },
            State::Done => {
                self.window.clear();
                false
            }
        }
    }

    fn script(&mut self) -> bool {
        match memchr::memmem::find(&self.window, LOCAL) {
            Some(at) => {
                self.drop_front(at);
                self.is_archive = true;
                self.state = State::Header;
                true
            }
            None if self.passed > LONGEST_SCRIPT => self.broken("it is no archive"),
            None => {
                self.drop_front(self.window.len().saturating_sub(LOCAL.len() - 1));
                self.state = State::Script;
                false
            }
        }
    }

    fn header(&mut self) -> bool {
        let Some(signature) = self.window.first_chunk::<4>() else {
            self.state = State::Header;
            return false;
        };
        if signature != LOCAL {
            // The list of all files: the last one has passed.
            return false;
        }
        let Some(header) = read_header(&self.window) else {
            self.state = State::Header;
            return false;
        };
        self.drop_front(header.length);
        let has_descriptor = header.flags & 8 != 0;
        let sink = self.sink(&header);
        let is_skipped = matches!(sink, Sink::Nobody) && !has_descriptor;
        self.state = match header.method {
            _ if header.flags & 1 != 0 => return self.broken("it is encrypted: what comes after is not read"),
            8 if !is_skipped => State::Deflated { inflate: Box::new(Inflate::new(false)), sink, has_descriptor },
            0 if has_descriptor && header.stored == 0 && !header.name.ends_with(b"/") => {
                return self.broken("a file in it has no length: what comes after is not read");
            }
            0 => State::Stored { left: header.stored, sink, has_descriptor },
            _ if !has_descriptor => State::Stored { left: header.stored, sink: Sink::Nobody, has_descriptor },
            _ => return self.broken("a file in it is compressed in an unknown way: what comes after is not read"),
        };
        true
    }

    fn sink(&mut self, header: &Header) -> Sink {
        let name = &header.name;
        if facts::is_wanted(name) {
            return Sink::Text { name: name.clone(), bytes: Vec::new() };
        }
        if !name.ends_with(b".jar") && !name.ends_with(b".war") {
            return Sink::Nobody;
        }
        if self.depth >= DEEPEST {
            self.unread += 1;
            return Sink::Nobody;
        }
        Sink::Archive(Box::new(Self::at_depth(name, self.depth + 1)))
    }

    fn end_of_file(&mut self, sink: Sink, has_descriptor: bool) -> bool {
        match sink {
            Sink::Nobody => {}
            Sink::Text { name, bytes } => self.facts.text(&name, &bytes),
            Sink::Archive(scan) => {
                let name = scan.facts.name();
                let inner = scan.end();
                self.found.packages.extend(inner.packages);
                self.found.notes.extend(inner.notes.into_iter().map(|note| format!("{name}: {note}")));
            }
        }
        self.state = if has_descriptor { State::Descriptor } else { State::Header };
        true
    }

    fn broken(&mut self, note: &str) -> bool {
        self.found.notes.push(note.to_owned());
        self.window.clear();
        false
    }

    fn drop_front(&mut self, count: usize) {
        self.window.drain(..count);
        self.passed += count as u64;
    }
}

impl Sink {
    fn content(&mut self, content: &[u8]) {
        match self {
            Self::Nobody => {}
            Self::Text { bytes, .. } => {
                let room = LARGEST_TEXT.saturating_sub(bytes.len()).min(content.len());
                bytes.extend_from_slice(&content[..room]);
            }
            Self::Archive(scan) => {
                scan.content(content);
            }
        }
    }
}

fn read_header(window: &[u8]) -> Option<Header> {
    let fixed = window.first_chunk::<HEADER>()?;
    let short = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (name_length, extra_length) = (usize::from(short(26)), usize::from(short(28)));
    let length = HEADER + name_length + extra_length;
    let rest = window.get(HEADER..length)?;
    let (name, extra) = rest.split_at(name_length);
    let (mut stored, real) = (u64::from(long(18)), long(22));
    if stored == u64::from(u32::MAX) {
        stored = stored_in_extra(extra, real == u32::MAX).unwrap_or(stored);
    }
    Some(Header { flags: short(6), method: short(8), stored, name: name.to_vec(), length })
}

/// Looks for the length of a file that is too long for its header.
fn stored_in_extra(mut extra: &[u8], has_real: bool) -> Option<u64> {
    while let [kind_low, kind_high, length_low, length_high, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*length_low, *length_high]));
        let (field, after) = rest.split_at_checked(length)?;
        if (*kind_low, *kind_high) == (1, 0) {
            let at = if has_real { 8 } else { 0 };
            return Some(u64::from_le_bytes(field.get(at..at + 8)?.try_into().ok()?));
        }
        extra = after;
    }
    None
}

/// Returns how long the note behind a file is: with a mark or without, with numbers of four bytes or of eight. What comes
/// after it begins with `PK`. None where more must be there to tell.
fn descriptor(window: &[u8], is_last: bool) -> Option<usize> {
    let mark = if window.starts_with(DESCRIPTOR) { 4 } else { 0 };
    let lengths = [mark + 12, mark + 20];
    let fits = |length: &usize| window.get(*length..length + 2) == Some(b"PK");
    let found = lengths.into_iter().find(fits);
    found.or((is_last || window.len() > 26).then_some(lengths[0].min(window.len())))
}

#[cfg(test)]
mod tests;
