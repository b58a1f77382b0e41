//! Results that a RUN writes, and those of other steps.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::{EXECUTOR, Pod};
use crate::support::process::{self, SHORT};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

/// Makes the directory as Tekton does, for a step of any user.
fn tekton_results() -> Scratch {
    let results = Scratch::new("tekton");
    fs::set_permissions(results.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    results
}

/// Prepares a build that has `results` where Tekton puts them.
fn executor(isolation: Isolation, source: &Scratch, results: &Path) -> Executor {
    match isolation {
        Isolation::Namespace => {
            let mut executor = Executor::new(isolation, source.path());
            executor.add(&[&format!("--tekton-results-dir={}", results.display())]);
            executor
        }
        Isolation::Container | Isolation::Chroot | Isolation::Mediated | Isolation::Auto => {
            let mut pod = Pod::plain();
            pod.mount_writable(results, "/tekton/results");
            Executor::in_pod(isolation, pod, source.path())
        }
    }
}

#[test]
fn what_a_run_wrote_into_results_is_gone() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: results of a RUN") {
            continue;
        }
        let results = tekton_results();
        results.file("IMAGES", "registry.example.com/first:1@sha256:11");
        results.file("CHAINS-GIT_COMMIT", "of the step before");
        let source = source(
            "FROM $BASE\n\
             RUN mkdir -p /tekton/results && cd /tekton/results && for name in IMAGE_URL IMAGE_DIGEST IMAGES \
             CHAINS-GIT_URL CHAINS-GIT_COMMIT OTHER; do rm -f $name; echo forged > $name; done; \
             rm IMAGE_REF; ln -s /etc/passwd IMAGE_REF\n",
            &[],
        );
        let mut executor = executor(isolation, &source, results.path());
        // A RUN that writes into a volume fails; elsewhere it writes into its own root.
        executor.only_layout().run().expect(if isolation == Isolation::Container { 71 } else { 0 });
        let read = |name: &str| fs::read_to_string(results.join(name)).ok();
        for name in ["IMAGE_URL", "IMAGE_DIGEST", "IMAGE_REF", "CHAINS-GIT_URL"] {
            assert_eq!(read(name), None, "{name} in {}", isolation.name());
        }
        assert_eq!(read("IMAGES").as_deref(), Some("registry.example.com/first:1@sha256:11"), "of another step");
        assert_eq!(read("CHAINS-GIT_COMMIT").as_deref(), Some("of the step before"));
        let other = (isolation == Isolation::Container).then_some("forged\n");
        assert_eq!(read("OTHER").as_deref(), other, "other names are nobody's business here");
    }
}

#[test]
fn a_run_does_not_write_the_termination_message() {
    if !Isolation::Container.allowed("attacks: termination message of a RUN") {
        return;
    }
    let scratch = Scratch::new("termination");
    let log = scratch.file("log", "");
    let mut pod = Pod::plain();
    pod.mount_writable(&log, "/dev/termination-log");
    let source = source("FROM $BASE\nRUN echo transient: forged > /dev/termination-log\n", &[]);
    Executor::in_pod(Isolation::Container, pod, source.path()).only_layout().run().expect(0);
    assert_eq!(fs::read_to_string(&log).expect("reads"), "");
}

#[test]
fn two_builds_of_one_task_both_stay_in_images() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: two builds of one Task") {
            continue;
        }
        let (registry, results) = (Registry::plain(), tekton_results());
        let source = one_file();
        for name in ["first:1", "second:2"] {
            executor(isolation, &source, results.path()).push_plain(&registry, name).run().expect(0);
        }
        // A build that fails takes nothing away.
        let failing = crate::support::source::source("FROM scratch\nCOPY missing /\n", &[]);
        executor(isolation, &failing, results.path()).push_plain(&registry, "third:3").run().expect(76);
        let image = |name: &str| format!("{}@{}", registry.repository(name), registry.digest(name).expect("pushed"));
        let read = |name: &str| fs::read_to_string(results.join(name)).expect("is there");
        assert_eq!(read("IMAGES"), format!("{}\n{}", image("first:1"), image("second:2")), "{}", isolation.name());
        assert_eq!(read("IMAGE_URL"), registry.repository("second:2"));
        // Another step, of another user, may write them, as kaniko's.
        let mode = fs::metadata(results.join("IMAGE_URL")).expect("stat").permissions().mode() & 0o777;
        assert_eq!(mode, 0o666, "{}", isolation.name());
    }
}

#[test]
fn results_are_counted_as_tekton_does() {
    if !Isolation::Namespace.allowed("attacks: size of results") {
        return;
    }
    let source = one_file();
    let registry = Registry::plain();
    for (words, refused) in [
        ("-step_results IMAGE_URL,IMAGE_DIGEST", false),
        ("-step_results IMAGES,IMAGE_URL,IMAGE_DIGEST,IMAGE_REF", true),
        ("-step_results IMAGES,IMAGE_URL,IMAGE_DIGEST,IMAGE_REF -result_from sidecar-logs", false),
    ] {
        let results = tekton_results();
        let mut command = Command::new("bash");
        // As Tekton's entrypoint stands above the step.
        command.args(["-c", "exec -a /tekton/bin/entrypoint bash -c 'shift $1; \"$@\"; exit $?' 0 \"$@\"", "bash"]);
        let words: Vec<&str> = words.split(' ').collect();
        command.arg((words.len() + 2).to_string()).args(words).arg("--").arg(EXECUTOR);
        command.args(["--isolation=namespace", "--cache=false"]);
        command.arg(format!("--context={}/context", source.path().display()));
        command.arg(format!("--dockerfile={}/Dockerfile", source.path().display()));
        command.arg(format!("--state-dir={}/state", source.path().display()));
        command.arg(format!("--tekton-results-dir={}", results.path().display()));
        command.arg(format!("--insecure-registry={}", registry.address));
        for number in 0..30 {
            command.arg(format!("--destination={}/a/rather/long/repository/name:{number}", registry.address));
        }
        let finished = process::run(&mut command, SHORT);
        assert_eq!(finished.code, if refused { 72 } else { 0 }, "{finished:?}");
    }
}
