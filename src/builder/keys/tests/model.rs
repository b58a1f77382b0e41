//! Random Dockerfiles as values, and what their steps mean.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::oci::Digest;

/// A Dockerfile of two stages; the second may be based on the first and take files from it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) first: Vec<Line>,
    pub(super) second: Vec<Line>,
    /// Whether the second stage is based on the first.
    pub(super) is_chained: bool,
    /// The base of the first, and of the second where that is not chained.
    pub(super) base: &'static str,
}

#[derive(Clone, Debug)]
pub(super) enum Line {
    Env(&'static str, &'static str),
    Arg(&'static str, &'static str),
    User(&'static str),
    Workdir(&'static str),
    Shell(&'static [&'static str]),
    Label(&'static str),
    Run(Run),
    Copy(Copy),
    Text(Text),
}

/// RUN.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) command: Command,
    pub(super) network: Option<&'static str>,
    pub(super) mounts: Vec<Mount>,
}

#[derive(Clone, Debug)]
pub(super) enum Command {
    /// For the shell.
    Shell(&'static str),
    Exec(&'static [&'static str]),
    /// With its own interpreter.
    Script(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mount {
    Bind { target: &'static str, source: &'static str, from_first: bool, writes: bool },
    Cache { target: &'static str, id: &'static str, mode: Option<&'static str> },
    Tmpfs { target: &'static str, size: Option<&'static str> },
    Secret { id: &'static str, variable: Option<&'static str>, required: bool },
    Ssh { id: &'static str },
}

/// COPY or ADD.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) from_first: bool,
    pub(super) sources: Vec<&'static str>,
    pub(super) destination: &'static str,
    pub(super) chown: Option<&'static str>,
    pub(super) chmod: Option<&'static str>,
    pub(super) link: bool,
    pub(super) parents: bool,
    pub(super) exclude: Option<&'static str>,
    pub(super) unpacks: bool,
}

/// COPY of what stands in the Dockerfile.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) name: &'static str,
    pub(super) content: &'static str,
    pub(super) destination: &'static str,
}

impl Line {
    pub(super) const KINDS: [&'static str; 9] =
        ["Env", "Arg", "User", "Workdir", "Shell", "Label", "Run", "Copy", "Text"];

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Env(..) => "Env",
            Self::Arg(..) => "Arg",
            Self::User(_) => "User",
            Self::Workdir(_) => "Workdir",
            Self::Shell(_) => "Shell",
            Self::Label(_) => "Label",
            Self::Run(_) => "Run",
            Self::Copy(_) => "Copy",
            Self::Text(_) => "Text",
        }
    }
}

impl Model {
    /// Returns this one with some lines, and perhaps the bases, of another.
    pub(super) fn mixed(&self, other: &Self, take: &[bool]) -> Self {
        let mut number = 0;
        let mut line = |one: &Line, another: Option<&Line>| {
            number += 1;
            // About one line of eight.
            let taken = (number % 4 == 0 || number == 1) && take[number % take.len()];
            if taken { another.unwrap_or(one).clone() } else { one.clone() }
        };
        let mut lines = |mine: &[Line], theirs: &[Line]| {
            mine.iter().enumerate().map(|(place, one)| line(one, theirs.get(place))).collect()
        };
        let (first, second) = (lines(&self.first, &other.first), lines(&self.second, &other.second));
        let bases = if take[0] && take[1] { other } else { self };
        Self { first, second, is_chained: bases.is_chained, base: bases.base }
    }
}

pub(super) fn model() -> impl Strategy<Value = Model> {
    let stages = (vec(line(false), 1..5), vec(line(true), 1..5));
    (stages, any::<bool>(), select(vec!["one/base", "two/base"]))
        .prop_map(|((first, second), is_chained, base)| Model { first, second, is_chained, base })
}

fn line(has_first: bool) -> impl Strategy<Value = Line> {
    let value = || select(vec!["1", "2", "1 2"]);
    prop_oneof![
        1 => (select(vec!["A", "B"]), value()).prop_map(|(name, value)| Line::Env(name, value)),
        1 => (select(vec!["A", "C"]), value()).prop_map(|(name, value)| Line::Arg(name, value)),
        1 => select(vec!["u", "v", "u:g"]).prop_map(Line::User),
        1 => select(vec!["/w", "/w/x", "y"]).prop_map(Line::Workdir),
        1 => select(vec![&["/bin/sh", "-c"][..], &["/bin/sh", "-ec"], &["/bin/sh -c"]]).prop_map(Line::Shell),
        1 => value().prop_map(Line::Label),
        3 => run(has_first).prop_map(Line::Run),
        3 => copy(has_first).prop_map(Line::Copy),
        1 => text().prop_map(Line::Text),
    ]
}

fn run(has_first: bool) -> impl Strategy<Value = Run> {
    let command = prop_oneof![
        3 => select(vec!["make it", "make", "it"]).prop_map(Command::Shell),
        1 => select(vec![&["make", "it"][..], &["make it"], &["/bin/sh", "-c", "make it"]]).prop_map(Command::Exec),
        1 => select(vec!["#!/bin/x\nmake\n", "#!/bin/y\nmake\n"]).prop_map(Command::Script),
    ];
    let mounts = vec(mount(has_first), 0..3).prop_map(|mut mounts| {
        // Of two mounts at one place the order would decide.
        mounts.sort_by_key(Mount::place);
        mounts.dedup_by_key(|mount| mount.place());
        mounts
    });
    let network = option::weighted(0.3, select(vec!["none", "host", "default"]));
    (command, network, mounts).prop_map(|(command, network, mounts)| Run { command, network, mounts })
}

fn mount(has_first: bool) -> impl Strategy<Value = Mount> {
    let target = || select(vec!["/m", "/n"]);
    prop_oneof![
        (target(), select(vec!["", "/s", "/t"]), any::<bool>(), any::<bool>()).prop_map(
            move |(target, source, first, writes)| Mount::Bind {
                target,
                source,
                from_first: has_first && first,
                writes
            }
        ),
        (target(), select(vec!["c", "d"]), option::of(select(vec!["0700", "0755"])))
            .prop_map(|(target, id, mode)| Mount::Cache { target, id, mode }),
        (target(), option::of(select(vec!["1k", "2k"]))).prop_map(|(target, size)| Mount::Tmpfs { target, size }),
        (select(vec!["s", "t"]), option::of(select(vec!["S", "T"])), any::<bool>())
            .prop_map(|(id, variable, required)| Mount::Secret { id, variable, required }),
        select(vec!["default", "other"]).prop_map(|id| Mount::Ssh { id }),
    ]
}

fn copy(has_first: bool) -> impl Strategy<Value = Copy> {
    let files =
        (any::<bool>(), vec(select(vec!["a", "b", "a*", "c/d"]), 1..3), select(vec!["/d/", "d/", "/e/", "/d/e/"]));
    let marks = (
        option::weighted(0.3, select(vec!["u", "v", "1:2"])),
        option::weighted(0.3, select(vec!["644", "755", "u+x", "go-w"])),
        option::weighted(0.2, select(vec!["a", "*.x"])),
    );
    (files, marks, any::<(bool, bool, bool)>()).prop_map(move |(files, marks, (link, parents, unpacks))| {
        let ((first, sources, destination), (chown, chmod, exclude)) = (files, marks);
        let from_first = has_first && first;
        // Only ADD unpacks, which has neither --from nor --parents.
        let (unpacks, parents) = (unpacks && !from_first, parents && !unpacks);
        Copy { from_first, sources, destination, chown, chmod, link, parents, exclude, unpacks }
    })
}

fn text() -> impl Strategy<Value = Text> {
    let (name, content) = (select(vec!["f", "g"]), select(vec!["x\n", "y\n", "x\ny\n", ""]));
    (name, content, select(vec!["/d/", "/e/"])).prop_map(|(name, content, destination)| Text {
        name,
        content,
        destination,
    })
}

impl Mount {
    /// Returns what no two mounts of a RUN may share.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Bind { target, .. } | Self::Cache { target, .. } | Self::Tmpfs { target, .. } => (*target).to_owned(),
            Self::Secret { id, variable, .. } => {
                variable.map_or_else(|| format!("/run/secrets/{id}"), |variable| format!("-{variable}"))
            }
            Self::Ssh { .. } => "/run/buildkit/ssh_agent.0".to_owned(),
        }
    }
}

