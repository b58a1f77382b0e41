//! What of a text a terminal would obey in place of showing it.

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// What is shown.
    Text(&'a str),
    /// A control character, or a whole control sequence.
    Control(&'a str),
}

/// Takes a text apart.
pub(super) fn pieces(mut text: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let (piece, rest) = match text.find(char::is_control).or((!text.is_empty()).then_some(text.len()))? {
            0 => {
                let (sequence, rest) = text.split_at(length(text));
                (Piece::Control(sequence), rest)
            }
            start => {
                let (shown, rest) = text.split_at(start);
                (Piece::Text(shown), rest)
            }
        };
        text = rest;
        Some(piece)
    })
}

/// Returns what is shown of a text.
pub(super) fn plain(text: &str) -> String {
    let shown = |piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Control(_) => None,
    };
    pieces(text).filter_map(shown).collect()
}

/// Returns how long the control sequence is that a text begins with. Source: ECMA-48, section 5.4 and 5.6.
fn length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    let first = text.chars().next().map_or(0, char::len_utf8);
    if !text.starts_with('\x1b') {
        return first;
    }
    match characters.next() {
        Some((_, '[')) => {
            let end = characters.find(|(_, c)| ('@'..='~').contains(c));
            end.map_or(text.len(), |(at, c)| at + c.len_utf8())
        }
        // A string up to its end: a title, say.
        Some((_, ']' | 'P' | 'X' | '^' | '_')) => {
            let end = characters.find(|(_, c)| matches!(c, '\x07' | '\\' | '\u{9c}'));
            end.map_or(text.len(), |(at, c)| at + c.len_utf8())
        }
        Some((at, c)) => at + c.len_utf8(),
        None => first,
    }
}
