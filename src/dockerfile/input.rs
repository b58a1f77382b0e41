//! A line with what is needed to read it, and the forms that several instructions share.

use super::error::{Fault, Warning};
use super::instruction::{CommandLine, Heredoc, Span};
use super::lint::Rule;
use super::words::{Command, JsonForm, Token, json_form, plain_words};

/// A line and what is needed to read it.
pub(super) struct Input<'a> {
    pub(super) command: Command<'a>,
    pub(super) escape: char,
    pub(super) heredocs: &'a [Heredoc],
    /// The place of the line.
    pub(super) span: Span,
    /// What is noteworthy.
    pub(super) warnings: &'a mut Vec<Warning>,
}

impl Input<'_> {
    /// Notes a warning about a text of the line.
    pub(super) fn warn(&mut self, rule: Rule, message: impl Into<String>, subject: &str) {
        self.warnings.push(Warning::new(rule, self.span, message).about(subject));
    }
}

/// The fault of an instruction that stands alone.
pub(super) fn at_least_one(keyword: &str) -> Fault {
    Fault::new(format!("{keyword} requires at least one argument"))
}

/// Reads a list in JSON or between spaces; tells whether it was JSON.
pub(super) fn list(input: &Input<'_>) -> Result<(Vec<Token>, bool), Fault> {
    let Command { rest, offset, .. } = input.command;
    match json_form(rest).map_err(|fault| fault.at(offset))? {
        JsonForm::List(texts) => Ok((texts.into_iter().map(|text| Token { text, offset }).collect(), true)),
        JsonForm::Broken | JsonForm::None => Ok((plain_words(rest, offset), false)),
    }
}

/// Reads a command in the exec or the shell form.
pub(super) fn command_line(rest: &str, offset: usize, input: &mut Input<'_>) -> Result<CommandLine, Fault> {
    match json_form(rest).map_err(|fault| fault.at(offset))? {
        JsonForm::List(words) => return Ok(CommandLine::Exec(words)),
        // `[ -f x ] && …` is a shell's test, not a list that went wrong.
        JsonForm::Broken if rest.trim_start_matches(['[', ' ']).starts_with(['"', '\'']) => {
            let keyword = input.command.keyword.to_uppercase();
            let message = format!("{keyword} looks like a JSON list but is none: it is taken as a text for the shell");
            input.warn(Rule::InvalidJsonForm, message, rest);
        }
        JsonForm::Broken | JsonForm::None => {}
    }
    Ok(CommandLine::Shell(rest.to_owned()))
}
