//! The files for pipeline engines, against the engines' schemas and our own rules (`tests/pipelines/check.py`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::{self, Finished, SHORT};
use crate::support::scratch::Scratch;
use crate::support::skips::skip;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns a Python that can read YAML and check schemas, or notes that there is none.
pub(crate) fn python(test: &str) -> Option<&'static str> {
    let can = |python: &&str| Command::new(python).args(["-c", "import yaml, jsonschema"]).output();
    let found =
        ["python3", "/usr/bin/python3"].into_iter().find(|p| can(p).is_ok_and(|output| output.status.success()));
    if found.is_none() {
        skip(test, "no python3 with yaml and jsonschema");
    }
    found
}

/// The schemas are no part of the repository: they are looked for beside it.
fn schemas() -> PathBuf {
    let beside = Path::new(ROOT).join("../shared/schemas");
    [beside, Path::new(ROOT).join("../../shared/schemas")].into_iter().find(|p| p.is_dir()).unwrap_or("none".into())
}

pub(crate) fn check(python: &str, repository: &Path, schemas: &Path) -> Finished {
    let script = Path::new(ROOT).join("tests/pipelines/check.py");
    process::run(Command::new(python).arg(script).arg(repository).arg(schemas), SHORT)
}

#[test]
fn every_file_keeps_to_schemas_and_rules() {
    let test = "pipelines: files";
    let Some(python) = python(test) else { return };
    let finished = check(python, Path::new(ROOT), &schemas());
    if let Some(line) = finished.stdout.lines().find_map(|line| line.strip_prefix("skipped: ")) {
        skip(test, line);
    }
    finished.success();
}

/// The check itself: it must see what it is for.
#[test]
fn what_the_rules_forbid_is_found() {
    let Some(python) = python("pipelines: the rules themselves") else { return };
    let task = "tekton/task/yadokari/0.1/yadokari.yaml";
    let (workflow, action) = ("argo/workflowtemplate.yaml", "tekton/stepaction/yadokari/0.1/yadokari.yaml");
    let rows = [
        (task, "runAsUser: 0", "privileged: true", "privileged is set"),
        (task, "runAsUser: 0", "capabilities: {add: [SYS_ADMIN]}", "adds"),
        (task, "runAsUser: 0", "hostPath: {path: /}", "hostPath"),
        (task, "      command:\n        - /kaniko/executor\n", "", "no command"),
        (task, "@sha256:", "@sha512:", "is not pinned"),
        (task, "params.TARGET", "params.TRAGET", "params.TRAGET is used and not declared"),
        (task, "categories: Image Build", "categories: Images", "is no category of the hub"),
        (task, "linux/amd64,linux/arm64", "linux/amd64,linux/arm/v7", "'linux/arm/v7' is not OS/ARCH"),
        (task, "executor:0.1.0@", "executor@", "lacks its registry, a tag or a digest"),
        ("tekton/task/yadokari/OWNERS", "reviewers: []", "reviewer: a", "other things than two lists"),
        ("tekton/task/artifacthub-repo.yml", "owners: []", "owners: [a]", "an owner is a name and an email"),
        (
            "tekton/task/artifacthub-repo.yml",
            "owners: []",
            "repositoryID: 00000000-0000-0000-0000-000000000000",
            "is no id of a repository",
        ),
        (task, "      command:", "      script: echo $(params.IMAGE)\n      command:", "as text"),
        (action, "  command:\n    - /kaniko/executor\n", "", "no command"),
        (workflow, "runAsUser: 0", "runAsUser: 1", "the two templates differ"),
        (workflow, "exit code 75[)]: transient: ", "exit code 75[)]", "tries the wrong failures again"),
        (task, "        - --end-lists\n", "", "a list without an end"),
        (
            task,
            "        - $(params.EXTRA_ARGS[*])\n        - --dockerfile",
            "        - --dockerfile",
            "declared and not used",
        ),
        (task, "        - --dockerfile=", "        - --force\n        - --dockerfile=", "a default stands behind"),
        (
            "shipwright/clusterbuildstrategy.yaml",
            "params.target",
            "params.trget",
            "params.trget is used and not declared",
        ),
        ("shipwright/clusterbuildstrategy.yaml", "workingDir", "workingDirectory", "workingDirectory"),
        ("cloudbuild/cloudbuild.yaml", "    entrypoint: /kaniko/executor\n", "", "no entrypoint"),
        ("docs/security.md", "  runAsUser: 65532\n", "  privileged: true\n", "privileged is set"),
        ("docs/security.md", "  timeout: 45m\n  script:", "  time: 45m\n  script:", "'time' was unexpected"),
        // Systems whose schema is not here keep to the rules all the same.
        ("docs/ci.md", "type: kubernetes\n", "type: kubernetes\nprivileged: true\n", "privileged is set"),
        ("docs/security.md", "egress:\n", "egres:\n", "'egres' was unexpected"),
    ];
    for (file, from, to, expected) in rows {
        let copy = Scratch::new("rules");
        for place in ["tekton", "argo", "shipwright", "deploy", "cloudbuild", "examples", "docs"] {
            let finished =
                process::run(Command::new("cp").arg("-r").arg(Path::new(ROOT).join(place)).arg(copy.path()), SHORT);
            finished.success();
        }
        let text = std::fs::read_to_string(copy.join(file)).expect("it was copied");
        assert!(text.contains(from), "{file} has no {from:?}");
        copy.file(file, text.replace(from, to));
        let finished = check(python, copy.path(), Path::new("none"));
        assert_eq!(finished.code, 1, "{file}: {to:?} was taken");
        assert!(finished.stdout.contains(expected), "{file}: {expected:?} is not in\n{}", finished.stdout);
    }
}

