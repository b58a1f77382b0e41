//! A logical line becomes a typed instruction.
//!
//! Knows for each instruction its flags, its kinds of words and its rules. Does not know stages: FROM and
//! where instructions may stand are the parser's.
//!
//! *Invariant*: what BuildKit refuses is refused here, with the place; what it accepts is accepted, but for
//! flags of ARG and STOPSIGNAL, which it silently drops.

use super::copy;
use super::error::Fault;
use super::flags::{self, Kind};
use super::form;
use super::healthcheck;
use super::input::{Input, at_least_one, command_line, list};
use super::instruction::{
    ArgInstruction, Argument, CommandLine, Expose, From, Instruction, Network, Onbuild, Pair, Pairs, Run, Security,
    Word,
};
use super::lint::{Reach, Rule};
use super::mount::{Device, Mount, MountError};
use super::suggest;
use super::words::{Command, JsonForm, Token, is_separator, json_form, plain_words, quoted_words, split_command};

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a line is: the beginning of a stage, or an instruction.
pub(super) enum Statement {
    From(From),
    Instruction(Instruction),
}

/// Reads a line.
pub(super) fn interpret(input: &mut Input<'_>) -> Result<Statement, Fault> {
    let keyword = input.command.keyword.to_ascii_uppercase();
    statement(input, &keyword).map_err(|fault| fault.or_hint(|| form::hint(&keyword)))
}

fn statement(input: &mut Input<'_>, keyword: &str) -> Result<Statement, Fault> {
    let instruction = match keyword {
        "FROM" => return from(input).map(Statement::From),
        "ADD" => Instruction::Add(copy::add(input)?),
        "ARG" => Instruction::Arg(arg(input)?),
        "CMD" => Instruction::Cmd(plain_command(input)?),
        "COPY" => Instruction::Copy(copy::copy(input)?),
        "ENTRYPOINT" => Instruction::Entrypoint(plain_command(input)?),
        "ENV" => Instruction::Env(pairs(input, "ENV")?),
        "EXPOSE" => Instruction::Expose(expose(input)?),
        "HEALTHCHECK" => Instruction::Healthcheck(healthcheck::healthcheck(input)?),
        "LABEL" => Instruction::Label(pairs(input, "LABEL")?),
        "MAINTAINER" => {
            let message = "Maintainer instruction is deprecated in favor of using label";
            input.warn(Rule::MaintainerDeprecated, message, input.command.keyword);
            Instruction::Maintainer(one_argument(input, "MAINTAINER")?.to_owned())
        }
        "ONBUILD" => Instruction::Onbuild(onbuild(input)?),
        "RUN" => Instruction::Run(run(input)?),
        "SHELL" => Instruction::Shell(shell(input)?),
        "STOPSIGNAL" => Instruction::Stopsignal(Word::new(one_argument(input, "STOPSIGNAL")?)),
        "USER" => Instruction::User(Word::new(one_argument(input, "USER")?)),
        "VOLUME" => Instruction::Volume(volume(input)?),
        "WORKDIR" => Instruction::Workdir(Word::new(one_argument(input, "WORKDIR")?)),
        _ => return Err(unknown(input.command.keyword)),
    };
    Ok(Statement::Instruction(instruction))
}

fn unknown(keyword: &str) -> Fault {
    let nearest = suggest::nearest(&keyword.to_uppercase(), KEYWORDS);
    let is_lower = keyword == keyword.to_lowercase();
    let hint = nearest.map(|known| if is_lower { known.to_lowercase() } else { known.to_owned() });
    // Control characters are shown as what they are: a terminal would not show them.
    let shown = keyword.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
    let shown: String = shown.collect();
    Fault::new(format!("unknown instruction: {shown}")).hint(hint.map(|known| format!("did you mean {known}?")))
}

fn no_flags(input: &Input<'_>) -> Result<(), Fault> {
    flags::parse(&input.command.flags, &[]).map(|_| ())
}

/// Returns the whole rest of the line, which must not be empty.
fn one_argument<'a>(input: &Input<'a>, keyword: &str) -> Result<&'a str, Fault> {
    if input.command.rest.is_empty() {
        return Err(Fault::new(format!("{keyword} requires exactly one argument")));
    }
    no_flags(input)?;
    Ok(input.command.rest)
}

