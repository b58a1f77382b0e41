//! Outputs: every form, compression and destination of an image, read by skopeo, umoci and podman.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::bases;
use crate::support::executor::{Build, Executor};
use crate::support::git;
use crate::support::image::{Image, json_file, sha256};
use crate::support::isolation::Isolation;
use crate::support::listing::difference;
use crate::support::pod::{EXECUTOR, Pod, podman};
use crate::support::process::{self, LONG, SHORT};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::source::{one_file, source};

const DOCKERFILE: &str = "FROM $BASE
COPY file /srv/file
SHELL [\"/bin/sh\", \"-ec\"]
ENV GREETING=ahoy
HEALTHCHECK --interval=7s CMD cat /srv/file
ONBUILD RUN true
CMD echo $GREETING; cat /srv/file
";

/// What containers of the image print.
const PRINTS: &str = "ahoy\ncontent\n";

const OCI: &str = "application/vnd.oci.image";
const DOCKER: &str = "application/vnd.docker";

fn built(isolation: Isolation, source: &Scratch, arguments: &[&str]) -> Executor {
    let mut executor = Executor::new(isolation, source.path());
    executor.add(&["--no-push", &format!("--insecure-registry={}", registry::shared().address)]).add(arguments);
    executor
}

fn skopeo(words: &[&str]) -> String {
    process::run(Command::new("skopeo").args(words), LONG).success()
}

/// Copies an image that skopeo names into the `dir:` form, keeping its digests, and checks it whole.
fn checked(from: &str) -> Image {
    let scratch = Scratch::new("dir");
    skopeo(&["copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", from, &to_dir(&scratch)]);
    let image = Image::from_directory(scratch.path());
    image.verify();
    image
}

fn to_dir(scratch: &Scratch) -> String {
    format!("dir:{}", scratch.path().display())
}

/// The media types of configuration and layers, without what they have in common.
fn media_types(image: &Image) -> Vec<String> {
    let layers = image.manifest["layers"].as_array().expect("layers").iter();
    let all = [&image.manifest, &image.manifest["config"]].into_iter().chain(layers);
    all.map(|one| one["mediaType"].as_str().expect("a media type").to_owned()).collect()
}

/// Loads an archive into podman, and runs what was loaded.
fn loaded_and_run(archive: &Path) -> String {
    let loaded = process::run(podman().arg("load").arg("--input").arg(archive), LONG).success();
    let name = loaded.trim().rsplit_once(' ').expect("podman names what it loaded").1.to_owned();
    let printed = Pod::plain().start_image(&name, &[]).wait(LONG).success();
    process::run(podman().args(["rmi", "--force", &name]), SHORT).success();
    assert_eq!(printed, PRINTS, "{name}");
    name
}

#[test]
fn every_form_in_every_compression_is_read_by_everyone() {
    if !Isolation::Namespace.allowed("outputs: forms") || !Isolation::Container.allowed("outputs: forms") {
        return;
    }
    let registry = Registry::plain();
    let source = source(DOCKERFILE, &[("file", "content\n")]);
    let rows = [
        ("oci", "gzip", "9", "v1.tar+gzip", OCI),
        ("oci", "zstd", "1", "v1.tar+zstd", OCI),
        ("oci", "zstd", "22", "v1.tar+zstd", OCI),
        ("oci", "uncompressed", "0", "v1.tar", OCI),
        ("docker", "gzip", "-1", "diff.tar.gzip", DOCKER),
        ("docker", "uncompressed", "-1", "diff.tar", DOCKER),
    ];
    for (format, compression, level, layer, family) in rows {
        let told = format!("{format} {compression} {level}");
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, "app:1").add(&[
            &format!("--image-format={format}"),
            &format!("--compression={compression}"),
            &format!("--compression-level={level}"),
        ]);
        executor.output("--oci-layout-path", "layout").output("--digest-file", "digest");
        executor.output("--output=type=oci,dest", "oci.tar");
        if compression != "zstd" {
            executor.output("--tar-path", "docker.tar");
        }
        let build = executor.run().expect(0);
        let digest = build.result("digest").expect("it was pushed");
        let shown = |name: &str| build.path(name).display().to_string();
        // skopeo looks for the names of OCI's manifests only.
        let tag = if family == OCI { ":1" } else { "" };
        let mut places = vec![
            format!("docker://{}/app:1", registry.address),
            format!("oci:{}{tag}", shown("layout")),
            format!("oci-archive:{}{tag}", shown("oci.tar")),
        ];
        places.extend((compression != "zstd").then(|| format!("oci-archive:{}{tag}", shown("docker.tar"))));
        for place in places {
            let image = checked(&place);
            assert_eq!(image.digest, digest, "{told}: {place}");
            let types = media_types(&image);
            assert!(types.iter().all(|one| one.starts_with(family)), "{told}: {types:?}");
            assert!(types.last().is_some_and(|last| last.ends_with(layer)), "{told}: {types:?}");
            let config = &image.config["config"];
            assert_eq!(config["Shell"], json!(["/bin/sh", "-ec"]), "{told}");
            assert_eq!(config["Healthcheck"]["Interval"], json!(7_000_000_000_u64), "{told}");
            assert_eq!(config["OnBuild"], json!(["RUN true"]), "{told}");
        }
        // It knows neither Docker's media types nor zstd.
        if family == OCI && compression != "zstd" {
            umoci_reads(&build, &told);
        }
        loaded_and_run(&build.path("oci.tar"));
        if compression != "zstd" {
            let image = format!("docker-archive:{}", shown("docker.tar"));
            let inspected: Value = serde_json::from_str(&skopeo(&["inspect", &image])).expect("JSON");
            assert!(inspected["Layers"].as_array().is_some_and(|layers| layers.len() == 2), "{told}: {inspected}");
            let name = loaded_and_run(&build.path("docker.tar"));
            assert!(name.ends_with("/app:1"), "{told}: {name}");
            docker_loads(&build.path("docker.tar"));
        }
    }
}

