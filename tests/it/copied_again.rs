//! Files that are copied again, unchanged: the second layer does not have them, and the image is what it was.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::process::{self, SHORT};
use crate::support::scratch::Scratch;
use crate::support::source::source;

const DOCKERFILE: &str = "FROM scratch AS base
COPY --from=tools /bin/busybox /bin/sh
COPY one /app/
COPY . /app/
COPY . /app/
FROM base
COPY . /app/
RUN [\"/bin/sh\", \"-c\", \"echo more >> /app/two\"]
COPY . /app/
COPY --chmod=600 one /app/
COPY --chown=5 . /app/
COPY twin /app/one
COPY --link two /app/two
ADD two three /app/
";

/// Makes a context with each kind of file, all of one time.
fn sources(dockerfile: &str) -> Scratch {
    let source = source(dockerfile, &[("one", "1\n"), ("two", "22\n"), ("three", "3\n"), ("d/e/four", "4\n")]);
    let script = "cd context; mkdir empty; : >nothing; ln -s one link; ln three linked; cp one twin
        find . -exec touch -h -d @1000000000 {} +";
    process::run(Command::new("sh").args(["-euc", script]).current_dir(source.path()), SHORT).success();
    source
}

/// Returns the names of what each layer has that is no directory, without the base's.
fn layers(build: &Build) -> Vec<String> {
    let image = build.image();
    let names = |number| {
        let mut tar = tar::Archive::new(image.open(number));
        let entries = tar.entries().expect("a layer").map(|entry| entry.expect("an entry"));
        let files = entries.filter(|entry| !entry.header().entry_type().is_dir());
        let names: BTreeSet<String> = files.map(|entry| entry.path().expect("a path").display().to_string()).collect();
        names.into_iter().collect::<Vec<_>>().join(" ")
    };
    (0..image.diff_ids().len()).map(names).collect()
}

fn build(isolation: Isolation, source: &Scratch, flags: &[&str], place: Option<&Scratch>) -> Build {
    let mut executor = Executor::new(isolation, source.path());
    executor.only_layout().add(flags).output("--metadata-file", "metadata.json");
    if let Some(place) = place {
        let place = executor.shared_directory(place.path());
        executor.add(&["--cache", &format!("--cache-repo=oci:{place}")]);
    }
    executor.run().expect(0)
}

#[test]
fn what_an_image_has_already_is_not_in_the_layer_again() {
    let source = sources(&DOCKERFILE.replace("FROM scratch AS base", "FROM $BASE AS tools\nFROM scratch AS base"));
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("files that are copied again")) {
        for flags in [&[][..], &["--reproducible"]] {
            let built = build(isolation, &source, flags, None);
            assert_eq!(
                layers(&built),
                [
                    "bin/sh",
                    "app/one",
                    // `one` is there already; the names of one file are copied again together.
                    "app/d/e/four app/link app/linked app/nothing app/three app/twin app/two",
                    "app/linked app/three",
                    "app/linked app/three",
                    "app/two",
                    "app/linked app/three app/two",
                    "app/one",
                    "app/d/e/four app/link app/linked app/nothing app/one app/three app/twin app/two",
                    // The same text of the same time, but another file.
                    "app/one",
                    "app/two",
                    "app/three",
                ],
                "{} {flags:?}",
                isolation.name()
            );
            let listing = Listing::of(&built.image());
            for (path, text) in [("/app/one", "1\n"), ("/app/two", "22\n"), ("/app/d/e/four", "4\n")] {
                assert!(listing.0[path].text.contains(&format!("{text:?}")), "{path}: {}", listing.0[path].text);
            }
        }
    }
}

#[test]
fn a_step_that_copies_nothing_new_makes_no_layer() {
    if !Isolation::Namespace.allowed("files that are copied again") {
        return;
    }
    let source =
        sources("FROM scratch\nCOPY one d nothing /app/\nCOPY one d nothing /app/\nCOPY d /app/\nCOPY two /app/\n");
    let built = build(Isolation::Namespace, &source, &[], None);
    let image = built.image();
    assert_eq!(layers(&built), ["app/e/four app/nothing app/one", "app/two"]);
    let history = image.config["history"].as_array().expect("it has one");
    let empty: Vec<bool> = history.iter().map(|line| line["empty_layer"] == true).collect();
    assert_eq!(empty, [false, true, true, false]);
}

#[test]
fn another_file_of_the_same_size_and_time_is_copied() {
    if !Isolation::Namespace.allowed("files that are copied again, others") {
        return;
    }
    let source = sources("FROM scratch\nCOPY one /app/f\nCOPY other /app/f\nCOPY one /app/f\nCOPY one /app/f\n");
    let script = "echo 9 >other; touch -d @1000000000 other";
    process::run(Command::new("sh").args(["-euc", script]).current_dir(source.join("context")), SHORT).success();
    let built = build(Isolation::Namespace, &source, &["--reproducible"], None);
    assert_eq!(layers(&built), ["app/f", "app/f", "app/f"]);
    assert!(Listing::of(&built.image()).0["/app/f"].text.contains("\"1\\n\""));
}

#[test]
fn what_is_left_out_does_not_depend_on_the_cache() {
    if !Isolation::Namespace.allowed("files that are copied again, with a cache") {
        return;
    }
    let text = "FROM scratch\nCOPY one /app/\nCOPY . /app/\nCOPY . /app/\n";
    let (source, place) = (sources(text), Scratch::new("cache"));
    let plain = build(Isolation::Namespace, &source, &["--reproducible"], None);
    let first = build(Isolation::Namespace, &source, &["--reproducible"], Some(&place));
    assert_eq!(first.image().diff_ids(), plain.image().diff_ids());
    // The first step is found, the others are not.
    fs::write(source.join("context/two"), "other\n").expect("scratch is writable");
    let second = build(Isolation::Namespace, &source, &["--reproducible"], Some(&place));
    assert!(second.stderr.contains("Using caching version of cmd: COPY one"), "{}", second.stderr);
    let plain = build(Isolation::Namespace, &source, &["--reproducible"], None);
    assert_eq!(second.image().diff_ids(), plain.image().diff_ids());
    assert!(!layers(&plain)[1].contains("app/one"), "{:?}", layers(&plain));
}
