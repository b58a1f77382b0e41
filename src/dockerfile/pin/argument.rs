//! The ARGs before the first FROM whose defaults stand for images.

use std::collections::BTreeMap;

use super::super::expand::Expander;
use super::super::lex::Line;
use super::super::words::{Command, quoted_words};
use super::super::{Dockerfile, Instruction};

/// The values of a Dockerfile's global arguments, and where else they are used.
pub(super) struct Arguments<'a> {
    dockerfile: &'a Dockerfile,
    /// Where the default of each begins in the file, and how it is written.
    defined: BTreeMap<String, Vec<Defined>>,
}

struct Defined {
    /// The default's text, without quotes; none where it has variables, or there is none.
    value: Option<String>,
    /// Where it stands in the file, if that is in one piece.
    place: Option<usize>,
    has_variables: bool,
}

/// A reference whose end is the default of an argument.
pub(super) struct StandsFor {
    /// The argument.
    pub(super) name: String,
    /// The whole reference.
    pub(super) reference: String,
    /// The default.
    pub(super) value: String,
    /// Where the default stands in the file.
    pub(super) place: Option<usize>,
}

impl<'a> Arguments<'a> {
    pub(super) fn of(dockerfile: &'a Dockerfile) -> Self {
        Self { dockerfile, defined: BTreeMap::new() }
    }

    /// Takes note of a line with ARG.
    pub(super) fn defined_in(&mut self, line: &Line, command: &Command<'_>, escape: char) {
        for word in quoted_words(command.rest, command.offset, escape) {
            let (name, default) = match word.text.split_once('=') {
                Some((name, default)) => (name, default),
                None => (&*word.text, ""),
            };
            let unset = |_: &str| None;
            let has_variables = default.contains('$');
            let text = Expander::new(escape, &unset).word(default).ok().map(|expanded| expanded.text);
            let value = text.filter(|text| !has_variables && !text.is_empty());
            let place = value.as_ref().and_then(|value| {
                let start = word.offset + name.len() + 1;
                let raw = line.text.get(start..word.offset + word.text.len())?;
                Some(line.place(start + raw.find(value.as_str())?))
            });
            self.defined.entry(name.to_owned()).or_default().push(Defined { value, place, has_variables });
        }
    }

    /// Finds the one argument whose value is the end of a FROM's base.
    ///
    /// # Errors
    /// The reason why the value must stay as it is.
    pub(super) fn stands_for(&self, base: &str) -> Result<StandsFor, String> {
        let (before, name) = variable_at_end(base)
            .ok_or("its name is put together: write it in one piece, or have one ARG with its end, and no modifier")?;
        let defined = match self.defined.get(name).map(Vec::as_slice) {
            None | Some([]) => return Err(format!("no ARG before the first FROM gives {name} a value")),
            Some([one]) => one,
            Some(_) => return Err(format!("ARG {name} stands before the first FROM more than once")),
        };
        if defined.has_variables {
            return Err(format!("the default of ARG {name} is made of other variables"));
        }
        let value = defined.value.clone();
        let value = value.ok_or_else(|| format!("ARG {name} has no default: who builds says what it is"))?;
        if let Some(other) = self.other_use(name, base) {
            return Err(format!("the default of ARG {name} is needed without a digest: {other}"));
        }
        Ok(StandsFor { name: name.to_owned(), reference: format!("{before}{value}"), value, place: defined.place })
    }

    /// Says where else an argument is used than as this base.
    fn other_use(&self, name: &str, base: &str) -> Option<String> {
        let Dockerfile { directives, arguments, stages, .. } = self.dockerfile;
        let uses = |word: &str| {
            let unset = |_: &str| None;
            // What cannot be expanded may use anything.
            let expanded = Expander::new(directives.escape, &unset).word(word);
            expanded.map_or(true, |expanded| expanded.unmatched.contains(name))
        };
        for argument in arguments.iter().flat_map(|line| &line.value.arguments) {
            if argument.default.as_ref().is_some_and(|default| uses(default.as_str())) {
                return Some(format!("it is in the value of ARG {}", argument.name));
            }
        }
        for stage in stages {
            let line = stage.span.first_line;
            if variable_at_end(stage.from.base.as_str()) != variable_at_end(base) && uses(stage.from.base.as_str()) {
                return Some(format!("it is in the name of another base, in line {line}"));
            }
            if stage.from.platform.as_ref().is_some_and(|platform| uses(platform.as_str())) {
                return Some(format!("it is in a platform, in line {line}"));
            }
            let is_declared = |instruction: &Instruction| matches!(instruction, Instruction::Arg(arg) if arg.arguments.iter().any(|argument| argument.name == name));
            if let Some(found) = stage.instructions.iter().find(|located| is_declared(&located.instruction)) {
                return Some(format!("a stage declares it, in line {}", found.span.first_line));
            }
        }
        None
    }
}

/// Takes `text$NAME` or `text${NAME}` apart.
fn variable_at_end(word: &str) -> Option<(&str, &str)> {
    let (before, rest) = word.split_once('$')?;
    let name = rest.strip_prefix('{').map_or(Some(rest), |rest| rest.strip_suffix('}'))?;
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let is_plain = |c: char| !matches!(c, '"' | '\'' | '\\' | '`' | '<');
    (!name.is_empty() && is_name(name) && before.chars().all(is_plain)).then_some((before, name))
}
