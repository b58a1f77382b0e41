//! The words of a command line before they are flags: files of arguments, lists, and what people leave empty.
//!
//! Knows which flags take a value in the next word, so that a value is never taken for something else. Does not know
//! what any flag means.
//!
//! *Invariant: what stands in a file is taken as it is; it names no further file. Words that were read once are read
//! the same way again: in a namespace the executor starts itself with them.*

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use clap::{Arg, Command};

use super::lists::{self, List};
use crate::cli::exit::{Failure, Kind};
use crate::place;

/// Flags whose empty value means something else than that the flag is not given: an empty context is a mistake that
/// must not become the default one, and no helpers are none.
const EMPTY_COUNTS: [&str; 2] = ["context", "credential-helpers"];

/// Replaces each `@FILE` by the lines of that file and each list by its flags, joins a boolean flag with a `true` or
/// `false` behind it, and leaves out what is empty.
///
/// A line is one argument, whole and literal: spaces and quotes belong to it. Empty lines, and a carriage return at
/// the end of a line, are left out. A word that is the value of the flag before it stays as it is. A pipeline whose
/// parameter is not set passes an empty word, or a flag with an empty value: both are as good as not there.
///
/// # Errors
/// A [`Failure`] of kind usage when a file cannot be read, or a list has no end.
pub(super) fn expand(words: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, Failure> {
    let command = super::command();
    let mut words = words.into_iter();
    let program = words.next().into_iter().collect();
    let mut expanded = Expanded { scope: &command, words: program, last: Last::Other, lists: lists::Open::default() };
    for word in words {
        match word.as_bytes().strip_prefix(b"@").filter(|_| expanded.takes_a_file()) {
            Some(path) => {
                for line in lines(Path::new(OsStr::from_bytes(path)))? {
                    expanded.take(line)?;
                }
            }
            None => expanded.take(word)?,
        }
    }
    expanded.lists.end()?;
    Ok(expanded.words)
}

/// The largest file of arguments, in bytes: it is read into memory.
const LARGEST: u64 = 16 << 20;

fn lines(path: &Path) -> Result<Vec<OsString>, Failure> {
    let usage = |message: String| Failure::new(Kind::Usage, message);
    if path.as_os_str().is_empty() {
        return Err(usage("`@` needs the name of a file with arguments behind it".to_owned()));
    }
    let text = std::path::absolute(path).and_then(|path| {
        let working = std::path::absolute(".")?;
        place::read_named(&path, &working, LARGEST)
    });
    let text = text.map_err(|error| usage(format!("cannot read the arguments in {}: {error}", path.display())))?;
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines.filter(|line| !line.is_empty()).map(|line| OsString::from_vec(line.to_vec())).collect())
}

/// What the last word was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// A flag whose value comes next.
    WantsValue,
    /// A boolean flag without a value.
    Boolean,
    /// A flag with its value, a value, a command, or nothing that is known.
    Other,
}

/// The words so far.
struct Expanded<'a> {
    /// The command whose flags they are.
    scope: &'a Command,
    words: Vec<OsString>,
    last: Last,
    lists: lists::Open,
}

