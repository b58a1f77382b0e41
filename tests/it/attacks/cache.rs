//! What stands in a cache decides what later builds ship: who may put what there.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::executor::{Build, Executor};
use crate::support::image::Image;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::{EXECUTOR, Pod};
use crate::support::process::{self, SHORT};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{noise, source};
use crate::support::steps::done;

const KEY: &str = "5c0d2f51b7a84f0ba8f5d2c9e66a7e1b";
const OTHER_KEY: &str = "another-key-that-is-long-enough-too";

/// Two steps, each with a layer.
fn two_steps() -> Scratch {
    source("FROM $BASE\nCOPY file /file\nRUN cat /file > /ran\n", &[("file", "good\n")])
}

fn build(source: &Scratch, key: Option<&str>, flags: &[&str]) -> Build {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&["--cache"]).add(flags).output("--metadata-file", "metadata.json");
    if let Some(key) = key {
        executor.env("YADOKARI_CACHE_KEY", key);
    }
    executor.run().expect(0)
}

/// Puts the layer of one entry of a directory in the place of another's, as whoever may write there can.
fn exchange(cache: &Path) {
    const SCRIPT: &str = "
import glob, hashlib, json, sys
names = sorted(glob.glob(sys.argv[1] + '/entries/step-*'))
records = [json.loads(open(name).read().partition('\\n')[2]) for name in names]
parts = [json.loads(record['document']) for record in records]
assert len(parts) == 2, names
records[0]['blob'], records[1]['blob'] = records[1]['blob'], records[0]['blob']
parts[0]['diff_id'], parts[1]['diff_id'] = parts[1]['diff_id'], parts[0]['diff_id']
for name, record, part in zip(names, records, parts):
    record['document'] = json.dumps(part, separators=(',', ':'))
    text = json.dumps(record, separators=(',', ':'))
    open(name, 'w').write(hashlib.sha256(text.encode()).hexdigest() + '\\n' + text)
";
    process::run(Command::new("python3").args(["-c", SCRIPT]).arg(cache), SHORT).success();
}

/// Without a key the executor cannot know better; with one, nothing of it is taken.
#[test]
fn an_entry_that_somebody_else_has_written_is_taken_by_nobody_who_has_the_key() {
    if !Isolation::Namespace.allowed("attacks: sealed directories") {
        return;
    }
    for (key, is_taken) in [(None, true), (Some(KEY), false)] {
        let (source, cache) = (two_steps(), Scratch::new("cache"));
        let place = format!("--cache-repo=oci:{}", cache.path().display());
        let first = build(&source, key, &[&place]);
        assert_eq!(done(&build(&source, key, &[&place])), [""; 0], "what is sealed is found");
        exchange(cache.path());
        let second = build(&source, key, &[&place]);
        assert_eq!(done(&second).is_empty(), is_taken, "{key:?}: {}", second.stderr);
        if !is_taken {
            assert!(second.stderr.contains("its seal was not made with the key"), "{}", second.stderr);
            let files = |build: &Build| Listing::of(&build.image()).0.keys().cloned().collect::<Vec<_>>();
            assert_eq!(files(&second), files(&first));
        }
        assert!(!format!("{}{}", first.stderr, second.stderr).contains(KEY));
    }
}

#[test]
fn a_seal_is_of_one_key_and_one_part_of_the_cache() {
    if !Isolation::Namespace.allowed("attacks: seals") {
        return;
    }
    let (source, cache) = (two_steps(), Scratch::new("cache"));
    let place = format!("--cache-repo=oci:{}", cache.path().display());
    build(&source, None, &[&place]);
    let unsealed = build(&source, Some(KEY), &[&place]);
    assert_eq!(done(&unsealed).len(), 2, "what has no seal does not count: {}", unsealed.stderr);
    assert_eq!(unsealed.stderr.matches("without a seal").count(), 1, "told once: {}", unsealed.stderr);
    assert_eq!(done(&build(&source, Some(KEY), &[&place])), [""; 0]);
    assert_eq!(done(&build(&source, Some(OTHER_KEY), &[&place, "--cache-mode=ro"])).len(), 2);
    assert_eq!(done(&build(&source, None, &[&place])), [""; 0], "who has no key takes what is there");
    // A branch reads what is above it; what it has written is not taken above, even if somebody moves it there.
    let branch = [place.as_str(), "--cache-namespace=pr/12"];
    assert_eq!(done(&build(&source, Some(KEY), &branch)), [""; 0]);
    source.file("context/file", "of the branch\n");
    assert_eq!(done(&build(&source, Some(KEY), &branch)).len(), 2);
    let moved = format!(
        "cp {0}/namespaces/pr/namespaces/12/entries/* {0}/entries/ && \
         cp {0}/namespaces/pr/namespaces/12/blobs/sha256/* {0}/blobs/sha256/",
        cache.path().display()
    );
    process::run(Command::new("sh").args(["-ec", &moved]), SHORT).success();
    assert_eq!(done(&build(&source, Some(KEY), &[&place])).len(), 2, "it is the branch's");
}

