//! Text that comes in pieces, line by line.

use super::file::Findings;

/// A line that is longer is cut: no field that is read is.
const LONGEST_LINE: usize = 64 << 10;

/// Reads the lines of a file.
pub(super) trait LineReader: Send {
    /// Takes the next line, without its end; tells whether more are wanted.
    fn line(&mut self, line: &str) -> bool;

    /// Returns what was found.
    fn end(self: Box<Self>) -> Findings;
}

/// Cuts pieces into lines.
pub(super) struct Lines {
    reader: Box<dyn LineReader>,
    partial: Vec<u8>,
    is_done: bool,
}

impl Lines {
    pub(super) fn new(reader: impl LineReader + 'static) -> Self {
        Self { reader: Box::new(reader), partial: Vec::new(), is_done: false }
    }

    /// Takes more of the file; tells whether still more is wanted.
    pub(super) fn content(&mut self, mut bytes: &[u8]) -> bool {
        while !self.is_done {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                let room = LONGEST_LINE.saturating_sub(self.partial.len()).min(bytes.len());
                self.partial.extend_from_slice(&bytes[..room]);
                break;
            };
            if self.partial.is_empty() {
                self.line(&bytes[..end.min(LONGEST_LINE)]);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                let room = LONGEST_LINE.saturating_sub(line.len()).min(end);
                line.extend_from_slice(&bytes[..room]);
                self.line(&line);
            }
            bytes = &bytes[end + 1..];
        }
        !self.is_done
    }

    pub(super) fn end(mut self) -> Findings {
        let last = std::mem::take(&mut self.partial);
        if !last.is_empty() && !self.is_done {
            self.line(&last);
        }
        self.reader.end()
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.is_done = !self.reader.line(&String::from_utf8_lossy(line));
    }
}

/// Splits `Name: value`; continuation lines are none.
pub(super) fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    (!name.is_empty() && !name.starts_with([' ', '\t'])).then(|| (name, value.trim()))
}

/// Returns a value, if there is one and it is no placeholder for none.
pub(super) fn stated(value: &str) -> Option<String> {
    let value = value.trim();
    let is_none =
        value.is_empty() || ["UNKNOWN", "NONE", "NOASSERTION"].iter().any(|none| value.eq_ignore_ascii_case(none));
    (!is_none).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Collect(Vec<String>);

    impl LineReader for Collect {
        fn line(&mut self, line: &str) -> bool {
            self.0.push(line.to_owned());
            line != "stop"
        }

        fn end(self: Box<Self>) -> Findings {
            Findings { notes: self.0, ..Findings::default() }
        }
    }

    #[test]
    fn pieces_are_cut_at_any_place_into_the_same_lines() {
        let text = b"one\r\ntwo\n\nthree";
        for size in 1..text.len() {
            let mut lines = Lines::new(Collect(Vec::new()));
            assert!(text.chunks(size).all(|piece| lines.content(piece)));
            assert_eq!(lines.end().notes, ["one", "two", "", "three"], "{size}");
        }
        let mut lines = Lines::new(Collect(Vec::new()));
        assert!(!lines.content(b"go\nstop\nmore\n") && !lines.content(b"x"));
        assert_eq!(lines.end().notes, ["go", "stop"]);
        let mut lines = Lines::new(Collect(Vec::new()));
        (0..9).for_each(|_| assert!(lines.content(&vec![b'x'; LONGEST_LINE])));
        lines.content(b"\nnext");
        assert_eq!(lines.end().notes.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE, 4]);
    }
}
