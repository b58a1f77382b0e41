//! The flags of instructions: which are known, given twice, or lack a value.
//!
//! *Invariant*: an unknown flag is an error, never ignored.

use super::error::Fault;
use super::instruction::Word;
use super::suggest;
use super::words::Token;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or `true` or `false`.
    Bool,
    /// One value.
    Text,
    /// A value each time it is given.
    List,
}

/// The flags given to an instruction, all of them known.
pub(super) struct Flags(Vec<Flag>);

struct Flag {
    name: &'static str,
    value: Token,
}

/// Checks the flags of an instruction against those it knows.
pub(super) fn parse(given: &[Token], known: &[(&'static str, Kind)]) -> Result<Flags, Fault> {
    let mut flags = Flags(Vec::new());
    for token in given {
        let flag = parse_one(token, known, &flags).map_err(|fault| fault.at(token.offset))?;
        flags.0.push(flag);
    }
    Ok(flags)
}

/// Tells whether a flag is that of a name.
pub(super) fn is_flag(flag: &Token, name: &str) -> bool {
    flag.text.split_once('=').is_some_and(|(flag, _)| flag.strip_prefix("--") == Some(name))
}

fn parse_one(token: &Token, known: &[(&'static str, Kind)], before: &Flags) -> Result<Flag, Fault> {
    let (flag, value) = match token.text.split_once('=') {
        Some((flag, value)) => (flag, Some(value)),
        None => (token.text.as_str(), None),
    };
    let name = flag.trim_start_matches('-');
    let Some(&(name, kind)) = known.iter().find(|(known, _)| flag.strip_prefix("--") == Some(*known)) else {
        let hint = suggest::nearest(name, known.iter().map(|(name, _)| *name));
        let hint = hint.map(|name| format!("did you mean --{name}?"));
        return Err(Fault::new(format!("unknown flag: {flag}")).hint(hint));
    };
    if kind != Kind::List && before.find(name).is_some() {
        return Err(Fault::new(format!("duplicate flag specified: {flag}")));
    }
    let missing = || Fault::new(format!("missing a value on flag: {flag}"));
    let text = match (kind, value) {
        (Kind::Bool, None) => "true".to_owned(),
        (Kind::Bool, Some("")) | (Kind::Text | Kind::List, None) => return Err(missing()),
        (Kind::Bool, Some(value)) => match value.to_lowercase().as_str() {
            known @ ("true" | "false") => known.to_owned(),
            _ => return Err(Fault::new(format!("expecting boolean value for flag {flag}, not: {value}"))),
        },
        (Kind::Text | Kind::List, Some(value)) => value.to_owned(),
    };
    Ok(Flag { name, value: Token { text, offset: token.offset } })
}

impl Flags {
    fn find(&self, name: &str) -> Option<&Token> {
        self.0.iter().find(|flag| flag.name == name).map(|flag| &flag.value)
    }

    /// Returns the value of a flag, even an empty one.
    pub(super) fn text(&self, name: &str) -> Option<&Token> {
        self.find(name)
    }

    /// Returns the value of a flag; an empty one is none.
    pub(super) fn word(&self, name: &str) -> Option<Word> {
        self.find(name).filter(|value| !value.text.is_empty()).map(|value| Word::new(value.text.as_str()))
    }

    /// Returns all values of a flag, in order, but for empty ones.
    pub(super) fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Token> {
        self.0.iter().filter(move |flag| flag.name == name && !flag.value.text.is_empty()).map(|flag| &flag.value)
    }

    /// Returns the value of a switch, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.find(name).map(|value| value.text == "true")
    }
}
