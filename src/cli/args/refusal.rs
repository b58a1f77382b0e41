//! Why a command line was refused, in a sentence that helps.

use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::{docker, kaniko};
use crate::cli::exit::{Failure, Kind};

/// Turns clap's error into ours.
pub(super) fn explain(error: &Error, words: &[OsString]) -> Failure {
    let argument = context(error, ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => unknown(error, &argument, words),
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or(argument);
            let prior = context(error, ContextKind::PriorArg).filter(|prior| prior.starts_with("--"));
            if let Some(prior) = prior.filter(|_| word.starts_with("--")) {
                usage(format!("{} cannot be used with {}", flag_of(&word), flag_of(&prior)))
            } else if super::command().find_subcommand(&word).is_some() {
                usage(format!("the command `{word}` takes no flags of a build"))
            } else {
                unknown(error, &word, words)
            }
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => value(error, flag_of(&argument)),
        ErrorKind::MissingRequiredArgument => missing(error),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => no_command(words),
        _ => usage(first_line(error)),
    }
}

/// Names what a command needs and was not given.
fn missing(error: &Error) -> Failure {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::InvalidArg) else {
        return usage(first_line(error));
    };
    let what = names.join(" and ");
    let failure = usage(format!("{what} {} missing", if names.len() == 1 { "is" } else { "are" }));
    match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => {
            let text = usage.to_string();
            failure.hint(format!("write `{}`", text.trim_start_matches("Usage:").trim()))
        }
        _ => failure,
    }
}

/// Names the commands that a command has where none of them was given.
fn no_command(words: &[OsString]) -> Failure {
    let command = super::command();
    let given = words.iter().skip(1).filter_map(|word| word.to_str()).find_map(|word| command.find_subcommand(word));
    let Some(given) = given else { return usage("a command is missing") };
    let names: Vec<&str> = given.get_subcommands().map(|command| command.get_name()).collect();
    usage(format!("`{}` needs a command", given.get_name())).hint(format!("it can be {}", names.join(", ")))
}

fn unknown(error: &Error, word: &str, words: &[OsString]) -> Failure {
    let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).map(flag_of) else {
        return stray(word, words);
    };
    if let Some(flag) = kaniko::FLAGS.iter().find(|flag| flag.name == name) {
        let dashes = if name.len() == 1 { "-" } else { "--" };
        return usage(format!("{dashes}{name} is a flag of kaniko's that is not there yet ({})", flag.purpose))
            .hint("leave it out, or stay with kaniko for this build until it is");
    }
    let failure = usage(format!("there is no flag {}", flag_of(word)));
    if let Some(instead) = docker::instead(name) {
        return failure.hint(instead);
    }
    match context(error, ContextKind::SuggestedArg) {
        Some(suggestion) => failure.hint(format!("did you mean {}?", flag_of(&suggestion))),
        None => failure.hint("run `yadokari --help` for all flags"),
    }
}

/// Explains a word that is no flag. Behind a build argument it may be the rest of a secret whose quotes
/// were lost, so it is not shown there.
fn stray(word: &str, words: &[OsString]) -> Failure {
    let position = words.iter().position(|candidate| candidate == word).unwrap_or(words.len());
    let before = words[..position].iter().rev().filter_map(|word| word.to_str()).find(|word| word.starts_with('-'));
    match before.map(flag_of) {
        Some("--build-arg") => usage("a word behind --build-arg belongs to no flag")
            .hint("put the whole NAME=VALUE into quotes if the value has spaces"),
        Some(flag) if super::values::boolean(word).is_ok() => {
            usage(format!("`{word}` belongs to no flag")).hint(format!("write {flag}={word}, with `=`"))
        }
        Some(flag) => usage(format!("`{word}` behind {flag} belongs to no flag"))
            .hint("put a value with spaces into quotes; repeat the flag for further values"),
        None => usage(format!("there is no command `{word}`")).hint("run `yadokari --help` for flags and commands"),
    }
}

fn value(error: &Error, flag: &str) -> Failure {
    let given = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let failure = match (given.as_str(), std::error::Error::source(error)) {
        ("", _) => usage(format!("{flag} needs a value")),
        (given, Some(cause)) => usage(format!("{flag} cannot be `{given}`: {}", why(cause))),
        (given, None) => usage(format!("{flag} cannot be `{given}`")),
    };
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            failure.hint(format!("it can be {}", values.join(", ")))
        }
        _ => failure,
    }
}

/// Says why a value is none; where the standard library says it of a number, in words for users.
fn why(cause: &(dyn std::error::Error + 'static)) -> String {
    match cause.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::Zero) => "write a whole number from 1 on".to_owned(),
        Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => "the number is too large".to_owned(),
        Some(_) => "write a whole number".to_owned(),
        None => cause.to_string(),
    }
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, message)
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// Cuts `--flag <VALUE>`, `--flag[=<BOOL>]` and `--flag=value` down to the flag.
fn flag_of(text: &str) -> &str {
    text.split(['=', ' ', '[']).next().unwrap_or(text)
}

fn first_line(error: &Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
