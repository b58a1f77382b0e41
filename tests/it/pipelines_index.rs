//! `yadokari index`: images of several platforms become one reference.

use std::process::Command;

use serde_json::Value;

use crate::support::attested::{document, referrers};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Finished, SHORT};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::one_file;

/// Pushes an image for a platform; returns `registry/repository@digest`.
fn image(registry: &Registry, name: &str, platform: &str) -> String {
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(registry, name).add(&[&format!("--custom-platform={platform}")]);
    executor.output("--image-ref-file", "ref").run().expect(0).result("ref").expect("it was pushed")
}

fn join(registry: &Registry, words: &[&str]) -> Finished {
    let mut command = Command::new(EXECUTOR);
    command.arg("index").arg(format!("--insecure-registry={}", registry.address)).args(words).env_clear();
    process::run(&mut command, SHORT)
}

fn raw(registry: &Registry, name: &str) -> Value {
    let reference = format!("docker://{}/{name}", registry.address);
    let mut command = Command::new("skopeo");
    let finished = process::run(command.args(["inspect", "--raw", "--tls-verify=false", &reference]), SHORT);
    serde_json::from_str(&finished.success()).expect("JSON")
}

#[test]
fn platforms_are_joined_whatever_their_order() {
    if !Isolation::Namespace.allowed("index: joined") {
        return;
    }
    let registry = Registry::plain();
    let amd64 = image(&registry, "app:1-amd64", "linux/amd64");
    let arm64 = image(&registry, "elsewhere/app:1-arm64", "linux/arm64");
    let scratch = Scratch::new("index");
    let directory = scratch.path().display().to_string();
    let destination = |tag: &str| format!("--destination={}/app:{tag}", registry.address);
    let results = format!("--tekton-results-dir={directory}");
    join(&registry, &[&destination("1"), &results, &amd64, &arm64]).success();
    let digest = registry.digest("app:1").expect("the index is there");
    assert_eq!(std::fs::read_to_string(scratch.join("IMAGE_DIGEST")).ok(), Some(digest.clone()));
    assert_eq!(std::fs::read_to_string(scratch.join("IMAGE_URL")).ok(), Some(registry.repository("app:1")));
    let index = raw(&registry, "app:1");
    let platforms: Vec<_> = index["manifests"].as_array().expect("an index").iter().collect();
    let seen: Vec<_> = platforms.iter().map(|m| m["platform"]["architecture"].as_str().expect("text")).collect();
    assert_eq!(seen, ["amd64", "arm64"]);
    let named: Vec<_> = platforms.iter().map(|m| m["digest"].as_str().expect("text")).collect();
    assert!(amd64.ends_with(named[0]) && arm64.ends_with(named[1]), "{named:?}");
    // The image of the other repository came along: all of it can be pulled from here.
    registry.pull(&format!("app@{}", named[1]), &scratch.join("layout"));
    // The other way round, as one JSON array, it is the same index.
    let array = format!("[\"{arm64}\",\"{amd64}\"]");
    join(&registry, &[&destination("2"), &array]).success();
    assert_eq!(registry.digest("app:2"), Some(digest));
}

#[test]
fn what_cannot_be_joined_is_refused_and_nothing_is_pushed() {
    if !Isolation::Namespace.allowed("index: refused") {
        return;
    }
    let registry = Registry::plain();
    let one = image(&registry, "app:one", "linux/arm64");
    let other = registry.repository("app:missing");
    let destination = format!("--destination={}/app:1", registry.address);
    let scratch = Scratch::new("index");
    let digest = scratch.file("digest", "sha256:of-an-earlier-attempt");
    let file = format!("--digest-file={}", digest.display());
    let missing = join(&registry, &[&destination, &file, &one, &other]);
    assert_eq!(missing.code, 76, "{}", missing.stderr);
    assert!(missing.stderr.contains("app:missing"), "{}", missing.stderr);
    assert!(!digest.exists(), "the stale digest is still there");
    assert_eq!(registry.digest("app:1"), None);
    let two = image(&registry, "app:two", "linux/amd64");
    join(&registry, &[&destination, &one, &two]).success();
    let nested = join(&registry, &[&destination, &registry.repository("app:1"), &one]);
    assert_eq!(nested.code, 76, "{}", nested.stderr);
}

/// Pushes an image for a platform, with provenance; returns `registry/repository@digest` of what was pushed.
fn attested(registry: &Registry, name: &str, (platform, format): (&str, &str)) -> String {
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(registry, name).add(&["--provenance=min", &format!("--custom-platform={platform}")]);
    executor.add(&[&format!("--attestation-format={format}")]).output("--image-ref-file", "ref");
    executor.run().expect(0).result("ref").expect("it was pushed")
}

#[test]
fn what_is_said_about_each_platform_goes_with_it() {
    if !Isolation::Namespace.allowed("index: attested") {
        return;
    }
    let registry = Registry::plain();
    let here = attested(&registry, "app:1-amd64", ("linux/amd64", "index"));
    let elsewhere = attested(&registry, "elsewhere/app:1-arm64", ("linux/arm64", "index"));
    let referred = attested(&registry, "elsewhere/app:1-s390x", ("linux/s390x", "referrer"));
    let destination = format!("--destination={}/app:1", registry.address);
    join(&registry, &[&destination, &here, &elsewhere, &referred]).success();
    let index = raw(&registry, "app:1");
    let manifests = index["manifests"].as_array().expect("an index");
    let platforms: Vec<String> = manifests
        .iter()
        .map(|one| format!("{}/{}", one["platform"]["os"], one["platform"]["architecture"]).replace('"', ""))
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/s390x", "unknown/unknown", "unknown/unknown"]);
    for (image, beside) in manifests[..2].iter().zip(&manifests[3..]) {
        assert_eq!(beside["annotations"]["vnd.docker.reference.digest"], image["digest"]);
        let digest = beside["digest"].as_str().expect("a digest");
        let statement = document(&registry, "app", digest);
        let image = image["digest"].as_str().expect("a digest");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], image["sha256:".len()..]);
    }
    // What refers to an image refers to it in the other repository, too.
    let subject = manifests[2]["digest"].as_str().expect("a digest");
    let [referrer] = &referrers(&registry, "app", subject)[..] else { panic!("no referrer of {subject}") };
    let statement = document(&registry, "app", referrer["digest"].as_str().expect("a digest"));
    assert_eq!(statement["subject"][0]["digest"]["sha256"], subject["sha256:".len()..]);
    let mut inspect = Command::new(EXECUTOR);
    inspect.args(["inspect", &registry.repository("app:1"), "--format=json"]).env_clear();
    let told = process::run(inspect.arg(format!("--insecure-registry={}", registry.address)), SHORT).success();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let held: Vec<&Value> =
        told["images"].as_array().expect("a list").iter().map(|one| &one["statements"][0]["held"]).collect();
    assert_eq!(held, ["index", "index", "referrer"]);
}
