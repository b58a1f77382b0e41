//! What was checked is what is used: bytes that somebody changes between the check and the use.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::bases::{self, Layer};
use crate::support::executor::{Build, Executor};
use crate::support::image::{self, Image, sha256};
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::process::{self, SHORT};
use crate::support::registry;
use crate::support::scratch::Scratch;
use crate::support::source::{noise, source};
use crate::support::steps;
use crate::support::web::Web;

/// Says what a path of an image is, empty where nothing is there.
fn at(image: &Image, path: &str) -> String {
    Listing::of(image).0.get(path).map(|line| line.text.clone()).unwrap_or_default()
}

/// Writes over every file below the executor's directories that a RUN in the container's own root can find.
const OVERWRITE: &str = "RUN for d in $(ls -d /kaniko/yadokari-*); do \
     find $d -type f -size -64k | while read f; do echo evil > $f; done; done; true\n";

#[test]
fn what_add_has_verified_is_what_it_adds() {
    let web = Web::start();
    web.scratch.file("root/tool", "good\n");
    let checksum = sha256(&mut &b"good\n"[..]);
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("attacks: verified bytes")) {
        let url = format!("https://{}/files/tool", web.address);
        let source =
            source(&format!("FROM $BASE\n{OVERWRITE}ADD --checksum={checksum} {url} /tool\nRUN cat /tool\n"), &[]);
        let mut executor = Executor::new(isolation, source.path());
        let ca = executor.credential("ca.crt", web.ca());
        let build = executor.env("SSL_CERT_FILE", &ca).only_layout().run();
        let name = isolation.name();
        // Either the RUN could not reach it, or the build fails: never is something else pushed.
        assert_eq!(build.code, 0, "{name}: {}", build.stderr);
        assert_eq!(at(&build.image(), "/tool"), "file 0600 0:0 \"good\\n\"", "{name}");
    }
}

#[test]
fn a_run_that_changes_a_context_that_was_fetched_fails_the_build() {
    let archive = Scratch::new("archive");
    archive.file("context/file", "good\n");
    archive.file("context/Dockerfile", "");
    let mut tar = Command::new("tar");
    tar.args(["-C"]).arg(archive.join("context")).arg("-cf").arg(archive.join("context.tar")).arg(".");
    process::run(&mut tar, SHORT).success();
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("attacks: fetched contexts")) {
        let source = source(&format!("FROM $BASE\n{OVERWRITE}COPY file /file\n"), &[]);
        fs::copy(archive.join("context.tar"), source.join("context.tar")).expect("scratch is writable");
        let mut executor = Executor::new(isolation, source.path());
        let context = format!("--context=tar://{}/context.tar", executor.sources());
        let build = executor.only_layout().add(&[&context]).run();
        let name = isolation.name();
        if isolation == Isolation::Container {
            assert_eq!(build.code, 76, "{name}: {}", build.stderr);
            assert!(build.stderr.contains("RUN has changed"), "{name}: {}", build.stderr);
        } else {
            let build = build.expect(0);
            assert_eq!(at(&build.image(), "/file"), "file 0644 0:0 \"good\\n\"", "{name}");
        }
    }
}

/// Changes a file of the context, with its size and time as they were, again and again while a build goes on.
fn while_it_flickers(source: &Scratch, build: impl FnOnce() -> Build) -> Build {
    let ended = AtomicBool::new(false);
    let path = source.join("context/large");
    let modified = fs::metadata(&path).expect("it is there").modified().expect("a time");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u8;
            while !ended.load(Ordering::Relaxed) {
                round = round.wrapping_add(1);
                let file = fs::File::options().write(true).open(&path).expect("it is there");
                std::os::unix::fs::FileExt::write_all_at(&file, &[round; 64], 0).expect("writes");
                file.set_modified(modified).expect("ours");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let built = build();
        ended.store(true, Ordering::Relaxed);
        built
    })
}

/// What a build that is disturbed leaves in the cache is right, or is not there.
#[test]
fn a_context_that_changes_while_it_is_copied_poisons_no_cache() {
    let dockerfiles = [
        "FROM scratch\nCOPY large /large\n",
        "FROM $BASE\nRUN --mount=type=bind,target=/m cp /m/large /large\n",
        "FROM $BASE\nRUN --mount=type=bind,source=large,target=/m cp /m /large\n",
    ];
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("attacks: changing contexts")) {
        for dockerfile in dockerfiles {
            poisons_no_cache(isolation, dockerfile);
        }
    }
}

