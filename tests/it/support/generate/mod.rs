//! Random Dockerfiles with contexts, from a seed: the same seed gives the same case on every machine.
//!
//! The oracle is older than much of the language, and does some things differently from BuildKit. So a case may have
//! two texts: `Dockerfile`, and `Dockerfile.oracle`, which says the same in what the oracle knows: a heredoc is a file
//! there, a `${V%.*}` the value that the generator worked out, a mount a copy that is removed again. What they share
//! is told in the module that makes it.
//!
//! Where buildah 1.28 does something else than BuildKit (whose sources decide):
//!
//! | what | in buildah | here |
//! |---|---|---|
//! | a wildcard that finds nothing | fails | the judge knows |
//! | a file over a directory, a directory over a file | replaces it | the judge knows; ours must refuse |
//! | a variable that is set again | moves to the end of the environment | the judge sorts |
//! | the mode of `--chmod` for directories on the way | is not theirs | they are made before |
//! | WORKDIR under USER | is root's, and made late | is made before |
//! | `--chown` with an archive | leaves its files alone | not generated |
//! | RUN in a VOLUME | is lost | not generated |
//! | set-user-id bits of sources | are lost | not generated |
//! | a destination that is a link | is replaced, unless a slash follows | a slash follows |
//! | a file of a lower layer with several names that RUN writes to by one | is changed by that name alone (overlay) | the judge knows; [why](../../../../docs/buildkit.md) |
//! | what is re-included in a directory that is left out | is not found, or the directory is made with 0755 | may happen |

mod archive;
mod context;
mod copy;
mod metadata;
mod run;
mod variables;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use context::{Context, Kind};
use variables::Variables;

/// The value of the secret that a case's RUNs may ask for: the content of the file `secret` beside its Dockerfile.
const SECRET: &str = "hush-7c1d";
const TARGETS: [&str; 10] = ["/t", "/t/u", "/v", "/srv/w", "t", "u/v", "/tmp/x", "/link", "/home/alice", "../q"];
const MODES: [&str; 7] = ["600", "644", "755", "700", "711", "444", "750"];

/// A sequence of numbers that a seed decides (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).expect("small")).expect("small")
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<'a>(&mut self, options: &[&'a str]) -> &'a str {
        options[self.below(options.len())]
    }
}

/// Writes `Dockerfile` and `context` of a case into a directory, and `Dockerfile.oracle` with `context.oracle`, and
/// the file `secret`.
pub(crate) fn case(directory: &Path, random: &mut Random) {
    let context = Context::new(directory, random);
    let mut generator = Generator::new(context, random);
    generator.dockerfile();
    let Generator { context, ours, oracle, .. } = generator;
    fs::write(directory.join("Dockerfile"), ours).expect("scratch is writable");
    fs::write(directory.join("Dockerfile.oracle"), oracle).expect("scratch is writable");
    fs::write(directory.join("secret"), SECRET).expect("scratch is writable");
    context.finish();
}

/// A Dockerfile while it is written, twice.
struct Generator<'a> {
    random: &'a mut Random,
    context: Context,
    ours: String,
    oracle: String,
    /// How many things were made that have a name of their own.
    count: usize,
    stage: Stage,
}

/// What is in force at a place of a stage.
#[derive(Clone, Default)]
struct Stage {
    variables: Variables,
    /// The working directory, absolute; none where no instruction has set it.
    directory: Option<String>,
    /// As USER names it; empty for root.
    user: &'static str,
    /// Whether SHELL stood there: commands then begin with another program.
    shell: bool,
    /// Whether there is a stage to copy from.
    has_first: bool,
    /// Instructions for the stages that are made from this one.
    triggers: Vec<String>,
}

impl<'a> Generator<'a> {
    fn new(context: Context, random: &'a mut Random) -> Self {
        Self { random, context, ours: String::new(), oracle: String::new(), count: 0, stage: Stage::default() }
    }

    /// Writes a line that means the same to both builders.
    fn both(&mut self, line: &str) {
        self.each(line, line);
    }

    /// Writes what the two builders are told; the oracle may be told nothing, or in several lines.
    fn each(&mut self, ours: &str, oracle: &str) {
        let _ = writeln!(self.ours, "{ours}");
        let _ = writeln!(self.oracle, "{oracle}");
    }

