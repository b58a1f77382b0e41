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

fn check(python: &str, repository: &Path, schemas: &Path) -> Finished {
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
        (task, "      command:", "      script: echo $(params.IMAGE)\n      command:", "as text"),
        (action, "  command:\n    - /kaniko/executor\n", "", "no command"),
        (workflow, "runAsUser: 0", "runAsUser: 1", "the two templates differ"),
        ("cloudbuild/cloudbuild.yaml", "    entrypoint: /kaniko/executor\n", "", "no entrypoint"),
    ];
    for (file, from, to, expected) in rows {
        let copy = Scratch::new("rules");
        for place in ["tekton", "argo", "cloudbuild", "examples"] {
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

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let pages = ["docs", "tekton", "argo", "cloudbuild"].map(|place| Path::new(ROOT).join(place));
    let find = process::run(Command::new("find").args(&pages).args(["-name", "*.md"]), SHORT).success();
    let mut seen = 0;
    for page in find.lines().map(Path::new) {
        let text = std::fs::read_to_string(page).expect("it was found");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            seen += 1;
            assert!(page.with_file_name(path).exists(), "{}: {target} leads nowhere", page.display());
        }
    }
    assert!(seen > 20, "{seen} links");
}
