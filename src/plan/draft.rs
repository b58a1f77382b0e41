//! A stage while its instructions are gone through: its configuration and variables, and what each instruction that only
//! configures does to them.

use std::collections::{BTreeSet, HashMap};

use crate::dockerfile::expand::ExpandError;
use crate::dockerfile::lint::Rule;
use crate::dockerfile::{
    ArgInstruction, CommandLine, Healthcheck, HealthcheckCommand, Instruction, Pairs, Span, Warning, Word,
};
use crate::oci::{self, ContainerConfig};
use crate::request::BuildRequest;

use super::budget::Budget;
use super::graph::Node;
use super::lint::Findings;
use super::variables::{Named, Variables};
use super::{Action, Error, WorkdirStep, history, lint, ports};

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// What all stages of a plan share.
pub(super) struct Scope<'a> {
    pub(super) globals: &'a Variables,
    pub(super) request: &'a BuildRequest,
    pub(super) escape: char,
    pub(super) findings: &'a Findings,
    pub(super) budget: &'a Budget,
}

/// What instructions see besides the configuration; a stage that is based on another inherits it.
#[derive(Clone, Default)]
pub(super) struct Environment {
    /// ENV and ARG by order of definition: the later one wins.
    pub(super) variables: Variables,
    /// The arguments that were declared, and the values they got, for the history of RUN.
    pub(super) declared: Named<Option<String>>,
    /// Whether the base could not be asked for its variables.
    pub(super) is_partial: bool,
    /// Whether a WORKDIR of this Dockerfile stands before.
    pub(super) has_workdir: bool,
    /// Whether the image is for Windows, where neither PATH nor the shell are Linux's.
    pub(super) is_windows: bool,
}

/// A stage while its instructions are gone through.
pub(super) struct Draft<'a> {
    pub(super) node: &'a Node<'a>,
    pub(super) scope: &'a Scope<'a>,
    pub(super) config: ContainerConfig,
    /// Where in `config.env` each variable stands.
    exported: HashMap<String, usize>,
    pub(super) environment: Environment,
    pub(super) author: Option<String>,
    /// Whether CMD stands in this stage: then ENTRYPOINT does not clear it.
    has_cmd: bool,
}

impl<'a> Draft<'a> {
    /// Begins with what a stage inherits.
    pub(super) fn new(
        node: &'a Node<'a>,
        scope: &'a Scope<'a>,
        config: ContainerConfig,
        author: Option<String>,
        environment: Environment,
    ) -> Self {
        Self { node, scope, exported: places(&config.env), config, environment, author, has_cmd: false }
    }
}

