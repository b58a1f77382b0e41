//! What a pod mounts, and a Dockerfile that has something at the same paths: images are what they are elsewhere, or the
//! build says why they cannot be.

use std::fs;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::listing::{Listing, difference};
use crate::support::pod::{Pod, System};
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Kubebuilder's own Dockerfile in shape, Spring's guide, what unpacks its requirements in `/tmp`, and an image for agents.
const SHAPES: &str = "FROM $BASE AS kubebuilder
WORKDIR /workspace
COPY go.mod go.mod
RUN cp go.mod go.sum
COPY main.go main.go
COPY api/ api/
RUN cat main.go api/x.go > manager && chmod +x manager && ls -A > listed
FROM $BASE AS spring
WORKDIR /workspace/app
COPY main.go src/
RUN mkdir -p target/dependency && cp src/main.go target/dependency/
VOLUME /tmp
FROM $BASE AS temporary
COPY go.mod /tmp/requirements.txt
COPY go.mod /etc/ssl/certs/team.crt
RUN test -s /tmp/requirements.txt && cat /etc/ssl/certs/*.crt > /installed && echo left > /tmp/left
FROM temporary
COPY --from=kubebuilder /workspace /kubebuilder
COPY --from=spring /workspace /spring
COPY go.mod /home/jenkins/agent/f
RUN mkdir /var/run/sshd && echo y > /home/jenkins/agent/y && echo 1 > /var/run/pid && chmod 700 /home/jenkins && echo $(ls /run)
";
const CONTEXT: [(&str, &str); 3] = [("go.mod", "module\n"), ("main.go", "package\n"), ("api/x.go", "type\n")];

/// Returns the listing, with the times left out that differ from build to build.
fn listing(build: &Build) -> String {
    build.image().verify();
    Listing::of(&build.image()).changes_from(&Listing::default())
}

#[test]
fn an_image_is_the_same_in_the_pods_of_all_systems() {
    if !Isolation::Container.allowed("pod volumes") || !Isolation::Namespace.allowed("pod volumes") {
        return;
    }
    let source = source(SHAPES, &CONTEXT);
    let expected = listing(&Executor::new(Isolation::Namespace, source.path()).only_layout().run().expect(0));
    for needed in
        ["/kubebuilder/manager", "/spring/app/target/dependency/main.go", "/tmp/left", "/home/jenkins/agent/y"]
    {
        assert!(expected.contains(needed), "{needed}: {expected}");
    }
    let kinds = System::ALL.into_iter().flat_map(|system| [(system, true), (system, false)]);
    for (system, is_traceable) in kinds {
        let volumes = Scratch::new("volumes");
        let mut pod = Pod::of(system, &volumes);
        if system == System::Argo {
            pod.add(&["--tmpfs=/tmp"]);
        }
        if !is_traceable {
            pod.without_call("ptrace");
        }
        let mut executor = Executor::in_pod(Isolation::Auto, pod, source.path());
        // Jenkins and GitLab have the context elsewhere.
        match system {
            System::Jenkins => drop(executor.volume("/home/jenkins/agent/workspace")),
            System::GitLab => drop(executor.volume("/builds/team")),
            System::Tekton | System::Argo | System::CloudBuild => drop(executor.volume("/workspace")),
        }
        let build = executor.only_layout().run().expect(0);
        assert_eq!(difference(&expected, &listing(&build)), "", "{system:?}: {}", build.stderr);
        let is_replaced = build.stderr.contains("isolation chroot: RUN would not see ");
        assert_eq!(is_replaced, system != System::GitLab && !is_traceable, "{system:?}: {}", build.stderr);
        assert_eq!(build.stderr.contains("isolation mediated: "), is_traceable, "{system:?}: {}", build.stderr);
        let left: Vec<_> = fs::read_dir(source.join("context")).expect("reads").flatten().collect();
        assert_eq!(left.len(), 3, "{system:?}: RUN has written to the context: {left:?}");
    }
}

#[test]
fn container_isolation_by_name_refuses_what_it_would_hide() {
    if !Isolation::Container.allowed("pod volumes: by name") {
        return;
    }
    let rows = [
        ("WORKDIR /workspace/app\nRUN true\n", "WORKDIR /workspace/app"),
        ("COPY main.go /workspace/main.go\nRUN true\n", "COPY to /workspace/main.go"),
        ("RUN --mount=type=cache,target=/workspace/c true\n", "the mount at /workspace/c"),
        ("VOLUME /workspace\nRUN true\n", "VOLUME /workspace"),
    ];
    for (steps, what) in rows {
        let source = source(&format!("FROM $BASE\n{steps}"), &CONTEXT);
        let mut executor = Executor::new(Isolation::Container, source.path());
        let build = executor.volume("/workspace").only_layout().run().expect(71);
        let told = format!("RUN would not see {what} in container isolation: this container has /workspace of its own");
        assert!(build.stderr.contains(&told) && build.stderr.contains("--context=/context"), "{}", build.stderr);
        assert!(build.stderr.contains("Dockerfile:2"), "{}", build.stderr);
        assert!(build.results().is_empty(), "{:?}", build.results());
    }
    // What comes after the last RUN is in nobody's way, and a context that is mounted elsewhere neither.
    let after = source("FROM $BASE\nRUN true\nWORKDIR /workspace\nCOPY main.go .\n", &CONTEXT);
    let build = Executor::new(Isolation::Container, after.path()).only_layout().run().expect(0);
    assert!(listing(&build).contains("/workspace/main.go"));
    let elsewhere = source("FROM $BASE\nWORKDIR /workspace\nCOPY main.go .\nRUN cp main.go copied\n", &CONTEXT);
    let mut executor = Executor::new(Isolation::Container, elsewhere.path());
    let build = executor.volume("/context").only_layout().run().expect(0);
    assert!(listing(&build).contains("/workspace/copied"));
}

#[test]
fn what_only_a_layer_tells_makes_the_build_begin_again() {
    if !Isolation::Container.allowed("pod volumes: layers") {
        return;
    }
    let rows = [
        // A file of the base, what a directory brings, a link of the image, the home of a user.
        (
            "--tmpfs=/usr/share",
            "RUN echo below > /usr/share/x && echo first > /first\nCOPY usr/ /usr/\nRUN cat /usr/share/file /first > /seen",
        ),
        ("--tmpfs=/data", "COPY . /\nRUN cat /data/file > /seen"),
        ("--tmpfs=/data", "RUN ln -s /data /away\nWORKDIR /away/below\nRUN pwd > /seen"),
        ("--tmpfs=/home/alice/agent", "USER alice\nRUN echo home > ~/seen"),
    ];
    for (number, (mount, steps)) in rows.into_iter().enumerate() {
        let source =
            source(&format!("FROM $BASE\n{steps}\n"), &[("data/file", "data\n"), ("usr/share/file", "share\n")]);
        let mut pod = Pod::plain();
        pod.add(&[mount]);
        // With a root of its own RUN sees the image's files.
        let build = Executor::in_pod(Isolation::Auto, pod.clone(), source.path()).only_layout().run().expect(0);
        assert!(build.stderr.contains("isolation mediated: ") && listing(&build).contains("/seen"), "{number}");
        pod.without_call("ptrace");
        let build = Executor::in_pod(Isolation::Auto, pod, source.path()).only_layout().run();
        if number == 0 {
            // RUN has written there before anything could be known.
            let build = build.expect(71);
            assert!(build.stderr.contains("RUN has changed /usr/share/x, in the volume"), "{}", build.stderr);
            continue;
        }
        let build = build.expect(0);
        assert!(build.stderr.contains("isolation chroot: RUN would not see "), "{number}: {}", build.stderr);
        assert!(listing(&build).contains("/seen"), "{number}");
    }
}

#[test]
fn what_run_writes_into_a_volume_fails_the_build_by_name() {
    if !Isolation::Container.allowed("pod volumes: written") {
        return;
    }
    let volumes = Scratch::new("volumes");
    let volume = volumes.directory("data");
    fs::write(volume.join("old"), "old").expect("writes");
    let run = |steps: &str, script: &str| {
        let source = source(&format!("FROM $BASE\n{steps}\n"), &CONTEXT);
        let mut pod = Pod::plain();
        pod.mount_writable(&volume, "/data");
        Executor::in_pod(Isolation::Container, pod, source.path()).only_layout().run_script(script)
    };
    let plain = "exec /kaniko/executor \"$@\"";
    for (steps, path) in [
        ("RUN mkdir -p /data/sub && echo x > /data/sub/file", "/data/sub"),
        ("RUN rm /data/old", "/data"),
        ("RUN sleep 0.1; chmod 0700 /data/sub/file", "/data/sub/file"),
    ] {
        let build = run(steps, plain).expect(71);
        let told = format!("RUN has changed {path}");
        assert!(build.stderr.contains(&told) && build.stderr.contains("mounted at /data"), "{steps}: {}", build.stderr);
        assert!(build.stderr.contains("--ignore-path=/data"), "{steps}: {}", build.stderr);
    }
    // A file that is gone in the end, the executor's log and what others write there before are no losses.
    let steps =
        "RUN touch /data/temporary && rm /data/temporary && echo ran > /ran\nRUN sleep 0.1 && echo again > /ran";
    let build = run(steps, "exec /kaniko/executor \"$@\" > /data/log 2>&1").expect(0);
    assert!(listing(&build).contains("/ran"));
}

#[test]
fn what_another_program_of_the_task_logs_into_a_volume_is_not_runs() {
    if !Isolation::Container.allowed("pod volumes: log") {
        return;
    }
    let volumes = Scratch::new("volumes");
    let source = source("FROM $BASE\nRUN echo chatty\nRUN echo more && echo ran > /ran\n", &[]);
    let mut pod = Pod::plain();
    pod.mount_writable(&volumes.directory("log"), "/log-of-argo");
    // As Argo's emissary does, which reads what the executor prints.
    let script = "set -o pipefail; /kaniko/executor \"$@\" 2>&1 | /busybox/busybox tee -a /log-of-argo/combined";
    let build = Executor::in_pod(Isolation::Container, pod, source.path()).only_layout().run_script(script).expect(0);
    assert!(listing(&build).contains("/ran"));
    assert!(fs::read_to_string(volumes.join("log/combined")).expect("reads").contains("chatty"));
}

#[test]
fn a_run_that_fails_is_told_what_the_isolation_lacks() {
    if !Isolation::Container.allowed("pod volumes: hints") {
        return;
    }
    let volumes = Scratch::new("volumes");
    let run = |steps: &str| {
        let source = source(&format!("FROM $BASE\n{steps}\n"), &CONTEXT);
        let pod = Pod::of(System::Tekton, &volumes).without_call("ptrace");
        Executor::in_pod(Isolation::Auto, pod, source.path()).only_layout().run().expect(1)
    };
    fs::write(volumes.directory("var/run/secrets/kubernetes.io/serviceaccount").join("token"), "t").expect("writes");
    let build = run("WORKDIR /workspace\nRUN ls /proc/self/exe");
    assert!(build.stderr.contains("RUN has no /proc and no /sys in chroot isolation"), "{}", build.stderr);
    assert!(build.stderr.contains("--context=/context"), "{}", build.stderr);
    let build = run("RUN chown -R alice /var/run/");
    let account = "/var/run/secrets/kubernetes.io/serviceaccount is mounted in this container";
    assert!(build.stderr.contains(account), "{}", build.stderr);
}

#[test]
fn what_run_writes_to_the_files_of_the_pod_ends_with_it_as_in_any_isolation() {
    if !Isolation::Container.allowed("pod volumes: files") || !Isolation::Namespace.allowed("pod volumes: files") {
        return;
    }
    let dockerfile = "FROM $BASE
RUN echo nameserver 9.9.9.9 > /etc/resolv.conf; echo 1.2.3.4 myhost >> /etc/hosts; echo foo > /etc/hostname; chmod 600 /etc/hosts
RUN grep -c myhost /etc/hosts > /seen; grep -c 9.9.9.9 /etc/resolv.conf >> /seen; cat /etc/hostname >> /seen; true
RUN echo bar >> /etc/hostname && chmod 640 /etc/hostname
";
    let source = source(dockerfile, &[]);
    let expected = listing(&Executor::new(Isolation::Namespace, source.path()).only_layout().run().expect(0));
    assert!(expected.contains("/etc/hostname file 0640 0:0 \"foo\\nbar\\n\""), "{expected}");
    let look = "for file in resolv.conf hosts hostname; do \
                /busybox/busybox cat /etc/$file; /busybox/busybox stat -c '%a %u:%g %s %Y' /etc/$file; done";
    let script =
        format!("({look}) > /step-results/before; /kaniko/executor \"$@\" || exit; ({look}) > /step-results/after");
    let build = Executor::new(Isolation::Container, source.path()).only_layout().run_script(&script).expect(0);
    assert_eq!(difference(&expected, &listing(&build)), "", "{}", build.stderr);
    let before = build.result("before").expect("it was written");
    assert!(before.contains("localhost"), "{before}");
    assert_eq!(Some(before), build.result("after"));
}
