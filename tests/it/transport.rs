//! Networks in their worst state, and mirrors: what arrives is whole, and little is sent twice.

use crate::support::executor::Executor;
use crate::support::flaky::Flaky;
use crate::support::isolation::Isolation;
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{noise, source};

const LAYERS: usize = 12;
const LAYER: usize = 4 << 20;

/// Makes a build of many layers that do not shrink.
fn large() -> Scratch {
    let scratch = Scratch::new("large");
    let mut dockerfile = "FROM scratch\n".to_owned();
    for number in 0..LAYERS {
        let bytes = noise(u64::try_from(number).expect("few"), LAYER);
        scratch.file(&format!("context/{number}"), bytes);
        dockerfile.push_str(&format!("COPY {number} /\n"));
    }
    scratch.file("Dockerfile", dockerfile);
    scratch
}

#[test]
fn a_network_that_fails_all_the_time_costs_little() {
    if !Isolation::Namespace.allowed("transport: a flaky network") {
        return;
    }
    let registry = Registry::plain();
    let flaky = Flaky::start(&registry.address);
    let source = large();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(&[&format!("--destination={}/app:1", flaky.address), "--insecure"]);
    let build = executor.output("--digest-file", "digest").run().expect(0);
    assert_eq!(build.result("digest"), registry.digest("app:1"));
    let (requests, spoilt, bytes) = flaky.counts();
    let image = u64::try_from(LAYERS * LAYER).expect("it is small");
    let percent = bytes * 100 / image;
    println!("flaky push: {requests} requests, {spoilt} spoilt, {bytes} bytes sent for {image}: {percent} %");
    assert!(spoilt >= 9, "too few requests were spoilt to tell: {spoilt} of {requests}");
    assert!(percent <= 120, "{bytes} bytes were sent for an image of {image}");

    // The same way back.
    let derived = self::source(&format!("FROM {}/app:1\nCOPY file /file\n", flaky.address), &[("file", "file\n")]);
    let mut executor = Executor::new(Isolation::Namespace, derived.path());
    executor.only_layout().add(&["--insecure-pull"]);
    let build = executor.run().expect(0);
    build.image().verify();
}

#[test]
fn a_mirror_answers_for_a_registry_and_falls_back() {
    if !Isolation::Namespace.allowed("transport: mirrors") {
        return;
    }
    // The mirror has a path, a password and a certificate of its own.
    let (mirror, origin) = (Registry::secured(), Registry::plain());
    let base = source("FROM scratch\nCOPY file /file\n", &[("file", "of the mirror\n")]);
    let mut executor = Executor::new(Isolation::Namespace, base.path());
    executor.push_secured(&mirror, "hub/team/base:1", PASSWORD).run().expect(0);
    let derived = source("FROM gone.invalid/team/base:1\nCOPY file /more\n", &[("file", "more\n")]);
    let mut executor = Executor::new(Isolation::Namespace, derived.path());
    executor.push_secured(&mirror, "derived:1", PASSWORD);
    executor.add(&[&format!("--registry-map=gone.invalid={}/hub", mirror.address), "--skip-default-registry-fallback"]);
    executor.run().expect(0);
    assert!(mirror.digest("derived:1").is_some());

    // Where the mirror does not have it, the registry itself is asked.
    let base = source("FROM scratch\nCOPY file /file\n", &[("file", "of the origin\n")]);
    let mut executor = Executor::new(Isolation::Namespace, base.path());
    executor.push_plain(&origin, "team/other:1").run().expect(0);
    let text = format!("FROM {}/team/other:1\nCOPY file /more\n", origin.address);
    let derived = source(&text, &[("file", "more\n")]);
    for (flag, code) in [("--skip-default-registry-fallback=false", 0), ("--skip-default-registry-fallback", 76)] {
        let mut executor = Executor::new(Isolation::Namespace, derived.path());
        executor.push_secured(&mirror, "derived:2", PASSWORD);
        executor.add(&[&format!("--insecure-registry={}", origin.address), flag]);
        executor.env("KANIKO_REGISTRY_MAP", &format!("{}={}/hub", origin.address, mirror.address));
        let build = executor.run().expect(code);
        assert!(build.stderr.contains("/hub/team/other"), "{}", build.stderr);
    }
}
