//! Random Dockerfiles with contexts, from a seed: the same seed gives the same case on every machine.
//!
//! What the oracle is known to do differently from BuildKit is not generated; each such gap says so where it is.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// The names that files and directories have; few, so that instructions meet.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e.txt", "f.txt", ".g", "h i"];
const TOPS: [&str; 4] = ["one", "two", "three.txt", "four"];
const TARGETS: [&str; 7] = ["/t", "/t/u", "/v", "/srv/w", "t", "u/v", "/tmp/x"];
const MODES: [&str; 6] = ["600", "644", "755", "700", "4711", "1777"];

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

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).expect("small")).expect("small")
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<'a>(&mut self, options: &[&'a str]) -> &'a str {
        options[self.below(options.len())]
    }
}

/// Writes `Dockerfile` and `context` of a case into a directory.
pub(crate) fn case(directory: &Path, random: &mut Random) {
    let context = directory.join("context");
    fs::create_dir(&context).expect("scratch is writable");
    let paths = tree(&context, random);
    if random.one_in(3) {
        fs::write(context.join(".dockerignore"), ignore(random, &paths)).expect("scratch is writable");
    }
    fs::write(directory.join("Dockerfile"), dockerfile(random, &paths)).expect("scratch is writable");
}

/// Fills a directory; returns the paths of its files and directories.
fn tree(context: &Path, random: &mut Random) -> Vec<String> {
    let mut paths = Vec::new();
    for top in TOPS {
        if top.ends_with(".txt") {
            file(context, top, random, &mut paths);
        } else {
            subtree(context, top, 0, random, &mut paths);
        }
    }
    paths
}

fn subtree(context: &Path, path: &str, depth: usize, random: &mut Random, paths: &mut Vec<String>) {
    fs::create_dir(context.join(path)).expect("scratch is writable");
    let mut names = NAMES.to_vec();
    for _ in 0..1 + random.below(3) {
        let name = names.remove(random.below(names.len()));
        let below = format!("{path}/{name}");
        match random.below(6) {
            0 | 1 if depth < 2 => subtree(context, &below, depth + 1, random, paths),
            2 => {
                let target = random.pick(&["a", "../a", "nowhere", "/etc/passwd", "."]);
                symlink(target, context.join(&below)).expect("scratch is writable");
            }
            _ => file(context, &below, random, paths),
        }
    }
    // Without a set-user-id bit: buildah's extraction drops it from directories.
    let mode = [0o755, 0o700, 0o711][random.below(3)];
    fs::set_permissions(context.join(path), fs::Permissions::from_mode(mode)).expect("it is ours");
    paths.push(path.to_owned());
}

fn file(context: &Path, path: &str, random: &mut Random, paths: &mut Vec<String>) {
    let content = format!("{path} {}\n", random.below(1000));
    fs::write(context.join(path), content).expect("scratch is writable");
    let mode = [0o644, 0o600, 0o755, 0o444][random.below(4)];
    fs::set_permissions(context.join(path), fs::Permissions::from_mode(mode)).expect("it is ours");
    paths.push(path.to_owned());
}

fn ignore(random: &mut Random, paths: &[String]) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(3) {
        let path = &paths[random.below(paths.len())];
        let name = random.pick(&NAMES);
        let _ = match random.below(4) {
            0 => writeln!(text, "{path}"),
            1 => writeln!(text, "**/{name}"),
            2 => writeln!(text, "*/{name}"),
            _ => writeln!(text, "{path}/*\n!{path}/{name}"),
        };
    }
    text
}

fn dockerfile(random: &mut Random, paths: &[String]) -> String {
    let mut text = "ARG BASE\nFROM $BASE AS first\n".to_owned();
    let mut stage = |text: &mut String, has_first: bool| {
        for _ in 0..3 + random.below(4) {
            let line = instruction(random, paths, has_first);
            let _ = writeln!(text, "{line}");
        }
    };
    stage(&mut text, false);
    text.push_str("FROM $BASE\n");
    stage(&mut text, true);
    text
}

fn instruction(random: &mut Random, paths: &[String], has_first: bool) -> String {
    match random.below(14) {
        0..=4 => copy(random, paths),
        5 if has_first => {
            let source = random.pick(&["/t", "/t/u", "/v", "/srv", "/tmp", "/etc/passwd"]);
            format!("COPY --from=first {source}* {}/", target(random).trim_end_matches('/'))
        }
        6..=8 => run(random),
        9 => format!("WORKDIR {}", target(random)),
        10 => format!("ENV {}={} P=$V/$PATH", random.pick(&["V", "W"]), random.pick(&["x", "'y z'", "$V", "${W:-w}"])),
        11 => format!("LABEL {}=\"{}\"", random.pick(&["l", "m.n"]), random.pick(&["x", "$V", "y z"])),
        12 => format!("EXPOSE {}", random.pick(&["80", "53/udp", "80 443/tcp"])),
        _ => {
            format!("{} [\"x\", \"{}\"]", random.pick(&["CMD", "ENTRYPOINT"]), random.pick(&["a b", "$V", "\\\"q\\\""]))
        }
    }
}

fn target(random: &mut Random) -> &'static str {
    random.pick(&TARGETS)
}

/// COPY or ADD of files, directories and wildcards; the destination ends with a slash where it must be a directory.
fn copy(random: &mut Random, paths: &[String]) -> String {
    let mut line = random.pick(&["COPY", "COPY", "ADD"]).to_owned();
    if random.one_in(3) {
        let _ = write!(line, " --chown={}", random.pick(&["1001", "7:8", "alice:staff", "0:29"]));
    }
    if random.one_in(4) {
        let _ = write!(line, " --chmod={}", random.pick(&MODES));
    }
    let mut words = Vec::new();
    for _ in 0..1 + random.below(2) {
        let path = &paths[random.below(paths.len())];
        words.push(match random.below(5) {
            0 => format!("{}*", &path[..1 + random.below(path.len())]),
            1 => format!("./{path}"),
            _ => path.clone(),
        });
    }
    let target = target(random);
    words.push(if words.len() > 1 || words[0].contains('*') || random.one_in(2) {
        format!("{target}/")
    } else {
        target.to_owned()
    });
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("{line} [{}]", quoted.join(", "))
}

/// RUN of some file operations, each of which may fail without consequence.
fn run(random: &mut Random) -> String {
    let mut commands = Vec::new();
    for _ in 0..1 + random.below(4) {
        let (one, two) = (place(random), place(random));
        commands.push(match random.below(9) {
            0 => format!("mkdir -p {one}"),
            1 | 2 => format!("echo {} > {one}", random.below(100)),
            3 => format!("rm -rf {one}"),
            4 => format!("ln -s {two} {one}"),
            5 => format!("ln {two} {one}"),
            6 => format!("chmod {} {one}", random.pick(&MODES)),
            7 => format!("chown {} {one}", random.pick(&["1001", "7:8"])),
            _ => format!("mv {two} {one}"),
        });
    }
    format!("RUN {}; true", commands.join("; "))
}

fn place(random: &mut Random) -> String {
    let directory = random.pick(&["/t", "/v", "/srv", "/tmp", "/t/u"]);
    format!("{directory}/{}", random.pick(&NAMES[..7]))
}