impl Draft<'_> {
    /// Applies an instruction that changes nothing but the configuration; returns its line of history.
    pub(super) fn configure(&mut self, instruction: &Instruction, span: Span) -> Result<String, Error> {
        match instruction {
            Instruction::Arg(arg) => self.arg(arg, span),
            Instruction::Env(pairs) => self.env(pairs, span),
            Instruction::Label(pairs) => self.label(pairs, span),
            Instruction::Cmd(command) => {
                self.judge_shell("CMD", command, span);
                let words = self.with_shell(command);
                self.has_cmd = true;
                self.config.cmd = Some(words.clone());
                // Docker's mark of command lines that need no further quotes; BuildKit sets it with each CMD.
                self.config.extra.insert("ArgsEscaped".to_owned(), true.into());
                Ok(format!("CMD {}", history::quoted(&words)))
            }
            Instruction::Entrypoint(command) => {
                self.judge_shell("ENTRYPOINT", command, span);
                let words = self.with_shell(command);
                if !self.has_cmd {
                    self.config.cmd = None;
                }
                self.config.entrypoint = Some(words.clone());
                Ok(format!("ENTRYPOINT {}", history::quoted(&words)))
            }
            Instruction::Expose(expose) => self.expose(&expose.ports, span),
            Instruction::Healthcheck(check) => Ok(self.healthcheck(check)),
            Instruction::Maintainer(name) => {
                self.author = Some(name.clone());
                Ok(format!("MAINTAINER {name}"))
            }
            Instruction::Shell(words) => {
                self.config.shell = Some(words.clone());
                Ok(format!("SHELL {}", history::listed(words)))
            }
            Instruction::Stopsignal(word) => self.stopsignal(word, span),
            Instruction::User(word) => {
                self.config.user = self.word(word, span)?;
                Ok(format!("USER {}", self.config.user))
            }
            Instruction::Volume(words) => self.volume(words, span),
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Workdir(_)
            | Instruction::Onbuild(_) => Err(Error::invalid(span, "an instruction was planned twice".to_owned())),
        }
    }

    /// Expands a word with the variables in force.
    pub(super) fn word(&self, word: &Word, span: Span) -> Result<String, Error> {
        let expanded = self.environment.variables.word_expanded(self.scope.escape, word, span)?;
        self.judge(word.as_str(), &expanded.unmatched, span);
        self.scope.budget.spend(expanded.work, span)?;
        Ok(expanded.text)
    }

    /// Warns of variables that nothing defined.
    pub(super) fn judge(&self, word: &str, unmatched: &BTreeSet<String>, span: Span) {
        if self.environment.is_partial {
            return;
        }
        let declared = |name: &str| self.environment.declared.find(name).is_some();
        let may_hint = self.scope.findings.are_few();
        let found = lint::undefined(word, unmatched, &self.environment.variables, declared, may_hint, span);
        found.into_iter().for_each(|warning| self.scope.findings.add(warning));
    }

    /// Warns of a shell between the container's signals and the program, unless SHELL says that it is meant.
    fn judge_shell(&self, keyword: &str, command: &CommandLine, span: Span) {
        let has_shell = self.config.shell.as_ref().is_some_and(|shell| !shell.is_empty());
        if let (CommandLine::Shell(text), false) = (command, has_shell) {
            let message = format!(
                "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
            );
            self.scope.findings.add(Warning::new(Rule::JSONArgsRecommended, span, message).about(text));
        }
    }

    /// Returns the value of a variable in force.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.environment.variables.get(name).map(str::to_owned)
    }

    /// Declares arguments: a build arg wins over the default, and a global ARG stands in where neither is.
    fn arg(&mut self, arg: &ArgInstruction, span: Span) -> Result<String, Error> {
        let mut texts = vec!["ARG".to_owned()];
        for argument in &arg.arguments {
            lint::secret("ARG", &argument.name, span, self.scope.findings);
            let value = match (self.scope.request.build_args.get(&argument.name), &argument.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(default, span)?),
                (None, None) => self.scope.globals.get(&argument.name).map(str::to_owned),
            };
            self.scope.budget.spend(value.as_ref().map_or(0, String::len), span)?;
            texts.push(match &value {
                Some(value) => {
                    self.environment.variables.set(&argument.name, value);
                    format!("{}={value}", argument.name)
                }
                None => argument.name.clone(),
            });
            self.environment.declared.define(&argument.name, value);
        }
        Ok(texts.join(" "))
    }

    /// Expands all pairs with the variables from before the instruction.
    fn pairs(&self, pairs: &Pairs, span: Span) -> Result<Vec<(String, String)>, Error> {
        pairs.pairs.iter().map(|pair| Ok((self.word(&pair.name, span)?, self.word(&pair.value, span)?))).collect()
    }

    /// Sets a variable of the image; all others stay as its base has them, also those that are not `NAME=value`.
    fn export(&mut self, name: &str, value: &str) {
        let (text, end) = (format!("{name}={value}"), self.config.env.len());
        match *self.exported.entry(name.to_owned()).or_insert(end) {
            place if place == end => self.config.env.push(text),
            place => self.config.env[place] = text,
        }
    }

    fn env(&mut self, pairs: &Pairs, span: Span) -> Result<String, Error> {
        let mut texts = vec!["ENV".to_owned()];
        for (name, value) in self.pairs(pairs, span)? {
            if name.is_empty() {
                return Err(Error::invalid(span, "the name of a variable is empty after expansion".to_owned()));
            }
            lint::secret("ENV", &name, span, self.scope.findings);
            self.export(&name, &value);
            self.environment.variables.set(&name, &value);
            texts.push(format!("{name}={value}"));
        }
        Ok(texts.join(" "))
    }

    fn label(&mut self, pairs: &Pairs, span: Span) -> Result<String, Error> {
        let mut texts = vec!["LABEL".to_owned()];
        for (name, value) in self.pairs(pairs, span)? {
            texts.push(format!("{name}={value}"));
            self.config.labels.insert(name, value);
        }
        Ok(texts.join(" "))
    }

    fn expose(&mut self, words: &[Word], span: Span) -> Result<String, Error> {
        let mut exposed = Vec::new();
        for word in words {
            for text in self.environment.variables.words(self.scope.escape, word, span)? {
                lint::port(&text, span, self.scope.findings);
                exposed.extend(ports::parse(&text).map_err(|message| Error::invalid(span, message))?);
            }
        }
        for port in &exposed {
            self.config.exposed_ports.insert(port.clone(), empty_object());
        }
        Ok(format!("EXPOSE {}", history::listed(&exposed)))
    }

    fn healthcheck(&mut self, check: &Healthcheck) -> String {
        let check = match check {
            Healthcheck::None => oci::Healthcheck { test: vec!["NONE".to_owned()], ..oci::Healthcheck::default() },
            Healthcheck::Check(command) => configured(command),
        };
        let text = history::healthcheck(&check);
        self.config.healthcheck = Some(check);
        text
    }

    fn stopsignal(&mut self, word: &Word, span: Span) -> Result<String, Error> {
        let signal = self.word(word, span)?;
        let upper = signal.to_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let known = SIGNALS.contains(&name)
            || matches!(name, "IOT" | "CLD" | "POLL" | "UNUSED" | "RTMIN" | "RTMAX")
            || name
                .strip_prefix("RTMIN+")
                .or(name.strip_prefix("RTMAX-"))
                .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n < 31))
            || signal.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
        if !known {
            return Err(Error::invalid(
                span,
                format!("`{signal}` is no signal: write a name such as SIGTERM, or a number"),
            ));
        }
        self.config.stop_signal = Some(signal.clone());
        Ok(format!("STOPSIGNAL {signal}"))
    }

    fn volume(&mut self, words: &[Word], span: Span) -> Result<String, Error> {
        let mut volumes = Vec::new();
        for word in words {
            let volume = self.word(word, span)?;
            if volume.is_empty() {
                return Err(Error::invalid(span, "a volume is empty after expansion".to_owned()));
            }
            self.config.volumes.insert(volume.clone(), empty_object());
            volumes.push(volume);
        }
        Ok(format!("VOLUME {}", history::listed(&volumes)))
    }

    pub(super) fn workdir(&mut self, word: &Word, span: Span) -> Result<(Action, Option<String>), Error> {
        let given = self.word(word, span)?;
        if !given.starts_with('/') && !self.environment.has_workdir {
            let message = format!("Relative workdir {given:?} can have unexpected results if the base image changes");
            self.scope.findings.add(Warning::new(Rule::WorkdirRelativePath, span, message).about(word.as_str()));
        }
        self.environment.has_workdir = true;
        let path = clean(&absolute(&self.config.working_dir, &given));
        // An absolute path is kept as it stands, as in BuildKit: `/srv/app/`.
        self.config.working_dir = if given.starts_with('/') { given } else { path.clone() };
        let created_by = Some(format!("WORKDIR {}", self.config.working_dir));
        if path == "/" {
            return Ok((Action::Configure, created_by));
        }
        Ok((Action::Workdir(WorkdirStep { path, user: self.config.user.clone() }), created_by))
    }

    /// Returns the variables that a process sees.
    pub(super) fn variables(&self) -> &[(String, String)] {
        self.environment.variables.all()
    }

    /// Expands a text that stands in a flag.
    pub(super) fn expand(&self, text: &str, span: Span) -> Result<String, ExpandError> {
        let expanded = self.environment.variables.expanded(self.scope.escape, |expander| expander.word(text))?;
        self.judge(text, &expanded.unmatched, span);
        Ok(expanded.text)
    }

    /// Returns the declared arguments with the values that RUN sees, each once, in order of declaration.
    pub(super) fn declared(&self) -> Vec<(String, String)> {
        let value = |name: &str, own: &Option<String>| {
            self.environment.variables.get(name).or(own.as_deref()).unwrap_or_default().to_owned()
        };
        self.environment.declared.all().iter().map(|(name, own)| (name.clone(), value(name, own))).collect()
    }

    pub(super) fn with_shell(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => {
                let shell = self.config.shell.clone().filter(|shell| !shell.is_empty());
                let default: &[&str] =
                    if self.environment.is_windows { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
                let mut words = shell.unwrap_or_else(|| default.iter().map(|&word| word.to_owned()).collect());
                words.push(text.clone());
                words
            }
        }
    }
}

fn configured(command: &HealthcheckCommand) -> oci::Healthcheck {
    let mut test = Vec::new();
    match &command.command {
        CommandLine::Shell(text) => test.extend(["CMD-SHELL".to_owned(), text.clone()]),
        CommandLine::Exec(words) => {
            test.push("CMD".to_owned());
            test.extend_from_slice(words);
        }
    }
    oci::Healthcheck {
        test,
        interval: command.interval.unwrap_or(0),
        timeout: command.timeout.unwrap_or(0),
        start_period: command.start_period.unwrap_or(0),
        start_interval: command.start_interval.unwrap_or(0),
        retries: i64::from(command.retries.unwrap_or(0)),
    }
}

fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// Returns `path`, taken from `directory` where it is relative; nothing is cleaned.
pub(super) fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{directory}/{path}") }
}

/// Resolves `.`, `..` and doubled slashes by the text alone, as Go's `path.Clean` does for absolute paths.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns where each variable of an image stands, the first of those that are there twice.
fn places(environment: &[String]) -> HashMap<String, usize> {
    let mut places = HashMap::new();
    for (place, text) in environment.iter().enumerate() {
        places.entry(text.split('=').next().unwrap_or_default().to_owned()).or_insert(place);
    }
    places
}