/// Runs the base with another image: it must be in every file then, and in no place but those of images.
#[test]
fn one_line_sets_the_image_of_all_files() {
    if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        return skip("pipelines: kustomize", "no kubectl");
    }
    let copy = Scratch::new("kustomize");
    for place in ["tekton", "argo", "shipwright", "deploy"] {
        process::run(Command::new("cp").arg("-r").arg(Path::new(ROOT).join(place)).arg(copy.path()), SHORT).success();
    }
    let file = copy.join("deploy/component/image.yaml");
    let text = std::fs::read_to_string(&file).expect("it was copied");
    let (before, image) = text.rsplit_once("image: ").expect("it names the image");
    let other = "mirror.example.com/builders/yadokari:2.0@sha256:11";
    std::fs::write(&file, format!("{before}image: {other}\n")).expect("writes");
    let kustomize = |place: &str| {
        process::run(Command::new("kubectl").args(["kustomize", place]).current_dir(copy.path()), SHORT).success()
    };
    let made = kustomize("deploy");
    assert!(!made.contains(image.trim()), "a file has the old image");
    assert_eq!(
        made.matches(other).count(),
        14,
        "4 templates of 2 kinds, 4 of Tekton's kinds, the pipeline, the strategy"
    );
    // The component by itself: in somebody's own Kustomization, beside a Task that is not ours.
    let own = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: other}\nspec: {params: [], steps: []}\n";
    copy.file("own/task.yaml", own);
    let own = "kind: Kustomization\nresources: [../tekton, task.yaml]\ncomponents: [../deploy/component]\n";
    copy.file("own/kustomization.yaml", own);
    let made = kustomize("own");
    assert_eq!(made.matches(other).count(), 5, "{made}");
    assert!(made.contains("name: other"), "{made}");
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let pages = ["docs", "tekton", "argo", "shipwright", "cloudbuild", ".github", "README.md", "ARCHITECTURE.md"]
        .map(|place| Path::new(ROOT).join(place));
    let find = process::run(Command::new("find").args(&pages).args(["-name", "*.md"]), SHORT).success();
    let mut seen = 0;
    for page in find.lines().map(Path::new) {
        let text = std::fs::read_to_string(page).expect("it was found");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            if path.contains("://") {
                continue;
            }
            seen += 1;
            let there = if path.is_empty() { page.to_owned() } else { page.with_file_name(path) };
            assert!(there.exists(), "{}: {target} leads nowhere", page.display());
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&there).expect("a page with headings");
                let found = text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading);
                assert!(found, "{}: {target} leads to no heading", page.display());
            }
        }
    }
    assert!(seen > 20, "{seen} links");
}

/// Returns what a heading is found by, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |letter: char| letter.is_alphanumeric() || "-_ ".contains(letter);
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|letter| kept(*letter)).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}
