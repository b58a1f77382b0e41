//! The words of a command line before they are flags: files of arguments, and booleans with a word of their own.
//!
//! Knows which flags take a value in the next word, so that a value is never taken for something else. Does not know
//! what any flag means.
//!
//! *Invariant: what stands in a file is taken as it is; it names no further file.*

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use clap::Command;

use crate::cli::exit::{Failure, Kind};

/// Replaces each `@FILE` by the lines of that file, and joins a boolean flag with a `true` or `false` behind it.
///
/// A line is one argument, whole and literal: spaces and quotes belong to it. Empty lines, and a carriage return at
/// the end of a line, are left out. A word that is the value of the flag before it stays as it is.
///
/// # Errors
/// A [`Failure`] of kind usage when a file cannot be read.
pub(super) fn expand(words: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, Failure> {
    let command = super::command();
    let mut words = words.into_iter();
    let mut expanded = Expanded { scope: &command, words: words.next().into_iter().collect(), last: Last::Other };
    for word in words {
        match word.as_bytes().strip_prefix(b"@").filter(|_| expanded.last != Last::WantsValue) {
            Some(path) => lines(Path::new(OsStr::from_bytes(path)))?.into_iter().for_each(|line| expanded.take(line)),
            None => expanded.take(word),
        }
    }
    Ok(expanded.words)
}

fn lines(path: &Path) -> Result<Vec<OsString>, Failure> {
    let usage = |message: String| Failure::new(Kind::Usage, message);
    if path.as_os_str().is_empty() {
        return Err(usage("`@` needs the name of a file with arguments behind it".to_owned()));
    }
    let text = std::fs::read(path);
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
}

impl Expanded<'_> {
    fn take(&mut self, word: OsString) {
        let last = std::mem::replace(&mut self.last, Last::Other);
        if last == Last::WantsValue {
            return self.words.push(word);
        }
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
        self.last = match self.flag(&word) {
            // The value of those stands behind `=` or not at all: see `super::with_value`.
            Some(flag) if flag.is_require_equals_set() => Last::Boolean,
            Some(flag) if flag.get_action().takes_values() => Last::WantsValue,
            Some(_) | None => Last::Other,
        };
        self.words.push(word);
    }

    /// Finds the flag that a word is, bare of a value.
    fn flag(&self, word: &OsStr) -> Option<&clap::Arg> {
        let word = word.to_str()?;
        let mut flags = self.scope.get_arguments();
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
