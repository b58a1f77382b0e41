//! The commands beside a build: from their flags to the end of the process.

use std::process::ExitCode;
use std::sync::Arc;

use super::args::{Command, MessageArgs};
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::{Report, Settings};
use super::{args, auth, cache, check, diff, doctor, index, inspect, login, pin, plan, push, sign, verify, warm};

/// Does what a command asks for, and tells about it.
pub fn run(command: &Command) -> ExitCode {
    let environment = Environment::read();
    let report =
        |messages: &MessageArgs| Arc::new(Report::to_standard_error(Settings::resolve(messages, &environment)));
    match command {
        Command::Index(args) => {
            let report = report(&args.messages);
            report.conclude(index::run(args, &environment, &report))
        }
        Command::Push(args) => {
            let report = report(&args.messages);
            report.conclude(push::run(args, &environment, &report))
        }
        Command::Warm(args) => {
            let report = report(&args.messages);
            report.conclude(warm::run(args, &environment, &report))
        }
        Command::Cache(command) => {
            let report = report(command.messages());
            report.conclude(cache::run(command, &environment, &report))
        }
        Command::Check(args) => {
            let report = report(&args.build.messages);
            report.conclude(check::run(args, &environment, &report))
        }
        Command::Plan(args) => {
            let report = report(&args.build.messages);
            report.conclude(plan::run(args, &environment, &report))
        }
        Command::Auth(args) => {
            let report = report(&args.messages);
            report.conclude(auth::run(args, &environment, &report))
        }
        Command::Doctor(args) => {
            let report = report(&args.messages);
            report.conclude(doctor::run(args, &environment, &report))
        }
        Command::Sign(args) => {
            let report = report(&args.messages);
            report.conclude(sign::run(args, &environment, &report))
        }
        Command::Verify(args) => {
            let report = report(&args.messages);
            report.conclude(verify::run(args, &environment, &report))
        }
        Command::Inspect(args) => {
            let report = report(&args.messages);
            report.conclude(inspect::run(args, &environment, &report))
        }
        Command::Diff(args) => {
            let report = report(&args.messages);
            report.conclude(diff::run(args, &environment, &report))
        }
        Command::Pin(args) => {
            let report = report(&args.messages);
            report.conclude(pin::run(args, &environment, &report))
        }
        Command::Login(args) => {
            let report = Report::to_standard_error(Settings::before_flags(&environment, false));
            report.conclude(login::run(args, &environment, &report))
        }
        Command::Version(args) => {
            let report = Report::to_standard_error(Settings::before_flags(&environment, false));
            report.conclude(doctor::version(args))
        }
        Command::Man(args) => {
            let report = Report::to_standard_error(Settings::before_flags(&environment, false));
            let written = args::manual(&args.directory);
            report.conclude(written.map_err(|error| Failure::from_error(Kind::Output, &error)))
        }
    }
}
