//! The files a pipeline reads: their exact bytes, and when they are there at all.

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::registry::Registry;
use crate::support::source::{one_file, source};

const FILES: [(&str, &str); 4] = [
    ("--digest-file", "digest"),
    ("--image-name-with-digest-file", "name"),
    ("--image-name-tag-with-digest-file", "name-tag"),
    ("--metadata-file", "metadata.json"),
];

fn ask_for_all(executor: &mut Executor) {
    for (flag, name) in FILES {
        executor.output(flag, name);
    }
}

#[test]
fn files_hold_exact_bytes() {
    if !Isolation::Namespace.allowed("results: exact bytes") {
        return;
    }
    let registry = Registry::plain();
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "first/app:1.0").push_plain(&registry, "second/app");
    ask_for_all(&mut executor);
    let build = executor.run().expect(0);
    let digest = registry.digest("first/app:1.0").expect("it was pushed");
    let address = &registry.address;
    assert_eq!(build.result("digest"), Some(digest.clone()), "no newline at the end");
    let names = format!("{address}/first/app@{digest}\n{address}/second/app@{digest}\n");
    assert_eq!(build.result("name"), Some(names));
    let tagged = format!("{address}/first/app:1.0@{digest}\n{address}/second/app:latest@{digest}\n");
    assert_eq!(build.result("name-tag"), Some(tagged));
    let metadata: Value = serde_json::from_str(&build.result("metadata.json").expect("asked for")).expect("JSON");
    assert!(metadata.to_string().contains(&digest), "{metadata}");
    assert_eq!(build.results(), ["digest", "metadata.json", "name", "name-tag"], "and nothing beside them");
}

#[test]
fn stale_files_are_replaced() {
    if !Isolation::Namespace.allowed("results: stale files") {
        return;
    }
    let registry = Registry::plain();
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1").stale("digest", &"a much longer text of an earlier build ".repeat(9));
    ask_for_all(&mut executor);
    let build = executor.run().expect(0);
    assert_eq!(build.result("digest"), registry.digest("app:1"));
}

#[test]
fn nothing_is_written_on_failure() {
    if !Isolation::Namespace.allowed("results: nothing on failure") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM scratch\nCOPY missing /missing\n", &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1");
    for (_, name) in &FILES[..3] {
        executor.stale(name, "of an earlier build");
    }
    ask_for_all(&mut executor);
    let build = executor.run().expect(76);
    for (_, name) in &FILES[..3] {
        assert_eq!(build.result(name), None, "{name}: neither a new one nor the stale one");
    }
    // The metadata file tells programs about the error.
    let metadata: Value = serde_json::from_str(&build.result("metadata.json").expect("asked for")).expect("JSON");
    assert!(metadata["error"]["kind"].is_string(), "{metadata}");
}

#[test]
fn nothing_is_written_when_the_push_fails() {
    if !Isolation::Namespace.allowed("results: failed push") {
        return;
    }
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    // Nobody listens at port 1.
    executor.add(&["--destination=127.0.0.1:1/app:1", "--insecure-registry=127.0.0.1:1"]);
    ask_for_all(&mut executor);
    let build = executor.run().expect(75);
    for (_, name) in &FILES[..3] {
        assert_eq!(build.result(name), None, "{name}");
    }
}

#[test]
fn a_build_without_push_tells_its_digest() {
    if !Isolation::Namespace.allowed("results: no push") {
        return;
    }
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().output("--digest-file", "nested/digest");
    let build = executor.run().expect(0);
    assert_eq!(build.result("nested/digest"), Some(build.image().digest), "parents are made");
}

#[test]
fn unwritable_result_is_its_own_exit_code() {
    if !Isolation::Namespace.allowed("results: unwritable") {
        return;
    }
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&["--digest-file=/proc/no/such/place"]);
    executor.run().expect(73);
}
