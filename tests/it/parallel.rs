//! Stages that do not need each other are built at the same time, where the isolation holds many root file systems.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::bases;
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process::{processes_with, wait_until};
use crate::support::proxy::Proxy;
use crate::support::registry;
use crate::support::source::source;

const LIMIT: Duration = Duration::from_secs(60);

const MANY: [Isolation; 3] = [Isolation::Namespace, Isolation::Mediated, Isolation::Chroot];

fn build(isolation: Isolation, dockerfile: &str, arguments: &[&str]) -> Build {
    let source = source(dockerfile, &[]);
    let mut executor = Executor::new(isolation, source.path());
    executor.only_layout().env("SOURCE_DATE_EPOCH", "1700000000").output("--digest-file", "digest");
    executor.add(arguments).start().wait(LIMIT)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Each of two stages waits for the other: one at a time, in any order, they would not end.
#[test]
fn two_stages_meet() {
    for isolation in MANY {
        if !isolation.allowed("parallel") {
            continue;
        }
        let port = free_port();
        let dockerfile = format!(
            "FROM $BASE AS one
RUN nc -l -p {port} 127.0.0.1 < /dev/null; touch /one
FROM $BASE AS two
RUN until nc 127.0.0.1 {port} < /dev/null; do sleep 0.1; done; touch /two
FROM $BASE
COPY --from=one /one /
COPY --from=two /two /
"
        );
        let build = build(isolation, &dockerfile, &["--jobs=2"]).expect(0);
        assert!(build.stderr.contains("[two 1/1] done"), "{}", build.stderr);
    }
}

/// A stage begins when its base is there; only a step that reads from another stage waits for that, and gives its place to
/// others meanwhile. The first stage ends when the second and the third, one of which waits, have both begun.
#[test]
fn a_step_waits_for_a_stage_and_not_the_whole_stage() {
    for isolation in MANY {
        if !isolation.allowed("parallel: a step waits") {
            continue;
        }
        let ports = [free_port(), free_port()];
        let dockerfile = format!(
            "FROM $BASE AS one
RUN {listen} {}; {listen} {}; touch /one
FROM $BASE AS two
RUN {meet} {}; do sleep 0.1; done
COPY --from=one /one /two
FROM $BASE AS three
RUN {meet} {}; do sleep 0.1; done; touch /three
FROM $BASE
COPY --from=two /two /
COPY --from=three /three /
",
            ports[0],
            ports[1],
            ports[0],
            ports[1],
            listen = "< /dev/null nc -l 127.0.0.1 -p",
            meet = "until < /dev/null nc 127.0.0.1",
        );
        let build = build(isolation, &dockerfile, &["--jobs=2", "-v", "debug"]).expect(0);
        assert!(build.stderr.contains("[two 2/2] waits for one"), "{}", build.stderr);
        let ends = ["[one 1/1] done", "[two 2/2] done"].map(|line| build.stderr.find(line).expect(line));
        assert!(ends[0] < ends[1], "{}", build.stderr);
    }
}

#[test]
fn a_stage_that_fails_ends_the_others() {
    for (number, isolation) in MANY.into_iter().enumerate() {
        if !isolation.allowed("parallel: failure") {
            continue;
        }
        let (port, marker) = (free_port(), format!("sleep 7154{number}"));
        let dockerfile = format!(
            "FROM $BASE AS one
RUN echo there | nc -l -p {port} 127.0.0.1 > /dev/null; {marker}
FROM $BASE AS two
RUN until echo here | nc 127.0.0.1 {port} > /dev/null; do sleep 0.1; done; echo it is me; exit 9
FROM scratch
COPY --from=one / /
COPY --from=two / /
"
        );
        let build = build(isolation, &dockerfile, &["--jobs=2"]).expect(9);
        assert!(build.stderr.contains("Dockerfile:4"), "{}", build.stderr);
        assert_eq!(build.stderr.matches("error:").count(), 1, "{}", build.stderr);
        assert!(wait_until(LIMIT, || processes_with(&marker).is_empty()), "{:?}", processes_with(&marker));
        assert_eq!(build.mounts_left(), [""; 0]);
    }
}

/// Stages that need one base at the same time fetch each of its blobs once.
#[test]
fn a_base_of_several_stages_is_fetched_once() {
    if !Isolation::Namespace.allowed("parallel: one base") {
        return;
    }
    let base = bases::base("BASE").reference;
    let mut digests = Vec::new();
    for jobs in ["1", "3"] {
        let proxy = Proxy::start(&registry::shared().address, &[]);
        let base = base.replace(&registry::shared().address, &proxy.address);
        let stage = |name| format!("FROM {base} AS {name}\nRUN echo {name} > /file\n");
        let copies = "FROM scratch\nCOPY --from=one /file /1\nCOPY --from=two /file /2\nCOPY --from=three /file /3\n";
        let dockerfile = [stage("one"), stage("two"), stage("three"), copies.to_owned()].concat();
        let insecure = format!("--insecure-registry={}", proxy.address);
        let build = build(Isolation::Namespace, &dockerfile, &[&insecure, "--jobs", jobs]).expect(0);
        let blobs: BTreeSet<String> = proxy.requests().into_iter().filter(|line| line.contains("/blobs/")).collect();
        assert_eq!(proxy.count("GET", "/blobs/"), blobs.len(), "{:?}", proxy.requests());
        digests.push(build.result("digest").expect("a digest"));
    }
    assert_eq!(digests[0], digests[1], "one job and several make the same image");
}
