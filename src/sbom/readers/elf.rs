//! Programs: the modules that Go's linker notes in them, and the crates that `cargo auditable` does.
//!
//! Where in a program these stand, tables at its end say; here the bytes pass but once, and both are known by how they
//! begin. Go's note is aligned to 16 bytes and followed by its length; the list of crates is a zlib stream of a JSON object.
//!
//! Sources: Go's `debug/buildinfo` and `runtime/debug`; <https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md>.

use memchr::{memchr_iter, memmem};
use serde::Deserialize;

use super::inflate::{Inflate, Progress};
use crate::sbom::file::Findings;
use crate::sbom::package::{Kind, Package};

/// How a program begins.
pub(in crate::sbom) const MAGIC: &[u8] = b"\x7fELF";

const GO: &[u8] = b"\xff Go buildinf:";
const GO_HEADER: usize = 32;
const GO_ALIGNMENT: u64 = 16;
/// The most that Go notes of modules may take.
const LARGEST_GO: usize = 4 << 20;
/// What stands before and after the text of modules: 16 bytes each, so that it can be found in memory.
const GO_FRAME: usize = 16;

/// How the list of crates begins when it is inflated.
const CRATES: &[u8] = b"{\"packages\":[";
/// The most that it may have, inflated.
const LARGEST_CRATES: usize = 8 << 20;
/// So many bytes of a stream tell how it begins.
const PROBE: usize = 128;

/// Looks through a program while it passes.
#[derive(Default)]
pub(in crate::sbom) struct Scan {
    window: Vec<u8>,
    /// Where in the file the window begins.
    offset: u64,
    state: State,
    found: Findings,
}

#[derive(Default)]
enum State {
    #[default]
    Searching,
    /// The window begins with Go's note, not all of which is there.
    Go,
    Crates(Box<Inflate>, Vec<u8>),
}

enum Match {
    Go(usize),
    Crates(usize),
}

impl Scan {
    /// Takes the next piece.
    pub(in crate::sbom) fn content(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        while self.step(false) {}
    }

    /// Returns what was found.
    pub(in crate::sbom) fn end(mut self) -> Findings {
        while self.step(true) {}
        if let State::Crates(..) = self.state {
            self.found.notes.push("its list of crates is cut off".to_owned());
        }
        self.found
    }

    /// Goes on as far as the window allows; tells whether more can be done with it. Nothing comes after the last one.
    fn step(&mut self, is_last: bool) -> bool {
        match &mut self.state {
            State::Searching => match self.search(is_last) {
                Some(Match::Go(at)) => {
                    self.drop_front(at);
                    self.state = State::Go;
                    true
                }
                Some(Match::Crates(at)) => {
                    self.drop_front(at);
                    self.state = State::Crates(Box::new(Inflate::new(true)), Vec::new());
                    true
                }
                None => {
                    let kept = if is_last { 0 } else { PROBE.min(self.window.len()) };
                    self.drop_front(self.window.len() - kept);
                    false
                }
            },
            State::Go => match go(&self.window) {
                Go::More if !is_last && self.window.len() < LARGEST_GO => false,
                Go::Found(length, packages) => {
                    self.found.packages.extend(packages);
                    self.resume(length)
                }
                Go::Old => {
                    self.found.notes.push("Go before 1.18 has built it: its modules are not read".to_owned());
                    self.resume(GO_HEADER)
                }
                Go::Nothing | Go::More => self.resume(GO.len()),
            },
            State::Crates(inflate, text) => {
                let mut act = |bytes: &[u8]| {
                    text.extend_from_slice(bytes);
                    text.len() <= LARGEST_CRATES
                };
                let Ok(Progress { taken, is_end }) = inflate.feed(&self.window, &mut act) else {
                    return self.resume(1);
                };
                if !is_end {
                    self.drop_front(taken);
                    return false;
                }
                let text = std::mem::take(text);
                match crates(&text) {
                    Some(packages) => self.found.packages.extend(packages),
                    None => self.found.notes.push("its list of crates cannot be read".to_owned()),
                }
                self.resume(taken)
            }
        }
    }

