//! The places of references in a Dockerfile.

use std::collections::BTreeSet;

use super::super::expand::Expander;
use super::super::flags::is_flag;
use super::super::lex::{Line, lex};
use super::super::words::{Command, Token, length, plain_words, split_command};
use super::super::{Dockerfile, Mount, ParseError};
use super::argument::Arguments;
use super::{Images, Left, Named, position};
use crate::oci::Reference;

/// The base that is none.
const SCRATCH: &str = "scratch";
const PINNED: &str = "@sha256:";
const SPLIT: &str = "it is not written in one piece: continued on the next line, or with quotes or escapes in it";

/// Finds all references of a valid Dockerfile.
pub(super) fn find(text: &[u8], dockerfile: &Dockerfile) -> Result<Images, ParseError> {
    let lexed = lex(text)?;
    let names = dockerfile.stages.iter().map(|stage| stage.name.clone()).collect();
    let escape = dockerfile.directives.escape;
    let arguments = Arguments::of(dockerfile);
    let mut finder = Finder { text, escape, names, stage: 0, arguments, images: Images::default() };
    if let Some(syntax) = &dockerfile.directives.syntax {
        let (line, column) = position(text, syntax.span.start);
        let reason = "`# syntax=` names a reader of the language, which is not used here".to_owned();
        finder.images.left.push(Left { line, column, written: syntax.value.clone(), reason, is_open: false });
    }
    for line in &lexed.lines {
        finder.line(line);
    }
    Ok(finder.images)
}

/// A text in a logical line that may be the reference of an image.
pub(super) struct Candidate<'a> {
    pub(super) instruction: &'static str,
    pub(super) line: &'a Line,
    /// What it says.
    pub(super) value: &'a str,
    /// Where in the line it is written, if it is written as it is.
    pub(super) offset: Option<usize>,
    /// Where the word that it is in begins.
    pub(super) word: usize,
}

struct Finder<'a> {
    text: &'a [u8],
    escape: char,
    /// The stages' names.
    names: Vec<Option<String>>,
    /// How many FROMs there were.
    stage: usize,
    arguments: Arguments<'a>,
    images: Images,
}

