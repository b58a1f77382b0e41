//! What the surroundings tell of the Tekton step that this is: its entrypoint runs it, and its words say which results are
//! declared, and how they are read.
//!
//! Source: <https://github.com/tektoncd/pipeline/blob/main/cmd/entrypoint/README.md>.

use std::fs;
use std::path::Path;

use crate::cli::env::TEKTON_RESULTS;
use crate::request::{TektonStep, message_room};

/// How far above the entrypoint may be: namespaces are entered in a child, and a script may have called us.
const HIGHEST: usize = 8;
/// A link for each step is here.
const STEPS: &str = "/tekton/steps";
/// The scripts of steps; an init container places them.
const SCRIPTS: &str = "/tekton/scripts";

/// Returns what the entrypoint was told; none where no entrypoint is found.
pub(super) fn step() -> Option<TektonStep> {
    let mut process = "self".to_owned();
    for _ in 0..HIGHEST {
        let words = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        if let Some(step) = parse(&words) {
            return Some(TektonStep { most: message_room(containers()), ..step });
        }
        process = parent(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?;
    }
    None
}

/// Returns the parent in a line of `/proc/<pid>/stat`. The name before it, in parentheses, may hold anything.
fn parent(stat: &str) -> Option<String> {
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?;
    (parent != "0").then(|| parent.to_owned())
}

/// Counts the containers of the pod that can be known from here, Tekton's own init containers among them.
fn containers() -> usize {
    let entries = |directory| fs::read_dir(directory).into_iter().flatten().flatten();
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let steps = entries(STEPS).filter(|entry| entry.file_name().to_str().is_some_and(is_number)).count();
    // One places the entrypoint, one the scripts.
    steps.max(1) + 1 + usize::from(entries(SCRIPTS).next().is_some())
}

fn parse(words: &[u8]) -> Option<TektonStep> {
    let words: Vec<&str> = words.split(|byte| *byte == 0).map(|word| str::from_utf8(word).unwrap_or("")).collect();
    let is_entrypoint = words.first().is_some_and(|word| Path::new(word).ends_with("tekton/bin/entrypoint"));
    let end = words.iter().position(|word| *word == "--")?;
    if !is_entrypoint {
        return None;
    }
    let flag = |name: &str| {
        words[..end].iter().enumerate().find_map(|(index, word)| {
            let word = word.trim_start_matches('-');
            match word.split_once('=') {
                Some((flag, value)) if flag == name => Some(value),
                None if word == name => words[..end].get(index + 1).copied(),
                Some(_) | None => None,
            }
        })
    };
    let list = |name| flag(name).into_iter().flat_map(|value| value.split(',')).filter(|name| !name.is_empty());
    Some(TektonStep {
        directory: TEKTON_RESULTS.into(),
        results: list("results").map(str::to_owned).collect(),
        step_results: list("step_results").map(str::to_owned).collect(),
        by_sidecar: flag("result_from") == Some("sidecar-logs"),
        most: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_entrypoint_tell_what_is_declared() {
        let step = |text: &str| parse(text.replace(' ', "\0").as_bytes());
        let found = step(
            "/tekton/bin/entrypoint -wait_file /tekton/run/0/out -results IMAGE_URL,IMAGE_DIGEST -step_results=a \
             -result_from sidecar-logs -entrypoint /kaniko/executor -- -results NOT_THIS",
        );
        let found = found.expect("it is one");
        assert_eq!(found.results, ["IMAGE_URL", "IMAGE_DIGEST"]);
        assert_eq!((found.step_results, found.by_sidecar), (vec!["a".to_owned()], true));
        let bare = step("/tekton/bin/entrypoint -termination_path /tekton/termination -- x").expect("it is one");
        assert!(bare.results.is_empty() && !bare.by_sidecar);
        assert_eq!(step("/bin/sh -c x -- -results a"), None);
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) S 3 4) S 7 12 12").as_deref(), Some("7"));
        assert_eq!(parent("1 (init) S 0 1 1"), None);
    }
}
