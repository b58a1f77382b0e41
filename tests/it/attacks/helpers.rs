//! RUNs that leave programs where the executor would look for one of its own.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::registry::Registry;
use crate::support::source::source;

#[test]
fn a_credential_helper_that_a_run_planted_is_not_executed() {
    if !Isolation::Container.allowed("attacks: planted helpers") {
        return;
    }
    let registry = Registry::plain();
    let text = "FROM $BASE
RUN mkdir -p /usr/local/bin && printf '#!/bin/sh\\ntouch /step-results/executed\\n' > /usr/local/bin/docker-credential-x \
    && chmod 755 /usr/local/bin/docker-credential-x && docker-credential-x && rm /step-results/executed
RUN --mount=type=cache,target=/cache echo kept > /cache/file
";
    let source = source(text, &[]);
    let mut executor = Executor::new(Isolation::Container, source.path());
    let config = format!("{{\"credHelpers\": {{\"{}\": \"x\"}}}}", registry.address);
    let file = executor.credential("config.json", config);
    executor.env("DOCKER_CONFIG", file.trim_end_matches("/config.json")).env("PATH", "/usr/local/bin:/bin");
    executor.push_plain(&registry, "app:1").add(&["--cache=true"]);
    executor.add(&[&format!("--cache-mounts-repo={}/caches", registry.address)]);
    executor.add(&[&format!("--cache-repo={}/layers", registry.address)]);
    let build = executor.run().expect(0);
    assert_eq!(build.results(), [""; 0], "the helper of the image was executed: {}", build.stderr);
}
