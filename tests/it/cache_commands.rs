//! `yadokari cache`: what is in a cache, and its collection, also by several at once and while builds go on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Finished, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::Registry;
use crate::support::scratch::{self, Scratch};
use crate::support::source::source;
use crate::support::steps;

const DOCKERFILE: &str = "FROM scratch AS made
COPY a /a
COPY b /b
FROM scratch
COPY --from=made / /all/
COPY c /c
";
/// The steps of it that make layers.
const STEPS: [&str; 4] = ["COPY --from=made / /all/", "COPY a /a", "COPY b /b", "COPY c /c"];

fn three_files() -> Scratch {
    source(DOCKERFILE, &[("a", "a\n"), ("b", "b\n"), ("c", "c\n")])
}

/// A cache as the flags name it.
struct Cache(Vec<String>);

impl Cache {
    fn directory(scratch: &Scratch) -> Self {
        Self(vec![format!("--cache-repo=oci:{}", scratch.path().display())])
    }

    fn repository(address: &str) -> Self {
        Self(vec![format!("--cache-repo={address}/cache"), format!("--insecure-registry={address}")])
    }

    fn executor(&self, source: &Scratch) -> Executor {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&["--cache"]).output("--metadata-file", "metadata.json");
        for flag in &self.0 {
            executor.add(&[flag]);
        }
        executor
    }

    fn build(&self, source: &Scratch) -> Build {
        self.executor(source).run().expect(0)
    }

    fn run(&self, action: &str, flags: &[&str]) -> Finished {
        let mut command = Command::new(EXECUTOR);
        command.args(["cache", action]).args(&self.0).args(flags).env_clear().env("TMPDIR", scratch::root());
        process::run(&mut command, SHORT)
    }

    /// Returns the entries as `ls` has them.
    fn list(&self) -> Vec<Value> {
        let listed = self.run("ls", &["--json"]).success();
        listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Returns the instructions of the steps that it has, each once.
    fn steps(&self) -> Vec<String> {
        let texts: BTreeSet<String> =
            self.list().iter().filter(|entry| is_step(entry)).map(|e| text(e, "instruction")).collect();
        texts.into_iter().collect()
    }
}

fn text(entry: &Value, field: &str) -> String {
    entry[field].as_str().unwrap_or_default().to_owned()
}

fn is_step(entry: &Value) -> bool {
    text(entry, "name").starts_with("step-")
}

/// Makes files of a directory cache as old as if they were not used since 2001.
fn age(cache: &Scratch, is_old: impl Fn(&Path) -> bool) {
    for directory in ["entries", "blobs/sha256"] {
        for entry in fs::read_dir(cache.join(directory)).expect("lists").flatten() {
            if is_old(&entry.path()) {
                let mut command = Command::new("touch");
                process::run(command.args(["-d", "@1000000000"]).arg(entry.path()), SHORT).success();
            }
        }
    }
}

/// Tells what the directory has twice or in vain: blobs without an entry, and entries without their blob.
fn dangling(cache: &Scratch, listed: &[Value]) -> BTreeSet<String> {
    let blobs = fs::read_dir(cache.join("blobs/sha256")).expect("lists").flatten();
    let blobs: BTreeSet<String> = blobs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let named = listed.iter().filter_map(|entry| entry["blob"].as_str()?.strip_prefix("sha256:"));
    let named: BTreeSet<String> = named.map(str::to_owned).collect();
    blobs.symmetric_difference(&named).cloned().collect()
}

#[test]
fn ls_tells_what_a_cache_has() {
    if !Isolation::Namespace.allowed("cache commands: ls") {
        return;
    }
    let (source, scratch, registry) = (three_files(), Scratch::new("cache"), Registry::plain());
    for (cache, knows_use) in [(Cache::directory(&scratch), true), (Cache::repository(&registry.address), false)] {
        assert!(cache.run("ls", &[]).success().starts_with("0 entries"), "before the first build");
        let build = cache.build(&source);
        assert_eq!(cache.steps(), STEPS);
        let listed = cache.list();
        for entry in listed.iter().filter(|entry| is_step(entry)) {
            assert_eq!(entry["used"].is_string(), knows_use, "{entry}");
            assert!(text(entry, "made").starts_with("20") && entry["size"].as_u64() > Some(0), "{entry}");
        }
        let top = &build.image().manifest["layers"][1];
        assert!(listed.iter().any(|entry| entry["blob"] == top["digest"] && entry["size"] == top["size"]), "{top}");
        let plain = cache.run("ls", &[]).success();
        assert!(STEPS.iter().all(|step| plain.contains(step)), "{plain}");
        let last = format!("{} entries, ", listed.len());
        assert!(plain.lines().last().is_some_and(|line| line.starts_with(&last)), "{plain}");
    }
}