/// What a stage has at some line, in the reader's own words.
#[derive(Clone, Debug)]
struct World {
    files: String,
    variables: Vec<(String, String)>,
    user: String,
    directory: String,
    shell: Vec<String>,
}

/// Returns what each step with a key means: two are the same exactly when the same is done to the same.
pub(super) fn meanings(model: &Model) -> Vec<String> {
    let mut meanings = Vec::new();
    let new = || World {
        files: model.base.to_owned(),
        variables: vec![("PATH".to_owned(), "the default".to_owned())],
        user: String::new(),
        directory: "/".to_owned(),
        shell: ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
    };
    let mut first = new();
    first.live(&model.first, None, &mut meanings);
    let mut second = if model.is_chained { first.clone() } else { new() };
    second.live(&model.second, Some(&first), &mut meanings);
    let needed = model.needs_first();
    // A stage that nothing needs is not built.
    if needed { meanings } else { meanings.split_off(model.first.iter().filter(|line| line.is_step()).count()) }
}

impl Model {
    pub(super) fn needs_first(&self) -> bool {
        let reads = |line: &Line| match line {
            Line::Copy(copy) => copy.from_first,
            Line::Run(run) => run.mounts.iter().any(|mount| matches!(mount, Mount::Bind { from_first: true, .. })),
            _ => false,
        };
        self.is_chained || self.second.iter().any(reads)
    }
}

