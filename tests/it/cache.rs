//! The cache: what is not done again, what is, and that neither a dead build nor a poisoned entry makes a wrong image.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process;
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::source;
use crate::support::steps::places_done as done;

const DOCKERFILE: &str = "FROM $BASE AS tools
RUN echo tool > /tool
FROM $BASE AS made
COPY made /made
RUN cat /made > /result && cat /proc/sys/kernel/random/uuid >> /result
FROM $BASE
ENV A=1
COPY --from=tools /tool /tool
COPY --from=made /made /made
COPY last /last
LABEL x=1
";

fn two_branches() -> Scratch {
    source(DOCKERFILE, &[("made", "made\n"), ("last", "last\n")])
}

/// Builds into a layout with the given flags, and returns the build.
fn build(source: &Scratch, flags: &[&str]) -> Build {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(flags).output("--metadata-file", "metadata.json");
    executor.run().expect(0)
}

fn cache(scratch: &Scratch) -> String {
    format!("--cache-repo=oci:{}", scratch.path().display())
}

#[test]
fn only_what_depends_on_a_change_is_done_again() {
    if !Isolation::Namespace.allowed("cache: dependants") {
        return;
    }
    let (source, scratch) = (two_branches(), Scratch::new("cache"));
    let place = cache(&scratch);
    let flags = ["--cache", &place];
    let first = build(&source, &flags);
    assert_eq!(done(&first), ["tools 1", "made 1", "made 2", "2 2", "2 3", "2 4"]);
    // As a fresh clone: the same files with other times.
    fs::write(source.join("context/last"), "last\n").expect("writes");
    let second = build(&source, &flags);
    assert_eq!(done(&second), [""; 0]);
    assert_eq!(second.image().digest, first.image().digest);
    fs::write(source.join("context/last"), "other\n").expect("writes");
    let third = build(&source, &flags);
    assert_eq!(done(&third), ["2 4"]);
    assert!(third.stderr.contains("MISS because file last changed since 2"), "{}", third.stderr);
    // What the other branch copies is the same file in the end, and so is what copies it from there.
    fs::write(
        source.join("Dockerfile"),
        fs::read_to_string(source.join("Dockerfile")).expect("reads").replace("cat /made >", "cat /made /made >"),
    )
    .expect("writes");
    let fourth = build(&source, &flags);
    assert_eq!(done(&fourth), ["made 2"]);
    assert!(fourth.stderr.contains("MISS because the command changed since 2"), "{}", fourth.stderr);
    assert_eq!(fourth.image().digest, third.image().digest);
}

#[test]
fn the_cache_serves_every_isolation() {
    let (source, scratch) = (two_branches(), Registry::plain());
    let place = format!("--cache-repo={}/cache", scratch.address);
    let mut digests = Vec::new();
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache: isolations")) {
        let mut executor = Executor::new(isolation, source.path());
        executor.only_layout().add(&["--cache", &place, &format!("--insecure-registry={}", scratch.address)]);
        digests.push(executor.output("--digest-file", "digest").run().expect(0).result("digest"));
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn a_registry_moves_no_layer_when_nothing_changed() {
    if !Isolation::Namespace.allowed("cache: registry") {
        return;
    }
    let (source, registry) = (two_branches(), Registry::plain());
    let proxy = Proxy::start(&registry.address, &[]);
    let run = |name: &str| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let repository = format!("--cache-repo={}/cache", proxy.address);
        let destination = format!("--destination={}/{name}", proxy.address);
        let (here, bases) = (format!("--insecure-registry={}", proxy.address), registry::shared().address.clone());
        executor.add(&["--cache", &repository, &destination, &here, &format!("--insecure-registry={bases}")]);
        executor.output("--digest-file", "digest").output("--metadata-file", "metadata.json").run().expect(0)
    };
    let first = run("first:1");
    let before = proxy.requests().len();
    let second = run("second:1");
    assert_eq!(done(&second), [""; 0], "{}", second.stderr);
    assert_eq!(second.result("digest"), first.result("digest"));
    let requests = proxy.requests().split_off(before);
    let moved = |request: &&String| request.starts_with("GET") && request.contains("/blobs/sha256:");
    assert_eq!(requests.iter().find(moved), None, "no blob is read");
    assert!(second.stderr.contains("pulled 0 B of layers"), "{}", second.stderr);
}

fn each_blob(root: &Path, act: fn(&Path)) {
    for entry in fs::read_dir(root.join("blobs/sha256")).expect("lists").flatten() {
        act(&entry.path());
    }
}

