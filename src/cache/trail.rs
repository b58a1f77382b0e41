//! What a build's steps depended on, kept to tell in the next build what has changed.
//!
//! A trail is for those who may read the cache, and not all of them may know the build's arguments. What an instruction
//! says may have one in it, so its digest is not kept: whoever read it could try values until one has it. With the key of
//! the cache a code of that key stands for it, which tells something only to those who have the key.
//!
//! *Invariant: nothing in a trail is a digest of what an instruction says.*

use serde::{Deserialize, Serialize};

use super::Seal;
use super::key::{CacheKey, Part, Parts};
use crate::oci::Digest;

/// How many hexadecimal digits of a part's digest are kept.
const SHORT: usize = 16;
/// How many files of a part are kept by name, to tell later which one has changed.
const MOST_FILES: usize = 2000;
/// How many parts are named of which one has changed.
const MOST_NAMES: usize = 8;

/// What a build's steps depended on: kept to tell in the next build what has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The steps, stage after stage.
    pub steps: Vec<TrailStep>,
}

/// A step of an earlier build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailStep {
    /// The stage's name.
    pub stage: String,
    /// The step's number within the stage, from 1.
    pub number: usize,
    /// The instruction.
    pub text: String,
    /// When its result was made, in seconds since 1970.
    pub made: i64,
    /// The key of its result, where that was kept: the name of an entry that is there for all to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CacheKey>,
    /// What it depended on.
    pub parts: Vec<TracedPart>,
}

/// A part as an earlier build had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPart {
    /// What a user calls it.
    pub name: String,
    /// The beginning of its digest, or of the code that stands for it; none where there is no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its files, unless there were too many, each with the beginning of its digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(String, String)>,
}

impl Trail {
    /// Finds the step that is the most like one: the same instruction in the same stage, else the one with its number.
    pub fn find(&self, stage: &str, number: usize, text: &str) -> Option<&TrailStep> {
        let of_stage = || self.steps.iter().filter(|step| step.stage == stage);
        let same = |step: &&TrailStep| step.number == number && step.text == text;
        let text_only = |step: &&TrailStep| step.text == text;
        of_stage().find(same).or_else(|| of_stage().find(text_only)).or_else(|| of_stage().find(|s| s.number == number))
    }
}

impl TrailStep {
    /// Finds what has changed since then; none where nothing has. `now` is the step as it is now.
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self.key.is_some() && self.key == now.key {
            return None;
        }
        let before = |part: &TracedPart| self.parts.iter().find(|old| old.name == part.name);
        let changed = now.parts.iter().find_map(|part| match before(part) {
            Some(old) => part.differs(old),
            None => Some(format!("{} is new", part.name)),
        });
        let gone = || self.parts.iter().find(|old| !now.parts.iter().any(|part| part.name == old.name));
        changed.or_else(|| gone().map(|gone| format!("{} is gone", gone.name))).or_else(|| {
            // Without the key of the earlier result its loss cannot be told from a change.
            self.key.as_ref()?;
            let hidden = |part: &&TracedPart| part.digest.is_none() || before(part).is_some_and(|p| p.digest.is_none());
            let mut names = now.parts.iter().filter(hidden).map(|part| part.name.as_str());
            // The first one is the instruction itself.
            if self.text == now.text {
                one_of(names.collect())
            } else {
                names.next().map(|name| format!("{name} changed"))
            }
        })
    }
}

/// Says that one of several has changed, variables first: most often it is one of them.
fn one_of(mut names: Vec<&str>) -> Option<String> {
    names.sort_by_key(|name| !name.starts_with("variable "));
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let list = names.join(", ");
    match (names.len(), more) {
        (0, _) => None,
        (1, _) => Some(format!("{list} changed")),
        (_, 0) => Some(format!("one of these changed: {list}")),
        (_, more) => Some(format!("one of these changed: {list}, and {more} more")),
    }
}

impl TracedPart {
    fn differs(&self, before: &Self) -> Option<String> {
        if self.digest.as_ref()? == before.digest.as_ref()? {
            return None;
        }
        Some(changed_file(before, self).unwrap_or_else(|| format!("{} changed", self.name)))
    }
}

/// Returns the parts of a step as they may be kept.
pub(super) fn trace(parts: &Parts, seal: Option<&Seal>) -> Vec<TracedPart> {
    let files = |part: &Part| {
        let kept = part.files.iter().take(if part.files.len() > MOST_FILES { 0 } else { MOST_FILES });
        kept.map(|file| (file.path.clone(), short(&file.digest))).collect()
    };
    let digest = |part: &Part| {
        if part.is_said {
            seal.map(|seal| beginning(&seal.hide(&part.name, &part.digest)))
        } else {
            Some(short(&part.digest))
        }
    };
    let trace = |part: &Part| {
        let name = part.alias.as_ref().unwrap_or(&part.name).clone();
        TracedPart { name, digest: digest(part), files: files(part) }
    };
    parts.iter().map(trace).collect()
}

