//! Expansion against a model: what a word is worth is known before it is written down, so nothing is parsed twice.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::expand::Expander;

/// The variables; the values hold what would matter if they were read again.
const VARIABLES: [(&str, Option<&str>); 4] =
    [("A", Some("")), ("B", Some(" a  b ")), ("C_1", Some("x/y.tar$B'\"\\`}")), ("D", None)];

fn variable(name: &str) -> Option<String> {
    let (_, value) = VARIABLES.iter().find(|(own, _)| *own == name)?;
    value.map(str::to_owned)
}

/// A part of a word.
#[derive(Clone, Debug)]
enum Piece {
    /// Characters that mean themselves.
    Text(String),
    /// A character behind the escape character.
    Escaped(char),
    Single(String),
    /// Between double quotes, where an escape character before a letter stays.
    Double(Vec<Quoted>),
    Value(Value),
}

#[derive(Clone, Debug)]
enum Quoted {
    Text(String),
    Escaped(char),
    Kept(char),
    Value(Value),
}

/// A `${…}`; the number is the variable's.
#[derive(Clone, Debug)]
enum Value {
    Plain(usize),
    /// With `-`, `+` or `?`, and a colon or none.
    Word(usize, char, bool, Vec<Piece>),
    /// With `#` or `%`, doubled or not, and a pattern.
    Trimmed(usize, char, bool, String),
    /// With `/`, doubled or not, a pattern and a text.
    Replaced(usize, bool, String, String),
}

fn write_all(pieces: &[Piece], escape: char, text: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(own) => text.push_str(own),
            Piece::Escaped(c) => text.extend([escape, own_escape(*c, escape)]),
            Piece::Single(own) => write!(text, "'{own}'").expect("memory"),
            Piece::Double(parts) => {
                text.push('"');
                for part in parts {
                    match part {
                        Quoted::Text(own) => text.push_str(own),
                        Quoted::Escaped(c) => text.extend([escape, own_escape(*c, escape)]),
                        Quoted::Kept(c) => text.extend([escape, *c]),
                        Quoted::Value(value) => value.write(escape, text),
                    }
                }
                text.push('"');
            }
            Piece::Value(value) => value.write(escape, text),
        }
    }
}

/// A backslash among the escaped characters stands for the escape character itself.
fn own_escape(c: char, escape: char) -> char {
    if c == '\\' { escape } else { c }
}

impl Value {
    fn write(&self, escape: char, text: &mut String) {
        let name = |number: &usize| VARIABLES[*number].0;
        let doubled = |c: char, twice: &bool| c.to_string().repeat(if *twice { 2 } else { 1 });
        match self {
            Self::Plain(number) => write!(text, "${{{}}}", name(number)),
            Self::Word(number, modifier, colon, word) => {
                write!(text, "${{{}{}{modifier}", name(number), if *colon { ":" } else { "" }).expect("memory");
                write_all(word, escape, text);
                write!(text, "}}")
            }
            Self::Trimmed(number, modifier, twice, pattern) => {
                write!(text, "${{{}{}{pattern}}}", name(number), doubled(*modifier, twice))
            }
            Self::Replaced(number, all, pattern, with) => {
                write!(text, "${{{}{}{pattern}/{with}}}", name(number), doubled('/', all))
            }
        }
        .expect("memory");
    }

    /// Returns what it is worth, or none where a `?` fails, which it does wherever it stands.
    fn worth(&self, escape: char) -> Option<String> {
        Some(match self {
            Self::Plain(number) => given(*number).unwrap_or_default(),
            Self::Word(number, modifier, colon, word) => {
                let word = all(word, escape)?;
                let set = given(*number).filter(|value| !(*colon && value.is_empty()));
                match (modifier, set) {
                    ('+', set) => set.map_or(String::new(), |_| word),
                    ('-', set) => set.unwrap_or(word),
                    (_, set) => set?,
                }
            }
            Self::Trimmed(number, modifier, longest, pattern) => {
                let value = given(*number).unwrap_or_default();
                let places: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
                let start = *modifier == '#';
                let mut cuts: Vec<(&str, &str)> = places.iter().map(|at| value.split_at(*at)).collect();
                if start == *longest {
                    cuts.reverse();
                }
                let fitting = cuts.into_iter().find(|(head, tail)| fits(pattern, if start { head } else { tail }));
                fitting.map_or(value.clone(), |(head, tail)| (if start { tail } else { head }).to_owned())
            }
            Self::Replaced(number, every, pattern, with) => {
                replaced(&given(*number).unwrap_or_default(), pattern, with, *every)
            }
        })
    }
}

fn given(number: usize) -> Option<String> {
    VARIABLES[number].1.map(str::to_owned)
}

