//! Registries that fail: what passes is tried again, what does not is told at once, and nothing false is kept.

use std::time::{Duration, Instant};

use crate::support::bases;
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{self, Registry};
use crate::support::source::{one_file, source};

const ALWAYS: usize = usize::MAX;

/// Pulls the busybox base through a proxy with these faults, and builds a RUN on it.
fn pull_through(rules: &[Rule]) -> (Build, Proxy) {
    let base = bases::base("BASE");
    let proxy = Proxy::start(&registry::shared().address, rules);
    let through = base.reference.replace(&registry::shared().address, &proxy.address);
    let source = source(&format!("FROM {through}\nRUN echo ran > /ran\n"), &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&[&format!("--insecure-registry={}", proxy.address)]);
    (executor.output("--digest-file", "digest").run(), proxy)
}

/// Pushes one file through a proxy with these faults.
fn push_through(rules: &[Rule]) -> (Build, Proxy, Registry) {
    let registry = Registry::plain();
    let proxy = Proxy::start(&registry.address, rules);
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor
        .add(&[&format!("--destination={}/app:1", proxy.address), &format!("--insecure-registry={}", proxy.address)]);
    (executor.output("--digest-file", "digest").run(), proxy, registry)
}

#[test]
fn a_pull_survives_what_passes() {
    if !Isolation::Namespace.allowed("faults: pull") {
        return;
    }
    let passing = [
        Rule::new("GET", "/manifests/", Fault::Drop, 2),
        Rule::new("GET", "/manifests/", Fault::Status(503, ""), 1),
        Rule::new("GET", "/blobs/", Fault::Drop, 2),
        Rule::new("GET", "/blobs/", Fault::Truncate, 2),
        Rule::new("GET", "/blobs/", Fault::Status(502, ""), 1),
    ];
    for rule in passing {
        let (build, proxy) = pull_through(std::slice::from_ref(&rule));
        assert_eq!(build.code, 0, "{rule:?}\n{:#?}\n{}", proxy.requests(), build.stderr);
        build.image().verify();
    }
}

#[test]
fn too_many_requests_waits_as_told() {
    if !Isolation::Namespace.allowed("faults: 429") {
        return;
    }
    let start = Instant::now();
    let rule = Rule::new("GET", "/manifests/", Fault::Status(429, "Retry-After: 2\r\n"), 1);
    let (build, _) = pull_through(&[rule]);
    build.expect(0);
    assert!(start.elapsed() >= Duration::from_secs(2), "it did not wait as the registry asked");
}

#[test]
fn a_pull_gives_up_in_the_end() {
    if !Isolation::Namespace.allowed("faults: pull in vain") {
        return;
    }
    for fault in [Fault::Drop, Fault::Status(503, "")] {
        let (build, _) = pull_through(&[Rule::new("GET", "/manifests/", fault, ALWAYS)]);
        assert_eq!(build.code, 75, "{fault:?}\n{}", build.stderr);
        assert_eq!(build.result("digest"), None, "{fault:?}");
    }
}

#[test]
fn a_blob_with_a_wrong_digest_is_never_used() {
    if !Isolation::Namespace.allowed("faults: wrong digest") {
        return;
    }
    let (build, _) = pull_through(&[Rule::new("GET", "/blobs/", Fault::Corrupt, ALWAYS)]);
    assert_ne!(build.code, 0, "{}", build.stderr);
    assert!(build.stderr.contains("digest"), "{}", build.stderr);
    assert_eq!(build.result("digest"), None);
    assert_eq!(build.result("layout/index.json"), None);
}

#[test]
fn a_refusal_is_not_tried_again() {
    if !Isolation::Namespace.allowed("faults: refusals") {
        return;
    }
    for (status, code) in [(401, 77), (403, 77)] {
        let (build, proxy) = pull_through(&[Rule::new("GET", "/manifests/", Fault::Status(status, ""), ALWAYS)]);
        assert_eq!(build.code, code, "{status}\n{}", build.stderr);
        assert!(proxy.count("GET", "/manifests/") <= 2, "{status}: {:#?}", proxy.requests());
    }
}

