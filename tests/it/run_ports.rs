//! Ports below 1024 and ping in RUN.

use std::fs;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::scratch::Scratch;

/// Makes a source of nothing but busybox, since a pod without a network reaches no registry.
fn sources(runs: &str) -> Scratch {
    let source = Scratch::new("ports");
    let program = fs::read("/bin/busybox").expect("busybox-static is installed");
    let place = source.file("context/busybox", program);
    fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    source.file("Dockerfile", format!("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/\n{runs}"));
    source
}

fn build(executor: &mut Executor) -> Build {
    executor.only_layout().run()
}

#[test]
fn a_run_with_a_network_of_its_own_may_use_every_port() {
    if !Isolation::Namespace.allowed("ports of an own network") {
        return;
    }
    let runs = "RUN --network=none /bin/busybox httpd -p 127.0.0.1:81
USER 1234
RUN --network=none /bin/busybox httpd -p 127.0.0.1:81 && set -- $(/bin/busybox cat /proc/sys/net/ipv4/ping_group_range) \\
    && test \"$1\" = 0
";
    build(&mut Executor::new(Isolation::Namespace, sources(runs).path())).expect(0);
}

#[test]
fn a_run_that_may_not_listen_says_what_the_pod_lacks() {
    let source = sources("RUN /bin/busybox httpd -p 127.0.0.1:81\n");
    if Isolation::Container.allowed("ports of a pod") {
        for (setting, code) in [("0", 0), ("1024", 1)] {
            let mut pod = Pod::unshare_allowed().without_network();
            pod.add(&[&format!("--sysctl=net.ipv4.ip_unprivileged_port_start={setting}")]);
            let built = build(&mut Executor::in_pod(Isolation::Namespace, pod, source.path())).expect(code);
            let hint = built.stderr.contains("{name: net.ipv4.ip_unprivileged_port_start, value: \"0\"}");
            assert_eq!(hint, code != 0, "{}", built.stderr);
        }
    }
}
