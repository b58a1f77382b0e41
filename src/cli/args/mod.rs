//! The flags as they were typed.
//!
//! Knows each flag's name, how its value is written and what it is for; does not know what several flags
//! mean together, nor any default that depends on the machine: [`super::request`] resolves those.
//!
//! *Invariant: a flag of kaniko's that is not there yet is refused by name, never ignored.*

mod attestations;
mod build;
mod cache;
mod commands;
mod credentials;
mod docker;
mod doctor;
mod export;
mod image;
mod index;
mod inspect;
mod kaniko;
mod legacy;
mod limits;
mod lists;
mod mirrors;
mod output;
mod preview;
mod refusal;
mod registry;
mod repeated;
mod results;
mod run;
mod sbom;
mod signing;
mod values;
mod warmer;
mod words;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::styling::Styles;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use attestations::{AttestationArgs, AttestationFormatName, ProvenanceName};
pub use build::{BuildArgs, InputArgs, MessageArgs};
pub use cache::{
    CacheAction, CacheArgs, CacheCommand, CacheListArgs, CacheModeName, CachePlaceArgs, CachePruneArgs, CacheSwitch,
};
pub use commands::{CompletionArgs, LoginArgs, PushArgs};
pub use credentials::{AuthAction, AuthArgs, CredentialArgs};
pub use doctor::{DoctorArgs, ManArgs, TryArgs, VersionArgs};
pub use export::ExportArgs;
pub use image::ImageArgs;
pub use index::IndexArgs;
pub use inspect::{DiffArgs, IgnoreName, InspectArgs, PinArgs};
pub use legacy::LegacyArgs;
pub use limits::LimitArgs;
pub use mirrors::MirrorArgs;
pub use output::OutputArgs;
pub use preview::{CheckArgs, FindingsFormatName, FormatName, PlanArgs};
pub use registry::RegistryArgs;
pub use results::ResultArgs;
pub use run::{CacheMountArgs, NetworkName, RunArgs};
pub use sbom::{SbomArgs, SbomName};
pub use signing::{SignArgs, SignatureFormatName, SigningArgs, TrustArgs, VerifyArgs, WhoArgs};
pub(super) use values::boolean;
pub use values::{
    CompressionName, ImageFormatName, IndexFormatName, IsolationName, LogFormat, OriginName, PipelineName,
    ProgressName, SnapshotModeName, Verbosity,
};
pub use warmer::{BaseArgs, WarmerArgs};

use super::env;
use super::exit::Failure;
use docker::Translated;

/// What kaniko's program is called that brings base images.
const WARMER: &str = "warmer";

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Build an image.
    Build(Box<Args>),
    /// Do something else.
    Command(Command),
    /// Write a text to standard output and end well: help, version.
    Print(String),
    /// Open one isolation and tell how that went; only `doctor` asks for this.
    Try(TryArgs),
    /// Be the first process inside a RUN's isolation; only the executor itself asks for this.
    Init,
}

/// Something other than a build, with its flags as typed.
#[derive(Debug)]
pub enum Command {
    /// Join images into an index.
    Index(Box<IndexArgs>),
    /// Push an image that is in a file.
    Push(Box<PushArgs>),
    /// Sign images.
    Sign(Box<SignArgs>),
    /// Tell whether an image is signed.
    Verify(Box<VerifyArgs>),
    /// Tell what an image is.
    Inspect(Box<InspectArgs>),
    /// Tell what differs between two images.
    Diff(Box<DiffArgs>),
    /// Write down digests in Dockerfiles.
    Pin(Box<PinArgs>),
    /// Keep a password.
    Login(LoginArgs),
    /// Bring base images.
    Warm(Box<WarmerArgs>),
    /// List or collect a cache.
    Cache(Box<CacheCommand>),
    /// Look for what should be changed in a Dockerfile.
    Check(Box<CheckArgs>),
    /// Show what would be built.
    Plan(Box<PlanArgs>),
    /// Tell which credentials are used.
    Auth(Box<AuthArgs>),
    /// Tell what the pod allows.
    Doctor(Box<DoctorArgs>),
    /// Tell who we are.
    Version(VersionArgs),
    /// Write manual pages.
    Man(ManArgs),
}

/// The flags of a build, as typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is built.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where it goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// The same in BuildKit's words, and what form it has.
    #[command(flatten)]
    pub export: ExportArgs,
    /// Which files tell about it.
    #[command(flatten)]
    pub results: ResultArgs,
    /// What is told of what is in the image.
    #[command(flatten)]
    pub sbom: SbomArgs,
    /// What is said about it.
    #[command(flatten)]
    pub attestations: AttestationArgs,
    /// What the image looks like.
    #[command(flatten)]
    pub image: ImageArgs,
    /// How the build goes about it.
    #[command(flatten)]
    pub build: BuildArgs,
    /// What RUN gets.
    #[command(flatten)]
    pub run: RunArgs,
    /// What is taken from earlier builds.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// What it may take.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Where base images are.
    #[command(flatten)]
    pub bases: BaseArgs,
    /// Which of them may be used.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Who signs.
    #[command(flatten)]
    pub signing: SigningArgs,
    /// What does nothing.
    #[command(flatten)]
    pub legacy: LegacyArgs,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
    /// What is to be said of flags that were given more than once.
    #[arg(skip)]
    pub repeated: Vec<String>,
}

