//! `yadokari diff`: what differs between two images, and what kind of difference it is.

use serde_json::{Value, json};

use crate::inspect::{build, run, told};
use crate::signing::expect;
use crate::support::bases::{Layer, image_with, layout};
use crate::support::process::Finished;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::signatures::copy;
use crate::support::source::source;
use crate::support::steps::next_second;

const DOCKERFILE: &str = "FROM scratch\nCOPY a /srv/a\nCOPY d /srv/d\nENV A=1\n";
const CONTEXT: [(&str, &str); 2] = [("a", "a\n"), ("d/b", "b\n")];

fn diff(words: &[&str]) -> Finished {
    run(&[&["diff"], words].concat(), &[])
}

#[test]
fn two_builds_differ_in_timestamps_only_and_with_an_epoch_in_nothing() {
    let (registry, state) = (Registry::plain(), Scratch::new("state"));
    let state = format!("--state-dir={}", state.path().display());
    let insecure = format!("--insecure-registry={}", registry.address);
    let make = |tag: &str, more: &[&str], variables: &[(&str, &str)]| {
        let source = source(DOCKERFILE, &CONTEXT);
        let to = format!("--destination={}", registry.repository(&format!("app:{tag}")));
        build(&source, &[&[&*to, &insecure], more].concat(), variables).success();
    };
    let epoch = [("SOURCE_DATE_EPOCH", "1700000000")];
    make("one", &[], &[]);
    make("fixed", &[], &epoch);
    next_second();
    make("two", &[], &[]);
    make("again", &[], &epoch);
    make("zstd", &["--compression=zstd"], &epoch);
    let compare = |a: &str, b: &str, more: &[&str]| {
        let names = [a, b].map(|tag| registry.repository(&format!("app:{tag}")));
        diff(&[&[&*names[0], &names[1], &insecure, &state], more].concat())
    };
    expect(&compare("fixed", "again", &[]), 0, "the images are the same");
    let differing = compare("one", "two", &[]);
    expect(&differing, 79, "error: the images differ: only timestamps");
    assert!(differing.stdout.contains("/srv/a") && differing.stdout.contains("mtime"), "{}", differing.stdout);
    assert!(differing.stdout.lines().all(|line| line.chars().count() <= 80), "{}", differing.stdout);
    expect(&compare("one", "two", &["--ignore=timestamps"]), 0, "equal in all that counts");
    expect(&compare("one", "two", &["--ignore=mtime"]), 79, "only timestamps");
    expect(&compare("fixed", "zstd", &[]), 79, "only the compression of layers");
    expect(&compare("fixed", "zstd", &["--ignore", "compression"]), 0, "equal in all that counts");
    let all = told(&compare("one", "two", &["--format=json"]));
    assert_eq!((&all["equal"], &all["schemaVersion"]), (&json!(false), &json!(1)));
    let layers = all["images"][0]["layers"].as_array().expect("a list");
    assert!(layers.iter().all(|layer| layer["state"] == "entries"), "{all:#}");
    expect(&compare("one", "none", &[]), 76, "there is no image");
    expect(&compare("one", "two", &["--ignore=colour"]), 72, "colour");
}

/// Writes a layout of an image of these layers.
fn image(files: &Scratch, name: &str, layers: Vec<Layer>, change: impl FnOnce(&mut Value)) -> String {
    let directory = files.directory(name);
    let layers: Vec<Vec<u8>> = layers.into_iter().map(Layer::finish).collect();
    let image = image_with(&directory, &layers, change);
    layout(&directory, &[image]);
    directory.display().to_string()
}

fn base() -> Layer {
    let mut layer = Layer::default();
    layer.file("etc/passwd", 0o644, (0, 0), b"root\n");
    layer.file("old", 0o644, (0, 0), b"old\n");
    layer
}

