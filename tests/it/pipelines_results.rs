//! What each pipeline engine reads after a build: by flags, and by what the engine sets.

use serde_json::Value;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::{SHORT, processes_with, wait_until};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

fn executor(source: &Scratch) -> Executor {
    Executor::new(Isolation::Namespace, source.path())
}

fn names(build: &Build, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(build.path(directory)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn tekton_results_name_what_the_registry_has() {
    if !Isolation::Namespace.allowed("pipelines: tekton results") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM $BASE\nCOPY file /file\n", &[("file", "x\n")]);
    let mut executor = executor(&source);
    executor.push_plain(&registry, "team/app:1.0").push_plain(&registry, "mirror/app");
    executor.stale("results/IMAGE_DIGEST", "sha256:0000").stale("results/OTHER", "of another step");
    executor.output("--tekton-results-dir", "results").output("--tekton-artifacts", "provenance.json");
    let build = executor.run().expect(0);
    let (digest, address) = (registry.digest("team/app:1.0").expect("pushed"), &registry.address);
    let result = |name: &str| build.result(&format!("results/{name}"));
    assert_eq!(result("IMAGE_DIGEST"), Some(digest.clone()), "no newline at the end");
    assert_eq!(result("IMAGE_URL"), Some(format!("{address}/team/app:1.0")));
    assert_eq!(result("IMAGE_REF"), Some(format!("{address}/team/app@{digest}")));
    let images = format!("{address}/team/app:1.0@{digest}\n{address}/mirror/app:latest@{digest}");
    assert_eq!(result("IMAGES"), Some(images));
    assert!(result("BASE_IMAGES_DIGESTS").is_some_and(|text| text.contains("/base/base:latest@sha256:")));
    assert_eq!(result("OTHER").as_deref(), Some("of another step"));
    assert!(result("CHAINS-GIT_URL").is_none(), "the context was no repository");
    let provenance: Value = serde_json::from_str(&build.result("provenance.json").expect("asked for")).expect("JSON");
    assert_eq!(
        format!("sha256:{}", provenance["outputs"][0]["values"][0]["digest"]["sha256"].as_str().unwrap()),
        digest
    );
    assert!(build.stderr.contains("IMAGE_DIGEST"), "the log says what was written where:\n{}", build.stderr);
}

#[test]
fn what_was_not_pushed_has_no_pair_to_sign() {
    if !Isolation::Namespace.allowed("pipelines: no push") {
        return;
    }
    let source = one_file();
    let mut executor = executor(&source);
    executor.stale("argo/image-url", "registry.example.com/old").stale("url", "registry.example.com/old");
    executor.only_layout().add(&["--destination=registry.example.com/app:1"]);
    executor.output("--tekton-results-dir", "results").output("--argo-outputs-dir", "argo");
    executor.output("--image-url-file", "url").output("--digest-file", "digest");
    let build = executor.run().expect(0);
    assert_eq!(names(&build, "results"), ["BASE_IMAGES_DIGESTS"]);
    assert_eq!(build.result("argo/image-digest"), Some(build.image().digest));
    assert_eq!(build.result("argo/image-url").as_deref(), Some(""));
    assert_eq!(build.result("digest"), Some(build.image().digest), "asked for by name, it is told");
    assert_eq!(build.result("url"), None);
}

#[test]
fn too_many_destinations_are_refused_before_the_build() {
    if !Isolation::Namespace.allowed("pipelines: size") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM $BASE\nRUN echo must not run >&2 && false\n", &[]);
    let mut executor = executor(&source);
    for number in 0..40 {
        executor.push_plain(&registry, &format!("a/rather/long/repository/name:{number}"));
    }
    let build = executor.output("--tekton-results-dir", "results").run().expect(72);
    assert!(build.stderr.contains("4096"), "{}", build.stderr);
    assert_eq!(names(&build, "results"), ["ERROR_KIND", "ERROR_MESSAGE"]);
}

#[test]
fn a_failed_build_leaves_argo_empty_files_and_others_none() {
    if !Isolation::Namespace.allowed("pipelines: failure") {
        return;
    }
    let source = source("FROM scratch\nCOPY missing /missing\n", &[]);
    let mut executor = executor(&source);
    for stale in ["argo/image-digest", "builder/output", "builder/images", "build.env", "ref"] {
        executor.stale(stale, "sha256:of-an-earlier-attempt");
    }
    executor.only_layout().output("--tekton-results-dir", "results").output("--argo-outputs-dir", "argo");
    executor.add(&["--destination=registry.example.com/app:1"]);
    executor.output("--dotenv-file", "build.env").output("--image-ref-file", "ref");
    let builder = executor.output_directory("builder");
    let build = executor.env("BUILDER_OUTPUT", &builder).run().expect(76);
    for (directory, expected) in [("results", 2), ("builder", 0), ("argo", 10)] {
        assert_eq!(names(&build, directory).len(), expected, "{directory}");
    }
    assert_eq!(names(&build, "results"), ["ERROR_KIND", "ERROR_MESSAGE"], "what tells of the failure, no more");
    assert_eq!(build.result("results/ERROR_KIND").as_deref(), Some("dockerfile"));
    assert_eq!(build.result("argo/error-kind").as_deref(), Some("dockerfile"));
    let message = build.result("results/ERROR_MESSAGE").expect("it failed");
    assert!(message.starts_with("dockerfile: ") && message.len() <= 200 && !message.contains('\n'), "{message}");
    assert_eq!(build.result("argo/image-digest").as_deref(), Some(""));
    assert_eq!((build.result("build.env"), build.result("ref")), (None, None));
}

/// What a consumer reads after each way to end: with `onError: continue`, `when: $(tasks.build.status)`, a `finally` task.
#[test]
fn however_a_step_ends_its_results_say_so_and_nothing_else() {
    let registry = Registry::plain();
    let down = registry::free_address();
    let run = |isolation: Isolation, source: &Scratch, destination: &str, more: &[&str]| {
        let mut executor = Executor::new(isolation, source.path());
        executor.add(&[&format!("--destination={destination}"), &format!("--insecure-registry={}", registry.address)]);
        executor.add(&[&format!("--insecure-registry={}", registry::shared().address)]).add(more);
        // What stands in Tekton's directory is another step's, since each attempt has a pod of its own.
        executor.stale("results/OTHER", "of another step").stale("argo/image-digest", "of-an-earlier-attempt");
        executor.output("--tekton-results-dir", "results").output("--argo-outputs-dir", "argo");
        executor
    };
    let sleeps = source("FROM $BASE\nRUN echo begun > /begun; sleep 31577\n", &[]);
    let fails = source("FROM $BASE\nRUN echo why >&2; exit 75\n", &[]);
    let good = source("FROM $BASE\nRUN echo ran > /ran\n", &[]);
    let elsewhere = format!("{down}/app:1");
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("pipelines: ways to end")) {
        let repository = format!("{}/app:1", isolation.name());
        let app = registry.repository(&repository);
        for (source, destination, more, code, kind, why) in [
            // RUN's own status, which Argo must not take for a transient failure of ours.
            (&fails, &app, &[][..], 75, "run", "why"),
            (&sleeps, &app, &["--timeout=3s"], 124, "timeout", "--timeout"),
            (&good, &elsewhere, &["--push-retry=0"], 75, "transient", &*down),
            (&sleeps, &app, &["terminated"], 143, "terminated", "SIGTERM"),
        ] {
            // Where a registry is down is waited for, which is no matter of isolations.
            if kind == "transient" && isolation != Isolation::Namespace {
                continue;
            }
            let place = format!("{kind} in {}", isolation.name());
            let build = if more == ["terminated"] {
                let ongoing = run(isolation, source, destination, &[]).start();
                let begun = || !processes_with("sleep 31577").is_empty();
                assert!(wait_until(SHORT, begun), "{place}: RUN does not begin");
                ongoing.terminate();
                ongoing.finish()
            } else {
                run(isolation, source, destination, more).run()
            };
            let build = build.expect(code);
            assert_eq!(names(&build, "results"), ["ERROR_KIND", "ERROR_MESSAGE", "OTHER"], "{place}");
            assert_eq!(build.result("results/ERROR_KIND").as_deref(), Some(kind), "{place}");
            assert_eq!(build.result("argo/error-kind").as_deref(), Some(kind), "{place}");
            assert_eq!(build.result("argo/image-digest").as_deref(), Some(""), "{place}");
            let message = build.result("results/ERROR_MESSAGE").unwrap_or_default();
            assert!(message.contains(why) && !message.contains('\n'), "{place}: {message}");
            assert_eq!(registry.digest(&repository), None, "{place}");
        }
        let build = run(isolation, &good, &app, &[]).run().expect(0);
        let digest = registry.digest(&repository);
        assert_eq!(build.result("results/IMAGE_DIGEST"), digest, "{}", isolation.name());
        assert_eq!(build.result("argo/image-digest"), digest, "{}", isolation.name());
        assert_eq!(build.result("results/ERROR_KIND"), None, "{}", isolation.name());
    }
}

#[test]
fn a_refusal_before_the_build_removes_stale_results_too() {
    if !Isolation::Container.allowed("pipelines: stale before isolation") {
        return;
    }
    let source = source("FROM $BASE\nRUN true\n", &[]);
    let mut executor = Executor::in_pod(Isolation::Namespace, Pod::plain(), source.path());
    executor.stale("digest", "sha256:of-an-earlier-attempt").only_layout().output("--digest-file", "digest");
    let build = executor.run().expect(71);
    assert_eq!(build.result("digest"), None);
}

#[test]
fn engines_are_found_by_what_they_set() {
    if !Isolation::Namespace.allowed("pipelines: found") {
        return;
    }
    let registry = Registry::plain();
    let source = one_file();
    let mut executor = executor(&source);
    executor.push_plain(&registry, "app:1");
    let [builder, argo] = ["builder", "argo"].map(|name| executor.output_directory(name));
    let template = format!(
        r#"{{"outputs": {{"parameters": [{{"name": "d", "valueFrom": {{"path": "{argo}/image-digest"}}}},
        {{"name": "u", "valueFrom": {{"path": "{argo}/git-url"}}}}]}}}}"#
    );
    executor.env("BUILDER_OUTPUT", &builder).env("ARGO_TEMPLATE", &template);
    executor.env("ARGO_PROGRESS_FILE", &format!("{argo}/progress"));
    executor.stale("github", "other=1\n");
    let github = format!("{}/../github", executor.output_directory("summary"));
    executor.env("GITHUB_OUTPUT", &github).env("GITHUB_STEP_SUMMARY", &format!("{github}-summary"));
    let build = executor.run().expect(0);
    let digest = registry.digest("app:1").expect("pushed");
    let output = build.result("builder/output").expect("Cloud Build reads it");
    let output: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!((&output["digest"], &output["image"]), (&digest.clone().into(), &registry.repository("app:1").into()));
    let images = format!("{{\"name\":\"{}\",\"digest\":\"{digest}\"}}\n", registry.repository("app:1"));
    assert_eq!(build.result("builder/images"), Some(images));
    assert_eq!(build.result("argo/image-digest"), Some(digest.clone()));
    assert_eq!(names(&build, "argo"), ["git-url", "image-digest", "progress"], "what the template asks for, no more");
    assert_eq!(build.result("argo/progress").as_deref(), Some("2/2"));
    let lines = build.result("github").expect("it was there");
    assert!(lines.starts_with(&format!("other=1\ndigest={digest}\nimageid=sha256:")), "{lines}");
    assert!(build.result("github-summary").is_some_and(|text| text.contains(&digest)));
}

