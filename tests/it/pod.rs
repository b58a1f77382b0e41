//! The profiles of pods our users have: what each lets us do, and what a step may see there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::Pod;
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::source::{one_run, source};

/// Looks for the executor's files, the step's volumes and the step's environment, also by way of `/proc`.
const PRYING: &str = "FROM $BASE
RUN for path in /kaniko /step-credentials /step-results /workspace; do test ! -e $path || exit 3; done
RUN ! env | grep -E 'DOCKER_CONFIG|SECRET_OF'
RUN ! cat /proc/[0-9]*/environ 2>/dev/null | grep -E 'DOCKER_CONFIG|SECRET_OF'
RUN ! ls -d /proc/[0-9]*/root/step-credentials /proc/[0-9]*/root/kaniko /proc/[0-9]*/cwd/credentials 2>/dev/null | grep .
";

#[test]
fn an_ordinary_pod_takes_mediated_isolation_by_itself() {
    if !Isolation::Container.allowed("pod: ordinary") {
        return;
    }
    let registry = Registry::secured();
    let source = one_run();
    let mut executor = Executor::in_pod(Isolation::Auto, Pod::plain(), source.path());
    let build = executor.push_secured(&registry, "app:1", PASSWORD).output("--digest-file", "digest").run().expect(0);
    assert_eq!(build.result("digest"), registry.digest("app:1"));
    let told = "isolation mediated: namespaces are refused (unshare(CLONE_NEWUSER): ";
    assert!(build.stderr.contains(told), "the log does not say which isolation and why:\n{}", build.stderr);
}

#[test]
fn an_ordinary_pod_whose_profile_lacks_a_call_takes_container_isolation_and_says_which() {
    if !Isolation::Container.allowed("pod: a call lacks") {
        return;
    }
    let source = one_run();
    for call in ["ptrace", "process_vm_readv", "seccomp"] {
        let pod = Pod::plain().without_call(call);
        let build = Executor::in_pod(Isolation::Auto, pod, source.path()).only_layout().run().expect(0);
        let line = build.stderr.lines().find(|line| line.starts_with("isolation container: ")).unwrap_or_default();
        let why =
            line.split("; ").find(|part| part.starts_with("mediated isolation is not possible (")).unwrap_or_default();
        assert!(why.contains(call), "{call}: {}", build.stderr);
        assert!(line.contains("; this is a container ("), "{call}: {}", build.stderr);
    }
    let pod = Pod::plain().without_call("ptrace");
    let build = Executor::in_pod(Isolation::Mediated, pod, source.path()).only_layout().run().expect(71);
    assert!(build.stderr.contains("seccompProfile"), "asked for by name, it is not replaced: {}", build.stderr);
}

#[test]
fn a_foreign_platform_takes_container_isolation_where_there_is_one() {
    if !Isolation::Container.allowed("pod: foreign platform") {
        return;
    }
    let source = one_run();
    let build = |pod: Pod, arguments: &[&str]| {
        let mut executor = Executor::in_pod(Isolation::Auto, pod, source.path());
        executor.only_layout().add(arguments).run().expect(0).stderr
    };
    let told = "mediated isolation executes programs of linux/amd64 alone, and not of linux/386; ";
    for platforms in ["linux/386", "linux/amd64,linux/386"] {
        let log = build(Pod::plain(), &[&format!("--custom-platform={platforms}")]);
        assert!(
            log.contains("isolation container: ") && log.contains(&format!("{told}this is a container (")),
            "{log}"
        );
    }
    for platform in ["linux/amd64", "linux/amd64/v3"] {
        let log = build(Pod::plain(), &[&format!("--custom-platform={platform}")]);
        assert!(log.contains("isolation mediated: "), "{platform}: {log}");
    }
    // Where the container's root is not to be had, what is the machine's own can run.
    let mut pod = Pod::restricted();
    pod.add(&["--tmpfs=/state:mode=1777,exec"]);
    let log = build(pod, &["--state-dir=/state", "--custom-platform=linux/386"]);
    assert!(log.contains("isolation mediated: ") && log.contains(told), "{log}");
}