impl Line {
    fn is_step(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Copy(_) | Self::Text(_) | Self::Workdir(_))
    }
}

impl World {
    fn live(&mut self, lines: &[Line], first: Option<&Self>, meanings: &mut Vec<String>) {
        for line in lines {
            let meaning = match line {
                Line::Env(name, value) | Line::Arg(name, value) => {
                    self.set(name, value);
                    continue;
                }
                Line::User(user) => {
                    (*user).clone_into(&mut self.user);
                    continue;
                }
                Line::Shell(shell) => {
                    self.shell = shell.iter().map(|word| (*word).to_owned()).collect();
                    continue;
                }
                Line::Label(_) => continue,
                Line::Workdir(path) => {
                    self.directory = self.at(path);
                    self.says("WORKDIR", &(&self.files, &self.directory, &self.user))
                }
                Line::Run(run) => self.run(run, first),
                Line::Copy(copy) => self.copy(copy, first),
                Line::Text(text) => {
                    let what = (&self.files, text.name, text.content, text.destination);
                    self.says("COPY", &("text", what))
                }
            };
            self.files = Digest::of(format!("{} {meaning}", self.files).as_bytes()).to_string();
            meanings.push(meaning);
        }
    }

    fn says(&self, kind: &str, what: &impl Debug) -> String {
        format!("{kind} {what:?}")
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.variables.iter_mut().find(|known| known.0 == name) {
            Some(known) => value.clone_into(&mut known.1),
            None => self.variables.push((name.to_owned(), value.to_owned())),
        }
    }

    fn at(&self, path: &str) -> String {
        if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.directory.trim_end_matches('/')) }
    }

    fn run(&self, run: &Run, first: Option<&Self>) -> String {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (argv, script) = match run.command {
            Command::Shell(text) => ([&self.shell[..], &words(&[text])].concat(), None),
            Command::Exec(argv) => (words(argv), None),
            // The shell executes the script by its path.
            Command::Script(text) => (self.shell.clone(), Some(text)),
        };
        let network = run.network.filter(|network| *network == "none");
        let mounts: Vec<_> = run.mounts.iter().map(|mount| (mount, mount.files(first))).collect();
        // The agent's socket is a variable like any other.
        let mut variables = self.variables.clone();
        if run.mounts.iter().any(|mount| matches!(mount, Mount::Ssh { .. })) {
            variables.push(("SSH_AUTH_SOCK".to_owned(), "0".to_owned()));
        }
        let process = (argv, script, variables, &self.user, &self.directory);
        self.says("RUN", &(&self.files, process, network, mounts))
    }

    fn copy(&self, copy: &Copy, first: Option<&Self>) -> String {
        let Copy { from_first, sources, destination, chown, chmod, link, parents, exclude, unpacks } = copy;
        // With --link, only the names of owners are looked up in what was before; but --chmod makes it no link.
        let before = (!link || chown.is_some() || chmod.is_some()).then_some(&self.files);
        let from = first.filter(|_| *from_first).map(|first| &first.files);
        let flags = (chown, chmod, link, parents, exclude, unpacks);
        self.says("COPY", &("files", before, from, sources, self.at(destination), flags))
    }
}

impl Mount {
    fn files(&self, first: Option<&World>) -> Option<String> {
        match self {
            Self::Bind { from_first: true, .. } => first.map(|first| first.files.clone()),
            _ => None,
        }
    }
}