#[test]
fn tekton_is_found_by_its_directory() {
    if !Isolation::Container.allowed("pipelines: tekton found") {
        return;
    }
    let registry = Registry::plain();
    let source = one_file();
    let results = Scratch::new("tekton");
    let mut pod = Pod::plain();
    pod.mount_writable(results.path(), "/tekton/results");
    let mut executor = Executor::in_pod(Isolation::Auto, pod, source.path());
    executor.push_plain(&registry, "app:1").run().expect(0);
    let read = |name: &str| std::fs::read_to_string(results.join(name)).ok();
    assert_eq!(read("IMAGE_DIGEST"), registry.digest("app:1"));
    assert_eq!(read("IMAGE_URL"), Some(registry.repository("app:1")));
}

#[test]
fn the_termination_message_is_one_line_of_cause() {
    if !Isolation::Container.allowed("pipelines: termination message") {
        return;
    }
    let scratch = Scratch::new("termination");
    let log = scratch.file("log", "");
    let mut pod = Pod::plain();
    pod.mount_writable(&log, "/dev/termination-log");
    let bad = source("FROM $BASE\nRUN echo the last line >&2; exit 42\n", &[]);
    Executor::in_pod(Isolation::Auto, pod.clone(), bad.path()).only_layout().run().expect(42);
    let message = std::fs::read_to_string(&log).expect("it is there");
    assert!(message.starts_with("run: ") && message.contains("Dockerfile:2"), "{message}");
    assert!(message.ends_with(": the last line"), "{message}");
    assert!(message.len() <= 200 && !message.contains('\n'), "{message}");
    // A mounted file cannot be renamed over: it is written into.
    let good = one_file();
    let mut executor = Executor::in_pod(Isolation::Auto, pod, good.path());
    let build = executor.only_layout().add(&["--digest-file=/dev/termination-log"]).run().expect(0);
    assert_eq!(std::fs::read_to_string(&log).expect("it is there"), build.image().digest);
}
