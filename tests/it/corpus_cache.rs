//! The corpus with a cache: built once more nothing is done, and after a change exactly what the case says.

use crate::corpus;
use crate::support::case::{self, Case};
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::scratch::Scratch;
use crate::support::steps;

/// Cases whose cache, filled in one isolation, is used in the others.
const SHARED: [&str; 4] = ["copy-chown", "multistage-diamond", "run-changes", "workdir-owner"];
/// Capabilities that must have a case with changes.
const CHANGED: [&str; 13] = [
    "add",
    "arg",
    "copy",
    "env",
    "from",
    "ignore",
    "multistage",
    "onbuild",
    "run",
    "shell",
    "target",
    "user",
    "workdir",
];

/// Lets a build fill a cache, and say of each step whether it was done.
pub(crate) fn fill(executor: &mut Executor, cache: &Scratch) {
    let directory = executor.shared_directory(cache.path());
    executor.add(&["--cache", &format!("--cache-repo=oci:{directory}")]).output("--metadata-file", "metadata.json");
}

/// Checks a case that was built with a cache: what a second build, and a build after each of its changes, does again.
pub(crate) fn check(case: &Case, cold: &Build, cache: &Scratch) {
    let mut failures = Vec::new();
    let clone = case.cloned();
    let mut warm = corpus::executor(&clone, Isolation::Namespace);
    fill(warm.umask("077"), cache);
    let warm = warm.run().expect(0);
    expect(&warm, "nothing is changed", &[], &mut failures);
    if warm.image().digest != cold.image().digest {
        failures.push("nothing is changed, and the image is another one".to_owned());
    }
    if !case.settings.changes.is_empty() {
        steps::next_second();
    }
    for change in &case.settings.changes {
        let case = case.changed(change);
        let mut executor = corpus::executor(&case, Isolation::Namespace);
        fill(&mut executor, cache);
        // Each is compared with the case as it was, not with the change before.
        let changed = executor.add(&["--cache-mode=ro"]).run().expect(0);
        expect(&changed, &change.what, &change.again, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn expect(build: &Build, what: &str, again: &[String], failures: &mut Vec<String>) {
    let done = steps::done(build);
    if done != again {
        failures.push(format!("{what}: done again is\n{done:#?}\ninstead of\n{again:#?}"));
    }
}

#[test]
fn each_capability_has_a_case_with_changes() {
    let changed: Vec<String> =
        case::names().into_iter().filter(|name| !case::settings(name).changes.is_empty()).collect();
    assert!(changed.len() >= 40, "{} cases have changes", changed.len());
    for capability in CHANGED {
        assert!(changed.iter().any(|name| name.starts_with(&format!("{capability}-"))), "none of {capability}");
    }
}

/// What one isolation keeps, each other one takes.
#[test]
fn a_cache_in_a_directory_serves_every_isolation() {
    let isolations: Vec<Isolation> =
        Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("corpus: a shared cache")).collect();
    for (number, name) in SHARED.into_iter().enumerate() {
        let (case, cache) = (Case::prepare(name), Scratch::new("cache"));
        let mut digest = None;
        for place in 0..isolations.len() {
            // Each isolation is the first one for some case.
            let isolation = isolations[(number + place) % isolations.len()];
            let mut executor = corpus::executor(&case, isolation);
            fill(&mut executor, &cache);
            let build = executor.run().expect(0);
            let found = build.image().digest;
            if let Some(first) = &digest {
                assert_eq!(steps::done(&build), [""; 0], "{name} in {}", isolation.name());
                assert_eq!(&found, first, "{name} in {}", isolation.name());
            }
            digest = Some(found);
        }
    }
}
