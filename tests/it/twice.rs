//! Container isolation gives its container back: a shell still works, and a second build is like the first.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::{self, Pod};
use crate::support::scratch::Scratch;
use crate::support::source::source;

const DOCKERFILE: &str = "FROM $BASE
RUN echo one > /one && rm -rf /usr /home && mkdir /busybox.of.the.image
COPY file /etc/passwd
FROM $BASE
COPY --from=0 /one /one
RUN rm /bin/vi && echo two > /two && mkdir -p /busybox && echo hidden > /busybox/other
";

/// Lists all of `/` but mounts, the executor's own directory, and what changes by itself (times of directories).
const SCRIPT: &str = r#"
list() {
    find / -xdev \( -path /kaniko -o -path /proc -o -path /dev -o -path /sys \) -prune -o -type d -exec stat -c '%n %F %a %u:%g' {} + |
        sort
    find / -xdev \( -path /kaniko -o -path /proc -o -path /dev -o -path /sys \) -prune -o ! -type d -exec stat -c '%n %F %a %u:%g %s %Y' {} + |
        sort
}
mkdir -p /home/user && echo mine > /home/user/file && ln -s file /home/user/link && chmod 700 /home/user
list > /step-results/before
/kaniko/executor "$@" --digest-file=/step-results/first || exit
list > /step-results/between
echo still here
test "$(cat /home/user/link)" = mine || exit 9
/kaniko/executor "$@" --digest-file=/step-results/second || exit
list > /step-results/after
echo and here
"#;

#[test]
fn a_second_build_in_the_same_container_is_like_the_first() {
    if !Isolation::Container.allowed("twice") {
        return;
    }
    let source = source(DOCKERFILE, &[("file", "root:x:0:0::/root:/bin/sh\n")]);
    let mut executor = Executor::in_pod(Isolation::Container, Pod::plain(), source.path());
    executor.only_layout().env("SOURCE_DATE_EPOCH", "1700000000");
    let build = executor.run_script(SCRIPT).expect(0);
    assert_eq!(build.stdout, "still here\nand here\n");
    let [first, second] = ["first", "second"].map(|name| build.result(name).expect("a digest"));
    assert_eq!(first, second);
    let [before, between, after] = ["before", "between", "after"].map(|name| build.result(name).expect("a list"));
    assert_eq!(crate::support::listing::difference(&before, &between), "");
    assert_eq!(crate::support::listing::difference(&before, &after), "");
}

#[test]
fn a_failed_build_gives_the_container_back_too() {
    if !Isolation::Container.allowed("twice: after a failure") {
        return;
    }
    let source = source("FROM $BASE\nRUN rm -rf /etc/group && exit 9\n", &[]);
    let script = "echo mine > /mine; /kaniko/executor \"$@\"; code=$?; cat /mine; ls /busybox/sh; exit $code";
    let mut executor = Executor::in_pod(Isolation::Container, Pod::plain(), source.path());
    let build = executor.only_layout().run_script(script).expect(9);
    assert_eq!(build.stdout, "mine\n/busybox/sh\n");
}

#[test]
fn a_container_of_many_files_says_that_it_sets_them_aside() {
    if !Isolation::Container.allowed("twice: many files") {
        return;
    }
    let files = Scratch::new("many-files");
    for number in 0..1200 {
        files.file(&format!("usr/lib/d{}/{number}", number % 7), format!("{number}\n"));
    }
    std::fs::hard_link(files.join("usr/lib/d0/0"), files.join("usr/lib/second")).expect("links");
    pod::import(&files, "localhost/many-files:latest");
    let source = source("FROM $BASE\nRUN test ! -e /usr/lib && echo ran > /ran\n", &[]);
    let list = "cd /usr/lib; /busybox/busybox find . -type f -exec /busybox/busybox stat -c '%n %a %h %Y %s' {} + | /busybox/busybox sort";
    let script = format!(
        "({list}) > /step-results/before; /kaniko/executor \"$@\" || exit; ({list}) > /step-results/after; \
         /busybox/busybox cat /usr/lib/d0/1106 /usr/lib/second"
    );
    let mut executor = Executor::in_pod(Isolation::Container, Pod::plain(), source.path());
    let build = executor.image("localhost/many-files:latest").only_layout().run_script(&script).expect(0);
    assert!(build.stderr.contains("setting aside 12"), "{}", build.stderr);
    assert!(build.stderr.contains("files of this container's own image"), "{}", build.stderr);
    assert!(build.stderr.contains("set aside "), "no phase of the summary: {}", build.stderr);
    assert_eq!(build.stdout, "1106\n0\n");
    let [before, after] = ["before", "after"].map(|name| build.result(name).expect("a list"));
    assert!(before.lines().count() > 1200, "{before}");
    assert_eq!(crate::support::listing::difference(&before, &after), "");
}
