//! The borders of the house, checked: which room may use which, where `unsafe` may stand, how long things get.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up. A room uses lower floors only; `lib.rs` shows the same table.
const FLOORS: &[&[&str]] = &[
    &["causes", "oci", "sys"],
    &["place", "progress"],
    &["dockerfile", "http", "outcome", "request", "store"],
    &["attest", "cloud", "image", "record", "sbom"],
    &["registry", "rootfs", "signing"],
    &["cache", "context", "isolation", "output", "plan", "trust"],
    &["builder", "inspect"],
    &["cli"],
    &["main"],
];

/// The only room where `unsafe` may stand.
const UNSAFE_ROOM: &str = "sys";
const MAX_FUNCTION: usize = 80;
const MAX_FILE: usize = 500;
const MAX_MAIN: usize = 80;

/// One source file: its room, its path for messages, and its text without comments, strings and tests.
struct Source {
    room: String,
    path: String,
    code: String,
}

#[test]
fn rooms_use_lower_floors_only() {
    let floors = floors();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(floor) = floors.get(source.room.as_str()) else {
            wrong.push(format!("{}: room `{}` is on no floor", source.path, source.room));
            continue;
        };
        for used in rooms_used(&source.code) {
            match floors.get(used.as_str()) {
                None => {}
                Some(_) if used == source.room => {}
                Some(other) if other < floor => {}
                Some(_) => wrong.push(format!("{}: `{}` must not use `{used}`", source.path, source.room)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_listed_room_is_there() {
    let rooms: Vec<_> = sources().into_iter().map(|source| source.room).collect();
    for room in FLOORS.iter().flat_map(|floor| floor.iter()) {
        assert!(rooms.iter().any(|found| found == room), "no file of room `{room}`");
    }
}

#[test]
fn unsafe_stands_in_one_room() {
    for source in sources().iter().filter(|source| source.room != UNSAFE_ROOM) {
        let mut words = source.code.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(!words.any(|word| word == "unsafe"), "{}: unsafe outside `{UNSAFE_ROOM}`", source.path);
    }
}

#[test]
fn files_and_functions_keep_their_budget() {
    let mut wrong = Vec::new();
    for source in sources() {
        let budget = if source.room == "main" { MAX_MAIN } else { MAX_FILE };
        let lines = source.code.lines().count();
        if lines > budget {
            wrong.push(format!("{}: {lines} lines, at most {budget}", source.path));
        }
        for (name, length) in functions(&source.code) {
            if length > MAX_FUNCTION {
                wrong.push(format!("{}: fn {name} has {length} lines, at most {MAX_FUNCTION}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The check itself: it must see what it is for.
#[test]
fn imports_are_seen_in_every_form() {
    let cases = [
        ("use crate::oci::Digest;", &["oci"][..]),
        ("use crate::{oci::Digest, builder, image::{Layer, plan}};", &["builder", "image", "oci"]),
        ("use crate::{\n    http,\n    store::Store as Blobs,\n};", &["http", "store"]),
        ("fn f() { crate::registry::pull() }", &["registry"]),
        ("use super::super::cli::report;", &["cli"]),
        ("use super::super::{cli, plan as p};", &["cli", "plan"]),
        ("use super::tree; use self::walk;", &[]),
        ("use yadokari::builder::build;", &["builder"]),
        ("let text = \"crate::cli\"; // crate::builder", &[]),
    ];
    for (text, expected) in cases {
        let mut found = rooms_used(&code_of(text));
        found.sort();
        assert_eq!(found, expected, "{text}");
    }
}

fn floors() -> BTreeMap<&'static str, usize> {
    FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor))).collect()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.extend(source(&root, &path));
            }
        }
    }
    sources
}

/// Reads a file; `lib.rs` is the map and belongs to no room.
fn source(root: &Path, path: &PathBuf) -> Option<Source> {
    let relative = path.strip_prefix(root).expect("below src");
    let first = relative.iter().next().expect("a file has a name").to_string_lossy().into_owned();
    let room = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
    let text = fs::read_to_string(path).expect("sources are text");
    let is_test = relative.iter().any(|part| part == "tests.rs" || part == "tests");
    (room != "lib" && !is_test).then(|| Source { room, path: relative.display().to_string(), code: code_of(&text) })
}

/// Returns the rooms named by absolute paths (`crate::x`, and `yadokari::x` in `main`), braces included, and by
/// paths that climb out of a room with `super::super`.
fn rooms_used(code: &str) -> Vec<String> {
    let packed: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let packed = packed.replace(" ::", "::").replace(":: ", "::");
    let mut found = Vec::new();
    for prefix in ["crate::", "yadokari::", "super::super::"] {
        for (at, _) in packed.match_indices(prefix) {
            let starts_word = !packed[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if starts_word {
                found.extend(first_words(&packed[at + prefix.len()..]));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Returns the first path segment after a prefix: one word, or the first words of each item in braces.
fn first_words(rest: &str) -> Vec<String> {
    let word =
        |text: &str| -> String { text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(inner) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut start, mut words) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                words.push(word(&inner[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                words.push(word(&inner[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the text with comments and literals blanked and the tests at the end of the file left out.
fn code_of(text: &str) -> String {
    let text = text.find("\n#[cfg(test)]\nmod ").map_or(text, |at| &text[..at]);
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '#' | '"', ..] if !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_string(rest),
            ['"', ..] => quoted(rest),
            ['\'', '\\', ..] => rest[2..].iter().position(|c| *c == '\'').map_or(1, |end| end + 3),
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if length == 0 {
            code.push(rest[0]);
            at += 1;
        } else {
            code.extend(rest[..length].iter().filter(|c| **c == '\n'));
            at += length;
        }
    }
    code
}

fn block_comment(rest: &[char]) -> usize {
    rest.windows(2).position(|pair| pair == ['*', '/']).map_or(rest.len(), |end| end + 2)
}

fn quoted(rest: &[char]) -> usize {
    let mut escaped = false;
    for (at, c) in rest.iter().enumerate().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Returns the length of a raw string, 0 when this is a raw identifier.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let body = 2 + hashes;
    let closes =
        |at: &usize| rest[*at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (body..rest.len()).find(closes).map_or(rest.len(), |end| end + 1 + hashes)
}

/// Returns the name and length in lines of each function; it ends at the brace that closes it.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(at) = line.find("fn ").filter(|at| line[..*at].is_empty() || line[..*at].ends_with(' ')) else {
            continue;
        };
        let name: String = line[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let mut depth = 0_usize;
        for (length, line) in lines[number..].iter().enumerate() {
            depth += line.matches('{').count();
            let closes = line.matches('}').count();
            if (depth > 0 && closes >= depth) || (depth == 0 && line.ends_with(';')) {
                found.push((name, length + 1));
                break;
            }
            depth = depth.saturating_sub(closes);
        }
    }
    found
}