fn umoci_reads(build: &Build, told: &str) {
    let scratch = Scratch::new("umoci");
    let image = format!("{}:1", build.path("layout").display());
    let bundle = scratch.join("bundle");
    process::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle), LONG).success();
    let file = fs::read_to_string(bundle.join("rootfs/srv/file"));
    assert_eq!(file.ok().as_deref(), Some("content\n"), "{told}");
}

/// Only where a Docker engine is there.
fn docker_loads(archive: &Path) {
    let works = Command::new("docker").arg("version").output().is_ok_and(|output| output.status.success());
    if !works {
        return eprintln!("no Docker engine here to load archives into");
    }
    let loaded = process::run(Command::new("docker").arg("load").arg("--input").arg(archive), LONG).success();
    let name = loaded.trim().rsplit_once(' ').expect("docker names what it loaded").1.to_owned();
    let mut command = Command::new("docker");
    assert_eq!(process::run(command.args(["run", "--rm", &name]), LONG).success(), PRINTS);
    process::run(Command::new("docker").args(["rmi", &name]), SHORT).success();
}

#[test]
fn all_names_are_in_an_archive() {
    if !Isolation::Namespace.allowed("outputs: names") {
        return;
    }
    let source = one_file();
    let names = ["--destination=r.example/a/app:1", "--destination=r.example/b/app:1", "--destination=app:2"];
    let mut executor = built(Isolation::Namespace, &source, &names);
    executor.output("--tar-path", "docker.tar").output("--output=type=oci,tar=false,dest", "layout");
    let build = executor.run().expect(0);
    let unpacked = Scratch::new("archive");
    let mut tar = Command::new("tar");
    process::run(tar.arg("-C").arg(unpacked.path()).arg("-xf").arg(build.path("docker.tar")), SHORT).success();
    let saved = json_file(&unpacked.join("manifest.json"));
    assert_eq!(saved[0]["RepoTags"], json!(["r.example/a/app:1", "r.example/b/app:1", "app:2"]));
    let annotations = |directory: &Path, key: &str| -> Vec<String> {
        let index = json_file(&directory.join("index.json"));
        let manifests = index["manifests"].as_array().expect("manifests").iter();
        manifests.map(|one| one["annotations"][key].as_str().unwrap_or_default().to_owned()).collect()
    };
    let whole = annotations(unpacked.path(), "io.containerd.image.name");
    assert_eq!(whole, ["r.example/a/app:1", "r.example/b/app:1", "docker.io/library/app:2"]);
    assert_eq!(annotations(&build.path("layout"), "org.opencontainers.image.ref.name"), ["1", "2"]);
}