#[test]
fn weak_namespaces_give_way_to_mediated_isolation() {
    if !Isolation::Container.allowed("pod: weak namespaces") {
        return;
    }
    let source = one_run();
    let one_id = || {
        let mut pod = Pod::unshare_allowed();
        pod.add(&["--user=65532:65532", "--tmpfs=/state:mode=1777,exec"])
    };
    let (alone, others) = ("namespaces would have one user id alone", "root in the others would be the container's");
    for (isolation, pod, arguments, expected) in [
        (Isolation::Auto, one_id(), &["--state-dir=/state"][..], format!("isolation mediated: {alone}\n")),
        (Isolation::Auto, one_id().without_call("ptrace"), &["--state-dir=/state"], "isolation namespace: ".to_owned()),
        (
            Isolation::Auto,
            one_id(),
            &["--state-dir=/state", "--custom-platform=linux/386"],
            "isolation namespace: ".to_owned(),
        ),
        (Isolation::Namespace, one_id(), &["--state-dir=/state"], "isolation namespace: ".to_owned()),
        (
            Isolation::Auto,
            Pod::without_user_namespaces(),
            &[],
            format!("isolation mediated: user namespaces are refused, and {others}\n"),
        ),
        (
            Isolation::Auto,
            Pod::without_user_namespaces(),
            &["--custom-platform=linux/386"],
            "isolation namespace: ".to_owned(),
        ),
        (Isolation::Namespace, Pod::without_user_namespaces(), &[], "isolation namespace: ".to_owned()),
    ] {
        let build = Executor::in_pod(isolation, pod, source.path()).only_layout().add(arguments).run();
        assert!(build.stderr.contains(&expected), "{}, {arguments:?}: {}", isolation.name(), build.stderr);
        build.expect(0);
    }
}

#[test]
fn a_pod_that_may_unshare_takes_namespace_isolation_by_itself() {
    if !Isolation::Container.allowed("pod: unshare") {
        return;
    }
    let source = one_run();
    let build = Executor::in_pod(Isolation::Auto, Pod::unshare_allowed(), source.path()).only_layout().run().expect(0);
    assert!(build.stderr.contains("namespace"), "the log does not say which isolation and why:\n{}", build.stderr);
    let listing = Listing::of(&build.image());
    assert!(listing.0.contains_key("/ran") && listing.0.contains_key("/file"));
    assert!(!listing.0.contains_key("/kaniko"), "the executor's own files are in the image");
}

#[test]
fn a_step_in_namespaces_sees_nothing_of_the_executor() {
    if !Isolation::Container.allowed("pod: hidden") {
        return;
    }
    let registry = Registry::secured();
    let source = source(PRYING, &[]);
    let mut executor = Executor::in_pod(Isolation::Namespace, Pod::unshare_allowed(), source.path());
    executor.env("SECRET_OF_THE_STEP", PASSWORD).push_secured(&registry, "app:1", PASSWORD).run().expect(0);
}