impl Expanded<'_> {
    fn takes_a_file(&self) -> bool {
        self.last != Last::WantsValue && !self.lists.is_open()
    }

    fn take(&mut self, word: OsString) -> Result<(), Failure> {
        if self.last == Last::WantsValue {
            self.last = Last::Other;
            self.value(word);
            return Ok(());
        }
        let text = word.to_str().unwrap_or_default();
        if let Some(list) = List::named(text) {
            self.last = Last::Other;
            let words = self.lists.begin(list)?;
            self.words.extend(words);
            return Ok(());
        }
        if self.lists.is_open() {
            let words = self.lists.element(word)?;
            self.words.extend(words);
            return Ok(());
        }
        if text == lists::END {
            return Err(lists::no_list());
        }
        if !word.is_empty() {
            self.word(word);
        }
        Ok(())
    }

    /// Takes the value of the flag before it.
    fn value(&mut self, word: OsString) {
        let flag = self.words.last().cloned().unwrap_or_default();
        match flag_of(self.scope, &flag) {
            Some(flag) if word.is_empty() && !empty_counts(flag) => _ = self.words.pop(),
            _ => self.words.push(word),
        }
    }

    fn word(&mut self, word: OsString) {
        let last = std::mem::replace(&mut self.last, Last::Other);
        let text = word.to_str().unwrap_or_default();
        if let Some(command) = self.scope.find_subcommand(text).filter(|_| self.words.len() == 1) {
            self.scope = command;
        }
        // Where a word may be an argument of its own (an image named `true`), it is one.
        let joins = ["true", "false"].contains(&text) && self.scope.get_positionals().next().is_none();
        if let Some(flag) = self.words.last_mut().filter(|_| joins && last == Last::Boolean) {
            flag.push("=");
            return flag.push(text);
        }
        if let Some((flag, "")) = text.split_once('=')
            && flag_of(self.scope, OsStr::new(flag)).is_some_and(|flag| !empty_counts(flag))
        {
            return;
        }
        if let Some(words) = self.in_one_word(&word) {
            return self.words.extend(words);
        }
        self.last = match flag_of(self.scope, &word) {
            // The value of those stands behind `=` or not at all: see `super::with_value`.
            Some(flag) if flag.is_require_equals_set() => Last::Boolean,
            Some(flag) if flag.get_action().takes_values() => Last::WantsValue,
            Some(_) | None => Last::Other,
        };
        self.words.push(word);
    }

    /// Splits `--flag value` that is one word: in YAML, two words of a shell become one easily.
    fn in_one_word(&self, word: &OsStr) -> Option<Vec<OsString>> {
        let (flag, value) = word.to_str()?.split_once(char::is_whitespace)?;
        let found = flag_of(self.scope, OsStr::new(flag)).filter(|_| flag.starts_with("--"))?;
        let value = value.trim_start();
        if found.is_require_equals_set() {
            return super::values::boolean(value).is_ok().then(|| vec![format!("{flag}={value}").into()]);
        }
        (found.get_action().takes_values() && !value.is_empty()).then(|| vec![flag.into(), value.into()])
    }
}

/// Finds the flag that a word is, bare of a value.
pub(super) fn flag_of<'a>(scope: &'a Command, word: &OsStr) -> Option<&'a Arg> {
    let word = word.to_str()?;
    let mut flags = scope.get_arguments();
    match word.strip_prefix("--") {
        Some(name) => flags.find(|flag| {
            flag.get_long() == Some(name) || flag.get_all_aliases().is_some_and(|names| names.contains(&name))
        }),
        None => {
            let mut letters = word.strip_prefix('-')?.chars();
            let letter = letters.next().filter(|_| letters.next().is_none())?;
            flags.find(|flag| flag.get_short() == Some(letter))
        }
    }
}

