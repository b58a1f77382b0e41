//! Physical lines become logical ones: directives, comments, continuations and heredocs.
//!
//! Knows where each byte of a logical line stood in the file. Does not know what instructions mean, but for
//! which of them may have heredocs.
//!
//! *Invariant*: every byte of the file belongs to one logical line, to a heredoc of one, or is a comment, a
//! directive or blank.

use super::Directives;
use super::error::{Fault, ParseError, Warning};
use super::heredoc;
use super::instruction::{Heredoc, Span, Spanned};
use super::lint::{Rule, position};
use super::words::split_command;

/// The longest line in bytes, as in BuildKit.
const MAX_LINE: usize = 65535;

/// A file taken into logical lines.
#[derive(Debug)]
pub(super) struct Lexed {
    pub(super) directives: Directives,
    pub(super) lines: Vec<Line>,
    pub(super) warnings: Vec<Warning>,
}

/// An instruction on one line.
#[derive(Debug)]
pub(super) struct Line {
    /// The text, continuations joined, not trimmed at its end.
    pub(super) text: String,
    pub(super) span: Span,
    /// The heredocs that it begins, with their bodies.
    pub(super) heredocs: Vec<Heredoc>,
    /// The comments right above it, trimmed; an empty one sets those above it off.
    pub(super) comments: Vec<String>,
    /// Where pieces of the text begin: offset in the text, offset in the file.
    pieces: Vec<(usize, usize)>,
}

impl Line {
    /// Returns where a byte of the text stands in the file.
    pub(super) fn place(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|&(text, _)| text <= offset);
        let (text, file) = self.pieces[after.saturating_sub(1)];
        (file + (offset - text)).min(self.span.end)
    }

    /// Makes an error of a fault in this line.
    pub(super) fn error(&self, source: &[u8], fault: Fault) -> ParseError {
        error(source, self.span, self.place(fault.offset.unwrap_or(0)), fault)
    }

    /// Returns the text as it goes into the history: trimmed, its keyword in upper case.
    pub(super) fn original(&self) -> String {
        let text = self.text.trim();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        text[..end].to_uppercase() + &text[end..]
    }
}

/// Makes an error of a fault at an offset in the file.
pub(super) fn error(source: &[u8], span: Span, offset: usize, fault: Fault) -> ParseError {
    let (line, column) = position(source, offset);
    ParseError { message: fault.message, span, line, column, hint: fault.hint }
}

/// Takes a file into logical lines.
pub(super) fn lex(source: &[u8]) -> Result<Lexed, ParseError> {
    let start = if source.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
    let mut lexer = Lexer {
        reader: Reader { source, offset: start, number: 0 },
        directives: DirectiveReader::default(),
        escape: '\\',
        warnings: Vec::new(),
    };
    let (mut lines, mut comments) = (Vec::new(), Vec::new());
    while let Some(line) = lexer.reader.next()? {
        let indent = indent(line.content());
        let content = &line.content()[indent..];
        let is_directive = lexer.directive(content, &line, indent)?;
        match content {
            [] => {}
            [b'#'] => comments.clear(),
            [b'#', ..] if is_directive => {}
            [b'#', comment @ ..] => comments.push(String::from_utf8_lossy(comment).trim().to_owned()),
            _ => {
                let logical = lexer.logical(&line, indent)?;
                lines.push(Line { comments: std::mem::take(&mut comments), ..logical });
            }
        }
    }
    if lines.is_empty() {
        let message = if source.is_empty() { "the Dockerfile cannot be empty" } else { "file with no instructions" };
        let last_line = lexer.reader.number.max(1);
        let span = Span { first_line: 1, last_line, start: 0, end: source.len() };
        return Err(error(source, span, source.len(), Fault::new(message)));
    }
    let directives =
        Directives { escape: lexer.escape, syntax: lexer.directives.syntax, check: lexer.directives.check };
    Ok(Lexed { directives, lines, warnings: lexer.warnings })
}

/// One line of the file.
struct Physical<'a> {
    /// With its line end.
    bytes: &'a [u8],
    start: usize,
    number: usize,
}

