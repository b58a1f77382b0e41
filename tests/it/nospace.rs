//! A state directory that is too small: said so, with 74, and no half result.

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::{self, SHORT};
use crate::support::source::source;

fn in_small_state(isolation: Isolation, dockerfile: &str, size: &str) -> Build {
    let source = source(dockerfile, &[]);
    let random = source.join("context/random");
    let mut dd = std::process::Command::new("dd");
    dd.args(["if=/dev/urandom", "bs=1M", "count=16", "status=none"]).arg(format!("of={}", random.display()));
    process::run(&mut dd, SHORT).success();
    let mut pod = Pod::plain();
    pod.add(&[&format!("--tmpfs=/small:size={size},mode=1777")]);
    let mut executor = Executor::in_pod(isolation, pod, source.path());
    executor.only_layout().add(&["--state-dir=/small"]).output("--digest-file", "digest");
    let build = executor.run().expect(74);
    assert!(build.stderr.to_lowercase().contains("no space left"), "{}", build.stderr);
    assert_eq!(build.result("digest"), None);
    build
}

#[test]
fn a_layer_that_does_not_fit() {
    if Isolation::Container.allowed("nospace: layer") {
        let _build = in_small_state(Isolation::Container, "FROM scratch\nCOPY random /random\n", "4m");
    }
}

#[test]
fn a_root_file_system_that_does_not_fit() {
    if Isolation::Chroot.allowed("nospace: root") {
        let build = in_small_state(Isolation::Chroot, "FROM $BASE\nRUN true\n", "1m");
        let warned = build.stderr.find("warning: the files of the base need about").expect("it is known before");
        assert!(warned < build.stderr.find("error: ").expect("an error"), "{}", build.stderr);
        assert!(build.stderr.contains("ephemeral-storage"), "{}", build.stderr);
    }
}

#[test]
fn a_run_that_fills_the_layer_space() {
    if Isolation::Container.allowed("nospace: RUN") {
        let dockerfile = "FROM $BASE\nRUN dd if=/dev/urandom of=/big bs=1M count=16\n";
        let _build = in_small_state(Isolation::Container, dockerfile, "8m");
    }
}
