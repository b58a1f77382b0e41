//! `yadokari login`: a password goes into Docker's config.json.

use std::io::Read as _;
use std::path::PathBuf;

use super::args::LoginArgs;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use crate::progress::{Event, Reporter as _};
use crate::registry;

/// No password is longer; a file that was given by mistake is.
const LONGEST_PASSWORD: u64 = 64 << 10;

pub(super) fn run(args: &LoginArgs, environment: &Environment, report: &Report) -> Result<(), Failure> {
    let usage = |message: &str| Failure::new(Kind::Usage, message);
    if args.registry.is_empty() || args.username.is_empty() {
        return Err(usage("a login needs a registry and --username"));
    }
    if args.username.contains(':') {
        // Source: RFC 7617 section 2: what follows the first colon is the password.
        return Err(usage("a user's name cannot hold a colon: --username is the name alone"));
    }
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => from_standard_input()?,
        None => return Err(usage("a login needs --password-stdin, or --password")),
    };
    if password.is_empty() {
        return Err(usage("the password is empty"));
    }
    let stored = registry::store_login(&directory(environment)?, &args.registry, &args.username, &password);
    let path = stored.map_err(|error| Failure::from_error(Kind::Output, &error))?;
    report.report(Event::Note(&format!("logged in via {}", path.display())));
    Ok(())
}

fn directory(environment: &Environment) -> Result<PathBuf, Failure> {
    let directories = &environment.directories;
    let home = || directories.home.as_ref().map(|home| home.join(".docker"));
    let none = || Failure::new(Kind::Usage, "there is no place for the password: set DOCKER_CONFIG or HOME");
    directories.docker_config.clone().or_else(home).ok_or_else(none)
}

/// Reads a password, whose line end does not belong to it.
fn from_standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(LONGEST_PASSWORD + 1).read_to_string(&mut text);
    let read = read.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    if read as u64 > LONGEST_PASSWORD {
        let message = format!("standard input holds no password: it is longer than {} KiB", LONGEST_PASSWORD >> 10);
        return Err(Failure::new(Kind::Usage, &message));
    }
    Ok(text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line)).to_owned())
}
