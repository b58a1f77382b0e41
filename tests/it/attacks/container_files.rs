//! RUNs in the container's own root, where all that stood in it before is set aside: they read no credential, and change
//! nothing that the container executes afterwards.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::source::source;

/// What a job of a pipeline writes before it builds.
const WRITE: &str = "mkdir -p /kaniko/.docker /home/user
export HOME=/home/user
printf '{\"auths\":{\"registry.example.com\":{\"username\":\"u\",\"password\":\"of-a-hermit\"}}}' > /kaniko/.docker/config.json
echo machine a login b password of-a-hermit > /home/user/.netrc
chmod 640 /home/user/.netrc
echo of-a-hermit > /secret
ln -s /secret /home/user/secret
list() { /busybox/busybox stat -c '%n %a %u %y %s' /kaniko/.docker/config.json /home/user/.netrc /home/user /secret; }
list > /step-results/before
";

#[test]
fn credentials_that_were_set_aside_are_on_no_disk_while_a_run_can_read_it() {
    if !Isolation::Container.allowed("attacks: credentials set aside") {
        return;
    }
    let text = "FROM $BASE
RUN --mount=type=secret,id=a test \"$(cat /run/secrets/a)\" = of-a''-hermit
RUN test -d /.yadokari-aside/tree/home && ! grep -r of-a''-hermit /.yadokari-aside /kaniko /home /secret /run
";
    let source = source(text, &[]);
    let script = format!(
        "{WRITE}/kaniko/executor \"$@\" --secret=id=a,src=/home/user/secret; code=$?
list > /step-results/after; cat /secret /home/user/.netrc; exit $code"
    );
    let mut executor = Executor::new(Isolation::Container, source.path());
    let build = executor.only_layout().run_script(&script).expect(0);
    assert_eq!(build.stdout, "of-a-hermit\nmachine a login b password of-a-hermit\n");
    assert_eq!(build.result("before"), build.result("after"));
}

#[test]
fn credentials_of_a_build_that_was_killed_are_lost_and_not_left_to_others() {
    if !Isolation::Container.allowed("attacks: killed with credentials") {
        return;
    }
    // The executor is the parent of init, which is the parent of RUN's shell.
    let text =
        "FROM $BASE\nARG AGAIN\nRUN test -n \"$AGAIN\" || kill -KILL $(awk '/PPid/ { print $2 }' /proc/$PPID/status)\n";
    let source = source(text, &[]);
    let script = format!(
        "{WRITE}/kaniko/executor \"$@\"; test $? = 137 || exit 9
/busybox/busybox sleep 1; /busybox/busybox grep -r of-a-hermit /.yadokari-aside /kaniko && exit 10
/kaniko/executor \"$@\" --build-arg=AGAIN=yes; cat /secret; exit 0"
    );
    let mut executor = Executor::new(Isolation::Container, source.path());
    let build = executor.only_layout().run_script(&script).expect(0);
    assert!(build.stderr.contains("are lost: /home/user/.netrc, /kaniko/.docker/config.json"), "{}", build.stderr);
    assert_eq!(build.stdout, "of-a-hermit\n", "what is no credential of this build was put back");
}

#[test]
fn a_run_that_replaces_the_executor_fails_the_build_and_changes_nothing() {
    if !Isolation::Container.allowed("attacks: the executor replaced") {
        return;
    }
    for attack in [
        "echo '#!/busybox/sh' > /evil && chmod 755 /evil && mv /evil /kaniko/executor",
        "mv /kaniko/executor /stolen && ln -s /bin/busybox /kaniko/executor",
        "rm /kaniko/executor",
    ] {
        let source = source(&format!("FROM $BASE\nRUN {attack}\n"), &[]);
        let script = "/busybox/sha256sum /kaniko/executor > /step-results/before; /kaniko/executor \"$@\"; code=$?
/busybox/sha256sum /kaniko/executor > /step-results/after; /kaniko/executor version; exit $code";
        let script = script.replace("/busybox/sha256sum", "/busybox/busybox sha256sum");
        let mut executor = Executor::new(Isolation::Container, source.path());
        let build = executor.only_layout().run_script(&script);
        assert_ne!(build.code, 0, "{attack}: {}", build.stderr);
        assert!(build.stderr.contains("RUN has changed the executor's own program"), "{attack}: {}", build.stderr);
        assert!(build.stderr.contains("Dockerfile:2"), "{attack}: {}", build.stderr);
        assert_eq!(build.result("before"), build.result("after"), "{attack}");
    }
}

#[test]
fn a_run_that_changes_what_was_set_aside_fails_the_build_by_name() {
    if !Isolation::Container.allowed("attacks: set aside and changed") {
        return;
    }
    for (attack, name) in [
        ("echo '#!/bin/sh' > /.yadokari-aside/tree/busybox/tool", "/busybox/tool"),
        ("touch -r /bin/sh /.yadokari-aside/tree/busybox/tool", "/busybox/tool"),
        ("rm -r /.yadokari-aside/tree/busybox/tool", "/busybox/tool"),
        ("echo > /.yadokari-aside/tree/profile", "/profile"),
        // The journal alone is not believed, and so does nothing.
        ("true > /.yadokari-aside/journal", ""),
    ] {
        let source = source(&format!("FROM $BASE\nRUN {attack}\n"), &[]);
        let script = "echo of the container > /busybox/tool
/kaniko/executor \"$@\"; code=$?; /busybox/busybox ls /busybox/busybox; exit $code";
        let build = Executor::new(Isolation::Container, source.path()).only_layout().run_script(script);
        assert_eq!(build.stdout, "/busybox/busybox\n", "{attack}: {}", build.stderr);
        if name.is_empty() {
            build.expect(0);
            continue;
        }
        assert_ne!(build.code, 0, "{attack}: {}", build.stderr);
        assert!(build.stderr.contains("RUN has changed files of this container"), "{attack}: {}", build.stderr);
        assert!(build.stderr.contains(name), "{attack}: {}", build.stderr);
        assert!(!build.path("layout/index.json").exists(), "{attack}: an image was written all the same");
    }
}
