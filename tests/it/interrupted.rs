//! Builds that are told to end: soon, with 143, and leaving nothing behind.

use std::time::{Duration, Instant};

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process::{processes_with, wait_until};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::Registry;
use crate::support::source::{one_file, source};

/// A pod has 30 seconds between SIGTERM and SIGKILL; a build must need a small part of it.
const SOON: Duration = Duration::from_secs(10);
const STARTED: Duration = Duration::from_secs(60);

fn left_nothing(build: &Build) {
    assert_eq!(build.result("digest"), None, "no result of an interrupted build");
    assert_eq!(build.mounts_left(), [""; 0], "mounts left behind");
    let root_files: Vec<_> = build.state_left().into_iter().filter(|path| path.ends_with("bin/busybox")).collect();
    assert_eq!(root_files, [""; 0], "a root file system left behind");
}

#[test]
fn terminated_in_a_run() {
    for (number, isolation) in Isolation::ALL.into_iter().enumerate() {
        if !isolation.allowed("interrupted: RUN") {
            continue;
        }
        let marker = format!("sleep 3154{number}");
        let source = source(&format!("FROM $BASE\nRUN (sleep 3156{number} &) ; {marker}\n"), &[]);
        let mut executor = Executor::new(isolation, source.path());
        let ongoing = executor.only_layout().output("--digest-file", "digest").start();
        // A pod's processes are seen from outside, too. The shell has the marker in its command line, the sleep
        // itself starts with it.
        let begun = || processes_with(&marker).iter().any(|line| line.contains(&format!(" {marker}")));
        assert!(
            wait_until(STARTED, begun),
            "the RUN did not start in {}: {}",
            isolation.name(),
            ongoing.finish().stderr
        );
        let start = Instant::now();
        ongoing.terminate();
        let build = ongoing.wait(SOON * 3).expect(143);
        assert!(start.elapsed() < SOON, "{}: {:?}", isolation.name(), start.elapsed());
        left_nothing(&build);
        for marker in [marker, format!("sleep 3156{number}")] {
            assert!(wait_until(SOON, || processes_with(&marker).is_empty()), "{:?}", processes_with(&marker));
        }
    }
}

#[test]
fn terminated_in_a_push() {
    if !Isolation::Namespace.allowed("interrupted: push") {
        return;
    }
    let registry = Registry::plain();
    let proxy = Proxy::start(&registry.address, &[Rule::new("PUT", "/manifests/", Fault::Stall, usize::MAX)]);
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor
        .add(&[&format!("--destination={}/app:1", proxy.address), &format!("--insecure-registry={}", proxy.address)]);
    let ongoing = executor.output("--digest-file", "digest").start();
    assert!(wait_until(STARTED, || proxy.count("PUT", "/manifests/") > 0), "the push did not start");
    ongoing.terminate();
    let build = ongoing.wait(SOON).expect(143);
    left_nothing(&build);
    assert_eq!(registry.digest("app:1"), None);
}
