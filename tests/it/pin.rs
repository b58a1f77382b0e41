//! `yadokari pin`: the digests of the images that Dockerfiles name, told, checked and written down.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::inspect::{is_tame, run, told};
use crate::signing::{expect, image};
use crate::support::process::Finished;
use crate::support::registry::{PASSWORD, Registry, free_address};
use crate::support::scratch::Scratch;
use crate::support::signatures::copy;

const DOCKERFILE: &str = "# syntax=docker/dockerfile:1
ARG TOOLS=$R/tools:1
# FROM $R/app:1
FROM $R/app:1 AS app
FROM ${TOOLS} AS tools
FROM scratch
COPY --from=app /a /a
COPY \\
  # a comment
  --from=$R/tools:1 /b /b
RUN --mount=type=bind,from=$R/app:1,target=/m true
COPY <<EOF /file
FROM $R/app:1
EOF
";

fn pin(registry: &Registry, words: &[&str]) -> Finished {
    let insecure = format!("--insecure-registry={}", registry.address);
    run(&[&["pin", &*insecure], words].concat(), &[])
}

#[test]
fn tags_get_digests_and_every_other_byte_stays() {
    let (registry, files) = (Registry::plain(), Scratch::new("pin"));
    let (app, tools) = (image(&registry, "app:1", "app"), image(&registry, "tools:1", "tools"));
    let text = DOCKERFILE.replace("$R", &registry.address);
    let path = files.file("Dockerfile", &text);
    let file = path.display().to_string();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");

    let suggested = pin(&registry, &[&file]);
    let name = registry.repository("app:1");
    expect(&suggested, 0, &format!("{file}:4:6: FROM {name}\n  -> {name}@{app}\n"));
    expect(&suggested, 0, &format!("{file}:2:11: ARG"));
    expect(&suggested, 0, "`# syntax=` names a reader");
    assert!(is_tame(&suggested.stdout));
    let json = told(&pin(&registry, &[&file, "--format=json"]));
    let images = json["files"][0]["images"].as_array().expect("a list");
    let lines: Vec<_> = images.iter().filter_map(|one| one["line"].as_u64()).collect();
    assert_eq!((lines, &images[0]["state"]), (vec![2, 4, 10, 11], &"unpinned".into()));
    expect(&pin(&registry, &[&file, "--check"]), 76, "4 images have no digest");
    assert_eq!(fs::read_to_string(&path).ok().as_ref(), Some(&text), "nothing was to be written");

    expect(&pin(&registry, &[&file, "--write"]), 0, "4 written");
    let written = fs::read_to_string(&path).expect("it is there");
    let lines: Vec<(&str, &str)> = written.lines().zip(text.lines()).collect();
    for (number, (line, before)) in (1..).zip(&lines) {
        let digest = match number {
            4 | 11 => &*app,
            2 | 10 => &*tools,
            _ => "",
        };
        assert_eq!(line.replace(&format!("@{digest}"), ""), **before, "line {number}");
        assert_eq!(line.contains('@'), !digest.is_empty(), "line {number}: {line}");
    }
    assert_eq!((lines.len(), written.ends_with("EOF\n")), (text.lines().count(), true));
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(files.path()).expect("a directory").count(), 1, "a temporary file is left");

    // Whether there are digests is known without a registry.
    let nobody = free_address();
    expect(
        &run(&["pin", "--check", &file, &format!("--insecure-registry={nobody}")], &[]),
        0,
        "every image has its digest",
    );
    expect(&pin(&registry, &[&file, "--check", "--update"]), 0, "every image has its digest");
    let newer = image(&registry, "app:1", "newer");
    expect(&pin(&registry, &[&file, "--check"]), 0, "every image has its digest");
    let outdated = pin(&registry, &[&file, "--check", "--update"]);
    expect(&outdated, 76, "2 images have no digest, or not the present one");
    expect(&pin(&registry, &[&file, "--update", "--write"]), 0, "2 written");
    assert_eq!(fs::read_to_string(&path).ok(), Some(written.replace(&app, &newer)));
    expect(&pin(&registry, &[&file, "--update", "--check"]), 0, "every image has its digest");
}

#[test]
fn an_index_is_pinned_as_it_is_and_failures_write_nothing() {
    let (registry, private, files) = (Registry::plain(), Registry::secured(), Scratch::new("pin"));
    let directory = files.directory("layout");
    let images = ["amd64", "arm64"].map(|architecture| {
        let layer = crate::support::bases::Layer::default().finish();
        let change = |document: &mut serde_json::Value| document["architecture"] = architecture.into();
        crate::support::bases::image_with(&directory, &[layer], change)
    });
    let index = crate::support::bases::layout(&directory, &images);
    let from = format!("oci:{}", directory.display());
    let to = format!("docker://{}", private.repository("many:1"));
    let options = private.skopeo_options("dest-");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    copy(&[&["--all", "--preserve-digests"], &options[..], &[&from, &to]].concat()).success();

    let many = private.repository("many:1");
    let one = files.file("one", format!("FROM {many}\n"));
    let two = files.file("two", format!("FROM scratch\nCOPY --from={} a b\n", registry.repository("none:1")));
    let (one_name, two_name) = (one.display().to_string(), two.display().to_string());
    let (config, ca) = (Scratch::new("config"), private.ca().display().to_string());
    config.file("config.json", private.docker_config(PASSWORD));
    let home = config.path().display().to_string();
    let variables = [("SSL_CERT_FILE", &*ca), ("DOCKER_CONFIG", &home)];
    let insecure = format!("--insecure-registry={}", registry.address);
    let refused = run(&["pin", "--write", &one_name, &two_name, &insecure], &variables);
    expect(&refused, 76, "there is no image");
    expect(&refused, 76, &format!("{two_name}:2"));
    assert_eq!(fs::read_to_string(&one).ok(), Some(format!("FROM {many}\n")), "nothing is written");
    expect(&run(&["pin", &one_name], &variables[..1]), 77, &private.address);
    expect(&run(&["pin", "--write", &one_name], &variables), 0, "1 written");
    assert_eq!(fs::read_to_string(&one).ok(), Some(format!("FROM {many}@{index}\n")));

    let broken = files.file("broken", "FROM scratch\nCOPI a b\n");
    expect(&run(&["pin", &broken.display().to_string()], &[]), 76, "did you mean COPY?");
    expect(&run(&["pin", &one_name, "--check", "--write"], &[]), 72, "--check cannot be used with --write");
    image(&registry, "app:1", "app");
    fs::write(&two, format!("FROM {}\n", registry.repository("app:1"))).expect("it is ours");
    let link = files.join("link");
    std::os::unix::fs::symlink(&two, &link).expect("scratch is writable");
    expect(&pin(&registry, &["--write", &link.display().to_string()]), 73, "cannot be written");
    assert!(link.is_symlink() && fs::read_to_string(&two).is_ok_and(|text| !text.contains('@')));
}
