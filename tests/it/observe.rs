//! What is left of a build for those who look at it afterwards: trace file, spans at a collector, the page in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT, Service};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::source::source;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// Markup, in an instruction and in a warning.
const DOCKERFILE: &str = "\
FROM $BASE AS first
MAINTAINER <b>nobody</b>
RUN echo '<script>document.title=\"changed\"</script>' > /file
FROM $BASE
COPY --from=first /file /file
RUN true
";

fn build(dockerfile: &str, registry: &Registry, variables: &[(&str, &str)], code: i32) -> Build {
    let source = source(dockerfile, &[("file", "1\n")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(registry, "app:1").output("--trace-file", "trace.json").output("--report", "report.html");
    for (name, value) in variables {
        executor.env(name, value);
    }
    executor.keep(source).run().expect(code)
}

fn trace(build: &Build) -> Vec<Value> {
    let read: Value = serde_json::from_slice(&fs::read(build.path("trace.json")).expect("asked for")).expect("JSON");
    read["traceEvents"].as_array().expect("a list").clone()
}

#[test]
fn the_trace_file_has_what_took_time_and_lanes_do_not_cross() {
    if !Isolation::Namespace.allowed("observe: trace") {
        return;
    }
    let registry = Registry::plain();
    let good = build(DOCKERFILE, &registry, &[], 0);
    let events = trace(&good);
    let complete: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    for (kind, name) in [
        ("build", "build"),
        ("stage", "first"),
        ("step", "RUN true"),
        ("phase", "run"),
        ("phase", "snapshot layer"),
        ("transfer", "pull sha256:"),
        ("transfer", "push sha256:"),
        ("request", "PUT http://"),
    ] {
        let is_it =
            |event: &&&Value| event["cat"] == kind && event["name"].as_str().is_some_and(|text| text.starts_with(name));
        let found = complete.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}: {events:#?}"));
        let named = |name: &str| {
            let is_it = |event: &&Value| event["name"] == name && event["pid"] == found["pid"];
            events.iter().filter(|event| event["ph"] == "M").any(|event| is_it(&event))
        };
        assert!(named("process_name") && named("thread_name"), "{found}");
    }
    let moved =
        complete.iter().find(|event| event["name"].as_str().is_some_and(|name| name.starts_with("push sha256:")));
    assert!(moved.is_some_and(|event| event["args"]["bytes"].as_u64() > Some(0)), "{moved:?}");
    let times = |event: &Value| {
        let begun = event["ts"].as_u64().expect("a number");
        (begun, begun + event["dur"].as_u64().expect("a number"))
    };
    for (position, one) in complete.iter().enumerate() {
        for other in
            complete[..position].iter().filter(|other| other["pid"] == one["pid"] && other["tid"] == one["tid"])
        {
            let ((a, b), (c, d)) = (times(one), times(other));
            // Ends are cut to microseconds.
            assert!(
                b <= c + 2 || d <= a + 2 || (a + 2 >= c && b <= d + 2) || (c + 2 >= a && d <= b + 2),
                "{one} {other}"
            );
        }
    }
    let of_build = |kind: &str, name: &str| {
        let found = complete.iter().find(|event| event["cat"] == kind && event["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}: {complete:#?}"))["pid"].clone()
    };
    assert_eq!(
        of_build("phase", "push"),
        of_build("build", "build"),
        "the end of a build is no part of its last stage"
    );
    // Two stages at a time: one fails, and the other is only cut off.
    let other = "FROM $BASE AS other\nRUN touch /go && sleep 300\n";
    let fails =
        "FROM $BASE AS fails\nRUN sleep 1; exit 9\nFROM scratch\nCOPY --from=other /go /\nCOPY --from=fails /etc /\n";
    let bad = build(&format!("{other}{fails}"), &registry, &[], 9);
    let events = trace(&bad);
    let step = |text: &str| events.iter().find(|event| event["name"] == text).unwrap_or_else(|| panic!("{events:#?}"));
    let failed = &step("RUN sleep 1; exit 9")["args"];
    assert!(failed["error"].as_str().is_some_and(|error| error.contains('9')), "{failed}");
    let cut_off = &step("RUN touch /go && sleep 300")["args"];
    assert!(cut_off["error"].is_null() && cut_off["result"] == "cut off", "{cut_off}");
}

/// A collector, with the file of what it took.
fn collector(what: &str) -> Option<(Service, String, PathBuf, Scratch)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-services/otlp/bin/python");
    if !python.exists() {
        skips::skip(what, "OpenTelemetry's messages are not there: tests/run.sh installs them");
        return None;
    }
    let scratch = Scratch::new("otlp");
    let (file, log) = (scratch.join("spans.jsonl"), scratch.join("log"));
    let script = root.join("tests/otlp/receive.py").display().to_string();
    let arguments = [script, file.display().to_string()];
    let service = Service::start(&python.display().to_string(), &arguments, &log);
    let mut port = String::new();
    process::wait_until(SHORT, || {
        port = fs::read_to_string(&log).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        port.parse::<u16>().is_ok()
    });
    Some((service, format!("http://127.0.0.1:{port}"), file, scratch))
}

fn spans(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

#[test]
fn a_collector_gets_spans_in_the_callers_trace() {
    if !Isolation::Namespace.allowed("observe: spans") {
        return;
    }
    let Some((_service, address, file, _scratch)) = collector("observe: spans") else { return };
    let registry = Registry::plain();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let common = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*address),
        ("TRACEPARENT", &*parent),
        ("TRACESTATE", "vendor=1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,k8s.pod.name=p"),
        ("OTEL_SERVICE_NAME", "images"),
    ];
    let _good = build(DOCKERFILE, &registry, &common, 0);
    let told = spans(&file);
    let (root, run) = (named(&told, "build"), named(&told, "RUN true"));
    for span in &told {
        assert_eq!(
            (&span["trace"], &span["path"], &span["header"]),
            (&TRACE.into(), &"/v1/traces".into(), &"a b".into())
        );
        assert_eq!((&span["form"], &span["state"]), (&"application/x-protobuf".into(), &"vendor=1".into()));
        assert_eq!(span["resource"]["service.name"], "images");
        assert_eq!((&span["resource"]["k8s.pod.name"], &span["status"]), (&"p".into(), &0.into()));
        assert!(
            span["begun"].as_u64() > Some(1_600_000_000_000_000_000)
                && span["begun"].as_u64() <= span["ended"].as_u64()
        );
        let known = |id: &Value| id == PARENT || told.iter().any(|other| other["span"] == *id);
        assert!(known(&span["parent"]), "{span}");
    }
    assert_eq!(root["parent"], PARENT);
    assert_eq!(run["facts"]["yadokari.kind"], "step");
    let stage = told.iter().find(|span| span["span"] == run["parent"]).expect("its stage");
    assert_eq!((&stage["parent"], &stage["facts"]["yadokari.kind"]), (&root["span"], &"stage".into()));
    fs::remove_file(&file).expect("it is ours");

    let _bad = build(
        "FROM $BASE\nRUN exit 9\n",
        &registry,
        &[&common[..], &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]].concat(),
        9,
    );
    let told = spans(&file);
    assert_eq!(named(&told, "build")["form"], "application/json");
    assert_eq!((&named(&told, "build")["parent"], &named(&told, "build")["status"]), (&PARENT.into(), &2.into()));
    let step = named(&told, "RUN exit 9");
    assert!(step["status"] == 2 && step["message"].as_str().is_some_and(|text| text.contains('9')), "{step}");
    fs::remove_file(&file).expect("it is ours");

    // What switches it off, and what a caller decides that records nothing itself.
    let silent = format!("00-{TRACE}-{PARENT}-00");
    for more in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("TRACEPARENT", &*silent)] {
        let build = build("FROM scratch\nCOPY file /\n", &registry, &[&common[..], &[more]].concat(), 0);
        assert!(!file.exists() && !build.stderr.contains("spans"), "{more:?}: {}", build.stderr);
    }
}