#[test]
fn an_engine_loads_archives_of_both_formats() {
    if !Isolation::Namespace.allowed("outputs: docker load") {
        return;
    }
    let docker = |words: &str| process::run(Command::new("sh").args(["-c", &format!("docker {words}")]), LONG);
    if docker("version --format '{{.Server.Version}}'").code != 0 {
        return skips::skip("outputs: docker load", "no Docker engine answers");
    }
    for format in ["oci", "docker"] {
        let source = source("FROM scratch\nCOPY file /file\n", &[("file", "x")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let names = ["one:1", "two:2"].map(|name| format!("example.com/{format}/{name}"));
        executor.add(&["--no-push", &format!("--image-format={format}")]);
        executor.add(&[&format!("-d={}", names[0]), &format!("-d={}", names[1])]).output("--tar-path", "image.tar");
        let build = executor.run().expect(0);
        let loaded = docker(&format!("load --input {}", build.path("image.tar").display())).success();
        for name in &names {
            assert!(loaded.contains(&format!("Loaded image: {name}")), "{loaded}");
            assert!(docker(&format!("image inspect {name}")).success().contains("\"Architecture\""));
        }
        docker(&format!("rmi {}", names.join(" "))).success();
    }
}

#[test]
fn standard_output_is_the_archive_in_every_isolation() {
    let source =
        source("FROM $BASE\nCOPY file /file\nRUN echo printed by RUN; echo >&2 and by its errors\n", &[("file", "x")]);
    for isolation in Isolation::ALL.into_iter().filter(|one| one.allowed("outputs: standard output")) {
        let insecure = format!("--insecure-registry={}", registry::shared().address);
        let mut executor = Executor::new(isolation, source.path());
        executor.add(&["--no-push", &insecure, "--output=type=oci"]);
        let build = match isolation {
            Isolation::Namespace => executor.stdout("stdout.tar").run(),
            // The second archive stands among the container's own files, which another image's replace meanwhile, where
            // they can be written.
            _ => {
                let place = if isolation == Isolation::Mediated { "/state" } else { "/busybox" };
                executor.add(&[&format!("--output=type=docker,dest={place}/own.tar")]).run_script(&format!(
                    "/kaniko/executor \"$@\" >/step-results/stdout.tar && \
                     /busybox/busybox cp {place}/own.tar /step-results/"
                ))
            }
        };
        let build = build.expect(0);
        let image = checked(&format!("oci-archive:{}", build.path("stdout.tar").display()));
        assert_eq!(image.layers.len(), 2, "{}", isolation.name());
        if isolation != Isolation::Namespace {
            let own = checked(&format!("oci-archive:{}", build.path("own.tar").display()));
            assert_eq!(own.digest, image.digest, "{}", isolation.name());
        }
        assert!(build.stderr.contains("printed by RUN"), "{}", build.stderr);
    }
}

const ODD_FILES: &str = "FROM $BASE
COPY --chown=1000:50 file /srv/file
RUN mkdir -p /odd/d && cd /odd && echo a > a && ln a hard && ln -s a soft && ln -s /nowhere dangling && mkfifo fifo \\
    && chown 7:8 a && chmod 4755 a && : > empty && ln empty empty2 && rm /bin/vi && touch -d @1000000000 d \\
    && dd if=/dev/zero of=sparse bs=1 count=1 seek=3000000 2>/dev/null && mv /home /moved
";

/// All below a directory: kind, mode, owner, time, number of names, and what is in it.
fn tree(directory: &Path, owners: bool) -> String {
    let format = if owners { "%P|%y %m %U:%G %Ts %n %l\\n" } else { "%P|%y %m %Ts %n %l\\n" };
    let mut find = Command::new("find");
    let listed = process::run(find.arg(directory).args(["-mindepth", "1", "-printf", format]), SHORT).success();
    let line = |line: &str| {
        let (path, told) = line.split_once('|').expect("the format has one");
        let is_file = told.starts_with("f ");
        let content = is_file.then(|| sha256(&mut fs::File::open(directory.join(path)).expect("a file")));
        format!("/{path} {told} {}\n", content.unwrap_or_default())
    };
    let mut lines: Vec<_> = listed.lines().map(line).collect();
    lines.sort();
    lines.concat()
}

/// Panics with the lines that differ.
fn same(expected: &str, found: &str, told: &str) {
    assert_eq!(difference(expected, found), "", "{told}");
    assert_eq!(expected, found, "{told}");
}

#[test]
fn bare_files_are_those_that_umoci_unpacks() {
    let source = source(ODD_FILES, &[("file", "content\n")]);
    for isolation in Isolation::ALL.into_iter().filter(|one| one.allowed("outputs: bare files")) {
        let mut executor = built(isolation, &source, &[]);
        executor.output("--oci-layout-path", "layout").output("--output=type=tar,dest", "files.tar");
        executor.output("--output=type=local,dest", "new/files").output("--output", "there");
        executor.stale("there/odd/a", "is replaced").stale("there/own", "stays");
        executor
            .output("--output=type=local,mode=delete,dest", "only")
            .stale("only/own/file", "goes")
            .stale("only/odd/x", "too");
        let build = executor.run().expect(0);
        let scratch = Scratch::new("bare");
        let image = format!("{}:latest", build.path("layout").display());
        let bundle = scratch.join("bundle");
        process::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle), LONG).success();
        let rootfs = bundle.join("rootfs");
        let unpacked = scratch.directory("unpacked");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&unpacked).args(["--numeric-owner", "--xattrs", "-xpf"]).arg(build.path("files.tar"));
        process::run(&mut tar, LONG).success();
        let told = isolation.name();
        same(&tree(&rootfs, true), &tree(&unpacked, true), &format!("{told}: tar"));
        let expected = tree(&rootfs, false);
        assert!(expected.contains("/odd/hard ") && !expected.contains("/bin/vi "), "{expected}");
        same(&expected, &tree(&build.path("new/files"), false), &format!("{told}: a new directory"));
        same(&expected, &tree(&build.path("only"), false), &format!("{told}: one where the rest is removed"));
        let there = tree(&build.path("there"), false);
        assert!(there.contains("/own f "), "{told}: what was there stays");
        let there: String =
            there.lines().filter(|line| !line.starts_with("/own ")).map(|line| format!("{line}\n")).collect();
        same(&expected, &there, &format!("{told}: one that was there"));
        let owner = fs::metadata(build.path("new/files/odd/a")).expect("a file").uid();
        let whose = if isolation == Isolation::Mediated { 65532 } else { rustix::process::getuid().as_raw() };
        assert_eq!(owner, whose, "{told}: they belong to who asked for them");
    }
}

