//! What is told while a build goes on: on a real terminal of any width, and in a log.

use std::process::Command;
use std::time::Duration;

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::SHORT;
use crate::support::registry::{self, Registry};
use crate::support::scratch::{self, Scratch};
use crate::support::slow;
use crate::support::source::{noise, source};
use crate::support::terminal::{Seen, Terminal};

/// Builds an image of one file of a megabyte, and pushes it so that it takes a second and a half.
fn on_terminal(columns: u16, flags: &[&str], variables: &[(&str, &str)], act: impl FnOnce(&Terminal)) -> Seen {
    let registry = Registry::plain();
    let slow = slow::start(&registry.address, 700 << 10);
    let scratch = Scratch::new("terminal");
    scratch.file("context/file", noise(7, 1 << 20));
    scratch.file("Dockerfile", "FROM scratch\nCOPY file /file\n");
    let mut command = Command::new(EXECUTOR);
    command.env_clear().env("TERM", "xterm").env("PATH", "/usr/bin:/bin").envs(variables.iter().copied());
    command.args([
        &format!("--context={}", scratch.join("context").display()),
        &format!("--dockerfile={}", scratch.join("Dockerfile").display()),
        &format!("--state-dir={}", scratch.directory("state").display()),
        &format!("--destination={slow}/app:1"),
        &format!("--insecure-registry={slow}"),
        "--isolation=namespace",
    ]);
    let terminal = Terminal::start(command.args(flags), columns);
    act(&terminal);
    let seen = terminal.finish();
    assert_eq!(seen.code, Some(0), "{:#?}", seen.lines);
    seen
}

#[test]
fn a_terminal_of_any_width_shows_what_is_going_on_and_keeps_the_log() {
    if !Isolation::Namespace.allowed("progress: a terminal") {
        return;
    }
    for (columns, part) in [(20, "push sha25"), (200, "MB/s")] {
        let seen = on_terminal(columns, &[], &[], |_| {});
        assert!(seen.passing.iter().any(|row| row.contains("push sha25")), "{columns}: {:#?}", seen.passing);
        assert!(
            seen.passing.iter().any(|row| row.contains('%') || row.contains(part)),
            "{columns}: {:#?}",
            seen.passing
        );
        for row in &seen.passing {
            assert!(row.chars().count() < usize::from(columns), "{columns}: {row:?}");
        }
        // What is left is the log alone.
        let last = seen.lines.last().expect("a log");
        assert!(last.starts_with("Pushed "), "{:#?}", seen.lines);
        assert!(!seen.lines.iter().any(|line| line.starts_with("push sha256:")), "{:#?}", seen.lines);
        assert!(seen.has_colours);
    }
}

#[test]
fn a_terminal_that_is_made_narrower_loses_no_line() {
    if !Isolation::Namespace.allowed("progress: a terminal that changes") {
        return;
    }
    let seen = on_terminal(110, &[], &[("NO_COLOR", "1")], |terminal| {
        terminal.wait_for("push sha256:", SHORT);
        for columns in [31, 90, 24] {
            std::thread::sleep(Duration::from_millis(250));
            terminal.resize(columns);
        }
    });
    assert!(!seen.has_colours, "NO_COLOR was set");
    assert!(seen.lines.iter().any(|line| line.contains("COPY file /file")), "{:#?}", seen.lines);
    assert!(seen.lines.last().is_some_and(|line| line.starts_with("Pushed ")), "{:#?}", seen.lines);
    let widths: Vec<usize> = seen.passing.iter().map(|row| row.chars().count()).collect();
    assert!(widths.iter().any(|width| *width > 80) && widths.iter().any(|width| *width < 31), "{widths:?}");
}

#[test]
fn a_flag_says_how_progress_is_shown() {
    if !Isolation::Namespace.allowed("progress: --progress") {
        return;
    }
    let plain = on_terminal(80, &["--progress=plain"], &[], |_| {});
    assert!(plain.passing.is_empty() && plain.lines.len() > 5, "{plain:#?}");
    let quiet = on_terminal(80, &["--progress=quiet"], &[], |_| {});
    assert!(quiet.passing.is_empty() && quiet.lines.is_empty(), "{quiet:#?}");
    let json = on_terminal(80, &["--progress=rawjson"], &[], |_| {});
    assert!(json.lines.iter().all(|line| line.starts_with('{')), "{json:#?}");
}

#[test]
fn a_log_is_never_silent_for_longer_than_ten_seconds() {
    if !Isolation::Namespace.allowed("progress: a log") {
        return;
    }
    let registry = Registry::plain();
    let slow = slow::start(&registry.address, 3 << 19);
    let scratch = Scratch::new("silent");
    // More than the buffers of connections take at once.
    scratch.file("context/file", noise(7, 24 << 20));
    let base = bases::base("BASE").reference;
    let run = "RUN printf '1%%\\r40%%'; sleep 12";
    scratch.file("Dockerfile", format!("FROM {base}\nCOPY file /file\n{run}\n"));
    let mut executor = Executor::new(Isolation::Namespace, scratch.path());
    executor.add(&[&format!("--destination={slow}/app:1"), &format!("--insecure-registry={slow}")]);
    executor.add(&[&format!("--insecure-registry={}", registry::shared().address), "--log-timestamp"]);
    let build = executor.run().expect(0);
    let log = &build.stderr;
    let running = "[0 2/2] RUN printf '1%%\\r40%%'; sleep 12: 1";
    let run = log.lines().find(|line| line.contains(running)).unwrap_or_else(|| panic!("{log}"));
    assert!(run.ends_with(" s so far; 40%"), "{log}");
    let push = log.lines().find(|line| line.contains(" push sha256:")).unwrap_or_else(|| panic!("{log}"));
    let measure = push.split_once(": ").map(|(_, measure)| measure).unwrap_or_default();
    assert!(measure.contains(" of 25.2 MB (") && measure.contains(" MB/s, ") && measure.contains("left"), "{push}");
}

