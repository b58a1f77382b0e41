//! Registries in their variants and networks in their worst state: what arrives is whole, and little is sent twice.

use crate::support::executor::Executor;
use crate::support::flaky::Flaky;
use crate::support::isolation::Isolation;
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

const LAYERS: usize = 12;
const LAYER: usize = 4 << 20;

/// Makes a build of many layers that do not shrink.
fn large() -> Scratch {
    let scratch = Scratch::new("large");
    let mut dockerfile = "FROM scratch\n".to_owned();
    let mut state = 1_u64;
    for number in 0..LAYERS {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(LAYER)
        .collect();
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
fn what_a_registry_cannot_take_is_told_in_time() {
    if !Isolation::Namespace.allowed("transport: read-only registry") {
        return;
    }
    let source = one_file();
    let registry = Registry::read_only();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.push_plain(&registry, "app:1").output("--digest-file", "digest").run();
    assert_ne!(build.code, 0);
    assert!(build.stderr.contains("405"), "{}", build.stderr);
    assert_eq!(build.result("digest"), None);
}

#[test]
fn a_full_registry_gets_no_tag() {
    if !Isolation::Namespace.allowed("transport: full registry") {
        return;
    }
    let source = large();
    let registry = Registry::full(1024);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.push_plain(&registry, "app:1").output("--digest-file", "digest").run();
    assert_ne!(build.code, 0);
    assert!(build.stderr.contains("/blobs/uploads/"), "{}", build.stderr);
    assert_eq!((build.result("digest"), registry.digest("app:1")), (None, None));
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

#[test]
fn a_registry_that_wants_our_certificate() {
    if !Isolation::Namespace.allowed("transport: client certificates") {
        return;
    }
    let registry = Registry::mutual();
    let source = one_file();
    let push = |name: &str, with: bool| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_secured(&registry, name, PASSWORD);
        if with {
            let files = ["server.crt", "server.key"].map(|name| executor.credential(name, registry.file(name)));
            executor.add(&[&format!("--registry-client-cert={}={},{}", registry.address, files[0], files[1])]);
        }
        executor.add(&["--timeout=30s"]).output("--digest-file", "digest").run()
    };
    assert!(push("app:1", true).expect(0).result("digest").is_some());
    let refused = push("app:2", false);
    assert!(refused.stderr.contains("--registry-client-cert"), "{}", refused.stderr);
    assert!(refused.code != 0 && refused.result("digest").is_none());
}
