//! `mediated` isolation: RUN in pods without any right, what it can do there, and what it cannot reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::Pod;
use crate::support::process::{self, SHORT};
use crate::support::scratch::{self, Scratch};
use crate::support::source::source;

/// Pods of the users that clusters give, all without capabilities, with a read-only or a writable root.
fn pods() -> Vec<(&'static str, Pod)> {
    let of = |user: &str, read_only: bool| {
        let mut pod = Pod::strict();
        pod.add(&[&format!("--user={user}"), "--cap-drop=ALL", "--security-opt=no-new-privileges"]);
        if read_only { pod.add(&["--read-only", "--read-only-tmpfs=false"]) } else { pod }
    };
    vec![
        ("65532:65532, read-only", of("65532:65532", true)),
        ("65532:0", of("65532:0", false)),
        ("1000650000:0, read-only", of("1000650000:0", true)),
        ("1000650000:1000650000", of("1000650000:1000650000", false)),
        ("root", Pod::plain()),
    ]
}

/// Builds in a pod, where whoever builds may write the sources.
fn build(pod: Pod, source: &Scratch) -> Build {
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    Executor::in_pod(Isolation::Mediated, pod, source.path()).only_layout().run()
}

#[test]
fn a_hostile_run_stays_in_its_root_whoever_the_pod_is() {
    if !Isolation::Mediated.allowed("mediated: a hostile RUN") {
        return;
    }
    let source =
        source("FROM $BASE\nCOPY --chmod=755 escape /escape\nRUN /escape 4000\nUSER 1000\nRUN /escape 400\n", &[]);
    source.file("context/escape", compiled("escape"));
    for (name, mut pod) in pods() {
        // A socket of somebody else's, and a file, where the pod's user may go.
        let bait = Scratch::new("bait");
        fs::set_permissions(bait.path(), fs::Permissions::from_mode(0o777)).expect("ours");
        let listener = UnixListener::bind(bait.join("bait")).expect("binds");
        let messages = UnixDatagram::bind(bait.join("dgram")).expect("binds");
        for name in ["bait", "dgram"] {
            fs::set_permissions(bait.join(name), fs::Permissions::from_mode(0o777)).expect("ours");
        }
        pod.mount_writable(bait.path(), "/bait");
        let run = build(pod, &source);
        assert!(run.stderr.contains("stays in the root"), "{name}: {}", run.stderr);
        run.expect(0);
        listener.set_nonblocking(true).expect("ours");
        assert!(listener.accept().is_err(), "{name}: a connection left the root");
        messages.set_nonblocking(true).expect("ours");
        assert!(messages.recv(&mut [0]).is_err(), "{name}: a message left the root");
    }
}

#[test]
fn the_image_is_the_same_whoever_the_pod_is() {
    if !Isolation::Mediated.allowed("mediated: pods") || !Isolation::Namespace.allowed("mediated: pods") {
        return;
    }
    let text = "FROM $BASE\nENV SOURCE_DATE_EPOCH=1600000000\n\
        RUN adduser -D -u 1234 joe 2>/dev/null || echo joe:x:1234:1234::/:/bin/sh >>/etc/passwd; mkdir -p /d/e; \
            echo x >/d/f; chown -R 1234:99 /d; chmod 4755 /d/f; mkfifo /d/p; ln /d/f /d/g; ln -s f /d/h; mknod /d/c c 1 3; \
            umask 077; echo y >/d/k; chmod 000 /d/k; mkdir -m 2750 /d/s; touch /d/s/in\n\
        RUN cat /d/k; rm /d/h; mv /d/g /d/moved; chown 7 /d/e\n\
        USER 1234\n\
        RUN id -u; ! cat /d/k 2>/dev/null; echo mine >/d/mine; ! touch /root-only 2>/dev/null; test ! -w /etc/passwd\n";
    let source = source(text, &[]);
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let lines = |build: &Build| {
        let listing = Listing::of(&build.image());
        listing.changes_from(&Listing::default())
    };
    let expected = lines(&Executor::new(Isolation::Namespace, source.path()).only_layout().run().expect(0));
    for (name, pod) in pods() {
        let found = lines(&build(pod, &source).expect(0));
        assert!(found.contains("/d/moved file 4755 1234:99"), "{name}: {found}");
        assert!(found.contains("/d/c ") && found.contains("/d/mine file 0644 1234:1234"), "{name}: {found}");
        assert_eq!(expected, found, "{name}");
    }
}

