//! HEALTHCHECK: its command and its times.

use super::duration;
use super::error::Fault;
use super::flags::{self, Flags, Kind};
use super::input::{Input, at_least_one, command_line};
use super::instruction::{CommandLine, Healthcheck, HealthcheckCommand};
use super::words::Command;

/// Reads HEALTHCHECK.
pub(super) fn healthcheck(input: &mut Input<'_>) -> Result<Healthcheck, Fault> {
    let Command { rest, offset, .. } = input.command;
    if rest.is_empty() {
        return Err(at_least_one("HEALTHCHECK"));
    }
    let (kind, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = after.trim_start();
    let command_offset = offset + rest.len() - command.len();
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => Ok(Healthcheck::None),
        "NONE" => Err(Fault::new("HEALTHCHECK NONE takes no arguments").at(command_offset)),
        "CMD" => {
            let check = health_flags(input)?;
            let command = command_line(command, command_offset, input)?;
            let is_empty = match &command {
                CommandLine::Shell(text) => text.is_empty(),
                CommandLine::Exec(words) => words.is_empty(),
            };
            if is_empty {
                return Err(Fault::new("Missing command after HEALTHCHECK CMD").at(command_offset));
            }
            Ok(Healthcheck::Check(HealthcheckCommand { command, ..check }))
        }
        other => Err(Fault::new(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")).at(offset)),
    }
}

fn health_flags(input: &Input<'_>) -> Result<HealthcheckCommand, Fault> {
    const FLAGS: [(&str, Kind); 5] = [
        ("interval", Kind::Text),
        ("timeout", Kind::Text),
        ("start-period", Kind::Text),
        ("start-interval", Kind::Text),
        ("retries", Kind::Text),
    ];
    let flags = flags::parse(&input.command.flags, &FLAGS)?;
    Ok(HealthcheckCommand {
        command: CommandLine::Shell(String::new()),
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn interval(flags: &Flags, name: &str) -> Result<Option<i64>, Fault> {
    let Some(token) = flags.text(name).filter(|token| !token.text.is_empty()) else { return Ok(None) };
    match duration::parse(&token.text) {
        None => {
            Err(Fault::new(format!("--{name}: invalid duration {:?}: write 30s or 1m30s", token.text)).at(token.offset))
        }
        Some(0) => Ok(None),
        Some(time) if time < 1_000_000 => {
            Err(Fault::new(format!("Interval {name:?} cannot be less than 1ms")).at(token.offset))
        }
        Some(time) => Ok(Some(time)),
    }
}

fn retries(flags: &Flags) -> Result<Option<i32>, Fault> {
    let Some(token) = flags.text("retries").filter(|token| !token.text.is_empty()) else { return Ok(None) };
    match token.text.parse::<i32>() {
        Err(_) => Err(Fault::new(format!("--retries: {:?} is not a number", token.text)).at(token.offset)),
        Ok(number) if number < 0 => {
            Err(Fault::new(format!("--retries cannot be negative ({number})")).at(token.offset))
        }
        Ok(number) => Ok(Some(number).filter(|number| *number > 0)),
    }
}