#[test]
fn prune_removes_what_was_not_used_and_nothing_else() {
    if !Isolation::Namespace.allowed("cache commands: prune by age") {
        return;
    }
    let (source, scratch) = (three_files(), Scratch::new("cache"));
    let cache = Cache::directory(&scratch);
    let first = cache.build(&source);
    let old: BTreeSet<String> = cache
        .list()
        .iter()
        .filter(|entry| text(entry, "instruction") == "COPY c /c")
        .flat_map(|entry| [text(entry, "name"), text(entry, "blob").replace("sha256:", "")])
        .collect();
    let is_old = |path: &Path| old.contains(&path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    age(&scratch, is_old);
    let dry = cache.run("prune", &["--older-than=1h", "--dry-run"]);
    assert!(dry.stderr.contains("would remove 1 entries"), "{}", dry.stderr);
    assert_eq!(cache.steps(), STEPS);
    let pruned = cache.run("prune", &["--older-than=1h"]);
    assert!(pruned.stderr.contains("removed 1 entries"), "{}", pruned.stderr);
    assert_eq!(cache.steps(), STEPS[..3]);
    assert_eq!(dangling(&scratch, &cache.list()), BTreeSet::new(), "its blob is gone with it");
    let second = cache.build(&source);
    assert_eq!(steps::done(&second), STEPS[3..]);
    assert_eq!(second.image().diff_ids()[0], first.image().diff_ids()[0]);
    assert_eq!(steps::done(&cache.build(&source)), [""; 0]);
}

#[test]
fn prune_keeps_a_cache_within_a_size() {
    if !Isolation::Namespace.allowed("cache commands: prune by size") {
        return;
    }
    let (source, scratch) = (three_files(), Scratch::new("cache"));
    let cache = Cache::directory(&scratch);
    cache.build(&source);
    let listed = cache.list();
    // What explains misses stays whatever its size; used before all others, it takes no room from them.
    age(&scratch, |path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("trail-")));
    let others = listed.iter().filter(|entry| !text(entry, "name").starts_with("trail-"));
    let blobs: BTreeSet<(String, u64)> =
        others.map(|entry| (text(entry, "blob"), entry["size"].as_u64().unwrap_or(0))).collect();
    // The same layer has two entries: that of the step, and that of the contents which it copied.
    let size: u64 = blobs.iter().map(|blob| blob.1).sum();
    let pruned = cache.run("prune", &[&format!("--max-size={size}")]);
    assert!(pruned.stderr.contains("removed 0 entries"), "all fits: {}", pruned.stderr);
    assert_eq!(cache.list().len(), listed.len());
    // All but one step, which was used last, and what is kept beside it.
    age(&scratch, |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = listed.iter().find(|entry| text(entry, "instruction") == "COPY b /b").expect("it is there");
        name != text(kept, "name")
    });
    let kept = listed.iter().find(|entry| text(entry, "instruction") == "COPY b /b").expect("it is there");
    cache.run("prune", &[&format!("--max-size={}", kept["size"])]).success();
    assert_eq!(cache.steps(), ["COPY b /b"]);
    assert!(cache.list().iter().any(|entry| text(entry, "name").starts_with("trail-")), "misses can be explained");
    assert_eq!(dangling(&scratch, &cache.list()), BTreeSet::new());
    // Without its blob's inventory, and without the others.
    assert_eq!(steps::done(&cache.build(&source)), ["COPY a /a", "COPY --from=made / /all/", "COPY c /c"]);
}

#[test]
fn prune_of_a_namespace_leaves_what_is_above_it() {
    if !Isolation::Namespace.allowed("cache commands: namespaces") {
        return;
    }
    let (source, scratch) = (three_files(), Scratch::new("cache"));
    let whole = Cache::directory(&scratch);
    let part = Cache([&whole.0[..], &["--cache-namespace=pr/1".to_owned()]].concat());
    whole.build(&source);
    assert_eq!(part.steps(), [""; 0]);
    fs::write(source.join("context/c"), "other\n").expect("writes");
    part.build(&source);
    assert_eq!(part.steps(), ["COPY c /c"]);
    part.run("prune", &["--max-size=1"]).success();
    assert_eq!((part.steps(), whole.steps()), (Vec::new(), STEPS.map(str::to_owned).to_vec()));
}

