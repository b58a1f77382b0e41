//! The examples for GitLab, Jenkins and GitHub: their own commands, in our images, with what those systems set.

use std::fs;
use std::path::Path;

use crate::pipelines_images::{document, image, texts};
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::LONG;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Runs commands of a job, one after the other, in one container that has the sources at `place`; returns what they print.
fn job(sources: &Scratch, place: &str, variables: &[(&str, &str)], commands: &[String]) -> String {
    let mut pod = Pod::plain();
    // Where a volume of the system is, above the checkout.
    let above = Path::new(place).parent().expect("it is below a volume").display().to_string();
    pod.add(&[&format!("--tmpfs={above}:mode=0777")]);
    pod.mount_writable(sources.path(), place);
    pod.add(&["--entrypoint=/busybox/sh", &format!("--workdir={place}")]);
    for (name, value) in variables {
        pod.add(&[&format!("--env={name}={value}")]);
    }
    // Each command in a shell of its own, as in Jenkins.
    let script = commands.iter().map(|command| format!("sh -c '{}'", command.replace('\'', "'\\''")));
    let script = script.collect::<Vec<_>>().join(" && ");
    let finished = pod.start_image(&image("debug"), &["-ec", &script]).wait(LONG);
    assert_eq!(finished.code, 0, "{commands:?}:\n{}{}", finished.stdout, finished.stderr);
    finished.stdout
}

fn checkout() -> Scratch {
    let sources = source("FROM $BASE\nCOPY file /file\nRUN cat /file > /ran\n", &[]);
    sources.file("file", "x\n");
    sources
}

#[test]
fn the_example_for_gitlab_runs() {
    if !Isolation::Container.allowed("samples: GitLab") {
        return;
    }
    let Some(jobs) = document("examples/gitlab/.gitlab-ci.yml") else { return };
    let (registry, sources) = (Registry::plain(), checkout());
    let place = "/builds/team/app";
    let name = registry.repository("team/app");
    let variables = [
        ("CI", "true"),
        ("GITLAB_CI", "true"),
        ("CI_PROJECT_DIR", place),
        ("CI_REGISTRY_IMAGE", &*name),
        ("CI_COMMIT_SHORT_SHA", "1a2b3c4d"),
    ];
    job(&sources, place, &variables, &texts(&jobs["image"]["script"]));
    let digest = registry.digest("team/app:1a2b3c4d").expect("it was pushed");
    // What the report of the first job is to the second.
    let report = fs::read_to_string(sources.join("build.env")).expect("the job names it as its report");
    let given: Vec<(&str, &str)> = report.lines().filter_map(|line| line.split_once('=')).collect();
    let printed = job(&sources, place, &given, &texts(&jobs["deploy"]["script"]));
    assert_eq!(printed, format!("deploy {name}@{digest}\n"));
}

#[test]
fn the_example_for_jenkins_runs() {
    if !Isolation::Container.allowed("samples: Jenkins") {
        return;
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/jenkins/Jenkinsfile"));
    let text = text.expect("it is there");
    let commands = text.lines().filter_map(|line| line.trim().strip_prefix("sh '")?.strip_suffix('\''));
    let commands: Vec<String> = commands.map(str::to_owned).collect();
    assert_eq!(commands.len(), 2, "{text}");
    let (registry, sources) = (Registry::plain(), checkout());
    let (place, image) = ("/home/jenkins/agent/workspace/app", registry.repository("team/app:7"));
    let printed = job(&sources, place, &[("WORKSPACE", place), ("IMAGE", &image)], &commands);
    let digest = registry.digest("team/app:7").expect("it was pushed");
    assert_eq!(printed, format!("pushed {image}@{digest}\n"));
}

#[test]
fn the_example_for_github_runs() {
    if !Isolation::Container.allowed("samples: GitHub") {
        return;
    }
    let Some(workflow) = document("examples/github/container-job.yml") else { return };
    let steps = workflow["jobs"]["build"]["steps"].as_array().expect("it has steps").clone();
    let step = |name: &str| steps.iter().find(|step| step["name"] == name).expect(name)["run"].clone();
    let (registry, sources) = (Registry::plain(), checkout());
    let (place, image) = ("/__w/app/app", registry.repository("team/app:abc"));
    let outputs = format!("{place}/set_output");
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_WORKSPACE", place),
        ("GITHUB_OUTPUT", &*outputs),
        ("IMAGE", &*image),
        ("KANIKO_GHCR_IO_USER", "somebody"),
        ("KANIKO_GHCR_IO_PASSWORD", "of no use here"),
    ];
    sources.file("set_output", "");
    job(&sources, place, &variables, &texts(&step("Build and push")));
    let digest = registry.digest("team/app:abc").expect("it was pushed");
    let written = fs::read_to_string(sources.join("set_output")).expect("it is there");
    let told = written.lines().find_map(|line| line.strip_prefix("digest=")).unwrap_or_default().to_owned();
    assert_eq!(told, digest, "{written}");
    assert_eq!(job(&sources, place, &[("DIGEST", &*told)], &texts(&step("Show"))), format!("{digest}\n"));
}
