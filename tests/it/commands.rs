//! The commands beside a build: `push`, `login`, `completion`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::executor::{Build, Executor};
use crate::support::image::Image;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Finished, SHORT, wait_until};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, one_run};

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(EXECUTOR);
    command.args(words).env_clear().env("TMPDIR", crate::support::scratch::root());
    command
}

/// Pushes what is at `path` to `names` of a registry.
fn push(registry: &Registry, path: &Path, names: &[&str], more: &[&str]) -> Finished {
    let mut command = command(&["push", &path.display().to_string()]);
    command.arg(format!("--insecure-registry={}", registry.address)).args(more);
    for name in names {
        command.arg(format!("--destination={}/{name}", registry.address));
    }
    process::run(&mut command, SHORT)
}

/// Copies an image with a peer.
fn copied(from: &str, to: &str) {
    let mut command = Command::new("skopeo");
    process::run(command.args(["copy", "--all", "--src-tls-verify=false", from, to]), SHORT).success();
}

fn built() -> Build {
    let source = one_run();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().output("--tar-path", "image.tar").output("--digest-file", "digest").run().expect(0)
}

/// Takes one value that is put to an address.
fn taken() -> (std::net::SocketAddr, std::thread::JoinHandle<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&request).contains("@sha256:") {
            let count = client.read(&mut piece).expect("a request");
            assert_ne!(count, 0, "it ended: {}", String::from_utf8_lossy(&request));
            request.extend(&piece[..count]);
        }
        client.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").expect("it listens");
        String::from_utf8(request).expect("text")
    });
    (address, server)
}

#[test]
fn what_a_build_wrote_is_pushed_with_its_digest() {
    if !Isolation::Namespace.allowed("commands: push of our own") {
        return;
    }
    let build = built();
    let digest = build.result("digest");
    let results = Scratch::new("results");
    let file = |name: &str| results.join(name).display().to_string();
    for (number, path) in ["layout", "image.tar"].into_iter().enumerate() {
        let registry = Registry::plain();
        let names = ["a/app:1", "a/app:2", "b:1"];
        let (kept, url) = (file(&format!("{number}.digest")), file(&format!("{number}.url")));
        let (address, taken) = taken();
        let sent = format!("--image-ref-file=http://{address}/ref?token=hidden");
        let flags = [format!("--digest-file={kept}"), format!("--image-url-file={url}"), sent];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let pushed = push(&registry, &build.path(path), &names, &flags);
        assert_eq!(pushed.code, 0, "{path}: {}", pushed.stderr);
        for name in names {
            assert_eq!(registry.digest(name), digest, "{path}: {name}");
        }
        assert!(pushed.stderr.contains(&format!("Pushed {}/b@", registry.address)), "{}", pushed.stderr);
        assert_eq!(fs::read_to_string(kept).ok(), digest);
        assert_eq!(fs::read_to_string(url).ok(), Some(registry.repository("a/app:1")));
        let taken = taken.join().expect("it served");
        let reference = format!("{}@{}", registry.repository("a/app"), digest.as_deref().unwrap_or_default());
        assert!(taken.starts_with("PUT /ref?token=hidden ") && taken.ends_with(&reference), "{taken}");
        assert!(!pushed.stderr.contains("hidden"), "{}", pushed.stderr);
        registry.pull("b:1", &results.join(format!("{number}.pulled")));
        Image::from_layout(&results.join(format!("{number}.pulled"))).verify();
    }
}

#[test]
fn archives_of_others_are_pushed() {
    if !Isolation::Namespace.allowed("commands: push of others' archives") {
        return;
    }
    let (build, registry, scratch) = (built(), Registry::plain(), Scratch::new("archives"));
    let layout = format!("oci:{}", build.path("layout").display());
    let at = |name: &str| scratch.join(name);
    copied(&layout, &format!("oci-archive:{}", at("oci.tar").display()));
    copied(&layout, &format!("docker-archive:{}:example.com/app:1", at("docker.tar").display()));
    process::run(Command::new("gzip").arg("--keep").arg(at("oci.tar")), SHORT).success();
    let digest = build.result("digest");
    for name in ["oci.tar", "oci.tar.gz"] {
        let pushed = push(&registry, &at(name), &["oci:1"], &[]);
        assert_eq!((pushed.code, registry.digest("oci:1")), (0, digest.clone()), "{name}: {}", pushed.stderr);
    }
    let mut from_pipe = Command::new("sh");
    let line = format!(
        "exec {EXECUTOR} push - -d {0}/pipe:1 --insecure-registry={0} <{1}",
        registry.address,
        at("oci.tar").display()
    );
    process::run(from_pipe.args(["-c", &line]), SHORT).success();
    assert_eq!(registry.digest("pipe:1"), digest);
    // skopeo writes layers of docker archives uncompressed: they are compressed again, and stay the same layers.
    let pushed = push(&registry, &at("docker.tar"), &["docker:1"], &[]);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    registry.pull("docker:1", &at("pulled"));
    let image = Image::from_layout(&at("pulled"));
    image.verify();
    assert_eq!(image.diff_ids(), build.image().diff_ids());
}

