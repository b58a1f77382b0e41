//! The context of a random case: files of all kinds, and an ignore file.

use std::fmt::Write as _;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Random;
use crate::support::process::{self, SHORT};

/// The directory in the oracle's context with what the executor's does not have; no wildcard meets its name.
pub(super) const APART: &str = "ZZ";
/// The names that files and directories have; few, so that instructions meet.
pub(super) const NAMES: [&str; 10] = ["a", "b", "c", "d", "e.txt", "f.txt", ".g", "h i", "é", "-j"];
const TOPS: [&str; 4] = ["one", "two", "three.txt", "four"];
const ARCHIVES: [(&str, &str); 4] = [("k.tar", ""), ("k.tgz", "-z"), ("k.xz", "-J"), ("k.bz2", "-j")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Archive,
}

/// The two contexts of a case, and what is in both.
#[derive(Debug)]
pub(super) struct Context {
    directory: PathBuf,
    pub(super) entries: Vec<(String, Kind)>,
    pub(super) has_ignore_file: bool,
}

impl Context {
    /// Fills `context` and copies it to `context.oracle`.
    pub(super) fn new(directory: &Path, random: &mut Random) -> Self {
        let mut context = Self { directory: directory.to_owned(), entries: Vec::new(), has_ignore_file: false };
        fs::create_dir(context.path("")).expect("scratch is writable");
        for top in TOPS {
            if top.ends_with(".txt") {
                context.file(top, random);
            } else {
                context.subtree(top, 0, random);
            }
        }
        context.archive(random);
        if random.one_in(3) {
            context.has_ignore_file = true;
            let text = context.ignore(random);
            fs::write(context.path(".dockerignore"), text).expect("scratch is writable");
        }
        context.shell("cp -a context context.oracle && mkdir context.oracle/ZZ");
        context
    }

    /// Says, when everything is there, that nothing of what the oracle alone has is ignored.
    pub(super) fn finish(&self) {
        let file = self.directory.join("context.oracle/.dockerignore");
        if let Ok(text) = fs::read_to_string(&file) {
            fs::write(file, format!("{text}\n!{APART}\n")).expect("scratch is writable");
        }
    }