/// Builds a container image from a Dockerfile and pushes it, inside an ordinary container.
///
/// Takes kaniko's flags. A flag that takes a value may be written `--flag value` or `--flag=value`; a flag
/// that does not is written `--flag` or `--flag=true`, and `--flag=false` turns it off again; `true` and `false`
/// may also be the next word. Where a flag
/// that takes one value is given twice, the last one counts. `@FILE` stands for the lines of that file, each
/// one argument: spaces and quotes belong to it, empty lines do not count. Empty arguments, and flags whose value is
/// empty, are as good as not given.
///
/// `yadokari build [CONTEXT]` takes the words of `docker build` instead: `yadokari build --help` has them.
///
/// `--build-args`, `--labels` and `--platforms` begin a list: `--build-args A=1 B=2 --end-lists` is
/// `--build-arg=A=1 --build-arg=B=2`. An element may be a JSON array of elements. Each is given once at most, and
/// `--end-lists` ends them all.
#[derive(Debug, Parser)]
#[command(
    name = "yadokari",
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    infer_long_args = false,
    max_term_width = 100,
    styles = Styles::plain(),
    after_long_help = env::help()
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Word>,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Prints the version.
    Version(VersionArgs),
    /// Joins images of several platforms into one index and pushes it.
    Index(Box<IndexArgs>),
    /// Pushes an image that is in a file or a directory.
    Push(Box<PushArgs>),
    /// Signs images that are in a registry.
    Sign(Box<SignArgs>),
    /// Tells whether an image is signed by whom it must be.
    Verify(Box<VerifyArgs>),
    /// Tells what an image is, what is said about it, and who signed.
    Inspect(Box<InspectArgs>),
    /// Tells what differs between two images.
    Diff(Box<DiffArgs>),
    /// Writes down the digests of the images that Dockerfiles name.
    Pin(Box<PinArgs>),
    /// Keeps a user's password for a registry in Docker's config.json.
    Login(LoginArgs),
    /// Brings base images into a directory, for builds with the same --cache-dir.
    Warmer(Box<WarmerArgs>),
    /// Tells which credentials are used for a repository, and why not others.
    Auth(Box<AuthArgs>),
    /// Tells what this pod allows: isolations, rights, disks, memory, credentials.
    Doctor(Box<DoctorArgs>),
    /// Writes manual pages.
    Man(ManArgs),
    /// Prints a script that completes commands and flags in a shell.
    Completion(CompletionArgs),
    /// Lists and collects a cache.
    Cache(Box<CacheCommand>),
    /// Looks for what should be changed in a Dockerfile, without building it.
    Check(Box<CheckArgs>),
    /// Shows what would be built, without building it.
    Plan(Box<PlanArgs>),
    /// Prepares the isolation of one RUN; started by the executor itself.
    #[command(hide = true)]
    Init,
    /// Opens one isolation and tells how that went; started by `doctor`.
    #[command(hide = true)]
    Try(TryArgs),
}

/// Reads the words of the command line, the first of which is the program's name; returns them as they are once
/// files of arguments are read, and what they ask for. A program of the name `warmer` is that command.
pub fn read(mut words: Vec<OsString>) -> (Vec<OsString>, Result<Invocation, Failure>) {
    if words.first().is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(WARMER))) {
        words.insert(1, WARMER.into());
    }
    match words::expand(words.iter().cloned()).and_then(docker::translated) {
        Ok(Translated::Words(words)) => (words.clone(), parse(words)),
        Ok(Translated::Help) => (words, Ok(Invocation::Print(docker::HELP.to_owned()))),
        Err(failure) => (words, Err(failure)),
    }
}

