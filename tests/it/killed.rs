//! Builds that are killed at random moments, with RUN, push and cache: whatever a killed one has left, those that follow
//! make the same image as a build that knows no cache.
//!
//! `YADOKARI_KILLS` says how many builds are killed in each place, 20 without it.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::{EXECUTOR, Pod};
use crate::support::process::{self, Running, SHORT};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::source;

const DOCKERFILE: &str = "FROM $BASE
RUN echo same > /same
ARG ROUND
RUN echo $ROUND > /round; sleep 0.05; mkdir -p /d/e/f && touch /d/e/f/g
COPY file /file
RUN cat /file /round > /both && rm /same
";

/// How many are killed before one is let be.
const ROUND: usize = 5;

#[expect(clippy::disallowed_methods, reason = "the tests' own switches, not the executor's")]
fn kills() -> usize {
    std::env::var("YADOKARI_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Returns as many moments as builds are killed, each somewhere within `whole`, in milliseconds.
fn moments(whole: Duration) -> Vec<u64> {
    let random = RandomState::new();
    let most = u64::try_from(whole.as_millis()).expect("short").max(1);
    (0..kills()).map(|number| random.hash_one(number) % (most + most / 10)).collect()
}

fn start(source: &Path, state: &Path, round: usize, registry: &Registry, cache: bool, digest: &Path) -> Running {
    let mut command = Command::new(EXECUTOR);
    command.arg("--isolation=namespace").env_clear().env("SOURCE_DATE_EPOCH", "1700000000");
    command.arg(format!("--context={}/context", source.display()));
    command.arg(format!("--dockerfile={}/Dockerfile", source.display()));
    command.arg(format!("--state-dir={}", state.display()));
    command.arg(format!("--destination={}", registry.repository("app:1")));
    command.arg(format!("--build-arg=ROUND={round}")).arg(format!("--digest-file={}", digest.display()));
    if cache {
        command.arg("--cache").arg(format!("--cache-repo={}", registry.repository("cache")));
    }
    for address in [&registry.address, &registry::shared().address] {
        command.arg(format!("--insecure-registry={address}"));
    }
    process::start(&mut command)
}

#[test]
fn what_builds_killed_on_a_machine_leave_harms_none_that_follows() {
    if !Isolation::Namespace.allowed("killed: on the machine") {
        return;
    }
    let (registry, volume) = (Registry::plain(), Scratch::new("killed"));
    let source = source(DOCKERFILE, &[("file", "x\n")]);
    let state = volume.directory("state");
    let (digest, plain) = (volume.join("digest"), volume.join("plain"));
    let begun = Instant::now();
    let build = |round, cache, digest: &Path| start(source.path(), &state, round, &registry, cache, digest);
    build(0, false, &digest).wait(SHORT).success();
    let moments = moments(begun.elapsed());
    let (mut killed, mut ended) = (0, 0);
    for (round, moments) in moments.chunks(ROUND).enumerate() {
        for moment in moments {
            let running = build(round, true, &digest);
            std::thread::sleep(Duration::from_millis(*moment));
            running.try_signal(Signal::KILL);
            let finished = running.wait(SHORT);
            match finished.code {
                137 => killed += 1,
                0 => ended += 1,
                code => panic!("round {round}, killed after {moment} ms: {code}\n{}", finished.stderr),
            }
        }
        build(round, true, &digest).wait(SHORT).success();
        build(round, false, &plain).wait(SHORT).success();
        let [found, expected] = [&digest, &plain].map(|path| std::fs::read_to_string(path).expect("written"));
        assert_eq!(found, expected, "round {round}, killed after {moments:?} ms");
        assert_eq!(registry.digest("app:1"), Some(expected), "round {round}");
    }
    eprintln!("killed {killed} builds on the machine; {ended} were faster");
    assert!(killed >= kills() / 4, "{killed} were killed: the test shows little");
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc is there");
    assert!(!mounts.contains(&volume.path().display().to_string()), "{mounts}");
}

/// Kills builds in one container, of which each may have set aside what the shell calls: so that is on a volume.
const SCRIPT: &str = r#"
/busybox/busybox cp /busybox/busybox /step-results/busybox || exit
busybox() { /step-results/busybox "$@"; }
build() {
    /kaniko/executor "$@" >/step-results/log 2>&1
}
say() { echo "$@" >&2; exit 9; }
echo mine > /mine
now() { busybox cut -d ' ' -f 1 /proc/uptime; }
begun=$(now)
build "$@" || say "$(busybox cat /step-results/log)"
whole=$(now)
round=0 killed=0 ended=0
for moments in $ROUNDS; do
    round=$((round + 1))
    for moment in $(echo "$moments" | busybox tr , ' '); do
        (exec /kaniko/executor "$@" $CACHE --build-arg=ROUND=$round --digest-file=/step-results/digest) >/step-results/log 2>&1 &
        busybox sleep "$(busybox awk "BEGIN { print ($whole - $begun) * $moment / 1000 }")"
        kill -KILL $! 2>/dev/null
        if wait $!; then ended=$((ended + 1)); else killed=$((killed + 1)); fi
    done
    build "$@" $CACHE --build-arg=ROUND=$round --digest-file=/step-results/digest || say "round $round: $(busybox cat /step-results/log)"
    build "$@" --build-arg=ROUND=$round --digest-file=/step-results/plain || say "round $round, no cache: $(busybox cat /step-results/log)"
    found=$(busybox cat /step-results/digest) expected=$(busybox cat /step-results/plain)
    [ "$found" = "$expected" ] || say "round $round, killed after $moments thousandths: $found, not $expected"
    [ "$(/busybox/busybox cat /mine)" = mine ] || say "round $round: the container was not given back"
done
echo "killed $killed builds in a pod; $ended were faster"
"#;

#[test]
fn what_builds_killed_in_a_pod_leave_harms_none_that_follows() {
    if !Isolation::Container.allowed("killed: in a pod") {
        return;
    }
    let registry = Registry::plain();
    let source = source(DOCKERFILE, &[("file", "x\n")]);
    let mut executor = Executor::in_pod(Isolation::Container, Pod::plain(), source.path());
    executor.push_plain(&registry, "app:1").env("SOURCE_DATE_EPOCH", "1700000000").within(Duration::from_secs(1800));
    // The script knows how long a build takes there: these are thousandths of that.
    let rounds: Vec<String> = moments(Duration::from_secs(1))
        .chunks(ROUND)
        .map(|moments| moments.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
        .collect();
    executor.env("ROUNDS", &rounds.join(" "));
    executor.env("CACHE", &format!("--cache --cache-repo={}", registry.repository("cache")));
    let build = executor.run_script(SCRIPT).expect(0);
    eprint!("{}", build.stdout);
    let killed = build.stdout.split(' ').nth(1).and_then(|number| number.parse::<usize>().ok());
    assert!(killed.is_some_and(|killed| killed >= kills() / 4), "{}", build.stdout);
}
