//! RUNs that send signals to what is around them: the build ends loudly, and nothing of it lives on.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::source::source;

/// The isolations in which RUN and the executor see each other's processes.
const SHARED: [Isolation; 2] = [Isolation::Container, Isolation::Chroot];

/// Builds with a shell as the first process, and then lists what still runs.
const SCRIPT: &str = "echo mine > /mine; /kaniko/executor \"$@\"; code=$?; cat /mine; /busybox/busybox ps; exit $code";

#[test]
fn a_run_that_signals_the_first_process_ends_the_build_and_is_told() {
    for isolation in SHARED {
        if !isolation.allowed("attacks: signals to PID 1") {
            continue;
        }
        let source = source("FROM $BASE\nRUN kill -TERM 1; kill -TERM 1; sleep 9; echo survived > /survived\n", &[]);
        let build = Executor::new(isolation, source.path()).only_layout().run().expect(143);
        assert!(build.stderr.contains("RUN sent SIGTERM to the executor"), "{}", build.stderr);
        assert!(build.stderr.contains("Dockerfile:2"), "{}", build.stderr);
    }
}

#[test]
fn a_run_that_signals_all_processes_leaves_the_container_as_it_was() {
    for isolation in SHARED {
        if !isolation.allowed("attacks: signals to all") {
            continue;
        }
        for (signal, code) in [("HUP", 129), ("USR1", 138)] {
            let text = format!("FROM $BASE\nRUN sleep 31561 & kill -{signal} -1; sleep 9; echo after\n");
            let source = source(&text, &[]);
            let mut executor = Executor::new(isolation, source.path());
            let build = executor.only_layout().run_script(SCRIPT).expect(code);
            assert!(build.stderr.contains(&format!("RUN sent SIG{signal} to the executor")), "{}", build.stderr);
            assert!(build.stdout.starts_with("mine\n"), "{}{}", build.stdout, build.stderr);
            assert!(!build.stdout.contains("sleep"), "{}", build.stdout);
        }
    }
}

#[test]
fn what_a_run_leaves_by_killing_init_ends_with_the_build() {
    for isolation in SHARED {
        if !isolation.allowed("attacks: init killed") {
            continue;
        }
        let text = "FROM $BASE\nRUN (setsid sleep 31562 &); sleep 31563 & kill -KILL $PPID; sleep 31564; echo after\n";
        let source = source(text, &[]);
        let mut executor = Executor::new(isolation, source.path());
        let build = executor.only_layout().run_script(SCRIPT).expect(137);
        assert!(build.stderr.contains("was killed by signal 9"), "{}", build.stderr);
        assert!(build.stderr.contains("Dockerfile:2"), "{}", build.stderr);
        assert!(build.stdout.starts_with("mine\n") && !build.stdout.contains("sleep"), "{}", build.stdout);
    }
}

#[test]
fn processes_that_cannot_be_ended_are_told_with_the_missing_right() {
    for isolation in SHARED {
        if !isolation.allowed("attacks: no CAP_KILL") {
            continue;
        }
        let mut pod = Pod::strict();
        pod.add(&["--cap-drop=ALL", "--cap-add=CHOWN,DAC_OVERRIDE,FOWNER,SETUID,SETGID,SYS_CHROOT"]);
        let source = source("FROM $BASE\nRUN touch /dev/null\nUSER 1000\nRUN sleep 31565 & true\n", &[]);
        let mut executor = Executor::in_pod(isolation, pod, source.path());
        let build = executor.only_layout().run().expect(71);
        assert!(build.stderr.contains("(sleep) of user 1000"), "{}", build.stderr);
        assert!(build.stderr.contains("no CAP_KILL; add KILL"), "{}", build.stderr);
    }
}
