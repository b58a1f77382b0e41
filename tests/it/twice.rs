//! Container isolation gives its container back: a shell still works, and a second build is like the first.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
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