fn plain_command(input: &mut Input<'_>) -> Result<CommandLine, Fault> {
    no_flags(input)?;
    command_line(input.command.rest, input.command.offset, input)
}

fn from(input: &mut Input<'_>) -> Result<From, Fault> {
    let Command { rest, offset, keyword, .. } = input.command;
    let words = plain_words(rest, offset);
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, r#as, name] if r#as.text.eq_ignore_ascii_case("as") => {
            let message = match (keyword == keyword.to_lowercase(), keyword == keyword.to_uppercase()) {
                (true, _) if r#as.text != "as" => true,
                (_, true) => r#as.text != "AS",
                _ => false,
            };
            if message {
                let message = format!("'{}' and '{keyword}' keywords' casing do not match", r#as.text);
                input.warn(Rule::FromAsCasing, message, &format!(" {} ", r#as.text));
            }
            (base, Some(name))
        }
        _ => return Err(Fault::new("FROM requires either one or three arguments").at(offset)),
    };
    if let Some(name) = name {
        if !is_stage_name(&name.text.to_lowercase()) {
            let message = "name can't start with a number or contain symbols";
            return Err(Fault::new(format!("invalid name for build stage: {:?}, {message}", name.text)).at(name.offset));
        }
        if name.text != name.text.to_lowercase() {
            let message = format!("Stage name '{}' should be lowercase", name.text);
            input.warn(Rule::StageNameCasing, message, &name.text);
        }
    }
    let flags = flags::parse(&input.command.flags, &[("platform", Kind::Text)])?;
    let name = name.map(|name| name.text.clone());
    Ok(From { base: Word::new(base.text.as_str()), platform: flags.word("platform"), name })
}

fn is_stage_name(name: &str) -> bool {
    let is_rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(is_rest)
}

fn arg(input: &Input<'_>) -> Result<ArgInstruction, Fault> {
    let words = quoted_words(input.command.rest, input.command.offset, input.escape);
    if words.is_empty() {
        return Err(at_least_one("ARG"));
    }
    no_flags(input)?;
    let argument = |word: &Token| match word.text.split_once('=') {
        Some(("", _)) => Err(Fault::new("ARG names can not be blank").at(word.offset)),
        Some((name, default)) => Ok(Argument { name: name.to_owned(), default: Some(Word::new(default)) }),
        None => Ok(Argument { name: word.text.clone(), default: None }),
    };
    Ok(ArgInstruction { arguments: words.iter().map(argument).collect::<Result<_, _>>()? })
}

/// Reads `name=value …` or the legacy `name value`.
fn pairs(input: &mut Input<'_>, keyword: &str) -> Result<Pairs, Fault> {
    let Command { rest, offset, .. } = input.command;
    let words = quoted_words(rest, offset, input.escape);
    let Some(first) = words.first() else { return Err(at_least_one(keyword)) };
    no_flags(input)?;
    if !first.text.contains('=') {
        let Some((name, value)) = rest.split_once(is_separator) else {
            return Err(Fault::new(format!("{keyword} must have two arguments")).at(offset));
        };
        let message =
            format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
        input.warn(Rule::LegacyKeyValueFormat, message, rest);
        let value = value.trim_start_matches(is_separator);
        return Ok(Pairs { pairs: vec![Pair { name: Word::new(name), value: Word::new(value) }], legacy: true });
    }
    let pair = |word: &Token| match word.text.split_once('=') {
        None => {
            let message = format!("can't find = in {:?}. Must be of the form: name=value", word.text);
            Err(Fault::new(format!("Syntax error - {message}")).at(word.offset))
        }
        Some(("", _)) => Err(Fault::new(format!("{keyword} names can not be blank")).at(word.offset)),
        Some((name, value)) => Ok(Pair { name: Word::new(name), value: Word::new(value) }),
    };
    Ok(Pairs { pairs: words.iter().map(pair).collect::<Result<_, _>>()?, legacy: false })
}

fn expose(input: &Input<'_>) -> Result<Expose, Fault> {
    let mut ports: Vec<Word> =
        plain_words(input.command.rest, input.command.offset).into_iter().map(|word| Word::new(word.text)).collect();
    if ports.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    no_flags(input)?;
    ports.sort();
    Ok(Expose { ports })
}

fn volume(input: &Input<'_>) -> Result<Vec<Word>, Fault> {
    let (volumes, _) = list(input)?;
    if volumes.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    no_flags(input)?;
    let volume = |volume: Token| match volume.text.trim() {
        "" => Err(Fault::new("VOLUME specified can not be an empty string").at(volume.offset)),
        path => Ok(Word::new(path)),
    };
    volumes.into_iter().map(volume).collect()
}

fn shell(input: &Input<'_>) -> Result<Vec<String>, Fault> {
    no_flags(input)?;
    let Command { rest, offset, .. } = input.command;
    match json_form(rest).map_err(|fault| fault.at(offset))? {
        JsonForm::List(words) if !words.is_empty() => Ok(words),
        JsonForm::Broken | JsonForm::None if !rest.is_empty() => {
            Err(Fault::new("SHELL requires the arguments to be in JSON form").at(offset))
        }
        JsonForm::List(_) | JsonForm::Broken | JsonForm::None => Err(at_least_one("SHELL")),
    }
}

fn run(input: &mut Input<'_>) -> Result<Run, Fault> {
    const FLAGS: [(&str, Kind); 4] =
        [("mount", Kind::List), ("network", Kind::Text), ("security", Kind::Text), ("device", Kind::List)];
    let flags = flags::parse(&input.command.flags, &FLAGS)?;
    let command = command_line(input.command.rest, input.command.offset, input)?;
    let in_flag = |token: &Token, error: MountError| {
        let (message, hint) = match error {
            MountError::Field { message, hint } => (message, hint),
            MountError::Expand(error) => (error.to_string(), None),
        };
        Fault::new(message).hint(hint).at(token.offset)
    };
    let mount = |token: &Token| Mount::parse(&token.text).map_err(|error| in_flag(token, error));
    let device = |token: &Token| Device::parse(&token.text).map_err(|error| in_flag(token, error));
    let network = flags.text("network").map(|token| match token.text.as_str() {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            let hint = Some("it can be default, none or host".to_owned());
            Err(Fault::new(format!("invalid network mode {other:?}")).hint(hint).at(token.offset))
        }
    });
    let security = flags.text("security").map(|token| match token.text.as_str() {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => Err(Fault::new(format!("security {other:?} is not valid")).at(token.offset)),
    });
    Ok(Run {
        command,
        heredocs: input.heredocs.to_vec(),
        mounts: flags.list("mount").map(mount).collect::<Result<_, _>>()?,
        network: network.transpose()?,
        security: security.transpose()?,
        devices: flags.list("device").map(device).collect::<Result<_, _>>()?,
    })
}

