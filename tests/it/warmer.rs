//! The warmer: base images go into a directory, and builds ask no registry for them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::image::sha256;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Finished, SHORT};
use crate::support::proxy::Proxy;
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Runs the warmer under kaniko's name for it.
fn warm(cache: &Path, words: &[&str]) -> Finished {
    let place = Scratch::new("warmer");
    let program = place.join("warmer");
    std::os::unix::fs::symlink(EXECUTOR, &program).expect("scratch is writable");
    let mut command = Command::new(&program);
    command.env_clear().arg(format!("--cache-dir={}", cache.display())).args(words);
    process::run(&mut command, SHORT)
}

fn blobs(cache: &Path) -> usize {
    let names = fs::read_dir(cache.join("bases/blobs/sha256")).into_iter().flatten().flatten();
    names.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")).count()
}

fn temporary(cache: &Path) -> usize {
    let entries = fs::read_dir(cache.join("bases/blobs/sha256")).expect("it is there").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".tmp")).count()
}

#[test]
fn a_pinned_base_is_not_asked_for() {
    let base = bases::base("BASE").reference;
    let (name, _) = base.rsplit_once(['@', ':']).expect("a tag or a digest");
    let name = name.split('@').next().expect("a name").to_owned();
    let shared = registry::shared();
    let digest = shared.digest(base.strip_prefix(&format!("{}/", shared.address)).expect("of the shared registry"));
    let pinned = format!("{name}@{}", digest.expect("it is there"));
    for isolation in Isolation::ALL {
        if !isolation.allowed("warmer: pinned base") {
            continue;
        }
        let proxy = Proxy::start(&shared.address, &[]);
        let pinned = pinned.replace(&shared.address, &proxy.address);
        let cache = Scratch::new("cache");
        let insecure = format!("--insecure-registry={}", proxy.address);
        warm(cache.path(), &["-i", &pinned, &insecure]).success();
        assert!(proxy.count("GET", "/blobs/") > 0);
        let before = proxy.requests().len();
        let source =
            source(&format!("FROM {pinned}\nCOPY file /file\nRUN test -f /file && echo ran >/ran\n"), &[("file", "x")]);
        let mut executor = Executor::new(isolation, source.path());
        let place = executor.shared_directory(cache.path());
        executor.only_layout().add(&[&insecure, &format!("--cache-dir={place}")]);
        let build = executor.run().expect(0);
        assert_eq!(proxy.requests().len(), before, "{}: {:?}", isolation.name(), proxy.requests());
        build.image().verify();
        // By a tag the registry is asked what it means, and for nothing else.
        let tagged = source_of_tag(&base.replace(&shared.address, &proxy.address));
        let mut executor = Executor::new(isolation, tagged.path());
        let place = executor.shared_directory(cache.path());
        executor.only_layout().add(&[&insecure, &format!("--cache-dir={place}")]).run().expect(0);
        let layers = proxy.requests()[before..].iter().filter(|line| line.contains("/blobs/")).count();
        assert!(layers <= 1, "only the configuration: {:?}", &proxy.requests()[before..]);
    }
}

fn source_of_tag(base: &str) -> Scratch {
    source(&format!("FROM {base}\nRUN echo ran >/ran\n"), &[])
}

#[test]
fn a_cached_base_needs_no_network_at_all() {
    if !Isolation::Namespace.allowed("warmer: offline") {
        return;
    }
    let registry = Registry::plain();
    let base = one_file();
    let mut executor = Executor::new(Isolation::Namespace, base.path());
    executor.push_plain(&registry, "base:1").output("--image-ref-file", "ref");
    let pinned = executor.run().expect(0).result("ref").expect("it was pushed");
    let cache = Scratch::new("cache");
    warm(cache.path(), &["--image", &pinned, &format!("--insecure-registry={}", registry.address)]).success();
    drop(registry);
    let source = source(&format!("FROM {pinned}\nCOPY file /second\n"), &[("file", "x")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&["--offline", &format!("--cache-dir={}", cache.path().display())]);
    executor.run().expect(0).image().verify();
    // A blob that was damaged is not used.
    for entry in fs::read_dir(cache.join("bases/blobs/sha256")).expect("it is there").flatten() {
        let text = fs::read(entry.path()).expect("a blob");
        fs::write(entry.path(), [&text[..], b" "].concat()).expect("scratch is writable");
    }
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&["--offline", &format!("--cache-dir={}", cache.path().display())]);
    executor.run().expect(76);
}

#[test]
fn a_dockerfile_names_the_images() {
    if !Isolation::Namespace.allowed("warmer: Dockerfile") {
        return;
    }
    let registry = Registry::plain();
    for name in ["a:1", "b:1", "c:1"] {
        let text = format!("FROM scratch\nCOPY file /file\nENV NAME={name}\n");
        let image = source(&text, &[("file", name)]);
        Executor::new(Isolation::Namespace, image.path()).push_plain(&registry, name).run().expect(0);
    }
    let address = &registry.address;
    let dockerfile = format!(
        "ARG VERSION=none\nFROM {address}/a:$VERSION AS first\nFROM scratch AS unused\nCOPY --from={address}/b:1 /file /\n\
         FROM first\nFROM {address}/missing:1\n"
    );
    let (scratch, cache) = (Scratch::new("dockerfile"), Scratch::new("cache"));
    let path = scratch.file("Dockerfile", dockerfile).display().to_string();
    let insecure = format!("--insecure-registry={address}");
    let words = ["--dockerfile", &path, "--build-arg", "VERSION=1", &insecure];
    let first = warm(cache.path(), &words);
    assert_eq!(first.code, 0, "{}", first.stderr);
    for (name, told) in [("a:1", "is kept as"), ("b:1", "is kept as"), ("missing:1", "cannot pull")] {
        let line = first.stderr.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(line.contains(told), "{name}: {}", first.stderr);
    }
    assert!(!first.stderr.contains("scratch"), "{}", first.stderr);
    // Two manifests, two configurations, two layers.
    assert_eq!((blobs(cache.path()), temporary(cache.path())), (6, 0));
    let all_missing = warm(cache.path(), &["-i", &format!("{address}/missing:1"), &insecure]);
    assert_eq!(all_missing.code, 76, "{}", all_missing.stderr);
    assert_eq!(warm(cache.path(), &[]).code, 72);
}

