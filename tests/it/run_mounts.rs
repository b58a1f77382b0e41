//! What RUN gets for itself alone: secrets, agents, caches; and that none of it is found afterwards.

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::executor::{Build, Executor};
use crate::support::git::{self, Sshd};
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::Pod;
use crate::support::process::{self, SHORT, processes_with, wait_until};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::source::source;

const SECRET: &str = "hush-4f1d9a";
const STARTED: Duration = Duration::from_secs(60);

/// Runs a build in each isolation that is allowed here.
fn each(what: &str, dockerfile: &str, check: impl Fn(Isolation, &mut Executor)) {
    for isolation in Isolation::ALL {
        if isolation.allowed(what) {
            let source = source(dockerfile, &[("file", "content\n")]);
            let mut executor = Executor::new(isolation, source.path());
            executor.only_layout();
            check(isolation, &mut executor);
        }
    }
}

/// Returns the line of a file of the image, which ends with its content.
fn content(build: &Build, path: &str) -> String {
    let image = build.image();
    image.verify();
    let listing = Listing::of(&image);
    listing.0.get(path).unwrap_or_else(|| panic!("{path} is not there")).text.clone()
}

/// Panics when a layer of the image, or a result beside it, holds the secret.
fn not_delivered(build: &Build, secret: &str, what: &str) {
    nowhere_in(&build.path(""), secret, what);
    let image = build.image();
    for layer in 0..image.layers.len() {
        let mut bytes = Vec::new();
        image.open(layer).read_to_end(&mut bytes).expect("reads");
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{what}: layer {layer} holds the secret");
    }
}

/// Panics when a file below the directory holds the secret.
fn nowhere_in(directory: &Path, secret: &str, what: &str) {
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if metadata.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{what}: {} holds the secret", path.display());
        }
    }
}

