//! RUNs that make a device of the machine to write to it.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::Pod;
use crate::support::source::source;

#[test]
fn a_device_that_a_run_makes_without_a_user_namespace_is_data_of_the_layer() {
    if !Isolation::Container.allowed("attacks: devices without a user namespace") {
        return;
    }
    let text = "FROM $BASE
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/memory \
    for place in /made /cache/made /memory/made /dev/made /dev/shm/made /etc/made; do \
    mknod $place c 1 3 && chmod 666 $place && ! echo x > $place || exit 9; done
RUN echo x > /dev/null && head -c 4 /dev/zero | wc -c && test -c /made
";
    let source = source(text, &[]);
    let executor = Executor::in_pod(Isolation::Namespace, Pod::without_user_namespaces(), source.path());
    let mut executor = executor;
    let build = executor.only_layout().run().expect(0);
    assert!(build.stderr.contains("CAP_SYS_ADMIN gives mount and pid namespaces"), "{}", build.stderr);
    let listing = Listing::of(&build.image());
    let made = |path: &str| listing.0.get(path).map(|line| line.text.clone()).unwrap_or_default();
    for path in ["/made", "/etc/made"] {
        assert!(made(path).starts_with("char"), "{path}: {}", made(path));
    }
}
