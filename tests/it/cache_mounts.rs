//! Cache mounts that a registry keeps: what the next pod finds, what is sent, and what is not believed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tar::EntryType;

use crate::support::bases::Layer;
use crate::support::executor::{Build, Executor};
use crate::support::image::sha256;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::{EXECUTOR, Pod};
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::source;

const FILL: &str = "FROM $BASE
RUN --mount=type=cache,id=team,target=/c mkdir /c/d && echo kept > /c/d/file && ln /c/d/file /c/second && \\
    ln -s /outside /c/link && chown 7:8 /c/d/file && chmod 0640 /c/d/file && touch -d '2001-02-03 04:05:06' /c/d/file && touch /c/now
";
const READ: &str = "FROM $BASE
RUN --mount=type=cache,id=team,target=/c cd /c && stat -c '%a %h %u:%g %Y' d/file > /seen; readlink link >> /seen; \\
    cat second >> /seen; stat -c %y now | grep -c '[.]0* ' >> /seen; ls >> /seen
";

/// Prepares a build whose cache mounts are in `/caches` of the registry at that address.
fn prepared(isolation: Isolation, address: &str, dockerfile: &str) -> Executor {
    let source = source(dockerfile, &[]);
    let mut executor = Executor::new(isolation, source.path());
    executor.keep(source).only_layout();
    executor.add(&[&format!("--cache-mounts-repo={address}/caches"), &format!("--insecure-registry={address}")]);
    executor
}

fn build(isolation: Isolation, address: &str, dockerfile: &str, flags: &[&str]) -> Build {
    prepared(isolation, address, dockerfile).add(flags).run().expect(0)
}

/// Returns what the image has in `/seen`.
fn seen(build: &Build) -> String {
    Listing::of(&build.image()).0["/seen"].text.clone()
}

/// Returns how many requests changed something.
fn changes(proxy: &Proxy) -> usize {
    ["PUT", "POST", "PATCH", "DELETE"].iter().map(|method| proxy.count(method, "/caches")).sum()
}

#[test]
fn a_fresh_pod_finds_it_and_sends_it_back_only_when_it_changed() {
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache mounts: registry")) {
        let registry = Registry::plain();
        let proxy = Proxy::start(&registry.address, &[]);
        let name = isolation.name();
        build(isolation, &proxy.address, FILL, &[]);
        assert_eq!(proxy.count("PUT", "/caches/manifests/mount-"), 1, "{name}: it is sent once");
        let (changed, asked) = (changes(&proxy), proxy.requests().len());
        let found = build(isolation, &proxy.address, READ, &[]);
        assert!(
            seen(&found).contains("640 2 7:8 981173106\\n/outside\\nkept\\n0\\nd\\nlink\\nnow\\nsecond\\n"),
            "{}",
            seen(&found)
        );
        assert_eq!(changes(&proxy), changed, "{name}: what did not change is not sent: {}", found.stderr);
        assert!(proxy.requests().len() > asked, "{name}: or this test shows nothing");
        let other = READ.replace("cd /c &&", "cd /c && rm second && echo more > more &&");
        build(isolation, &proxy.address, &other, &[]);
        let last = build(isolation, &proxy.address, READ, &[]);
        assert!(
            seen(&last).contains("640 1 7:8 981173106\\n/outside\\n0\\nd\\nlink\\nmore\\nnow\\n"),
            "{name}: {}",
            seen(&last)
        );
    }
}

#[test]
fn only_a_run_that_is_done_asks_for_it() {
    if !Isolation::Namespace.allowed("cache mounts: lazy") {
        return;
    }
    let (registry, layers) = (Registry::plain(), Scratch::new("layers"));
    let proxy = Proxy::start(&registry.address, &[]);
    let cache = format!("--cache-repo=oci:{}", layers.path().display());
    build(Isolation::Namespace, &proxy.address, FILL, &["--cache", &cache]);
    let asked = proxy.requests().len();
    assert!(asked > 0);
    build(Isolation::Namespace, &proxy.address, FILL, &["--cache", &cache]);
    assert_eq!(proxy.requests().len(), asked);
    let mut list = Command::new(EXECUTOR);
    list.args(["cache", "ls", &format!("--cache-repo={}/caches", registry.address), "--insecure-pull"]);
    let listed = process::run(&mut list, SHORT).success();
    assert!(listed.contains("cache mount team") && listed.contains("1 entries"), "{listed}");
}

