//! What must not keep the executor: named pipes, locks of others, endless files; and the end that comes all the same.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::process::wait_until;
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

/// Within this the executor has ended, whatever it was doing.
const SOON: Duration = Duration::from_secs(10);
/// What a machine under load may take for the build itself.
const PATIENT: Duration = Duration::from_secs(60);

fn fifo(path: &Path) {
    let _nothing_was_there = fs::remove_file(path);
    let made = Command::new("mkfifo").arg("-m").arg("666").arg(path).status().expect("mkfifo is there");
    assert!(made.success(), "{}", path.display());
}

#[test]
fn a_named_pipe_in_the_place_of_a_dockerfile_is_refused() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: Dockerfile that is a named pipe") {
            continue;
        }
        for name in ["Dockerfile", "Dockerfile.dockerignore"] {
            let source = one_file();
            fifo(&source.join(name));
            let build = Executor::new(isolation, source.path()).only_layout().start().wait(PATIENT).expect(76);
            assert!(build.stderr.contains("a named pipe"), "{}", build.stderr);
        }
    }
}

#[test]
fn a_named_pipe_that_nobody_reads_is_no_result() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: result that is a named pipe") {
            continue;
        }
        let volume = Scratch::new("volume");
        fifo(&volume.join("digest"));
        let source = one_file();
        let mut executor = Executor::new(isolation, source.path());
        let inside = executor.shared_directory(volume.path());
        executor.only_layout().add(&[&format!("--digest-file={inside}/digest")]);
        let build = executor.start().wait(PATIENT).expect(73);
        assert!(build.stderr.contains("nobody reads"), "{}", build.stderr);
    }
}

#[test]
fn named_pipes_and_locks_beside_the_state_directory_keep_nobody() {
    if !Isolation::Namespace.allowed("attacks: state directory") {
        return;
    }
    let shared = Scratch::new("state");
    fifo(&shared.join("yadokari-0123456789abcdef"));
    let parent = File::open(shared.path()).expect("opens");
    flock(&parent, FlockOperation::LockExclusive).expect("nobody else has it");
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().env("KANIKO_DIR", &shared.path().display().to_string());
    executor.replace_state(&shared.join("yadokari-1123456789abcdef"));
    executor.start().wait(PATIENT).expect(0);
}

#[test]
fn a_thread_that_hangs_does_not_outlive_the_end_of_the_build() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: a thread that hangs") {
            continue;
        }
        for (is_timeout, code) in [(false, 143), (true, 124)] {
            let volume = Scratch::new("volume");
            fifo(&volume.join("context.tar"));
            let source = one_file();
            let mut executor = Executor::new(isolation, source.path());
            let inside = executor.shared_directory(volume.path());
            executor.only_layout().add(&[&format!("--build-context=other=tar://{inside}/context.tar")]);
            executor.output("--metadata-file", "metadata.json");
            if is_timeout {
                executor.add(&["--timeout=2s"]);
            }
            let start = Instant::now();
            let ongoing = executor.start();
            let mut asked = start + Duration::from_secs(2);
            if !is_timeout {
                // It is in the named pipe when somebody could write into it.
                let opened = || {
                    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
                    let path = volume.join("context.tar");
                    let opened = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
                    // Closed at once, that would be the end of the archive.
                    opened.map(std::mem::forget).is_ok()
                };
                assert!(wait_until(PATIENT, opened), "the context is not opened");
                asked = Instant::now();
                ongoing.terminate();
            }
            let build = ongoing.wait(PATIENT).expect(code);
            let room = if is_timeout { SOON * 2 } else { SOON };
            assert!(asked.elapsed() < room, "{}: {:?}", isolation.name(), asked.elapsed());
            let metadata = build.result("metadata.json").expect("it tells programs of the end");
            assert!(metadata.contains(if is_timeout { "timeout" } else { "terminated" }), "{metadata}");
        }
    }
}

#[test]
fn an_endless_file_of_a_run_does_not_outlive_a_signal() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: an endless file") {
            continue;
        }
        let volume = Scratch::new("volume");
        let source = source("FROM $BASE\nRUN dd if=/dev/null of=/big bs=1M seek=4000000 count=0\n", &[]);
        let mut executor = Executor::new(isolation, source.path());
        let inside = executor.shared_directory(volume.path());
        let ongoing = executor.only_layout().env("ARGO_PROGRESS_FILE", &format!("{inside}/progress")).start();
        // From the plan on it takes a moment until the RUN is over.
        assert!(wait_until(PATIENT, || volume.join("progress").exists()), "nothing is planned");
        std::thread::sleep(Duration::from_secs(4));
        let start = Instant::now();
        ongoing.terminate();
        ongoing.wait(PATIENT).expect(143);
        assert!(start.elapsed() < SOON, "{}: {:?}", isolation.name(), start.elapsed());
    }
}

#[test]
fn a_second_signal_leaves_the_container_its_files() {
    if !Isolation::Container.allowed("attacks: a second signal") {
        return;
    }
    let source = source("FROM $BASE\nRUN trap '' TERM; touch /started; sleep 100000\n", &[]);
    let mut executor = Executor::new(Isolation::Container, source.path());
    // Of the shell's programs only what is built in works while `/` is the image's.
    let build = executor.only_layout().run_script(
        "/kaniko/executor \"$@\" & pid=$!; while [ ! -e /started ]; do :; done; \
         kill -TERM $pid; kill -TERM $pid; wait $pid; code=$?; \
         [ -x /busybox/busybox ] && [ ! -e /started ] && [ ! -e /.yadokari-aside ] && echo all is back; exit $code",
    );
    assert!(build.stdout.contains("all is back"), "{}{}", build.stdout, build.stderr);
    assert_eq!(build.code, 143, "{}", build.stderr);
}
