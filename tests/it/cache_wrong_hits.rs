//! Wrong hits that there were: a change that gave the result of another build, because no key knew of it.
//!
//! Each row builds with a cache, changes something, and builds again: the image must be the one of a build without a
//! cache, to the last bit.

use std::process::Command;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// The time of all files of all builds, so that images can be compared; context files are made older than it.
const EPOCH: &str = "1700000000";

struct Row {
    what: &'static str,
    dockerfile: &'static str,
    /// Makes the context, in it.
    before: &'static str,
    /// Changes it.
    after: &'static str,
    /// Flags of the second build.
    flags: &'static [&'static str],
}

const ROWS: [Row; 10] = [
    Row {
        what: "a file becomes a directory with a file of its name",
        dockerfile: "FROM scratch\nCOPY a /x\n",
        before: "echo same > a",
        after: "rm a && mkdir a && echo same > a/a",
        flags: &[],
    },
    Row {
        what: "the same, found by a wildcard",
        dockerfile: "FROM scratch\nCOPY [ab] /x\n",
        before: "echo same > a",
        after: "rm a && mkdir a && echo same > a/a",
        flags: &[],
    },
    Row {
        what: "the same, copied from a stage that was done again",
        dockerfile: "FROM $BASE AS made\nCOPY make.sh /\nRUN sh /make.sh\nFROM scratch\nCOPY --from=made /a /x\n",
        before: "echo 'echo same > /a' > make.sh",
        after: "echo 'mkdir /a && echo same > /a/a' > make.sh",
        flags: &[],
    },
    Row {
        what: "the first of two archives of one name",
        dockerfile: "FROM scratch\nADD one/a.tar two/a.tar /x/\n",
        before: "mkdir one two && echo 1 > f && echo 2 > g && tar cf one/a.tar f && tar cf two/a.tar g",
        after: "echo other > f && tar cf one/a.tar f",
        flags: &[],
    },
    Row {
        what: "an archive, and a directory with a file of its name",
        dockerfile: "FROM scratch\nADD a.tar two /x/\n",
        before: "mkdir two && echo 1 > f && tar cf a.tar f && echo no archive > two/a.tar",
        after: "echo other > f && tar cf a.tar f",
        flags: &[],
    },
    Row {
        what: "an empty directory that --parents copies from",
        dockerfile: "FROM scratch\nCOPY --parents r*/./a* /x\n",
        before: "mkdir other",
        after: "mkdir r1",
        flags: &[],
    },
    Row {
        what: "the mode of a directory that is mounted",
        dockerfile: "FROM $BASE\nRUN --mount=type=bind,source=d,target=/m stat -c %a /m > /mode\n",
        before: "mkdir d && echo f > d/f && chmod 755 d",
        after: "chmod 711 d",
        flags: &[],
    },
    Row {
        what: "a mount whose name looks like a pattern",
        dockerfile: "FROM $BASE\nRUN --mount=type=bind,source=[d],target=/m cat /m > /content\n",
        before: "echo one > '[d]' && echo d > d",
        after: "echo two > '[d]'",
        flags: &[],
    },
    Row {
        what: "what a cache mount begins with",
        dockerfile: "FROM $BASE AS seed\nCOPY seed /\nFROM $BASE\n\
                     RUN --mount=type=cache,from=seed,target=/c cat /c/seed > /x\n",
        before: "echo one > seed",
        after: "echo two > seed",
        flags: &[],
    },
    Row {
        what: "a limit that RUN sees",
        dockerfile: "FROM $BASE\nRUN ulimit -n > /limit\n",
        before: ":",
        after: ":",
        flags: &["--ulimit=nofile=100:100"],
    },
];

#[test]
fn wrong_hits_that_there_were() {
    if !Isolation::Namespace.allowed("cache: wrong hits") {
        return;
    }
    let mut failures = Vec::new();
    for Row { what, dockerfile, before, after, flags } in ROWS {
        let (source, scratch) = (source(dockerfile, &[]), Scratch::new("cache"));
        let cache = format!("--cache-repo=oci:{}", scratch.path().display());
        prepare(&source, before);
        let first = build(&source, &["--cache", &cache]);
        prepare(&source, after);
        let cached = build(&source, &[flags, &["--cache", &cache]].concat());
        let plain = build(&source, flags);
        assert_ne!(first.image().diff_ids(), plain.image().diff_ids(), "{what}: the change changes nothing");
        if cached.image().digest != plain.image().digest {
            failures.push(what);
        }
    }
    assert!(failures.is_empty(), "wrong hits: {failures:#?}");
}

fn prepare(source: &Scratch, script: &str) {
    let script = format!("umask 022; {script}; find . -exec touch -h -d @1600000000 {{}} +");
    process::run(Command::new("sh").args(["-ec", &script]).current_dir(source.join("context")), SHORT).success();
}

fn build(source: &Scratch, flags: &[&str]) -> Build {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(flags).env("SOURCE_DATE_EPOCH", EPOCH).run().expect(0)
}

#[test]
fn what_a_cache_mount_begins_with_is_in_the_key_of_the_build() {
    if !Isolation::Namespace.allowed("cache: wrong build keys") {
        return;
    }
    let dockerfile = "FROM $BASE\nRUN --mount=type=cache,from=seed,target=/c cat /c/seed > /x\n";
    let (source, seed) = (source(dockerfile, &[]), Scratch::new("seed"));
    let context = format!("--build-context=seed={}", seed.path().display());
    let key = |content: &str| {
        seed.file("seed", content);
        build(&source, &[&context, "--print-build-key"]).stdout
    };
    let first = key("one");
    assert_eq!(key("one"), first);
    assert_ne!(key("two"), first);
}