    fn resume(&mut self, after: usize) -> bool {
        self.drop_front(after.min(self.window.len()));
        self.state = State::Searching;
        true
    }

    fn drop_front(&mut self, count: usize) {
        self.window.drain(..count);
        self.offset += count as u64;
    }

    /// Finds the first place where one of the two may begin. Behind a place, so much must be there that it can be told.
    fn search(&self, is_last: bool) -> Option<Match> {
        let end = if is_last { self.window.len() } else { self.window.len().saturating_sub(PROBE) };
        let is_aligned = |at: &usize| (self.offset + *at as u64).is_multiple_of(GO_ALIGNMENT);
        let go = memmem::find_iter(&self.window, GO).find(is_aligned).filter(|at| *at < end);
        let until = go.unwrap_or(end);
        let crates = memchr_iter(b'x', &self.window[..until]).find(|at| is_crates(&self.window[*at..]));
        crates.map(Match::Crates).or(go.map(Match::Go))
    }
}

/// Tells whether a zlib stream begins here that inflates to a list of crates.
fn is_crates(bytes: &[u8]) -> bool {
    // The second byte has the level, and makes both together a multiple of 31.
    if !matches!(bytes, [b'x', 0x01 | 0x5e | 0x9c | 0xda, ..]) {
        return false;
    }
    let mut text = [0; CRATES.len()];
    let probe = &bytes[..bytes.len().min(PROBE)];
    // The output is full before the stream is at its end, and that is no error.
    let _ = flate2::Decompress::new(true).decompress(probe, &mut text, flate2::FlushDecompress::None);
    text == *CRATES
}

enum Go {
    More,
    /// It is something else.
    Nothing,
    /// It holds addresses in place of texts.
    Old,
    /// It was this long.
    Found(usize, Vec<Package>),
}

fn go(note: &[u8]) -> Go {
    const INLINE: u8 = 2;
    let Some(header) = note.first_chunk::<GO_HEADER>() else { return Go::More };
    let (pointer, flags) = (header[14], header[15]);
    if flags & INLINE == 0 {
        return if matches!(pointer, 4 | 8) && flags < INLINE { Go::Old } else { Go::Nothing };
    }
    let mut rest = &note[GO_HEADER..];
    let version = match text(&mut rest) {
        Ok(version) => version,
        Err(end) => return end,
    };
    let is_version = version.starts_with(b"go1") || version.starts_with(b"devel ");
    let modules = match text(&mut rest) {
        Ok(modules) => modules,
        Err(end) => return end,
    };
    if !is_version {
        return Go::Nothing;
    }
    let version = String::from_utf8_lossy(version);
    let modules = modules.get(GO_FRAME..modules.len().saturating_sub(GO_FRAME)).unwrap_or_default();
    Go::Found(note.len() - rest.len(), go_packages(&version, &String::from_utf8_lossy(modules)))
}

/// Takes a text with its length before it.
fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Go> {
    let mut length = 0_usize;
    for (number, byte) in rest.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            if length > LARGEST_GO {
                return Err(Go::Nothing);
            }
            let (text, after) = rest[number + 1..].split_at_checked(length).ok_or(Go::More)?;
            *rest = after;
            return Ok(text);
        }
    }
    Err(if rest.len() < 5 { Go::More } else { Go::Nothing })
}

/// Reads `mod`, `dep` and `=>` lines; what replaces a module is what is in the program.
fn go_packages(version: &str, modules: &str) -> Vec<Package> {
    // An experiment or a patch of a distribution's may stand behind the number.
    let library = version.split(' ').next().unwrap_or_default().trim_start_matches("go");
    let mut found = vec![Package::new(Kind::Go, "stdlib", library)];
    for line in modules.lines() {
        let mut words = line.split('\t');
        let (Some(word), Some(path)) = (words.next(), words.next()) else { continue };
        // `(devel)` is what a module has that was built where it was written.
        let version = words.next().filter(|version| *version != "(devel)").unwrap_or_default();
        match word {
            "mod" | "dep" => found.push(Package::new(Kind::Go, path, version)),
            "=>" if found.len() > 1 => {
                found.pop();
                found.push(Package::new(Kind::Go, path, version));
            }
            _ => {}
        }
    }
    found
}

