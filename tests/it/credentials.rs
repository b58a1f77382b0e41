//! Who we are to registries: the same answers as other tools, what `auth explain` says, and that no secret is ever shown.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{PASSWORD, Registry, USER, base64};
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

/// Plants a secret in every source that there is, and looks for them in all that is said at the loudest.
#[test]
fn no_secret_is_ever_shown() {
    if !Isolation::Namespace.allowed("credentials: no secret is shown") {
        return;
    }
    let source = one_file();
    let registry = Registry::secured();
    let drops = [Rule::new("GET", "/v2/", Fault::Status(503, ""), 1), Rule::new("PUT", "/", Fault::Drop, 1)];
    let plain = Registry::plain();
    let proxy = Proxy::start(&plain.address, &drops);
    let auth = base64(&format!("{USER}:{PASSWORD}"));
    let entries = format!(
        "\"{0}\": {{\"auth\": \"{auth}\"}}, \"{1}\": {{\"username\": \"u\", \"password\": \"{PASSWORD}\"}}, \
         \"i.invalid\": {{\"identitytoken\": \"{PASSWORD}\"}}, \"t.invalid\": {{\"registrytoken\": \"{PASSWORD}\"}}",
        registry.address, proxy.address
    );
    let config = format!("{{\"auths\": {{{entries}}}, \"credHelpers\": {{\"h.invalid\": \"planted\"}}}}");
    let destinations: [(&[String], i32); 5] = [
        (&[format!("{}/app:1", registry.address)], 0),
        (&[format!("{}/app:1", proxy.address)], 0),
        (&["h.invalid/app:1".to_owned(), "i.invalid/app:1".to_owned(), "t.invalid/app:1".to_owned()], 75),
        (&["team.azurecr.io/app:1".to_owned()], 75),
        (&["123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1".to_owned()], 75),
    ];
    for (destinations, code) in destinations {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let planted = format!("#!/bin/sh\necho '{{\"Username\":\"u\",\"Secret\":\"{PASSWORD}\"}}'\n");
        executor.credential("config.json", &config);
        executor.credential(".dockercfg", format!("{{\"o.invalid\": {{\"auth\": \"{auth}\"}}}}"));
        let helper = executor.credential("docker-credential-planted", planted);
        process::run(Command::new("chmod").arg("755").arg(&helper), SHORT).success();
        let directory = Path::new(&helper).parent().expect("a directory").display().to_string();
        let key = format!("{{\"type\": \"service_account\", \"private_key\": \"{PASSWORD}\"}}");
        let google = executor.credential("google.json", key);
        let token = executor.credential("token", PASSWORD);
        let ca = executor.credential("ca.crt", std::fs::read(registry.ca()).expect("the CA is made"));
        let text = format!("{{\"auths\": {{\"x.invalid\": {{\"auth\": \"{auth}\"}}}}}}");
        for (name, value) in [
            ("DOCKER_CONFIG", directory.as_str()),
            ("DOCKER_AUTH_CONFIG", &text),
            ("KANIKO_INVALID_USER", "u"),
            ("KANIKO_INVALID_PASSWORD", PASSWORD),
            ("CI_REGISTRY", "g.invalid"),
            ("CI_REGISTRY_USER", "u"),
            ("CI_REGISTRY_PASSWORD", PASSWORD),
            ("AWS_ACCESS_KEY_ID", "AK"),
            ("AWS_SECRET_ACCESS_KEY", PASSWORD),
            ("AWS_SESSION_TOKEN", PASSWORD),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_SECRET", PASSWORD),
            ("AZURE_FEDERATED_TOKEN_FILE", &token),
            ("GOOGLE_APPLICATION_CREDENTIALS", &google),
            ("GIT_TOKEN", PASSWORD),
            ("CONTEXT_BEARER_TOKEN", PASSWORD),
            // Hosts that are not on loopback: nobody is there, and the password of the proxy is not to be shown either.
            ("HTTPS_PROXY", &format!("http://u:{PASSWORD}@127.0.0.1:1")),
        ] {
            executor.env(name, value);
        }
        executor.env("PATH", &format!("{directory}:/usr/bin:/bin"));
        executor.add(&[
            &format!("--registry-certificate={}={ca}", registry.address),
            &format!("--insecure-registry={}", proxy.address),
            "--verbosity=trace",
            "--timeout=2s",
        ]);
        for destination in destinations {
            executor.add(&[&format!("--destination={destination}")]);
        }
        executor.output("--metadata-file", "metadata.json");
        // What is said and written is looked through at the end of each run.
        let build = executor.run();
        assert!(build.code == code || code != 0 && build.code != 0, "{}: {}", build.code, build.stderr);
    }
}