/// Replaces each longest match; the patterns here match no empty text.
fn replaced(value: &str, pattern: &str, with: &str, every: bool) -> String {
    let (mut done, mut rest) = (String::new(), value);
    while let Some(first) = rest.chars().next() {
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
        match ends.into_iter().find(|end| fits(pattern, &rest[..*end])) {
            Some(end) => {
                done += with;
                rest = &rest[end..];
                if !every {
                    break;
                }
            }
            None => {
                done.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    done + rest
}

fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern_rest, mut text_rest) = (pattern.chars(), text.chars());
    match (pattern_rest.next(), text_rest.next()) {
        (None, first) => first.is_none(),
        (Some('*'), first) => {
            fits(pattern_rest.as_str(), text) || (first.is_some() && fits(pattern, text_rest.as_str()))
        }
        (Some('?'), Some(_)) => fits(pattern_rest.as_str(), text_rest.as_str()),
        (Some(own), Some(first)) => own == first && fits(pattern_rest.as_str(), text_rest.as_str()),
        (Some(_), None) => false,
    }
}

fn all(pieces: &[Piece], escape: char) -> Option<String> {
    Some(marked(pieces, escape)?.into_iter().map(|(c, _)| c).collect())
}

/// Returns the characters of the value, and whether a space among them separates words.
fn marked(pieces: &[Piece], escape: char) -> Option<Vec<(char, bool)>> {
    let mut marked = Vec::new();
    for piece in pieces {
        let (text, bare) = match piece {
            Piece::Text(text) => (text.clone(), true),
            Piece::Escaped(c) => (own_escape(*c, escape).to_string(), false),
            Piece::Single(text) => (text.clone(), false),
            Piece::Double(parts) => (quoted(parts, escape)?, false),
            Piece::Value(value) => (value.worth(escape)?, true),
        };
        marked.extend(text.chars().map(|c| (c, bare)));
    }
    Some(marked)
}

fn quoted(parts: &[Quoted], escape: char) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Quoted::Text(own) => text.push_str(own),
            Quoted::Escaped(c) => text.push(own_escape(*c, escape)),
            Quoted::Kept(c) => text.extend([escape, *c]),
            Quoted::Value(value) => text.push_str(&value.worth(escape)?),
        }
    }
    Some(text)
}

fn words(marked: &[(char, bool)]) -> Vec<String> {
    let parts = marked.split(|(c, bare)| *bare && c.is_whitespace());
    parts.filter(|part| !part.is_empty()).map(|part| part.iter().map(|(c, _)| c).collect()).collect()
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let plain = prop_oneof![
        4 => "[a-c .,é]{1,4}".prop_map(Piece::Text),
        2 => prop::sample::select(vec!['\\', '$', '\'', '"', ' ', '}', 'x']).prop_map(Piece::Escaped),
        2 => "[a-c \"$\\\\`{}]{0,4}".prop_map(Piece::Single),
    ];
    let leaf = prop::collection::vec(plain, 0..4);
    leaf.prop_recursive(3, 24, 4, |inner| {
        let modified = (0..4_usize, prop::sample::select(vec!['-', '+', '-', '+', '?']), any::<bool>(), inner.clone())
            .prop_map(|(number, modifier, colon, word)| Value::Word(number, modifier, colon, word));
        let trimmed = (0..4_usize, prop::sample::select(vec!['#', '%']), any::<bool>(), "[ab.*?x]{0,4}")
            .prop_map(|(number, modifier, twice, pattern)| Value::Trimmed(number, modifier, twice, pattern));
        let replaced = (0..4_usize, any::<bool>(), "[ab.?x]\\*?[.yt?]?", "[a-c .]{0,3}")
            .prop_map(|(number, every, pattern, with)| Value::Replaced(number, every, pattern, with));
        let value = prop_oneof![2 => (0..4_usize).prop_map(Value::Plain), 4 => modified, 2 => trimmed, 1 => replaced];
        let part = prop_oneof![
            2 => "[a-c '.]{1,3}".prop_map(Quoted::Text),
            1 => prop::sample::select(vec!['\\', '$', '"']).prop_map(Quoted::Escaped),
            1 => prop::sample::select(vec!['n', '.', '\'']).prop_map(Quoted::Kept),
            2 => value.clone().prop_map(Quoted::Value),
        ];
        let piece = prop_oneof![
            2 => inner.clone(),
            2 => value.prop_map(|value| vec![Piece::Value(value)]),
            1 => prop::collection::vec(part, 0..4).prop_map(|parts| vec![Piece::Double(parts)]),
        ];
        prop::collection::vec(piece, 0..4).prop_map(|several| several.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_word_is_worth_what_it_was_made_of(pieces in pieces(), backtick: bool) {
        let escape = if backtick { '`' } else { '\\' };
        // A backslash in the model's quotes would be text with a backtick, and the other way round.
        let mut text = String::new();
        write_all(&pieces, escape, &mut text);
        let expander = Expander::new(escape, &variable);
        let found = expander.word(&text).ok().map(|expanded| expanded.text);
        prop_assert_eq!(found, all(&pieces, escape), "{}", &text);
        let expected = marked(&pieces, escape).map(|marked| words(&marked));
        prop_assert_eq!(expander.words(&text).ok(), expected, "{}", &text);
    }
}