#[test]
fn a_poisoned_entry_is_refused_and_made_again() {
    if !Isolation::Namespace.allowed("cache: poison") {
        return;
    }
    type Poison = fn(&Path);
    let rows: [(&str, Poison); 4] = [
        ("changed", |root| {
            each_blob(root, |path| {
                let mut bytes = fs::read(path).expect("reads");
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                }
                fs::write(path, bytes).expect("writes");
            });
        }),
        ("truncated", |root| each_blob(root, |path| fs::write(path, "x").expect("writes"))),
        ("gone", |root| fs::remove_dir_all(root.join("blobs")).expect("removes")),
        ("another key", |root| {
            let entries = fs::read_dir(root.join("entries")).expect("lists").flatten().map(|entry| entry.path());
            let steps: Vec<_> = entries.filter(|path| path.to_string_lossy().contains("step-")).collect();
            let first = fs::read(&steps[0]).expect("reads");
            steps.iter().for_each(|path| fs::write(path, &first).expect("writes"));
        }),
    ];
    let source = source("FROM $BASE\nRUN echo a > /a\nCOPY file /b\n", &[("file", "b\n")]);
    for (what, poison) in rows {
        let scratch = Scratch::new("cache");
        let place = cache(&scratch);
        let flags = ["--cache", &place, "--reproducible"];
        let first = build(&source, &flags);
        poison(scratch.path());
        let second = build(&source, &flags);
        assert!(!done(&second).is_empty(), "{what}: something is made again");
        assert!(second.stderr.contains("refused"), "{what}: {}", second.stderr);
        assert_eq!(second.image().digest, first.image().digest, "{what}");
        second.image().verify();
        let third = build(&source, &flags);
        assert_eq!(done(&third), [""; 0], "{what}: what was made again is kept: {}", third.stderr);
    }
}

#[test]
fn a_namespace_is_read_by_nobody_above_it() {
    if !Isolation::Namespace.allowed("cache: namespaces") {
        return;
    }
    let (source, scratch) = (source("FROM $BASE\nRUN echo a > /a\n", &[]), Scratch::new("cache"));
    let place = cache(&scratch);
    let of = |namespace: &str| build(&source, &["--cache", &place, &format!("--cache-namespace={namespace}")]);
    assert_eq!(done(&of("pr/1")), ["0 1"]);
    assert_eq!(done(&of("pr/1")), [""; 0]);
    assert_eq!(done(&of("pr/2")), ["0 1"], "not beside it");
    assert_eq!(done(&of("")), ["0 1"], "not above it");
    assert_eq!(done(&of("pr/3")), [""; 0], "but below it");
    let read_only = build(&source, &["--cache", &place, "--cache-mode=ro", "--build-arg=x=1"]);
    assert_eq!(done(&read_only), [""; 0]);
}

#[test]
fn a_registry_that_fails_is_told_once_and_changes_nothing() {
    if !Isolation::Namespace.allowed("cache: faults") {
        return;
    }
    let source = two_branches();
    let plain = build(&source, &["--reproducible"]);
    let registry = Registry::secured();
    let rules = [
        Rule::new("GET", "/cache/", Fault::Status(400, ""), 1000),
        Rule::new("POST", "/cache/", Fault::Status(400, ""), 1000),
    ];
    let broken = Proxy::start(&registry::shared().address, &rules);
    for (address, text) in [(&registry.address, "refuse"), (&broken.address, "400")] {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let place = format!("--cache-repo={address}/cache");
        let skip = format!("--skip-tls-verify-registry={}", registry.address);
        let plainly = format!("--insecure-registry={}", broken.address);
        executor.only_layout().add(&["--reproducible", "--cache", &place, &skip, &plainly]);
        let run = executor.run().expect(0);
        let told = run.stderr.lines().filter(|line| line.contains("cache ") && line.contains("cannot be")).count();
        assert!((1..=2).contains(&told), "{text}: {}", run.stderr);
        assert_eq!(run.image().digest, plain.image().digest, "{text}");
    }
}

