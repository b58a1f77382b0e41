//! Who we are to registries: the same answers as other tools, and what `auth explain` says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::registry::{PASSWORD, Registry, base64};
use crate::support::scratch::Scratch;
use crate::support::source::one_file;

/// Runs `yadokari auth explain` with these variables only, and returns what it prints.
fn explain(reference: &str, words: &[&str], variables: &[(&str, &str)], path: &str) -> String {
    let mut command = Command::new(EXECUTOR);
    command.args(["auth", "explain", reference]).args(words).env_clear().env("PATH", path);
    process::run(command.envs(variables.iter().copied()), SHORT).success()
}

/// Returns the name of the user that is found in a file.
fn user(file: &Path, reference: &str, path: &str) -> Option<String> {
    let file = file.display().to_string();
    let words = ["--json", "--credential-helpers=", "--registry-auth-file", &file];
    let told: Value = serde_json::from_str(&explain(reference, &words, &[], path)).expect("JSON");
    told["credential"]["user"].as_str().map(str::to_owned)
}

/// Asks skopeo, whose rules are Podman's.
fn user_by_skopeo(file: &Path, reference: &str, path: &str) -> Option<String> {
    let mut command = Command::new("skopeo");
    command.args(["login", "--get-login", "--authfile"]).arg(file).arg(reference);
    let finished = process::run(command.env_clear().env("PATH", path).env("HOME", "/nonexistent"), SHORT);
    (finished.code == 0).then(|| finished.stdout.trim().to_owned())
}

#[test]
fn twelve_shapes_are_read_as_podman_reads_them() {
    let scratch = Scratch::new("shapes");
    let helper = scratch.file(
        "bin/docker-credential-shell",
        "#!/bin/sh\nread -r s; echo '{\"Username\":\"helper\",\"Secret\":\"s\"}'\n",
    );
    process::run(Command::new("chmod").arg("755").arg(&helper), SHORT).success();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", scratch.join("bin").display());
    let auth = |user: &str| format!("{{\"auth\": \"{}\"}}", base64(&format!("{user}:pass:word")));
    let auths = |entries: &[(&str, String)]| {
        let entries: Vec<_> = entries.iter().map(|(key, entry)| format!("\"{key}\": {entry}")).collect();
        format!("{{\"auths\": {{{}}}}}", entries.join(", "))
    };
    let nested = [("r.example", auth("host")), ("r.example/team", auth("team")), ("r.example/team/app", auth("app"))];
    let shapes: &[(&str, String, &[&str])] = &[
        ("host", auths(&[("r.example", auth("u"))]), &["r.example", "r.example/a/b", "other.example"]),
        ("host and port", auths(&[("r.example:5000", auth("u"))]), &["r.example:5000", "r.example"]),
        ("https", auths(&[("https://r.example", auth("u"))]), &["r.example", "r.example/a"]),
        ("https and v1", auths(&[("https://r.example/v1/", auth("u"))]), &["r.example", "r.example/a"]),
        ("https and v2", auths(&[("https://r.example/v2/", auth("u"))]), &["r.example"]),
        ("Docker Hub", auths(&[("https://index.docker.io/v1/", auth("u"))]), &["docker.io", "docker.io/library/a"]),
        ("Docker Hub by its name", auths(&[("docker.io", auth("u"))]), &["docker.io"]),
        (
            "repositories",
            auths(&nested),
            &[
                "r.example",
                "r.example/x",
                "r.example/team/x",
                "r.example/team/app",
                "r.example/teamwork",
                "r.example/team/app/y",
            ],
        ),
        ("a repository alone", auths(&[("r.example/team", auth("team"))]), &["r.example/team/x", "r.example/other"]),
        ("nothing in it", auths(&[("r.example", "{}".to_owned())]), &["r.example"]),
        (
            "a helper",
            format!("{{\"credHelpers\": {{\"r.example\": \"shell\"}}, \"auths\": {{\"r.example\": {}}}}}", auth("u")),
            &["r.example", "r.example/a", "s.example"],
        ),
        (
            "what else Docker writes",
            format!(
                "{{\"auths\": {{\"r.example\": {}}}, \"HttpHeaders\": {{}}, \"psFormat\": \"x\", \"currentContext\": \"y\"}}",
                auth("u")
            ),
            &["r.example"],
        ),
    ];
    assert_eq!(shapes.len(), 12);
    for (name, text, references) in shapes {
        let file = scratch.file("config.json", text);
        for reference in *references {
            // A bare host names no repository for us.
            let asked = if reference.contains('/') { (*reference).to_owned() } else { format!("{reference}/any") };
            let expected = user_by_skopeo(&file, reference, &path);
            assert_eq!(user(&file, &asked, &path), expected, "{name}: {reference}");
        }
    }
}

#[test]
fn each_source_tells_what_it_has() {
    let scratch = Scratch::new("explain");
    let entry = |host: &str, user: &str| {
        format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{}\"}}}}}}", base64(&format!("{user}:{PASSWORD}")))
    };
    scratch.file("docker/config.json", entry("r.example", "docker"));
    scratch.file("home/.docker/.dockerconfigjson", entry("secret.example", "mounted"));
    scratch.file("home/.docker/.dockercfg", entry("r.example/team", "team"));
    let at = |name: &str| scratch.join(name).display().to_string();
    let (docker, home) = (at("docker"), at("home"));
    let text = entry("text.example", "text");
    let variables = [
        ("DOCKER_CONFIG", docker.as_str()),
        ("HOME", &home),
        ("DOCKER_AUTH_CONFIG", &text),
        ("KANIKO_V_EXAMPLE_USER", "variable"),
        ("KANIKO_V_EXAMPLE_PASSWORD", PASSWORD),
    ];
    for (reference, user) in [
        ("r.example/app", "docker"),
        ("r.example/team/app", "team"),
        ("secret.example/a", "mounted"),
        ("text.example/a", "text"),
        ("v.example/a", "variable"),
    ] {
        let told = explain(reference, &["-v=trace"], &variables, "/usr/bin");
        assert!(told.lines().next().is_some_and(|line| line.contains(&format!("user `{user}`"))), "{told}");
        assert!(!told.contains(PASSWORD) && !told.contains(&base64(&format!("{user}:{PASSWORD}"))), "{told}");
        assert_eq!(told.matches("answers by ").count(), 1, "{told}");
        assert!(told.contains("/tekton/creds/.docker/config.json") && told.contains("only for *.azurecr.io"), "{told}");
    }
    let told = explain("none.example/a", &[], &variables, "/usr/bin");
    assert!(told.contains("nobody") && told.contains("nothing for none.example/a; it has r.example"), "{told}");
}

#[test]
fn a_helper_of_the_registry_that_is_missing_is_a_warning() {
    if !Isolation::Namespace.allowed("credentials: a missing helper") {
        return;
    }
    let (registry, image) = (Registry::plain(), one_file());
    let mut executor = Executor::new(Isolation::Namespace, image.path());
    let config = format!("{{\"credHelpers\": {{\"{}\": \"gone\"}}}}", registry.address);
    let config = executor.credential("config.json", config);
    executor.env("DOCKER_CONFIG", Path::new(&config).parent().and_then(Path::to_str).expect("a directory"));
    let build = executor.push_plain(&registry, "app:1").run().expect(0);
    let told: Vec<&str> = build.stderr.lines().filter(|line| line.contains("docker-credential-gone")).collect();
    assert_eq!(told.len(), 1, "{}", build.stderr);
    assert!(told[0].contains("warning: ") && told[0].contains("no such program"), "{}", told[0]);
}
