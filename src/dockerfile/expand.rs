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

use super::shell_pattern::{BadEscape, ShellPattern};

/// How deep `${…}` may be nested; a limit of ours, against running out of stack.
const MAX_DEPTH: usize = 100;

/// How long in bytes a word may get that is not as long as written; a limit of ours: values made of values multiply.
pub const LONGEST_VALUE: usize = 1 << 20;

/// How much work a word may be, in bytes that are put together, and for patterns in products of lengths.
const MAX_WORK: usize = 1 << 26;

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
    /// How much work it was, in bytes.
    pub work: usize,
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
    /// Values that are too long to be put together, or to be compared with a pattern.
    #[error("the values in it are too long")]
    Work,
    /// A word that grows beyond [`LONGEST_VALUE`].
    #[error("its value is longer than 1 MiB, the longest that a value may be")]
    Length,
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
        let work = scan.work.saturating_add(text.len());
        Ok(Expanded { text, matched: scan.matched, unmatched: scan.unmatched, work })
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
    /// How long the result may be.
    longest: usize,
    work: usize,
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
            longest: text.len().max(LONGEST_VALUE),
            work: 0,
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
                    self.append(&mut text, &value)?;
                    words.add(&value);
                }
                '<' | '\'' | '"' if c == '<' || !self.options.ignore_quotes => {
                    let piece = match c {
                        '\'' => self.single_quoted()?,
                        '"' => self.double_quoted()?,
                        _ => self.angle(),
                    };
                    self.append(&mut text, &piece)?;
                    words.current.push_str(&piece);
                }
                _ => self.plain(&mut text, &mut words),
            }
        }
        words.finish();
        Ok((text, words.done, stop.is_none()))
    }

    /// Adds a value to a text.
    fn append(&mut self, text: &mut String, value: &str) -> Step<()> {
        text.push_str(value);
        if text.len() > self.longest {
            return Err(ExpandReason::Length);
        }
        self.spend(value.len())
    }

    fn spend(&mut self, work: usize) -> Step<()> {
        self.work = self.work.saturating_add(work);
        if self.work > MAX_WORK.max(self.longest) { Err(ExpandReason::Work) } else { Ok(()) }
    }

    /// Reads a pattern that is to be compared with a value.
    fn comparable(&mut self, pattern: &str, value: &str) -> Step<ShellPattern> {
        self.spend(pattern.len().saturating_mul(value.len()))?;
        ShellPattern::parse(pattern)
            .map_err(|BadEscape(escape)| ExpandReason::Pattern { pattern: pattern.to_owned(), escape })
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
                '$' => {
                    let value = self.dollar()?;
                    self.append(&mut text, &value)?;
                }
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
        match self.value(&name)? {
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
            Some('}') => match self.value(&name)? {
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
        let value = self.value(name)?;
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
        let value = match self.value(name)? {
            None if self.options.skip_unset => return Ok(format!("${{{name}{modifier}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (pattern, longest) = match word.strip_prefix(modifier) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let pattern = self.comparable(pattern, &value)?;
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
        let value = match self.value(name)? {
            None if self.options.skip_unset => return Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => value.unwrap_or_default(),
        };
        let pattern = self.comparable(&pattern, &value)?;
        pattern.replace(&value, &replacement, all, self.longest).ok_or(ExpandReason::Length)
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

    fn value(&mut self, name: &str) -> Step<Option<String>> {
        let value = (self.options.variables)(name);
        self.spend(value.as_ref().map_or(0, String::len))?;
        let names = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        names.insert(name.to_owned());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `None` stands for an error.
    type Row = (&'static str, Option<&'static str>);

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            "HOME" => "/root",
            "NAME" => "yadokari",
            "EMPTY" => "",
            "SPACED" => " a  b ",
            "FILE" => "dir/lib.tar.gz",
            "STAR" => "a*b?c\\d",
            "DOLLAR" => "$NAME",
            "LINES" => "one\ntwo",
            "やど" => "宿",
            "_x1" => "under",
            "1" => "first",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn check(expander: &Expander<'_>, rows: &[Row]) {
        for (word, expected) in rows {
            let found = expander.word(word).map(|expanded| expanded.text);
            assert_eq!(found.as_ref().ok().map(String::as_str), *expected, "{word:?} gave {found:?}");
        }
    }

    #[test]
    fn plain_text_quotes_and_escapes() {
        let rows: &[Row] = &[
            ("", Some("")),
            ("plain", Some("plain")),
            ("two words", Some("two words")),
            ("  kept  spaces ", Some("  kept  spaces ")),
            ("'single'", Some("single")),
            ("\"double\"", Some("double")),
            ("a'b'c\"d\"e", Some("abcde")),
            ("''", Some("")),
            ("\"\"", Some("")),
            ("'say \"hi\"'", Some("say \"hi\"")),
            ("\"it's\"", Some("it's")),
            ("'$NAME'", Some("$NAME")),
            ("'${NAME'", Some("${NAME")),
            ("\"$NAME\"", Some("yadokari")),
            ("\"a b $NAME c\"", Some("a b yadokari c")),
            (r"\$NAME", Some("$NAME")),
            (r"\\$NAME", Some(r"\yadokari")),
            (r"\a\b", Some("ab")),
            (r"\'", Some("'")),
            (r#"\""#, Some("\"")),
            (r"end\", Some("end")),
            (r"end\\", Some(r"end\")),
            (r#""\n\t""#, Some(r"\n\t")),
            (r#""\"""#, Some("\"")),
            (r#""\$NAME""#, Some("$NAME")),
            (r#""\\$NAME""#, Some(r"\yadokari")),
            (r"'\'", Some(r"\")),
            (r"'a\'b", Some(r"a\b")),
            ("'open", None),
            ("\"open", None),
            ("\"open\\\"", None),
            ("it's", None),
            ("a < b", Some("a < b")),
            ("a << b", Some("a << b")),
            ("<<EOF", Some("<<EOF")),
            ("日本語", Some("日本語")),
            ("日\\本'語'", Some("日本語")),
            ("\t\n", Some("\t\n")),
        ];
        check(&Expander::new('\\', &variables), rows);
    }

    #[test]
    fn names() {
        let rows: &[Row] = &[
            ("$NAME", Some("yadokari")),
            ("${NAME}", Some("yadokari")),
            ("$NAME.x", Some("yadokari.x")),
            ("$NAME-x", Some("yadokari-x")),
            ("$NAMEx", Some("")),
            ("${NAME}x", Some("yadokarix")),
            ("a$EMPTY.b", Some("a.b")),
            ("$UNSET", Some("")),
            ("a${UNSET}b", Some("ab")),
            ("$HOME/$NAME", Some("/root/yadokari")),
            ("$NAME$HOME", Some("yadokari/root")),
            ("$_x1", Some("under")),
            ("${_x1}", Some("under")),
            ("$やど", Some("宿")),
            ("${やど}り", Some("宿り")),
            ("$1", Some("first")),
            ("$1st", Some("firstst")),
            ("$12", Some("")),
            ("$0x", Some("x")),
            ("$$", Some("")),
            ("$$NAME", Some("NAME")),
            ("$?", Some("")),
            ("$@a", Some("a")),
            ("$#$*$!$-", Some("")),
            ("${@}", Some("")),
            ("${?:-none}", Some("none")),
            ("$", Some("$")),
            ("$.", Some("$.")),
            ("a$ b", Some("a$ b")),
            ("$\"NAME\"", Some("$NAME")),
            ("$(date)", Some("$(date)")),
            ("$DOLLAR", Some("$NAME")),
            ("${DOLLAR}", Some("$NAME")),
            ("${}", None),
            ("${", None),
            ("${NAME", None),
            ("${{NAME}", None),
            ("${:NAME}", None),
            ("${:}", None),
            ("${.}", None),
            ("${NAME x}", None),
            ("${NAME.}", None),
            ("${NAME}}", Some("yadokari}")),
            ("${NA ME}", None),
            ("${#NAME}", None),
            ("${!NAME}", None),
            ("$name", Some("")),
        ];
        check(&Expander::new('\\', &variables), rows);
    }

    /// Every modifier on a variable that is set, empty and unset: what POSIX says, in one table.
    #[test]
    fn defaults_alternatives_and_requirements() {
        let modifiers = [
            // modifier, set, empty, unset
            (":-", "v", "w", "w"),
            ("-", "v", "", "w"),
            (":+", "w", "", ""),
            ("+", "w", "w", ""),
            (":?", "v", "!", "!"),
            ("?", "v", "", "!"),
        ];
        let words = [("x", "x"), ("a b", "a b"), ("$HOME", "/root"), ("'q'", "q"), ("${NONE:-z}", "z"), (r"\}", "}")];
        let expander = Expander::new('\\', &variables);
        for (modifier, set, empty, unset) in modifiers {
            for (word, expanded) in words {
                for (name, value, expected) in [("NAME", "yadokari", set), ("EMPTY", "", empty), ("NONE", "", unset)] {
                    let text = format!("<${{{name}{modifier}{word}}}>");
                    let found = expander.word(&text);
                    let expected = match expected {
                        "v" => value,
                        "w" => expanded,
                        "!" => {
                            let required = ExpandReason::Required { name: name.into(), message: expanded.into() };
                            assert_eq!(found.unwrap_err().reason, required, "{text}");
                            continue;
                        }
                        other => other,
                    };
                    assert_eq!(found.map(|found| found.text), Ok(format!("<{expected}>")), "{text}");
                }
            }
        }
    }

    #[test]
    fn modifiers_at_the_edge() {
        let rows: &[Row] = &[
            ("${NAME:-}", Some("yadokari")),
            ("${NONE:-}", Some("")),
            ("${NONE:-a}b}", Some("ab}")),
            ("${NONE:-{}", Some("{")),
            ("${NONE:-'}'}", Some("}")),
            ("${NONE:-\"}\"}", Some("}")),
            ("${NONE:-${NONE2:-${HOME}}}", Some("/root")),
            ("${NONE:-${NAME:+yes}}", Some("yes")),
            ("${NAME:+${NONE:-deep}er}", Some("deeper")),
            ("\"${NONE:-a  b}\"", Some("a  b")),
            ("${NONE:-$DOLLAR}", Some("$NAME")),
            ("${NONE:=x}", None),
            ("${NAME=x}", None),
            ("${NAME:x}", None),
            ("${NAME:#x}", None),
            ("${NAME:%x}", None),
            ("${NAME^^}", None),
            ("${NAME,,}", None),
            ("${NAME@Q}", None),
            ("${NAME:0:2}", None),
            ("${NONE:-a", None),
            ("${NONE:-'a}", None),
            ("${NONE:-${HOME}", None),
            ("${NAME:", None),
            ("${NAME:?}", Some("yadokari")),
            // The word is read even when it is not used.
            ("${NAME:-${}}", None),
        ];
        check(&Expander::new('\\', &variables), rows);
        let message = |word| Expander::new('\\', &variables).word(word).unwrap_err().to_string();
        assert_eq!(message("a${NONE?}"), "failed to expand \"a${NONE?}\": NONE: is not allowed to be unset");
        assert!(message("${EMPTY:?}").ends_with("EMPTY: is not allowed to be empty"));
        assert!(message("${NONE:-a").ends_with("missing '}'"));
        assert!(message("${NAME/a").ends_with("missing '/' in ${}"));
    }

    #[test]
    fn prefixes_and_suffixes() {
        let rows: &[Row] = &[
            ("${FILE#dir/}", Some("lib.tar.gz")),
            ("${FILE#lib}", Some("dir/lib.tar.gz")),
            ("${FILE#*.}", Some("tar.gz")),
            ("${FILE##*.}", Some("gz")),
            ("${FILE##*/}", Some("lib.tar.gz")),
            ("${FILE%.*}", Some("dir/lib.tar")),
            ("${FILE%%.*}", Some("dir/lib")),
            ("${FILE%/*}", Some("dir")),
            ("${FILE%gz}", Some("dir/lib.tar.")),
            ("${FILE%xz}", Some("dir/lib.tar.gz")),
            ("${FILE#???}", Some("/lib.tar.gz")),
            ("${FILE%???}", Some("dir/lib.tar")),
            ("${FILE#*}", Some("dir/lib.tar.gz")),
            ("${FILE##*}", Some("")),
            ("${FILE%*}", Some("dir/lib.tar.gz")),
            ("${FILE%%*}", Some("")),
            ("${FILE#}", Some("dir/lib.tar.gz")),
            ("${FILE##}", Some("dir/lib.tar.gz")),
            ("${FILE#$NONE}", Some("dir/lib.tar.gz")),
            ("${FILE#${NONE:-dir}}", Some("/lib.tar.gz")),
            ("${FILE#*i*r}", Some("/lib.tar.gz")),
            ("${FILE##*i*r}", Some(".gz")),
            ("${FILE%a*g*}", Some("dir/lib.t")),
            ("${FILE#dir.}", Some("dir/lib.tar.gz")),
            ("${FILE#[d]ir}", Some("dir/lib.tar.gz")),
            (r"${STAR#a\*}", Some(r"b?c\d")),
            (r"${STAR%c\\?}", Some("a*b?")),
            (r"${STAR%\?*}", Some("a*b")),
            (r"${NAME#x\}}\$", Some("yadokari$")),
            (r"${STAR#a\x}", None),
            (r"${NONE#\x}", None),
            (r"${NAME%\", None),
            ("${EMPTY#*}", Some("")),
            ("${NONE%%*}", Some("")),
            ("${LINES#*e}", Some("\ntwo")),
            ("${LINES##*o}", Some("ne\ntwo")),
            ("${やど#?}", Some("")),
            ("${やど%宿}", Some("")),
        ];
        check(&Expander::new('\\', &variables), rows);
    }

    #[test]
    fn replacements() {
        let rows: &[Row] = &[
            ("${NAME/a/o}", Some("yodokari")),
            ("${NAME//a/o}", Some("yodokori")),
            ("${NAME/a/}", Some("ydokari")),
            ("${NAME//a/}", Some("ydokri")),
            ("${NAME/z/o}", Some("yadokari")),
            ("${NAME/a*k/-}", Some("y-ari")),
            ("${NAME/a*a/-}", Some("y-ri")),
            ("${NAME//?a/-}", Some("-do-ri")),
            ("${NAME/*/all}", Some("all")),
            ("${NAME//*/all}", Some("all")),
            ("${NAME///-}", Some("-y-a-d-o-k-a-r-i-")),
            ("${FILE//\\//-}", Some("dir-lib.tar.gz")),
            ("${FILE/dir\\/lib/x}", Some("x.tar.gz")),
            ("${FILE/./\\}}", Some(r"dir/lib\}tar.gz")),
            ("${FILE//./$NAME}", Some("dir/libyadokaritaryadokarigz")),
            ("${FILE/${NONE:-lib}/$HOME}", Some("dir//root.tar.gz")),
            ("${NAME//a/$DOLLAR}", Some("y$NAMEdok$NAMEri")),
            ("${NAME//a/\\$1}", Some("y\\$1dok\\$1ri")),
            ("${NONE/*/x}", Some("x")),
            ("${EMPTY/a/x}", Some("")),
            ("${LINES/e*t/-}", Some("one\ntwo")),
            ("${NAME/\\a/x}", None),
            ("${NAME/a}", None),
            ("${NAME/a/b", None),
            ("${NAME/", None),
        ];
        check(&Expander::new('\\', &variables), rows);
    }

    #[test]
    fn a_backtick_escapes_when_the_directive_says_so() {
        let rows: &[Row] = &[
            ("`$NAME", Some("$NAME")),
            (r"c:\dir\$NAME", Some(r"c:\dir\yadokari")),
            ("\"`$NAME \\$NAME\"", Some(r"$NAME \yadokari")),
            ("``", Some("`")),
            ("`", Some("")),
            ("'`'", Some("`")),
            ("${NONE:-`}}", Some("}")),
        ];
        check(&Expander::new('`', &variables), rows);
    }

    #[test]
    fn options_keep_what_they_say() {
        let plain = Expander::new('\\', &variables);
        let raw = Expander { raw_quotes: true, skip_unset: true, ..plain };
        check(
            &raw,
            &[
                ("'a' \"b\"", Some("'a' \"b\"")),
                ("\"$NAME\"", Some("\"yadokari\"")),
                ("$NONE ${NONE}", Some("$NONE ${NONE}")),
                ("${NONE:-$NAME}", Some("${NONE:-yadokari}")),
                ("${NONE##a*}", Some("${NONE##a*}")),
                ("${NONE/a/b}", Some("${NONE/a/b}")),
                ("${NONE:=x}", Some("${NONE:=x}")),
            ],
        );
        check(&Expander { raw_escapes: true, ..plain }, &[(r"a\b\$", Some(r"a\b\$")), (r"end\", Some(r"end\"))]);
        check(
            &Expander::for_heredoc(&variables),
            &[("it's \"$NAME\"\n", Some("it's \"yadokari\"\n")), (r"\$NAME \\ \n", Some(r"$NAME \ n"))],
        );
    }

    #[test]
    fn words_split_at_bare_spaces_only() {
        let rows: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  ", &[]),
            ("one", &["one"]),
            (" one  two\tthree ", &["one", "two", "three"]),
            ("'one two'", &["one two"]),
            (r"one\ two", &["one two"]),
            ("a'b c'd e", &["ab cd", "e"]),
            ("$SPACED", &["a", "b"]),
            ("x$SPACED", &["x", "a", "b"]),
            ("x${SPACED}y", &["x", "a", "b", "y"]),
            ("x\"$SPACED\"y", &["x a  b y"]),
            ("\"\"", &[]),
            ("a \"\" b", &["a", "b"]),
            ("$EMPTY", &[]),
            ("80${NONE:-80} 90", &["8080", "90"]),
            ("cat << EOF", &["cat", "<< EOF"]),
        ];
        for (text, expected) in rows {
            let words = Expander::new('\\', &variables).words(text);
            assert_eq!(
                words.as_deref(),
                Ok(expected.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().as_slice()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn variables_asked_for_are_reported() {
        let expanded = Expander::new('\\', &variables).word("$NAME ${A:-$B} ${HOME:-$C} '$D'").unwrap();
        assert_eq!(expanded.matched.into_iter().collect::<Vec<_>>(), ["HOME", "NAME"]);
        assert_eq!(expanded.unmatched.into_iter().collect::<Vec<_>>(), ["A", "B", "C"]);
    }

    #[test]
    fn length_is_bounded() {
        let mut word = "${NAME//?/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}".to_owned();
        for _ in 0..20 {
            word = format!("${{NAME//?/{word}}}");
        }
        let long = |_: &str| Some("0123456789abcdef".to_owned());
        assert_eq!(Expander::new('\\', &long).word(&word).unwrap_err().reason, ExpandReason::Length);
    }

    #[test]
    fn depth_is_bounded() {
        let word = |depth: usize| "${X:-".repeat(depth) + "end" + &"}".repeat(depth);
        let expander = Expander::new('\\', &variables);
        assert_eq!(expander.word(&word(MAX_DEPTH)).unwrap().text, "end");
        assert_eq!(expander.word(&word(50_000)).unwrap_err().reason, ExpandReason::Depth);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_text_makes_it_panic(
            word in "([$'\"<{}:\\-+?#%/*` a-cA\\\\]|\\$\\{[AB]|\\PC){0,24}", backtick: bool, flags in any::<[bool; 4]>(),
        ) {
            let variables = |name: &str| (name == "A").then(|| "a/$*}'b".to_owned());
            let [raw_quotes, raw_escapes, ignore_quotes, skip_unset] = flags;
            let escape = if backtick { '`' } else { '\\' };
            let expander =
                Expander { raw_quotes, raw_escapes, ignore_quotes, skip_unset, ..Expander::new(escape, &variables) };
            let _ = expander.word(&word);
            let _ = expander.words(&word);
        }

        #[test]
        fn quoting_any_text_gives_it_back(text in "\\PC{0,20}") {
            let expander = Expander::new('\\', &variables);
            let single = format!("'{}'", text.replace('\'', "'\\''"));
            let double = format!("\"{}\"", text.replace('\\', "\\\\").replace('$', "\\$").replace('"', "\\\""));
            prop_assert_eq!(&expander.word(&single).unwrap().text, &text);
            prop_assert_eq!(&expander.word(&double).unwrap().text, &text);
        }

        #[test]
        fn an_affix_goes_and_the_rest_stays(value in "[ab/.*]{0,8}", pattern in "[ab/.*?]{0,5}") {
            let found = |modifier: &str| {
                let variables = |_: &str| Some(value.clone());
                let pattern = pattern.replace('/', "\\/");
                Expander::new('\\', &variables).word(&format!("${{V{modifier}{pattern}}}")).unwrap().text
            };
            // The reference: try every length.
            let cuts = |lengths: Vec<usize>, start: bool| {
                lengths
                    .into_iter()
                    .find_map(|cut| {
                        let (head, tail) = value.split_at(if start { cut } else { value.len() - cut });
                        let (piece, rest) = if start { (head, tail) } else { (tail, head) };
                        naive(pattern.as_bytes(), piece.as_bytes()).then(|| rest.to_owned())
                    })
                    .unwrap_or_else(|| value.clone())
            };
            prop_assert_eq!(found("#"), cuts((0..=value.len()).collect(), true));
            prop_assert_eq!(found("##"), cuts((0..=value.len()).rev().collect(), true));
            prop_assert_eq!(found("%"), cuts((0..=value.len()).collect(), false));
            prop_assert_eq!(found("%%"), cuts((0..=value.len()).rev().collect(), false));
        }
    }

    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..])),
            ([b'?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            ([byte, rest @ ..], [first, text @ ..]) => byte == first && naive(rest, text),
            _ => false,
        }
    }
}
