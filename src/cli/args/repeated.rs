//! Flags that hold one value and were given several: the last one counts, and it is said.

use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Command};

use super::words::flag_of;
use crate::http::redact_within;

/// Makes a sentence for each flag of one value that was given another one before; `words` are as
/// [`super::words::expand`] gives them.
pub(super) fn notes(command: &Command, words: &[OsString]) -> Vec<String> {
    let scope = words.get(1).and_then(|word| command.find_subcommand(word)).unwrap_or(command);
    let mut given: Vec<(&str, String)> = Vec::new();
    let mut notes = Vec::new();
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let (flag, value) = split(word);
        let Some(flag) = flag_of(scope, flag) else { continue };
        let value = match value {
            Some(value) => value.to_owned(),
            None if flag.is_require_equals_set() => "true".to_owned(),
            None if flag.get_action().takes_values() => {
                words.next().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
            }
            None => continue,
        };
        if !matches!(flag.get_action(), ArgAction::Set) {
            continue;
        }
        let name = flag.get_long().unwrap_or_default();
        match given.iter_mut().find(|(known, _)| *known == name) {
            Some((_, first)) if *first == value => {}
            Some((_, first)) => {
                let (one, other) = (redact_within(first), redact_within(&value));
                notes.push(format!(
                    "--{name} is given more than once, as `{one}` and then as `{other}`: the last one counts"
                ));
                *first = value;
            }
            None => given.push((name, value)),
        }
    }
    notes
}

/// Splits `--flag=value`.
fn split(word: &OsStr) -> (&OsStr, Option<&str>) {
    match word.to_str().and_then(|text| text.split_once('=')) {
        Some((flag, value)) => (OsStr::new(flag), Some(value)),
        None => (word, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Vec<String> {
        let words: Vec<OsString> = ["yadokari"].iter().chain(words).map(OsString::from).collect();
        notes(&super::super::command(), &words)
    }

    #[test]
    fn both_values_are_named_and_the_last_one_counts() {
        let of_two = |flag: &str, one: &str, other: &str| {
            [format!("{flag} is given more than once, as `{one}` and then as `{other}`: the last one counts")]
        };
        assert_eq!(of(&["--isolation=a", "-d", "x", "--isolation", "b"]), of_two("--isolation", "a", "b"));
        assert_eq!(of(&["--no-push=false", "--no-push"]), of_two("--no-push", "false", "true"));
        assert_eq!(of(&["-c", "a", "--context=b"]), of_two("--context", "a", "b"), "also by its letter");
        assert_eq!(of(&["--tarPath=a", "--tar-path=b"]), of_two("--tar-path", "a", "b"), "and by its old name");
        let secret = of(&["-c", "https://u:secret@h/a.tgz", "-c", "b"]);
        assert!(!secret.concat().contains("secret"), "{secret:?}");
    }

    #[test]
    fn nothing_is_said_of_lists_and_of_the_same_value() {
        assert!(
            of(&["-d", "a", "-d", "b", "--label=a=b", "--label=a=c", "--build-arg", "A=1", "--build-arg=A=2"])
                .is_empty()
        );
        assert!(of(&["--no-push", "--no-push=true", "-v=info", "--verbosity", "info"]).is_empty());
        assert!(of(&["--label", "--isolation=a", "--isolation=b"]).is_empty(), "a value that looks like a flag");
    }
}