/// A link in the place of an image's directory was followed by the files, and then gave way to an empty directory.
#[test]
fn a_link_in_the_place_of_a_directory_gives_way() {
    if !Isolation::Namespace.allowed("outputs: links in the way") {
        return;
    }
    let source = source("FROM scratch\nCOPY file /a/b/file\nCOPY file /c/file\n", &[("file", "content\n")]);
    let place = Scratch::new("place");
    let (elsewhere, there) = (place.directory("elsewhere"), place.directory("there"));
    place.file("there/c", "a file");
    std::os::unix::fs::symlink(&elsewhere, there.join("a")).expect("scratch is writable");
    built(Isolation::Namespace, &source, &[&format!("--output={}", there.display())]).run().expect(0);
    for name in ["a/b/file", "c/file"] {
        assert_eq!(fs::read_to_string(there.join(name)).ok().as_deref(), Some("content\n"), "{name}");
    }
    assert_eq!(fs::read_dir(elsewhere).expect("it is there").count(), 0);
}

#[test]
fn files_of_a_build_that_fails_are_not_there() {
    if !Isolation::Namespace.allowed("outputs: failing files") {
        return;
    }
    let source = one_file();
    let registry = Registry::plain();
    Executor::new(Isolation::Namespace, source.path()).push_plain(&registry, "base:1").run().expect(0);
    let layer = checked(&format!("docker://{}/base:1", registry.address)).manifest["layers"][0]["digest"].clone();
    registry.forget_blob(layer.as_str().expect("a digest"));
    let derived = crate::support::source::source(&format!("FROM {}/base:1\nENV A=1\n", registry.address), &[]);
    for kind in ["local", "tar"] {
        let mut executor =
            built(Isolation::Namespace, &derived, &[&format!("--insecure-registry={}", registry.address)]);
        let build = executor.output(&format!("--output=type={kind},dest"), "files").run();
        assert_ne!(build.code, 0, "{}", build.stderr);
        assert_eq!(build.results(), [""; 0], "{kind}");
    }
}

