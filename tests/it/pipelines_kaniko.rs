//! The kaniko Task of Tekton's catalog (0.7), as it is, with our image as its BUILDER_IMAGE.
//!
//! Its first step names no command: the image's entrypoint gets EXTRA_ARGS as a whole, then the four flags below. Its second
//! step writes the URL with a shell of another image. The catalog's own test then looks at both results.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::mediated::compiled;
use crate::pipelines_engines::{self, TEKTON, list, parameters, replaced, text};
use crate::pipelines_images::{IN_USER_NAMESPACE, Step, document, image};
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

/// What a consumer reads of a step: results in its message, or in the files of a sidecar.
struct Read {
    code: i32,
    stderr: String,
    message: Option<BTreeMap<String, String>>,
    results: Scratch,
}

/// Runs a step under Tekton's entrypoint, which knows these results.
fn under_tekton(mut step: Step, workspace: &Scratch, declared: &str, flags: &[&str]) -> Read {
    let (results, run) = (Scratch::new("tekton"), Scratch::new("run"));
    run.file("entrypoint", compiled("entrypoint"));
    fs::set_permissions(run.join("entrypoint"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let own = ["-results", declared, "-termination_path", "/tekton/run/message", "-entrypoint", "/kaniko/executor"];
    let own = own.iter().chain(flags).map(|&word| word.to_owned()).chain(["--".to_owned()]);
    step.arguments = own.chain(step.arguments).collect();
    step.command = vec!["/tekton/bin/entrypoint".to_owned()];
    let entrypoint = run.join("entrypoint");
    let volumes = [
        (workspace.path(), "/workspace/source", false),
        (entrypoint.as_path(), "/tekton/bin/entrypoint", false),
        (results.path(), "/tekton/results", true),
        (run.path(), "/tekton/run", true),
    ];
    let finished = step.run(Pod::plain(), &volumes);
    let message = fs::read_to_string(run.join("message")).ok().map(|text| {
        let entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let text = |entry: &Value, field: &str| entry[field].as_str().expect(field).to_owned();
        entries.iter().map(|entry| (text(entry, "key"), text(entry, "value"))).collect()
    });
    Read { code: finished.code, stderr: finished.stderr, message, results }
}

/// Makes the step of our Task, and the names of its results.
fn own_step(image: &str, extra: &[String]) -> Option<(Step, String)> {
    let task = document("tekton/task/yadokari/0.1/yadokari.yaml")?["spec"].take();
    let given = json!([{ "name": "IMAGE", "value": image }, { "name": "EXTRA_ARGS", "value": extra }]);
    let mut values = parameters("params.", &task["params"], &given);
    for workspace in list(&task["workspaces"]) {
        let name = text(workspace, "name");
        let place = if name == "source" { "/workspace/source" } else { "" };
        values.insert(format!("workspaces.{name}.path"), vec![place.to_owned()]);
    }
    let names: Vec<&str> = list(&task["results"]).iter().map(|result| text(result, "name")).collect();
    Some((pipelines_engines::step(&replaced(&task["steps"][0], &values, TEKTON), Vec::new()), names.join(",")))
}

#[test]
fn forty_tags_leave_right_results_or_none_and_a_reason() {
    if !Isolation::Container.allowed("pipelines: forty tags") {
        return;
    }
    let (registry, workspace) = (Registry::plain(), workspace());
    let name = "a-team-of-some-size/and-its/application";
    let tags = |count: usize, kind: &str| -> Vec<String> {
        let tag = |number| format!("--destination={}:{kind}-{number}", registry.repository(name));
        (0..count).map(tag).collect()
    };
    // The kaniko Task declares two small results: any number of tags has room.
    let image = registry.repository(&format!("{name}:kaniko"));
    let own = ["--dockerfile=./Dockerfile", "--context=/workspace/source/./"].map(str::to_owned);
    let last = [format!("--destination={image}"), "--digest-file=/tekton/results/IMAGE_DIGEST".to_owned()];
    let step = Step {
        command: Vec::new(),
        arguments: [&tags(40, "kaniko")[..], &own, &last].concat(),
        directory: Some("/workspace/source".to_owned()),
        security: json!({ "runAsUser": 0 }),
        mounts: Vec::new(),
        environment: Vec::new(),
    };
    let read = under_tekton(step, &workspace, "IMAGE_DIGEST,IMAGE_URL", &[]);
    assert_eq!(read.code, 0, "{}", read.stderr);
    let digest = registry.digest(&format!("{name}:kaniko-39"));
    let message = read.message.expect("a message");
    assert_eq!((digest.as_ref(), digest.is_some()), (message.get("IMAGE_DIGEST"), true));

    // Ours declares all destinations: what would not fit is refused before the build.
    let image = registry.repository(&format!("{name}:ours"));
    let Some((step, declared)) = own_step(&image, &tags(40, "ours")) else { return };
    let read = under_tekton(step, &workspace, &declared, &[]);
    assert_eq!(read.code, 72, "{}", read.stderr);
    assert!(read.stderr.contains("sidecar-logs") && read.stderr.contains("--tekton-results-limit"), "{}", read.stderr);
    let message = read.message.expect("a message");
    assert_eq!(message.keys().collect::<Vec<_>>(), ["ERROR_KIND", "ERROR_MESSAGE"]);
    assert_eq!(registry.digest(&format!("{name}:ours-0")), None, "it was built");

    // A sidecar reads each result by itself, to the cluster's limit.
    for (count, limit, code) in [(20, None, 0), (60, None, 72), (60, Some(16_384), 0)] {
        let kind = format!("sidecar-{count}-{code}");
        let image = registry.repository(&format!("{name}:{kind}"));
        let limit = limit.map(|limit| format!("--tekton-results-limit={limit}"));
        let extra: Vec<String> = tags(count, &kind).into_iter().chain(limit).collect();
        let Some((step, declared)) = own_step(&image, &extra) else { return };
        let read = under_tekton(step, &workspace, &declared, &["-result_from", "sidecar-logs"]);
        assert_eq!(read.code, code, "{kind}: {}", read.stderr);
        assert_eq!(read.message, Some(BTreeMap::new()), "{kind}");
        let result = |name: &str| fs::read_to_string(read.results.join(name)).ok();
        assert_eq!(result("IMAGE_DIGEST"), registry.digest(&format!("{name}:{kind}-0")), "{kind}");
        match code {
            0 => assert_eq!(result("IMAGES").map(|images| images.lines().count()), Some(count + 1), "{kind}"),
            _ => {
                assert!(read.stderr.contains("the result IMAGES"), "{kind}: {}", read.stderr);
                assert_eq!((result("IMAGES"), result("ERROR_KIND").is_some()), (None, true), "{kind}");
            }
        }
    }
}
