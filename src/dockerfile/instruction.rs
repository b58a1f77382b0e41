//! What a Dockerfile says, as data: one type per instruction, nothing expanded yet.
//!
//! Each [`Word`] field says whether and how BuildKit expands variables in it; the plan does it with
//! [`Expander`](super::expand::Expander). Fields that are plain `String`s are never expanded.
//!
//! *Invariant*: nothing here knows a value of a variable, a base image or a file.

use std::fmt;

use serde::Serialize;

use super::mount::{Device, Mount};

/// A place in the Dockerfile: whole lines, and the exact bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Span {
    /// The first line, from 1.
    pub first_line: usize,
    /// The last line, from 1; with heredocs, the line of the last terminator.
    pub last_line: usize,
    /// The offset of the first byte.
    pub start: usize,
    /// The offset behind the last byte.
    pub end: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spanned<T> {
    /// What stands there.
    pub value: T,
    /// The place.
    pub span: Span,
}

/// A text in which variables may stand, not expanded yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Word(String);

impl Word {
    /// Returns the word with this text, quotes and escapes included.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::convert::From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl std::convert::From<String> for Word {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A build stage: a FROM and what follows up to the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// The FROM that begins it.
    pub from: From,
    /// The name after AS in lower case, as stages are looked up without regard to case.
    pub name: Option<String>,
    /// The instructions, in order.
    pub instructions: Vec<Located>,
    /// The place of the FROM.
    pub span: Span,
    /// The FROM as it was written, on one line, its keyword in upper case.
    pub original: String,
}

/// `FROM [--platform=…] base [AS name]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct From {
    /// The image or stage. Expanded as one word, with the global arguments only.
    pub base: Word,
    /// `--platform`. Expanded as one word, with the global arguments only.
    pub platform: Option<Word>,
    /// The name after AS as it was written.
    pub name: Option<String>,
}

/// An instruction and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The instruction.
    pub instruction: Instruction,
    /// Its place, heredocs included.
    pub span: Span,
    /// Its text on one line (continuations joined, heredoc bodies left out), its keyword in upper case.
    pub original: String,
}

/// One instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Instruction {
    /// `ADD`.
    Add(Add),
    /// `ARG`.
    Arg(ArgInstruction),
    /// `CMD`; the command line is never expanded.
    Cmd(CommandLine),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`; the command line is never expanded.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Pairs),
    /// `EXPOSE`.
    Expose(Expose),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`.
    Label(Pairs),
    /// `MAINTAINER`, never expanded.
    Maintainer(String),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `RUN`.
    Run(Run),
    /// `SHELL`: the words of the shell, never expanded, at least one.
    Shell(Vec<String>),
    /// `STOPSIGNAL`. Expanded as one word.
    Stopsignal(Word),
    /// `USER`. Expanded as one word.
    User(Word),
    /// `VOLUME`: each is expanded as one word; at least one.
    Volume(Vec<Word>),
    /// `WORKDIR`. Expanded as one word.
    Workdir(Word),
}

impl Instruction {
    /// Returns the keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// `ARG name[=default] …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArgInstruction {
    /// The arguments, in order, at least one.
    pub arguments: Vec<Argument>,
}

/// One build argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// The name, never expanded, not empty.
    pub name: String,
    /// The default; `Some("")` for `name=`. Expanded as one word, and only when no `--build-arg` gives a value.
    pub default: Option<Word>,
}

/// The `name=value` list of ENV and LABEL, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pairs {
    /// The pairs, in order. All of one instruction are expanded with the variables from before it.
    pub pairs: Vec<Pair>,
    /// Whether it was the legacy form `ENV name value`, which has one pair only.
    pub legacy: bool,
}

/// One pair of ENV or LABEL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The name, not empty as written. Expanded as one word.
    pub name: Word,
    /// The value. Expanded as one word.
    pub value: Word,
}

/// `COPY [flags] source … destination`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// `--from`: a stage's name or number, a named context or an image. Not expanded: BuildKit refuses a
    /// value that expansion would change, and so does the parser.
    pub from: Option<Word>,
    /// The sources, in order, at least one.
    pub sources: Vec<Source>,
    /// The destination. Expanded as one word.
    pub destination: Word,
    /// `--chown`. Expanded as one word.
    pub chown: Option<Word>,
    /// `--chmod`. Expanded as one word.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, as often as given. Not expanded by BuildKit.
    pub excludes: Vec<Word>,
}