#[test]
fn many_warmers_and_force_do_not_disturb_each_other() {
    if !Isolation::Namespace.allowed("warmer: many") {
        return;
    }
    let base = bases::base("BASE").reference;
    let cache = Scratch::new("cache");
    let insecure = format!("--insecure-registry={}", registry::shared().address);
    let directory = format!("--cache-dir={}", cache.path().display());
    let running: Vec<_> = (0..4)
        .map(|_| {
            let mut command = Command::new(EXECUTOR);
            command.env_clear().args(["warmer", "--force", &directory, &insecure, "-i", &base]);
            process::start(&mut command)
        })
        .collect();
    for one in running {
        one.wait(SHORT).success();
    }
    assert_eq!(temporary(cache.path()), 0);
    for entry in fs::read_dir(cache.join("bases/blobs/sha256")).expect("it is there").flatten() {
        let digest = sha256(&mut fs::File::open(entry.path()).expect("a blob"));
        assert_eq!(digest, format!("sha256:{}", entry.file_name().to_string_lossy()));
    }
}

/// What the warmer brings is what a build finds: a mirror's image behind two indexes, whole again after a blob lost its
/// end, without what a killed run left.
#[test]
fn an_index_of_a_mirror_is_kept_whole() {
    if !Isolation::Namespace.allowed("warmer: mirror") {
        return;
    }
    let mirror = Registry::plain();
    let base = one_file();
    Executor::new(Isolation::Namespace, base.path()).push_plain(&mirror, "hub/app:1").run().expect(0);
    let host = "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},";
    let inner = push_index(&mirror, "hub/app:inner", "hub/app:1", "application/vnd.oci.image.manifest.v1+json", host);
    let outer = push_index(&mirror, "hub/app:2", "hub/app:inner", INDEX, "");
    let cache = Scratch::new("cache");
    let abandoned = scratch_blob(&cache);
    let words = [
        "-i",
        "gone.invalid/app:2",
        &format!("--insecure-registry={}", mirror.address),
        &format!("--registry-map=gone.invalid={}/hub", mirror.address),
    ];
    warm(cache.path(), &words).success();
    // Two indexes, the manifest, its configuration and a layer.
    assert_eq!((blobs(cache.path()), temporary(cache.path())), (5, 0), "{}", abandoned.display());
    assert_ne!(inner, outer);
    let largest = fs::read_dir(cache.join("bases/blobs/sha256")).expect("it is there").flatten();
    let layer = largest.map(|entry| entry.path()).find(|path| fs::read(path).is_ok_and(|blob| blob[0] == 0x1f));
    let layer = layer.expect("a layer");
    let whole = fs::read(&layer).expect("a blob");
    fs::write(&layer, &whole[..whole.len() / 2]).expect("scratch is writable");
    drop(warm(cache.path(), &[words.as_slice(), &["-i", &format!("gone.invalid/app@{outer}")]].concat()));
    assert_eq!(fs::read(&layer).expect("a blob"), whole, "what lost its end is brought again");
    drop(mirror);
    let derived = source(&format!("FROM gone.invalid/app@{outer}\nCOPY file /second\n"), &[("file", "x")]);
    let mut executor = Executor::new(Isolation::Namespace, derived.path());
    executor.only_layout().add(&["--offline", &format!("--cache-dir={}", cache.path().display())]);
    executor.run().expect(0).image().verify();
}

/// Pushes an index of one document that the registry has; returns its digest.
fn push_index(registry: &Registry, to: &str, of: &str, media_type: &str, more: &str) -> String {
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--raw", "--tls-verify=false"]).arg(format!("docker://{}/{of}", registry.address));
    let part = process::run(&mut command, SHORT).success();
    let (size, digest) = (part.len(), sha256(&mut part.as_bytes()));
    let index = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{{\"mediaType\":\"{media_type}\",{more}\
         \"size\":{size},\"digest\":\"{digest}\"}}]}}"
    );
    let (repository, tag) = to.rsplit_once(':').expect("a tag");
    let mut stream = TcpStream::connect(&registry.address).expect("it runs");
    let head = format!("PUT /v2/{repository}/manifests/{tag} HTTP/1.0\r\nContent-Type: {INDEX}\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{index}", index.len()).expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.0 201"), "{answer}");
    sha256(&mut index.as_bytes())
}

/// Makes what a warmer leaves that was killed long ago.
fn scratch_blob(cache: &Scratch) -> std::path::PathBuf {
    let path = cache.file("bases/blobs/sha256/.gone-0.tmp", "half a layer");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(&path).and_then(|file| file.set_modified(long_ago)).expect("scratch is writable");
    path
}

#[test]
fn a_dockerfile_is_read_whatever_a_build_would_push() {
    let (scratch, cache) = (Scratch::new("dockerfile"), Scratch::new("cache"));
    let path = scratch.file("Dockerfile", "FROM scratch\n").display().to_string();
    let mut command = Command::new(EXECUTOR);
    command.env_clear().env("KANIKO_NO_PUSH", "false").args(["warmer", "-d", &path]);
    process::run(command.arg(format!("--cache-dir={}", cache.path().display())), SHORT).success();
}