fn onbuild(input: &mut Input<'_>) -> Result<Onbuild, Fault> {
    let Command { rest, offset, .. } = input.command;
    if rest.is_empty() {
        return Err(at_least_one("ONBUILD"));
    }
    no_flags(input)?;
    let command = split_command(rest, offset, input.escape);
    let keyword = command.keyword.to_uppercase();
    match keyword.as_str() {
        "ONBUILD" => return Err(Fault::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed").at(offset)),
        "MAINTAINER" | "FROM" => {
            return Err(Fault::new(format!("{keyword} isn't allowed as an ONBUILD trigger")).at(offset));
        }
        _ => {}
    }
    let Input { escape, heredocs, span, .. } = *input;
    let mut found = Vec::new();
    let statement = interpret(&mut Input { command, escape, heredocs, span, warnings: &mut found });
    // A trigger's own warnings are given by the build that carries it out; here only those about this file's text are.
    input.warnings.extend(found.into_iter().filter(|warning| warning.rule.reach() == Reach::File));
    let instruction = match statement.map_err(|fault| fault.at(offset))? {
        Statement::Instruction(instruction) => Box::new(instruction),
        Statement::From(_) => return Err(Fault::new("FROM isn't allowed as an ONBUILD trigger").at(offset)),
    };
    let mut instruction_text = rest.to_owned();
    for heredoc in heredocs {
        instruction_text.push('\n');
        instruction_text.push_str(&heredoc.content);
        instruction_text.push_str(&heredoc.name);
    }
    Ok(Onbuild { instruction_text, instruction })
}
