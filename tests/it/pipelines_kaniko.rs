//! The kaniko Task of Tekton's catalog (0.7), as it is, with our image as its BUILDER_IMAGE.
//!
//! Its first step names no command: the image's entrypoint gets EXTRA_ARGS as a whole, then the four flags below. Its second
//! step writes the URL with a shell of another image. The catalog's own test then looks at both results.

use std::fs;
use std::process::Command;

use crate::pipelines_images::{IN_USER_NAMESPACE, image};
use crate::support::git::script;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::{self, Finished, LONG, SHORT};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Makes a workspace as the test's git-clone leaves it.
fn workspace() -> Scratch {
    let source = source("FROM $BASE\nCOPY . /code/\nRUN test -f /code/README.md && ls -A /code > /files\n", &[]);
    source.file("README.md", "# No Code\n");
    script(source.path(), "git init -q -b main .; git add -Af .; git commit -qm one");
    source
}

/// Runs the Task's first step, with the parameters IMAGE and EXTRA_ARGS.
fn step(mut pod: Pod, workspace: &Scratch, results: &Scratch, destination: &str, extra: &[&str]) -> Finished {
    fs::set_permissions(results.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
    pod.mount_writable(workspace.path(), "/workspace/source");
    pod.mount_writable(results.path(), "/tekton/results");
    pod.add(&["--workdir=/workspace/source", "--user=0"]);
    let own = [
        "--dockerfile=./Dockerfile",
        "--context=/workspace/source/./",
        &format!("--destination={destination}"),
        "--digest-file=/tekton/results/IMAGE_DIGEST",
    ];
    pod.start_image(&image("executor"), &[extra, &own].concat()).wait(LONG)
}

/// Runs its second step where the first one was.
fn write_url(results: &Scratch, destination: &str) -> String {
    let text = "set -e\nimage=\"$1\"\nprintf \"%s\" \"${image}\" | tee \"$2/IMAGE_URL\"\n";
    let mut shell = Command::new("sh");
    shell.args(["-c", text, "sh", destination]).arg(results.path());
    process::run(&mut shell, SHORT).success()
}

#[test]
fn the_catalog_s_kaniko_task_passes_its_own_test_with_our_image() {
    if !Isolation::Container.allowed("pipelines: the catalog's kaniko Task") {
        return;
    }
    let (registry, workspace) = (Registry::plain(), workspace());
    let before = script(workspace.path(), "git status --porcelain; git ls-files");
    for (name, options) in [("plain", &[][..]), ("host-users-false", &IN_USER_NAMESPACE)] {
        let results = Scratch::new("tekton");
        let repository = format!("{name}/kaniko-nocode");
        let destination = registry.repository(&repository);
        let mut pod = Pod::plain();
        pod.add(options);
        let finished = step(pod, &workspace, &results, &destination, &["--skip-tls-verify"]);
        assert_eq!(finished.code, 0, "{name}:\n{}{}", finished.stdout, finished.stderr);
        let read = |name: &str| fs::read_to_string(results.join(name)).expect(name);
        // verify-digest, and then verify-url, of the catalog's test.
        assert!(read("IMAGE_DIGEST").starts_with("sha"), "{name}: {}", read("IMAGE_DIGEST"));
        assert_eq!(registry.digest(&repository), Some(read("IMAGE_DIGEST")), "{name}");
        write_url(&results, &destination);
        assert!(read("IMAGE_URL").ends_with("/kaniko-nocode"), "{name}: {}", read("IMAGE_URL"));
        assert_eq!(script(workspace.path(), "git status --porcelain; git ls-files"), before, "{name}");
    }
}

#[test]
fn a_kaniko_task_that_fails_leaves_no_digest_and_is_tried_again() {
    if !Isolation::Container.allowed("pipelines: the catalog's kaniko Task, tried again") {
        return;
    }
    let (registry, workspace, results) = (Registry::plain(), workspace(), Scratch::new("tekton"));
    let destination = registry.repository("again/kaniko-nocode:1");
    // As kaniko's users have it: a whole array, none, or one empty word.
    for (extra, code) in [(&["--build-arg=A", "--target=none"][..], 76), (&[""], 0), (&[], 0)] {
        let finished = step(Pod::plain(), &workspace, &results, &destination, extra);
        assert_eq!(finished.code, code, "{extra:?}:\n{}{}", finished.stdout, finished.stderr);
        let digest = fs::read_to_string(results.join("IMAGE_DIGEST")).ok();
        assert_eq!(digest, registry.digest("again/kaniko-nocode:1"), "{extra:?}");
        assert_eq!(digest.is_some(), code == 0, "{extra:?}");
    }
}