#[test]
fn many_builds_that_are_killed_leave_whole_entries() {
    if !Isolation::Namespace.allowed("cache: killed builds") {
        return;
    }
    let scratch = Scratch::new("cache");
    let place = cache(&scratch);
    let text: String = (0..6).map(|n| format!("COPY file /f{n}\n")).collect();
    let source = source(&format!("FROM scratch\n{text}"), &[("file", &"content\n".repeat(20_000))]);
    for round in 0..100_u64 {
        let other = round % 5;
        let start = |extra: u64| {
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.only_layout().add(&["--cache", &place, &format!("--cache-ttl={}h", 100 + extra)]);
            executor.add(&["--compression-level", &format!("{}", 1 + other)]).start()
        };
        let both = [start(0), start(1)];
        // Spread over the life of a build, the same in each run of the tests.
        std::thread::sleep(Duration::from_millis(round * 37 % 120));
        for one in both {
            one.signal(Signal::KILL);
            one.finish();
        }
    }
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&["--cache", &place]);
    let last = executor.run().expect(0);
    last.image().verify();
    assert!(!last.stderr.contains("refused"), "{}", last.stderr);
    for entry in fs::read_dir(scratch.join("blobs/sha256")).expect("lists").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            let sum = process::run(std::process::Command::new("sha256sum").arg(entry.path()), process::SHORT).success();
            assert!(sum.starts_with(&name), "{name}: {sum}");
        }
    }
}

#[test]
fn an_image_carries_its_own_cache() {
    if !Isolation::Namespace.allowed("cache: inline") {
        return;
    }
    let (source, registry) = (two_branches(), Registry::plain());
    let run = |flags: &[&str]| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, "app:1").add(&["--cache-inline"]).add(flags);
        executor.output("--digest-file", "digest").output("--metadata-file", "metadata.json").run().expect(0)
    };
    let first = run(&[]);
    let from = format!("--cache-from={}/app:1", registry.address);
    let second = run(&[&from]);
    assert!(done(&second).iter().all(|step| !step.starts_with("2 ") || step == "2 3"), "{:?}", done(&second));
    assert!(second.stderr.contains("Using caching version of cmd: COPY last /last"), "{}", second.stderr);
    assert!(first.result("digest").is_some());
}

#[test]
fn an_image_with_its_own_cache_is_the_same_when_all_was_found() {
    if !Isolation::Namespace.allowed("cache: inline, twice") {
        return;
    }
    // What the first stage makes is another file in each build, but the file that is copied from it is not.
    let text = "FROM $BASE AS base\nRUN echo u > u && cat /proc/sys/kernel/random/uuid > v\n\
                FROM $BASE\nWORKDIR /w\nCOPY --from=base u /\nCOPY file .\n";
    let (source, scratch, registry) = (source(text, &[("file", "x\n")]), Scratch::new("cache"), Registry::plain());
    let directory = cache(&scratch);
    let from = format!("--cache-from={}/app:1", registry.address);
    for (name, flags) in [("both", &["--cache", &*directory][..]), ("inline alone", &[&from])] {
        let run = || {
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.push_plain(&registry, "app:1").add(&["--cache-inline"]).add(flags);
            executor.output("--digest-file", "digest").output("--metadata-file", "metadata.json").run().expect(0)
        };
        let (first, second) = (run(), run());
        assert!(done(&second).iter().all(|step| step.starts_with("base")), "{name}: {:?}", done(&second));
        assert_eq!(second.result("digest"), first.result("digest"), "{name}");
    }
}

#[test]
fn a_build_key_finds_what_is_built_already() {
    if !Isolation::Namespace.allowed("cache: build key") {
        return;
    }
    let (source, registry) = (two_branches(), Registry::plain());
    let run = |name: &str, flags: &[&str]| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, name).add(flags).output("--digest-file", "digest").run().expect(0)
    };
    let key = |flags: &[&str]| run("app:1", &[flags, &["--print-build-key"]].concat()).stdout.trim().to_owned();
    let first = key(&[]);
    assert_eq!(first.len(), 64, "{first}");
    assert_eq!(key(&[]), first);
    for other in
        [&["--build-arg=x=1", "--label=a=b"][..], &["--compression=zstd"], &["--reproducible"], &["--target=made"]]
    {
        assert_ne!(key(other), first, "{other:?}");
    }
    let built = run("app:1", &["--skip-existing"]);
    let again = run("app:2", &["--skip-existing"]);
    assert!(again.stderr.contains("already built"), "{}", again.stderr);
    assert!(!again.stderr.contains("RUN"), "nothing is done: {}", again.stderr);
    assert_eq!(again.result("digest"), built.result("digest"));
    fs::write(source.join("context/last"), "other\n").expect("writes");
    assert_ne!(key(&[]), first);
    assert!(!run("app:3", &["--skip-existing"]).stderr.contains("already built"));
}