/// Returns the lines of a log, each once and sorted, with what differs from build to build replaced.
fn likened(log: &str, address: &str) -> String {
    const UNITS: [&str; 6] = ["ms", "s", "B", "kB", "MB", "MiB"];
    let likened = |text: &str| {
        let text = text.replace(address, "REGISTRY").replace(&registry::shared().address, "BASES");
        let mut words: Vec<String> = Vec::new();
        for word in text.split(' ') {
            let plain = word.trim_matches(|c: char| !c.is_alphanumeric());
            if UNITS.contains(&plain)
                && let Some(before) = words.last_mut()
                && before.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit())
            {
                "N".clone_into(before);
            }
            let end =
                |from: usize| word[from..].find(|c: char| !c.is_ascii_hexdigit()).map_or(word.len(), |end| from + end);
            words.push(match (word.find("/uploads/"), word.find("sha256:")) {
                (Some(start), _) if !word.ends_with("/uploads/") => format!("{}UPLOAD", &word[..start + 9]),
                (_, Some(start)) => format!("{}DIGEST{}", &word[..start], &word[end(start + 7)..]),
                _ if word.starts_with(&scratch::root().display().to_string()) => "PATH".to_owned(),
                _ => word.to_owned(),
            });
        }
        words.join(" ")
    };
    // A busy machine tells how far it is; each machine has reasons of its own for its isolation.
    let mut lines: Vec<String> = log.lines().filter(|line| !line.contains(" so far")).map(likened).collect();
    lines.retain(|line| !line.starts_with("isolation namespace: "));
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

/// Each level has what the one above it has, and what the documents say of it.
#[test]
fn debug_and_trace_tell_exchanges_decisions_and_steps_of_isolation() {
    if !Isolation::Namespace.allowed("progress: levels") {
        return;
    }
    let log = |level: &str| {
        let registry = Registry::plain();
        let source = source("FROM $BASE\nRUN echo 1 > /file\n", &[]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, "app:1").add(&[&format!("--verbosity={level}")]);
        likened(&executor.run().expect(0).stderr, &registry.address)
    };
    let (debug, trace) = (log("debug"), log("trace"));
    insta::assert_snapshot!(debug, @r##"
          N s  [0 1/1] RUN echo 1 > /file
    DELETE http://REGISTRY/v2/app/blobs/uploads/UPLOAD 204 in N ms
    DIGEST N B) uploaded to REGISTRY/app
    DIGEST N MB) uploaded to REGISTRY/app
    Dockerfile: PATH
    GET http://BASES/v2/: 200 in N ms
    GET http://BASES/v2/base/base/blobs/DIGEST: 200 in N ms
    GET http://BASES/v2/base/base/manifests/latest: 200 in N ms
    GET http://REGISTRY/v2/: 200 in N ms
    HEAD http://REGISTRY/v2/app/blobs/DIGEST: 404 in N ms
    HEAD http://REGISTRY/v2/app/manifests/1: 404 in N ms
    POST http://REGISTRY/v2/app/blobs/uploads/UPLOAD 202 in N ms
    PUT http://REGISTRY/v2/app/blobs/uploads/UPLOAD 201 in N ms
    PUT http://REGISTRY/v2/app/manifests/1: 201 in N ms
    Pushed REGISTRY/app@DIGEST (tag 1)
    [0 1/1] RUN echo 1 > /file
    [0 1/1] done in N s: layer DIGEST, N B
    [0] FROM BASES/base/base:latest@DIGEST
    base     BASES/base/base:latest@DIGEST
    image    DIGEST
    isolation: asked for Namespace, and namespace was opened (Abilities { isolation: "namespace", mounting: Mounted })
    layer: DIGEST is unpacked: a step needs the files on disk
    layer: the files of 1 layers need about N MiB, and N MiB are free
    network  pulled N MB of layers; pushed N MB in 3 blobs, mounted 0 blobs, already there 0 blobs
    size     N MB; layers: 1 of the base, 1 above it
    steps    1 built, 0 from the cache
    time     N s (context N s, resolve N s, unpack N s, run N s, snapshot N s, push N s, cache N s)
    "##);
    let known: Vec<&str> = debug.lines().collect();
    for line in &known {
        assert!(trace.lines().any(|other| other == *line), "{line} is not in:\n{trace}");
    }
    // What a server says of itself is another thing in each version of it.
    let is_kept =
        |line: &&str| !known.contains(line) && (!line.contains("answered with") || line.contains("base/manifests"));
    insta::assert_snapshot!(trace.lines().filter(is_kept).collect::<Vec<_>>().join("\n"), @r##"
    GET http://BASES/v2/base/base/manifests/latest: answered with content-type: application/vnd.oci.image.manifest.v1+json, content-length: 405, docker-content-digest: DIGEST
    [0 1/1] snapshot begins
    [0 1/1] snapshot layer begins, N B
    cache begins
    context begins
    pull DIGEST begins, N MB
    push DIGEST to REGISTRY/app begins, N B
    push DIGEST to REGISTRY/app begins, N MB
    push begins
    resolve begins
    run begins
    run: user 0:0, groups [0], directory /, 2 variables, network the host's, mounts: none
    snapshot begins
    unpack DIGEST begins, N MB
    unpack begins
    "##);
}