impl Finder<'_> {
    fn line(&mut self, line: &Line) {
        let command = split_command(&line.text, 0, self.escape);
        match &*command.keyword.to_uppercase() {
            "FROM" => self.from(line, &command),
            "ARG" if self.stage == 0 => self.arguments.defined_in(line, &command, self.escape),
            "COPY" => self.copy(line, &command),
            "RUN" => self.run(line, &command),
            "ONBUILD" => self.trigger(line, &command),
            _ => {}
        }
    }

    fn from(&mut self, line: &Line, command: &Command<'_>) {
        let words = plain_words(command.rest, command.offset);
        let stage = self.stage;
        self.stage += 1;
        let Some(word) = words.first() else { return };
        let unset = |_: &str| None;
        let expanded = Expander::new(self.escape, &unset).word(&word.text);
        match expanded {
            Ok(expanded) if expanded.unmatched.is_empty() && !word.text.contains('$') => {
                let earlier: BTreeSet<String> =
                    self.names[..stage.min(self.names.len())].iter().flatten().cloned().collect();
                if expanded.text != SCRATCH && !earlier.contains(&expanded.text.to_lowercase()) {
                    let raw = &line.text[word.offset..word.offset + word.text.len()];
                    let offset = raw.find(&expanded.text).map(|at| word.offset + at);
                    let (instruction, value) = ("FROM", &*expanded.text);
                    self.take(&Candidate { instruction, line, value, offset, word: word.offset });
                }
            }
            _ => self.with_variables(line, word, stage),
        }
    }

    fn with_variables(&mut self, line: &Line, word: &Token, stage: usize) {
        let is_pinned = word
            .text
            .rsplit_once(PINNED)
            .is_some_and(|(_, hex)| format!("sha256:{hex}").parse::<crate::oci::Digest>().is_ok());
        if is_pinned {
            let reason = "it has a digest, and a name that is put together of variables";
            return self.leave(line, word.offset, &word.text, (reason.to_owned(), false));
        }
        match self.arguments.stands_for(&word.text) {
            Err(reason) => self.leave(line, word.offset, &word.text, (reason, true)),
            Ok(found) => {
                let is_stage = self.names[..stage.min(self.names.len())]
                    .iter()
                    .flatten()
                    .any(|name| *name == found.reference.to_lowercase());
                if found.reference == SCRATCH || is_stage {
                    return;
                }
                let named = found.reference.parse::<Reference>();
                let place = found.place.filter(|place| self.text[*place..].starts_with(found.value.as_bytes()));
                match (named, place) {
                    (Err(error), _) => self.leave(line, word.offset, &word.text, (error.to_string(), true)),
                    (_, None) => {
                        let reason = format!("the default of ARG {}: {SPLIT}", found.name);
                        self.leave(line, word.offset, &word.text, (reason, true));
                    }
                    (Ok(reference), Some(start)) => {
                        let ((line, column), before) =
                            (position(self.text, start), found.reference.len() - found.value.len());
                        let (instruction, written) = ("ARG", found.reference);
                        self.images.named.push(Named { instruction, line, column, reference, written, before, start });
                    }
                }
            }
        }
    }

    fn copy(&mut self, line: &Line, command: &Command<'_>) {
        for flag in command.flags.iter().filter(|flag| is_flag(flag, "from")) {
            let Some(from) = value_of(flag) else { continue };
            if self.is_stage(from) {
                continue;
            }
            let raw = raw(line, flag, self.escape);
            let value = raw.find('=').map_or(raw.len(), |at| at + 1);
            let offset = raw[value..].find(from).map(|at| flag.offset + value + at);
            self.take(&Candidate { instruction: "COPY", line, value: from, offset, word: flag.offset });
        }
    }

    fn run(&mut self, line: &Line, command: &Command<'_>) {
        for flag in command.flags.iter().filter(|flag| is_flag(flag, "mount")) {
            let Some(mount) = value_of(flag).and_then(|text| Mount::parse(text).ok()) else { continue };
            let Some(from) = mount.from().filter(|from| !self.is_stage(from)) else { continue };
            let raw = raw(line, flag, self.escape);
            let offset = field(raw, from).map(|at| flag.offset + at);
            self.take(&Candidate { instruction: "RUN", line, value: from, offset, word: flag.offset });
        }
    }

    /// Tells of the images of a trigger: whoever builds on this one may have a stage of that name.
    fn trigger(&mut self, line: &Line, command: &Command<'_>) {
        let inner = split_command(command.rest, command.offset, self.escape);
        for flag in &inner.flags {
            let mount = value_of(flag).filter(|_| is_flag(flag, "mount")).and_then(|text| Mount::parse(text).ok());
            let of_mount = mount.as_ref().and_then(Mount::from);
            let Some(from) = value_of(flag).filter(|_| is_flag(flag, "from")).or(of_mount) else { continue };
            if from.parse::<usize>().is_err() {
                let reason = "ONBUILD: what it means is decided where somebody builds on this image";
                self.leave(line, flag.offset, from, (reason.to_owned(), false));
            }
        }
    }

    /// Tells whether a `--from` means no image: a stage by name or number, or nothing.
    fn is_stage(&self, from: &str) -> bool {
        let lower = from.to_lowercase();
        from.is_empty()
            || from == SCRATCH
            || from.parse::<usize>().is_ok()
            || self.names.iter().flatten().any(|name| *name == lower)
    }

    fn take(&mut self, candidate: &Candidate<'_>) {
        let Candidate { instruction, line, value, offset, word } = *candidate;
        let start = offset.and_then(|offset| place(self.text, line, offset, value));
        let (reference, start) = match (value.parse::<Reference>(), start) {
            (Err(error), _) => return self.leave(line, word, value, (error.to_string(), true)),
            (_, None) => return self.leave(line, word, value, (SPLIT.to_owned(), true)),
            (Ok(reference), Some(start)) => (reference, start),
        };
        let (line, column) = position(self.text, start);
        let written = value.to_owned();
        self.images.named.push(Named { instruction, line, column, reference, written, before: 0, start });
    }

    fn leave(&mut self, line: &Line, offset: usize, written: &str, (reason, is_open): (String, bool)) {
        let (line, column) = position(self.text, line.place(offset));
        self.images.left.push(Left { line, column, written: written.to_owned(), reason, is_open });
    }
}

/// Returns where in the file a part of a line stands, if it does so in one piece.
pub(super) fn place(text: &[u8], line: &Line, offset: usize, value: &str) -> Option<usize> {
    let start = line.place(offset);
    text.get(start..).filter(|rest| rest.starts_with(value.as_bytes())).map(|_| start)
}

fn value_of(flag: &Token) -> Option<&str> {
    flag.text.split_once('=').map(|(_, value)| value)
}

/// Returns a flag as it is written, quotes included.
fn raw<'a>(line: &'a Line, flag: &Token, escape: char) -> &'a str {
    let rest = &line.text[flag.offset..];
    &rest[..length(rest, escape)]
}

/// Finds the value of the last `from=` of a mount.
fn field(raw: &str, value: &str) -> Option<usize> {
    const KEY: &str = "from=";
    let lower = raw.to_ascii_lowercase();
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b',' | b'=' | b'"' | b'\''));
    let bytes = raw.as_bytes();
    let is_field = |at: &usize| {
        let start = at + KEY.len();
        is_edge(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && raw[start..].starts_with(value)
            && is_edge(bytes.get(start + value.len()))
    };
    lower.rmatch_indices(KEY).map(|(at, _)| at).find(is_field).map(|at| at + KEY.len())
}
