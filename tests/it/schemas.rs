//! What programs read, against the schemas in `docs/schemas`: the log as JSON, the metadata file, the plan, findings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::pipelines_files::python;
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::source;

const DOCKERFILE: &str = "\
FROM $BASE AS one
MAINTAINER somebody
RUN echo hi; echo there >&2; echo 1 > /file
FROM $BASE
RUN echo hi; echo there >&2; echo 1 > /file
COPY file /other
ENV name=value
COPY --from=one /file /one
";

/// What takes ten silent seconds, or a server that does not answer: unit tests of the report have it.
const SLOW: [&str; 2] = ["waiting", "progress"];

fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(name)
}

/// Checks files against a schema; returns the events in them.
fn check(name: &str, files: &[PathBuf]) -> Option<BTreeSet<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas/check.py");
    let mut command = Command::new(python("schemas")?);
    let finished = process::run(command.arg(script).arg(schema(name)).args(files), SHORT);
    Some(finished.success().lines().map(str::to_owned).collect())
}

/// Builds with all that is told; what it tells is kept in `to`.
fn build(dockerfile: &str, file: &str, (registry, more): (&Registry, &[&str]), code: i32, to: &Path) -> Build {
    let source = source(dockerfile, &[("file", file)]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(registry, "app:1").output("--metadata-file", "metadata.json");
    executor.add(&["--log-format=json", "--verbosity=trace"]).add(more);
    let build = executor.run().expect(code);
    std::fs::write(to, &build.stderr).expect("scratch is writable");
    build
}

#[test]
fn the_log_and_the_metadata_keep_to_their_schemas() {
    if !Isolation::Namespace.allowed("schemas: builds") {
        return;
    }
    let (registry, scratch) = (Registry::plain(), Scratch::new("schemas"));
    let once = Rule::new("PUT", "/manifests/", Fault::Status(503, ""), 1);
    let proxy = Proxy::start(&registry.address, &[once]);
    let cache = format!("--cache-dir={}", scratch.directory("cache").display());
    let also = [
        &cache,
        "--cache",
        &format!("--cache-repo=oci:{}", scratch.path().join("steps").display()),
        &format!("--destination={}/app:2", proxy.address),
        &format!("--insecure-registry={}", proxy.address),
    ];
    let logs = ["first", "again", "changed", "failed", "unknown"].map(|name| scratch.join(format!("{name}.jsonl")));
    let changed = DOCKERFILE.replace("name=value", "name=other");
    let builds = [
        build(DOCKERFILE, "1\n", (&registry, &[&also[..], &["--skip-existing"]].concat()), 0, &logs[0]),
        build(DOCKERFILE, "1\n", (&registry, &also), 0, &logs[1]),
        build(&changed, "2\n", (&registry, &also), 0, &logs[2]),
        build("FROM $BASE\nRUN echo so; exit 9\n", "1\n", (&registry, &[]), 9, &logs[3]),
        build("FROM scratch\nCOPX a b\n", "1\n", (&registry, &[]), 76, &logs[4]),
    ];
    let metadata = builds.each_ref().map(|build| build.path("metadata.json"));
    let _events_of_none = check("metadata.json", &metadata);
    let read =
        |path: &PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).expect("asked for")).expect("JSON");
    let told = read(&metadata[0]);
    assert_eq!(told["build"]["isolation"], "namespace");
    let (all, run) = (&told["build"]["milliseconds"], &told["build"]["phases"]["run"]);
    assert!(run.as_u64().is_some_and(|run| run > 0 && run <= all.as_u64().unwrap_or(0)), "{told}");
    assert_eq!(read(&metadata[3])["builder"], told["builder"], "a failure tells who failed, too");
    let Some(seen) = check("event.json", &logs) else { return };
    let events = read(&schema("event.json"));
    let one = |one: &Value| one["properties"]["event"]["const"].as_str().map(str::to_owned);
    let all = events["oneOf"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|event| one(event).or_else(|| one(&event["anyOf"][0])));
    let unseen: Vec<String> = all.filter(|event| !seen.contains(event)).collect();
    assert_eq!(unseen, SLOW, "what the schema has and no build tells");
}

