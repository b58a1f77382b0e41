//! Layers of the cache whose bytes are wrong, and whose size is right: nothing tells before they are read.

use std::fs;
use std::process::Command;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Some RUNs make another layer each time, so that a whole one can take the place of one that is damaged.
const DOCKERFILE: &str = "FROM $BASE AS made
RUN /bin/busybox mktemp /made.XXXXXX && echo made > /made
FROM $BASE AS other
COPY other /other
RUN cat /other > /result
FROM $BASE
RUN /bin/busybox mktemp /first.XXXXXX
COPY last /last
RUN cat /last > /then
COPY --from=made /made /made
COPY --from=other /result /result
";

struct Case {
    source: Scratch,
    registry: Registry,
    cache: String,
}

impl Case {
    fn new() -> Self {
        let source = source(DOCKERFILE, &[("last", "last\n"), ("other", "other\n")]);
        let registry = Registry::plain();
        let cache = format!("--cache-repo={}/cache", registry.address);
        Self { source, registry, cache }
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.source.join("context").join(file), content).expect("writes");
    }

    fn executor(&self, isolation: Isolation) -> Executor {
        let mut executor = Executor::new(isolation, self.source.path());
        let insecure = format!("--insecure-registry={}", self.registry.address);
        executor.only_layout().add(&["--cache", &self.cache, &insecure]).output("--metadata-file", "metadata.json");
        executor
    }

    fn build(&self, isolation: Isolation) -> Build {
        self.executor(isolation).run().expect(0)
    }
}

/// Returns the steps of a build, each with its layer where it has one, and whether it was found.
fn steps(build: &Build) -> Vec<(String, Option<String>, bool)> {
    let metadata = build.result("metadata.json").expect("metadata");
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let of = |step: &serde_json::Value| {
        let name = format!("{} {}", step["stage"].as_str().expect("a name"), step["step"]);
        (name, step["layer"]["digest"].as_str().map(str::to_owned), !step["miss"].is_object())
    };
    metadata["steps"].as_array().expect("steps").iter().map(of).collect()
}

fn done(build: &Build) -> Vec<String> {
    steps(build).into_iter().filter(|(_, _, found)| !found).map(|(name, _, _)| name).collect()
}

fn layer_of(build: &Build, step: &str) -> String {
    let found = steps(build).into_iter().find(|(name, _, _)| name == step);
    found.and_then(|(_, layer, _)| layer).unwrap_or_else(|| panic!("{step} has a layer: {:?}", steps(build)))
}

/// Expects that a refusal was told once, and that the image is whole.
fn expect_mended(build: &Build, what: &str) {
    assert_eq!(build.stderr.matches("it is made anew").count(), 1, "{what}: told once: {}", build.stderr);
    assert_eq!(build.stderr.matches("the build begins again").count(), 1, "{what}: {}", build.stderr);
    build.image().verify();
}

#[test]
fn a_damaged_layer_that_a_step_stands_on_is_made_again() {
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache: damaged layers")) {
        let case = Case::new();
        let first = case.build(isolation);
        case.registry.damage_blob(&layer_of(&first, "2 1"));
        case.write("last", "other\n");
        let second = case.build(isolation);
        expect_mended(&second, &format!("{isolation:?}"));
        let mended = done(&second);
        assert!(mended.contains(&"2 1".to_owned()) && mended.contains(&"2 3".to_owned()), "{mended:?}");
        assert!(!mended.iter().any(|step| step.starts_with("made")), "what is whole is not done again: {mended:?}");
        assert_eq!(done(&case.build(isolation)), [""; 0], "what was made again is kept");
    }
}

#[test]
fn a_damaged_layer_of_another_stage_is_made_again() {
    if !Isolation::Namespace.allowed("cache: damaged stages") {
        return;
    }
    let case = Case::new();
    let first = case.build(Isolation::Namespace);
    case.registry.damage_blob(&layer_of(&first, "made 1"));
    // The last stage reads it, while another one is at work.
    case.write("last", "other\n");
    case.write("other", "another\n");
    let second = case.executor(Isolation::Namespace).add(&["--jobs=2"]).run().expect(0);
    expect_mended(&second, "stage");
    assert!(done(&second).contains(&"made 1".to_owned()), "{:?}", done(&second));
}

#[test]
fn a_damaged_layer_that_only_the_output_reads_is_made_again() {
    if !Isolation::Namespace.allowed("cache: damaged outputs") {
        return;
    }
    let (case, target) = (Case::new(), Registry::plain());
    let first = case.build(Isolation::Namespace);
    case.registry.damage_blob(&layer_of(&first, "2 1"));
    let second = case.build(Isolation::Namespace);
    expect_mended(&second, "layout");
    // Found by its key, copied from one registry to the other.
    case.registry.damage_blob(&layer_of(&second, "2 1"));
    let mut executor = Executor::new(Isolation::Namespace, case.source.path());
    let (here, there) = (&case.registry.address, registry::shared().address.clone());
    executor.push_plain(&target, "app:1").add(&["--cache", &case.cache]);
    executor.add(&[&format!("--insecure-registry={here}"), &format!("--insecure-registry={there}")]);
    let third = executor.output("--digest-file", "digest").run().expect(0);
    assert_eq!(third.stderr.matches("the build begins again").count(), 1, "{}", third.stderr);
    assert_eq!(third.result("digest"), target.digest("app:1"));
    let pulled = Scratch::new("pulled");
    target.pull("app:1", pulled.path());
}

