//! One pattern of a `.dockerignore`, compiled.
//!
//! moby/patternmatcher turns a pattern into a plain comparison where it can and into a Go regular expression
//! where it cannot. What users see is shaped by that translation, odd ends included (`[*]` is not a class
//! that holds a star), so the same two steps are made here: translate, then read the little of the regular
//! expressions' language that can come out.
//!
//! *Invariant*: matching takes time in pattern length × path length, whatever the pattern. Escapes that mean
//! something exotic in a regular expression (`\b`, `\pL`, `\Q` …) are refused rather than misread.

use std::iter::Peekable;
use std::str::Chars;

use super::glob;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matcher {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Program(Program),
}

/// A regular expression without branches. Kept small: there may be very many, and each path meets all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    steps: Box<[Step]>,
    /// The text with which every match begins: a cheap first test.
    literal: Box<str>,
    /// The longest text that every match has somewhere: another one.
    inner: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// One character of the set.
    One(Set),
    /// Any number of characters of the set.
    Many(Set),
    /// The two steps behind may be left out.
    SkipTwo,
    /// The beginning of the path.
    Start,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    Char(char),
    NotNewline,
    /// What `*` and `?` stand for.
    NotSlash,
    /// Ranges, and whether they are what the set does not hold.
    Class(Box<[(char, char)]>, bool),
}

impl Set {
    fn holds(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::NotNewline => c != '\n',
            Self::NotSlash => c != '/',
            Self::Class(ranges, negated) => ranges.iter().any(|(low, high)| (low..=high).contains(&&c)) != *negated,
        }
    }
}

/// As far as the end of a class's name is looked for, in characters.
const LONGEST_CLASS_NAME: usize = 64;

/// Why a pattern cannot be compiled.
pub(super) type Reason = String;

impl Matcher {
    /// Compiles a cleaned pattern.
    pub(super) fn compile(pattern: &str) -> Result<Self, Reason> {
        glob::check(pattern.as_bytes()).map_err(|error| error.to_string())?;
        match translate(pattern) {
            Translation::Exact => Ok(Self::Exact(pattern.to_owned())),
            Translation::Prefix => Ok(Self::Prefix(pattern[..pattern.len() - 2].to_owned())),
            Translation::Suffix => Ok(Self::Suffix(pattern[2..].to_owned())),
            Translation::Expression(text) => Ok(Self::Program(Program::parse(&text)?)),
        }
    }

    /// Returns the only path that matches, if there is but one.
    pub(super) fn plain(&self) -> Option<&str> {
        match self {
            Self::Exact(text) => Some(text),
            Self::Prefix(_) | Self::Suffix(_) | Self::Program(_) => None,
        }
    }

    /// Tells whether the whole path matches.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => path == text.as_bytes(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_bytes())
                    || suffix.strip_prefix('/').is_some_and(|name| path == name.as_bytes())
            }
            Self::Program(program) => program.run(path).is_some_and(|states| states.contains(program.steps.len())),
        }
    }

    /// Tells whether a path that begins with this text, and is longer, may match; never wrongly no.
    pub(super) fn may_match_longer(&self, start: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.len() > start.len() && text.as_bytes().starts_with(start),
            Self::Prefix(prefix) => {
                let shared = prefix.len().min(start.len());
                prefix.as_bytes()[..shared] == start[..shared]
            }
            Self::Suffix(_) => true,
            Self::Program(program) => {
                let shared = program.literal.len().min(start.len());
                program.literal.as_bytes()[..shared] == start[..shared]
                    && program.simulate(start).below(program.steps.len())
            }
        }
    }
}

/// What a pattern becomes.
enum Translation {
    Exact,
    Prefix,
    Suffix,
    Expression(String),
}

/// Translates as moby/patternmatcher's `compile` does.
fn translate(pattern: &str) -> Translation {
    let mut kind = Translation::Exact;
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    let mut is_expression = false;
    let mut is_first = true;
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                let was_exact = matches!(kind, Translation::Exact) && !is_expression;
                if rest.peek().is_some() {
                    text.push_str("(.*/)?");
                    is_expression = true;
                } else if was_exact {
                    kind = Translation::Prefix;
                } else {
                    text.push_str(".*");
                    is_expression = true;
                }
                if is_first {
                    kind = Translation::Suffix;
                    is_expression = false;
                }
            }
            '*' => {
                text.push_str("[^/]*");
                is_expression = true;
            }
            '?' => {
                text.push_str("[^/]");
                is_expression = true;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => text.extend(['\\', c]),
            '\\' => {
                text.push('\\');
                if let Some(next) = rest.next() {
                    text.push(next);
                    is_expression = true;
                }
            }
            '[' | ']' => {
                text.push(c);
                is_expression = true;
            }
            _ => text.push(c),
        }
        is_first = false;
    }
    if is_expression { Translation::Expression(text) } else { kind }
}