fn poisons_no_cache(isolation: Isolation, dockerfile: &str) {
    let what = format!("{}: {dockerfile}", isolation.name());
    let source = source(dockerfile, &[]);
    source.file("context/large", noise(1, 24 << 20));
    let cache = Scratch::new("cache");
    let build = || {
        let mut executor = Executor::new(isolation, source.path());
        let place = executor.shared_directory(cache.path());
        executor.only_layout().add(&["--compression=none", "--cache", &format!("--cache-repo=oci:{place}")]);
        executor.run()
    };
    let disturbed = while_it_flickers(&source, build).expect(0);
    assert!(disturbed.stderr.contains("changed while they were read"), "{what}: {}", disturbed.stderr);
    // The states that a key may stand for, once more: what is found must be it.
    for round in [0_u8, 1] {
        let file = fs::File::options().write(true).open(source.join("context/large")).expect("it is there");
        std::os::unix::fs::FileExt::write_all_at(&file, &[round; 64], 0).expect("writes");
        let (built, expected) = (build().expect(0), fs::read(source.join("context/large")).expect("reads"));
        let mut content = Command::new("sh");
        content
            .args(["-c", "tar -xOf \"$1\" large | sha256sum", "sh"])
            .arg(built.image().layers.last().expect("a layer"));
        let digest = sha256(&mut expected.as_slice());
        let found = process::run(&mut content, SHORT).success();
        assert!(found.starts_with(&digest["sha256:".len()..]), "{what}: round {round}");
    }
}

#[test]
fn an_image_of_a_context_that_changed_is_not_found_by_the_key_of_the_build() {
    if !Isolation::Namespace.allowed("attacks: build keys") {
        return;
    }
    let (source, registry) = (source("FROM scratch\nCOPY large /large\n", &[]), registry::Registry::plain());
    source.file("context/large", noise(2, 24 << 20));
    let build = || {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, "app:1").add(&["--skip-existing", "--compression=none"]).run()
    };
    let disturbed = while_it_flickers(&source, build).expect(0);
    assert!(disturbed.stderr.contains("not to be found by the build's key"), "{}", disturbed.stderr);
    let quiet = build().expect(0);
    assert!(!quiet.stderr.contains("already built"), "{}", quiet.stderr);
    assert!(build().expect(0).stderr.contains("already built"));
}

#[test]
fn a_file_that_grows_while_it_is_copied_is_cut_at_the_size_that_was_seen() {
    if !Isolation::Namespace.allowed("attacks: growing files") {
        return;
    }
    let (source, cache) = (source("FROM scratch\nCOPY . /ctx/\n", &[]), Scratch::new("cache"));
    source.file("context/log", noise(3, 8 << 20));
    let place = format!("--cache-repo=oci:{}", cache.path().display());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = fs::File::options().append(true).open(source.join("context/log")).expect("it is there");
            while !ended.load(Ordering::Relaxed) {
                std::io::Write::write_all(&mut log, b"one more line of a log that is being written\n").expect("writes");
            }
        });
        for flags in [&["--cache", place.as_str()][..], &[]] {
            for _ in 0..3 {
                let mut executor = Executor::new(Isolation::Namespace, source.path());
                executor.only_layout().add(flags).run().expect(0).image().verify();
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
}

/// Pushes busybox with a configuration that says something else of its layer.
fn with_wrong_diff_id(name: &str) -> String {
    let scratch = Scratch::new("diff-id");
    let config = serde_json::json!({"Env": [bases::PATH]});
    let image = bases::image(scratch.path(), "amd64", &[bases::busybox()], &config);
    let blob = |digest: &str| scratch.join("blobs").join(digest.replace(':', "/"));
    let manifest = image::json_file(&blob(image.descriptor["digest"].as_str().expect("a digest")));
    let config = fs::read_to_string(blob(manifest["config"]["digest"].as_str().expect("a digest"))).expect("reads");
    let other = sha256(&mut &b"something else"[..]);
    let config = config.replace(&image.diff_ids[0], &other);
    let config_digest = sha256(&mut config.as_bytes());
    fs::write(blob(&config_digest), &config).expect("scratch is writable");
    let mut manifest = manifest;
    manifest["config"]["digest"] = config_digest.into();
    manifest["config"]["size"] = config.len().into();
    let manifest = manifest.to_string();
    let digest = sha256(&mut manifest.as_bytes());
    fs::write(blob(&digest), &manifest).expect("scratch is writable");
    let descriptor = serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest, "size": manifest.len()});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [descriptor]});
    fs::write(scratch.join("index.json"), index.to_string()).expect("scratch is writable");
    fs::write(scratch.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").expect("scratch is writable");
    bases::push(scratch.path(), name)
}

