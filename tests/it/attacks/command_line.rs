//! Whoever lists processes: no argument of the executor's is among what is seen.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::source::source;

#[test]
fn no_process_shows_the_arguments_of_the_executor() {
    for isolation in [Isolation::Namespace, Isolation::Container] {
        if !isolation.allowed("attacks: command line") {
            continue;
        }
        let text = "FROM $BASE\nRUN cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c exe\n\
                    RUN ! cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep '[T]OKEN=of-a-build'\n";
        let source = source(text, &[]);
        let mut executor = Executor::new(isolation, source.path());
        executor.only_layout().add(&["--build-arg=TOKEN=of-a-build"]).run().expect(0);
    }
}

#[test]
fn a_neighbour_on_the_machine_sees_no_arguments() {
    use crate::support::process::{processes_with, wait_until};
    use std::time::Duration;

    if !Isolation::Namespace.allowed("attacks: command line on a machine") {
        return;
    }
    let source = source("FROM $BASE\nRUN sleep 2.31571\n", &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let ongoing = executor.only_layout().add(&["--build-arg=TOKEN=of-another-build"]).start();
    assert!(wait_until(Duration::from_secs(60), || !processes_with("sleep 2.31571").is_empty()), "RUN did not start");
    assert_eq!(processes_with("TOKEN=of-another-build"), [""; 0]);
    ongoing.finish().expect(0);
}