/// Returns what the trail in a cache says, but for times and the names of entries.
fn trail(cache: &Path) -> serde_json::Value {
    let blobs = fs::read_dir(cache.join("blobs/sha256")).expect("it has blobs");
    let texts = blobs.flatten().filter_map(|blob| fs::read(blob.path()).ok());
    let mut trails = texts.filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let mut trail = trails.find(|document| document.get("steps").is_some()).expect("a trail");
    for step in trail["steps"].as_array_mut().expect("steps") {
        for what in ["made", "key"] {
            step.as_object_mut().expect("a step").remove(what).expect(what);
        }
    }
    trail
}

/// Who reads a cache could try values of a build argument until one has the digest that is kept of it.
#[test]
fn a_trail_says_nothing_of_build_arguments_and_the_log_names_them_all_the_same() {
    if !Isolation::Namespace.allowed("attacks: trails") {
        return;
    }
    let text = "FROM $BASE AS first\nARG PIN\nRUN true > /ran\nFROM $BASE\nARG PIN\nCOPY --from=first /ran /\nCOPY file ./$PIN\n";
    let source = source(text, &[("file", "x")]);
    for (key, told) in [(None, "one of these changed: variable "), (Some(KEY), "variable PIN changed since")] {
        let caches = ["1111", "2222"].map(|pin| {
            let cache = Scratch::new("cache");
            let place = format!("--cache-repo=oci:{}", cache.path().display());
            build(&source, key, &[&place, "--reproducible", &format!("--build-arg=PIN={pin}")]);
            let trail = trail(cache.path());
            (cache, place, trail)
        });
        let [(_first, place, one), (_second, _, other)] = &caches;
        assert_eq!(one == other, key.is_none(), "{one}\n{other}");
        let again = build(&source, key, &[place, "--reproducible", "--build-arg=PIN=3333"]);
        assert!(again.stderr.contains(told) && again.stderr.contains("variable PIN"), "{}", again.stderr);
    }
}

#[test]
fn entries_of_registries_and_images_are_sealed_too() {
    if !Isolation::Namespace.allowed("attacks: sealed registries") {
        return;
    }
    let (source, registry) = (two_steps(), Registry::plain());
    let push = |key: Option<&str>, flags: &[&str]| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, "app:1").add(flags).output("--metadata-file", "metadata.json");
        if let Some(key) = key {
            executor.env("YADOKARI_CACHE_KEY", key);
        }
        executor.run().expect(0)
    };
    let repository = format!("--cache-repo={}/cache", registry.address);
    let ways: [(&[&str], &[&str]); 2] = [
        (&["--cache", &repository], &["--cache", &repository, "--cache-mode=ro"]),
        (&["--cache-inline"], &[&format!("--cache-from={}/app:1", registry.address)]),
    ];
    for (write, read) in ways {
        push(None, write);
        assert_eq!(done(&push(Some(KEY), read)).len(), 2, "{read:?}: without a seal");
        push(Some(KEY), write);
        assert_eq!(done(&push(Some(KEY), read)), [""; 0], "{read:?}: with the seal");
        push(Some(KEY), write);
        assert_eq!(done(&push(Some(OTHER_KEY), read)).len(), 2, "{read:?}: with another one");
    }
}

#[test]
fn cache_mounts_of_a_repository_are_sealed_too() {
    if !Isolation::Namespace.allowed("attacks: sealed cache mounts") {
        return;
    }
    let registry = Registry::plain();
    let repository = format!("--cache-mounts-repo={}/mounts", registry.address);
    let (here, there) = (&registry.address, registry::shared().address.clone());
    let run = |key: Option<&str>, command: &str| {
        let source = source(&format!("FROM $BASE\nRUN --mount=type=cache,target=/c {command}\n"), &[]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&[&repository, &format!("--insecure-registry={here}")]);
        executor.add(&[&format!("--insecure-registry={there}")]);
        if let Some(key) = key {
            executor.env("YADOKARI_CACHE_KEY", key);
        }
        executor.run()
    };
    run(None, "echo poison > /c/f").expect(0);
    let sealed = run(Some(KEY), "test ! -e /c/f && echo good > /c/f").expect(0);
    assert!(sealed.stderr.contains("no seal"), "{}", sealed.stderr);
    run(Some(KEY), "grep good /c/f").expect(0);
    run(Some(OTHER_KEY), "test ! -e /c/f").expect(0);
}

