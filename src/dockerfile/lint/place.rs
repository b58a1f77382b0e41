//! Where a finding is shown: lines and columns.

use super::super::error::Warning;
use super::super::instruction::Span;

/// A range in the text, in lines and columns from 1; columns count characters, and the end is behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// The last line.
    pub end_line: usize,
    /// The column behind the end.
    pub end_column: usize,
}

impl Place {
    /// Finds the place of a finding: the text that it is about, else the first line of the instruction. None for a
    /// finding that is about no line.
    pub fn of(warning: &Warning, source: &[u8]) -> Option<Self> {
        let span = warning.span;
        if span == Span::default() {
            return None;
        }
        let text = source.get(span.start..span.end.min(source.len()))?;
        let about = warning.subject.as_deref().filter(|subject| !subject.is_empty());
        let found = about.and_then(|about| Some((memchr::memmem::find(text, about.as_bytes())?, about.len())));
        let (start, end) = match found {
            Some((at, length)) => {
                let before = length - text[at..at + length].trim_ascii_start().len();
                let kept = text[at..at + length].trim_ascii().len();
                (span.start + at + before, span.start + at + before + kept)
            }
            None => {
                // Some findings are about a later line than the instruction's first one.
                let later = span.first_line.saturating_sub(position(source, span.start).0);
                let begin =
                    later.checked_sub(1).and_then(|n| memchr::memchr_iter(b'\n', text).nth(n)).map_or(0, |at| at + 1);
                let begin = begin + text[begin..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                let length = memchr::memchr2(b'\n', b'\r', &text[begin..]).unwrap_or(text.len() - begin);
                (span.start + begin, span.start + begin + text[begin..begin + length].trim_ascii_end().len())
            }
        };
        let ((line, column), (end_line, end_column)) = (position(source, start), position(source, end));
        Some(Self { line, column, end_line, end_column })
    }
}

/// Returns line and column of an offset; a byte-order mark is no character.
pub(in crate::dockerfile) fn position(source: &[u8], offset: usize) -> (usize, usize) {
    let before = &source[..offset.min(source.len())];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    (line, String::from_utf8_lossy(&before[start..]).trim_start_matches('\u{feff}').chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;

    #[test]
    fn the_text_that_a_finding_is_about_is_found() {
        let source = "\u{feff}FROM a\n  ENV ä=$b \\\n  c=$d\n".as_bytes();
        let span = Span { first_line: 2, last_line: 3, start: 12, end: source.len() - 1 };
        let place = |subject: Option<&str>| {
            let warning = Warning::new(Rule::UndefinedVar, span, "");
            let warning = match subject {
                Some(subject) => warning.about(subject),
                None => warning,
            };
            Place::of(&warning, source).map(|place| (place.line, place.column, place.end_line, place.end_column))
        };
        assert_eq!(place(Some("$b")), Some((2, 9, 2, 11)));
        assert_eq!(place(Some("$d")), Some((3, 5, 3, 7)));
        assert_eq!(place(Some("$e")), Some((2, 3, 2, 13)));
        assert_eq!(place(None), Some((2, 3, 2, 13)));
        let nowhere = Warning::new(Rule::UnusedBuildArg, Span::default(), "");
        assert_eq!(Place::of(&nowhere, source), None);
    }
}