#[test]
fn a_collector_that_cannot_be_used_is_one_warning() {
    if !Isolation::Namespace.allowed("observe: no collector") {
        return;
    }
    let registry = Registry::plain();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = format!("http://{}", silent.local_addr().expect("bound"));
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*address);
    for (variables, told) in [
        (
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")],
            "spans were not sent to http://127.0.0.1:1/v1/traces",
        ),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_TIMEOUT", "300")], "spans were not sent to"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "set it to http/protobuf or http/json"),
        (
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere:x")],
            "OTEL_EXPORTER_OTLP_ENDPOINT is no http:// or https:// URL",
        ),
    ] {
        let build = build("FROM scratch\nCOPY file /\n", &registry, &variables, 0);
        assert_eq!(build.stderr.matches(told).count(), 1, "{told}: {}", build.stderr);
    }
}

#[test]
fn a_browser_shows_the_page_and_runs_nothing_in_it() {
    if !Isolation::Namespace.allowed("observe: page") {
        return;
    }
    let browser = Path::new("/usr/bin/chromium");
    if !browser.exists() {
        return skips::skip("observe: page", "chromium is not installed");
    }
    let registry = Registry::plain();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&target).expect("target is ours");
    let good = build(DOCKERFILE, &registry, &[], 0);
    let bad =
        build("FROM $BASE\nRUN echo one\nRUN echo '</main><img src=x onerror=alert(1)>'; exit 9\n", &registry, &[], 9);
    for (name, build, parts) in [
        (
            "succeeded",
            &good,
            &[
                "<title>Build succeeded",
                "Pushed to",
                "sha256:",
                "2 <code>MAINTAINER &lt;b&gt;nobody&lt;/b&gt;</code></td><td><code>MaintainerDeprecated",
                "<td>snapshot</td><td>",
                "&lt;script&gt;",
                "<summary>up to ",
                "taken at most",
            ][..],
        ),
        (
            "failed",
            &bad,
            &[
                "<title>Build failed",
                "✗ RUN echo",
                "exit code 9",
                "&lt;img src=x",
                "<dt>Platform</dt><dd>linux/",
                "<dt>Isolation of RUN</dt><dd>namespace",
                "<td><code>sha256:",
            ],
        ),
    ] {
        let page = build.path("report.html");
        let scratch = Scratch::new("browser");
        let look = |more: &[&str]| {
            let mut command = Command::new(browser);
            command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
            command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
            command.arg(format!("--user-data-dir={}", scratch.join("profile").display())).args(more);
            process::run(command.arg(format!("file://{}", page.display())), SHORT).success()
        };
        let dom = look(&["--dump-dom"]);
        for part in parts {
            assert!(dom.contains(part), "{name}: no {part} in {dom}");
        }
        assert!(!dom.contains("<script") && !dom.contains("<img") && !dom.contains("http-equiv=\"refresh"), "{dom}");
        look(&["--window-size=1200,1600", &format!("--screenshot={}", target.join(format!("{name}.png")).display())]);
        assert!(fs::metadata(target.join(format!("{name}.png"))).is_ok_and(|picture| picture.len() > 10_000));
    }
}

/// An image that was there already begins no stage, which told the page its platform.
#[test]
fn the_page_of_an_image_that_was_there_has_its_platform() {
    if !Isolation::Namespace.allowed("observe: an image that was there") {
        return;
    }
    let (registry, source) = (Registry::plain(), source("FROM scratch\nCOPY file /\n", &[("file", "1\n")]));
    let build = || {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, "app:1").add(&["--skip-existing"]).output("--report", "report.html");
        let build = executor.run().expect(0);
        fs::read_to_string(build.path("report.html")).expect("asked for")
    };
    let (made, found) = (build(), build());
    assert!(made.contains("<h2>Steps</h2>\n<div") && found.contains("No step began."), "{found}");
    for page in [made, found] {
        assert!(page.contains("<dt>Platform</dt><dd>linux/"), "{page}");
    }
}