#[derive(Deserialize)]
struct Crates {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// `build` for what only helped to build the program.
    #[serde(default)]
    kind: Option<String>,
}

fn crates(text: &[u8]) -> Option<Vec<Package>> {
    let crates: Crates = serde_json::from_slice(text).ok()?;
    let in_program = crates.packages.into_iter().filter(|one| one.kind.as_deref() != Some("build"));
    Some(in_program.map(|one| Package::new(Kind::Cargo, one.name, one.version)).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::sbom::testing::{names, read, read_in};

    fn program(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.resize(1000, b'x');
        for part in parts {
            bytes.resize(bytes.len().next_multiple_of(16), 0);
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(&[b'x'; 300]);
        }
        bytes
    }

    fn go_note(version: &str, modules: &str) -> Vec<u8> {
        let mut note = [GO, &[8, 2], &[0; 16]].concat();
        let framed = format!("{}{modules}{}", "<".repeat(GO_FRAME), ">".repeat(GO_FRAME));
        for text in [version, &framed] {
            note.push(u8::try_from(text.len() & 0x7f).expect("seven bits") | 0x80);
            note.push(u8::try_from(text.len() >> 7).expect("short"));
            note.extend_from_slice(text.as_bytes());
        }
        note
    }

    const MODULES: &str = "path\texample.com/app/cmd\nmod\texample.com/app\t(devel)\t\n\
                           dep\tgolang.org/x/sys\tv0.15.0\th1:x=\ndep\tgithub.com/a/b\tv1.0.0\n\
                           =>\tgithub.com/c/b\tv1.0.1\th1:y=\nbuild\t-compiler=gc\nbuild\tvcs.revision=abc\n";

    #[test]
    fn modules_of_go_are_found() {
        let found = read("usr/bin/app", &program(&[&go_note("go1.22.1 X:boringcrypto", MODULES)]));
        let expected = ["stdlib 1.22.1", "example.com/app ", "golang.org/x/sys v0.15.0", "github.com/c/b v1.0.1"];
        assert_eq!(names(&found), expected);
    }

    #[test]
    fn what_only_looks_like_a_note_is_none() {
        // Go's own tools hold the mark as a constant; and one that stands askew is none.
        let fakes = [go_note("mark", "mod\ta\tb\n"), [b"1", &go_note("go1.22", MODULES)[..]].concat(), GO.to_vec()];
        let fakes: Vec<&[u8]> = fakes.iter().map(Vec::as_slice).collect();
        assert!(read_in("bin/a", &program(&fakes), 100).is_empty());
        let old = [GO, &[8, 0], &[1; 16]].concat();
        assert_eq!(read_in("bin/a", &program(&[&old]), 100).notes.len(), 1);
        let both = [GO, &go_note("go1.22", MODULES)].map(<[u8]>::to_vec);
        assert_eq!(read_in("bin/a", &program(&[&both[0], &both[1]]), 100).packages.len(), 4);
    }

    #[test]
    fn crates_are_found() {
        let json = br#"{"packages":[{"name":"cc","version":"1.0.1","source":"crates.io","kind":"build"},
            {"name":"serde","version":"1.0.190","source":"crates.io"},
            {"name":"app","version":"0.1.0","source":"local","dependencies":[0,1],"root":true}]}"#;
        for level in [1, 6, 9] {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(level));
            encoder.write_all(json).expect("in memory");
            let list = encoder.finish().expect("in memory");
            let found = read("usr/bin/app", &program(&[&list]));
            assert_eq!(names(&found), ["serde 1.0.190", "app 0.1.0"], "level {level}");
            let cut = program(&[])[..].to_vec();
            let cut = [&cut[..], &list[..list.len() - 20]].concat();
            assert_eq!(read_in("usr/bin/app", &cut, 50).notes.len(), 1, "level {level}");
        }
        assert!(read_in("usr/bin/app", &vec![b'x'; 5000], 100).is_empty(), "no program");
    }
}
