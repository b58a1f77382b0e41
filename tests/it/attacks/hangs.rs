//! What must not keep the executor: named pipes, locks of others, endless files; and the end that comes all the same.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::git;
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT, wait_until};
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

/// What a build has to do that never ends: a Dockerfile, and flags in which `$DIR` is the sources' directory.
struct Endless {
    name: &'static str,
    dockerfile: &'static str,
    flags: &'static [&'static str],
    make: fn(&Scratch),
}

const ENDLESS: &[Endless] = &[
    Endless {
        name: "a sparse entry of an archive that ADD unpacks",
        dockerfile: "FROM scratch\nADD sparse.tar /\n",
        flags: &[],
        make: |source| drop(fs::rename(sparse(source), source.join("context/sparse.tar"))),
    },
    Endless {
        name: "a sparse entry of an archive that is the context",
        dockerfile: "FROM scratch\nCOPY . /\n",
        flags: &["--context=tar://$DIR/sparse.tar", "--context-max-size=100T"],
        make: |source| drop(sparse(source)),
    },
    Endless {
        name: "a layer that grows without end when it is unpacked",
        dockerfile: "FROM bomb\nRUN [\"/nothing\"]\n",
        flags: &["--build-context=bomb=oci-layout://$DIR/bomb"],
        make: layer_bomb,
    },
    Endless {
        name: "a Git tree that holds itself many times over",
        dockerfile: "FROM scratch\nCOPY --from=bomb / /\n",
        flags: &["--build-context=bomb=file://$DIR/bomb.git"],
        make: tree_bomb,
    },
];

/// Makes an archive of some kilobytes with a file of 7 TiB.
fn sparse(source: &Scratch) -> PathBuf {
    let script = "truncate -s 7T zeros; tar --sparse -cf sparse.tar zeros; rm zeros";
    process::run(Command::new("sh").args(["-euc", script]).current_dir(source.path()), SHORT).success();
    source.join("sparse.tar")
}

/// Makes an image of one layer, in which some megabytes become a terabyte.
fn layer_bomb(source: &Scratch) {
    const FRAMES: u64 = 1024;
    let directory = source.directory("bomb");
    let mut zeros = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    std::io::copy(&mut std::io::repeat(0).take(1 << 30), &mut zeros).expect("memory");
    let zeros = zeros.finish().expect("memory");
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").expect("short");
    header.set_size(FRAMES << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let mut layer = zstd::encode_all(&header.as_bytes()[..], 1).expect("memory");
    (0..FRAMES).for_each(|_| layer.extend_from_slice(&zeros));
    let mut image = bases::image(&directory, "amd64", &[Vec::new()], &serde_json::json!({}));
    let layer = bases::blob(&directory, &layer, "application/vnd.oci.image.layer.v1.tar+zstd");
    bases::replace_layers(&directory, &mut image, &[layer]);
    bases::layout(&directory, &[image]);
}

/// Makes a repository of some kilobytes in which each tree holds the one below it ten times, twelve deep.
fn tree_bomb(source: &Scratch) {
    let script = "git init -q --bare bomb.git; cd bomb.git
        object=$(echo file | git hash-object -w --stdin) kind='100644 blob'
        for level in 1 2 3 4 5 6 7 8 9 10 11 12; do
            object=$(for name in 0 1 2 3 4 5 6 7 8 9; do printf '%s %s\\t%s\\n' \"$kind\" $object $name; done | git mktree)
            kind='040000 tree'
        done
        git update-ref refs/heads/main $(git commit-tree -m bomb $object); git symbolic-ref HEAD refs/heads/main";
    git::script(source.path(), script);
}

#[test]
fn work_without_end_does_not_outlive_a_signal_or_the_time_that_a_build_has() {
    for endless in ENDLESS {
        let source = source(endless.dockerfile, &[]);
        (endless.make)(&source);
        for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("attacks: work without end")) {
            let mut executor = Executor::new(isolation, source.path());
            let inside = executor.sources();
            executor.only_layout();
            for flag in endless.flags {
                executor.add(&[&flag.replace("$DIR", &inside)]);
            }
            // The clock of the build itself is asked in one isolation: what it does then is the same as at a signal.
            let is_timeout = isolation == Isolation::Namespace;
            if is_timeout {
                executor.add(&["--timeout=2s"]);
            }
            let ongoing = executor.start();
            std::thread::sleep(Duration::from_secs(2));
            let start = Instant::now();
            if !is_timeout {
                ongoing.terminate();
            }
            let build = ongoing.wait(PATIENT);
            let told = format!("{} in {}: {}", endless.name, isolation.name(), build.stderr);
            assert_eq!(build.code, if is_timeout { 124 } else { 143 }, "{told}");
            assert!(start.elapsed() < SOON, "{:?}: {told}", start.elapsed());
            assert!(!build.stderr.contains("was cut off"), "the work itself has ended: {told}");
        }
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