#[test]
fn a_base_that_lies_about_its_layers_is_refused() {
    let base = with_wrong_diff_id("attacks/diff-id");
    let rows = ["RUN true", "WORKDIR /somewhere", "COPY --chown=alice file /file"];
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("attacks: diff ids")) {
        for row in rows {
            let source = source(&format!("FROM {base}\n{row}\n"), &[("file", "x")]);
            let build = Executor::new(isolation, source.path()).only_layout().run();
            let name = isolation.name();
            assert_eq!(build.code, 76, "{name}: {row}: {}", build.stderr);
            assert!(build.stderr.contains("the configuration of its image says"), "{name}: {row}: {}", build.stderr);
        }
    }
}

#[test]
fn an_index_that_lies_about_a_size_is_refused() {
    if !Isolation::Namespace.allowed("attacks: sizes") {
        return;
    }
    let scratch = Scratch::new("sizes");
    let image = bases::image(scratch.path(), "amd64", &[Layer::default().finish()], &serde_json::json!({}));
    let size = image.descriptor["size"].as_u64().expect("a size");
    bases::layout(scratch.path(), std::slice::from_ref(&image));
    let pushed = bases::push(scratch.path(), "attacks/sizes");
    let mut descriptor = image.descriptor;
    descriptor["size"] = (size + 1).into();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [descriptor]});
    let file = scratch.file("index.json", index.to_string());
    let url = format!("http://{}/v2/attacks/sizes/manifests/wrong", registry::shared().address);
    let mut put = Command::new("curl");
    put.args(["-sSf", "-X", "PUT", "-H", &format!("Content-Type: {media_type}"), "--data-binary"]);
    process::run(put.arg(format!("@{}", file.display())).arg(&url), SHORT).success();
    let served = source(&format!("FROM {}\nCOPY file /\n", pushed.replace(":latest", ":wrong")), &[("file", "x")]);
    let build = Executor::new(Isolation::Namespace, served.path()).only_layout().run();
    assert_ne!(build.code, 0, "{}", build.stderr);
    assert!(build.stderr.contains(&format!("after {size} bytes instead of {}", size + 1)), "{}", build.stderr);
    let layout = format!("--build-context=base=oci-layout://{}", scratch.path().display());
    let source = source("FROM base\nCOPY file /\n", &[("file", "x")]);
    let build = Executor::new(Isolation::Namespace, source.path()).only_layout().add(&[&layout]).run();
    assert!(build.code != 0 && build.stderr.contains(&format!("has {size} bytes")), "{}", build.stderr);
}

#[test]
fn what_a_cache_keeps_of_an_instruction_shows_no_login() {
    if !Isolation::Namespace.allowed("attacks: instructions") {
        return;
    }
    let web = Web::start();
    web.scratch.file("root/tool", "good\n");
    let url = format!("https://carol:open-sesame@{}/files/tool", web.address);
    let source = source(&format!("FROM scratch\nADD {url} /tool\n"), &[]);
    let cache = Scratch::new("cache");
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let ca = executor.credential("ca.crt", web.ca());
    executor.env("SSL_CERT_FILE", &ca).only_layout().output("--metadata-file", "metadata.json");
    let build = executor
        .add(&["--cache", "--cache-inline", &format!("--cache-repo=oci:{}", cache.path().display())])
        .run()
        .expect(0);
    assert_eq!(steps::done(&build).len(), 1);
    let mut grep = Command::new("grep");
    grep.args(["-rl", "open-sesame"]).arg(cache.path()).arg(build.path("layout"));
    assert_eq!(process::run(&mut grep, SHORT).stdout, "", "the password is kept");
    let trails = fs::read_dir(cache.join("blobs/sha256")).expect("it is there").flatten();
    let trails = trails.filter_map(|blob| fs::read_to_string(blob.path()).ok());
    assert!(trails.into_iter().any(|text| text.contains("ADD https://***@")), "the instruction is there otherwise");
}
