//! Contexts from archives on this machine: standard input, and what a hostile one may not do.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::process::{self, SHORT};
use crate::support::scratch::Scratch;

/// Makes `context` and `Dockerfile` with a little of everything, and archives of it beside them. Links that lead out of
/// it are text like all others, in every form.
pub(crate) fn sources() -> Scratch {
    let scratch = Scratch::new("sources");
    scratch.file("Dockerfile", "FROM scratch\nCOPY . /\n");
    let script = "umask 022; mkdir -p context/d/e; cd context; echo one >d/f; printf '#!/bin/sh\\n' >run; chmod 755 run
        ln -s d/f l; ln -s /usr/bin/python3 absolute; ln -s ../../../up d/up; cp ../Dockerfile Dockerfile; echo d/e/ignored >.dockerignore; echo x >d/e/ignored; echo y >d/e/kept
        tar cf ../c.tar . ; cd ..; gzip -k c.tar; bzip2 -k c.tar; xz -k c.tar";
    process::run(Command::new("sh").args(["-euc", script]).current_dir(scratch.path()), SHORT).success();
    scratch
}

/// Builds from a context and returns the image's digest.
pub(crate) fn built(executor: &mut Executor, context: &str) -> String {
    executor.only_layout().add(&[&format!("--context={context}"), "--dockerfile=Dockerfile", "--reproducible"]);
    executor.run().expect(0).image().digest
}

/// Returns the digest that every way to these sources must give.
pub(crate) fn expected(sources: &Scratch) -> String {
    let mut executor = Executor::new(Isolation::Namespace, sources.path());
    built(&mut executor, &sources.join("context").display().to_string())
}

#[test]
fn standard_input_is_an_archive() {
    if !Isolation::Namespace.allowed("context: standard input") {
        return;
    }
    let sources = sources();
    let digest = expected(&sources);
    for form in ["-", "tar://stdin"] {
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        executor.stdin(&sources.join("c.tar.gz"));
        assert_eq!(built(&mut executor, form), digest);
    }
    let mut executor = Executor::new(Isolation::Namespace, sources.path());
    executor.stdin(&sources.join("Dockerfile")).add(&["--dockerfile=-", "--reproducible"]);
    assert_eq!(executor.only_layout().run().expect(0).image().digest, digest, "a Dockerfile from standard input");
}

#[test]
fn hostile_archives_end_in_the_context_or_are_refused_and_nothing_outside_is_touched() {
    if !Isolation::Namespace.allowed("context: hostile archives") {
        return;
    }
    let scratch = Scratch::new("hostile");
    scratch.file("Dockerfile", "FROM scratch\nCOPY . /\n");
    let script = "echo x >evil; tar cf up.tar -P --transform 's,^,../,' evil
        tar cf abs.tar -P --transform 's,^,/dev/shm/,' evil
        ln -s /dev/shm link; tar cf through.tar link; rm link; mkdir link; cp evil link/evil
        tar rf through.tar link/evil; mkdir -p dev/shm; tar cf inside.tar dev; tar Af inside.tar through.tar
        rm -r link dev; truncate -s 3G bomb; tar czf bomb.tar bomb; rm bomb";
    process::run(Command::new("bash").args(["-euc", script]).current_dir(scratch.path()), SHORT).success();
    for (archive, path) in [("up.tar", "/evil"), ("abs.tar", "/dev/shm/evil"), ("inside.tar", "/dev/shm/evil")] {
        let mut executor = Executor::new(Isolation::Namespace, scratch.path());
        executor.only_layout().add(&[&format!("--context=tar://{}", scratch.join(archive).display())]);
        let listing = Listing::of(&executor.run().expect(0).image());
        assert!(listing.0.contains_key(path), "{archive}: {:?}", listing.0.keys());
        assert!(!Path::new("/dev/shm/evil").exists(), "{archive}");
    }
    for (archive, name, more) in [("through.tar", "link", ""), ("bomb.tar", "bomb", "--context-max-size=1M")] {
        let before = fs::read_dir(scratch.path()).expect("it is there").count();
        let mut executor = Executor::new(Isolation::Namespace, scratch.path());
        executor.only_layout().add(&[&format!("--context=tar://{}", scratch.join(archive).display())]);
        if !more.is_empty() {
            executor.add(&[more]);
        }
        let build = executor.run().expect(76);
        assert!(build.stderr.contains(name), "{archive}: {}", build.stderr);
        assert_eq!(fs::read_dir(scratch.path()).expect("it is there").count(), before, "{archive}");
        assert_eq!(build.state_left(), Vec::<String>::new(), "{archive}: the state directory is empty");
    }
}
