//! Pushing to real registries: credentials over TLS, several destinations, refusals before any work.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::registry::{PASSWORD, Registry};
use crate::support::source::{one_file, one_run, source};

#[test]
fn credentials_over_tls_with_an_own_ca() {
    let registry = Registry::secured();
    let source = one_run();
    for isolation in Isolation::ALL {
        if !isolation.allowed("push: credentials over TLS") {
            continue;
        }
        let name = format!("{}/app:1", isolation.name());
        let mut executor = Executor::new(isolation, source.path());
        executor.push_secured(&registry, &name, PASSWORD).output("--digest-file", "digest");
        let build = executor.run().expect(0);
        assert_eq!(build.result("digest"), registry.digest(&name), "{}", isolation.name());
    }
}

#[test]
fn pull_with_credentials_over_tls() {
    if !Isolation::Namespace.allowed("push: pull with credentials") {
        return;
    }
    let registry = Registry::secured();
    let base = one_file();
    let mut executor = Executor::new(Isolation::Namespace, base.path());
    executor.push_secured(&registry, "base:1", PASSWORD).run().expect(0);
    let derived = source(&format!("FROM {}/base:1\nCOPY more /more\n", registry.address), &[("more", "more\n")]);
    let mut executor = Executor::new(Isolation::Namespace, derived.path());
    executor.push_secured(&registry, "derived:1", PASSWORD).run().expect(0);
    assert!(registry.digest("derived:1").is_some());
}

#[test]
fn two_destinations_get_one_digest() {
    if !Isolation::Namespace.allowed("push: two destinations") {
        return;
    }
    let [first, second] = [Registry::plain(), Registry::plain()];
    let source = one_run();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&first, "a/app:1").push_plain(&first, "b:2").push_plain(&second, "c/d/e:3");
    let build = executor.output("--digest-file", "digest").run().expect(0);
    let digest = build.result("digest");
    assert!(digest.is_some());
    for found in [first.digest("a/app:1"), first.digest("b:2"), second.digest("c/d/e:3")] {
        assert_eq!(found, digest);
    }
}

#[test]
fn a_refused_password_ends_the_build_before_it_starts() {
    let registry = Registry::secured();
    let source = source("FROM $BASE\nRUN echo must not run\n", &[]);
    for isolation in Isolation::ALL {
        if !isolation.allowed("push: refused password") {
            continue;
        }
        let mut executor = Executor::new(isolation, source.path());
        executor.push_secured(&registry, "app:1", "wrong password").output("--digest-file", "digest");
        let build = executor.run().expect(77);
        assert!(!build.stderr.contains("must not run\n"), "the RUN ran:\n{}", build.stderr);
        assert_eq!(build.result("digest"), None);
    }
}

#[test]
fn no_credentials_at_all_is_denied_too() {
    if !Isolation::Namespace.allowed("push: no credentials") {
        return;
    }
    let registry = Registry::secured();
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(&[&format!("--destination={}/app:1", registry.address), "--skip-tls-verify"]);
    executor.run().expect(77);
}

#[test]
fn an_unknown_ca_is_not_trusted() {
    if !Isolation::Namespace.allowed("push: unknown CA") {
        return;
    }
    let registry = Registry::secured();
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(&[&format!("--destination={}/app:1", registry.address)]);
    let build = executor.run();
    assert_ne!(build.code, 0);
    assert!(build.stderr.contains("certificate"), "{}", build.stderr);
}

#[test]
fn a_second_push_uploads_nothing_new() {
    if !Isolation::Namespace.allowed("push: twice") {
        return;
    }
    let registry = Registry::plain();
    let source = one_file();
    let digests: Vec<_> = (0..2)
        .map(|_| {
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.env("SOURCE_DATE_EPOCH", "1700000000").push_plain(&registry, "app:1");
            executor.run().expect(0);
            registry.digest("app:1")
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}