/// What a RUN says counts, whatever else could not be read when it failed.
#[test]
fn a_run_that_fails_is_not_done_again() {
    if !Isolation::Namespace.allowed("cache: failing RUN") {
        return;
    }
    let dockerfile = "FROM $BASE AS slow\nRUN echo lent > /lent\nCOPY other /other\nRUN cat /other\n\
         FROM $BASE AS bad\nCOPY last /last\nRUN sh /last\n\
         FROM scratch\nCOPY --from=slow /other /\nCOPY --from=bad /last /\n";
    let source = source(dockerfile, &[("last", "true"), ("other", "other\n")]);
    let registry = Registry::plain();
    let case = Case { source, cache: format!("--cache-repo={}/cache", registry.address), registry };
    let layer = layer_of(&case.build(Isolation::Namespace), "slow 1");
    let path: &'static str = Box::leak(format!("/blobs/{layer}").into_boxed_str());
    let proxy = Proxy::start(&case.registry.address, &[Rule::new("GET", path, Fault::Stall, usize::MAX)]);
    case.write("other", "another\n");
    case.write("last", "sleep 0.5; echo it ran; exit 3");
    let mut executor = Executor::new(Isolation::Namespace, case.source.path());
    executor.only_layout().add(&["--jobs=2", "--cache", &format!("--cache-repo={}/cache", proxy.address)]);
    let build = executor.add(&[&format!("--insecure-registry={}", proxy.address)]).run().expect(3);
    assert!(proxy.count("GET", path) > 0, "the layer was to be read: {:?}", proxy.requests());
    assert_eq!(build.stderr.matches("] it ran").count(), 1, "{}", build.stderr);
    assert!(!build.stderr.contains("begins again"), "{}", build.stderr);
}

/// What has gone to standard output cannot be taken back.
#[test]
fn a_damaged_layer_does_not_spoil_an_archive_on_standard_output() {
    if !Isolation::Namespace.allowed("cache: damaged archives") {
        return;
    }
    let case = Case::new();
    let first = case.build(Isolation::Namespace);
    case.registry.damage_blob(&layer_of(&first, "2 1"));
    let mut executor = case.executor(Isolation::Namespace);
    let build = executor.add(&["--output=type=oci,dest=-"]).stdout("stdout.tar").run().expect(0);
    assert_eq!(build.stderr.matches("the build begins again").count(), 1, "{}", build.stderr);
    assert_eq!(done(&build), ["2 1", "2 2", "2 3", "2 4", "2 5"], "what this build made is told as done");
    let mut tar = Command::new("tar");
    tar.arg("-tf").arg(build.path("stdout.tar"));
    let names = process::run(&mut tar, SHORT).success();
    assert_eq!(names.matches("index.json").count(), 1, "{names}");
    let mut skopeo = Command::new("skopeo");
    skopeo.arg("inspect").arg(format!("oci-archive:{}", build.path("stdout.tar").display()));
    process::run(&mut skopeo, SHORT).success();
}

#[test]
fn a_damaged_layer_that_nothing_may_replace_makes_no_wrong_image() {
    if !Isolation::Namespace.allowed("cache: damaged for good") {
        return;
    }
    let case = Case::new();
    let flags = ["--reproducible", "--cache-mode=ro"];
    let first = case.build(Isolation::Namespace);
    case.registry.damage_blob(&layer_of(&first, "2 1"));
    for _ in 0..2 {
        let build = case.executor(Isolation::Namespace).add(&flags).run().expect(0);
        build.image().verify();
    }
}

#[test]
fn a_damaged_layer_of_a_directory_is_made_again() {
    if !Isolation::Namespace.allowed("cache: damaged directories") {
        return;
    }
    let source =
        source("FROM $BASE\nRUN /bin/busybox mktemp /a.XXXXXX\nCOPY file /b\nRUN cat /b > /c\n", &[("file", "b\n")]);
    for (flag, part) in [("--cache-repo=oci:", ""), ("--cache-dir=", "layers")] {
        fs::write(source.join("context/file"), "b\n").expect("writes");
        let directory = Scratch::new("cache");
        let place = format!("{flag}{}", directory.path().display());
        let build = || {
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.only_layout().add(&["--cache", &place]).output("--metadata-file", "metadata.json");
            executor.run().expect(0)
        };
        let first = build();
        let hex = layer_of(&first, "0 1").replace("sha256:", "");
        let path = directory.join(part).join("blobs/sha256").join(&hex);
        let mut bytes = fs::read(&path).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("writes");
        fs::write(source.join("context/file"), "c\n").expect("writes");
        let second = build();
        assert_eq!(done(&second), ["0 1", "0 2", "0 3"], "{flag}: {}", second.stderr);
        assert!(second.stderr.contains("its content was damaged"), "{flag}: {}", second.stderr);
        second.image().verify();
        assert_eq!(done(&build()), [""; 0], "{flag}");
    }
}
