//! Random builds, by the executor in three isolations and by the oracle, whose results must be the same.
//!
//! `YADOKARI_TEST_SEEDS=1000..1200` runs those seeds instead of the few that every run of the suite does. What buildah
//! is known to do differently stands in [`generate`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use crate::support::case::Case;
use crate::support::executor::Executor;
use crate::support::generate::{self, Random};
use crate::support::isolation::Isolation;
use crate::support::listing::{Listing, difference};
use crate::support::oracle::{self, Verdict};
use crate::support::scratch::{self, Scratch};

const SEEDS: Range<u64> = 1..11;

#[test]
fn random_builds_are_those_of_the_oracle() {
    let isolations = [Isolation::Namespace, Isolation::Chroot, Isolation::Mediated];
    let allowed: Vec<_> =
        isolations.into_iter().filter(|isolation| isolation.allowed("differential: random builds")).collect();
    let seeds = scratch::seeds(SEEDS);
    let mut failures = Vec::new();
    let (mut built, count) = (0, seeds.clone().count());
    for seed in seeds {
        let directory = Scratch::new("random");
        generate::case(directory.path(), &mut Random::new(seed));
        let case = Case::generated(&format!("random-{seed}"), directory);
        let verdict = oracle::verdict(&case);
        built += usize::from(matches!(verdict, Verdict::Built { .. }));
        for isolation in &allowed {
            if let Some(difference) = differs(&case, *isolation, &verdict) {
                failures.push(format!("seed {seed}, {}:\n{difference}\n{}", isolation.name(), text(&case)));
            }
        }
    }
    assert!(failures.is_empty(), "{} builds differ:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(built * 2 > count, "the oracle builds {built} of {count}: the others prove little");
}

/// Builds a case and tells what is not as the oracle made it.
fn differs(case: &Case, isolation: Isolation, verdict: &Verdict) -> Option<String> {
    let mut executor = Executor::new(isolation, case.path());
    executor.only_layout();
    let secret = format!("--secret=id=hush,src={}/secret", executor.sources());
    executor.add(&[&secret]);
    for argument in case.build_args() {
        executor.add(&["--build-arg", &argument]);
    }
    let build = executor.run();
    match (verdict, build.code) {
        // A file of the context that its owner may not read is for root alone.
        (_, 74) if isolation == Isolation::Mediated && is_unreadable(&build.stderr) => None,
        (Verdict::Failed { .. }, 76) => None,
        // BuildKit copies nothing there, as ours, unless something else is wrong.
        (Verdict::Failed { text, .. }, 0) if matches_nothing(text) => None,
        (Verdict::Failed { text, .. }, code) => Some(format!("ends with {code}; the oracle fails:\n{text}")),
        (Verdict::Built { changes, config, .. }, 0) => {
            let image = build.image();
            image.verify();
            let found = oracle::changes(case, &image, &Listing::of(&image));
            let (changes, found) = without_broken_links(changes, &found);
            let files = difference(&changes, &found);
            let (config, found) = (in_order(config.clone()), in_order(image.runtime_config()));
            let config = if config == found { String::new() } else { format!("{config:#}\nis not\n{found:#}\n") };
            (!files.is_empty() || !config.is_empty()).then(|| files + &config)
        }
        // buildah puts the file in the directory's place, with all that is below, or the directory in the file's;
        // BuildKit's copy fails there, as ours.
        (Verdict::Built { .. }, 76)
            if ["a file cannot replace it", "in the image is not a directory"]
                .iter()
                .any(|text| build.stderr.contains(text)) =>
        {
            None
        }
        (Verdict::Built { .. }, code) => Some(format!("ends with {code}; the oracle builds:\n{}", build.stderr)),
    }
}

fn is_unreadable(stderr: &str) -> bool {
    stderr.contains(" of /workspace/context/") && stderr.contains("caused by: Permission denied")
}

/// Sorts the environment: buildah moves a variable that is set again to the end, BuildKit leaves it in its place; and takes
/// the slash from the end of a working directory, which BuildKit leaves there.
fn in_order(mut config: Value) -> Value {
    if let Some(environment) = config["Env"].as_array_mut() {
        environment.sort_by_key(Value::to_string);
    }
    if let Some(directory) = config["WorkingDir"].as_str().filter(|directory| directory.len() > 1) {
        config["WorkingDir"] = directory.trim_end_matches('/').into();
    }
    config
}

/// Takes out the names of files that are still one file in ours, and that a RUN has made two of in the oracle by writing to
/// one name: there at least one name has what ours has, and another has not.
fn without_broken_links(expected: &str, found: &str) -> (String, String) {
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let by_name: BTreeMap<String, &str> = expected.lines().map(|line| (name(line), line)).collect();
    let mut broken = BTreeSet::new();
    for line in found.lines() {
        let Some((_, names)) = line.split_once(" links=") else { continue };
        let own = |line: &str| line.split_once(' ').map(|(_, rest)| rest.to_owned());
        let ours = line.split_once(" links=").and_then(|(line, _)| own(line));
        let theirs: BTreeSet<_> = names.split(',').map(|name| by_name.get(name).and_then(|line| own(line))).collect();
        if theirs.len() > 1 && theirs.contains(&ours) {
            broken.extend(names.split(',').map(str::to_owned));
        }
    }
    let rest = |text: &str| {
        text.lines().filter(|line| !broken.contains(&name(line))).map(|line| format!("{line}\n")).collect::<String>()
    };
    (rest(expected), rest(found))
}

/// Tells whether buildah failed because a wildcard found nothing.
fn matches_nothing(text: &str) -> bool {
    text.contains("no items matching glob") || (text.contains("copier: stat: [\"/*") && text.contains("no such file"))
}

/// Returns the Dockerfiles of both builders, for a failure that can be read.
fn text(case: &Case) -> String {
    let read = |path| std::fs::read_to_string(path).expect("it was written");
    let ignore = std::fs::read_to_string(case.path().join("context/.dockerignore")).unwrap_or_default();
    let (ours, oracle) = (read(case.path().join("Dockerfile")), read(case.for_oracle("Dockerfile")));
    format!("{ours}\n-- ignored:\n{ignore}\n-- for the oracle:\n{oracle}")
}