    /// Returns where a path of the executor's context is.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.join("context").join(path)
    }

    /// Makes a directory that the oracle's context alone has.
    pub(super) fn apart(&self, number: usize) -> PathBuf {
        let path = self.directory.join("context.oracle").join(super::apart(number));
        fs::create_dir(&path).expect("scratch is writable");
        path
    }

    /// Runs a script beside the contexts.
    pub(super) fn shell(&self, script: &str) {
        process::run(Command::new("sh").args(["-ec", script]).current_dir(&self.directory), SHORT).success();
    }

    pub(super) fn any(&self, random: &mut Random) -> String {
        self.entries[random.below(self.entries.len())].0.clone()
    }

    pub(super) fn kind(&self, path: &str) -> Option<Kind> {
        self.entries.iter().find(|(own, _)| own == path).map(|(_, kind)| *kind)
    }

    pub(super) fn archives(&self) -> Vec<String> {
        self.entries.iter().filter(|entry| entry.1 == Kind::Archive).map(|entry| entry.0.clone()).collect()
    }

    /// Returns an entry of a kind with no link on the way to it; there is one of files and directories.
    pub(super) fn plain(&self, random: &mut Random, kind: Kind) -> String {
        let fitting: Vec<_> = self.entries.iter().filter(|entry| entry.1 == kind).collect();
        fitting[random.below(fitting.len())].0.clone()
    }

    fn add(&mut self, path: &str, kind: Kind) {
        self.entries.push((path.to_owned(), kind));
    }

    fn subtree(&mut self, path: &str, depth: usize, random: &mut Random) {
        fs::create_dir(self.path(path)).expect("scratch is writable");
        let mut names = NAMES.to_vec();
        for _ in 0..1 + random.below(4) {
            let name = names.remove(random.below(names.len()));
            let below = format!("{path}/{name}");
            match random.below(9) {
                0..=2 if depth < 2 => self.subtree(&below, depth + 1, random),
                3 => {
                    let target = random.pick(&["a", "../a", "nowhere", "/etc/passwd", ".", "/two", "../../one"]);
                    symlink(target, self.path(&below)).expect("scratch is writable");
                    self.add(&below, Kind::Link);
                }
                4 if self.entries.iter().any(|entry| entry.1 == Kind::File) => {
                    let other = self.plain(random, Kind::File);
                    fs::hard_link(self.path(&other), self.path(&below)).expect("scratch is writable");
                    self.add(&below, Kind::File);
                }
                _ => self.file(&below, random),
            }
        }
        // Without a set-user-id or set-group-id bit: buildah drops them from directories.
        let mode = [0o755, 0o700, 0o711, 0o555, 0o1777, 0o777][random.below(6)];
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("it is ours");
        if random.one_in(12) {
            self.attribute(path);
        }
        self.add(path, Kind::Directory);
    }

    fn file(&mut self, path: &str, random: &mut Random) {
        let place = self.path(path);
        let mut file = fs::File::create(&place).expect("scratch is writable");
        match random.below(12) {
            0 => {}
            1 => {
                file.seek(SeekFrom::Start(100_000)).expect("it is a file");
                file.write_all(b"behind a hole").expect("scratch is writable");
                file.set_len(200_000).expect("scratch is writable");
            }
            _ => writeln!(file, "{path} {}", random.below(1000)).expect("scratch is writable"),
        }
        // A set-user-id bit is lost in buildah.
        let mode = [0o644, 0o600, 0o755, 0o444, 0o000, 0o666, 0o711][random.below(7)];
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).expect("it is ours");
        if random.one_in(12) {
            self.attribute(path);
        }
        if random.one_in(12) {
            // cap_net_raw, permitted and effective, as `ping` has it.
            let mut command = Command::new("setfattr");
            command.args(["-n", "security.capability", "-v", "0x0100000200200000000000000000000000000000"]);
            process::run(command.arg(&place), SHORT).success();
        }
        self.add(path, Kind::File);
    }

    fn attribute(&self, path: &str) {
        let mut command = Command::new("setfattr");
        process::run(command.args(["-n", "user.mark", "-v", "seen"]).arg(self.path(path)), SHORT).success();
    }

    /// Makes archives of a subtree, which ADD unpacks; owners are numbers, as names mean nothing here.
    fn archive(&mut self, random: &mut Random) {
        let source = self.plain(random, Kind::Directory);
        for (name, flag) in ARCHIVES {
            if random.one_in(3) {
                let owner = random.pick(&["0", "1001", "65534"]);
                // Sorted, and without times: the same seed gives the same bytes.
                self.shell(&format!(
                    "tar {flag} --sort=name --format=pax --pax-option=delete=atime,delete=ctime --numeric-owner \
                     --owner={owner} --group=50 --mtime=@1500000000 -cf context/'{name}' -C context -- '{source}' three.txt"
                ));
                self.add(name, Kind::Archive);
            }
        }
        if random.one_in(2) {
            fs::write(self.path("kk.tar"), super::archive::archive(random)).expect("scratch is writable");
            self.add("kk.tar", Kind::Archive);
        }
    }

    fn ignore(&self, random: &mut Random) -> String {
        let mut text = String::new();
        for _ in 0..1 + random.below(4) {
            let path = self.any(random);
            let (name, other) = (random.pick(&NAMES), self.any(random));
            let _ = match random.below(12) {
                0 => writeln!(text, "{path}"),
                1 => writeln!(text, "**/{name}"),
                2 => writeln!(text, "*/{name}"),
                3 => writeln!(text, "{path}/*\n!{path}/{name}"),
                4 => writeln!(text, "/{path}/\n# {other}"),
                5 => writeln!(text, "{path}/**"),
                6 => writeln!(text, "*\n!{path}\n!{other}"),
                7 => writeln!(text, "**/*.txt\n!**/{name}"),
                8 => writeln!(text, "!{path}\n  {other}/  "),
                9 => writeln!(text, "t*/?\n[f-o]*/[^a-d]"),
                10 => writeln!(text, "./{path}/../{name}\n\n"),
                _ => writeln!(text, "{path}\n!{path}"),
            };
        }
        text
    }
}