/// The supervisor keeps what it has found out about a path until something changes that it rests on.
#[test]
fn a_path_that_was_looked_at_may_become_another() {
    if !Isolation::Mediated.allowed("mediated: paths that change") {
        return;
    }
    let text = "FROM $BASE\nRUN set -e; mkdir -p /a/b /c; echo 1 >/a/b/f; ln -s /a/b /a/s; \
        none() { test ! -e $1; test ! -L $1; test -z \"$(readlink $1)$(cat $1 2>/dev/null)\"; }; \
        file() { test ! -L $1; test -z \"$(readlink $1; readlink $1)\"; cat $1; }; \
        file /a/b/f; file /a/s/f; rm /a/b/f; none /a/b/f; none /a/s/f; \
        ln -s /c /a/b/f; readlink /a/b/f; readlink /a/s/f; rm /a/s; none /a/s/f; \
        ln -s /c /a/s; none /a/s/f; echo 2 >/c/f; file /a/s/f; mv /c /d; none /a/s/f; none /c/f; file /d/f; \
        none /n/m/f; mkdir -p /n/m; none /n/m/f; echo 3 >/n/m/f; file /n/m/f; mv /d/f /n/m/f; file /n/m/f; \
        none /a/l; ln /n/m/f /a/l; file /a/l; none /e; mkfifo /e; test -p /e; rm /e; none /e; mkdir /e; \
        (cd /e; none f; echo 4 >f; file f; file /e/f; rm f; none f); rmdir /e; none /e/f; none /e; \
        ln -s /n/m /e; file /e/f; mkdir /g /h; echo 5 >/g/f; ln -s z /h/f; ln -s /g /t; file /t/f; rm /t; \
        ln -s /h /t; test \"$(readlink /t/f)\" = z; rm /t; ln -s /g /t; file /t/f; mv /g /i; mv /h /g; \
        test \"$(readlink /t/f)\" = z\n";
    let source = source(text, &[]);
    build(Pod::restricted(), &source).expect(0);
}

#[test]
fn proc_shows_run_its_own_processes() {
    if !Isolation::Mediated.allowed("mediated: /proc") {
        return;
    }
    let text = "FROM $BASE\nRUN set -e; \
        test \"$(cat /proc/self/comm)\" = cat; test \"$(readlink /proc/self/exe)\" != ''; \
        grep -q '^Uid:.0.0.0.0$' /proc/self/status; ! grep -q /state /proc/self/maps /proc/self/mounts; \
        for p in /proc/[0-9]*; do ! grep -q executor $p/cmdline; done; \
        test \"$(readlink /proc/self/cwd)\" = /; ls /proc/self/fd >/dev/null; echo to-stderr >/dev/stderr; \
        test -c /dev/null; echo x >/dev/null; head -c 4 /dev/urandom | wc -c | grep -q 4; \
        ! cat /proc/1/environ 2>/dev/null; test -d /sys/class; ls /sys >/dev/null; (sleep 100 &) ; echo ok\n\
        USER 1000\nRUN echo to-stdout >/dev/stdout; grep -q '^Uid:.1000.1000' /proc/self/status\n";
    let source = source(text, &[]);
    let run = build(Pod::restricted(), &source).expect(0);
    assert!(run.stdout.contains("to-stdout") || run.stderr.contains("to-stdout"), "{}{}", run.stdout, run.stderr);
}

/// Compiles a program of the test tree; a linker is there, since this test was linked.
pub(crate) fn compiled(name: &str) -> Vec<u8> {
    let scratch = Scratch::new(name);
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support").join(format!("{name}.c"));
    let mut command = Command::new("cc");
    command.args(["-static", "-O1", "-Wall", "-pthread", "-o"]).arg(scratch.join(name)).arg(text);
    process::run(&mut command, SHORT).success();
    fs::read(scratch.join(name)).expect("it was made")
}