#[test]
fn a_secret_is_there_for_its_run_and_nowhere_else() {
    let dockerfile = "FROM $BASE
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN \\
    wc -c < /run/secrets/file > /lengths && echo ${#TOKEN} >> /lengths && stat -c '%a %u:%g' /run/secrets/file >> /lengths
RUN --mount=type=secret,id=file,target=/etc/deep/er/key,mode=0440,uid=12,gid=34 stat -c '%a %u:%g' /etc/deep/er/key >> /lengths
RUN --mount=type=secret,id=file,target=key,env=KEY cd / && test \"$(cat key)\" = \"$KEY\" && echo same >> /lengths
RUN find / -name file -path '*secrets*' 2>/dev/null > /found; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | \\
    grep -c hush-4 > /environments; test ! -e /etc/deep; test -z \"$TOKEN$KEY\"
";
    each("secrets", dockerfile, |isolation, executor| {
        let file = executor.credential("secret", SECRET);
        executor.add(&[&format!("--secret=id=file,src={file}"), "--secret=id=variable,env=THE_SECRET"]);
        executor.env("THE_SECRET", SECRET);
        let build = executor.run().expect(0);
        let length = SECRET.len();
        let expected = format!("{length}\n{length}\n400 0:0\n440 12:34\nsame\n");
        assert!(content(&build, "/lengths").contains(&format!("{expected:?}")), "{}", content(&build, "/lengths"));
        assert!(!content(&build, "/found").contains("secrets"), "{}", isolation.name());
        // In a container the executor itself, with its environment, is one of the processes that are seen.
        if isolation == Isolation::Namespace {
            assert!(content(&build, "/environments").contains("\"0\\n\""), "a later RUN sees the secret");
        }
        let listing = format!("{:?}", Listing::of(&build.image()));
        assert!(!listing.contains("/run/secrets") && !listing.contains("/etc/deep"), "{listing}");
        assert!(!build.stderr.contains(SECRET), "{}", build.stderr);
        not_delivered(&build, SECRET, isolation.name());
    });
}

#[test]
fn nothing_of_a_secret_is_on_disk_after_a_kill() {
    if !Isolation::Namespace.allowed("secrets: SIGKILL") {
        return;
    }
    let marker = "sleep 41827";
    let dockerfile = format!("FROM $BASE\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null && {marker}\n");
    let source = source(&dockerfile, &[]);
    let scratch = Scratch::new("killed");
    let state = scratch.directory("state");
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().env("THE_SECRET", SECRET);
    executor.add(&["--secret=id=s,env=THE_SECRET", &format!("--state-dir={}", state.display())]);
    let ongoing = executor.start();
    let begun = || processes_with(marker).iter().any(|line| line.contains(&format!(" {marker}")));
    assert!(wait_until(STARTED, begun), "the RUN did not start: {}", ongoing.finish().stderr);
    nowhere_in(&state, SECRET, "while it runs");
    ongoing.signal(Signal::KILL);
    assert!(wait_until(STARTED, || processes_with(marker).is_empty()), "the RUN outlives the executor");
    let files = fs::read_dir(&state).expect("it is there").count();
    assert!(files > 0, "a kill leaves the state, or this test shows nothing");
    nowhere_in(&state, SECRET, "after the kill");
}

/// Kills the build in its RUN, builds again in the same container, and looks for the secret everywhere.
const KILL: &str = r#"
/kaniko/executor "$@" --build-arg=SLEEP=1000 & pid=$!
until [ -e /started ]; do [ -d /proc/$pid ] || exit 8; done
kill -9 $pid; wait $pid
/kaniko/executor "$@" --build-arg=SLEEP=0 || exit 9
for place in /*; do
    case $place in /proc|/sys|/dev|/step-credentials) ;; *) /busybox/busybox grep -rl "$NEEDLE" $place ;; esac
done
echo searched
"#;

#[test]
fn the_next_start_removes_what_a_killed_build_left_of_a_secret() {
    if !Isolation::Container.allowed("secrets: SIGKILL") {
        return;
    }
    let dockerfile = "FROM $BASE\nARG SLEEP\nRUN --mount=type=secret,id=s --mount=type=cache,target=/c \\\n    \
                      cp /run/secrets/s /c/copy; cp /c/copy /copied; touch /started; sleep $SLEEP; rm /copied\n";
    let source = source(dockerfile, &[]);
    let mut executor = Executor::new(Isolation::Container, source.path());
    let file = executor.credential("secret", SECRET);
    executor.only_layout().add(&[&format!("--secret=id=s,src={file}")]).env("NEEDLE", SECRET);
    let build = executor.run_script(KILL).expect(0);
    assert_eq!(build.stdout, "searched\n", "{}", build.stderr);
}

#[test]
fn secrets_that_cannot_be_read_are_refused_at_the_start() {
    if !Isolation::Namespace.allowed("secrets: refused") {
        return;
    }
    let source = source("FROM $BASE\nRUN true\n", &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.only_layout().add(&["--secret=id=a,src=/nonexistent/secret"]).run().expect(72);
    assert!(build.stderr.contains("cannot read the secret a from /nonexistent/secret"), "{}", build.stderr);
}

#[test]
fn an_agents_socket_is_there_for_its_run() {
    // That it answers, and what it does not pass on, is tested where it is made: the base has no client.
    let dockerfile = "FROM $BASE
RUN --mount=type=ssh,required stat -c '%a %F' $SSH_AUTH_SOCK > /socket && echo $SSH_AUTH_SOCK >> /socket
RUN --mount=type=ssh,id=other,mode=0666,uid=5,target=/tmp/agent stat -c '%a %u' /tmp/agent >> /socket
RUN test ! -e /run/buildkit && test ! -e /tmp/agent
";
    let scratch = Scratch::new("agent");
    let path = scratch.path().join("socket");
    let _listener = UnixListener::bind(&path).expect("a socket");
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("agents")) {
        let source = source(dockerfile, &[]);
        let mut pod = Pod::plain();
        pod.mount(scratch.path(), "/agent-of-the-step");
        let (mut executor, socket) = match isolation {
            Isolation::Namespace => (Executor::new(isolation, source.path()), path.display().to_string()),
            _ => (Executor::in_pod(isolation, pod, source.path()), "/agent-of-the-step/socket".to_owned()),
        };
        executor.only_layout().env("SSH_AUTH_SOCK", &socket);
        let build = executor.add(&["--ssh=default", &format!("--ssh=other={socket}")]).run().expect(0);
        let socket = content(&build, "/socket");
        assert!(socket.contains("600 socket\\n/run/buildkit/ssh_agent.0\\n666 5\\n"), "{}: {socket}", isolation.name());
    }
}

/// Puts a program of this machine, with all that it loads, below a directory.
fn bring(program: &str, root: &Path) {
    let script = "cp --parents -L \"$1\" \"$2\"; ldd \"$1\" | grep -o '/[^ ]*' | while read -r file; do cp --parents -L $file \"$2\"; done";
    let mut command = Command::new("sh");
    process::run(command.args(["-euc", script, "sh", program]).arg(root), SHORT).success();
}

#[test]
fn keys_from_files_open_a_server_and_are_not_seen() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(reason) => return skips::skip("keys of --ssh", &reason),
    };
    let origin = Scratch::new("origin");
    git::script(origin.path(), "git init -q -b master .; echo cloned > file; git add .; git commit -qm one");
    let kinds = [("ed25519", sshd.key()), ("rsa", sshd.add_key("rsa")), ("ecdsa", sshd.add_key("ecdsa"))];
    let rows = [(Isolation::Namespace, 3), (Isolation::Container, 1), (Isolation::Chroot, 1)];
    for (isolation, count) in rows.into_iter().filter(|(isolation, _)| isolation.allowed("keys of --ssh")) {
        for (kind, key) in &kinds[..count] {
            let url = format!("ssh://root@127.0.0.1:{}{}", sshd.port, origin.path().display());
            let dockerfile = format!(
                "FROM $BASE\nCOPY root/ /\nCOPY known /known\nADD {url}/.git#master /added\nRUN --mount=type=ssh \
                 export GIT_SSH_COMMAND='ssh -o UserKnownHostsFile=/known -o IdentityFile=none'; git clone -q {url} \
                 /clone && cat /clone/file /added/file > /seen\nRUN test ! -S /run/buildkit/ssh_agent.0\n"
            );
            let source = source(&dockerfile, &[("known", &sshd.known())]);
            let root = source.join("context/root");
            fs::create_dir(&root).expect("makes");
            ["/usr/bin/git", "/usr/bin/ssh"].iter().for_each(|program| bring(program, &root));
            let mut executor = Executor::new(isolation, source.path());
            let file = executor.credential("key", key);
            executor.credential(".ssh/known_hosts", sshd.known());
            let build = executor.at_home().only_layout().add(&[&format!("--ssh=default={file}")]).run().expect(0);
            let seen = content(&build, "/seen");
            assert!(seen.contains("cloned\\ncloned"), "{kind} in {}: {seen}", isolation.name());
            let text = String::from_utf8_lossy(key);
            let line = text.lines().nth(2).expect("it has lines");
            not_delivered(&build, line, isolation.name());
        }
    }
}

#[test]
fn keys_that_cannot_be_used_say_what_to_do() {
    if !Isolation::Namespace.allowed("keys of --ssh: refused") {
        return;
    }
    let scratch = Scratch::new("keys");
    let script = "ssh-keygen -q -t ed25519 -N secret -f locked; ssh-keygen -q -t rsa -m PEM -N '' -f old";
    process::run(Command::new("sh").args(["-euc", script]).current_dir(scratch.path()), SHORT).success();
    for (name, text) in [("locked", "ssh-add"), ("old", "ssh-keygen -p"), ("none", "No such file")] {
        let source = source("FROM $BASE\nRUN true\n", &[]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let key = format!("--ssh=id={}", scratch.join(name).display());
        let build = executor.only_layout().add(&[&key]).run().expect(72);
        assert!(build.stderr.contains("--ssh id: ") && build.stderr.contains(text), "{}", build.stderr);
    }
}

/// Appends to a file in small pieces, and fails when somebody else does so meanwhile.
const APPEND: &str = "for i in 1 2 3 4 5 6 7 8 9 10; do \\
    n=$(cat /c/count 2>/dev/null || echo 0); sleep 0.05; echo $((n + 1)) > /c/count; done";

#[test]
fn builds_that_lock_a_cache_wait_for_each_other() {
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache mounts: locked")) {
        let scratch = Scratch::new("caches");
        let caches = scratch.directory("caches");
        let dockerfile = format!(
            "FROM $BASE\nARG N\nRUN --mount=type=cache,id=count,target=/c,sharing=locked {APPEND}; cp /c/count /count\n"
        );
        let builds = two_at_a_time(isolation, &caches, &dockerfile);
        let mut counts: Vec<String> = builds.iter().map(|build| content(build, "/count")).collect();
        counts.sort();
        assert!(counts[0].contains("10\\n") && counts[1].contains("20\\n"), "{}: {counts:?}", isolation.name());
        let kept = walk(&caches);
        assert!(kept.iter().any(|path| path.ends_with("count")), "{kept:?}");
        assert!(!kept.iter().any(|path| path.contains("-new-") || path.contains("-old-")), "{kept:?}");
    }
}

/// Starts two builds of a Dockerfile at a time, with `N` 0 and 1, which have a directory of caches in common.
fn two_at_a_time(isolation: Isolation, caches: &Path, dockerfile: &str) -> Vec<Build> {
    let source = source(dockerfile, &[]);
    let start = |number: usize| {
        let (mut executor, directory) = with_caches(isolation, caches, source.path());
        executor.add(&[&format!("--cache-mounts={directory}"), &format!("--build-arg=N={number}")]);
        executor.only_layout().start()
    };
    let ongoing: Vec<_> = (0..2).map(start).collect();
    ongoing.into_iter().map(|build| build.finish().expect(0)).collect()
}

#[test]
fn builds_that_share_a_cache_keep_what_each_has_put_there() {
    let write = "FROM $BASE\nARG N\nRUN --mount=type=cache,id=s,target=/c for i in $(seq 100); do \\
                 echo $N > /c/$N-$i && mv /c/$N-$i /c/done-$N-$i; done; cat /c/done-$N-* | sort | uniq -c > /seen\n";
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache mounts: shared")) {
        let scratch = Scratch::new("caches");
        let caches = scratch.directory("caches");
        for (number, build) in two_at_a_time(isolation, &caches, write).iter().enumerate() {
            let seen = content(build, "/seen");
            assert!(seen.contains(&format!("100 {number}\\n")), "{}: {seen}", isolation.name());
        }
        let kept = walk(&caches).iter().filter(|path| path.contains("/data-0/done-")).count();
        assert_eq!(kept, 200, "{}: nothing of either is lost", isolation.name());
    }
}

#[test]
fn builds_with_a_private_cache_do_not_see_each_other() {
    // They meet in a shared one, so that both surely run at the same time; elsewhere those who share take turns.
    let meet = "FROM $BASE\nARG N\nRUN --mount=type=cache,id=p,target=/p,sharing=private \\
                --mount=type=cache,id=meet,target=/meet touch /p/$N /meet/$N; i=0; \\
                until [ -e /meet/0 ] && [ -e /meet/1 ] || [ $i = 300 ]; do sleep 0.1; i=$((i + 1)); done; \\
                ls /p > /seen; ls /meet >> /seen\n";
    for isolation in [Isolation::Namespace].into_iter().filter(|isolation| isolation.allowed("cache mounts: private")) {
        let scratch = Scratch::new("caches");
        let caches = scratch.directory("caches");
        for (number, build) in two_at_a_time(isolation, &caches, meet).iter().enumerate() {
            let seen = content(build, "/seen");
            assert!(seen.contains(&format!("\"{number}\\n0\\n1\\n\"")), "{}: {seen}", isolation.name());
        }
        let instances = walk(&caches).iter().filter(|path| path.ends_with("data-1")).count();
        assert_eq!(instances, 1, "{}", isolation.name());
    }
}

/// Prepares a build that finds the directory of caches, in a pod as a volume; returns its name there.
fn with_caches(isolation: Isolation, caches: &Path, source: &Path) -> (Executor, String) {
    if isolation == Isolation::Namespace {
        return (Executor::new(isolation, source), caches.display().to_string());
    }
    let mut pod = Pod::plain();
    pod.mount_writable(caches, "/caches-of-the-team");
    (Executor::in_pod(isolation, pod, source), "/caches-of-the-team".to_owned())
}

fn walk(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        found.push(path.display().to_string());
    }
    found
}

#[test]
fn a_cache_lasts_and_is_kept_small() {
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache mounts: last")) {
        let scratch = Scratch::new("caches");
        let caches = scratch.directory("caches");
        let run = |dockerfile: &str, flags: &[&str]| {
            let source = source(dockerfile, &[]);
            let (mut executor, directory) = with_caches(isolation, &caches, source.path());
            executor.add(&[&format!("--cache-mounts={directory}")]).add(flags);
            executor.only_layout().run().expect(0)
        };
        let write = "FROM $BASE\nRUN --mount=type=cache,target=/c yes | head -c 3000000 > /c/large && \\
                     ln /c/large /c/second && ln -s large /c/link && chown 7:8 /c/large && mkdir /c/directory\n";
        run(write, &[]);
        let read = "FROM $BASE\nRUN --mount=type=cache,target=/c stat -c '%s %h %u:%g' /c/large > /seen; \\
                    readlink /c/link >> /seen; rm -r /c/directory; ls /c >> /seen\n";
        let seen = content(&run(read, &[]), "/seen");
        // The disk of such a pod cannot say it, and the table is the build's.
        let owner = if isolation == Isolation::Mediated { "0:0" } else { "7:8" };
        let expected = format!("3000000 2 {owner}\\nlarge\\nlarge\\nlink\\nsecond\\n");
        assert!(seen.contains(&expected), "{}: {seen}", isolation.name());
        let other = "FROM $BASE\nRUN --mount=type=cache,id=b,target=/c,sharing=private echo small > /c/file\n";
        let build = run(other, &["--cache-mounts-max-size=1M"]);
        assert!(build.stderr.contains("removed 1 cache mount"), "{}: {}", isolation.name(), build.stderr);
        let left = walk(&caches);
        assert!(!left.iter().any(|path| path.ends_with("large")), "{left:?}");
        assert!(left.iter().any(|path| path.ends_with("data-0/file")), "{left:?}");
    }
}

#[test]
fn a_cache_shares_no_file_with_the_image() {
    // What uv does, and what copies it where it cannot link; `rm` empties a mount, and would not remove it.
    let dockerfile = "FROM $BASE
RUN --mount=type=cache,id=k,target=/c echo v1 > /c/f; ln /c/f /app 2>/dev/null || cp /c/f /app; ln /c/f /c/g; ln /bin/busybox /c/b || true
RUN --mount=type=cache,id=k,target=/c echo v2 > /c/f; chown 1234 /c/f; chmod 600 /c/f; test ! -e /c/b || chmod 4700 /c/b
RUN echo patched >> /app
RUN --mount=type=cache,id=k,target=/c rm -f /c/b; stat -c '%a %u %h' /c/f > /seen && cat /c/g >> /seen && \\
    test -d /c -a ! -L /c && find /c -type f | wc -l >> /seen && cp -a /c /out && cd /c && pwd -P >> /seen && cd / && rm -rf /c 2>/dev/null; mkdir -p /c
RUN --mount=type=cache,id=k,target=/c ls -A /c | wc -l >> /seen
";
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache mounts: apart")) {
        for lasts in [false, true] {
            let (source, scratch) = (source(dockerfile, &[]), Scratch::new("caches"));
            let (mut executor, directory) = with_caches(isolation, &scratch.directory("caches"), source.path());
            if lasts {
                executor.add(&[&format!("--cache-mounts={directory}")]);
            }
            let build = executor.only_layout().run().expect(0);
            let what = format!("{}, lasting: {lasts}", isolation.name());
            let app = content(&build, "/app");
            assert_eq!(app, "file 0644 0:0 \"v1\\npatched\\n\"", "{what}");
            assert!(
                content(&build, "/seen").contains("\"600 1234 2\\nv2\\n2\\n/c\\n0\\n\""),
                "{what}: {}",
                content(&build, "/seen")
            );
            assert!(content(&build, "/out/f").contains("1234:0"), "{what}");
            let listing = Listing::of(&build.image());
            assert!(
                listing.0["/bin/busybox"].text.starts_with("file 0755 0:0"),
                "{what}: {}",
                listing.0["/bin/busybox"].text
            );
        }
    }
}

#[test]
fn what_stands_for_a_mount_cannot_be_moved_into_the_image() {
    for (mount, command, target) in [
        ("type=cache", "mv /c /d", "/c"),
        ("type=tmpfs", "echo t > /c/t && mv /c /d", "/c"),
        ("type=secret,id=s", "mv /c /leak", "/c"),
        ("type=secret,id=s", "ln /c /leak", "/c"),
    ] {
        let dockerfile = format!("FROM $BASE\nRUN --mount={mount},target={target} {command}\n");
        each("mounts that are moved", &dockerfile, |isolation, executor| {
            let file = executor.credential("secret", SECRET);
            // Where it is a mount, or as good as one, it is busy.
            let is_mount = matches!(isolation, Isolation::Namespace | Isolation::Mediated);
            let code = if is_mount { 1 } else { 76 };
            let build = executor.add(&[&format!("--secret=id=s,src={file}")]).run().expect(code);
            let is_told = build.stderr.contains(&format!("{target}, which is a mount"));
            assert!(is_told || is_mount, "{}: {}", isolation.name(), build.stderr);
        });
    }
}

#[test]
fn links_that_run_leaves_lead_no_mount_astray() {
    // A cache that was replaced by a link begins anew, and what the link leads to stays where it is.
    let replaced = "FROM $BASE
RUN mkdir /victim && echo precious > /victim/file
RUN --mount=type=cache,id=a,target=/c rm -rf /c 2>/dev/null; ln -s /victim /c 2>/dev/null; true
RUN --mount=type=cache,id=a,target=/d echo ours > /d/file && cat /victim/file > /seen
";
    each("lent caches", replaced, |isolation, executor| {
        let build = executor.run().expect(0);
        assert!(content(&build, "/seen").contains("precious"), "{}", isolation.name());
        assert!(content(&build, "/victim/file").contains("precious"), "{}", isolation.name());
    });
    // In a container, what is mounted there must not be moved away by way of a link.
    if Isolation::Container.allowed("mounts through links") {
        let dockerfile = "FROM $BASE\nRUN ln -s / /up\nRUN --mount=type=tmpfs,target=/up/volume true\n";
        let source = source(dockerfile, &[]);
        let scratch = Scratch::new("volume");
        let volume = scratch.directory("volume");
        let mut pod = Pod::plain();
        pod.mount_writable(&volume, "/volume/deep");
        let build = Executor::in_pod(Isolation::Container, pod, source.path()).only_layout().run().expect(71);
        assert!(build.stderr.contains("a mount at /up/volume is not possible"), "{}", build.stderr);
    }
}

#[test]
fn hosts_limits_and_shared_memory() {
    let dockerfile = "FROM $BASE\nRUN grep -h given /etc/hosts > /seen || true; ulimit -n >> /seen; \\
                      df -k /dev/shm 2>/dev/null | awk 'NR==2 { print $2 }' >> /seen\n";
    each("hosts and limits", dockerfile, |isolation, executor| {
        executor.add(&["--ulimit=nofile=321:654"]);
        let more = ["--add-host=given.example:10.9.8.7", "--shm-size=8M"];
        if isolation == Isolation::Namespace {
            executor.add(&more);
        }
        let seen = content(&executor.run().expect(0), "/seen");
        assert!(seen.contains("321\\n"), "{}: {seen}", isolation.name());
        if isolation == Isolation::Namespace {
            assert!(seen.contains("10.9.8.7\\tgiven.example\\n321\\n8192\\n"), "{seen}");
        }
    });
    each("hosts: refused", dockerfile, |isolation, executor| {
        let (flag, code) = match isolation {
            Isolation::Namespace | Isolation::Mediated => ("--network=none", 0),
            Isolation::Container => ("--add-host=a=10.0.0.1", 71),
            Isolation::Chroot | Isolation::Auto => ("--shm-size=1M", 71),
        };
        let build = executor.add(&[flag]).run().expect(code);
        assert!(code == 0 || build.stderr.contains("--isolation namespace"), "{}", build.stderr);
    });
}
