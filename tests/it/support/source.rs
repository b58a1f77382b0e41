//! Dockerfiles written in a test, where a case of the corpus would say too little.

use super::bases;
use super::scratch::Scratch;

/// Makes a directory with `Dockerfile` and `context`; `$BASE` in the Dockerfile becomes the busybox base.
pub(crate) fn source(dockerfile: &str, context: &[(&str, &str)]) -> Scratch {
    let scratch = Scratch::new("source");
    scratch.directory("context");
    let text = if dockerfile.contains("$BASE") {
        dockerfile.replace("$BASE", &bases::base("BASE").reference)
    } else {
        dockerfile.to_owned()
    };
    scratch.file("Dockerfile", text);
    for (name, content) in context {
        scratch.file(&format!("context/{name}"), content);
    }
    scratch
}

/// Makes the smallest build there is: one file, no base, no RUN.
pub(crate) fn one_file() -> Scratch {
    source("FROM scratch\nCOPY file /file\n", &[("file", "one file\n")])
}

/// Makes a small build with a RUN.
pub(crate) fn one_run() -> Scratch {
    source("FROM $BASE\nCOPY file /file\nRUN echo ran > /ran\n", &[("file", "one file\n")])
}

/// Makes bytes that do not shrink.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