#[test]
fn prune_of_a_registry_deletes_manifests() {
    if !Isolation::Namespace.allowed("cache commands: a registry") {
        return;
    }
    let (source, registry) = (three_files(), Registry::plain());
    let cache = Cache::repository(&registry.address);
    let first = cache.build(&source);
    let pruned = cache.run("prune", &["--older-than=1h"]);
    assert!(pruned.stderr.contains("removed 0 entries"), "{}", pruned.stderr);
    let refusing = Proxy::start(&registry.address, &[Rule::new("DELETE", "/manifests/", Fault::Status(405, ""), 1000)]);
    let refused = Cache::repository(&refusing.address).run("prune", &["--max-size=1"]);
    assert_eq!(refused.code, 73, "{}", refused.stderr);
    assert!(refused.stderr.contains("delete the manifest"), "{}", refused.stderr);
    assert_eq!(cache.steps(), STEPS);
    cache.run("prune", &["--max-size=1", "--dry-run"]).success();
    assert_eq!(cache.steps(), STEPS);
    cache.run("prune", &["--max-size=1"]).success();
    assert_eq!(cache.steps(), [""; 0]);
    let again = cache.build(&source);
    assert_eq!(steps::done(&again).len(), 4, "{}", again.stderr);
    assert_eq!(again.image().diff_ids().len(), first.image().diff_ids().len());
    assert_eq!(steps::done(&cache.build(&source)), [""; 0]);
}

#[test]
fn two_prunes_do_not_hinder_each_other() {
    if !Isolation::Namespace.allowed("cache commands: two prunes") {
        return;
    }
    let (scratch, registry) = (Scratch::new("cache"), Registry::plain());
    let text: String = (0..12).map(|number| format!("COPY a /{number}\n")).collect();
    let source = source(&format!("FROM scratch\n{text}"), &[("a", "a\n")]);
    for cache in [Cache::directory(&scratch), Cache::repository(&registry.address)] {
        cache.build(&source);
        if scratch.join("entries").exists() {
            age(&scratch, |_| true);
        }
        let ends: Vec<Finished> = thread::scope(|scope| {
            let prunes: Vec<_> = (0..3).map(|_| scope.spawn(|| cache.run("prune", &["--max-size=1"]))).collect();
            prunes.into_iter().map(|prune| prune.join().expect("it ends")).collect()
        });
        for end in ends {
            assert_eq!(end.code, 0, "{}", end.stderr);
        }
        assert_eq!(cache.steps(), [""; 0]);
        assert_eq!(steps::done(&cache.build(&source)).len(), 12);
    }
}

#[test]
fn prune_while_builds_go_on_makes_no_build_fail() {
    if !Isolation::Namespace.allowed("cache commands: prune and builds") {
        return;
    }
    let (source, scratch, registry) = (three_files(), Scratch::new("cache"), Registry::plain());
    for (cache, is_directory) in [(Cache::directory(&scratch), true), (Cache::repository(&registry.address), false)] {
        let reproducible = |source| {
            let mut executor = cache.executor(source);
            executor.add(&["--reproducible"]);
            executor
        };
        let first = reproducible(&source).run().expect(0);
        for _ in 0..6 {
            if is_directory {
                // Blobs that nothing names are swept, however young the entries are.
                age(&scratch, |path| path.parent().is_some_and(|parent| parent.ends_with("sha256")));
            }
            let builds: Vec<_> = (0..2).map(|_| reproducible(&source).start()).collect();
            let end = cache.run("prune", &["--max-size=1"]);
            assert_eq!(end.code, 0, "{}", end.stderr);
            for build in builds {
                let build = build.finish().expect(0);
                build.image().verify();
                assert_eq!(build.image().digest, first.image().digest, "{}", build.stderr);
            }
        }
        // Whatever was lost meanwhile is made again once, and then it is there.
        reproducible(&source).run().expect(0);
        assert_eq!(steps::done(&reproducible(&source).run().expect(0)), [""; 0]);
    }
}