#[test]
fn each_path_and_field_is_told_by_layer_and_in_all() {
    let files = Scratch::new("diff");
    let upper = |is_second: bool| {
        let mut layer = Layer::default();
        layer.file("srv/same", 0o644, (0, 0), b"same");
        layer.file("srv/mode", if is_second { 0o600 } else { 0o644 }, (0, 0), b"x");
        layer.file("srv/owner", 0o644, (if is_second { 7 } else { 0 }, 0), b"x");
        layer.file("srv/text", 0o644, (0, 0), if is_second { b"two" } else { b"one" });
        layer.symlink("srv/link", if is_second { "b" } else { "a" });
        if is_second {
            layer.xattr("srv/xattr", "user.a", "b");
            layer.file(".wh.old", 0, (0, 0), b"");
        } else {
            layer.file("srv/xattr", 0o644, (0, 0), b"");
            layer.file("srv/gone", 0o644, (0, 0), b"gone");
        }
        layer
    };
    let a = image(&files, "a", vec![base(), upper(false)], |document| {
        document["config"] = json!({"Env": ["A=1", "API_TOKEN=one"], "Labels": {"v": "1"}, "Cmd": ["a"]});
    });
    let b = image(&files, "b", vec![base(), upper(true)], |document| {
        document["config"] = json!({"Env": ["A=2", "API_TOKEN=two"], "Labels": {"v": "2"}, "Cmd": ["a"]});
    });
    let state = format!("--state-dir={}", files.join("state").display());
    let compared = diff(&[&a, &b, &state, "--format=json"]);
    assert_eq!(compared.code, 79, "{}", compared.stderr);
    assert!(!compared.stdout.contains("\"one\""), "a secret's value: {}", compared.stdout);
    let pair = &told(&compared)["images"][0];
    let fields: Vec<&str> =
        pair["fields"].as_array().expect("a list").iter().filter_map(|one| one["field"].as_str()).collect();
    assert_eq!(fields, ["config.Labels.v", "config.Env.A", "config.Env.API_TOKEN"]);
    assert_eq!((&pair["layers"][0]["state"], &pair["layers"][1]["state"]), (&json!("equal"), &json!("entries")));
    let shown = |list: &Value| -> Vec<String> {
        let one = |one: &Value| {
            let fields: Vec<_> = one["fields"].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
            format!(
                "{} {} {}",
                one["change"].as_str().unwrap_or_default(),
                one["path"].as_str().unwrap_or_default(),
                fields.join(",")
            )
        };
        list.as_array().expect("a list").iter().map(one).collect()
    };
    let changed = [
        "removed srv/gone ",
        "changed srv/link target",
        "changed srv/mode mode",
        "changed srv/owner owner",
        "changed srv/text content",
        "changed srv/xattr xattrs",
    ];
    assert_eq!(shown(&pair["layers"][1]["entries"]), [&["added .wh.old "][..], &changed].concat());
    // In the files that the layers come to there is no whiteout, but what it has removed is not there.
    assert_eq!(shown(&pair["files"]), [&["removed old "][..], &changed].concat());
    let text = diff(&[&a, &b, &state]);
    expect(&text, 79, "~ /srv/mode: mode 0644 -> 0600\n");
    expect(
        &diff(&[&a, &b, &state, "--ignore=mode,owner,xattrs", "--ignore=labels"]),
        79,
        "files and the configuration",
    );
    expect(&diff(&[&a, &a, &state]), 0, "the images are the same");
}

#[test]
fn how_files_are_divided_and_ordered_is_told_apart_from_files() {
    let files = Scratch::new("divided");
    let state = format!("--state-dir={}", files.join("state").display());
    let one = |names: &[&str]| {
        let mut layer = Layer::default();
        layer.directory("srv", 0o755, (0, 0));
        names.iter().for_each(|name| layer.file(&format!("srv/{name}"), 0o644, (0, 0), b"x"));
        layer
    };
    let no_history = |document: &mut Value| document["history"] = json!([]);
    let ab = image(&files, "ab", vec![one(&["a", "b"])], no_history);
    let ba = image(&files, "ba", vec![one(&["b", "a"])], no_history);
    let split = image(&files, "split", vec![one(&["a"]), one(&["b"])], no_history);
    expect(&diff(&[&ab, &ba, &state]), 79, "only the order or the form of layers' entries");
    expect(&diff(&[&ab, &ba, &state, "--ignore=order"]), 0, "equal in all that counts");
    let divided = diff(&[&ab, &split, &state, "--ignore=history"]);
    expect(&divided, 79, "the division into layers");
    expect(&diff(&[&ab, &split, &state, "--ignore=history,layers"]), 0, "equal in all that counts");
}

#[test]
fn indexes_are_compared_platform_by_platform() {
    let (registry, files) = (Registry::plain(), Scratch::new("platforms"));
    let insecure = format!("--insecure-registry={}", registry.address);
    let push = |name: &str, images: &[(&str, &str)]| {
        let directory = files.directory(name);
        let made: Vec<_> = images
            .iter()
            .map(|(architecture, content)| {
                let mut layer = Layer::default();
                layer.file("file", 0o644, (0, 0), content.as_bytes());
                image_with(&directory, &[layer.finish()], |document| document["architecture"] = (*architecture).into())
            })
            .collect();
        layout(&directory, &made);
        let to = format!("docker://{}", registry.repository(&format!("app:{name}")));
        copy(&["--all", "--preserve-digests", &format!("oci:{}", directory.display()), &to]).success();
        registry.repository(&format!("app:{name}"))
    };
    let a = push("a", &[("amd64", "same"), ("arm64", "one"), ("s390x", "x")]);
    let b = push("b", &[("amd64", "same"), ("arm64", "two")]);
    let lone = push("lone", &[("arm64", "one")]);
    let compared = diff(&[&a, &b, &insecure]);
    expect(&compared, 79, "linux/amd64: the images are the same");
    expect(&compared, 79, "linux/arm64: the images differ: only files");
    expect(&compared, 79, "platform linux/s390x");
    expect(&diff(&[&a, &b, &insecure, "--platform=linux/amd64"]), 0, "the images are");
    expect(
        &diff(&[&a, &b, &insecure, "--platform=linux/s390x"]),
        76,
        "has no image for linux/s390x; it has: linux/amd64",
    );
    // One image is compared with the one for its platform.
    expect(&diff(&[&lone, &a, &insecure]), 0, "equal in all that counts");
}