#[test]
fn an_index_is_pushed_with_its_images() {
    if !Isolation::Namespace.allowed("commands: push of an index") {
        return;
    }
    let [from, to] = [Registry::plain(), Registry::plain()];
    let images: Vec<String> = ["amd64", "arm64"]
        .map(|architecture| {
            let source = one_file();
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.push_plain(&from, &format!("app:{architecture}"));
            executor.add(&[&format!("--custom-platform=linux/{architecture}")]).run().expect(0);
            from.repository(&format!("app:{architecture}"))
        })
        .into();
    let mut index = command(&["index", &format!("--insecure-registry={}", from.address)]);
    process::run(index.arg(format!("-d={}/app:1", from.address)).args(&images), SHORT).success();
    let scratch = Scratch::new("index");
    let layout = scratch.join("layout");
    copied(&format!("docker://{}/app:1", from.address), &format!("oci:{}", layout.display()));
    let pushed = push(&to, &layout, &["app:1"], &[]);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    assert_eq!(to.digest("app:1"), from.digest("app:1"));
    copied(&format!("docker://{}/app:1", to.address), &format!("oci:{}", scratch.join("again").display()));
}

#[test]
fn what_is_no_image_is_refused() {
    if !Isolation::Namespace.allowed("commands: push refuses") {
        return;
    }
    let (registry, scratch) = (Registry::plain(), Scratch::new("wrong"));
    let tar = scratch.join("empty.tar");
    process::run(Command::new("tar").args(["-cf"]).arg(&tar).args(["-T", "/dev/null"]), SHORT).success();
    let two = scratch.directory("two");
    let entry = |letter: &str| {
        let digest = format!("sha256:{}", letter.repeat(64));
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 2})
    };
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry("a"), entry("b")]});
    fs::write(two.join("index.json"), index.to_string()).expect("scratch is writable");
    let damaged = built();
    let blobs = damaged.path("layout").join("blobs/sha256");
    let digest = damaged.result("digest").expect("a digest");
    let manifest = blobs.join(digest.trim_start_matches("sha256:"));
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, text + " ").expect("scratch is writable");
    for (path, reason) in [
        (scratch.join("none"), "No such file"),
        (tar, "neither an OCI layout"),
        (two, "holds 2 images"),
        (damaged.path("layout"), "is damaged"),
    ] {
        let pushed = push(&registry, &path, &["app:1"], &[]);
        assert_eq!(pushed.code, 76, "{}: {}", path.display(), pushed.stderr);
        assert!(pushed.stderr.contains(reason), "{}: {}", path.display(), pushed.stderr);
        assert_eq!(registry.digest("app:1"), None);
    }
}

#[test]
fn a_push_that_is_terminated_ends_soon_and_leaves_nothing() {
    if !Isolation::Namespace.allowed("commands: push terminated") {
        return;
    }
    let (build, registry, state) = (built(), Registry::plain(), Scratch::new("state"));
    let proxy = Proxy::start(&registry.address, &[Rule::new("PUT", "/manifests/", Fault::Stall, usize::MAX)]);
    let mut command = command(&["push", &build.path("layout").display().to_string()]);
    command.arg(format!("--destination={}/app:1", proxy.address)).arg(format!("--insecure-registry={}", proxy.address));
    let running = process::start(command.arg(format!("--state-dir={}", state.path().display())));
    assert!(wait_until(SHORT, || proxy.count("PUT", "/manifests/") > 0), "the push did not start");
    running.signal(rustix::process::Signal::TERM);
    let finished = running.wait(Duration::from_secs(10));
    assert_eq!(finished.code, 143, "{}", finished.stderr);
    assert_eq!(fs::read_dir(state.path()).expect("it is there").count(), 0, "a state directory is left");
}

