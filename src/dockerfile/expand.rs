//! Expansion of variables, quotes and escapes in a word, as BuildKit's shell lexer does it.
//!
//! Knows `$x`, `${x}`, `${x:-y}`, `${x-y}`, `${x:+y}`, `${x+y}`, `${x:?e}`, `${x?e}`, `${x#p}`, `${x##p}`,
//! `${x%p}`, `${x%%p}`, `${x/p/r}` and `${x//p/r}`, nested. Does not know where the values come from.
//! Differs from BuildKit in two places, both faults there: a `${…}` with a modifier does not lose what
//! stood before it in the same word when splitting, and a `$1` inside a replacement is no regexp group.
//!
//! *Invariant*: the value of a variable is never expanded again, and depth is bounded.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use super::shell_pattern::ShellPattern;

/// How deep `${…}` may be nested; a limit of ours, against running out of stack.
const MAX_DEPTH: usize = 100;

/// Turns words into text.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    /// The escape character of the Dockerfile.
    pub escape: char,
    /// Gives the value of a variable, or none when it is not set.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// Whether quotes stay in the result.
    pub raw_quotes: bool,
    /// Whether escape characters stay in the result.
    pub raw_escapes: bool,
    /// Whether quotes are ordinary characters.
    pub ignore_quotes: bool,
    /// Whether references to unset variables stay as they are.
    pub skip_unset: bool,
}

/// A word after expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// The variables that were asked for and set.
    pub matched: BTreeSet<String>,
    /// The variables that were asked for and not set.
    pub unmatched: BTreeSet<String>,
}

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to expand {word:?}: {reason}")]
pub struct ExpandError {
    /// The word as written.
    pub word: String,
    /// What is wrong with it.
    pub reason: ExpandReason,
}

/// What may be wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandReason {
    /// `'` without its second.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// `"` without its second.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${x` without `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${x/p` without the second `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${{` or `${:`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${x=y}` and the like.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${x?message}` and `x` is not set.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text after `?`, or a default one.
        message: String,
    },
    /// A pattern after `#`, `%` or `/` with an escape that means nothing.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escape}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What follows the backslash; empty at the end.
        escape: String,
    },
    /// More than a hundred levels of `${…}`.
    #[error("substitutions are nested too deeply")]
    Depth,
}

impl<'a> Expander<'a> {
    /// Returns the expander for the words of instructions.
    pub fn new(escape: char, variables: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { escape, variables, raw_quotes: false, raw_escapes: false, ignore_quotes: false, skip_unset: false }
    }

    /// Returns the expander for the bodies of COPY's and ADD's heredocs: quotes are text there, and the
    /// escape character is the backslash whatever the directive says.
    pub fn for_heredoc(variables: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { ignore_quotes: true, ..Self::new('\\', variables) }
    }

    /// Expands a text into one text; spaces stay.
    ///
    /// # Errors
    /// When the text is no valid word, or a variable that is required (`${x?}`) is not set.
    pub fn word(&self, word: &str) -> Result<Expanded, ExpandError> {
        let mut scan = Scan::new(self, word);
        let (text, _) = scan.all().map_err(|reason| ExpandError { word: word.to_owned(), reason })?;
        Ok(Expanded { text, matched: scan.matched, unmatched: scan.unmatched })
    }

    /// Expands a text, then splits it at the spaces that are neither quoted nor escaped; empty words vanish.
    ///
    /// # Errors
    /// As [`Expander::word`].
    pub fn words(&self, words: &str) -> Result<Vec<String>, ExpandError> {
        let (_, split) =
            Scan::new(self, words).all().map_err(|reason| ExpandError { word: words.to_owned(), reason })?;
        Ok(split)
    }
}

/// The words of a text while they are found.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
}

impl Words {
    /// Adds what may be split.
    fn add(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() { self.finish() } else { self.current.push(c) }
        }
    }

    fn finish(&mut self) {
        if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }
}

