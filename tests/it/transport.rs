//! Networks in their worst state, and mirrors: what arrives is whole, and little is sent twice.

use crate::support::executor::Executor;
use crate::support::flaky::Flaky;
use crate::support::isolation::Isolation;
use crate::support::proxy::Proxy;
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{noise, one_file, source};

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

/// Lets `place` stand in for a registry, so that the registry itself is not pulled from; both speak plain HTTP.
fn replace(executor: &mut Executor, registry: &str, place: &str, by_file: bool) {
    if by_file {
        let text = format!("[[registry]]\nprefix = '{registry}'\nlocation = '{place}'\ninsecure = true\n");
        let file = executor.credential("registries.conf", text);
        executor.add(&[&format!("--registries-conf={file}"), &format!("--insecure-registry={place}")]);
    } else {
        executor.add(&[&format!("--registry-map={registry}={place}"), "--skip-default-registry-fallback"]);
        executor.add(&[&format!("--insecure-registry={registry}"), &format!("--insecure-registry={place}")]);
    }
}

#[test]
fn a_cache_in_a_registry_with_a_mirror_is_read_where_it_is_written() {
    if !Isolation::Namespace.allowed("transport: a cache in a registry with a mirror") {
        return;
    }
    let text = "FROM scratch AS made\nCOPY file /file\nFROM scratch\nCOPY --from=made /file /copied\nCOPY file /more\n";
    let source = source(text, &[("file", "content\n")]);
    for by_file in [true, false] {
        let (registry, mirror) = (Registry::plain(), Registry::plain());
        let (cache, pushed) = (registry.repository("cache"), mirror.repository("app:1"));
        let run = |flags: &[&str]| {
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            replace(&mut executor, &registry.address, &mirror.address, by_file);
            executor.add(&["--cache", &format!("--cache-repo={cache}")]).add(flags);
            executor.output("--oci-layout-path", "layout").run().expect(0)
        };
        run(&["--no-push"]);
        // What is found is read for a layout, and brought to another registry.
        for flags in [&["--no-push"][..], &[&format!("--destination={pushed}")]] {
            let build = run(flags);
            let found = build.stderr.matches("Using caching version of cmd: COPY").count();
            assert!(found == 3 && !build.stderr.contains("warning"), "{by_file} {flags:?}: {}", build.stderr);
            build.image().verify();
        }
        assert!(mirror.digest("app:1").is_some());
    }
}

#[test]
fn an_image_that_exists_is_looked_for_at_its_destination_and_not_at_a_mirror() {
    if !Isolation::Namespace.allowed("transport: existing images and a mirror") {
        return;
    }
    let source = one_file();
    for by_file in [true, false] {
        let (registry, mirror) = (Registry::plain(), Registry::plain());
        for (name, is_there) in [("app:1", false), ("app:2", true)] {
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            replace(&mut executor, &registry.address, &mirror.address, by_file);
            executor.add(&["--skip-existing", &format!("--destination={}", registry.repository(name))]);
            let build = executor.output("--digest-file", "digest").run().expect(0);
            assert_eq!(build.stderr.contains("already built"), is_there, "{by_file}: {}", build.stderr);
            assert_eq!(build.result("digest"), registry.digest(name));
        }
    }
}

#[test]
fn a_second_destination_gets_its_layers_from_the_first_and_not_from_its_mirror() {
    if !Isolation::Namespace.allowed("transport: two destinations and a mirror") {
        return;
    }
    for by_file in [true, false] {
        let (registry, mirror, other) = (Registry::plain(), Registry::plain(), Registry::plain());
        let base = one_file();
        Executor::new(Isolation::Namespace, base.path()).push_plain(&mirror, "team/base:1").run().expect(0);
        let text = format!("FROM {}\nCOPY more /more\n", registry.repository("team/base:1"));
        let derived = source(&text, &[("more", "more\n")]);
        let proxy = Proxy::start(&mirror.address, &[]);
        let mut executor = Executor::new(Isolation::Namespace, derived.path());
        replace(&mut executor, &registry.address, &proxy.address, by_file);
        let first = format!("--destination={}", registry.repository("app:1"));
        executor.add(&[&first]).push_plain(&other, "app:1").run().expect(0);
        let digest = registry.digest("app:1");
        assert!(digest.is_some() && other.digest("app:1") == digest);
        assert_eq!(proxy.count("GET", "/v2/app/"), 0, "{:?}", proxy.requests());

        // What came by way of the mirror can be mounted there: the new layer and the configuration are sent.
        let mut executor = Executor::new(Isolation::Namespace, derived.path());
        replace(&mut executor, &registry.address, &proxy.address, by_file);
        executor.add(&[&format!("--destination={}/derived:1", proxy.address)]).run().expect(0);
        assert!(mirror.digest("derived:1").is_some());
        let sent = proxy.count("PUT", "/v2/derived/blobs/uploads/");
        assert_eq!((proxy.count("POST", "from=team%2Fbase"), sent), (1, 2), "{:?}", proxy.requests());
    }
}
