//! `yadokari inspect`: what an image is, what is said about it, and who has signed.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::signing::expect;
use crate::support::bases::{Layer, blob, image_with, layout};
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Finished, SHORT};
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::{self, Scratch};
use crate::support::signatures::{copy, ecdsa, kept, put_back, tag};
use crate::support::source::source;

const DOCKERFILE: &str = "FROM scratch
COPY status /var/lib/dpkg/status
ENV API_URL=https://u:hermit@api.example.com A=1
LABEL org.example=one
EXPOSE 80/tcp
WORKDIR /srv
USER alice
VOLUME /data
ENTRYPOINT [\"/bin/app\", \"--x\"]
CMD [\"serve\"]
";
const STATUS: &str = "Package: one\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n\
    Package: two\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n";

/// Runs a command of the executor, which keeps what is temporary in a directory of ours.
pub(crate) fn run(words: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = Command::new(EXECUTOR);
    command.args(words).env_clear().env("TMPDIR", scratch::root()).envs(variables.iter().copied());
    process::run(command.current_dir(scratch::root()), SHORT)
}

/// Builds what needs no isolation, on this machine.
pub(crate) fn build(source: &Scratch, words: &[&str], variables: &[(&str, &str)]) -> Finished {
    let [context, dockerfile, state] = [("context", "context"), ("dockerfile", "Dockerfile"), ("state-dir", "state")]
        .map(|(flag, name)| format!("--{flag}={}", source.join(name).display()));
    run(&[&[&*context, &dockerfile, &state], words].concat(), variables)
}

/// What a command says in JSON.
pub(crate) fn told(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}:\n{}{}", finished.command, finished.stdout, finished.stderr))
}

/// Says that a terminal would show all of a text and obey none of it.
pub(crate) fn is_tame(text: &str) -> bool {
    let obeyed =
        |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    !text.chars().any(obeyed)
}

/// Says that a text fits a page of 80 columns, but for words that no line has room for.
fn is_narrow(text: &str) -> bool {
    let is_long = |line: &str| line.chars().count() > 80 && !line.split(' ').any(|word| word.len() > 67);
    !text.lines().any(is_long)
}

#[test]
fn an_image_of_ours_tells_all_that_is_known_of_it() {
    let (registry, source) = (Registry::plain(), source(DOCKERFILE, &[("status", STATUS)]));
    let name = registry.repository("app:1");
    let insecure = format!("--insecure-registry={}", registry.address);
    let base = format!("sha256:{}", "ab".repeat(32));
    let noted = [("name", "registry.example.com/base:1"), ("digest", &base)]
        .map(|(key, value)| format!("--annotation=manifest:org.opencontainers.image.base.{key}={value}"));
    let destination = format!("--destination={name}");
    let words = [&*destination, &insecure, "--provenance=min", "--sbom=spdx", &noted[0], &noted[1]];
    build(&source, &words, &[]).success();
    let keys = Scratch::new("keys");
    let ((key, public), (_, stranger)) = (ecdsa(&keys, "key"), ecdsa(&keys, "stranger"));
    run(&["sign", &name, "--key", &key, &insecure], &[]).success();

    let text = run(&["inspect", &name, &insecure], &[]);
    expect(&text, 0, "not checked: the image, under a tag");
    expect(&text, 0, "--key FILE checks them");
    assert!(is_narrow(&text.stdout) && !text.stdout.contains("hermit"), "{}", text.stdout);
    let image = told(&run(&["inspect", &name, &insecure, "--format=json"], &[]));
    assert_eq!((&image["schemaVersion"], &image["digest"]), (&json!(1), &json!(registry.digest("app:1"))));
    let only = &image["images"][0];
    assert_eq!(only["base"], json!({"name": "registry.example.com/base:1", "digest": base}));
    let expected = json!({
        "entrypoint": ["/bin/app", "--x"], "cmd": ["serve"], "user": "alice", "workdir": "/srv",
        "env": only["config"]["env"], "ports": ["80/tcp"], "volumes": ["/data"], "labels": {"org.example": "one"},
    });
    assert_eq!(only["config"], expected);
    let names = only["config"]["env"].as_array().expect("a list");
    assert!(names.contains(&json!("API_URL")) && !image.to_string().contains("hermit"), "{image:#}");
    let layers: Vec<&Value> = only["layers"].as_array().expect("a list").iter().collect();
    let made: Vec<_> = layers.iter().filter(|layer| layer["digest"].is_string()).collect();
    assert!(made[0]["createdBy"].as_str().is_some_and(|by| by.starts_with("COPY status")), "{made:?}");
    assert!(layers.len() > made.len() && made[0]["size"].as_u64() > Some(0), "{layers:?}");

    let statements = only["statements"].as_array().expect("a list");
    let of = |kind: &str| {
        statements.iter().find(|one| one["predicateType"] == kind).unwrap_or_else(|| panic!("{kind}: {image:#}"))
    };
    let provenance = &of("https://slsa.dev/provenance/v1")["provenance"];
    assert!(provenance["builder"].is_string() && provenance["started"].is_string(), "{provenance}");
    let packages = of("https://spdx.dev/Document");
    assert_eq!((&packages["packages"]["kinds"], &packages["isAboutIt"]), (&json!({"deb": 2}), &json!(true)));
    let states = |words: &[&str]| -> Vec<String> {
        let all = [&["inspect", &name, &insecure, "--format=json"], words].concat();
        let image = told(&run(&all, &[]));
        let signatures = image["images"][0]["signatures"].as_array().expect("a list").clone();
        signatures.iter().map(|one| format!("{} {}", one["held"], one["state"]).replace('"', "")).collect()
    };
    assert_eq!(states(&[]), ["tag not-checked", "bundle not-checked"]);
    assert_eq!(states(&["--key", &public]), ["tag holds", "bundle holds"]);
    assert_eq!(states(&["--key", &stranger]), ["tag refused", "bundle refused"]);

    // Another signature under the tag: what it was made of is gone.
    let signatures = format!("app:{}", tag(image["digest"].as_str().expect("a digest"), "sig"));
    let (mut manifest, blobs) = kept(&registry, &signatures, &keys, "kept");
    let other = "MEUCIQDKm3vWAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"] = other.into();
    put_back(&registry, &signatures, &blobs, &manifest);
    assert_eq!(states(&["--key", &public]), ["tag refused", "bundle holds"]);
    expect(&run(&["inspect", &name, &insecure, "--key", &public], &[]), 0, "DOES NOT HOLD: the image, under a tag");
}

