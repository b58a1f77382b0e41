//! A registry of the cache that fails, in every way: told once, given up soon, and the image is what it would be anyway.
//!
//! Requests are counted, not seconds: what is given up is asked no more, however many steps there are.

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::source;

const ALWAYS: usize = usize::MAX;

/// As many attempts as one request is worth.
const ATTEMPTS: usize = 3;

/// How many entries are kept at the same time.
const AT_A_TIME: usize = 4;

fn steps() -> Scratch {
    let copies: String = (0..8).map(|number| format!("COPY file /f{number}\n")).collect();
    source(&format!("FROM $BASE AS other\n{copies}FROM $BASE\nRUN cp /bin/busybox /b\n{copies}"), &[("file", "file\n")])
}

fn build(source: &Scratch, address: &str, flags: &[&str]) -> Build {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let (cache, insecure) = (format!("--cache-repo={address}/cache"), format!("--insecure-registry={address}"));
    executor.only_layout().add(&["--reproducible", "--cache", &cache, &insecure]).add(flags);
    executor.run().expect(0)
}

/// Returns the lines that tell of trouble with the cache.
fn told(build: &Build) -> Vec<&str> {
    build.stderr.lines().filter(|line| line.contains("warning: cache ")).collect()
}

/// A fault of every request of one of these methods.
fn always(methods: &[&'static str], path: &'static str, fault: Fault) -> Vec<Rule> {
    methods.iter().map(|method| Rule::new(method, path, fault, ALWAYS)).collect()
}

#[test]
fn a_registry_that_does_not_answer_is_given_up() {
    if !Isolation::Namespace.allowed("cache: registries that do not answer") {
        return;
    }
    let source = steps();
    let plain = build(&source, &registry::shared().address, &["--cache-mode=ro"]);
    let all: &[&'static str] = &["GET", "HEAD", "POST", "PUT", "PATCH"];
    let asks_to_wait = Fault::Status(429, "Retry-After: 60\r\n");
    let rows: [(&str, Vec<Rule>, usize); 6] = [
        ("503", always(all, "/v2/", Fault::Status(503, "")), ATTEMPTS),
        ("429", always(all, "/v2/", Fault::Status(429, "")), ATTEMPTS),
        ("429 for a minute", always(all, "/v2/", asks_to_wait), 1),
        ("closes connections", always(all, "/v2/", Fault::Drop), ATTEMPTS),
        ("entries fail", always(all, "/cache/", Fault::Status(500, "")), 1 + ATTEMPTS),
        // It is asked by two stages at the same time.
        ("hangs", always(all, "/v2/", Fault::Stall), 2),
    ];
    std::thread::scope(|scope| {
        for (what, rules, most) in &rows {
            let (source, plain) = (&source, &plain);
            scope.spawn(move || {
                let proxy = Proxy::start(&registry::shared().address, rules);
                let build = build(source, &proxy.address, &["--jobs=2"]);
                assert_eq!(told(&build).len(), 1, "{what}: {}", build.stderr);
                assert!(proxy.requests().len() <= *most, "{what}: {:#?}", proxy.requests());
                assert_eq!(build.image().digest, plain.image().digest, "{what}");
            });
        }
        let nobody = registry::free_address();
        let build = build(&source, &nobody, &[]);
        assert_eq!(told(&build).len(), 1, "nobody listens: {}", build.stderr);
        assert_eq!(build.image().digest, plain.image().digest);
    });
}

#[test]
fn a_registry_that_cannot_be_written_is_not_asked_for_each_step() {
    if !Isolation::Namespace.allowed("cache: registries that take nothing") {
        return;
    }
    let source = steps();
    for (what, fault) in [("503", Fault::Status(503, "")), ("403", Fault::Status(403, "")), ("closes", Fault::Drop)] {
        let registry = Registry::plain();
        let proxy = Proxy::start(&registry.address, &always(&["POST"], "/cache/", fault));
        let build = build(&source, &proxy.address, &[]);
        assert_eq!(told(&build).len(), 1, "{what}: {}", build.stderr);
        let asked = proxy.count("POST", "/cache/");
        assert!(asked <= ATTEMPTS * AT_A_TIME, "{what}: {asked} times");
        assert_eq!(proxy.count("PUT", "/cache/"), 0, "{what}");
    }
}

#[test]
fn layers_that_cannot_be_fetched_are_made_again() {
    if !Isolation::Namespace.allowed("cache: layers that cannot be fetched") {
        return;
    }
    let (source, registry) = (steps(), Registry::plain());
    let first = build(&source, &registry.address, &[]);
    let proxy = Proxy::start(&registry.address, &always(&["GET"], "/cache/blobs/", Fault::Status(503, "")));
    let second = build(&source, &proxy.address, &[]);
    assert_eq!(second.image().digest, first.image().digest);
    second.image().verify();
    assert_eq!(told(&second).len(), 1, "{}", second.stderr);
    // Several at a time before that shows, and one when it is asked again.
    let asked = proxy.count("GET", "/cache/blobs/");
    assert!(asked <= ATTEMPTS * (AT_A_TIME + 1), "{asked} times");
}

#[test]
fn a_cache_is_not_given_up_for_a_blob_that_its_registry_does_not_know_yet() {
    if !Isolation::Namespace.allowed("cache: unknown blobs") {
        return;
    }
    let (source, registry) =
        (source("FROM $BASE\nRUN echo ran\nCOPY file /file\n", &[("file", "file\n")]), Registry::plain());
    let proxy = Proxy::start(&registry.address, &[Rule::new("PUT", "/manifests/", Fault::BlobUnknown, 2)]);
    let first = build(&source, &proxy.address, &[]);
    assert_eq!(told(&first), Vec::<&str>::new(), "{}", first.stderr);
    let second = build(&source, &registry.address, &[]);
    assert!(!second.stderr.contains("MISS") && second.image().digest == first.image().digest, "{}", second.stderr);
}
