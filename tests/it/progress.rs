//! What is told while a build goes on: on a real terminal of any width, and in a log.

use std::process::Command;
use std::time::Duration;

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::SHORT;
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::slow;
use crate::support::source::noise;
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