fn short(digest: &Digest) -> String {
    beginning(digest.hex())
}

fn beginning(digits: &str) -> String {
    digits[..SHORT].to_owned()
}

fn changed_file(before: &TracedPart, now: &TracedPart) -> Option<String> {
    if before.files.is_empty() || now.files.is_empty() {
        return None;
    }
    let known = |path: &str, files: &[(String, String)]| files.iter().find(|file| file.0 == path).map(|f| f.1.clone());
    let mut texts = now.files.iter().filter_map(|(path, digest)| match known(path, &before.files) {
        Some(old) if old == *digest => None,
        Some(_) => Some(format!("file {path} changed")),
        None => Some(format!("file {path} is new")),
    });
    if let Some(first) = texts.next() {
        let more = texts.count();
        return Some(if more > 0 { format!("{first}, and {more} more") } else { first });
    }
    let gone = before.files.iter().find(|file| known(&file.0, &now.files).is_none())?;
    Some(format!("file {} is gone", gone.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;
    use crate::cache::key::{FileDigest, Frames};

    fn step(text: &str, parts: &Parts, seal: Option<&Seal>) -> TrailStep {
        let (stage, text, key) = ("0".to_owned(), text.to_owned(), Some(parts.key()));
        TrailStep { stage, number: 1, text, made: 0, key, parts: trace(parts, seal) }
    }

    #[test]
    fn what_changed_is_told_by_name() {
        let file = |path: &str, text: &str| FileDigest { path: path.to_owned(), digest: Digest::of(text.as_bytes()) };
        let copy = |text: &str, files: &[(&str, &str)]| {
            let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
            let digest = files.iter().fold(Frames::new("files"), |f, one| f.with(&one.path).with(one.digest.hex()));
            let part = Part { files, ..Part::new("files of src", digest.digest()) };
            step(text, &Parts::new("copy").value("the instruction", text).part(part), None)
        };
        let before = copy("COPY", &[("src/a", "1"), ("src/b", "1")]);
        for (now, text) in [
            (copy("COPY", &[("src/a", "1"), ("src/b", "1")]), None),
            (copy("COPY .", &[("src/a", "1"), ("src/b", "1")]), Some("the instruction changed")),
            (copy("COPY", &[("src/a", "2"), ("src/b", "1")]), Some("file src/a changed")),
            (copy("COPY", &[("src/a", "2"), ("src/b", "2")]), Some("file src/a changed, and 1 more")),
            (copy("COPY", &[("src/a", "1")]), Some("file src/b is gone")),
            (copy("COPY", &[("src/a", "1"), ("src/b", "1"), ("src/c", "1")]), Some("file src/c is new")),
            (step("COPY", &Parts::new("copy").value("the instruction", "COPY"), None), Some("files of src is gone")),
        ] {
            assert_eq!(before.difference(&now).as_deref(), text);
        }
    }

    /// What a RUN has, with a build argument of few possible values.
    fn run(pin: &str) -> Parts {
        Parts::new("run").open("--network", "host").value("the command", "make").value("variable PIN", pin)
    }

    #[test]
    fn a_build_argument_is_not_guessed_from_a_trail() {
        let key = |byte: u8| Seal::of(&Key::new(&[byte; 32]).expect("long enough"), &[]);
        let digests = |parts: &Parts| parts.iter().map(|part| short(&part.digest)).collect::<Vec<_>>();
        let told = |seal: Option<&Seal>| serde_json::to_string(&step("RUN make", &run("1234"), seal)).expect("JSON");
        let [network, command, pin] = &digests(&run("1234"))[..] else { panic!("three parts") };
        for seal in [None, Some(&key(1))] {
            let told = told(seal);
            assert!(told.contains(network), "what everybody may know is told: {told}");
            assert!(!told.contains(command) && !told.contains(pin), "{told}");
        }
        assert_ne!(told(Some(&key(1))), told(Some(&key(2))), "only who has the key can try values");
    }

    #[test]
    fn a_changed_build_argument_is_told_by_name_with_a_key_and_among_others_without() {
        let seal = Seal::of(&Key::new(&[7; 32]).expect("long enough"), &[]);
        let difference = |before: Option<&Seal>, now: Option<&Seal>, pin: &str| {
            step("RUN make", &run("1234"), before).difference(&step("RUN make", &run(pin), now))
        };
        assert_eq!(difference(Some(&seal), Some(&seal), "5").as_deref(), Some("variable PIN changed"));
        let either = Some("one of these changed: variable PIN, the command");
        for (before, now) in [(None, None), (None, Some(&seal)), (Some(&seal), None)] {
            assert_eq!(difference(before, now, "5").as_deref(), either);
            assert_eq!(difference(before, now, "1234"), None);
        }
    }
}