impl<'a> Physical<'a> {
    /// Without any line ends.
    fn content(&self) -> &'a [u8] {
        let end = self.bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
        &self.bytes[..end.map_or(0, |end| end + 1)]
    }

    fn span(&self) -> Span {
        let end = self.start + self.content().len();
        Span { first_line: self.number, last_line: self.number, start: self.start, end }
    }
}

/// The length of the white space at the start.
fn indent(line: &[u8]) -> usize {
    let text = String::from_utf8_lossy(line);
    text.len() - text.trim_start().len()
}

/// Hands out the lines of the file.
struct Reader<'a> {
    source: &'a [u8],
    offset: usize,
    number: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<Physical<'a>>, ParseError> {
        let rest = &self.source[self.offset..];
        if rest.is_empty() {
            return Ok(None);
        }
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        self.number += 1;
        let line = Physical { bytes: &rest[..length], start: self.offset, number: self.number };
        self.offset += length;
        if line.bytes.strip_suffix(b"\n").unwrap_or(line.bytes).len() > MAX_LINE {
            let fault = Fault::new(format!("dockerfile line greater than max allowed size of {MAX_LINE}"));
            return Err(error(self.source, line.span(), line.start, fault));
        }
        Ok(Some(line))
    }
}

struct Lexer<'a> {
    reader: Reader<'a>,
    directives: DirectiveReader,
    escape: char,
    warnings: Vec<Warning>,
}

impl<'a> Lexer<'a> {
    /// Tells whether the line is a directive, which it then heeds.
    fn directive(&mut self, content: &[u8], line: &Physical<'a>, indent: usize) -> Result<bool, ParseError> {
        let mut span = line.span();
        span.start += indent;
        match self.directives.read(&String::from_utf8_lossy(content), span) {
            Ok(escape) => self.escape = escape.unwrap_or(self.escape),
            Err(fault) => return Err(error(self.reader.source, span, span.start, fault)),
        }
        Ok(self.directives.state == DirectiveState::Within)
    }

    /// Reads the continuations and heredocs of an instruction that begins on this line.
    fn logical(&mut self, first: &Physical<'a>, indent: usize) -> Result<Line, ParseError> {
        let mut span = first.span();
        span.start += indent;
        let (heredocs, comments, pieces) = (Vec::new(), Vec::new(), Vec::new());
        let mut line = Line { text: String::new(), span, heredocs, comments, pieces };
        let (mut blank, mut valid) = (false, true);
        let mut piece = (span.start, &first.content()[indent..]);
        loop {
            let (start, content) = piece;
            let (content, continues) = self.continuation(content);
            let text = String::from_utf8_lossy(content);
            valid &= matches!(text, std::borrow::Cow::Borrowed(_));
            line.pieces.push((line.text.len(), start));
            line.text.push_str(&text);
            if !continues {
                break;
            }
            let Some(next) = self.next_piece(&mut line.span, &mut blank)? else { break };
            piece = next;
        }
        if blank {
            // BuildKit names the last line of the instruction.
            let span = Span { first_line: line.span.last_line, ..line.span };
            self.warnings.push(Warning::new(Rule::NoEmptyContinuation, span, "Empty continuation line"));
        }
        if !valid {
            let message = "bytes that are not UTF-8 are replaced by U+FFFD";
            self.warnings.push(Warning::new(Rule::InvalidUtf8, line.span, message));
        }
        self.heredocs(&mut line)?;
        Ok(line)
    }

    /// Reads on to the next line that is neither blank nor a comment.
    fn next_piece(&mut self, span: &mut Span, blank: &mut bool) -> Result<Option<(usize, &'a [u8])>, ParseError> {
        while let Some(line) = self.reader.next()? {
            span.last_line = line.number;
            span.end = line.span().end;
            match line.content().get(indent(line.content())) {
                None => *blank = true,
                Some(b'#') => {}
                Some(_) => return Ok(Some((line.start, line.content()))),
            }
        }
        Ok(None)
    }