/// Reads the words of the command line as [`words::expand`] gives them; the first is the program's name.
///
/// # Errors
/// A [`Failure`] of kind usage for what cannot be understood, or is not there yet.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, Failure> {
    let words: Vec<OsString> = words.into_iter().collect();
    // `build` is made into flags before: here it is only one of the commands that are listed.
    let parsed = described()
        .try_get_matches_from(&words)
        .and_then(|matches| CommandLine::from_arg_matches(&matches).map_err(|error| error.format(&mut command())));
    let CommandLine { command, mut args } = match parsed {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => return Ok(Invocation::Print(error.render().to_string())),
        Err(error) => return Err(refusal::explain(&error, &words)),
    };
    args.repeated = repeated::notes(&self::command(), &words);
    Ok(match command {
        None if args.limits.dryrun => Invocation::Command(Command::Plan(Box::new(PlanArgs::dry_run(args)))),
        None => Invocation::Build(Box::new(args)),
        Some(Word::Version(args)) => Invocation::Command(Command::Version(args)),
        Some(Word::Doctor(args)) => Invocation::Command(Command::Doctor(args)),
        Some(Word::Man(args)) => Invocation::Command(Command::Man(args)),
        Some(Word::Try(args)) => Invocation::Try(args),
        Some(Word::Completion(args)) => Invocation::Print(completion(args.shell)),
        Some(Word::Index(args)) => Invocation::Command(Command::Index(args)),
        Some(Word::Push(args)) => Invocation::Command(Command::Push(args)),
        Some(Word::Cache(args)) => Invocation::Command(Command::Cache(args)),
        Some(Word::Check(args)) => Invocation::Command(Command::Check(Box::new(args.without_destination()))),
        Some(Word::Plan(args)) => Invocation::Command(Command::Plan(Box::new(args.without_destination()))),
        Some(Word::Sign(args)) => Invocation::Command(Command::Sign(args)),
        Some(Word::Verify(args)) => Invocation::Command(Command::Verify(args)),
        Some(Word::Inspect(args)) => Invocation::Command(Command::Inspect(args)),
        Some(Word::Diff(args)) => Invocation::Command(Command::Diff(args)),
        Some(Word::Pin(args)) => Invocation::Command(Command::Pin(args)),
        Some(Word::Login(args)) => Invocation::Command(Command::Login(args)),
        Some(Word::Warmer(args)) => Invocation::Command(Command::Warm(args)),
        Some(Word::Auth(args)) => Invocation::Command(Command::Auth(args)),
        Some(Word::Init) => Invocation::Init,
    })
}

/// The name that kaniko's image gives its program, under which ours is there, too.
const EXECUTOR: &str = "executor";

/// Returns the command with what is read before clap sees it, for pages and scripts.
fn described() -> clap::Command {
    let command = command();
    let build = docker::described(&command);
    command.subcommand(build)
}

fn completion(shell: clap_complete::Shell) -> String {
    let name = env!("CARGO_PKG_NAME");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut described(), name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let again = |beginning: &str| {
        let lines = script.lines().filter(|line| line.starts_with(beginning));
        lines.map(|line| line.replacen(beginning, &beginning.replace(name, EXECUTOR), 1) + "\n").collect::<String>()
    };
    match shell {
        clap_complete::Shell::Bash => format!("{script}complete -F _{name} -o bashdefault -o default {EXECUTOR}\n"),
        clap_complete::Shell::Fish => format!("{script}{}", again(&format!("complete -c {name} "))),
        clap_complete::Shell::Zsh => script
            .replacen(&format!("#compdef {name}\n"), &format!("#compdef {name} {EXECUTOR}\n"), 1)
            .replace(&format!("compdef _{name} {name}\n"), &format!("compdef _{name} {name} {EXECUTOR}\n")),
        _ => script,
    }
}

/// Writes manual pages into a directory: `yadokari.1`, and one of each command; `executor.1` is the first once more.
///
/// # Errors
/// When the directory or a file in it cannot be written.
pub fn manual(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut command = described();
    command.build();
    clap_mangen::generate_to(command, directory)?;
    std::fs::write(directory.join(format!("{EXECUTOR}.1")), format!(".so man1/{}.1\n", env!("CARGO_PKG_NAME")))
}

/// Tells whether the words ask for JSON messages, for errors that leave no parsed flags to ask.
pub fn asks_for_json(words: &[OsString]) -> bool {
    let value = |flag: &str| {
        words.iter().enumerate().rev().find_map(|(index, word)| {
            let word = word.to_str()?;
            if word == flag { words.get(index + 1)?.to_str() } else { word.strip_prefix(flag)?.strip_prefix('=') }
        })
    };
    let is_one_of = |value: Option<&str>, names: &[&str]| {
        value.is_some_and(|value| names.iter().any(|name| value.eq_ignore_ascii_case(name)))
    };
    is_one_of(value("--log-format"), &["json"]) || is_one_of(value("--progress"), &["json", "rawjson"])
}

/// Returns clap's command, with kaniko's way to write booleans: `--flag`, `--flag=true`, `--flag=f` …
///
/// For clap the value must stand behind `=`: `--no-push registry/app` must not swallow a word that belongs
/// elsewhere. [`words::expand`] has joined what may be joined.
fn command() -> clap::Command {
    CommandLine::command().mut_args(with_value).mut_subcommands(|command| {
        // Nothing else has a key there.
        let command = match command.get_name() {
            "sign" => command.mut_arg("sign_key", |arg| arg.visible_alias("key")),
            _ => command,
        };
        let own = |command: clap::Command| command.args_override_self(true).mut_args(with_value);
        own(command).mut_subcommands(own)
    })
}

fn with_value(arg: clap::Arg) -> clap::Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .hide_default_value(true)
            .value_name("BOOL")
            .value_parser(values::boolean),
        _ => arg,
    }
}

/// Returns the long names of all flags, aliases included.
#[cfg(test)]
pub(super) fn long_names() -> Vec<String> {
    let mut command = command();
    command.build();
    let names = command.get_arguments().flat_map(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(aliases).map(str::to_owned).collect::<Vec<_>>()
    });
    names.collect()
}

#[cfg(test)]
mod tests;