/// debootstrap does so in RUN. A pod without CAP_SYS_CHROOT has a profile that refuses the call before anybody is asked.
#[test]
fn a_run_changes_its_root() {
    let text = "FROM $BASE\nRUN mkdir -p /r/bin /r/d && cp /bin/busybox /r/bin/ && ln -s busybox /r/bin/sh && \
        ln -s /d /r/to-d && ln -s ../../../bin /r/d/up && \
        chroot /r /bin/sh -c 'pwd; cd /d; pwd; cd ../..; pwd; cd /to-d; pwd -P; test ! -e /etc/passwd; test -e /d/up/busybox; \
            echo x >/to-d/made; cd /; test ! -e ../etc/passwd; exec /bin/busybox chroot . /bin/busybox true' | tr '\\n' ' ' >/told\n\
        USER 1000\nRUN ! chroot /r /bin/sh -c true\n";
    let source = source(text, &[]);
    let [expected, found] = [Isolation::Container, Isolation::Mediated].map(|isolation| {
        let mut executor = Executor::in_pod(isolation, Pod::plain(), source.path());
        isolation.allowed("mediated: chroot").then(|| {
            let build = executor.only_layout().run().expect(0);
            Listing::of(&build.image()).changes_from(&Listing::default())
        })
    });
    assert_eq!(expected, found);
    assert!(found.is_none_or(|found| found.contains("/told file") && found.contains("\"/ /d / /d \"")), "{expected:?}");
}

#[test]
fn a_run_that_fails_is_told_which_calls_were_refused() {
    if !Isolation::Mediated.allowed("mediated: refused calls") {
        return;
    }
    let source = source("FROM $BASE\nCOPY --chmod=755 traces /traces\nRUN /traces\n", &[]);
    source.file("context/traces", compiled("traces"));
    let run = build(Pod::restricted(), &source).expect(1);
    // The pod's own profile refuses others before the supervisor is asked.
    let told = run.stderr.lines().find(|line| line.contains("mediated isolation has refused"));
    assert!(told.is_some_and(|told| told.contains("ptrace (")), "{}", run.stderr);
}

/// `YADOKARI_TEST_SEEDS=100..200` makes those sequences instead of the few that every run of the suite makes.
#[test]
fn random_calls_give_what_the_kernel_gives() {
    // `chroot` isolation has no /proc.
    let isolations = [Isolation::Container, Isolation::Mediated];
    if !isolations.into_iter().all(|isolation| isolation.allowed("mediated: random calls")) {
        return;
    }
    for seed in scratch::seeds(1..6) {
        let text = format!("FROM $BASE\nCOPY --chmod=755 calls /calls\nRUN [\"/calls\", \"{seed}\", \"60\"]\n");
        let source = source(&text, &[]);
        source.file("context/calls", compiled("calls"));
        let [expected, found] = isolations.map(|isolation| {
            let build = Executor::new(isolation, source.path()).only_layout().run().expect(0);
            let lines = build.stdout.lines().chain(build.stderr.lines());
            let lines: Vec<String> = lines.filter_map(|line| line.find("# ").map(|at| line[at..].to_owned())).collect();
            assert!(lines.len() > 600, "seed {seed} in {}: {} calls", isolation.name(), lines.len());
            lines
        });
        let differs = expected.iter().zip(&found).position(|(expected, found)| expected != found);
        if let Some(place) = differs {
            let before = expected[place.saturating_sub(20)..place].join("\n");
            panic!("seed {seed}:\n{before}\nthe kernel: {}\nmediated: {}", expected[place], found[place]);
        }
        assert_eq!(expected.len(), found.len(), "seed {seed}");
    }
}

#[test]
fn sockets_work_as_in_any_container() {
    if !Isolation::Mediated.allowed("mediated: sockets") {
        return;
    }
    let source = source(
        "FROM $BASE\nCOPY --chmod=755 sockets /sockets\nRUN /sockets\nUSER 1000\nRUN cd /tmp && /sockets\n",
        &[],
    );
    source.file("context/sockets", compiled("sockets"));
    for isolation in [Isolation::Namespace, Isolation::Mediated] {
        if isolation.allowed("mediated: sockets") {
            Executor::new(isolation, source.path()).only_layout().run().expect(0);
        }
    }
}

#[test]
fn what_a_pod_lacks_is_named_before_the_build() {
    if !Isolation::Mediated.allowed("mediated: probe") {
        return;
    }
    let source = source("FROM $BASE\nRUN true\n", &[]);
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    for call in ["ptrace", "process_vm_readv", "seccomp"] {
        let mut pod = Pod::strict();
        pod.add(&["--user=65532:65532", "--cap-drop=ALL", "--security-opt=no-new-privileges"]);
        pod.without_call(call);
        let run = build(pod, &source).expect(71);
        for told in ["mediated", call, "seccompProfile"] {
            assert!(run.stderr.contains(told), "{call}: {}", run.stderr);
        }
    }
}