#[test]
fn a_login_is_used_by_a_push() {
    if !Isolation::Namespace.allowed("commands: login") {
        return;
    }
    let (build, registry, home) = (built(), Registry::secured(), Scratch::new("home"));
    let directory = home.join("docker").display().to_string();
    let line =
        format!("printf '%s\\n' {PASSWORD} | {EXECUTOR} login {} --username {USER} --password-stdin", registry.address);
    let login =
        process::run(Command::new("sh").args(["-c", &line]).env_clear().env("DOCKER_CONFIG", &directory), SHORT);
    assert_eq!(login.code, 0, "{}", login.stderr);
    assert!(!format!("{}{}", login.stdout, login.stderr).contains(PASSWORD));
    let mut push = command(&["push", &build.path("layout").display().to_string()]);
    push.env("DOCKER_CONFIG", &directory).arg(format!("--destination={}/app:1", registry.address));
    push.arg(format!("--registry-certificate={}={}", registry.address, registry.ca().display()));
    process::run(&mut push, SHORT).success();
    assert_eq!(registry.digest("app:1"), build.result("digest"));
    let wrong: [&[&str]; 4] = [
        &["login", "r.io"],
        &["login", "r.io", "-u", "me"],
        &["login", "-u", "me", "-p", "x"],
        &["login", "r.io", "-u", "me:too", "-p", "x"],
    ];
    for words in wrong {
        assert_eq!(process::run(&mut command(words), SHORT).code, 72, "{words:?}");
    }
    let line = format!("head -c 65537 /dev/zero | tr '\\0' x | {EXECUTOR} login r.io -u me --password-stdin");
    let login =
        process::run(Command::new("sh").args(["-c", &line]).env_clear().env("DOCKER_CONFIG", &directory), SHORT);
    assert_eq!(login.code, 72, "{}", login.stderr);
}

#[test]
fn mirrors_and_tags_that_stay_are_told() {
    if !Isolation::Namespace.allowed("commands: warnings") {
        return;
    }
    let (build, registry) = (built(), Registry::plain());
    let immutable =
        || Proxy::start(&registry.address, &[Rule::new("PUT", "/manifests/1", Fault::Immutable, usize::MAX)]);
    let proxy = immutable();
    let flags = ["--push-ignore-immutable-tag-errors", "--insecure"];
    let mut push = command(&["push", &build.path("layout").display().to_string()]);
    let pushed = process::run(push.args(flags).arg(format!("--destination={}/app:1", proxy.address)), SHORT);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    assert!(pushed.stderr.contains("warning: ") && pushed.stderr.contains("stays what it is"), "{}", pushed.stderr);
    // The same of an index.
    let (digest, proxy) = (build.result("digest").expect("a digest"), immutable());
    let mut index = command(&["index", &format!("{}/app@{digest}", proxy.address), "--insecure-pull"]);
    let joined = process::run(index.args(flags).arg(format!("--destination={}/app:1", proxy.address)), SHORT);
    assert_eq!(joined.code, 0, "{}", joined.stderr);
    assert!(joined.stderr.contains("stays what it is"), "{}", joined.stderr);
}

#[test]
fn completion_names_flags_and_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = process::run(&mut command(&["completion", shell]), SHORT).success();
        for word in ["destination", "index", "login", "build", "cache-to"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let named = |shell: &str| process::run(&mut command(&["completion", shell]), SHORT).success();
    assert!(named("zsh").starts_with("#compdef yadokari executor\n"));
    assert!(named("fish").contains("complete -c executor "));
    // The script is longer than an argument may be.
    let line = "eval \"$(\"$0\" completion bash)\"; complete -p executor > /dev/null; \
                COMP_WORDS=(executor build --platf); COMP_CWORD=2; _yadokari executor --platf; \
                echo \"${COMPREPLY[@]}\"";
    let completed = process::run(Command::new("bash").args(["-c", line, EXECUTOR]), SHORT).success();
    assert_eq!(completed.trim(), "--platform");
    let help = process::run(&mut command(&["help", "build"]), SHORT).success();
    assert!(help.contains("yadokari build [FLAGS] [CONTEXT]"), "{help}");
    assert!(process::run(&mut command(&["--help"]), SHORT).success().contains("Builds an image as `docker build`"));
    let pages = Scratch::new("manual");
    process::run(&mut command(&["man", &pages.path().display().to_string()]), SHORT).success();
    for page in ["yadokari-build.1", "executor.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
    let line = "eval \"$(\"$0\" completion bash)\"; COMP_WORDS=(yadokari --insecure-p); COMP_CWORD=1; \
                _yadokari yadokari --insecure-p; echo \"${COMPREPLY[@]}\"";
    let completed = process::run(Command::new("bash").args(["-c", line, EXECUTOR]), SHORT).success();
    assert_eq!(completed.trim(), "--insecure-pull");
}