#[test]
fn who_may_not_write_does_not_and_a_namespace_is_its_own() {
    if !Isolation::Namespace.allowed("cache mounts: namespaces") {
        return;
    }
    let registry = Registry::plain();
    let proxy = Proxy::start(&registry.address, &[]);
    let run = |dockerfile: &str, flags: &[&str]| build(Isolation::Namespace, &proxy.address, dockerfile, flags);
    let write = |text: &str| format!("FROM $BASE\nRUN --mount=type=cache,id=team,target=/c echo {text} > /c/file\n");
    let read = "FROM $BASE\nRUN --mount=type=cache,id=team,target=/c cat /c/file > /seen\n";
    run(&write("main"), &[]);
    run(&write("branch"), &["--cache-namespace=pr/1"]);
    for (flags, text) in
        [(&["--cache-namespace=pr/1"][..], "branch"), (&["--cache-namespace=pr/2"], "main"), (&[], "main")]
    {
        assert!(seen(&run(read, flags)).contains(text), "{flags:?}");
    }
    let changed = changes(&proxy);
    run(&write("nobody"), &["--cache-mode=ro"]);
    run(&write("nobody"), &["--no-push-cache"]);
    assert_eq!(changes(&proxy), changed);
    // What a build has gained is kept though it fails, as in BuildKit.
    let fails = write("gained").replace("/c/file", "/c/file && false");
    prepared(Isolation::Namespace, &proxy.address, &fails).run().expect(1);
    assert!(seen(&run(read, &[])).contains("gained"));
    // One that is too old, or too large, begins anew.
    std::thread::sleep(Duration::from_millis(1100));
    let empty = "FROM $BASE\nRUN --mount=type=cache,id=team,target=/c ls /c | wc -l > /seen\n";
    assert!(seen(&run(empty, &["--cache-mounts-max-age=1ns"])).contains("\"0\\n\""));
    let large = "FROM $BASE\nRUN --mount=type=cache,id=team,target=/c yes | head -c 3000000 > /c/large\n";
    let told = run(large, &["--cache-mounts-max-size=1M"]).stderr;
    assert!(told.contains("more than the 1048576 that it may have, and begins anew next time"), "{told}");
    assert!(seen(&run(empty, &[])).contains("\"0\\n\""));
}

#[test]
fn of_two_builds_at_a_time_one_counts_and_it_is_whole() {
    if !Isolation::Namespace.allowed("cache mounts: at a time") {
        return;
    }
    let registry = Registry::plain();
    let write =
        "FROM $BASE\nARG N\nRUN --mount=type=cache,id=team,target=/c for i in $(seq 50); do echo $N > /c/$i; done\n";
    for round in 0..3 {
        let mut builds: Vec<_> = (0..3).map(|_| prepared(Isolation::Namespace, &registry.address, write)).collect();
        let ongoing = builds.iter_mut().enumerate().map(|(number, one)| {
            let number = format!("--build-arg=N={}", round * 3 + number);
            one.add(&[&number]).start()
        });
        let ongoing: Vec<_> = ongoing.collect();
        ongoing.into_iter().for_each(|one| drop(one.finish().expect(0)));
        let read = "FROM $BASE\nRUN --mount=type=cache,id=team,target=/c cat /c/* | sort | uniq -c > /seen\n";
        let found = seen(&build(Isolation::Namespace, &registry.address, read, &[]));
        assert!(found.contains(" 50 ") && found.matches("\\n").count() == 1, "all files are of one build: {found}");
    }
}