#[test]
fn a_failure_leaves_what_was_there_and_nothing_of_its_own() {
    if !Isolation::Namespace.allowed("outputs: failures") {
        return;
    }
    let source = one_file();
    let build = built(Isolation::Namespace, &source, &["--tar-path=/dev/full"]).run().expect(74);
    assert!(build.stderr.contains("/dev/full"), "{}", build.stderr);

    // A layer of the base that cannot be had breaks off the archive in the middle.
    let registry = Registry::plain();
    Executor::new(Isolation::Namespace, source.path()).push_plain(&registry, "base:1").run().expect(0);
    let layer = checked(&format!("docker://{}/base:1", registry.address)).manifest["layers"][0]["digest"].clone();
    registry.forget_blob(layer.as_str().expect("a digest"));
    let derived = crate::support::source::source(&format!("FROM {}/base:1\nENV A=1\n", registry.address), &[]);
    let mut executor = built(Isolation::Namespace, &derived, &[&format!("--insecure-registry={}", registry.address)]);
    executor.stale("image.tar", "of an earlier build").output("--tar-path", "image.tar");
    let build = executor.run();
    assert_ne!(build.code, 0, "{}", build.stderr);
    assert_eq!(build.result("image.tar").as_deref(), Some("of an earlier build"));
    assert_eq!(build.results(), ["image.tar"]);
}

