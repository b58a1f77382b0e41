//! RUNs that use system calls which no container engine gives to a container.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::{self, SHORT};
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Compiles the program that tries them; a linker is there, since this test was linked.
fn probe() -> Vec<u8> {
    let scratch = Scratch::new("probe");
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/probe.c");
    let mut command = Command::new("cc");
    process::run(command.args(["-static", "-Wall", "-o"]).arg(scratch.join("probe")).arg(text), SHORT).success();
    fs::read(scratch.join("probe")).expect("it was made")
}

#[test]
fn a_run_has_the_system_calls_of_a_container_and_no_more() {
    let source = source("FROM $BASE\nCOPY --chmod=755 probe /probe\nRUN /probe\n", &[]);
    source.file("context/probe", probe());
    // On a machine without any filter, in a pod that may do more than RUN, and in one that has its own.
    if Isolation::Namespace.allowed("attacks: system calls") {
        Executor::new(Isolation::Namespace, source.path()).only_layout().run().expect(0);
    }
    if Isolation::Container.allowed("attacks: system calls in a pod") {
        for (isolation, pod) in
            [(Isolation::Namespace, Pod::without_user_namespaces()), (Isolation::Container, Pod::plain())]
        {
            Executor::in_pod(isolation, pod, source.path()).only_layout().run().expect(0);
        }
    }
}

#[test]
fn a_pod_without_a_filter_is_told_that_run_has_none() {
    if !Isolation::Container.allowed("attacks: no filter") {
        return;
    }
    let source = source("FROM $BASE\nRUN true\n", &[]);
    for (pod, expected) in [(Pod::unconfined(), true), (Pod::plain(), false)] {
        let build = Executor::in_pod(Isolation::Container, pod, source.path()).only_layout().run().expect(0);
        assert_eq!(build.stderr.contains("RUN has no seccomp filter"), expected, "{}", build.stderr);
    }
}
