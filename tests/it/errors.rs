//! What a user reads when it fails, and the exit code a pipeline decides by.

use std::process::Command;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::source::{one_file, source};

/// Flags the executor must refuse, each with a word the message must hold.
const WRONG_USAGE: &[(&[&str], &str)] = &[
    (&["--no-such-flag"], "no-such-flag"),
    (&["--no-push", "--compression=lzw"], "lzw"),
    (&["--no-push", "--isolation=wishful"], "wishful"),
    (&["--destination=registry.invalid/UPPER:1"], "UPPER"),
    (&["--destination=registry.invalid/app@sha256:0000"], "destination"),
    (&[], "destination"),
    (&["--no-push", "--build-arg"], "build-arg"),
    (&["--no-push", "--label=novalue"], "novalue"),
    (&["--no-push", "--custom-platform=a/b/c/d"], "a/b/c/d"),
    (&["--no-push", "--registry-mirror=http://mirror.invalid"], "registry-mirror"),
    (&["--no-push", "--warmer"], "warmer"),
];

#[test]
fn wrong_usage_is_exit_code_72() {
    if !Isolation::Namespace.allowed("errors: usage") {
        return;
    }
    for (flags, word) in WRONG_USAGE {
        let source = one_file();
        let build = Executor::new(Isolation::Namespace, source.path()).add(flags).run();
        assert_eq!(build.code, 72, "{flags:?}:\n{}", build.stderr);
        assert!(build.stderr.contains(word), "{flags:?}:\n{}", build.stderr);
        assert!(build.stderr.lines().count() < 20, "no page of usage for a wrong flag:\n{}", build.stderr);
    }
}

#[test]
fn an_error_is_told_once_with_its_line() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("errors: told once") {
            continue;
        }
        let source = source("FROM $BASE\n\nRUN echo before; \\\n    exit 42\n", &[]);
        let build = Executor::new(isolation, source.path()).only_layout().run().expect(42);
        assert_eq!(build.stderr.matches("error:").count(), 1, "{}", build.stderr);
        for text in ["Dockerfile:3", "exit status 42", "RUN echo before"] {
            assert!(build.stderr.contains(text), "the log does not say `{text}`:\n{}", build.stderr);
        }
        assert!(!build.stderr.contains("panicked") && !build.stderr.contains("backtrace"), "{}", build.stderr);
    }
}

#[test]
fn a_context_that_is_not_there_is_named() {
    if !Isolation::Namespace.allowed("errors: context") {
        return;
    }
    let source = one_file();
    std::fs::remove_dir_all(source.join("context")).expect("it is there");
    let build = Executor::new(Isolation::Namespace, source.path()).only_layout().run().expect(76);
    assert!(build.stderr.contains("/context"), "{}", build.stderr);
}

#[test]
fn container_isolation_refuses_to_start_on_a_machine() {
    if !Isolation::Namespace.allowed("errors: container isolation outside a container") {
        return;
    }
    // In a root and a pid namespace of its own, with nothing in it to harm, and no sign of a container.
    let root = source("FROM scratch\nCOPY file /file\nRUN [\"/file\"]\n", &[("file", "x")]);
    std::fs::copy(EXECUTOR, root.join("executor")).expect("the executor is built");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "chroot"]).arg(root.path());
    command.args(["/executor", "--isolation=container", "--no-push", "--context=/context", "--dockerfile=/Dockerfile"]);
    let finished = process::run(command.env_clear().env("PATH", "/usr/sbin:/usr/bin"), SHORT);
    assert_eq!(finished.code, 71, "{}", finished.stderr);
    assert!(finished.stderr.contains("--force"), "{}", finished.stderr);
}

#[test]
fn version_and_help_go_to_stdout() {
    for (flag, word) in [("version", env!("CARGO_PKG_VERSION")), ("--help", "--destination")] {
        let text = process::run(Command::new(EXECUTOR).arg(flag), SHORT).success();
        assert!(text.contains(word), "{text}");
    }
}
