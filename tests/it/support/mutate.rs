//! One random change of a case: of its Dockerfile, or of its context.
//!
//! Knows nothing of how cases are generated; what it makes need not be buildable, but then it is so with and without a
//! cache.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::generate::Random;

/// What was changed.
#[derive(Debug)]
pub(crate) struct Mutation {
    /// For messages.
    pub(crate) what: String,
    /// Whether no step may notice.
    pub(crate) is_nothing: bool,
}

/// Lines that any Dockerfile may have after its FROM.
const LINES: [&str; 6] =
    ["ENV V=mutated", "RUN echo mutated > /t; true", "WORKDIR /t/u", "USER 7:8", "COPY . /mutated/", "LABEL l=mutated"];

/// Changes the case in a directory, which holds `Dockerfile` and `context`.
pub(crate) fn mutate(directory: &Path, random: &mut Random) -> Mutation {
    if random.one_in(2) {
        return Mutation { what: dockerfile(&directory.join("Dockerfile"), random), is_nothing: false };
    }
    let context = directory.join("context");
    let paths = below(&context);
    let path = &paths[random.below(paths.len())];
    let (what, is_nothing) = file(path, random);
    let name = path.strip_prefix(&context).expect("it is below").display();
    Mutation { what: format!("{name}: {what}"), is_nothing }
}

/// Returns all paths below a directory, sorted.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).expect("it is ours").flatten() {
        paths.push(entry.path());
        if entry.file_type().expect("it is there").is_dir() {
            paths.extend(below(&entry.path()));
        }
    }
    paths.sort();
    paths
}

fn file(path: &Path, random: &mut Random) -> (&'static str, bool) {
    let metadata = fs::symlink_metadata(path).expect("it is there");
    let expect = "scratch is writable";
    if random.one_in(8) {
        // The harness gives all files one time after this.
        return ("another time", true);
    }
    if random.one_in(6) {
        fs::rename(path, path.with_file_name("mutated")).expect(expect);
        return ("another name", false);
    }
    if metadata.is_symlink() {
        fs::remove_file(path).expect(expect);
        if random.one_in(3) {
            fs::write(path, "was a link\n").expect(expect);
            return ("a file in place of a link", false);
        }
        symlink(random.pick(&["b", "../b", "nowhere", "/etc/group", ".."]), path).expect(expect);
        return ("another target", false);
    }
    if random.one_in(4) {
        let mode = [0o640, 0o755, 0o700, 0o711][random.below(4)] | if metadata.is_dir() { 0o500 } else { 0 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect(expect);
        return ("another mode", false);
    }
    if metadata.is_dir() {
        return match random.below(3) {
            0 => {
                fs::remove_dir_all(path).expect(expect);
                ("no directory any more", false)
            }
            1 => {
                fs::create_dir_all(path.join("mutated")).expect(expect);
                ("an empty directory more", false)
            }
            _ => {
                fs::write(path.join("f.txt"), "new\n").expect(expect);
                ("a file more", false)
            }
        };
    }
    content(path, random)
}

fn content(path: &Path, random: &mut Random) -> (&'static str, bool) {
    let expect = "scratch is writable";
    let mut content = fs::read(path).expect("it is ours");
    match random.below(4) {
        0 => {
            fs::remove_file(path).expect(expect);
            ("no file any more", false)
        }
        1 => {
            fs::remove_file(path).expect(expect);
            fs::create_dir(path).expect(expect);
            fs::write(path.join(path.file_name().expect("it has a name")), content).expect(expect);
            ("a directory with a file of its name", false)
        }
        _ => {
            content.extend_from_slice(b"more\n");
            // A file that only its owner may read is written anew all the same.
            fs::remove_file(path).expect(expect);
            fs::write(path, content).expect(expect);
            ("other content", false)
        }
    }
}

/// Changes a line; those before the second are the base.
fn dockerfile(path: &Path, random: &mut Random) -> String {
    let text = fs::read_to_string(path).expect("it is ours");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let number = 2 + random.below(lines.len() - 2);
    let what = match random.below(5) {
        0 => {
            lines.remove(number);
            "is gone"
        }
        1 => {
            lines.insert(number, random.pick(&LINES).to_owned());
            "is new"
        }
        2 if number + 1 < lines.len() => {
            lines.swap(number, number + 1);
            "comes later"
        }
        3 => {
            lines.insert(number, lines[number].clone());
            "is there twice"
        }
        _ => {
            let line = &lines[number];
            let changed = line.replacen(['1', '2', '3', '4', '5'], "6", 1 + random.below(2));
            lines[number] = if changed == *line { line.replacen("/t", "/v", 1) } else { changed };
            "has another figure or path"
        }
    };
    fs::write(path, lines.join("\n") + "\n").expect("scratch is writable");
    format!("line {}, `{}`, {what}", number + 1, text.lines().nth(number).unwrap_or_default())
}