#[test]
fn a_registry_that_fails_is_told_and_the_build_goes_on() {
    if !Isolation::Namespace.allowed("cache mounts: faults") {
        return;
    }
    let registry = Registry::plain();
    build(Isolation::Namespace, &registry.address, FILL, &[]);
    let two = format!("{READ}RUN --mount=type=cache,id=other,target=/d touch /d/x\n");
    for (method, times, warnings) in [("GET", 1000, 1), ("POST", 1000, 1)] {
        let rules = [Rule::new(method, "/caches/", Fault::Status(400, ""), times)];
        let proxy = Proxy::start(&registry.address, &rules);
        let run = build(Isolation::Namespace, &proxy.address, &two, &[]);
        let told = run.stderr.lines().filter(|line| line.contains("the cache mount")).count();
        assert_eq!(told, warnings, "{method}: {}", run.stderr);
        if method == "GET" {
            assert_eq!(changes(&proxy), 0, "what could not be read is not replaced");
        }
    }
    assert!(seen(&build(Isolation::Namespace, &registry.address, READ, &[])).contains("kept"));
    // What is above the part that is written is not asked for each mount.
    let rules = [Rule::new("GET", "/v2/caches/manifests/", Fault::Status(503, ""), 1000)];
    let proxy = Proxy::start(&registry.address, &rules);
    let run = build(Isolation::Namespace, &proxy.address, &two, &["--cache-namespace=pr"]);
    assert_eq!(proxy.count("GET", "/v2/caches/manifests/"), 3, "{}", run.stderr);
}

#[test]
fn what_cannot_be_read_is_not_replaced() {
    if !Isolation::Namespace.allowed("cache mounts: faults of blobs") {
        return;
    }
    let fill = |id: &str| format!("RUN --mount=type=cache,id={id},target=/c echo good > /c/file\n");
    let (fill, write) = (format!("FROM $BASE\n{}{}", fill("one"), fill("two")), |id: &str| {
        format!("RUN --mount=type=cache,id={id},target=/c cat /c/* >> /seen; echo other > /c/other\n")
    });
    let write = format!("FROM $BASE\n{}{}", write("one"), write("two"));
    let refused = Fault::Status(400, "");
    for (what, fault, attempts) in
        [("503", Fault::Status(503, ""), 3), ("400", refused, 1), ("no answer", Fault::Drop, 3)]
    {
        let registry = Registry::plain();
        build(Isolation::Namespace, &registry.address, &fill, &[]);
        // Manifests are answered, and so it is known that there is something.
        let proxy = Proxy::start(&registry.address, &[Rule::new("GET", "/caches/blobs/", fault, 1000)]);
        let run = build(Isolation::Namespace, &proxy.address, &write, &[]);
        let told = run.stderr.lines().filter(|line| line.contains("the cache mount")).count();
        assert_eq!(told, 1, "{what}: {}", run.stderr);
        assert_eq!(proxy.count("GET", "/caches/blobs/"), attempts, "{what}: it is given up: {:#?}", proxy.requests());
        assert_eq!(changes(&proxy), 0, "{what}: {}", run.stderr);
        let after = seen(&build(Isolation::Namespace, &registry.address, &write, &[]));
        assert!(after.contains("\"good\\ngood\\n\""), "{what}: {after}");
    }
    let registry = Registry::plain();
    build(Isolation::Namespace, &registry.address, &fill, &[]);
    let proxy = Proxy::start(&registry.address, &[Rule::new("GET", "/caches/blobs/", Fault::Corrupt, 1000)]);
    let run = build(Isolation::Namespace, &proxy.address, &write, &[]);
    assert_eq!(run.stderr.matches("begins anew: ").count(), 2, "a wrong digest: {}", run.stderr);
    let after = seen(&build(Isolation::Namespace, &registry.address, &write, &[]));
    assert!(after.contains("\"other\\nother\\n\""), "{after}");
}