/// `ADD [flags] source … destination`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Add {
    /// The sources, in order, at least one: paths, URLs, Git references or heredocs.
    pub sources: Vec<Source>,
    /// The destination. Expanded as one word.
    pub destination: Word,
    /// `--chown`. Expanded as one word.
    pub chown: Option<Word>,
    /// `--chmod`. Expanded as one word.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, as often as given. Not expanded by BuildKit.
    pub excludes: Vec<Word>,
    /// `--checksum`. Expanded as one word.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`; `None` when not given.
    pub keep_git_directory: Option<bool>,
    /// `--unpack`; `None` when not given, which means: local archives yes, remote ones no.
    pub unpack: Option<bool>,
}

/// What COPY or ADD takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Source {
    /// A path or, for ADD, a URL. Expanded as one word, before wildcards.
    Path(Word),
    /// A file written in the Dockerfile itself.
    Heredoc(Heredoc),
}

/// `<<NAME` and the lines up to the one that is `NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heredoc {
    /// The word after `<<`, unquoted; for COPY and ADD also the name of the file.
    pub name: String,
    /// Whether variables in the body are expanded: the name was not quoted. COPY and ADD expand it in
    /// [heredoc mode](super::expand::Expander::for_heredoc); RUN leaves that to the shell.
    pub expand: bool,
    /// Whether leading tabs are dropped: `<<-`.
    pub chomp_tabs: bool,
    /// The lines as they stand, with their line ends and tabs; see [`Heredoc::text`].
    pub content: String,
    /// The number before `<<`, 0 if none.
    pub file_descriptor: u32,
}

/// `RUN [flags] command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The command as written, never expanded: that is the shell's work. See [`Run::program`] for heredocs.
    pub command: CommandLine,
    /// The heredocs of its line, in order; none for the exec form.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in order.
    pub mounts: Vec<Mount>,
    /// `--network`; `None` when not given.
    pub network: Option<Network>,
    /// `--security`; `None` when not given.
    pub security: Option<Security>,
    /// `--device`, in order.
    pub devices: Vec<Device>,
}

/// What a RUN really starts, once its heredocs are put in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A text for the shell of the stage.
    Shell(String),
    /// Words to execute as they are.
    Exec(Vec<String>),
    /// A script that names its interpreter (`#!`): to be put into an executable file and started.
    File {
        /// The name of the heredoc, which BuildKit gives to the file.
        name: String,
        /// The script.
        content: String,
    },
}

/// `--network` of RUN; never expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The network of the build.
    Default,
    /// None but loopback.
    None,
    /// The host's.
    Host,
}

/// `--security` of RUN; never expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Confined, as by default.
    Sandbox,
    /// With all capabilities.
    Insecure,
}

/// The two forms of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum CommandLine {
    /// A text for the shell, on one line; may be empty.
    Shell(String),
    /// The words of a JSON list; may be none.
    Exec(Vec<String>),
}

/// `EXPOSE port …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expose {
    /// The words, sorted as BuildKit does, at least one. Each is expanded and split into
    /// [words](super::expand::Expander::words).
    pub ports: Vec<Word>,
}

/// `HEALTHCHECK`; nothing in it is expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK [flags] CMD command`.
    Check(HealthcheckCommand),
}

/// The command of a health check and its times, in nanoseconds as in the image's config; `None` when not
/// given or 0, which means: the runtime's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthcheckCommand {
    /// The command, not empty.
    pub command: CommandLine,
    /// `--interval`, at least one millisecond.
    pub interval: Option<i64>,
    /// `--timeout`, at least one millisecond.
    pub timeout: Option<i64>,
    /// `--start-period`, at least one millisecond.
    pub start_period: Option<i64>,
    /// `--start-interval`, at least one millisecond.
    pub start_interval: Option<i64>,
    /// `--retries`, not negative.
    pub retries: Option<i32>,
}

/// `ONBUILD instruction`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Onbuild {
    /// The trigger's text as the image's config keeps it, heredocs included.
    pub instruction_text: String,
    /// The trigger, checked: never FROM, MAINTAINER or ONBUILD.
    pub instruction: Box<Instruction>,
}
