//! Isolations, opened as a build opens them: each in a process of its own, since entering one changes the process.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::causes;
use crate::cli::args::{IsolationName, TryArgs};
use crate::cli::env::Environment;
use crate::cli::request::{isolation_choice, state_directory};
use crate::cli::state::StateDirectory;
use crate::cli::work::print;
use crate::isolation::{self, Cancel, Entered, Error, Ground, Wanted};
use crate::request::IsolationChoice;

/// How long one may take: `container` isolation waits for another build in the same container.
const LONGEST: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(10);

/// What came of one isolation.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Tried {
    /// What was asked for, as `--isolation` takes it.
    pub(in crate::cli) asked: String,
    /// What a RUN would get; `none` where it is refused.
    pub(in crate::cli) taken: String,
    /// Why.
    pub(in crate::cli) reason: String,
    /// What would give the right that is missing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(in crate::cli) remedy: Option<String>,
    /// What will not work there, or is weaker.
    #[serde(default)]
    pub(in crate::cli) warnings: Vec<String>,
}

impl Tried {
    fn refused(asked: &str, reason: String) -> Self {
        Self { asked: asked.to_owned(), taken: "none".to_owned(), reason, remedy: None, warnings: Vec::new() }
    }
}

/// Tries what `auto` takes, and each that can be named, with temporary files below `state`.
pub(in crate::cli) fn all(state: Option<&Path>) -> Vec<Tried> {
    let names = ["auto", "namespace", "mediated", "container", "chroot"];
    names.into_iter().map(|name| one(name, state).unwrap_or_else(|reason| Tried::refused(name, reason))).collect()
}

fn one(name: &str, state: Option<&Path>) -> Result<Tried, String> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["try", name]);
    if let Some(state) = state {
        command.arg("--state-dir").arg(state);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error: io::Error| format!("it cannot be tried: {error}");
    let mut child = command.spawn().map_err(failed)?;
    if !ended(&mut child).map_err(failed)? {
        let _gone_already = child.kill();
        let _gone_already = child.wait();
        return Err(format!(
            "it was not open after {} s: another build in this container may be running",
            LONGEST.as_secs()
        ));
    }
    let (mut told, mut errors) = (String::new(), String::new());
    // A pipe holds more than is written to either.
    let pipes = (child.stdout.take(), child.stderr.take());
    pipes.0.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut told)).map_err(failed)?;
    pipes.1.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut errors)).map_err(failed)?;
    serde_json::from_str(&told).map_err(|_| format!("the attempt ended without an answer: {}", errors.trim()))
}

/// Waits for a process; false where it takes too long.
fn ended(child: &mut Child) -> io::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < LONGEST {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(LOOK);
    }
    Ok(false)
}

/// Opens one isolation and tells on standard output how that went; `words` are the process's own.
pub fn run(args: &TryArgs, words: &[OsString]) -> ExitCode {
    let choice = isolation_choice(args.isolation);
    let directory = state_directory(args.state_dir.as_deref(), &Environment::read());
    let ground = match isolation::enter(&Wanted { choice, state_directory: &directory, platforms: &[] }, words) {
        Entered::Ended(code) => return ExitCode::from(code),
        Entered::Stay(ground) => ground,
    };
    let asked = asked(args.isolation);
    let tried = open(args, choice, ground).unwrap_or_else(|reason| Tried::refused(asked, reason));
    let written = serde_json::to_string(&Tried { asked: asked.to_owned(), ..tried });
    if written.is_ok_and(|text| print(&text).is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn asked(name: IsolationName) -> &'static str {
    match name {
        IsolationName::Auto => "auto",
        IsolationName::Namespace => "namespace",
        IsolationName::Mediated => "mediated",
        IsolationName::Container => "container",
        IsolationName::Chroot => "chroot",
    }
}

fn open(args: &TryArgs, choice: IsolationChoice, ground: Ground) -> Result<Tried, String> {
    let environment = Environment::read();
    let directory = state_directory(args.state_dir.as_deref(), &environment);
    let state = StateDirectory::create(&directory).map_err(|error| causes::in_one_line(&error))?;
    let options = isolation::Options {
        choice,
        state_directory: state.path().to_owned(),
        platforms: Vec::new(),
        ignore_paths: Vec::new(),
        kept_paths: Vec::new(),
        confidential: Vec::new(),
        force: false,
        named_by_environment: environment.names_container,
        cancel: Cancel::new().map_err(|error| causes::in_one_line(&error))?,
    };
    let (isolation, chosen) = isolation::open(&options, ground).map_err(|error| causes::in_one_line(&error))?;
    // Where none is possible, the isolation has nothing but the error that a RUN would meet.
    let refused = (chosen.name == "none").then(|| isolation.rootfs(0, &|_| {}).err()).flatten();
    let remedy = refused.map(|error| match error {
        Error::Refused { remedy, .. } => remedy,
        other => causes::in_one_line(&other),
    });
    isolation.finish().map_err(|error| causes::in_one_line(&error))?;
    drop(isolation);
    state.remove().map_err(|error| causes::in_one_line(&error))?;
    let (taken, reason, warnings) = (chosen.name.to_owned(), chosen.reason, chosen.warnings);
    Ok(Tried { asked: String::new(), taken, reason, remedy, warnings })
}
