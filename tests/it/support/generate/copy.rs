//! COPY and ADD.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::context::{Kind, NAMES};
use super::{Generator, MODES, apart, quoted};

const OWNERS: [(&str, &str); 5] =
    [("1001", "1001:1001"), ("7:8", "7:8"), ("alice:staff", "1000:50"), ("0:29", "0:29"), ("bob", "1001:50")];

impl Generator<'_> {
    /// Writes a COPY or ADD of files, directories, links, archives and wildcards.
    ///
    /// The destination ends with a slash where it must be a directory, and where it may be a link: buildah would
    /// replace the link.
    pub(super) fn copy(&mut self) {
        let mut words = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let path = self.context.any(self.random);
            let cut = path.char_indices().map(|(at, _)| at).nth(self.random.below(path.chars().count())).unwrap_or(0);
            words.push(match self.random.below(8) {
                0 => format!("{}*", &path[..cut.max(1)]),
                1 => format!("./{path}"),
                2 => format!("/{path}"),
                3 if path.matches('/').count() == 1 => format!("*/{}", path.rsplit('/').next().unwrap_or_default()),
                _ => path,
            });
        }
        let keyword = self.random.pick(&["COPY", "COPY", "ADD"]);
        self.finish_copy(keyword, "", words, "");
    }

    pub(super) fn copy_from_stage(&mut self) {
        if !self.stage.has_first {
            return self.copy();
        }
        let source = self.random.pick(&["/t*", "/v*", "/s*", "/tmp", "/etc/passwd", "/home", "/etc/*"]);
        let from = self.random.pick(&[" --from=first", " --from=0"]);
        self.finish_copy("COPY", from, vec![source.to_owned()], "/");
    }

    /// Writes an ADD of an archive, if there is one; twice the same is what the image then has already.
    pub(super) fn add_archive(&mut self) {
        let archives: Vec<String> = self.context.archives();
        if archives.is_empty() {
            return self.copy();
        }
        let archive = archives[self.random.below(archives.len())].clone();
        for _ in 0..1 + self.random.below(2) {
            self.finish_copy("ADD", "", vec![archive.clone()], "/");
        }
    }

    /// Writes a COPY with `--link`. Without links on the way it means what it means without the flag, but that directories
    /// that are there get the attributes of new ones, as in BuildKit: they have these already, or there is none.
    pub(super) fn copy_linked(&mut self) {
        let number = self.number();
        let (parent, chown) = match self.random.below(4) {
            0 => ("/etc", ""),
            1 => ("/new/deep", ""),
            2 => ("", " --chown=1001"),
            _ => ("", " --chown=7:8"),
        };
        let kind = if self.random.one_in(2) { Kind::File } else { Kind::Directory };
        let path = self.context.plain(self.random, kind);
        let rest = quoted(&[path, format!("{parent}/linked-{number}/")]);
        self.each(&format!("COPY --link{chown} {rest}"), &format!("COPY{chown} {rest}"));
    }

    /// Chooses owner, mode and destination.
    fn finish_copy(&mut self, keyword: &str, flags: &str, mut words: Vec<String>, slash: &str) {
        let mut line = format!("{keyword}{flags}");
        let mut before = String::new();
        let mut owner = "";
        // buildah leaves the files of an archive to whom the archive says; in BuildKit `--chown` is for them, too.
        let unpacks = keyword == "ADD" && words.iter().any(|word| word.trim_start_matches(['.', '/']).starts_with('k'));
        if self.random.one_in(3) && !unpacks {
            let (text, numbers) = OWNERS[self.random.below(OWNERS.len())];
            let _ = write!(line, " --chown={text}");
            owner = numbers;
        }
        let target = self.target();
        let plain = words.len() == 1 && !words[0].contains('*') && slash.is_empty();
        let kind = self.context.kind(words[0].trim_start_matches("./").trim_start_matches('/'));
        let bare =
            plain && matches!(kind, Some(Kind::File | Kind::Directory)) && target != "/link" && self.random.one_in(2);
        let file = bare && kind == Some(Kind::File);
        // buildah does not give the directories on the way the mode, as BuildKit does: they are made before.
        if self.random.one_in(4) && keyword == "COPY" {
            let mode = self.random.pick(&MODES);
            let path = self.absolute(target);
            let directory = if file { path.rsplit_once('/').map_or("", |(parent, _)| parent) } else { &path };
            before = self.oracle_directories(directory, mode, owner) + "\n";
            let _ = write!(line, " --chmod={mode}");
        }
        words.push(if bare { target.to_owned() } else { format!("{target}/") });
        let text = format!("{line} {}", quoted(&words));
        self.each(&text, &format!("{before}{text}"));
    }

    /// Writes a COPY or ADD of heredocs, which are files for the oracle.
    pub(super) fn copy_heredocs(&mut self) {
        let number = self.number();
        let directory = self.context.apart(number);
        let target = self.target();
        let count = 1 + self.random.below(2);
        let keyword = self.random.pick(&["COPY", "ADD"]);
        let (mut line, mut bodies) = (keyword.to_owned(), String::new());
        let (mut oracle, mut before) = ("COPY".to_owned(), String::new());
        if self.random.one_in(3) {
            line += " --chown=7:8";
            oracle += " --chown=7:8";
        }
        if self.random.one_in(4) {
            line += " --chmod=0750";
            oracle += " --chmod=0750";
            let owner = if line.contains("chown") { "7:8" } else { "" };
            before = self.oracle_directories(&self.absolute(target), "750", owner) + "\n";
        }
        for name in ["EOF", "two.txt"].into_iter().take(count) {
            let (text, value) = self.expression();
            let content =
                [format!("1 {text} \"2\"  '3'\n"), "\tindented\n".to_owned(), "\\$V `a`\n".to_owned()].concat();
            let expanded = format!("1 {value} \"2\"  '3'\n\tindented\n$V `a`\n");
            let (form, body) = match self.random.below(4) {
                0 => (format!("<<'{name}'"), content.clone()),
                1 => (format!("<<-{name}"), expanded.replace('\t', "")),
                2 => (format!("<<-\"{name}\""), content.replace('\t', "")),
                _ => (format!("<<{name}"), expanded),
            };
            let _ = write!(line, " {form}");
            let _ = writeln!(bodies, "{content}{name}");
            let path = directory.join(name);
            fs::write(&path, body).expect("scratch is writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
            let _ = write!(oracle, " {}/{name}", apart(number).display());
        }
        let ours = format!("{line} {target}/\n{bodies}");
        self.each(ours.trim_end(), &format!("{before}{oracle} {target}/"));
    }

    /// Writes a COPY with a flag that the oracle does not know; its destination is new.
    pub(super) fn copy_with_new_flags(&mut self) {
        let number = self.number();
        let target = format!("/new-{number}/");
        match self.random.below(4) {
            0 => {
                let path = self.context.plain(self.random, Kind::File);
                let rest = quoted(&[path, target]);
                self.each(&format!("COPY --link --chown=7:8 {rest}"), &format!("COPY --chown=7:8 {rest}"));
            }
            1 => {
                // Directories on the way keep 0755 when the mode is symbolic, as always in buildah.
                let path = self.context.any(self.random);
                let rest = quoted(&[path, target]);
                let (symbolic, octal) =
                    [("u=rwx,go=rx", "755"), ("a=r", "444"), ("u=rw,g=r,o=", "640")][self.random.below(3)];
                self.each(&format!("COPY --chmod={symbolic} {rest}"), &format!("COPY --chmod={octal} {rest}"));
            }
            2 => self.copy_excluding(number, &target),
            _ => self.copy_with_parents(number, &target),
        }
    }

    /// Writes a COPY with `--exclude`; the oracle copies what is left, which needs a context that nothing is ignored of.
    fn copy_excluding(&mut self, number: usize, target: &str) {
        if self.context.has_ignore_file {
            return;
        }
        let source = self.context.plain(self.random, Kind::Directory);
        let name = self.random.pick(&NAMES[..7]);
        let (pattern, find) = match self.random.below(5) {
            0 => (name.to_owned(), format!("-path './{name}'")),
            1 => ("*.txt".to_owned(), "-maxdepth 1 -name '*.txt'".to_owned()),
            2 => (format!("**/{name}"), format!("-name '{name}'")),
            3 => ("**/*.txt".to_owned(), "-name '*.txt'".to_owned()),
            _ => (format!("*/{name}"), format!("-mindepth 2 -maxdepth 2 -name '{name}'")),
        };
        self.context.apart(number);
        let place = apart(number);
        self.context.shell(&format!(
            "cp -a 'context/{source}/.' 'context.oracle/{place}/' && cd 'context.oracle/{place}' && \
             find . -mindepth 1 {find} -prune -exec rm -rf {{}} +",
            place = place.display()
        ));
        let ours = format!("COPY --exclude={pattern} {}", quoted(&[source, target.to_owned()]));
        self.each(&ours, &format!("COPY {}/ {target}", place.display()));
    }

    /// Writes a COPY with `--parents`; the oracle copies a tree of nothing but that.
    fn copy_with_parents(&mut self, number: usize, target: &str) {
        if self.context.has_ignore_file {
            return;
        }
        let kind = if self.random.one_in(2) { Kind::File } else { Kind::Directory };
        let path = self.context.plain(self.random, kind);
        let place = self.context.apart(number);
        let (root, below) = match path.split_once('/') {
            Some((root, below)) if self.random.one_in(2) => (root, below),
            _ => ("", path.as_str()),
        };
        let given = if root.is_empty() { path.clone() } else { format!("{root}/./{below}") };
        let mut script = format!("cp -a 'context/{root}/.' '{0}' && cd '{0}'", place.display());
        for name in below.split('/') {
            let _ = write!(
                script,
                "; find . -mindepth 1 -maxdepth 1 ! -name '{name}' -exec rm -rf {{}} +; [ ! -d './{name}' ] || cd './{name}'"
            );
        }
        // All that is below a directory that is named comes along.
        self.context.shell(&script);
        let ours = format!("COPY --parents {}", quoted(&[given, target.to_owned()]));
        self.each(&ours, &format!("COPY {}/ {target}", apart(number).display()));
    }
}