#[test]
fn layouts_and_archives_say_the_same_as_a_registry() {
    let (registry, source, files) =
        (Registry::plain(), source(DOCKERFILE, &[("status", STATUS)]), Scratch::new("files"));
    let name = registry.repository("app:1");
    let insecure = format!("--insecure-registry={}", registry.address);
    let out = |name: &str| files.join(name).display().to_string();
    let layout = format!("--oci-layout-path={}", out("layout"));
    let key = ecdsa(&files, "key");
    let words = [
        &*format!("--destination={name}"),
        &insecure,
        &layout,
        "--provenance=min",
        &format!("--sign-key={}", key.0),
        "--reproducible",
    ];
    build(&source, &words, &[]).success();
    let from = format!("docker://{name}");
    copy(&[&from, &format!("oci-archive:{}", out("oci.tar"))]).success();
    copy(&[&from, &format!("docker-archive:{}", out("docker.tar"))]).success();
    let state = format!("--state-dir={}", out("state"));
    let look = |image: &str| {
        let finished = run(&["inspect", image, &insecure, &state, "--format=json", "--key", &key.1], &[]);
        expect(&finished, 0, "");
        told(&finished)["images"][0].clone()
    };
    let pushed = look(&name);
    let ids = |image: &Value| -> Vec<Value> {
        image["layers"].as_array().expect("a list").iter().map(|layer| layer["diffId"].clone()).collect()
    };
    for file in ["layout", "oci.tar", "docker.tar"] {
        let found = look(&out(file));
        assert_eq!((&found["config"], ids(&found)), (&pushed["config"], ids(&pushed)), "{file}");
        assert_eq!(
            (&found["configDigest"], &found["platform"]),
            (&pushed["configDigest"], &pushed["platform"]),
            "{file}"
        );
        let signed: Vec<&Value> =
            found["signatures"].as_array().expect("a list").iter().map(|one| &one["state"]).collect();
        let provenance = found["statements"].as_array().map(Vec::len);
        assert_eq!(provenance, Some(usize::from(file == "layout")), "{file}: {found:#}");
        assert!(signed.iter().all(|state| **state == "holds"), "{file}: {found:#}");
    }
    assert!(!files.join("state").exists() || fs::read_dir(files.join("state")).expect("a directory").count() == 0);
}