/// One pass over a text.
struct Scan<'a> {
    options: &'a Expander<'a>,
    rest: Peekable<Chars<'a>>,
    raw_escapes: bool,
    depth: usize,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

type Step<T> = Result<T, ExpandReason>;

impl<'a> Scan<'a> {
    fn new(options: &'a Expander<'a>, text: &'a str) -> Self {
        Self {
            options,
            rest: text.chars().peekable(),
            raw_escapes: options.raw_escapes,
            depth: 0,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
        }
    }

    fn all(&mut self) -> Step<(String, Vec<String>)> {
        let (text, words, _) = self.until(None)?;
        Ok((text, words))
    }

    /// Reads to the character (which is consumed) or to the end; tells whether the character was found.
    fn until(&mut self, stop: Option<char>) -> Step<(String, Vec<String>, bool)> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(&c) = self.rest.peek() {
            if Some(c) == stop {
                self.rest.next();
                words.finish();
                return Ok((text, words.done, true));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    words.add(&value);
                }
                '<' | '\'' | '"' if c == '<' || !self.options.ignore_quotes => {
                    let piece = match c {
                        '\'' => self.single_quoted()?,
                        '"' => self.double_quoted()?,
                        _ => self.angle(),
                    };
                    text.push_str(&piece);
                    words.current.push_str(&piece);
                }
                _ => self.plain(&mut text, &mut words),
            }
        }
        words.finish();
        Ok((text, words.done, stop.is_none()))
    }

    /// Reads the part of a `${…}` up to `stop`.
    fn part(&mut self, stop: char, raw_escapes: bool) -> Step<String> {
        if self.depth >= MAX_DEPTH {
            return Err(ExpandReason::Depth);
        }
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        self.depth += 1;
        let (text, _, found) = self.until(Some(stop))?;
        self.depth -= 1;
        self.raw_escapes = outer;
        match (found, stop) {
            (true, _) => Ok(text),
            (false, '/') => Err(ExpandReason::MissingSlash),
            (false, _) => Err(ExpandReason::MissingBrace),
        }
    }

    /// Reads one ordinary or one escaped character.
    fn plain(&mut self, text: &mut String, words: &mut Words) {
        let Some(c) = self.rest.next() else { return };
        if c != self.options.escape {
            text.push(c);
            words.add(c.encode_utf8(&mut [0; 4]));
            return;
        }
        let kept = self.raw_escapes.then_some(c);
        for c in kept.into_iter().chain(self.rest.next()) {
            text.push(c);
            words.current.push(c);
        }
    }

    fn single_quoted(&mut self) -> Step<String> {
        let mut text = String::new();
        self.quote(&mut text);
        while let Some(&c) = self.rest.peek() {
            if c == '\'' {
                self.quote(&mut text);
                return Ok(text);
            }
            text.push(c);
            self.rest.next();
        }
        Err(ExpandReason::SingleQuote)
    }

    fn double_quoted(&mut self) -> Step<String> {
        let mut text = String::new();
        self.quote(&mut text);
        while let Some(&c) = self.rest.peek() {
            match c {
                '"' => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ => self.in_double_quotes(&mut text),
            }
        }
        Err(ExpandReason::DoubleQuote)
    }

    /// Reads one character between double quotes, where the escape character acts on `"`, `$` and itself only.
    fn in_double_quotes(&mut self, text: &mut String) {
        let Some(c) = self.rest.next() else { return };
        if c != self.options.escape {
            return text.push(c);
        }
        if self.raw_escapes {
            text.push(c);
        }
        match self.rest.peek() {
            None => {}
            Some(&next) if next == '"' || next == '$' || next == self.options.escape => {
                text.push(next);
                self.rest.next();
            }
            Some(_) => text.push(c),
        }
    }

    fn quote(&mut self, text: &mut String) {
        let quote = self.rest.next();
        if self.options.raw_quotes {
            text.extend(quote);
        }
    }

    /// Reads `<`, or `<<` with the spaces behind it, which belong to the word of a heredoc.
    fn angle(&mut self) -> String {
        let mut text = String::new();
        text.extend(self.rest.next());
        if let Some(second) = self.rest.next_if_eq(&'<') {
            text.push(second);
            while let Some(space) = self.rest.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
                text.push(space);
            }
        }
        text
    }

    fn dollar(&mut self) -> Step<String> {
        self.rest.next();
        if self.rest.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.value(&name) {
            None if self.options.skip_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    /// Reads what follows `${`.
    fn braced(&mut self) -> Step<String> {
        match self.rest.peek() {
            None => return Err(ExpandReason::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandReason::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.rest.next() {
            None => Err(ExpandReason::MissingBrace),
            Some('}') => match self.value(&name) {
                None if self.options.skip_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            Some(':') => match self.rest.next() {
                None => Err(ExpandReason::MissingBrace),
                Some(c @ ('#' | '%')) => Err(ExpandReason::Modifier(format!(":{c}"))),
                Some(c) => self.modified(&name, c, true),
            },
            Some(c @ ('+' | '-' | '?')) => self.modified(&name, c, false),
            Some(c @ ('#' | '%')) => self.trimmed(&name, c),
            Some('/') => self.replaced(&name),
            Some(c) => Err(ExpandReason::Modifier(c.to_string())),
        }
    }

    /// Reads the word of `${name-word}` and its kin; `or_empty` says that an empty value counts as unset.
    fn modified(&mut self, name: &str, modifier: char, or_empty: bool) -> Step<String> {
        let colon = if or_empty { ":" } else { "" };
        let word = self.part('}', false)?;
        let value = self.value(name);
        if value.is_none() && self.options.skip_unset {
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let was_set = value.is_some();
        let value = value.filter(|value| !(or_empty && value.is_empty()));
        match (modifier, value) {
            ('-', Some(value)) | ('?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('?', None) => {
                let default = if was_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                Err(ExpandReason::Required { name: name.to_owned(), message })
            }
            (other, _) => Err(ExpandReason::Modifier(format!("{colon}{other}"))),
        }
    }

    /// Reads the pattern of `${name#pattern}` or `${name%pattern}`; doubled, the longest match goes.
    fn trimmed(&mut self, name: &str, modifier: char) -> Step<String> {
        let word = self.part('}', true)?;
        let Some(value) = self.value(name) else {
            return Ok(if self.options.skip_unset { format!("${{{name}{modifier}{word}}}") } else { String::new() });
        };
        let (pattern, longest) = match word.strip_prefix(modifier) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let pattern = ShellPattern::parse(pattern)?;
        Ok(match modifier {
            '#' => pattern.trim_start(&value, longest),
            _ => pattern.trim_end(&value, longest),
        })
    }

    /// Reads the two parts of `${name/pattern/replacement}`; with a doubled first slash all matches go.
    fn replaced(&mut self, name: &str) -> Step<String> {
        let all = self.rest.next_if_eq(&'/').is_some();
        let pattern = self.part('/', true)?;
        let replacement = self.part('}', true)?;
        let Some(value) = self.value(name) else {
            let kept = || format!("${{{name}/{pattern}/{replacement}}}");
            return Ok(if self.options.skip_unset { kept() } else { String::new() });
        };
        Ok(ShellPattern::parse(&pattern)?.replace(&value, &replacement, all))
    }

    /// Reads a name: digits, one special parameter, or letters, digits and underscores; may be empty.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek().copied() {
            Some(c) if c.is_ascii_digit() => {
                name.extend(std::iter::from_fn(|| self.rest.next_if(char::is_ascii_digit)));
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => name.extend(std::iter::from_fn(|| self.rest.next_if(|c| c.is_alphanumeric() || *c == '_'))),
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.options.variables)(name);
        let names = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        names.insert(name.to_owned());
        value
    }
}