    /// Returns a number that nothing else of the case has.
    fn number(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    fn dockerfile(&mut self) {
        self.both("ARG BASE\nFROM $BASE AS first");
        self.instructions(2);
        let first = self.stage.clone();
        let mother = self.random.one_in(3);
        if mother {
            self.both("FROM $BASE AS mother");
            self.stage = Stage::default();
            self.instructions(1);
            self.triggers();
        }
        if mother || self.random.one_in(3) {
            self.both(&format!("FROM {} AS last", if mother { "mother" } else { "first" }));
            let inherited = if mother { self.stage.clone() } else { first };
            self.stage = Stage { has_first: true, triggers: Vec::new(), ..inherited.clone() };
            for trigger in inherited.triggers {
                let _ = writeln!(self.oracle, "{trigger}");
            }
        } else {
            self.both("FROM $BASE");
            self.stage = Stage { has_first: true, ..Stage::default() };
        }
        self.instructions(4);
    }

    fn instructions(&mut self, least: usize) {
        for _ in 0..least + self.random.below(4) {
            self.instruction();
        }
    }

    fn instruction(&mut self) {
        match self.random.below(26) {
            0..=5 => self.copy(),
            6 => self.copy_from_stage(),
            24 => self.add_archive(),
            25 => self.copy_linked(),
            7 => self.copy_heredocs(),
            8 => self.copy_with_new_flags(),
            9..=12 => self.run(),
            13 => self.run_heredoc(),
            14 | 15 => self.run_with_mounts(),
            16 | 17 => self.workdir(),
            18 | 19 => self.variable(),
            20 => self.run_with_variables(),
            21 => self.user(),
            _ => self.metadata(),
        }
    }

    /// Writes ONBUILD instructions, which the oracle finds in the stages that they are for.
    fn triggers(&mut self) {
        let path = self.context.plain(self.random, Kind::File);
        let number = self.number();
        for line in [
            format!("COPY [\"{path}\", \"/onbuild-{number}/\"]"),
            format!("RUN echo $0 > /tmp/onbuild-{number}.ran"),
            format!("ENV TRIGGERED=\"{number} and 'more'\""),
            "VOLUME /root".to_owned(),
            "LABEL by=onbuild".to_owned(),
        ] {
            if self.random.one_in(2) {
                let _ = writeln!(self.ours, "ONBUILD {line}");
                self.stage.triggers.push(line);
            }
        }
    }

    fn target(&mut self) -> &'static str {
        self.random.pick(&TARGETS)
    }

    /// Makes a path absolute as the working directory has it.
    fn absolute(&self, path: &str) -> String {
        let joined = match &self.stage.directory {
            Some(directory) if !path.starts_with('/') => format!("{directory}/{path}"),
            _ => path.to_owned(),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in joined.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                parts.pop();
            } else {
                parts.push(part);
            }
        }
        format!("/{}", parts.join("/"))
    }

    /// Returns lines for the oracle that make the missing directories of an absolute path, with a mode and an owner.
    fn oracle_directories(&self, path: &str, mode: &str, owner: &str) -> String {
        let chown = if owner.is_empty() { String::new() } else { format!("chown {owner} \"$p\"; ") };
        self.oracle_run(&format!(
            "p=; for c in {names}; do p=\"$p/$c\"; n=0; while [ ! -e \"$p\" ] && [ -L \"$p\" ] && [ $n -lt 9 ]; do \
             l=$(readlink \"$p\"); case \"$l\" in /*) p=$l;; *) p=${{p%/*}}/$l;; esac; n=$((n + 1)); done; \
             [ -e \"$p\" ] || {{ mkdir \"$p\" && chmod {mode} \"$p\"; {chown}}}; done; test -d \"$p/\"",
            names = path.replace('/', " ")
        ))
    }

    /// Returns lines for the oracle that run a script as root, whatever user, directory and shell are in force.
    fn oracle_run(&self, script: &str) -> String {
        let script = serde_json::to_string(&["/bin/sh", "-c", script]).expect("plain data");
        let mut lines = format!("RUN {script}");
        if !self.stage.user.is_empty() {
            lines = format!("USER 0\n{lines}\nUSER {}", self.stage.user);
        }
        match &self.stage.directory {
            Some(directory) => format!("WORKDIR /\n{lines}\nWORKDIR {directory}"),
            None => lines,
        }
    }
}

/// Returns a path as a word of a Dockerfile's JSON list.
fn quoted(words: &[String]) -> String {
    serde_json::to_string(words).expect("plain data")
}

/// Returns where something lies that is in the oracle's context alone.
fn apart(number: usize) -> PathBuf {
    Path::new(context::APART).join(number.to_string())
}