/// A volume with the cache; in a pod, RUN may be root in the container's own root.
#[test]
fn a_run_that_can_write_to_the_cache_is_told_and_a_key_makes_it_harmless() {
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("attacks: cache volumes")) {
        let (source, cache) = (two_steps(), Scratch::new("cache"));
        // What a stranger's Dockerfile does to the cache of the main branch.
        let text = format!(
            "FROM $BASE\nRUN for e in /shared/entries/step-* {}/entries/step-*; do \
             test -f $e && echo poison > $e; done; true\n",
            cache.path().display()
        );
        let hostile = self::source(&text, &[]);
        let run = |source: &Scratch, key: Option<&str>, flags: &[&str]| {
            let mut executor = Executor::new(isolation, source.path());
            let place = executor.shared_directory(cache.path());
            executor.only_layout().add(&["--cache", &format!("--cache-repo=oci:{place}")]).add(flags);
            if let Some(key) = key {
                executor.env("YADOKARI_CACHE_KEY", key);
            }
            executor.output("--metadata-file", "metadata.json").run().expect(0)
        };
        let (name, reaches) = (isolation.name(), isolation == Isolation::Container);
        let first = run(&source, None, &[]);
        assert_eq!(first.stderr.contains("RUN can write to the cache in"), reaches, "{name}: {}", first.stderr);
        let sealed = run(&source, Some(KEY), &[]);
        assert!(!sealed.stderr.contains("RUN can write to the cache"), "{name}: {}", sealed.stderr);
        run(&hostile, Some(KEY), &["--cache-namespace=pr/12", "--cache-mode=ro"]);
        let after = run(&source, Some(KEY), &[]);
        assert_eq!(done(&after).len(), if reaches { 2 } else { 0 }, "{name}: {}", after.stderr);
        assert_eq!(Listing::of(&after.image()).0["/ran"].text, "file 0644 0:0 \"good\\n\"", "{name}");
    }
}

/// What a RUN of an earlier build that had the volume has left there.
#[test]
fn nothing_is_written_or_removed_through_links_of_a_cache() {
    if !Isolation::Namespace.allowed("attacks: links in a cache") {
        return;
    }
    let text = "FROM $BASE\nCOPY file /file\nRUN --mount=type=cache,target=/cache echo x > /cache/x\n";
    let source = source(text, &[("file", "good\n")]);
    for link in ["entries", "blobs", "blobs/sha256", "mounts/used", "mounts/about", "mounts/lock-0", "mounts/data-0"] {
        let (volume, victim) = (Scratch::new("volume"), Scratch::new("victim"));
        victim.file("somebodys", "untouched");
        let (cache, caches) = (volume.directory("cache"), volume.directory("caches"));
        let place = format!("--cache-repo=oci:{}", cache.display());
        let mounts = format!("--cache-mounts={}", caches.display());
        build(&source, None, &[&place, &mounts]);
        let mount = fs::read_dir(&caches).expect("lists").flatten().find(|entry| entry.path().is_dir());
        let mount = mount.expect("a cache mount").path();
        let path = link.strip_prefix("mounts/").map_or_else(|| cache.join(link), |name| mount.join(name));
        let target = if link.starts_with("mounts/") && link != "mounts/data-0" { "made" } else { "" };
        match fs::symlink_metadata(&path).expect("it is there").is_dir() {
            true => fs::remove_dir_all(&path).expect("removes"),
            false => fs::remove_file(&path).expect("removes"),
        }
        std::os::unix::fs::symlink(victim.join(target), &path).expect("links");
        // Either the cache is not used, or the build fails: never is anything written elsewhere.
        source.file("context/file", format!("other {link}\n"));
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let ended = executor.only_layout().add(&["--cache", &place, &mounts]).run();
        assert!(ended.code == 0 || ended.stderr.contains("symbolic link"), "{link}: {}", ended.stderr);
        let prune = ["cache", "prune", "--older-than=0s", &place];
        process::run(Command::new(EXECUTOR).args(prune), SHORT);
        let left: Vec<_> = fs::read_dir(victim.path()).expect("lists").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["somebodys"], "{link}: {}", ended.stderr);
    }
}