#[test]
fn a_step_on_a_machine_sees_nothing_of_the_executor() {
    if !Isolation::Namespace.allowed("pod: hidden on a machine") {
        return;
    }
    let registry = Registry::secured();
    let source = source(&format!("{PRYING}RUN test $(ls -d /proc/[0-9]* | wc -l) -lt 6\n"), &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_secured(&registry, "app:1", PASSWORD).run().expect(0);
}

#[test]
fn a_restricted_pod_builds_what_needs_no_run() {
    if !Isolation::Container.allowed("pod: restricted") {
        return;
    }
    let dockerfile = "FROM $BASE
WORKDIR /srv/app
COPY --chown=alice:staff file owned
COPY file /link/below
ADD file /var/run/
USER alice
CMD [\"cat\", \"owned\"]
";
    let source = source(dockerfile, &[("file", "content\n")]);
    let mut pod = Pod::restricted();
    pod.add(&["--tmpfs=/state:mode=1777"]);
    let mut executor = Executor::in_pod(Isolation::Auto, pod, source.path());
    let build = executor.only_layout().add(&["--state-dir=/state"]).run().expect(0);
    let image = build.image();
    image.verify();
    let listing = Listing::of(&image);
    let expected = [
        ("/srv/app", "dir 0755 0:0"),
        ("/srv/app/owned", "file 0644 1000:50 \"content\\n\""),
        ("/usr/share/below", "file 0644 0:0 \"content\\n\""),
        ("/run/file", "file 0644 0:0 \"content\\n\""),
    ];
    for (path, line) in expected {
        assert_eq!(listing.0.get(path).map(|line| line.text.as_str()), Some(line), "{path}");
    }
}

#[test]
fn a_restricted_pod_runs_by_itself_what_needs_no_right() {
    if !Isolation::Mediated.allowed("pod: restricted RUN") {
        return;
    }
    let source = one_run();
    let state = Scratch::new("state");
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let mut pod = Pod::restricted();
    pod.mount_writable(state.path(), "/state");
    let mut executor = Executor::in_pod(Isolation::Auto, pod, source.path());
    let build = executor.only_layout().add(&["--state-dir=/state"]).run().expect(0);
    assert!(build.stderr.contains("isolation mediated: "), "{}", build.stderr);
}

#[test]
fn a_restricted_pod_says_what_a_run_lacks() {
    if !Isolation::Container.allowed("pod: restricted RUN") {
        return;
    }
    let source = one_run();
    let mut pod = Pod::restricted();
    pod.add(&["--tmpfs=/state:mode=1777,noexec"]);
    let mut executor = Executor::in_pod(Isolation::Auto, pod, source.path());
    let build = executor.only_layout().add(&["--state-dir=/state"]).run().expect(71);
    assert!(build.stderr.contains("is mounted noexec"), "{}", build.stderr);
    assert!(build.stderr.contains("seccompProfile"), "{}", build.stderr);
}

#[test]
fn a_step_of_an_ordinary_pod_reads_and_writes_what_its_root_may() {
    if !Isolation::Container.allowed("pod: files of root") {
        return;
    }
    let mounts = "RUN --mount=type=bind,target=/b --mount=type=cache,target=/c ";
    let text = format!(
        "FROM $BASE\n{mounts}cat /b/private /b/closed/file > /c/a && mkdir -m 700 /c/d && echo b > /c/d/b && chmod 600 /c/a\n"
    );
    let again = format!(
        "FROM $BASE\n{mounts}cat /b/private /b/closed/file && echo x >> /c/a && echo y > /c/d/y && rm /c/d/b && cat /c/a /c/d/y > /seen\n"
    );
    let caches = Scratch::new("caches");
    for (isolation, text) in [(Isolation::Container, text), (Isolation::Auto, again)] {
        let source = source(&text, &[("private", "private\n"), ("closed/file", "closed\n")]);
        for (path, mode) in [("private", 0o600), ("closed", 0o700)] {
            let path = source.path().join("context").join(path);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        }
        let mut pod = Pod::plain();
        pod.mount_writable(caches.path(), "/caches");
        let mut executor = Executor::in_pod(isolation, pod, source.path());
        let build = executor.only_layout().add(&["--cache-mounts=/caches"]).run().expect(0);
        if isolation == Isolation::Auto {
            assert!(build.stderr.contains("isolation mediated: "), "{}", build.stderr);
            let listing = Listing::of(&build.image());
            let seen = listing.0.get("/seen").map(|line| line.text.clone());
            assert_eq!(seen.as_deref(), Some("file 0644 0:0 \"private\\nclosed\\nx\\ny\\n\""));
        }
    }
}
