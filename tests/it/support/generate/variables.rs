//! Expressions of variables, and what they are worth by a model that knows nothing of the executor's.

use std::collections::BTreeMap;

use super::{Generator, Random};

const NAMES: [&str; 4] = ["V", "W", "X_1", "UNSET"];
const VALUES: [&str; 7] = ["x", "y z", "a/b.c", "", "dir/lib.tar.gz", "aXbXa", "..."];
const PATTERNS: [&str; 8] = ["a*", "*.", "*b", ".*", "?", "X", "*", "lib*t"];

/// The variables of a stage: those of ENV and ARG.
pub(super) type Variables = BTreeMap<&'static str, String>;

impl Generator<'_> {
    /// Writes an ENV or an ARG; the oracle gets the values, and no ARG.
    pub(super) fn variable(&mut self) {
        let name = NAMES[self.random.below(3)];
        let (text, value) = self.value();
        if self.random.one_in(3) {
            self.each(&format!("ARG {name}={text}"), "# an argument");
            self.stage.variables.insert(name, value);
            return;
        }
        let (mut ours, mut oracle) = (format!("ENV {name}={text}"), format!("ENV {name}=\"{value}\""));
        let other = NAMES[self.random.below(3)];
        if other != name && self.random.one_in(2) {
            // Both see the values from before the instruction.
            let (text, value) = self.value();
            ours += &format!(" \\\n    {other}={text}");
            oracle += &format!(" {other}=\"{value}\"");
            self.stage.variables.insert(other, value);
        }
        self.stage.variables.insert(name, value);
        self.each(&ours, &oracle);
    }

    /// Writes a RUN that shows what it sees of the variables.
    pub(super) fn run_with_variables(&mut self) {
        if !self.stage.user.is_empty() {
            return;
        }
        let number = self.number();
        let shown = |name: &&str| self.stage.variables.get(*name).map_or("unset", String::as_str);
        let literal: Vec<String> = NAMES.iter().map(|name| format!("[{}]", shown(name))).collect();
        let asked: Vec<String> = NAMES.iter().map(|name| format!("[${{{name}-unset}}]")).collect();
        let ours = format!("RUN echo \"{}\" > /variables-{number}", asked.concat());
        let oracle = self.oracle_run(&format!("echo '{}' > /variables-{number}", literal.concat()));
        self.each(&ours, &oracle);
    }

    /// Returns the right side of a `NAME=`: as it is written, and its value.
    fn value(&mut self) -> (String, String) {
        if self.random.one_in(3) {
            let value = self.random.pick(&VALUES);
            let text = match self.random.below(3) {
                0 => format!("'{value}'"),
                1 => value.replace(' ', "\\ "),
                _ => format!("\"{value}\""),
            };
            return (text, value.to_owned());
        }
        let (text, value) = self.expression();
        if self.random.one_in(2) { (format!("\"{text}\""), value) } else { (text, value) }
    }

    /// Returns an expression and its value.
    pub(super) fn expression(&mut self) -> (String, String) {
        expression(self.random, &self.stage.variables, 0)
    }
}

fn expression(random: &mut Random, variables: &Variables, depth: usize) -> (String, String) {
    let name = random.pick(&NAMES);
    let set = variables.get(name).cloned();
    let value = set.clone().unwrap_or_default();
    let full = set.clone().filter(|value| !value.is_empty());
    let (word, word_value) = if depth < 2 && random.one_in(3) {
        expression(random, variables, depth + 1)
    } else {
        let word = random.pick(&["w", "o.p", ""]);
        (word.to_owned(), word.to_owned())
    };
    let pattern = random.pick(&PATTERNS);
    match random.below(12) {
        0 => (format!("${name}"), value),
        1 => (format!("${{{name}}}"), value),
        2 => (format!("${{{name}:-{word}}}"), full.unwrap_or(word_value)),
        3 => (format!("${{{name}-{word}}}"), set.unwrap_or(word_value)),
        4 => (format!("${{{name}:+{word}}}"), full.map_or(String::new(), |_| word_value)),
        5 => (format!("${{{name}+{word}}}"), set.map_or(String::new(), |_| word_value)),
        6 => (format!("${{{name}#{pattern}}}"), trimmed(pattern, &value, true, false)),
        7 => (format!("${{{name}##{pattern}}}"), trimmed(pattern, &value, true, true)),
        8 => (format!("${{{name}%{pattern}}}"), trimmed(pattern, &value, false, false)),
        9 => (format!("${{{name}%%{pattern}}}"), trimmed(pattern, &value, false, true)),
        10 => (format!("${{{name}/{pattern}/{word}}}"), replaced(pattern, &value, &word_value, false)),
        _ => (format!("${{{name}//{pattern}/{word}}}"), replaced(pattern, &value, &word_value, true)),
    }
}

/// Takes the shortest or longest match off the start or the end, by trying every length.
fn trimmed(pattern: &str, value: &str, start: bool, longest: bool) -> String {
    let mut lengths: Vec<usize> = (0..=value.len()).collect();
    if longest {
        lengths.reverse();
    }
    for length in lengths {
        let (head, tail) = value.split_at(if start { length } else { value.len() - length });
        let (piece, rest) = if start { (head, tail) } else { (tail, head) };
        if fits(pattern.as_bytes(), piece.as_bytes()) {
            return rest.to_owned();
        }
    }
    value.to_owned()
}

/// Replaces the first match, or all of them, each as long as it can be.
fn replaced(pattern: &str, value: &str, replacement: &str, all: bool) -> String {
    let (mut text, mut at) = (String::new(), 0);
    while at < value.len() {
        let end = (at + 1..=value.len()).rev().find(|end| fits(pattern.as_bytes(), &value.as_bytes()[at..*end]));
        let Some(end) = end else {
            text += &value[at..=at];
            at += 1;
            continue;
        };
        text += replacement;
        at = end;
        if !all {
            break;
        }
    }
    // `*` matches nothing, too.
    if value.is_empty() && fits(pattern.as_bytes(), b"") {
        text += replacement;
    }
    text + &value[at..]
}

fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => fits(rest, text) || (!text.is_empty() && fits(pattern, &text[1..])),
        ([b'?', rest @ ..], [_, text @ ..]) => fits(rest, text),
        ([byte, rest @ ..], [first, text @ ..]) => byte == first && fits(rest, text),
        _ => false,
    }
}