#[test]
fn a_key_in_a_file_that_run_could_read_is_refused() {
    if !Isolation::Container.allowed("attacks: keys in reach") {
        return;
    }
    let no_run = source("FROM scratch\nCOPY file /file\n", &[("file", "x")]);
    for (source, isolation, code) in [
        (two_steps(), Isolation::Container, 71),
        (two_steps(), Isolation::Chroot, 0),
        (no_run, Isolation::Container, 0),
    ] {
        let mut executor = Executor::new(isolation, source.path());
        let key = executor.credential("cache-key", KEY);
        executor.only_layout().add(&["--cache", "--cache-repo=oci:/tmp/cache", &format!("--cache-key-file={key}")]);
        let build = executor.run().expect(code);
        assert!(code == 0 || build.stderr.contains("YADOKARI_CACHE_KEY"), "{}", build.stderr);
        assert!(!build.stderr.contains(KEY));
    }
}

/// Where an inventory says that `/app` leads elsewhere, COPY would follow.
const COPY: &str = "FROM $BASE\nCOPY file /link/\n";

fn inventories(state: &Path) -> Vec<std::path::PathBuf> {
    let of_state = fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = of_state.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("inventor")));
    own.collect()
}

#[test]
fn an_inventory_that_another_user_has_planted_is_not_believed() {
    if !Isolation::Namespace.allowed("attacks: planted inventories") {
        return;
    }
    let (source, state) = (source(COPY, &[("file", "x")]), Scratch::new("state"));
    let build = || {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&[&format!("--state-dir={}", state.path().display())]).run().expect(0)
    };
    let place = |image: &Image| Listing::of(image).0.contains_key("/usr/share/file");
    let first = build();
    assert!(place(&first.image()));
    let [kept] = &inventories(state.path())[..] else { panic!("one directory: {:?}", inventories(state.path())) };
    let names = fs::read_dir(kept).expect("it is there").flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    assert_eq!(names.len(), 1, "{names:?}");
    let mode = fs::metadata(kept).expect("it is there").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    std::os::unix::fs::chown(kept, Some(65534), Some(65534)).expect("root may");
    let second = build();
    assert!(place(&second.image()));
    assert!(second.stderr.contains("belongs to user"), "{}", second.stderr);
}

/// The second build in the container would find what the RUN of the first one has put there.
#[test]
fn an_inventory_that_a_run_has_planted_is_not_believed() {
    for isolation in [Isolation::Container, Isolation::Chroot] {
        if isolation.allowed("attacks: inventories of RUN") {
            plants_no_inventory(isolation);
        }
    }
}

fn plants_no_inventory(isolation: Isolation) {
    // It leaves what this executor has kept wherever one could look, under the names of its own layers.
    let text = "FROM $BASE\nCOPY file /first\nRUN for f in $(find /kaniko -path '*inventor*' -type f 2>/dev/null); do \
         for d in /kaniko/yadokari-inventories /kaniko/yadokari-inventories-0; do mkdir -p -m 700 $d; \
         head -c 20 $f > $d/$(basename $f); done; done; true\nCOPY file /link/\n";
    let source = source(text, &[("file", "x")]);
    let mut executor = Executor::in_pod(isolation, Pod::plain(), source.path());
    executor.only_layout();
    let twice = "/kaniko/executor \"$@\" && rm -r /step-results/layout && exec /kaniko/executor \"$@\"";
    let build = executor.run_script(twice).expect(0);
    assert!(Listing::of(&build.image()).0.contains_key("/usr/share/file"), "{}", isolation.name());
}

#[test]
fn what_killed_builds_leave_among_inventories_is_collected() {
    if !Isolation::Namespace.allowed("attacks: left inventories") {
        return;
    }
    let (source, state) = (source(COPY, &[("file", "x")]), Scratch::new("state"));
    source.file("context/more", noise(4, 1 << 10));
    let build = || {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&[&format!("--state-dir={}", state.path().display())]).run().expect(0)
    };
    build();
    let kept = inventories(state.path()).pop().expect("it is there");
    let left = [".a.0123-1.tmp", ".b.4567-1.tmp"].map(|name| kept.join(name));
    left.iter().for_each(|path| fs::write(path, "half").expect("ours"));
    process::run(Command::new("touch").args(["-d", "1 hour ago"]).arg(&left[0]), SHORT).success();
    build();
    assert!(!left[0].exists() && left[1].exists(), "what a run that may live is writing stays");
}
