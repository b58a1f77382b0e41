//! RUNs that look into processes which were there before: the entrypoint of the pod's engine, a shell with secrets.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::source::source;

/// A shell is the first process, and another one starts the executor.
const SCRIPT: &str = "/busybox/sh -c '/kaniko/executor \"$@\"; exit $?' sh \"$@\"; exit $?";

const PRYING: &str = "FROM $BASE
RUN for process in 1 $(ls /proc | grep '^[0-9]'); do \
    [ $process = $$ ] || [ \"$(readlink /proc/$process/exe)\" = /bin/busybox ] || for file in environ mem maps; do \
    ! head -c 1 /proc/$process/$file || exit 9; done; \
    ls /proc/1/root/ /proc/1/cwd/ /proc/1/fd/ 2>/dev/null && exit 10; done; true
RUN ! cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep OF_THE_POD
";

#[test]
fn a_run_looks_into_no_process_that_was_there_before() {
    if !Isolation::Container.allowed("attacks: /proc/1/environ") {
        return;
    }
    let source = source(PRYING, &[]);
    // containerd's capabilities, Podman's, and more than both.
    let podman = || Pod::strict();
    let mut more = Pod::strict();
    more.add(&["--cap-add=SYS_PTRACE"]);
    for pod in [Pod::plain(), podman(), more] {
        let mut executor = Executor::in_pod(Isolation::Container, pod, source.path());
        executor.env("OF_THE_POD", "a secret").only_layout().run_script(SCRIPT).expect(0);
    }
}

#[test]
fn where_no_capability_is_spare_a_warning_says_so() {
    for isolation in [Isolation::Container, Isolation::Chroot] {
        if !isolation.allowed("attacks: no spare capability") {
            continue;
        }
        let mut pod = Pod::strict();
        pod.add(&["--cap-drop=ALL", "--cap-add=CHOWN,DAC_OVERRIDE,FOWNER,SETUID,SETGID,KILL,SYS_CHROOT"]);
        let source = source("FROM $BASE\nRUN true\n", &[]);
        let mut executor = Executor::in_pod(isolation, pod, source.path());
        let build = executor.only_layout().run_script(SCRIPT).expect(0);
        // In a chroot RUN lacks SYS_CHROOT anyway.
        let told = build.stderr.contains("RUN can read the environment and the memory of process");
        assert_eq!(told, isolation == Isolation::Container, "{}", build.stderr);
    }
}

#[test]
fn a_run_with_a_secret_runs_alone_where_others_could_look_into_it() {
    if !Isolation::Chroot.allowed("attacks: secrets among jobs") {
        return;
    }
    let text = "FROM $BASE AS a
RUN --mount=type=secret,id=a,env=A date +%s > /begin && sleep 2 && date +%s > /end
FROM $BASE AS b
RUN date +%s > /begin && sleep 2 && date +%s > /end
FROM $BASE
COPY --from=a /begin /end /a/
COPY --from=b /begin /end /b/
RUN [ $(cat /a/end) -le $(cat /b/begin) ] || [ $(cat /b/end) -le $(cat /a/begin) ]
";
    let source = source(text, &[]);
    let mut executor = Executor::new(Isolation::Chroot, source.path());
    executor.env("A", "a secret").add(&["--jobs=2", "--secret=id=a,env=A"]);
    executor.only_layout().run().expect(0);
}