#[test]
fn what_a_run_that_was_ended_has_left_is_not_kept() {
    if !Isolation::Namespace.allowed("cache mounts: torn") {
        return;
    }
    let registry = Registry::plain();
    // They meet in a cache, so that the one surely is at work when the other fails.
    let dockerfile = "FROM $BASE AS slow
RUN --mount=type=cache,id=torn,target=/c --mount=type=cache,id=meet,target=/meet \\
    echo half > /c/file && touch /meet/slow && sleep 100
FROM $BASE AS fails
RUN --mount=type=cache,id=whole,target=/c --mount=type=cache,id=meet,target=/meet echo gained > /c/file; i=0; \\
    until [ -e /meet/slow ] || [ $i = 300 ]; do sleep 0.1; i=$((i + 1)); done; false
FROM fails
COPY --from=slow /c /c
";
    let run = prepared(Isolation::Namespace, &registry.address, dockerfile).add(&["--jobs=2"]).run().expect(1);
    assert!(run.stderr.contains("kept the cache mount whole"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("kept the cache mount").count(), 1, "{}", run.stderr);
}

#[test]
fn a_build_that_begins_again_loses_nothing_of_its_first_attempt() {
    if !Isolation::Namespace.allowed("cache mounts: attempts") {
        return;
    }
    let registry = Registry::plain();
    let dockerfile = "FROM $BASE AS first
ARG N
RUN --mount=type=cache,id=team,target=/c echo $N >> /c/first; echo $N > /done
FROM $BASE
RUN echo lent > /lent
RUN --mount=type=bind,from=first,target=/first --mount=type=cache,id=team,target=/c \\
    cp /first/done /done; echo again >> /c/second
";
    let cached = |address: &str, number: &str| {
        let cache = format!("--cache-repo={address}/layers");
        build(Isolation::Namespace, address, dockerfile, &["--cache", &cache, &format!("--build-arg=N={number}")])
    };
    cached(&registry.address, "one");
    let proxy = Proxy::start(&registry.address, &[Rule::new("GET", "/layers/blobs/", Fault::Status(503, ""), 1000)]);
    let again = cached(&proxy.address, "two");
    assert_eq!(again.stderr.matches("the build begins again").count(), 1, "{}", again.stderr);
    let read = "FROM $BASE\nRUN --mount=type=cache,id=team,target=/c cat /c/* > /seen\n";
    let seen = seen(&build(Isolation::Namespace, &registry.address, read, &[]));
    assert!(seen.contains("\"one\\ntwo\\nagain\\nagain\\n\""), "{seen}: {}", again.stderr);
}

fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    process::run(command.args(["-sSf", "--noproxy", "*"]).args(arguments), SHORT).success()
}

/// Puts another layer into the only cache mount that the registry has.
fn poison(registry: &Registry, tar: &[u8]) {
    let scratch = Scratch::new("poison");
    let base = format!("http://{}/v2/caches", registry.address);
    let blob = zstd::encode_all(tar, 1).expect("memory");
    let file = scratch.file("blob", &blob);
    let headers = curl(&["-D", "-", "-o", "/dev/null", "-X", "POST", &format!("{base}/blobs/uploads/")]);
    let location = headers.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a location").trim();
    let digest = sha256(&mut &*blob);
    let data = |path: &std::path::Path| format!("@{}", path.display());
    let binary = "Content-Type: application/octet-stream";
    curl(&["-X", "PUT", "-H", binary, "--data-binary", &data(&file), &format!("{location}&digest={digest}")]);
    let tags: Value = serde_json::from_str(&curl(&[&format!("{base}/tags/list")])).expect("JSON");
    let url = format!("{base}/manifests/{}", tags["tags"][0].as_str().expect("a tag"));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = curl(&["-H", &format!("Accept: {media_type}"), &url]);
    let mut manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["artifactType"], "application/vnd.yadokari.cache-mount.v1");
    manifest["layers"][0]["digest"] = digest.into();
    manifest["layers"][0]["size"] = blob.len().into();
    let file = scratch.file("manifest", manifest.to_string());
    curl(&["-X", "PUT", "-H", &format!("Content-Type: {media_type}"), "--data-binary", &data(&file), &url]);
}