#[test]
fn metadata_of_index_and_push_and_the_plan_keep_to_their_schemas() {
    if !Isolation::Namespace.allowed("schemas: commands") {
        return;
    }
    let (registry, scratch) = (Registry::plain(), Scratch::new("schemas"));
    let built = build(DOCKERFILE, "1\n", (&registry, &[]), 0, &scratch.join("log"));
    let run = |name: &str, words: &[&str]| {
        let file = scratch.join(format!("{name}.json"));
        let mut command = Command::new(EXECUTOR);
        command.args(words).arg(format!("--metadata-file={}", file.display())).env_clear();
        process::run(&mut command, SHORT).success();
        file
    };
    let (insecure, image) = (format!("--insecure-registry={}", registry.address), registry.repository("app:1"));
    let to = |name: &str| format!("--destination={}", registry.repository(name));
    let index = run("index", &["index", &insecure, &image, &to("index:1")]);
    let layout = scratch.join("layout");
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--src-tls-verify=false", &format!("docker://{image}"), &format!("oci:{}:1", layout.display())]);
    process::run(&mut copy, SHORT).success();
    let push = run("push", &["push", &layout.display().to_string(), &insecure, &to("pushed:1")]);
    let _events_of_none = check("metadata.json", &[index, push, built.path("metadata.json")]);

    let cache = format!("--cache-dir={}", scratch.directory("cache").display());
    let source = source(
        &format!("{DOCKERFILE}RUN --mount=type=secret,id=s --mount=type=cache,target=/c true\n"),
        &[("file", "1\n")],
    );
    let plan = |name: &str, flags: &[&str]| {
        let mut command = Command::new(EXECUTOR);
        command.current_dir(source.path()).env_clear().env("HOME", source.path());
        command.args(["plan", "--context=context", "--insecure-pull", "--format=json"]);
        command.arg(format!("--state-dir={}", source.directory("state").display())).args(flags);
        let file = scratch.join(format!("{name}.json"));
        std::fs::write(&file, process::run(&mut command, SHORT).success()).expect("scratch is writable");
        file
    };
    let plans = [plan("plain", &[]), plan("cached", &["--cache", &cache, "--cache-repo=oci:/nowhere"])];
    let _events_of_none = check("plan.json", &plans);
}

#[test]
fn what_check_finds_keeps_to_its_schema() {
    let (scratch, mut files) = (Scratch::new("schemas"), Vec::new());
    for (name, dockerfile, code, told) in [
        ("warnings", "FROM scratch AS Stage\nMAINTAINER somebody\nCOPY file /\n", 0, "MaintainerDeprecated"),
        ("error", "FROM scratch\nCOPX a b\n", 76, "\"line\": 2"),
        ("unknown", "FROM 127.0.0.1:1/base:1\nCOPY file /\n", 0, "\"127.0.0.1:1/base:1\""),
    ] {
        let source = source(dockerfile, &[("file", "1\n")]);
        let mut command = Command::new(EXECUTOR);
        command.current_dir(source.path()).env_clear().env("HOME", source.path());
        command.args(["check", "--context=context", "--format=json", "--image-fs-extract-retry=0"]);
        command.arg(format!("--state-dir={}", source.directory("state").display()));
        let checked = process::run(&mut command, SHORT);
        assert_eq!(checked.code, code, "{checked:?}");
        assert!(checked.stdout.contains(told), "{told}: {}", checked.stdout);
        files.push(scratch.join(format!("{name}.json")));
        std::fs::write(&files[files.len() - 1], &checked.stdout).expect("scratch is writable");
    }
    let _events_of_none = check("check.json", &files);
}