    /// Returns the line without the escape character at its end, if there is one that is not itself escaped.
    fn continuation<'b>(&self, line: &'b [u8]) -> (&'b [u8], bool) {
        let blanks = line.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let escape = if self.escape == '`' { b'`' } else { b'\\' };
        match &line[..line.len() - blanks] {
            [head @ .., last] if *last == escape && head.last() != Some(&escape) => (head, true),
            _ => (line, false),
        }
    }

    fn heredocs(&mut self, line: &mut Line) -> Result<(), ParseError> {
        let source = self.reader.source;
        if !line.text.contains("<<") || !may_have_heredocs(&line.text, self.escape) {
            return Ok(());
        }
        for mut heredoc in heredoc::in_line(&line.text) {
            let mut content = Vec::new();
            loop {
                let Some(next) = self.reader.next()? else {
                    let fault = Fault::new(format!("unterminated heredoc: no line is {:?}", heredoc.name));
                    return Err(line.error(source, fault));
                };
                (line.span.last_line, line.span.end) = (next.number, next.span().end);
                if heredoc::is_end(&heredoc, next.content()) {
                    break;
                }
                if let Err(bad) = std::str::from_utf8(next.bytes) {
                    let fault = Fault::new(format!("heredoc {:?} is not valid UTF-8", heredoc.name));
                    return Err(error(source, next.span(), next.start + bad.valid_up_to(), fault));
                }
                content.extend_from_slice(next.bytes);
            }
            heredoc.content = String::from_utf8_lossy(&content).into_owned();
            line.heredocs.push(heredoc);
        }
        Ok(())
    }
}

/// Tells whether `<<` in this line begins heredocs: in ADD, COPY and RUN, also behind ONBUILD. In a JSON list
/// it stands in quotes, so that no word begins with it.
fn may_have_heredocs(text: &str, escape: char) -> bool {
    let mut command = split_command(text, 0, escape);
    if command.keyword.eq_ignore_ascii_case("ONBUILD") {
        command = split_command(command.rest, command.offset, escape);
    }
    ["ADD", "COPY", "RUN"].iter().any(|keyword| command.keyword.eq_ignore_ascii_case(keyword))
}

/// Reads the directives, which end with the first line that is none.
#[derive(Default)]
struct DirectiveReader {
    state: DirectiveState,
    escape_seen: bool,
    syntax: Option<Spanned<String>>,
    check: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum DirectiveState {
    #[default]
    Start,
    /// Behind a `#!` line BuildKit looks for the frontend and the linter's options still, but no escape.
    Shebang,
    Within,
    Done,
}

impl DirectiveReader {
    /// Takes the next line; returns the escape character when the line sets it.
    fn read(&mut self, line: &str, span: Span) -> Result<Option<char>, Fault> {
        match self.state {
            DirectiveState::Done => return Ok(None),
            DirectiveState::Start if line.starts_with("#!") => {
                self.state = DirectiveState::Shebang;
                return Ok(None);
            }
            DirectiveState::Start => self.state = DirectiveState::Within,
            DirectiveState::Shebang | DirectiveState::Within => {}
        }
        let Some((name, value)) = directive(line) else {
            self.state = DirectiveState::Done;
            return Ok(None);
        };
        if name == "escape" && self.state == DirectiveState::Shebang {
            return Ok(None);
        }
        let slot = match name.as_str() {
            "syntax" => &mut self.syntax,
            "check" => &mut self.check,
            _ if self.escape_seen => return Err(twice(&name)),
            _ => {
                self.escape_seen = true;
                return match value {
                    "\\" => Ok(Some('\\')),
                    "`" => Ok(Some('`')),
                    _ => Err(Fault::new(format!("invalid escape token '{value}' does not match ` or \\"))),
                };
            }
        };
        if slot.is_some() {
            return Err(twice(&name));
        }
        *slot = Some(Spanned { value: value.to_owned(), span });
        Ok(None)
    }
}

fn twice(name: &str) -> Fault {
    Fault::new(format!("only one {name} parser directive can be used"))
}

/// Reads `# name = value` with one of the three known names.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let name = name.trim_end_matches(|c: char| c.is_ascii_whitespace()).to_ascii_lowercase();
    let known = ["syntax", "escape", "check"].contains(&name.as_str());
    (known && !value.is_empty()).then(|| (name, value.trim_matches(|c: char| c.is_ascii_whitespace())))
}
