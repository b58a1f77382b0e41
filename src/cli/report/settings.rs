//! How messages look, as flags and terminal decide.

use std::path::PathBuf;

use crate::cli::args::{Args, LogFormat, MessageArgs, ProgressName, Verbosity, boolean};
use crate::cli::env::Environment;
use crate::request::TraceContext;

/// The variable that asks for the plan, as `--print-plan` does.
pub(in crate::cli) const PRINT_PLAN: &str = "KANIKO_PRINT_PLAN";

/// How messages look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is printed at all.
    pub verbosity: Verbosity,
    /// The form of a line.
    pub form: Form,
    /// Whether lines of text begin with the time; JSON lines always have it.
    pub timestamps: bool,
    /// Whether rows at the bottom show what is going on.
    pub live: bool,
    /// Whether the plan goes to standard output.
    pub plan: bool,
    /// The trace that JSON lines name.
    pub trace: Option<TraceContext>,
    /// Who reads lines of text.
    pub dialect: Dialect,
    /// The directory that GitHub names files from.
    pub workspace: Option<PathBuf>,
}

/// Who reads lines of text, and obeys some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// People.
    Plain,
    /// GitHub Actions: groups and annotations.
    Github,
    /// GitLab: sections.
    Gitlab,
    /// Azure Pipelines: groups.
    Azure,
}

impl Dialect {
    fn of(environment: &Environment) -> Self {
        let is_true = |value: &str| value.eq_ignore_ascii_case("true");
        let is_set = |name| environment.variable(name).ok().flatten().is_some_and(is_true);
        if is_set("GITHUB_ACTIONS") {
            Self::Github
        } else if is_set("GITLAB_CI") {
            Self::Gitlab
        } else if is_set("TF_BUILD") {
            Self::Azure
        } else {
            Self::Plain
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain text.
    Text,
    /// Text with colours.
    Colour,
    /// A JSON object.
    Json,
}

impl Settings {
    /// Decides on the look of a build.
    pub fn of_build(args: &Args, environment: &Environment) -> Self {
        // A value that is no boolean is refused with all other flags and variables.
        let variable = environment.variable(PRINT_PLAN).ok().flatten().and_then(|value| boolean(value).ok());
        let plan = variable.unwrap_or(args.messages.print_plan);
        Self { plan, ..Self::resolve(&args.messages, environment) }
    }

    /// Decides on the look.
    pub fn resolve(args: &MessageArgs, environment: &Environment) -> Self {
        let terminal = environment.terminal;
        let form = match (args.log_format, args.progress) {
            (LogFormat::Json, _) | (LogFormat::Auto, ProgressName::Json) => Form::Json,
            (LogFormat::Color, _) => Form::Colour,
            (LogFormat::Auto, ProgressName::Auto | ProgressName::Tty) if terminal.colours => Form::Colour,
            (LogFormat::Auto | LogFormat::Text, _) => Form::Text,
        };
        let verbosity = match args.progress {
            ProgressName::Quiet => Verbosity::Error,
            _ => args.verbosity,
        };
        // Whoever wants more than the usual lines wants them to stay.
        let live = match args.progress {
            ProgressName::Auto => {
                terminal.capable && args.log_format == LogFormat::Auto && verbosity == Verbosity::Info
            }
            ProgressName::Tty => form != Form::Json,
            ProgressName::Plain | ProgressName::Json | ProgressName::Quiet => false,
        };
        let dialect = if form == Form::Json || live { Dialect::Plain } else { Dialect::of(environment) };
        let (timestamps, trace, workspace) = (args.log_timestamp, environment.trace, workspace(environment));
        Self { verbosity, form, timestamps, live, plan: false, trace, dialect, workspace }
    }

    /// Returns the look of an error before, or in spite of, the flags.
    pub fn before_flags(environment: &Environment, json: bool) -> Self {
        let form = match json {
            true => Form::Json,
            false if environment.terminal.colours => Form::Colour,
            false => Form::Text,
        };
        let dialect = if json { Dialect::Plain } else { Dialect::of(environment) };
        let (verbosity, trace) = (Verbosity::Info, environment.trace);
        Self { verbosity, form, timestamps: false, live: false, plan: false, trace, dialect, workspace: None }
    }
}

fn workspace(environment: &Environment) -> Option<PathBuf> {
    environment.variable("GITHUB_WORKSPACE").ok().flatten().map(PathBuf::from)
}