#[test]
fn an_image_by_buildah_in_a_private_registry_needs_our_credentials() {
    let (registry, files) = (Registry::secured(), Scratch::new("private"));
    files.file("context/file", "content\n");
    files.file("context/Dockerfile", "FROM scratch\nCOPY file /file\nLABEL by=buildah\nCMD [\"x\"]\n");
    let name = registry.repository("private/app:1");
    let store = ["root", "runroot"].map(|name| format!("--{name}={}", files.directory(name).display()));
    let buildah = |words: &[&str]| {
        let mut command = Command::new("buildah");
        command.args(&store).args(["--storage-driver=vfs"]).args(words);
        process::run(&mut command, SHORT).success()
    };
    buildah(&["build", "--isolation=chroot", "--quiet", "--tag=made", &files.join("context").display().to_string()]);
    let options = registry.skopeo_options("");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    buildah(&[&["push", "--quiet"], &options[..], &["made", &format!("docker://{name}")]].concat());
    let (config, ca) = (Scratch::new("config"), registry.ca().display().to_string());
    config.file("config.json", registry.docker_config(PASSWORD));
    let home = config.path().display().to_string();
    let variables = [("SSL_CERT_FILE", &*ca), ("DOCKER_CONFIG", &home)];
    let found = run(&["inspect", &name, "--format=json"], &variables);
    expect(&found, 0, "");
    assert_eq!(told(&found)["images"][0]["config"]["labels"]["by"], "buildah");
    expect(&run(&["inspect", &name], &variables[..1]), 77, &registry.address);
    expect(&run(&["inspect", &registry.repository("private/none:1")], &variables), 76, "there is no image");
}

/// Writes a layout of an image whose configuration is changed.
fn changed(directory: &Path, layer: Layer, change: impl FnOnce(&mut Value)) {
    let image = image_with(directory, &[layer.finish()], change);
    layout(directory, &[image]);
}

#[test]
fn what_others_have_written_is_shown_and_never_obeyed() {
    let files = Scratch::new("hostile");
    let layer = |content: &[u8]| {
        let mut layer = Layer::default();
        layer.file("clear\u{1b}[2Jscreen\u{202e}\u{9b}2J", 0o644, (0, 0), content);
        layer
    };
    let hostile = "a\u{1b}]0;title\u{7}b\u{9b}2J\u{202e}\r\n::error::c";
    let change = |document: &mut Value| {
        document["config"] = json!({"Labels": {hostile: hostile}, "Cmd": [hostile], "User": hostile, "Env": [hostile]});
        document["history"][0]["created_by"] = hostile.into();
        document["os"] = hostile.into();
    };
    for (name, content) in [("a", b"one"), ("b", b"two")] {
        changed(&files.directory(name), layer(content), change);
    }
    let (a, b) = (files.join("a").display().to_string(), files.join("b").display().to_string());
    let state = format!("--state-dir={}", files.join("state").display());
    for format in ["--format=text", "--format=json"] {
        let looked = run(&["inspect", &a, &state, format], &[]);
        expect(&looked, 0, "title");
        assert!(is_tame(&looked.stdout), "{:?}", looked.stdout);
        let compared = run(&["diff", &a, &b, &state, format], &[]);
        expect(&compared, 79, "screen");
        assert!(is_tame(&compared.stdout) && is_tame(&compared.stderr), "{:?}{:?}", compared.stdout, compared.stderr);
    }
}

#[test]
fn broken_documents_are_errors_with_their_names() {
    let files = Scratch::new("broken");
    let state = format!("--state-dir={}", files.join("state").display());
    let mut number = 0;
    let mut look = |config: &str, expected: &str| {
        number += 1;
        let directory = files.directory(&number.to_string());
        let image = image_with(&directory, &[Layer::default().finish()], |_| ());
        let digest = image.descriptor["digest"].as_str().expect("a digest").replace(':', "/");
        let manifest = fs::read_to_string(directory.join("blobs").join(digest)).expect("it is there");
        let mut manifest: Value = serde_json::from_str(&manifest).expect("JSON");
        manifest["config"] = blob(&directory, config.as_bytes(), "application/vnd.oci.image.config.v1+json");
        let descriptor =
            blob(&directory, manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string();
        fs::write(directory.join("index.json"), index).expect("scratch is writable");
        for words in [&["inspect"][..], &["diff", &directory.display().to_string()]] {
            let path = directory.display().to_string();
            expect(&run(&[words, &[&*path, &state]].concat(), &[]), 76, expected);
        }
    };
    look("", "it is no configuration of an image");
    look("[]", "it is no configuration of an image");
    look("{\"rootfs\": 5}", "it is no configuration of an image");
    look("{\"architecture\": \"amd64\", \"os\": \"linux\"}", "it has 1 layers, and its configuration names 0");
    look(&format!("[{}0]", "0,".repeat(200_000)), "it has more than 100000 values");
    expect(&run(&["inspect", &files.path().display().to_string(), &state], &[]), 76, "neither an OCI layout");
    expect(&run(&["inspect", "UPPER"], &[]), 72, "lower case");
}
