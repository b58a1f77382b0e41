//! Steps that end at any moment: what a pipeline finds afterwards is true, and the next attempt succeeds.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Running, SHORT};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::source;

const ATTEMPTS: u32 = 50;

/// Starts a build of `source` whose results go to `directory`, which stays from attempt to attempt as a volume does.
fn start(source: &Path, directory: &Path, destination: &str, plain: &str) -> Running {
    let mut command = Command::new(EXECUTOR);
    let path = |name: &str| directory.join(name).display().to_string();
    command.arg("--isolation=namespace").env_clear().env("BUILDER_OUTPUT", path("builder"));
    command.arg(format!("--context={}/context", source.display()));
    command.arg(format!("--dockerfile={}/Dockerfile", source.display()));
    command.arg(format!("--state-dir={}", path("state"))).arg(format!("--destination={destination}"));
    command.arg(format!("--tekton-results-dir={}", path("results")));
    command.arg(format!("--argo-outputs-dir={}", path("argo"))).arg(format!("--digest-file={}", path("digest")));
    command.arg(format!("--metadata-file={}", path("metadata.json")));
    for address in [plain, &registry::shared().address] {
        command.arg(format!("--insecure-registry={address}"));
    }
    process::start(&mut command)
}

#[test]
fn ended_at_random_moments_a_step_tells_nothing_wrong() {
    if !Isolation::Namespace.allowed("killed: random moments") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM $BASE\nRUN echo ran > /ran; sleep 0.05\nCOPY file /file\n", &[("file", "x\n")]);
    let volume = Scratch::new("volume");
    for name in ["builder", "state"] {
        volume.directory(name);
    }
    let destination = registry.repository("app:1");
    let files = ["digest", "results/IMAGE_DIGEST", "argo/image-digest"];
    let mut whole = 0;
    for attempt in 0..ATTEMPTS {
        // Each attempt of a step has a pod, and so a directory of results, of its own.
        drop(std::fs::remove_dir_all(volume.join("results")));
        let running = start(source.path(), volume.path(), &destination, &registry.address);
        // Spread over the whole build, start and end included, without two alike.
        std::thread::sleep(Duration::from_millis(u64::from(attempt * 37 % ATTEMPTS) * 12));
        let signal = if attempt % 2 == 0 { Signal::TERM } else { Signal::KILL };
        // It may have ended by itself.
        running.try_signal(signal);
        let finished = running.wait(SHORT);
        let expected = if signal == Signal::TERM { 143 } else { 137 };
        assert!([0, expected].contains(&finished.code), "{attempt}: {}\n{}", finished.code, finished.stderr);
        let pushed = registry.digest("app:1");
        for file in files {
            match std::fs::read_to_string(volume.join(file)) {
                Ok(text) if !text.is_empty() => {
                    assert_eq!(Some(text), pushed, "{attempt}: {file}");
                    whole += 1;
                }
                // Argo's are empty; after success all are there.
                _ => assert_ne!(finished.code, 0, "{attempt}: {file} is missing"),
            }
        }
        if let Ok(text) = std::fs::read_to_string(volume.join("metadata.json")) {
            serde_json::from_str::<serde_json::Value>(&text)
                .unwrap_or_else(|error| panic!("{attempt}: {error}: {text}"));
        }
    }
    assert!(whole < ATTEMPTS * 3, "no attempt was ended: the test shows nothing");
    let last = start(source.path(), volume.path(), &destination, &registry.address).wait(SHORT);
    assert_eq!(last.code, 0, "{}", last.stderr);
    for file in files {
        assert_eq!(std::fs::read_to_string(volume.join(file)).ok(), registry.digest("app:1"), "{file}");
    }
}
