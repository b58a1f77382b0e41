//! Ignore files against a model: each line is known part by part before it is written down.

use proptest::prelude::*;

use super::ignore::Patterns;

/// One part of a pattern between slashes.
#[derive(Clone, Debug)]
enum Part {
    /// `**`: any number of names.
    Any,
    Name(Vec<Piece>),
}

#[derive(Clone, Debug)]
enum Piece {
    Char(char),
    Escaped(char),
    /// `*`
    Many,
    /// `?`
    One,
    /// `[…]`; not `[^…]`, which takes a slash as well.
    Class(Vec<char>),
}

/// One line of a file.
#[derive(Clone, Debug)]
struct Line {
    exception: bool,
    parts: Vec<Part>,
    /// How it is written: what stands before, between and behind the parts means nothing.
    before: &'static str,
    slash: &'static str,
    behind: &'static str,
}

impl Line {
    fn text(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Part::text).collect();
        let (sign, before) = (if self.exception { "!" } else { "" }, self.before);
        format!("{sign}{before}{}{}", parts.join(self.slash), self.behind)
    }

    /// The line says something of a path when it fits it or a directory that it is in.
    fn fits(&self, path: &[&str]) -> bool {
        (1..=path.len()).any(|length| fits(&self.parts, &path[..length]))
    }
}

impl Part {
    fn text(&self) -> String {
        match self {
            Self::Any => "**".to_owned(),
            Self::Name(pieces) => pieces.iter().map(Piece::text).collect(),
        }
    }
}

impl Piece {
    fn text(&self) -> String {
        match self {
            Self::Char(c) => c.to_string(),
            Self::Escaped(c) => format!("\\{c}"),
            Self::Many => "*".to_owned(),
            Self::One => "?".to_owned(),
            Self::Class(members) => format!("[{}]", members.iter().collect::<String>()),
        }
    }
}

fn fits(parts: &[Part], path: &[&str]) -> bool {
    match (parts, path) {
        ([], []) => true,
        // At the end it stands for something, elsewhere it may stand for nothing.
        ([Part::Any], path) => !path.is_empty(),
        ([Part::Any, rest @ ..], path) => {
            fits(rest, path) || path.split_first().is_some_and(|(_, path)| fits(parts, path))
        }
        ([Part::Name(pieces), rest @ ..], [name, path @ ..]) => named(pieces, name) && fits(rest, path),
        (_, []) | ([], _) => false,
    }
}

fn named(pieces: &[Piece], name: &str) -> bool {
    let mut rest = name.chars();
    let first = rest.next();
    let tail = rest.as_str();
    match (pieces, first) {
        ([], first) => first.is_none(),
        ([Piece::Many, others @ ..], first) => named(others, name) || (first.is_some() && named(pieces, tail)),
        (_, None) => false,
        ([Piece::One, others @ ..], Some(_)) => named(others, tail),
        ([Piece::Char(own) | Piece::Escaped(own), others @ ..], Some(c)) => *own == c && named(others, tail),
        ([Piece::Class(members), others @ ..], Some(c)) => members.contains(&c) && named(others, tail),
    }
}

fn line() -> impl Strategy<Value = Line> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec!['a', 'b', 'c', '.', 'é']).prop_map(Piece::Char),
        1 => prop::sample::select(vec!['*', '?', '[', '!', '#', '+']).prop_map(Piece::Escaped),
        2 => Just(Piece::Many),
        1 => Just(Piece::One),
        1 => prop::collection::vec(prop::sample::select(vec!['a', 'b', 'é', '+']), 1..3).prop_map(Piece::Class),
    ];
    // Two stars together would be one `**`, and names of dots alone mean directories.
    let name = prop::collection::vec(piece, 1..4).prop_filter("other meanings", |pieces| {
        let stars = pieces.windows(2).any(|pair| matches!(pair, [Piece::Many, Piece::Many]));
        !stars && !pieces.iter().all(|piece| matches!(piece, Piece::Char('.')))
    });
    let parts = prop::collection::vec(prop_oneof![1 => Just(Part::Any), 5 => name.prop_map(Part::Name)], 1..4)
        // `**` takes the slash behind it along.
        .prop_filter("other meanings", |parts| !parts.windows(2).any(|pair| matches!(pair, [Part::Any, Part::Any])));
    let before = prop::sample::select(vec!["", "/", "./", " ", "x/../", "//"]);
    let slash = prop::sample::select(vec!["/", "//", "/./"]);
    let behind = prop::sample::select(vec!["", "/", "/.", " \t", "\r"]);
    (any::<bool>(), parts, before, slash, behind).prop_map(|(exception, parts, before, slash, behind)| Line {
        exception,
        parts,
        before,
        slash,
        behind,
    })
}

fn path() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(
        prop::sample::select(vec!["a", "b", "ab", "ba", "c", "a.b", ".a", "é", "*", "!", "+a", "aé"]),
        1..5,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn the_last_line_that_fits_decides(lines in prop::collection::vec(line(), 1..5), path in path()) {
        let file: Vec<String> = lines.iter().flat_map(|line| [line.text(), "# a".to_owned(), String::new()]).collect();
        let file = file.join("\n");
        let Ok(patterns) = Patterns::parse(file.as_bytes()) else {
            return Err(TestCaseError::fail(format!("refused: {file:?}")));
        };
        let last = lines.iter().rposition(|line| line.fits(&path));
        let matched = patterns.matches(path.join("/"));
        prop_assert_eq!(matched.excluded, last.is_some_and(|last| !lines[last].exception), "{:?} {:?}", file, path);
    }
}
