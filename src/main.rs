//! The `yadokari` executor: parse, enter isolation, build, report, exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use yadokari::builder;
use yadokari::cli::args::{self, Args, Invocation};
use yadokari::cli::commands;
use yadokari::cli::doctor;
use yadokari::cli::env::Environment;
use yadokari::cli::exit::{self, Failure};
use yadokari::cli::observe;
use yadokari::cli::report::{Finished, Report, Settings};
use yadokari::cli::request::{self, Resolved};
use yadokari::cli::services;
use yadokari::cli::work;
use yadokari::isolation::{self, Entered, Ground, Wanted};
use yadokari::outcome::BuildOutcome;
use yadokari::sys;

fn main() -> ExitCode {
    exit::end_on_panic();
    sys::memory::give_back_early();
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(rest) = isolation::put_back::asked(&words) {
        return isolation::put_back::main(rest);
    }
    let (words, invocation) = args::read(words);
    // There may be logins and tokens among them.
    sys::process::hide_arguments();
    let result = match invocation {
        Ok(Invocation::Print(text)) => work::print(&text),
        Ok(Invocation::Init) => return isolation::init_main(),
        Ok(Invocation::Try(args)) => return doctor::try_isolation(&args, &words),
        Ok(Invocation::Command(command)) => return commands::run(&command),
        Ok(Invocation::Build(args)) => return run(&args, &words),
        Err(failure) => Err(failure),
    };
    let settings = Settings::before_flags(&Environment::read(), args::asks_for_json(&words));
    Report::to_standard_error(settings).conclude(result)
}

/// Builds as the flags say; in a child of this process where namespaces are entered.
fn run(args: &Args, words: &[OsString]) -> ExitCode {
    let started = Instant::now();
    let environment = Environment::read();
    let report = Report::to_standard_error(Settings::of_build(args, &environment));
    let resolved = match request::resolve(args, &environment).map_err(Failure::from).and_then(Resolved::begin) {
        Ok(resolved) => resolved,
        Err(failure) => return report.conclude(Err(failure)),
    };
    let request = &resolved.request;
    let (choice, state_directory, platforms) = (request.isolation, &*request.state_directory, &*request.platforms);
    let ground = match isolation::enter(&Wanted { choice, state_directory, platforms }, words) {
        Entered::Ended(code) => return ExitCode::from(code),
        Entered::Stay(ground) => ground,
    };
    let report = Arc::new(report.recording(observe::is_wanted(&resolved), state_directory));
    report.notes(&args.repeated);
    report.warnings(&resolved.warnings);
    let result = build(&resolved, ground, &report);
    let result = result.map_err(|failure| report.with_last_output(failure));
    observe::tell(&resolved, &report, result.as_ref().map(Option::as_ref));
    let finished = |outcome: BuildOutcome| report.finished(&Finished { outcome: &outcome, elapsed: started.elapsed() });
    let result = result.map(|outcome| outcome.map(finished).unwrap_or_default());
    report.add_to_summary(result.as_ref().err(), &resolved.request.results, &resolved.places);
    if let Err(failure) = &result {
        failure.write_results(&resolved.request.results, &resolved.places);
    }
    report.conclude(result)
}

/// Opens the services and builds.
fn build(resolved: &Resolved, ground: Ground, report: &Arc<Report>) -> Result<Option<BuildOutcome>, Failure> {
    let open = |runtime: &_, cancel| services::open(resolved, ground, runtime, report.clone(), cancel);
    services::with(resolved, report, open, builder::build)
}
