//! Steps that several stages begin with alike are done once, whoever comes to them first.

use std::fs;
use std::time::Duration;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::scratch::Scratch;
use crate::support::source::source;
use crate::support::steps;

const LIMIT: Duration = Duration::from_secs(90);

/// What is made each time anew tells whether it was made once.
const DOCKERFILE: &str = "FROM $BASE AS one
RUN head -c 16 /dev/urandom > /first
COPY file /
ENV one=1
WORKDIR /work/dir
RUN --mount=type=cache,target=/kept head -c 16 /dev/urandom > /second; echo x >> /kept/count
ENV one=2
RUN touch /one; cat /first > /first.one
FROM $BASE AS two
LABEL is=another
RUN head -c 16 /dev/urandom > /first
COPY file /
ENV one=1
WORKDIR /work/dir
RUN --mount=type=cache,target=/kept head -c 16 /dev/urandom > /second; echo x >> /kept/count
RUN touch /two; test ! -e /one; test ! -e /first.one; cat /second > /second.two
FROM two
COPY --from=one /first /second /first.one /of-one/
RUN --mount=type=cache,target=/kept set -e; test \"$(wc -l < /kept/count)\" = 1
RUN set -e; cmp /first /of-one/first; cmp /first /of-one/first.one; cmp /second /of-one/second; cmp /second /second.two
RUN set -e; test ! -e /one; test -e /two; test \"$(cat /file)\" = text; test \"$one\" = 1; test \"$PWD\" = /work/dir
";

fn sources(dockerfile: &str) -> Scratch {
    source(dockerfile, &[("file", "text\n")])
}

fn executor(isolation: Isolation, source: &Scratch, arguments: &[&str]) -> Executor {
    let mut executor = Executor::new(isolation, source.path());
    executor.only_layout().env("SOURCE_DATE_EPOCH", "1700000000").output("--metadata-file", "metadata.json");
    executor.output("--digest-file", "digest").add(arguments);
    executor
}

/// Returns the steps of a build that were done for another stage.
fn shared(build: &Build) -> Vec<String> {
    steps::all(build).into_iter().filter(steps::Step::is_shared).map(|step| step.place).collect()
}

#[test]
fn stages_that_begin_alike_do_each_step_once() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("stages alike") {
            continue;
        }
        let source = sources(DOCKERFILE);
        for arguments in [&["--jobs=1"][..], &["--jobs=4"], &["--single-snapshot"]] {
            let build = executor(isolation, &source, arguments).start().wait(LIMIT).expect(0);
            let count = build.stderr.matches(", done once").count();
            assert_eq!(count, 4, "{} {arguments:?}\n{}", isolation.name(), build.stderr);
            assert_eq!(shared(&build).len(), 4, "{} {arguments:?}", isolation.name());
            build.image().verify();
            assert_eq!(build.mounts_left(), [""; 0]);
        }
    }
}

/// The second build finds all of it, and knows of each stage's steps what has changed.
#[test]
fn stages_that_begin_alike_are_found_in_the_cache() {
    for isolation in [Isolation::Namespace, Isolation::Mediated] {
        if !isolation.allowed("stages alike: cache") {
            continue;
        }
        let place = Scratch::new("cache");
        // What a cache mount holds is gone in the next build; it is no part of what is found.
        let text = DOCKERFILE.replace("test \"$(wc -l < /kept/count)\" = 1", "true");
        let source = sources(&text.replace("cmp /second /of-one/second; ", ""));
        let build = || {
            let mut executor = executor(isolation, &source, &["--cache", "--jobs=4"]);
            let place = executor.shared_directory(place.path());
            executor.add(&[&format!("--cache-repo=oci:{place}")]).start().wait(LIMIT).expect(0)
        };
        let (first, second) = (build(), build());
        assert_eq!(steps::done(&second), [""; 0], "{}", second.stderr);
        assert_eq!(shared(&second), [""; 0], "{}", second.stderr);
        assert_eq!(first.result("digest"), second.result("digest"));
        let text = fs::read_to_string(source.join("Dockerfile")).expect("it was written");
        let (before, after) = text.rsplit_once("; echo x").expect("in the second stage");
        fs::write(source.join("Dockerfile"), format!("{before}; echo y{after}")).expect("scratch is writable");
        let third = build();
        assert!(third.stderr.contains("[two 6/7] MISS because the command changed"), "{}", third.stderr);
    }
}

#[test]
fn a_step_of_two_stages_that_fails_is_told_once() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("stages alike: failure") {
            continue;
        }
        let dockerfile = "FROM $BASE AS one
RUN sleep 1; exit 9
FROM $BASE AS two
RUN sleep 1; exit 9
FROM scratch
COPY --from=one / /
COPY --from=two / /
";
        let build = executor(isolation, &sources(dockerfile), &["--jobs=2"]).start().wait(LIMIT).expect(9);
        assert_eq!(build.stderr.matches("error:").count(), 1, "{}", build.stderr);
    }
}
