//! How messages look, as flags and terminal decide.

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::args::{Args, LogFormat, MessageArgs, Verbosity, boolean};
use crate::cli::env::Environment;
use crate::request::TraceContext;

/// The variable that asks for the plan, as `--print-plan` does.
pub(in crate::cli) const PRINT_PLAN: &str = "KANIKO_PRINT_PLAN";

/// How messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is printed at all.
    pub verbosity: Verbosity,
    /// The form of a line.
    pub form: Form,
    /// Whether lines of text begin with the time; JSON lines always have it.
    pub timestamps: bool,
    /// Whether one line at the bottom shows what is being transferred.
    pub progress: bool,
    /// Whether the plan goes to standard output.
    pub plan: bool,
    /// The trace that JSON lines name.
    pub trace: Option<TraceContext>,
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
        let form = match args.log_format {
            LogFormat::Auto if terminal.colours => Form::Colour,
            LogFormat::Auto | LogFormat::Text => Form::Text,
            LogFormat::Color => Form::Colour,
            LogFormat::Json => Form::Json,
        };
        let verbosity = args.verbosity;
        // From debug on, `tracing` writes between our lines and would tear the progress line.
        let progress = terminal.capable && args.log_format == LogFormat::Auto && verbosity == Verbosity::Info;
        Self { verbosity, form, timestamps: args.log_timestamp, progress, plan: false, trace: environment.trace }
    }

    /// Returns the look of an error before, or in spite of, the flags.
    pub fn before_flags(environment: &Environment, json: bool) -> Self {
        let form = match json {
            true => Form::Json,
            false if environment.terminal.colours => Form::Colour,
            false => Form::Text,
        };
        Self {
            verbosity: Verbosity::Info,
            form,
            timestamps: false,
            progress: false,
            plan: false,
            trace: environment.trace,
        }
    }

    /// Sends what `tracing` says to standard error, for debug and trace. Only our own words: what an HTTP
    /// library traces may hold credentials.
    pub(super) fn trace(self) {
        let level = match self.verbosity {
            Verbosity::Error | Verbosity::Warn | Verbosity::Info => return,
            Verbosity::Debug => LevelFilter::DEBUG,
            Verbosity::Trace => LevelFilter::TRACE,
        };
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(self.form == Form::Colour);
        let layer = match (self.form, self.timestamps) {
            (Form::Json, _) => layer.json().boxed(),
            (Form::Text | Form::Colour, true) => layer.boxed(),
            (Form::Text | Form::Colour, false) => layer.without_time().boxed(),
        };
        let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
        // Fails only when there is a subscriber already, which then is the caller's choice.
        let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
    }
}