#[test]
fn a_push_survives_what_passes() {
    if !Isolation::Namespace.allowed("faults: push") {
        return;
    }
    let passing = [
        Rule::new("POST", "/blobs/uploads", Fault::Drop, 2),
        Rule::new("POST", "/blobs/uploads", Fault::Status(503, ""), 2),
        Rule::new("PATCH", "/blobs/uploads", Fault::Drop, 1),
        Rule::new("PUT", "/blobs/uploads", Fault::Status(500, ""), 1),
        Rule::new("PUT", "/manifests/", Fault::Drop, 2),
        Rule::new("PUT", "/manifests/", Fault::Status(429, "Retry-After: 1\r\n"), 1),
        Rule::new("HEAD", "/blobs/", Fault::Drop, 2),
    ];
    for rule in passing {
        let (build, proxy, registry) = push_through(std::slice::from_ref(&rule));
        assert_eq!(build.code, 0, "{rule:?}\n{:#?}\n{}", proxy.requests(), build.stderr);
        assert_eq!(build.result("digest"), registry.digest("app:1"), "{rule:?}");
    }
}

#[test]
fn a_push_that_fails_leaves_no_result() {
    if !Isolation::Namespace.allowed("faults: push in vain") {
        return;
    }
    let lasting = [
        (Rule::new("PUT", "/manifests/", Fault::Status(503, ""), ALWAYS), 75),
        (Rule::new("PUT", "/manifests/", Fault::Status(403, ""), ALWAYS), 77),
        (Rule::new("POST", "/blobs/uploads", Fault::Status(403, ""), ALWAYS), 77),
    ];
    for (rule, code) in lasting {
        let (build, _, registry) = push_through(std::slice::from_ref(&rule));
        assert_eq!(build.code, code, "{rule:?}\n{}", build.stderr);
        assert_eq!(build.result("digest"), None, "{rule:?}");
        assert_eq!(registry.digest("app:1"), None, "{rule:?}");
    }
}

#[test]
fn a_base_layer_that_nobody_reads_is_not_downloaded() {
    if !Isolation::Namespace.allowed("faults: lazy base") {
        return;
    }
    let base = bases::base("BASE");
    let proxy = Proxy::start(&registry::shared().address, &[]);
    let through = base.reference.replace(&registry::shared().address, &proxy.address);
    let source = source(&format!("FROM {through}\nLABEL only=metadata\nCMD [\"x\"]\n"), &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(&[
        &format!("--destination={}/lazy/app:1", proxy.address),
        &format!("--insecure-registry={}", proxy.address),
    ]);
    executor.run().expect(0);
    // The config is the one blob that is needed.
    assert!(proxy.count("GET", "/blobs/") <= 1, "{:#?}", proxy.requests());
    assert!(proxy.count("POST", "mount=") >= 1, "{:#?}", proxy.requests());
}

#[test]
fn blobs_that_the_registry_says_it_does_not_know_are_sent_again() {
    if !Isolation::Namespace.allowed("faults: unknown blobs") {
        return;
    }
    let sent = |proxy: &Proxy| proxy.count("PUT", "/blobs/uploads/");
    let (build, proxy, registry) = push_through(&[Rule::new("PUT", "/manifests/", Fault::BlobUnknown, 2)]);
    assert_eq!(build.code, 0, "{}", build.stderr);
    assert_eq!(build.result("digest"), registry.digest("app:1"));
    assert_eq!(sent(&proxy), 6, "the layer and the configuration, three times each: {:#?}", proxy.requests());
    assert!(build.stderr.contains("MANIFEST_BLOB_UNKNOWN") && build.stderr.contains("tried again"), "{}", build.stderr);
    let (build, proxy, _) = push_through(&[Rule::new("PUT", "/manifests/", Fault::BlobUnknown, ALWAYS)]);
    assert_eq!((build.code, build.result("digest")), (75, None), "{}", build.stderr);
    assert_eq!(sent(&proxy), 8, "it has an end: {:#?}", proxy.requests());
}

#[test]
fn each_new_attempt_is_told_with_its_reason() {
    if !Isolation::Namespace.allowed("faults: what is told") {
        return;
    }
    let busy = Rule::new("GET", "/manifests/", Fault::Status(429, "Retry-After: 1\r\n"), 1);
    let (build, _) = pull_through(&[busy, Rule::new("GET", "/blobs/", Fault::Status(503, ""), 1)]);
    build.image().verify();
    for text in ["answered with 429", "answered with 503"] {
        let lines: Vec<&str> = build.stderr.lines().filter(|line| line.contains(text)).collect();
        assert_eq!(lines.len(), 1, "{text}: {}", build.stderr);
        assert!(lines[0].contains("tried again in") && lines[0].contains("attempt 2 of 6"), "{}", lines[0]);
    }
}
