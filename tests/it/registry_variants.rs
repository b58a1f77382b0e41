//! Debian's `docker-registry` in its variants, and what stands before it: each takes an image and gives it back, or
//! says in time that it does not.

use std::path::Path;

use crate::support::executor::{Build, Executor};
use crate::support::fronts::{Nginx, REFRESH, Tokens};
use crate::support::isolation::Isolation;
use crate::support::proxy::Proxy;
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{noise, one_file, source};

/// A variant, and how it is proven.
type Row = (&'static str, fn());

const ROWS: &[Row] = &[
    ("plain HTTP", || there_and_back(&Registry::plain(), |executor, registry| insecure(executor, &registry.address))),
    ("TLS with a CA of its own, and passwords", || there_and_back(&Registry::secured(), secured)),
    ("on this machine, with no flag", || {
        let registry = Registry::plain();
        let port = registry.address.rsplit_once(':').expect("it has a port").1;
        for address in [&registry.address, &format!("localhost:{port}"), &format!("cache.localhost:{port}")] {
            through(address, |_| ());
        }
    }),
    ("a certificate that is its own authority", || {
        let registry = Registry::its_own_authority();
        there_and_back(&registry, secured);
        let source = one_file();
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let build = executor.add(&[&format!("--destination={}/app:2", registry.address)]).run().expect(72);
        assert!(build.stderr.contains("--registry-certificate"), "{}", build.stderr);
    }),
    ("a certificate of ours", wants_our_certificate),
    ("tokens for a user with a password", || with_tokens(&format!("\"auth\":\"{}\"", base64(PASSWORD)))),
    ("tokens for a refresh token", || {
        with_tokens(&format!("\"auth\":\"{}\",\"identitytoken\":\"{REFRESH}\"", base64("")));
    }),
    ("HTTP/2 by way of nginx", || by_nginx(false)),
    ("HTTP/2 by way of nginx, and a certificate of ours", || by_nginx(true)),
    ("read only", || {
        let build = refused(&Registry::read_only(), &one_file());
        assert!(build.stderr.contains("405"), "{}", build.stderr);
    }),
    ("a full disk", || {
        let large = source("FROM scratch\nCOPY file /file\n", &[]);
        large.file("context/file", noise(1, 4 << 20));
        let build = refused(&Registry::full(1), &large);
        assert!(build.stderr.contains("/blobs/uploads/"), "{}", build.stderr);
    }),
];

#[test]
fn each_variant_takes_an_image_and_gives_it_back_or_says_no() {
    if !Isolation::Namespace.allowed("registries: variants") {
        return;
    }
    std::thread::scope(|scope| {
        for (variant, prove) in ROWS {
            println!("{variant}");
            scope.spawn(prove);
        }
    });
}

fn base64(password: &str) -> String {
    crate::support::registry::base64(&format!("{}:{password}", crate::support::registry::USER))
}

fn insecure(executor: &mut Executor, address: &str) {
    executor.add(&[&format!("--insecure-registry={address}")]);
}

/// Lets a build in that trusts the registry and knows the password.
fn secured(executor: &mut Executor, registry: &Registry) {
    let config = executor.credential("config.json", registry.docker_config(PASSWORD));
    let directory = Path::new(&config).parent().and_then(Path::to_str).expect("a directory");
    executor.env("DOCKER_CONFIG", directory);
    executor.add(&[&format!("--registry-certificate={}={}", registry.address, registry.ca().display())]);
}

/// Pushes an image, and builds on it.
fn there_and_back(registry: &Registry, let_in: impl Fn(&mut Executor, &Registry)) {
    let digest = through(&registry.address, |executor| let_in(executor, registry));
    assert_eq!(registry.digest("team/app:1"), Some(digest));
}

/// Pushes an image to an address, and builds on it; returns its digest.
fn through(address: &str, let_in: impl Fn(&mut Executor)) -> String {
    let image = one_file();
    let mut executor = Executor::new(Isolation::Namespace, image.path());
    let_in(&mut executor);
    executor.add(&[&format!("--destination={address}/team/app:1")]).output("--digest-file", "digest");
    let digest = executor.run().expect(0).result("digest").expect("a digest");
    let derived = source(&format!("FROM {address}/team/app@{digest}\nCOPY file /more\n"), &[("file", "more\n")]);
    let mut executor = Executor::new(Isolation::Namespace, derived.path());
    let_in(&mut executor);
    executor.only_layout().run().expect(0).image().verify();
    digest
}

/// Proves that a push fails and leaves neither tag nor result.
fn refused(registry: &Registry, source: &Scratch) -> Build {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.push_plain(registry, "app:1").output("--digest-file", "digest").run();
    assert_ne!(build.code, 0);
    assert_eq!((build.result("digest"), registry.digest("app:1")), (None, None));
    build
}

fn wants_our_certificate() {
    let registry = Registry::mutual();
    let identity = |executor: &mut Executor, registry: &Registry| {
        secured(executor, registry);
        let files = ["server.crt", "server.key"].map(|name| executor.credential(name, registry.file(name)));
        executor.add(&[&format!("--registry-client-cert={}={},{}", registry.address, files[0], files[1])]);
    };
    through(&registry.address, |executor| identity(executor, &registry));
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.push_secured(&registry, "app:2", PASSWORD).output("--digest-file", "digest").run();
    assert!(build.stderr.contains("--registry-client-cert"), "{}", build.stderr);
    assert!(build.code != 0 && build.result("digest").is_none());
}

fn by_nginx(mutual: bool) {
    let registry = Registry::plain();
    let nginx = Nginx::start(&registry.address, mutual);
    let digest = through(&nginx.address, |executor| {
        let ca = executor.credential("ca.crt", nginx.file("ca.crt"));
        executor.add(&[&format!("--registry-certificate={}={ca}", nginx.address)]);
        if mutual {
            let files = ["server.crt", "server.key"].map(|name| executor.credential(name, nginx.file(name)));
            executor.add(&[&format!("--registry-client-cert={}={},{}", nginx.address, files[0], files[1])]);
        }
    });
    assert_eq!(registry.digest("team/app:1"), Some(digest));
    let requests = nginx.requests();
    println!("nginx: {} requests, the last: {:?}", requests.len(), requests.last());
    assert!(requests.iter().any(|line| line == "HTTP/2.0 PUT 201"), "{requests:#?}");
    assert!(requests.iter().all(|line| line.starts_with("HTTP/2.0 ")), "{requests:#?}");
}

/// A `config.json` with this entry for an address.
fn known_as(executor: &mut Executor, address: &str, entry: &str) {
    let config = executor.credential("config.json", format!("{{\"auths\":{{\"{address}\":{{{entry}}}}}}}"));
    executor.env("DOCKER_CONFIG", Path::new(&config).parent().and_then(Path::to_str).expect("a directory"));
    insecure(executor, address);
}

fn with_tokens(entry: &str) {
    let tokens = Tokens::start(0);
    let registry = Registry::with_tokens(&tokens);
    through(&registry.address, |executor| known_as(executor, &registry.address, entry));
    let grants = tokens.grants();
    let count =
        |actions: &str| grants.iter().filter(|line| line.ends_with(&format!("repository:team/app:{actions}"))).count();
    assert_eq!((count("pull,push"), count("pull")), (1, 1), "each is asked for once: {grants:#?}");
}

#[test]
fn a_token_that_ends_during_the_build_is_replaced() {
    if !Isolation::Namespace.allowed("registries: a token that ends") {
        return;
    }
    let tokens = Tokens::start(1);
    let registry = Registry::with_tokens(&tokens);
    let source = source("FROM $BASE\nRUN sleep 5\n", &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    known_as(&mut executor, &registry.address, &format!("\"auth\":\"{}\"", base64(PASSWORD)));
    executor.push_plain(&registry, "app:1").run().expect(0);
    // The question before the build had the first one, whose end nobody told us.
    let grants = tokens.grants();
    let count = grants.iter().filter(|line| line.ends_with("repository:app:pull,push")).count();
    assert_eq!(count, 2, "{grants:#?}");
}

#[test]
fn a_mount_asks_for_both_repositories_at_once() {
    if !Isolation::Namespace.allowed("registries: a token for a mount") {
        return;
    }
    let tokens = Tokens::start(0);
    let registry = Registry::with_tokens(&tokens);
    let proxy = Proxy::start(&registry.address, &[]);
    let entry = format!("\"auth\":\"{}\"", base64(PASSWORD));
    through(&proxy.address, |executor| known_as(executor, &proxy.address, &entry));
    let (puts, before) = (proxy.count("PUT", "/blobs/uploads/"), tokens.grants().len());
    let derived = source(&format!("FROM {}/team/app:1\nCOPY file /more\n", proxy.address), &[("file", "more\n")]);
    let mut executor = Executor::new(Isolation::Namespace, derived.path());
    known_as(&mut executor, &proxy.address, &entry);
    executor.add(&[&format!("--destination={}/other:1", proxy.address)]).run().expect(0);
    let grants = &tokens.grants()[before..];
    let both = "builder repository:other:pull,push repository:team/app:pull";
    assert_eq!(grants.iter().filter(|line| *line == both).count(), 1, "{grants:#?}");
    assert_eq!(proxy.count("POST", "mount="), 1, "{:#?}", proxy.requests());
    assert_eq!(proxy.count("PUT", "/blobs/uploads/") - puts, 2, "the layer of the base is not sent");
}

#[test]
fn nobody_gets_what_is_public_and_no_more() {
    if !Isolation::Namespace.allowed("registries: tokens for nobody") {
        return;
    }
    let tokens = Tokens::start(0);
    let registry = Registry::with_tokens(&tokens);
    let image = one_file();
    let mut executor = Executor::new(Isolation::Namespace, image.path());
    known_as(&mut executor, &registry.address, &format!("\"auth\":\"{}\"", base64(PASSWORD)));
    executor.push_plain(&registry, "public/app:1").push_plain(&registry, "private/app:1").run().expect(0);
    for (name, code) in [("public", 0), ("private", 77)] {
        let derived = source(&format!("FROM {}/{name}/app:1\nLABEL a=b\n", registry.address), &[]);
        let mut executor = Executor::new(Isolation::Namespace, derived.path());
        insecure(&mut executor, &registry.address);
        let build = executor.only_layout().run().expect(code);
        assert_eq!(build.stderr.contains("repository:private/app:pull"), code == 77, "{}", build.stderr);
    }
    let mut executor = Executor::new(Isolation::Namespace, image.path());
    known_as(&mut executor, &registry.address, &format!("\"auth\":\"{}\"", base64("wrong")));
    executor.push_plain(&registry, "app:2").run().expect(77);
}
