//! kaniko's whole command line, a row for each flag and each variable: what it does, and the build that shows it.
//!
//! A row whose proof needs more than a build has its test in another module, and names it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::bases;
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::source::{one_file, source};

/// How a row is proven.
enum Proof {
    /// By running this.
    Here(fn()),
    /// By a test of a module, `module::test`, in which the flag or variable stands.
    In(&'static str),
}

use Proof::{Here, In};

/// A flag, without dashes, or a variable; what it does; how that is proven.
type Row = (&'static str, &'static str, Proof);

const ONE_FILE: &str = "FROM scratch\nCOPY file /file\n";

/// Builds into a layout, on this machine.
fn build(dockerfile: &str, words: &[&str]) -> Build {
    prepared(dockerfile, words).run().expect(0)
}

fn prepared(dockerfile: &str, words: &[&str]) -> Executor {
    let source = source(dockerfile, &[("file", "x"), ("sub/file", "below")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(words);
    executor.keep(source);
    executor
}

/// Shows whether the image has a path.
fn has(build: &Build, path: &str) -> bool {
    Listing::of(&build.image()).0.contains_key(path)
}

fn label(build: &Build, name: &str) -> String {
    build.image().config["config"]["Labels"][name].as_str().unwrap_or_default().to_owned()
}

/// Proves that a flag is taken, and that a note says why it does nothing.
fn does_nothing(flag: &str) {
    let name = flag.split('=').next().unwrap_or_default();
    let build = build(ONE_FILE, &[flag]);
    assert!(build.stderr.contains(&format!("warning: {name} does nothing: ")), "{}", build.stderr);
    assert!(has(&build, "/file"));
}

/// Builds and pushes to a registry of its own with these words, in which `REGISTRY` is its address.
fn pushed(registry: &Registry, words: &[&str]) -> Build {
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let config = executor.credential("config.json", registry.docker_config(PASSWORD));
    executor.env("DOCKER_CONFIG", Path::new(&config).parent().and_then(Path::to_str).expect("a directory"));
    let words: Vec<String> = words.iter().map(|word| word.replace("REGISTRY", &registry.address)).collect();
    executor.add(&words.iter().map(String::as_str).collect::<Vec<_>>());
    executor.add(&[&format!("--destination={}/app:1", registry.address)]).output("--digest-file", "digest").run()
}

/// Proves that a push to a registry succeeds with these words, and does not without them.
fn is_needed_for_a_push(registry: &Registry, words: &[&str]) {
    let refused = pushed(registry, &["--skip-push-permission-check"]);
    assert_ne!(refused.code, 0, "{}", refused.stderr);
    let build = pushed(registry, words).expect(0);
    assert_eq!(registry.digest("app:1"), build.result("digest"));
}

/// Proves that plain HTTP with a registry that is not on this machine needs these words.
fn is_needed_elsewhere(prove: impl FnOnce(&Registry)) {
    match Registry::elsewhere() {
        Some(registry) => prove(&registry),
        None => skips::skip("flags: plain HTTP elsewhere", "this machine has no address but loopback"),
    }
}

/// Proves that a pull from the shared registry, which speaks plain HTTP, succeeds with these words.
fn is_enough_for_a_pull(words: &[&str]) {
    let source = source("FROM $BASE\nCOPY file /file\n", &[("file", "x")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(&["--no-push"]).add(words).run().expect(0);
}

/// Proves what a snapshot mode sees of a file whose mode alone, and one whose content alone changes.
fn snapshot_mode(flag: &str, sees: [bool; 2]) {
    let dockerfile = "FROM $BASE\nRUN echo one >/content && touch /mode && touch -d @1000000000 /content /mode\n\
        RUN chmod 600 /mode && echo two >/content && touch -d @1000000000 /content && touch /new\n";
    let build = build(dockerfile, &[flag]);
    let image = build.image();
    let last = crate::support::listing::entries(&image, image.layers.len() - 1).join("\n");
    assert_eq!(["mode", "content"].map(|name| last.contains(name)), sees, "{flag}: {last}");
}

/// What kaniko's `executor --help` lists, in three parts that run at the same time.
const WHAT_IS_BUILT: &[Row] = &[
    (
        "build-arg",
        "gives ARG a value",
        Here(|| {
            let build = build("FROM scratch\nARG A\nLABEL a=$A\nCOPY file /\n", &["--build-arg", "A=b=c,d"]);
            assert_eq!(label(&build, "a"), "b=c,d");
        }),
    ),
    (
        "bucket",
        "an old way to name a context in Google Cloud Storage",
        In("context_bucket::gcs_archives_and_directories"),
    ),
    (
        "context",
        "where COPY takes files from",
        Here(|| {
            let other = source(ONE_FILE, &[("file", "from elsewhere")]);
            let context = format!("--context={}", other.join("context").display());
            let build = build(ONE_FILE, &[&context]);
            assert!(Listing::of(&build.image()).0["/file"].text.contains("from elsewhere"));
        }),
    ),
    (
        "context-sub-path",
        "a directory below the context takes its place",
        Here(|| {
            let build = build(ONE_FILE, &["--context-sub-path=sub"]);
            assert!(Listing::of(&build.image()).0["/file"].text.contains("below"));
        }),
    ),
    (
        "custom-platform",
        "the platform of image and bases",
        Here(|| {
            assert_eq!(build(ONE_FILE, &["--custom-platform=linux/arm64"]).image().config["architecture"], "arm64");
        }),
    ),
    (
        "customPlatform",
        "the old name of --custom-platform",
        Here(|| {
            assert_eq!(build(ONE_FILE, &["--customPlatform=linux/s390x"]).image().config["architecture"], "s390x");
        }),
    ),
    (
        "dockerfile",
        "the Dockerfile, here one of the context",
        Here(|| {
            let source = source(ONE_FILE, &[("Other", "FROM scratch\nLABEL a=other\nCOPY file /\n"), ("file", "x")]);
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            let build = executor.only_layout().add(&["--dockerfile=Other"]).run().expect(0);
            assert_eq!(label(&build, "a"), "other");
        }),
    ),
    (
        "dryrun",
        "prints the plan, and does nothing",
        Here(|| {
            let build = build("FROM scratch AS one\nCOPY file /file\n", &["--dryrun"]);
            assert!(
                build.stdout.contains("stage one (line 1) from scratch"),
                "as yadokari plan does: {}",
                build.stdout
            );
            assert_eq!(build.results(), [""; 0]);
        }),
    ),
    ("force-build-metadata", "nothing any more", Here(|| does_nothing("--force-build-metadata"))),
    ("git", "how a Git context is fetched", In("context_git::a_shallow_fetch_moves_little")),
    (
        "ignore-path",
        "leaves a path out of the image",
        Here(|| {
            let build = build("FROM $BASE\nRUN mkdir /a && touch /a/left /b\n", &["--ignore-path=/a"]);
            assert_eq!((has(&build, "/a/left"), has(&build, "/b")), (false, true));
        }),
    ),
    ("ignore-var-run", "leaves /var/run out of the image", Here(|| var_run("--ignore-var-run"))),
    ("whitelist-var-run", "the old name of --ignore-var-run", Here(|| var_run("--whitelist-var-run=true"))),
    ("label", "adds a label", Here(|| assert_eq!(label(&build(ONE_FILE, &["--label=a=b c"]), "a"), "b c"))),
    (
        "materialize",
        "unpacks the last stage although nothing needs it",
        Here(|| {
            let unpacked = |words: &[&str]| build("FROM $BASE\nLABEL a=b\n", words).stderr.contains("unpack ");
            assert_eq!((unpacked(&[]), unpacked(&["--materialize"])), (false, true));
        }),
    ),
    ("pre-cleanup", "nothing any more", Here(|| does_nothing("--pre-cleanup"))),
    ("preserve-context", "nothing any more", Here(|| does_nothing("--preserve-context"))),
    (
        "reproducible",
        "all times are the same",
        Here(|| {
            assert_eq!(build(ONE_FILE, &["--reproducible"]).image().config["created"], "1970-01-01T00:00:00Z");
        }),
    ),
    (
        "secret",
        "a file for RUN that is no part of the image",
        In("run_mounts::a_secret_is_there_for_its_run_and_nowhere_else"),
    ),
    (
        "single-snapshot",
        "one layer for all of a stage",
        Here(|| {
            let layers =
                |words: &[&str]| build("FROM scratch\nCOPY file /a\nCOPY file /b\n", words).image().layers.len();
            assert_eq!((layers(&[]), layers(&["--single-snapshot"])), (2, 1));
        }),
    ),
    ("skip-unused-stages", "nothing any more", Here(|| does_nothing("--skip-unused-stages"))),
    (
        "snapshot-mode",
        "what decides that a file has changed",
        Here(|| {
            snapshot_mode("--snapshot-mode=full", [true, true]);
            snapshot_mode("--snapshot-mode=redo", [true, false]);
        }),
    ),
    ("snapshotMode", "the old name of --snapshot-mode", Here(|| snapshot_mode("--snapshotMode=time", [false, false]))),
    (
        "target",
        "the stage that is built",
        Here(|| {
            let dockerfile = "FROM scratch AS one\nLABEL a=one\nCOPY file /\nFROM scratch\nLABEL a=two\nCOPY file /\n";
            assert_eq!(label(&build(dockerfile, &["--target", "ONE"]), "a"), "one");
        }),
    ),
    ("use-new-run", "nothing any more", Here(|| does_nothing("--use-new-run"))),
];

fn var_run(flag: &str) {
    let dockerfile = "FROM $BASE\nRUN mkdir -p /var/run && touch /var/run/left /var/kept\n";
    let build = build(dockerfile, &[flag]);
    assert_eq!((has(&build, "/var/run/left"), has(&build, "/var/kept")), (false, true));
}

const WHERE_IT_GOES: &[Row] = &[
    ("annotation", "an annotation of the manifest", In("outputs::annotations_stand_where_they_are_asked_for")),
    ("compressed-caching", "nothing any more", Here(|| does_nothing("--compressed-caching=false"))),
    (
        "compression",
        "how layers are compressed",
        Here(|| {
            let manifest = build(ONE_FILE, &["--compression=zstd"]).image().manifest;
            assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        }),
    ),
    (
        "compression-level",
        "how hard",
        Here(|| {
            let text: String =
                (0..40_000).map(|number: u32| format!("{} ", number.wrapping_mul(2_654_435_761))).collect();
            let size = |words: &[&str]| {
                let source = source(ONE_FILE, &[("file", &text)]);
                let build = Executor::new(Isolation::Namespace, source.path()).only_layout().add(words).run().expect(0);
                build.image().manifest["layers"][0]["size"].as_u64().expect("a size")
            };
            assert!(size(&["--compression-level=9"]) < size(&["--compression-level=1"]));
        }),
    ),
    ("destination", "where the image is pushed", In("push::no_credentials_at_all_is_denied_too")),
    (
        "digest-file",
        "the digest in a file",
        Here(|| {
            let mut executor = prepared(ONE_FILE, &[]);
            let build = executor.output("--digest-file", "digest").run().expect(0);
            assert_eq!(build.result("digest"), Some(build.image().digest));
            digest_is_put();
        }),
    ),
    ("image-format", "whose media types the image has", In("outputs::a_bases_media_types_become_those_of_the_image")),
    (
        "image-name-tag-with-digest-file",
        "`name:tag@digest` of each destination",
        Here(|| {
            name_file("--image-name-tag-with-digest-file", "app:1");
        }),
    ),
    (
        "image-name-with-digest-file",
        "`name@digest` of each destination",
        Here(|| {
            name_file("--image-name-with-digest-file", "app");
        }),
    ),
    (
        "no-push",
        "builds only",
        Here(|| {
            let registry = Registry::plain();
            pushed(&registry, &["--no-push", "--insecure"]).expect(0);
            assert_eq!(registry.digest("app:1"), None);
        }),
    ),
    ("oci-layout-path", "an OCI layout", Here(|| build(ONE_FILE, &[]).image().verify())),
    ("tar-path", "an archive as `docker save` writes it", Here(|| archive("--tar-path"))),
    ("tarPath", "the old name of --tar-path", Here(|| archive("--tarPath"))),
    ("push-ignore-immutable-tag-errors", "a tag that cannot be moved is no error", Here(immutable_tag)),
    ("push-retry", "further attempts of a push", Here(|| more_attempts("PUT", "--push-retry"))),
    (
        "skip-push-permission-check",
        "no question before the build",
        Here(|| {
            let asked = |words: &[&str]| {
                let registry = Registry::plain();
                let proxy = Proxy::start(&registry.address, &[]);
                let source = one_file();
                let mut executor = Executor::new(Isolation::Namespace, source.path());
                executor.add(&[&format!("--destination={}/app:1", proxy.address), "--insecure"]);
                executor.add(words).run().expect(0);
                proxy.count("POST", "/blobs/uploads/")
            };
            assert_eq!(asked(&[]), asked(&["--skip-push-permission-check"]) + 1);
        }),
    ),
];

/// Proves that a file holds `REGISTRY/name@digest` and a newline.
fn name_file(flag: &str, name: &str) {
    let (registry, results) = (Registry::plain(), Scratch::new("names"));
    let path = results.join("names");
    let build = pushed(&registry, &["--insecure", &format!("{flag}={}", path.display())]).expect(0);
    let line = format!("{}@{}\n", registry.repository(name), build.result("digest").expect("a digest"));
    assert_eq!(fs::read_to_string(path).ok(), Some(line));
}

/// Proves that a URL gets the digest by PUT, and that a server that refuses it fails the build.
fn digest_is_put() {
    for (status, code) in [("201 Created", 0), ("403 Forbidden", 73)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while String::from_utf8_lossy(&request).split_once("\r\n\r\n").is_none_or(|(_, body)| body.len() != 71) {
                let count = client.read(&mut piece).expect("a request");
                request.extend(&piece[..count]);
            }
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            client.write_all(answer.as_bytes()).expect("it listens");
            String::from_utf8(request).expect("text")
        });
        let mut executor = prepared(ONE_FILE, &[&format!("--digest-file=http://{address}/d?token=hidden")]);
        let build = executor.run().expect(code);
        let request = server.join().expect("it served");
        assert!(request.starts_with("PUT /d?token=hidden ") && request.contains("text/plain"), "{request}");
        assert!(request.ends_with(&build.image().digest), "{request}");
        assert!(!build.stderr.contains("hidden"), "{}", build.stderr);
    }
}

fn archive(flag: &str) {
    let build = prepared(ONE_FILE, &["--destination=example.com/app:1"]).output(flag, "image.tar").run().expect(0);
    let names = process::run(Command::new("tar").arg("-xOf").arg(build.path("image.tar")).arg("manifest.json"), SHORT);
    assert!(names.success().contains("\"example.com/app:1\""));
}

const HOW_IT_GOES: &[Row] = &[
    ("cache", "takes steps from earlier builds", Here(|| is_cached(&["--cache"], [true, true]))),
    (
        "cache-copy-layers",
        "whether COPY and ADD are cached",
        Here(|| is_cached(&["--cache", "--cache-copy-layers=false"], [true, false])),
    ),
    ("cache-dir", "base images and layers that many builds share", In("warmer::a_cached_base_needs_no_network_at_all")),
    ("cache-repo", "the repository of the cache", In("cache::a_registry_moves_no_layer_when_nothing_changed")),
    (
        "cache-run-layers",
        "whether RUN is cached",
        Here(|| is_cached(&["--cache", "--cache-run-layers=false"], [false, true])),
    ),
    ("cache-ttl", "how old an entry may be", Here(|| is_cached(&["--cache", "--cache-ttl=1s"], [false, false]))),
    (
        "no-push-cache",
        "writes nothing to the cache",
        Here(|| is_cached(&["--cache", "--no-push-cache"], [false, false])),
    ),
    ("cleanup", "always so: `/` is as it was", Here(|| assert!(has(&build(ONE_FILE, &["--cleanup"]), "/file")))),
    ("credential-helpers", "which helpers are asked, in which order", Here(helpers_in_order)),
    (
        "force",
        "`container` isolation where no container is seen",
        In("errors::container_isolation_refuses_to_start_on_a_machine"),
    ),
    ("image-download-retry", "further attempts of a pull", Here(|| more_attempts("GET", "--image-download-retry"))),
    ("image-fs-extract-retry", "nothing any more", Here(|| does_nothing("--image-fs-extract-retry=3"))),
    (
        "insecure",
        "plain HTTP for every push",
        Here(|| is_needed_elsewhere(|registry| is_needed_for_a_push(registry, &["--insecure"]))),
    ),
    ("insecure-pull", "plain HTTP for every pull", Here(|| is_enough_for_a_pull(&["--insecure-pull"]))),
    (
        "insecure-registry",
        "plain HTTP for one registry",
        Here(|| {
            is_needed_elsewhere(|registry| is_needed_for_a_push(registry, &["--insecure-registry=REGISTRY"]));
        }),
    ),
    (
        "kaniko-dir",
        "where everything temporary goes",
        Here(|| {
            let directory = Scratch::new("kaniko");
            let source = source("FROM $BASE\nCOPY file /file\n", &[("file", "x")]);
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.only_layout().add(&[&format!("--kaniko-dir={}", directory.path().display())]).run().expect(0);
            let left = fs::read_dir(directory.path()).expect("it is there").flatten();
            assert!(
                left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("yadokari-inventories-"))
            );
        }),
    ),
    (
        "log-format",
        "the form of messages",
        Here(|| {
            let stderr = build(ONE_FILE, &["--log-format=json"]).stderr;
            assert!(stderr.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{stderr}");
        }),
    ),
    (
        "log-timestamp",
        "the time before each line",
        Here(|| {
            let stderr = build(ONE_FILE, &["--log-timestamp"]).stderr;
            assert!(stderr.lines().all(|line| line.starts_with("20") && line.contains('T')), "{stderr}");
        }),
    ),
    (
        "registry-certificate",
        "trusts a certificate for one registry",
        Here(|| {
            let registry = Registry::secured();
            let flag = format!("--registry-certificate=REGISTRY={}", registry.ca().display());
            is_needed_for_a_push(&registry, &[&flag]);
        }),
    ),
    (
        "registry-client-cert",
        "shows a certificate to one registry",
        In("registry_variants::each_variant_takes_an_image_and_gives_it_back_or_says_no"),
    ),
    (
        "registry-map",
        "mirrors of a registry",
        Here(|| mirrored("example.com", "--registry-map=example.com=MIRROR", &[])),
    ),
    ("registry-mirror", "mirrors of Docker Hub", Here(|| mirrored("docker.io", "--registry-mirror=MIRROR", &[]))),
    ("skip-default-registry-fallback", "only the mirrors are asked", Here(no_fallback)),
    (
        "skip-tls-verify",
        "any certificate will do",
        Here(|| {
            is_needed_for_a_push(&Registry::secured(), &["--skip-tls-verify"]);
        }),
    ),
    (
        "skip-tls-verify-pull",
        "any certificate will do for a pull",
        Here(|| {
            let registry = Registry::secured();
            pushed(&registry, &["--skip-tls-verify"]).expect(0);
            let source = source(&format!("FROM {}/app:1\nLABEL a=b\n", registry.address), &[]);
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            let config = executor.credential("config.json", registry.docker_config(PASSWORD));
            executor.env("DOCKER_CONFIG", Path::new(&config).parent().and_then(Path::to_str).expect("a directory"));
            executor.add(&["--no-push", "--skip-tls-verify-pull"]).run().expect(0);
        }),
    ),
    (
        "skip-tls-verify-registry",
        "any certificate of one registry will do",
        Here(|| {
            is_needed_for_a_push(&Registry::secured(), &["--skip-tls-verify-registry=REGISTRY"]);
        }),
    ),
    (
        "verbosity",
        "how much is said",
        Here(|| {
            assert_eq!(build(ONE_FILE, &["--verbosity=error"]).stderr, "");
            assert_eq!(build(ONE_FILE, &["-v", "panic"]).stderr, "");
        }),
    ),
];

/// Proves that an image of `registry` comes from a mirror, whose address stands for `MIRROR`.
fn mirrored(registry: &str, flag: &str, variables: &[(&str, &str)]) {
    let mirror = Registry::plain();
    let image = one_file();
    Executor::new(Isolation::Namespace, image.path()).push_plain(&mirror, "library/app:1").run().expect(0);
    let source = source(&format!("FROM {registry}/library/app:1\nLABEL a=b\n"), &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    for (name, value) in variables {
        executor.env(name, &value.replace("MIRROR", &mirror.address));
    }
    if !flag.is_empty() {
        executor.add(&[&flag.replace("MIRROR", &mirror.address)]);
    }
    executor.only_layout().add(&[&format!("--insecure-registry={}", mirror.address)]).run().expect(0);
}

/// Proves that a registry is asked when its mirror has nothing, and is not when that is not wanted.
fn no_fallback() {
    let [mirror, origin] = [Registry::plain(), Registry::plain()];
    let image = one_file();
    Executor::new(Isolation::Namespace, image.path()).push_plain(&origin, "app:1").run().expect(0);
    let source = source(&format!("FROM {}/app:1\nLABEL a=b\n", origin.address), &[]);
    for (words, code) in [(&[][..], 0), (&["--skip-default-registry-fallback"], 76)] {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&[&format!("--registry-map={}={}", origin.address, mirror.address)]).add(words);
        for registry in [&mirror, &origin] {
            executor.add(&[&format!("--insecure-registry={}", registry.address)]);
        }
        executor.run().expect(code);
    }
}

const OF_THE_WARMER: &[Row] = &[
    ("image", "an image to bring", In("warmer::a_pinned_base_is_not_asked_for")),
    ("dockerfile", "a Dockerfile whose images are brought", In("warmer::a_dockerfile_names_the_images")),
    ("build-arg", "gives an ARG of the Dockerfile a value", In("warmer::a_dockerfile_names_the_images")),
    ("cache-dir", "where to", In("warmer::a_pinned_base_is_not_asked_for")),
    ("force", "brings again what is there", In("warmer::many_warmers_and_force_do_not_disturb_each_other")),
    ("cache-ttl", "nothing any more", Here(|| assert!(warmed(&["--cache-ttl=1h"]).contains("does nothing")))),
    (
        "customPlatform",
        "for which platform",
        Here(|| {
            assert!(warmed(&["--customPlatform=linux/amd64"]).contains("for linux/amd64 is kept"));
        }),
    ),
    ("verbosity", "how much is said", Here(|| assert_eq!(warmed(&["-v", "error"]), ""))),
    ("log-format", "the form of messages", Here(|| assert!(warmed(&["--log-format=json"]).starts_with('{')))),
    ("log-timestamp", "the time before each line", Here(|| assert!(warmed(&["--log-timestamp"]).starts_with("20")))),
    ("insecure-pull", "plain HTTP", Here(|| assert!(warmed(&[]).contains("is kept as")))),
    (
        "insecure-registry",
        "plain HTTP with one registry",
        Here(|| {
            is_needed_elsewhere(|registry| {
                is_needed_for_warming(registry, &["--insecure"], &["--insecure-registry=REGISTRY"]);
            });
        }),
    ),
    (
        "skip-tls-verify-pull",
        "any certificate will do",
        Here(|| is_needed_for_warming(&Registry::secured(), &["--skip-tls-verify"], &["--skip-tls-verify-pull"])),
    ),
    (
        "skip-tls-verify-registry",
        "any certificate of one registry will do",
        Here(|| {
            is_needed_for_warming(
                &Registry::secured(),
                &["--skip-tls-verify"],
                &["--skip-tls-verify-registry=REGISTRY"],
            );
        }),
    ),
    (
        "registry-certificate",
        "trusts a certificate for one registry",
        Here(|| {
            let registry = Registry::secured();
            let flag = format!("--registry-certificate=REGISTRY={}", registry.ca().display());
            is_needed_for_warming(&registry, &["--skip-tls-verify"], &[&flag]);
        }),
    ),
    (
        "registry-client-cert",
        "shows a certificate to one registry",
        Here(|| {
            let (registry, scratch) = (Registry::mutual(), Scratch::new("identity"));
            let files =
                ["server.crt", "server.key"].map(|name| scratch.file(name, registry.file(name)).display().to_string());
            let flag = format!("--registry-client-cert=REGISTRY={},{}", files[0], files[1]);
            let words = ["--skip-tls-verify-registry=REGISTRY", &flag];
            is_needed_for_warming(&registry, &words, &words);
        }),
    ),
    (
        "registry-map",
        "mirrors of a registry",
        Here(|| mirror_for_warming("example.com", "--registry-map=example.com=REGISTRY")),
    ),
    (
        "registry-mirror",
        "mirrors of Docker Hub",
        Here(|| mirror_for_warming("docker.io", "--registry-mirror=REGISTRY")),
    ),
    (
        "skip-default-registry-fallback",
        "only the mirrors are asked",
        Here(|| {
            let [mirror, origin] = [Registry::plain(), Registry::plain()];
            pushed(&origin, &["--insecure"]).expect(0);
            for (words, code) in [(&[][..], 0), (&["--skip-default-registry-fallback"], 76)] {
                let map = format!("--registry-map={}={}", origin.address, mirror.address);
                let words = [&["--insecure-pull", &map][..], words].concat();
                assert_eq!(warm(&origin, &origin.repository("app:1"), &words).code, code);
            }
        }),
    ),
];

/// Brings the base image with these words, and returns the log.
fn warmed(words: &[&str]) -> String {
    let base = bases::base("BASE").reference;
    let finished = warm(crate::support::registry::shared(), &base, &[&["--insecure-pull"], words].concat());
    assert_eq!(finished.code, 0, "{words:?}: {}", finished.stderr);
    finished.stderr
}

/// Brings an image into a new directory with these words, in which `REGISTRY` is an address.
fn warm(registry: &Registry, image: &str, words: &[&str]) -> process::Finished {
    let cache = Scratch::new("cache");
    let config = cache.file("docker/config.json", registry.docker_config(PASSWORD));
    let mut command = Command::new(EXECUTOR);
    command.env_clear().env("DOCKER_CONFIG", config.parent().expect("a directory"));
    command.args(["warmer", "-i", image]).args(words.iter().map(|word| word.replace("REGISTRY", &registry.address)));
    process::run(command.arg(format!("--cache-dir={}", cache.path().display())), SHORT)
}

/// Proves that the warmer needs these words for what was pushed with others.
fn is_needed_for_warming(registry: &Registry, to_push: &[&str], words: &[&str]) {
    pushed(registry, to_push).expect(0);
    let image = registry.repository("app:1");
    assert_ne!(warm(registry, &image, &[]).code, 0);
    let finished = warm(registry, &image, words);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

/// Proves that the warmer finds an image of `registry` at a mirror.
fn mirror_for_warming(registry: &str, flag: &str) {
    let mirror = Registry::plain();
    let image = one_file();
    Executor::new(Isolation::Namespace, image.path()).push_plain(&mirror, "library/app:1").run().expect(0);
    let finished = warm(&mirror, &format!("{registry}/library/app:1"), &["--insecure-pull", flag]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

/// The flags of kaniko's commands beside the build; those that a build has as well go the same way.
const OF_COMMANDS: &[Row] = &[
    ("destination", "push: where to", In("commands::what_a_build_wrote_is_pushed_with_its_digest")),
    ("insecure-registry", "push: plain HTTP", In("commands::what_a_build_wrote_is_pushed_with_its_digest")),
    ("digest-file", "push: the digest in a file", In("commands::what_a_build_wrote_is_pushed_with_its_digest")),
    ("registry-certificate", "push: trusts a certificate", In("commands::a_login_is_used_by_a_push")),
    (
        "push-ignore-immutable-tag-errors",
        "push, index: a tag that cannot be moved is told",
        In("commands::mirrors_and_tags_that_stay_are_told"),
    ),
    ("username", "login: who", In("commands::a_login_is_used_by_a_push")),
    ("password-stdin", "login: the password from standard input", In("commands::a_login_is_used_by_a_push")),
    (
        "password",
        "login: the password itself",
        Here(|| {
            let home = Scratch::new("home");
            let mut command = Command::new(EXECUTOR);
            command.env_clear().env("DOCKER_CONFIG", home.path());
            process::run(command.args(["login", "r.example", "-u", "me", "--password=shell"]), SHORT).success();
            let text = fs::read_to_string(home.join("config.json")).expect("it is written");
            assert!(text.contains(&crate::support::registry::base64("me:shell")), "{text}");
        }),
    ),
];

/// Proves that `version` and `completion` print, and take no flags.
#[test]
fn commands_without_flags() {
    for (words, expected) in [(&["version"][..], "yadokari "), (&["completion", "bash"], "_yadokari()")] {
        let run = |words: &[&str]| process::run(Command::new(EXECUTOR).env_clear().args(words), SHORT);
        assert!(run(words).success().contains(expected), "{words:?}");
        assert_eq!(run(&[words, &["--no-push"]].concat()).code, 72, "{words:?}");
    }
}

/// Proves that a second build takes the layer of a RUN, and that of a COPY, from the first one, or does not.
fn is_cached(words: &[&str], expected: [bool; 2]) {
    let cache = Scratch::new("cache");
    let source = source("FROM $BASE\nCOPY file /file\nRUN cat /proc/sys/kernel/random/uuid >/id\n", &[("file", "x")]);
    let layers = || {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&[&format!("--cache-repo=oci:{}", cache.path().display())]).add(words);
        let layers = executor.run().expect(0).image().diff_ids();
        [layers[layers.len() - 1].clone(), layers[layers.len() - 2].clone()]
    };
    let first = layers();
    let file = fs::File::options().append(true).open(source.join("context/file")).expect("it is there");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("it is ours");
    if words.iter().any(|word| word.contains("ttl")) {
        std::thread::sleep(std::time::Duration::from_millis(2100));
    }
    let second = layers();
    assert_eq!([first[0] == second[0], first[1] == second[1]], expected, "{words:?}");
}

/// Proves that a number of attempts is added to those that are made anyhow.
fn more_attempts(method: &'static str, flag: &str) {
    let registry = Registry::plain();
    let image = one_file();
    Executor::new(Isolation::Namespace, image.path()).push_plain(&registry, "base:1").run().expect(0);
    for (number, code) in [(0, 75), (3, 0)] {
        let proxy = Proxy::start(
            &registry.address,
            &[Rule::new(method, "/manifests/", Fault::Status(503, "Retry-After: 0\r\n"), 8)],
        );
        let source = source(&format!("FROM {}/base:1\nLABEL a={flag}\n", proxy.address), &[]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.add(&[&format!("--destination={}/app:1", proxy.address), "--insecure", "--insecure-pull"]);
        executor.add(&[&format!("{flag}={number}")]).run().expect(code);
    }
}

/// Proves that a tag which cannot be moved fails the build, or does not, when told so; the image is there by its digest.
fn immutable_tag() {
    let registry = Registry::plain();
    for (words, code) in [(&[][..], 73), (&["--push-ignore-immutable-tag-errors"], 0)] {
        let proxy = Proxy::start(&registry.address, &[Rule::new("PUT", "/manifests/1", Fault::Immutable, 9)]);
        let source = one_file();
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.add(&[&format!("--destination={}/app:1", proxy.address), "--insecure"]).add(words);
        let build = executor.output("--digest-file", "digest").run().expect(code);
        if let Some(digest) = build.result("digest") {
            assert!(registry.digest(&format!("app@{digest}")).is_some() && registry.digest("app:1").is_none());
        }
    }
}

/// Proves that the first helper that knows a registry is believed.
fn helpers_in_order() {
    let (registry, scratch) = (Registry::secured(), Scratch::new("helpers"));
    for (name, secret) in [("right", PASSWORD), ("wrong", "wrong")] {
        let text = format!("#!/bin/sh\nread -r _; echo '{{\"Username\":\"builder\",\"Secret\":\"{secret}\"}}'\n");
        let path = scratch.file(&format!("docker-credential-{name}"), text);
        process::run(Command::new("chmod").arg("755").arg(path), SHORT).success();
    }
    for (order, code) in [("right,wrong", 0), ("wrong,right", 77)] {
        let source = one_file();
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.env("PATH", &format!("{}:/usr/bin:/bin", scratch.path().display()));
        executor.add(&[&format!("--destination={}/app:1", registry.address), "--skip-tls-verify"]);
        executor.add(&[&format!("--credential-helpers={order}")]).run().expect(code);
    }
}

/// Proves that what ADD fetches goes through a proxy, or does not.
fn by_proxy(url: &str, exceptions: &str, requests: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let count = client.read(&mut request).unwrap_or_default();
            let _ = sender.send(String::from_utf8_lossy(&request[..count]).into_owned());
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
        }
    });
    let mut executor = prepared(&format!("FROM scratch\nADD {url} /x\n"), &["--timeout=20s"]);
    executor.env("HTTP_PROXY", &format!("http://{address}")).env("NO_PROXY", exceptions);
    let build = executor.run();
    let seen: Vec<String> = receiver.try_iter().collect();
    assert_eq!((seen.len(), build.code == 0), (requests, requests == 1), "{}", build.stderr);
    assert!(seen.iter().all(|request| request.starts_with(&format!("GET {url} "))), "{seen:?}");
}

const VARIABLES: &[Row] = &[
    (
        "KANIKO_DIR",
        "where everything temporary goes",
        Here(|| {
            let source = one_file();
            let path = |name: &str| source.join(name).display().to_string();
            let unwritable = "/proc/none";
            let mut command = Command::new(EXECUTOR);
            command.env_clear().env("KANIKO_DIR", unwritable).args(["--no-push", "-c", &path("context"), "-f"]);
            let finished = process::run(command.arg(path("Dockerfile")), SHORT);
            assert!(finished.stderr.contains(unwritable), "{}", finished.stderr);
        }),
    ),
    (
        "KANIKO_NO_PUSH",
        "overrides --no-push",
        Here(|| {
            let source = one_file();
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor
                .env("KANIKO_NO_PUSH", "true")
                .add(&["--no-push=false", "-d", "registry.invalid/a"])
                .run()
                .expect(0);
        }),
    ),
    (
        "KANIKO_PRINT_PLAN",
        "prints the plan before the build",
        Here(|| {
            let build = prepared(ONE_FILE, &[]).env("KANIKO_PRINT_PLAN", "true").run().expect(0);
            assert!(build.stdout.contains("[0 1/1] COPY file /file"), "{}", build.stdout);
            build.image().verify();
        }),
    ),
    ("KANIKO_CLEANUP", "nothing any more", Here(|| variable_does_nothing("KANIKO_CLEANUP"))),
    ("KANIKO_PRE_CLEANUP", "nothing any more", Here(|| variable_does_nothing("KANIKO_PRE_CLEANUP"))),
    ("KANIKO_PRESERVE_CONTEXT", "nothing any more", Here(|| variable_does_nothing("KANIKO_PRESERVE_CONTEXT"))),
    ("KANIKO_IGNORE_ASSERTIONS", "nothing", Here(|| variable_does_nothing("KANIKO_IGNORE_ASSERTIONS"))),
    ("KANIKO_TELEMETRY_ENDPOINT", "nothing", Here(|| variable_does_nothing("KANIKO_TELEMETRY_ENDPOINT"))),
    ("SNAPSHOT_TIMEOUT_DURATION", "nothing", Here(|| variable_does_nothing("SNAPSHOT_TIMEOUT_DURATION"))),
    ("STACKLOG_PATH", "nothing", Here(|| variable_does_nothing("STACKLOG_PATH"))),
    (
        "FF_KANIKO_COPY_AS_ROOT",
        "nothing: the right behaviour is the only one",
        Here(|| {
            variable_does_nothing("FF_KANIKO_COPY_AS_ROOT");
            let mut executor = prepared(ONE_FILE, &[]);
            executor.env("FF_KANIKO_RUN_VIA_TINI", "0").env("FF_KANIKO_NO_SUCH", "1");
            let build = executor.run().expect(0);
            assert_eq!(build.stderr.matches("FF_KANIKO_").count(), 2, "said once: {}", build.stderr);
        }),
    ),
    (
        "KANIKO_REGISTRY_MIRROR",
        "mirrors of Docker Hub",
        Here(|| mirrored("docker.io", "", &[("KANIKO_REGISTRY_MIRROR", "MIRROR")])),
    ),
    (
        "KANIKO_REGISTRY_MAP",
        "mirrors of a registry",
        Here(|| mirrored("example.com", "", &[("KANIKO_REGISTRY_MAP", "example.com=MIRROR")])),
    ),
    ("DOCKER_CONFIG", "the directory of config.json", In("commands::a_login_is_used_by_a_push")),
    (
        "HOME",
        "credentials are looked for in .docker below it",
        Here(|| {
            let registry = Registry::secured();
            let home = Scratch::new("home");
            home.directory(".docker");
            home.file(".docker/config.json", registry.docker_config(PASSWORD));
            let source = one_file();
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.env("HOME", &home.path().display().to_string()).add(&["--skip-tls-verify"]);
            executor.add(&[&format!("--destination={}/app:1", registry.address)]).run().expect(0);
        }),
    ),
    (
        "SSL_CERT_FILE",
        "trusted certificates",
        Here(|| {
            let registry = Registry::secured();
            trusted(&registry, "SSL_CERT_FILE", &registry.ca());
        }),
    ),
    (
        "SSL_CERT_DIR",
        "directories of trusted certificates",
        Here(|| {
            let registry = Registry::secured();
            let directory = Scratch::new("certificates");
            fs::copy(registry.ca(), directory.join("ca.crt")).expect("scratch is writable");
            trusted(&registry, "SSL_CERT_DIR", directory.path());
        }),
    ),
    ("HTTP_PROXY", "where http:// requests go", Here(|| by_proxy("http://files.invalid/x", "", 1))),
    ("NO_PROXY", "what is reached without a proxy", Here(|| by_proxy("http://files.invalid/x", "files.invalid", 0))),
    ("HTTPS_PROXY", "where https:// requests go", In("context_credentials::google")),
    ("BUILDER_OUTPUT", "what Cloud Build reads", In("pipelines_results::engines_are_found_by_what_they_set")),
    ("GIT_TOKEN", "a token for Git", In("context_git::logins_over_https")),
    ("GIT_USERNAME", "a user for Git", In("context_git::logins_over_https")),
    ("GIT_PASSWORD", "and the password", In("context_git::logins_over_https")),
    (
        "GIT_PULL_METHOD",
        "what git:// stands for",
        In("context_forms::every_form_gives_the_same_image_in_every_isolation"),
    ),
    ("S3_ENDPOINT", "another S3 service", In("context_bucket::s3_archives_directories_and_versions")),
    ("S3_FORCE_PATH_STYLE", "the bucket in the path", In("context_bucket::s3_archives_directories_and_versions")),
    ("AZURE_STORAGE_ACCESS_KEY", "Azure's key", In("context_bucket::azure_blobs_with_key_and_signature")),
    ("GOOGLE_APPLICATION_CREDENTIALS", "Google's key file", In("context_credentials::google")),
    ("AZURE_CLIENT_ID", "an application of Azure's", In("context_credentials::azure")),
    ("AZURE_TENANT_ID", "its tenant", In("context_credentials::azure")),
    ("AZURE_FEDERATED_TOKEN_FILE", "the pod's token for it", In("context_credentials::azure")),
];

fn variable_does_nothing(name: &str) {
    let build = prepared(ONE_FILE, &[]).env(name, "true").run().expect(0);
    assert!(build.stderr.contains(&format!("warning: {name} does nothing: ")), "{}", build.stderr);
}

fn trusted(registry: &Registry, variable: &str, path: &Path) {
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let config = executor.credential("config.json", registry.docker_config(PASSWORD));
    executor.env("DOCKER_CONFIG", Path::new(&config).parent().and_then(Path::to_str).expect("a directory"));
    executor.env(variable, &path.display().to_string());
    executor.add(&[&format!("--destination={}/app:1", registry.address)]).run().expect(0);
}

/// Proves every row; a row that is proven elsewhere must be there, by its name.
fn prove(what: &str, dashes: &str, rows: &[Row]) {
    if !Isolation::Namespace.allowed(&format!("flags: {what}")) {
        return;
    }
    let missing = not_yet();
    for (name, does, proof) in rows.iter().filter(|(name, ..)| !missing.contains(*name)) {
        println!("{dashes}{name}: {does}");
        match proof {
            Here(prove) => prove(),
            In(place) => {
                let (module, test) = place.split_once("::").expect("module::test");
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{module}.rs"));
                let text = fs::read_to_string(&path).unwrap_or_default();
                assert!(text.contains(&format!("#[test]\nfn {test}() {{")), "there is no {place}");
                assert!(text.contains(&format!("{dashes}{name}")), "{dashes}{name} does not stand in {module}");
            }
        }
    }
}

#[test]
fn flags_for_what_is_built() {
    prove("what is built", "--", WHAT_IS_BUILT);
}

#[test]
fn flags_for_where_it_goes() {
    prove("where it goes", "--", WHERE_IT_GOES);
}

#[test]
fn flags_for_how_it_goes() {
    prove("how it goes", "--", HOW_IT_GOES);
}

#[test]
fn flags_of_the_warmer() {
    prove("warmer", "--", OF_THE_WARMER);
}

#[test]
fn flags_of_commands() {
    prove("commands", "--", OF_COMMANDS);
}

#[test]
fn environment_variables() {
    prove("variables", "", VARIABLES);
}

/// Returns the flags that the executor says it has not yet.
fn not_yet() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/args/kaniko.rs"));
    let text = text.unwrap_or_default();
    text.split("NotYet { name: \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// All flags of `executor --help` and `warmer --help` in <https://github.com/osscontainertools/kaniko>, v1.28.3.
#[test]
fn each_flag_of_kaniko_has_one_row_and_is_taken() {
    let listed = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/args/tests.rs"));
    let listed = listed.expect("it is there");
    let start = listed.find("const KANIKO").expect("the list is there");
    let list = &listed[start..start + listed[start..].find("];").expect("its end is there")];
    let kaniko: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(kaniko.len(), 68);
    let rows = [WHAT_IS_BUILT, WHERE_IT_GOES, HOW_IT_GOES].into_iter().flatten().map(|(name, ..)| *name);
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), kaniko);
    assert_eq!(rows.len(), 68, "a flag has two rows");
    assert_eq!(OF_THE_WARMER.len(), 19);
}