/// The steps that a run may be at.
struct States(Vec<u64>);

impl States {
    fn none(steps: usize) -> Self {
        Self(vec![0; steps / 64 + 1])
    }

    fn add(&mut self, state: usize) {
        self.0[state / 64] |= 1 << (state % 64);
    }

    fn contains(&self, state: usize) -> bool {
        self.0[state / 64] & (1 << (state % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Tells whether a state below this one is among them.
    fn below(&self, end: usize) -> bool {
        (0..end).any(|state| self.contains(state))
    }
}

impl Program {
    fn parse(text: &str) -> Result<Self, Reason> {
        let mut steps = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let set = match c {
                '^' => {
                    steps.push(Step::Start);
                    continue;
                }
                '(' => {
                    // Parentheses of the pattern are escaped: this can only be `(.*/)?`.
                    rest.by_ref().take(5).for_each(drop);
                    steps.extend([Step::SkipTwo, Step::Many(Set::NotNewline), Step::One(Set::Char('/'))]);
                    continue;
                }
                '.' => Set::NotNewline,
                '[' => class(&mut rest)?,
                '\\' => match escape(&mut rest)? {
                    Escape::Char(c) => Set::Char(c),
                    Escape::Ranges(ranges) => Set::Class(ranges.into(), false),
                },
                c => Set::Char(c),
            };
            steps.push(if rest.next_if_eq(&'*').is_some() { Step::Many(set) } else { Step::One(set) });
        }
        let literal = steps.iter().map_while(|step| match step {
            Step::One(Set::Char(c)) => Some(*c),
            Step::One(_) | Step::Many(_) | Step::SkipTwo | Step::Start => None,
        });
        Ok(Self {
            literal: literal.collect::<String>().into(),
            inner: longest_text(&steps).into(),
            steps: steps.into(),
        })
    }

    /// Returns where a run may be at the end of the path; none if it does not even begin right.
    fn run(&self, path: &[u8]) -> Option<States> {
        let may_match = path.starts_with(self.literal.as_bytes())
            && (self.inner.is_empty() || memchr::memmem::find(path, self.inner.as_bytes()).is_some());
        may_match.then(|| self.simulate(path))
    }

    fn simulate(&self, path: &[u8]) -> States {
        let mut states = States::none(self.steps.len());
        states.add(0);
        self.close(&mut states, true);
        let (mut rest, mut next) = (path, States::none(self.steps.len()));
        while !rest.is_empty() && !states.is_empty() {
            let (c, length) = glob::decode(rest);
            rest = &rest[length..];
            next.0.fill(0);
            for (state, step) in self.steps.iter().enumerate().filter(|(state, _)| states.contains(*state)) {
                match step {
                    Step::One(set) if set.holds(c) => next.add(state + 1),
                    Step::Many(set) if set.holds(c) => next.add(state),
                    Step::One(_) | Step::Many(_) | Step::SkipTwo | Step::Start => {}
                }
            }
            self.close(&mut next, false);
            std::mem::swap(&mut states, &mut next);
        }
        states
    }

    /// Adds the states that are reached without a character; all of them lie onward.
    fn close(&self, states: &mut States, at_start: bool) {
        for (state, step) in self.steps.iter().enumerate() {
            if !states.contains(state) {
                continue;
            }
            match step {
                Step::Many(_) => states.add(state + 1),
                Step::SkipTwo => {
                    states.add(state + 1);
                    states.add(state + 3);
                }
                Step::Start if at_start => states.add(state + 1),
                Step::Start | Step::One(_) => {}
            }
        }
    }
}

/// Returns the longest text that nothing in it can be left out of.
fn longest_text(steps: &[Step]) -> String {
    let (mut longest, mut current, mut optional) = (String::new(), String::new(), 0);
    for step in steps {
        match step {
            // Bytes that are not UTF-8 were replaced by this character.
            Step::One(Set::Char(c)) if optional == 0 && *c != char::REPLACEMENT_CHARACTER => current.push(*c),
            Step::Start => {}
            Step::SkipTwo => {
                current.clear();
                optional = 3;
            }
            Step::One(_) | Step::Many(_) => current.clear(),
        }
        optional = usize::saturating_sub(optional, 1);
        if current.len() > longest.len() {
            longest.clone_from(&current);
        }
    }
    longest
}

enum Escape {
    Char(char),
    Ranges(Vec<(char, char)>),
}

/// Reads what follows a backslash.
fn escape(rest: &mut Peekable<Chars<'_>>) -> Result<Escape, Reason> {
    let Some(c) = rest.next() else { return Err("a backslash at the end escapes nothing".to_owned()) };
    Ok(match c {
        'a' => Escape::Char('\x07'),
        'f' => Escape::Char('\x0c'),
        't' => Escape::Char('\t'),
        'n' => Escape::Char('\n'),
        'r' => Escape::Char('\r'),
        'v' => Escape::Char('\x0b'),
        'd' | 's' | 'w' => Escape::Ranges(perl(c)),
        'D' | 'S' | 'W' => Escape::Ranges(complement(perl(c.to_ascii_lowercase()))),
        c if c.is_ascii_alphanumeric() || !c.is_ascii() => {
            return Err(format!("the escape \\{c} is not allowed: drop the backslash to match {c}"));
        }
        c => Escape::Char(c),
    })
}

fn perl(class: char) -> Vec<(char, char)> {
    match class {
        'd' => vec![('0', '9')],
        's' => vec![('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        _ => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
    }
}

/// Returns the gaps between sorted ranges.
fn complement(ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    let before = |c: char| ('\0'..c).next_back();
    let after = |c: char| (c..).nth(1);
    let mut gaps = Vec::new();
    let mut next = Some('\0');
    for (low, high) in ranges {
        if let (Some(start), Some(end)) = (next, before(low))
            && start <= end
        {
            gaps.push((start, end));
        }
        next = after(high);
    }
    gaps.extend(next.map(|start| (start, char::MAX)));
    gaps
}

/// Reads a class behind its `[`.
fn class(rest: &mut Peekable<Chars<'_>>) -> Result<Set, Reason> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let mut is_first = true;
    loop {
        let Some(c) = rest.next() else { return Err("a [ is not closed".to_owned()) };
        if c == ']' && !is_first {
            let is_plain = negated && ranges == [('/', '/')];
            return Ok(if is_plain { Set::NotSlash } else { Set::Class(ranges.into(), negated) });
        }
        is_first = false;
        if c == '['
            && rest.peek() == Some(&':')
            && let Some(name) = posix_name(rest)
        {
            ranges.extend(posix(&name).ok_or_else(|| format!("unknown class [:{name}:]"))?);
            continue;
        }
        let low = match c {
            '\\' => match escape(rest)? {
                Escape::Char(c) => c,
                Escape::Ranges(more) => {
                    ranges.extend(more);
                    continue;
                }
            },
            c => c,
        };
        let high = range_end(rest)?.unwrap_or(low);
        if high < low {
            return Err(format!("the range {low}-{high} is upside down"));
        }
        ranges.push((low, high));
    }
}

/// Reads `-x`, unless the class ends behind the `-`.
fn range_end(rest: &mut Peekable<Chars<'_>>) -> Result<Option<char>, Reason> {
    let mut ahead = rest.clone();
    if ahead.next() != Some('-') || matches!(ahead.peek(), None | Some(']')) {
        return Ok(None);
    }
    *rest = ahead;
    match rest.next() {
        Some('\\') => match escape(rest)? {
            Escape::Char(c) => Ok(Some(c)),
            Escape::Ranges(_) => Err("a range cannot end in a class".to_owned()),
        },
        other => Ok(other),
    }
}

/// Reads `:name:]` behind a `[`, if there is a `:]` at all.
fn posix_name(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    // No class has a longer name. Without a limit, each `[:` of a pattern would search the whole rest of it.
    let ahead: String = rest.clone().skip(1).take(LONGEST_CLASS_NAME).collect();
    let (name, _) = ahead.split_once(":]")?;
    rest.by_ref().take(name.chars().count() + 3).for_each(drop);
    Some(name.to_owned())
}

fn posix(name: &str) -> Option<Vec<(char, char)>> {
    if let Some(name) = name.strip_prefix('^') {
        return posix(name).map(complement);
    }
    Some(match name {
        "alnum" => vec![('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => vec![('A', 'Z'), ('a', 'z')],
        "ascii" => vec![('\0', '\x7f')],
        "blank" => vec![('\t', '\t'), (' ', ' ')],
        "cntrl" => vec![('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => vec![('0', '9')],
        "graph" => vec![('!', '~')],
        "lower" => vec![('a', 'z')],
        "print" => vec![(' ', '~')],
        "punct" => vec![('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => vec![('\t', '\r'), (' ', ' ')],
        "upper" => vec![('A', 'Z')],
        "word" => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => vec![('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    })
}