fn empty_counts(flag: &Arg) -> bool {
    flag.get_long().is_some_and(|name| EMPTY_COUNTS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(words: &[&str]) -> Result<Vec<String>, String> {
        let words = expand(["yadokari"].iter().chain(words).map(OsString::from)).map_err(|failure| failure.message)?;
        Ok(words.into_iter().skip(1).map(|word| word.into_string().expect("text")).collect())
    }

    #[test]
    fn a_boolean_takes_the_word_behind_it_where_nothing_else_can() {
        let rows: [(&[&str], &[&str]); 9] = [
            (&["--no-push", "true"], &["--no-push=true"]),
            (&["--reproducible", "false", "-c", "x"], &["--reproducible=false", "-c", "x"]),
            (&["--no-push", "1"], &["--no-push", "1"]),
            (&["--no-push=true", "true"], &["--no-push=true", "true"]),
            (&["--label", "true", "true"], &["--label", "true", "true"]),
            (&["--target", "--no-push", "true"], &["--target", "--no-push", "true"]),
            (&["-c", "true", "--force", "true", "true"], &["-c", "true", "--force=true", "true"]),
            (&["index", "--insecure", "true"], &["index", "--insecure", "true"]),
            (&["--nonsense", "true"], &["--nonsense", "true"]),
        ];
        for (words, expected) in rows {
            assert_eq!(expanded(words).expect("no file"), expected, "{words:?}");
        }
    }

    #[test]
    fn what_a_pipeline_leaves_empty_is_not_there() {
        let rows: [(&[&str], &[&str]); 9] = [
            (&["", "--dockerfile=x", ""], &["--dockerfile=x"]),
            (&["", "push", "", "x"], &["push", "x"]),
            (&["--target=", "--destination=", "--image-format=", "--no-push="], &[]),
            (&["--target", "", "-d", "", "--label", "", "x"], &["x"]),
            (&["--build-arg=A=", "--build-arg", "A="], &["--build-arg=A=", "--build-arg", "A="]),
            (&["--context=", "--credential-helpers="], &["--context=", "--credential-helpers="]),
            (&["--context", "", "--credential-helpers", ""], &["--context", "", "--credential-helpers", ""]),
            (&["--nonsense="], &["--nonsense="]),
            (&["--cache", "", "true"], &["--cache=true"]),
        ];
        for (words, expected) in rows {
            assert_eq!(expanded(words).expect("no file"), expected, "{words:?}");
        }
    }

    #[test]
    fn a_flag_and_its_value_may_be_one_word() {
        let rows: [(&[&str], &[&str]); 6] = [
            (&["--build-arg X=y z"], &["--build-arg", "X=y z"]),
            (&["--destination  r.io/a"], &["--destination", "r.io/a"]),
            (&["--cache true"], &["--cache=true"]),
            (&["--label=a=b --no-push"], &["--label=a=b --no-push"]),
            (&["--nonsense a"], &["--nonsense a"]),
            (&["--target", "--label x"], &["--target", "--label x"]),
        ];
        for (words, expected) in rows {
            assert_eq!(expanded(words).expect("no file"), expected, "{words:?}");
        }
    }

    #[test]
    fn lists_become_flags() {
        let rows: [(&[&str], &[&str]); 5] = [
            (&["--build-args", "--labels", "--platforms", "--end-lists", "-c", "x"], &["-c", "x"]),
            (
                &["--build-args", "A=b c", "", "@x=1", "--labels", "l=m", "--end-lists", "--force"],
                &["--build-arg=A=b c", "--build-arg=@x=1", "--label=l=m", "--force"],
            ),
            (&["--platforms", "a/b", "c/d", "--end-lists"], &["--custom-platform=a/b,c/d"]),
            (
                &["--build-args", r#"["A=1","B=\"2\""]"#, "C=3", "--end-lists"],
                &["--build-arg=A=1", "--build-arg=B=\"2\"", "--build-arg=C=3"],
            ),
            (&["--target", "--labels", "x"], &["--target", "--labels", "x"]),
        ];
        for (words, expected) in rows {
            let once = expanded(words).expect("is read");
            assert_eq!(once, expected, "{words:?}");
            assert_eq!(expanded(&once.iter().map(String::as_str).collect::<Vec<_>>()).expect("again"), expected);
        }
    }

    #[test]
    fn no_element_of_a_list_is_a_flag() {
        let rows: [(&[&str], &str); 8] = [
            (&["--build-args", "--destination=evil", "--end-lists"], "would be a flag"),
            (&["--build-args", r#"["--destination=evil"]"#, "--end-lists"], "would be a flag"),
            (&["--build-args", "--end-lists", "--destination=evil", "--labels", "--end-lists"], "given once"),
            (&["--build-args", "--end-lists", "--destination=evil", "--build-args", "--end-lists"], "given once"),
            (&["--build-args", "--labels", "--build-args", "--end-lists"], "given once"),
            (&["--build-args", "--end-lists", "--destination=evil", "--end-lists"], "none is open"),
            (&["--build-args", "A=1"], "needs --end-lists"),
            (&["--labels", "[1]", "--end-lists"], "no JSON array"),
        ];
        for (words, expected) in rows {
            let message = expanded(words).expect_err("is refused");
            assert!(message.contains(expected), "{words:?}: {message}");
        }
    }

    #[test]
    fn a_file_holds_an_argument_a_line() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("arguments");
        std::fs::write(&path, "--label\na=\"b c\"\r\n\n--no-push\n--build-arg=@x\n--force").expect("writes");
        let at = format!("@{}", path.display());
        let words = expanded(&["-c", "@dir", &at, "false", "--context=@y"]).expect("reads");
        let expected =
            ["-c", "@dir", "--label", "a=\"b c\"", "--no-push", "--build-arg=@x", "--force=false", "--context=@y"];
        assert_eq!(words, expected);
        let again = expanded(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect("reads");
        assert_eq!(again, expected, "the process reads its own words once more in a namespace");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        assert!(expanded(&["@/no/such/file"]).expect_err("none").contains("/no/such/file"));
        assert!(expanded(&["@"]).expect_err("none").contains("name of a file"));
    }
}
