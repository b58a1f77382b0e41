//! Random builds that share one cache, and random changes of them: each image is, to the last bit, the one that is built
//! without a cache.
//!
//! All files get the same time, so that layers of different builds can be compared: what a cache gives may otherwise be
//! older, which is what it is for. `YADOKARI_TEST_SEEDS=1000..1200` runs those seeds instead of the few that every run of
//! the suite does.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use crate::support::case::Case;
use crate::support::executor::{Build, Executor};
use crate::support::generate::{self, Random};
use crate::support::isolation::Isolation;
use crate::support::mutate::mutate;
use crate::support::process::{self, SHORT};
use crate::support::scratch::{self, Scratch};
use crate::support::steps;

const SEEDS: Range<u64> = 1..7;
/// How often each random build is changed and built again.
const CHANGES: usize = 2;
/// Older than all files, so that none keeps a time of its own.
const EPOCH: &str = "1500000000";

#[test]
fn random_builds_with_a_cache_are_those_without() {
    if !Isolation::Namespace.allowed("differential: random builds with a cache") {
        return;
    }
    let seeds = scratch::seeds(SEEDS);
    let cache = Scratch::new("cache");
    let mut failures = Vec::new();
    for seed in seeds {
        let directory = Scratch::new("random");
        let mut random = Random::new(seed);
        generate::case(directory.path(), &mut random);
        take_everything(&directory.join("Dockerfile"));
        let case = Case::generated(&format!("random-{seed}"), directory);
        let mut told = |what: &str, difference: Option<String>| {
            if let Some(difference) = difference {
                let dockerfile = fs::read_to_string(case.path().join("Dockerfile")).expect("it was written");
                failures.push(format!("seed {seed}, {what}: {difference}\n{dockerfile}"));
            }
        };
        let plain = build(&case, None);
        told("cold", difference(&plain, &build(&case, Some(&cache))));
        let warm = build(&case, Some(&cache));
        told("warm", difference(&plain, &warm));
        told("warm", something_done(&warm));
        for _ in 0..CHANGES {
            let mutation = mutate(case.path(), &mut random);
            touch(case.path(), if mutation.is_nothing { "1610000000" } else { "1600000000" });
            let plain = build(&case, None);
            let mixed = build(&case, Some(&cache));
            told(&mutation.what, difference(&plain, &mixed));
            if mutation.is_nothing {
                told(&mutation.what, something_done(&mixed));
            }
        }
    }
    assert!(failures.is_empty(), "{} builds differ:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Lets the last step take the whole context, so that no change of it is for nothing.
fn take_everything(dockerfile: &Path) {
    let text = fs::read_to_string(dockerfile).expect("it was written");
    fs::write(dockerfile, text + "COPY . /everything/\n").expect("scratch is writable");
}

fn touch(directory: &Path, time: &str) {
    let mut command = Command::new("find");
    command.arg(directory).args(["-exec", "touch", "-h", "-d", &format!("@{time}"), "{}", "+"]);
    process::run(&mut command, SHORT).success();
}

fn build(case: &Case, cache: Option<&Scratch>) -> Build {
    let mut executor = Executor::new(Isolation::Namespace, case.path());
    executor.only_layout().env("SOURCE_DATE_EPOCH", EPOCH).output("--metadata-file", "metadata.json");
    executor.add(&[&format!("--secret=id=hush,src={}/secret", executor.sources())]);
    // What a RUN that is found would have put there, the one that built the case first did.
    executor.add(&[&format!("--cache-mounts={}/mounts", executor.sources())]);
    for argument in case.build_args() {
        executor.add(&["--build-arg", &argument]);
    }
    if let Some(cache) = cache {
        executor.add(&["--cache", &format!("--cache-repo=oci:{}", cache.path().display())]);
    }
    executor.run()
}

/// Tells in what two builds of the same differ.
fn difference(plain: &Build, cached: &Build) -> Option<String> {
    if plain.code != cached.code {
        return Some(format!("ends with {}, not {}:\n{}", cached.code, plain.code, cached.stderr));
    }
    if plain.code != 0 {
        return None;
    }
    let (plain, cached) = (plain.image(), cached.image());
    if plain.digest == cached.digest {
        return None;
    }
    let layers = plain.diff_ids().into_iter().zip(cached.diff_ids());
    let layer = layers.enumerate().find(|(_, (one, other))| one != other).map(|(number, _)| number);
    Some(format!("another image; the first layer that differs: {layer:?}\n{:#}\n{:#}", plain.config, cached.config))
}

fn something_done(build: &Build) -> Option<String> {
    if build.code != 0 {
        return None;
    }
    let done = steps::done(build);
    (!done.is_empty()).then(|| format!("done again: {done:#?}"))
}
