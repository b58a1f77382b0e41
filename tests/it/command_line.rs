//! The command line's own manners: arguments from files, time limits, no network, the caller's trace.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::image::json_file;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::{processes_with, wait_until};
use crate::support::source::{one_file, source};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_build_ends_when_its_time_is_over() {
    for (number, isolation) in Isolation::ALL.into_iter().enumerate() {
        if !isolation.allowed("command line: --timeout") {
            continue;
        }
        let marker = format!("sleep 3254{number}");
        let source = source(&format!("FROM $BASE\nRUN (sleep 3256{number} &) ; {marker}\n"), &[]);
        let mut executor = Executor::new(isolation, source.path());
        executor.only_layout().output("--digest-file", "digest").output("--metadata-file", "metadata");
        let start = Instant::now();
        let build = executor.add(&["--timeout", "3s"]).run().expect(124);
        assert!(start.elapsed() < SOON * 3, "{}: {:?}", isolation.name(), start.elapsed());
        assert_eq!(json_file(&build.path("metadata"))["error"]["kind"], "timeout");
        assert_eq!((build.result("digest"), build.mounts_left()), (None, vec![]));
        for marker in [marker, format!("sleep 3256{number}")] {
            assert!(wait_until(SOON, || processes_with(&marker).is_empty()), "{:?}", processes_with(&marker));
        }
    }
}

#[test]
fn a_build_that_is_in_time_is_not_disturbed() {
    if !Isolation::Namespace.allowed("command line: --timeout in time") {
        return;
    }
    let source = one_file();
    Executor::new(Isolation::Namespace, source.path()).only_layout().add(&["--timeout=10m"]).run().expect(0);
}

#[test]
fn without_a_network_a_layout_is_a_base() {
    for isolation in [Isolation::Container, Isolation::Chroot] {
        if !isolation.allowed("command line: --offline") {
            continue;
        }
        let base = source("FROM $BASE\nENV FROM=layout\n", &[]);
        let base = Executor::new(Isolation::Namespace, base.path()).only_layout().run().expect(0);
        let source = source("FROM example.com/base:1\nCOPY file /file\nRUN test $FROM = layout\n", &[("file", "x")]);
        let mut pod = Pod::plain();
        pod.mount(&base.path("layout"), "/bases");
        let mut executor = Executor::in_pod(isolation, pod.without_network(), source.path());
        executor.add(&["--offline", "--no-push", "--build-context=example.com/base:1=oci-layout:///bases"]);
        let build = executor.output("--oci-layout-path", "layout").run().expect(0);
        assert_eq!(build.image().config["config"]["Env"][1], "FROM=layout");
    }
}

#[test]
fn what_needs_a_network_is_refused_with_its_line_before_anything_runs() {
    if !Isolation::Namespace.allowed("command line: --offline refuses") {
        return;
    }
    let rows = [
        ("FROM scratch\nCOPY file /\n\nFROM registry.invalid/a:1\n", "Dockerfile:4"),
        ("FROM scratch\nCOPY file /\nCOPY --from=registry.invalid/a:1 / /\n", "Dockerfile:3"),
        ("FROM scratch\nADD https://registry.invalid/a /\n", "Dockerfile:2"),
    ];
    for (dockerfile, place) in rows {
        let source = source(dockerfile, &[("file", "x")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let build = executor.only_layout().add(&["--offline"]).run().expect(76);
        assert!(build.stderr.contains(place), "{dockerfile}: {}", build.stderr);
        assert!(!build.stderr.contains("[0 "), "a step ran: {}", build.stderr);
    }
}

#[test]
fn arguments_come_from_a_file_and_booleans_with_a_word_of_their_own() {
    if !Isolation::Namespace.allowed("command line: @file") {
        return;
    }
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let file = executor.credential("arguments", "--label\nquoted=\"a b\"\n\n--label=second=@x\n--no-push\ntrue\n");
    executor.output("--oci-layout-path", "layout").add(&[&format!("@{file}"), "--reproducible", "false"]);
    let build = executor.run().expect(0);
    let image = build.image();
    let labels = &image.config["config"]["Labels"];
    assert_eq!((&labels["quoted"], &labels["second"]), (&Value::from("\"a b\""), &Value::from("@x")));
    assert_ne!(image.config["created"], "1970-01-01T00:00:00Z");
    let missing = Executor::new(Isolation::Namespace, source.path()).add(&["@/no/such/file"]).run().expect(72);
    assert!(missing.stderr.contains("/no/such/file"), "{}", missing.stderr);
}

#[test]
fn log_and_metadata_belong_to_the_callers_trace() {
    if !Isolation::Namespace.allowed("command line: TRACEPARENT") {
        return;
    }
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    for (dockerfile, code) in [("FROM scratch\nCOPY file /file\n", 0), ("FROM scratch\nCOPY none /file\n", 76)] {
        let source = source(dockerfile, &[("file", "x")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().env("TRACEPARENT", &format!("00-{trace}-{span}-01")).add(&["--log-format=json"]);
        let build = executor.output("--metadata-file", "metadata").run().expect(code);
        let lines: Vec<Value> = build.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(!lines.is_empty() && lines.iter().all(|line| line["trace_id"] == trace && line["span_id"] == span));
        let metadata: Value =
            serde_json::from_slice(&fs::read(build.path("metadata")).expect("metadata")).expect("JSON");
        assert_eq!((&metadata["trace"]["traceId"], &metadata["trace"]["spanId"]), (&trace.into(), &span.into()));
    }
}