#[test]
fn a_bases_media_types_become_those_of_the_image() {
    if !Isolation::Namespace.allowed("outputs: base's media types") {
        return;
    }
    let registry = Registry::plain();
    let from = format!("docker://{}", bases::base("BASE").reference);
    let to = format!("docker://{}/docker:1", registry.address);
    let words = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", "--format=v2s2", &from, &to];
    skopeo(&words);
    // This skopeo cannot make one of zstd.
    let source_of_base = source("FROM $BASE\n", &[]);
    let mut executor = Executor::new(Isolation::Namespace, source_of_base.path());
    executor.push_plain(&registry, "zstd:1").add(&["--compression=zstd", "--force-compression"]).run().expect(0);
    let insecure = format!("--insecure-registry={}", registry.address);
    let build = |base: &str, arguments: &[&str]| {
        let source = source(&format!("FROM {}/{base}:1\nCOPY file /\n", registry.address), &[("file", "x")]);
        let mut executor = built(Isolation::Namespace, &source, &[arguments, &[&insecure]].concat());
        executor.output("--oci-layout-path", "layout").run()
    };
    let types = |build: Build| {
        let build = build.expect(0);
        let image = Image::from_layout(&build.path("layout"));
        image.verify();
        let types = media_types(&image);
        types.iter().map(|one| one.rsplit(['.', '/']).next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let (oci, docker) = (["tar+gzip", "tar+gzip"], ["gzip", "gzip"]);
    assert_eq!(types(build("docker", &[]))[2..], oci);
    assert_eq!(types(build("docker", &["--image-format=docker"]))[2..], docker);
    assert_eq!(types(build("zstd", &[]))[2..], ["tar+zstd", "tar+gzip"]);
    let refused = build("zstd", &["--image-format=docker"]).expect(72);
    assert!(refused.stderr.contains("--force-compression"), "{}", refused.stderr);
    assert_eq!(types(build("zstd", &["--image-format=docker", "--force-compression"]))[2..], docker);
    assert_eq!(types(build("docker", &["--compression=zstd", "--force-compression"]))[2..], ["tar+zstd", "tar+zstd"]);
}

#[test]
fn annotations_stand_where_they_are_asked_for() {
    if !Isolation::Namespace.allowed("outputs: annotations") {
        return;
    }
    let registry = Registry::plain();
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1").output("--oci-layout-path", "layout").add(&[
        "--annotation=org.example.a=1",
        "--annotation=manifest,manifest-descriptor:org.example.b=2",
        &format!("--output=type=registry,name={}/other:2,annotation.org.example.c=3,4", registry.address)
            .replace(",annotation.org.example.c=3,4", ",\"annotation.org.example.c=3,4\""),
    ]);
    let build = executor.run().expect(0);
    let expected = json!({"org.example.a": "1", "org.example.b": "2", "org.example.c": "3,4"});
    for name in ["app:1", "other:2"] {
        assert_eq!(checked(&format!("docker://{}/{name}", registry.address)).manifest["annotations"], expected);
    }
    let index = json_file(&build.path("layout/index.json"));
    let of_descriptor = index["manifests"][0]["annotations"].as_object().expect("annotations");
    assert_eq!(of_descriptor["org.example.b"], "2");
    assert!(!of_descriptor.contains_key("org.example.a"), "{index}");

    let mut command = Command::new(EXECUTOR);
    command.arg("index").arg(format!("--insecure-registry={}", registry.address)).env_clear();
    command.args(["--annotation=org.example.i=1", "--annotation=manifest-descriptor:org.example.d=2"]);
    command.arg(format!("--destination={}/app:index", registry.address)).arg(format!("{}/app:1", registry.address));
    process::run(&mut command, SHORT).success();
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{}/app:index", registry.address)]);
    let index: Value = serde_json::from_str(&raw).expect("JSON");
    assert_eq!(index["annotations"], json!({"org.example.i": "1"}));
    assert_eq!(index["manifests"][0]["annotations"], json!({"org.example.d": "2"}));
}

#[test]
fn an_image_says_what_it_was_made_of() {
    if !Isolation::Namespace.allowed("outputs: origin") {
        return;
    }
    let repository = Scratch::new("repository");
    let base = bases::base("BASE");
    repository.file("Dockerfile", format!("FROM {}\nCOPY Dockerfile /\n", base.reference));
    let commit = git::script(
        repository.path(),
        "git init -q -b main .; git add -A .; git commit -qm one >&2; git rev-parse HEAD",
    );
    let url = format!("file://{}", repository.path().display());
    let built = |arguments: &[&str]| {
        let source = one_file();
        let mut executor = built(Isolation::Namespace, &source, arguments);
        executor.add(&[&format!("--context={url}"), "--dockerfile=Dockerfile"]).env("SOURCE_DATE_EPOCH", "1700000000");
        executor.output("--oci-layout-path", "layout").run().expect(0)
    };
    let build = built(&["--mark-origin=both", "--label=org.opencontainers.image.source=own"]);
    let image = Image::from_layout(&build.path("layout"));
    let key = |name: &str| format!("org.opencontainers.image.{name}");
    let mut expected = json!({
        key("created"): "2023-11-14T22:13:20Z", key("revision"): commit, key("source"): url,
        key("base.name"): base.reference, key("base.digest"): base.digest,
    });
    assert_eq!(image.manifest["annotations"], expected);
    expected[key("source")] = json!("own");
    assert_eq!(image.config["config"]["Labels"], expected);
    let image = Image::from_layout(&built(&[]).path("layout"));
    assert!(image.manifest["annotations"].is_null() && image.config["config"]["Labels"].is_null());
}
