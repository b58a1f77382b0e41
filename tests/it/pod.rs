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
fn an_ordinary_pod_takes_container_isolation_by_itself() {
    if !Isolation::Container.allowed("pod: ordinary") {
        return;
    }
    let registry = Registry::secured();
    let source = one_run();
    let mut executor = Executor::in_pod(Isolation::Auto, Pod::plain(), source.path());
    let build = executor.push_secured(&registry, "app:1", PASSWORD).output("--digest-file", "digest").run().expect(0);
    assert_eq!(build.result("digest"), registry.digest("app:1"));
    assert!(build.stderr.contains("container"), "the log does not say which isolation and why:\n{}", build.stderr);
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
