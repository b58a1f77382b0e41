//! The shell blocks of the documents: each runs in a test, or says why it does not.
//!
//! A block runs here unless the line above it is a comment: `<!-- not run: why -->`, or `<!-- runs in FILE -->` for a test
//! that runs it elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, LONG, SHORT};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const NOT_RUN: &str = "<!-- not run: ";
const ELSEWHERE: &str = "<!-- runs in ";

/// What becomes of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs.
    Run,
    /// A test in this file runs it.
    Elsewhere(String),
    /// It does not run, for this reason.
    Not(String),
}

/// A block of shell.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) text: String,
    pub(crate) fate: Fate,
    line: usize,
}

/// Finds the blocks of a document.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| matches!(line.trim(), "```sh" | "```bash" | "```shell" | "```console");
    let starts = lines.iter().enumerate().filter(|(_, line)| begins(line));
    let block = |(start, _): (usize, &&str)| {
        let length = lines[start + 1..].iter().position(|line| line.trim() == "```").expect("a block ends");
        let above = start.checked_sub(1).map_or("", |above| lines[above].trim());
        let note = |mark: &str| Some(above.strip_prefix(mark)?.strip_suffix("-->")?.trim().to_owned());
        let fate = note(NOT_RUN).map(Fate::Not).or_else(|| note(ELSEWHERE).map(Fate::Elsewhere));
        let text = lines[start + 1..start + 1 + length].join("\n");
        Block { text, fate: fate.unwrap_or(Fate::Run), line: start + 1 }
    };
    starts.map(block).collect()
}

/// Lists all documents, those that are a release's own left out: they run there.
fn pages() -> Vec<PathBuf> {
    let mut find = Command::new("find");
    let places = ["docs", "tekton", "argo", "shipwright", "cloudbuild", "examples", ".github", "benches", "fuzz"];
    find.current_dir(ROOT).args(places).args(["-name", "target", "-prune", "-o", "-name", "*.md", "-print"]);
    let found = process::run(&mut find, SHORT).stdout;
    let mut pages: Vec<PathBuf> = found.lines().map(|line| Path::new(ROOT).join(line)).collect();
    pages.extend(["README.md", "ARCHITECTURE.md"].map(|page| Path::new(ROOT).join(page)));
    pages.sort();
    pages
}

#[test]
fn every_shell_block_of_the_documents_runs_or_says_why_not() {
    if !Isolation::Namespace.allowed("documents: shell blocks") {
        return;
    }
    let (registry, scratch) = (Registry::plain(), Scratch::new("documents"));
    let conf = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.address);
    let conf = scratch.file("registries.conf", conf);
    std::os::unix::fs::symlink(EXECUTOR, scratch.directory("bin").join("yadokari")).expect("links");
    let (mut ran, mut elsewhere, mut not) = (0, 0, 0);
    for page in pages() {
        for block in blocks(&page) {
            let place = format!("{}:{}", page.display(), block.line);
            match &block.fate {
                Fate::Not(reason) => {
                    assert!(reason.len() > 10, "{place}: `{reason}` is no reason");
                    not += 1;
                }
                Fate::Elsewhere(file) => {
                    assert!(Path::new(ROOT).join(file).is_file(), "{place}: there is no {file}");
                    elsewhere += 1;
                }
                Fate::Run => {
                    let work = Scratch::new("block");
                    work.file("Dockerfile", "FROM scratch\nCOPY file /file\n");
                    work.file("file", "content\n");
                    let mut command = Command::new("bash");
                    command.args(["-euo", "pipefail", "-c"]);
                    command.arg(block.text.replace("registry.example.com", &registry.address)).current_dir(work.path());
                    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", scratch.join("bin").display()));
                    command.env("CONTAINERS_REGISTRIES_CONF", &conf).env("KANIKO_DIR", scratch.join("state"));
                    let finished = process::run(&mut command, LONG);
                    assert_eq!(finished.code, 0, "{place}:\n{}{}", finished.stdout, finished.stderr);
                    ran += 1;
                }
            }
        }
    }
    println!("shell blocks: {ran} run here, {elsewhere} in other tests, {not} do not run and say why");
    assert!(ran >= 2 && ran + elsewhere + not > 15, "{ran} run, {elsewhere} elsewhere, {not} not");
}

/// What a page says that the executor says, the executor says: each part of a message stands in the code.
#[test]
fn every_message_of_the_pages_stands_in_the_code() {
    let mut grep = Command::new("find");
    let found = process::run(grep.current_dir(ROOT).args(["src", "-name", "*.rs"]), SHORT).success();
    // A literal that goes on in the next line is one.
    let squeezed = |file: &str| {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).expect("it was found");
        text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let code: String = found.lines().map(squeezed).collect();
    // One message says of several places that something is not there.
    let code = code.replace("{place}", "the build context");
    let page = fs::read_to_string(Path::new(ROOT).join("docs/messages.md")).expect("it is there");
    let section = page.split("## By message\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let (mut seen, mut missing) = (0, Vec::new());
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.trim_start_matches("| ").split(" | ").next().expect("a row has cells");
        for quoted in cell.split('`').map(str::trim).filter(|text| text.len() > 6) {
            // Between what differs: values, and what a number or a name stands for.
            for part in quoted.split('…').map(|part| part.trim_matches([' ', ',', ':', ';', '?'])) {
                if part.len() > 12 && !part.contains(|letter: char| letter.is_ascii_digit()) {
                    seen += 1;
                    if !code.contains(part) {
                        missing.push(part.to_owned());
                    }
                }
            }
        }
    }
    assert!(seen > 50 && missing.is_empty(), "{seen} parts; not in the code: {missing:#?}");
}

/// The first thing that a reader does, but for compiling.
#[test]
fn the_quickstart_runs() {
    if !Isolation::Namespace.allowed("documents: quickstart") {
        return;
    }
    let mut quickstart = Command::new("bash");
    quickstart.arg("examples/quickstart.sh").current_dir(ROOT).env("YADOKARI", EXECUTOR);
    let finished = process::run(&mut quickstart, LONG);
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    for part in ["digest file:   sha256:", "/hello:1@sha256:", "metadata file: {"] {
        assert!(finished.stdout.contains(part), "without `{part}`: {}", finished.stdout);
    }
}