#[test]
fn what_we_would_not_have_kept_is_refused() {
    type Make = fn(&mut Layer, &str);
    let rows: [(&str, Make, &[Isolation]); 6] = [
        ("dots", |layer, outside| layer.raw_name(&format!("../../../../..{outside}"), b"x"), &[Isolation::Namespace]),
        ("absolute", |layer, outside| layer.raw_name(outside, b"x"), &[Isolation::Namespace]),
        (
            "link",
            |layer, outside| {
                let directory = outside.rsplit_once('/').expect("an absolute path").0;
                layer.symlink("evil", &format!("../../../../../..{directory}"));
                layer.raw_name("evil/escaped", b"x");
            },
            &[Isolation::Container],
        ),
        ("hard link", |layer, outside| layer.hard_link("x", &format!("../../../..{outside}")), &[Isolation::Namespace]),
        (
            "device",
            |layer, _| layer.node("null", EntryType::Char, (1, 3)),
            &[Isolation::Namespace, Isolation::Container],
        ),
        ("whiteout", |layer, _| layer.file(".wh.x", 0o644, (0, 0), b""), &[Isolation::Namespace]),
    ];
    let read = "FROM $BASE\nRUN --mount=type=cache,id=team,target=/c ls -A /c | wc -l > /seen; echo x > /c/x\n";
    for (what, make, isolations) in rows {
        for &isolation in isolations {
            if !isolation.allowed(&format!("cache mounts: {what}")) {
                continue;
            }
            let (registry, outside) = (Registry::plain(), Scratch::new("outside"));
            build(isolation, &registry.address, FILL, &[]);
            let mut layer = Layer::default();
            make(&mut layer, &outside.join("escaped").display().to_string());
            poison(&registry, &layer.finish());
            let source = source(read, &[]);
            let mut executor = match isolation {
                Isolation::Namespace => Executor::new(isolation, source.path()),
                Isolation::Container | Isolation::Chroot | Isolation::Mediated | Isolation::Auto => {
                    let mut pod = Pod::plain();
                    pod.mount_writable(outside.path(), &outside.path().display().to_string());
                    Executor::in_pod(isolation, pod, source.path())
                }
            };
            let place = format!("--cache-mounts-repo={}/caches", registry.address);
            let run = executor.only_layout().add(&[&place, &format!("--insecure-registry={}", registry.address)]).run();
            let run = run.expect(0);
            assert!(run.stderr.contains("begins anew: "), "{what} in {}: {}", isolation.name(), run.stderr);
            assert!(seen(&run).contains("\"0\\n\""), "{what} in {}: {}", isolation.name(), seen(&run));
            assert!(fs::read_dir(outside.path()).expect("lists").next().is_none(), "{what} left the mount");
            if what == "dots" {
                let again = seen(&build(isolation, &registry.address, read, &[]));
                assert!(again.contains("\"1\\n\""), "what is refused is replaced: {again}");
            }
        }
    }
}

#[test]
fn directories_of_the_container_itself_outlive_the_build() {
    if !Isolation::Container.allowed("caches in plain directories") {
        return;
    }
    let dockerfile = "FROM $BASE\nRUN echo early > /early\nARG N\n\
                      RUN --mount=type=cache,target=/c echo $N >> /c/log; cp /c/log /seen\n";
    let source = source(dockerfile, &[]);
    let mut executor = Executor::new(Isolation::Container, source.path());
    executor.only_layout().add(&["--cache", "--cache-repo=oci:/plain/layers", "--cache-mounts=/plain/mounts"]);
    let twice = "/kaniko/executor \"$@\" --build-arg=N=1 && /kaniko/executor \"$@\" --build-arg=N=2";
    let build = executor.run_script(twice).expect(0);
    assert!(seen(&build).contains("\"1\\n2\\n\""), "{}", seen(&build));
    assert!(build.stderr.contains("Using caching version of cmd: RUN echo early"), "{}", build.stderr);
}
