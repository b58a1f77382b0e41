//! Steps that read from other stages and from repositories: they are found by what they read, however that came to be.

use std::fs;

use crate::context_archive::sources;
use crate::context_git::repository;
use crate::support::executor::{Build, Executor};
use crate::support::git::script;
use crate::support::isolation::Isolation;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::source;
use crate::support::steps::{done, next_second, places_done};
use crate::support::web::Web;

const MOUNTS: &str = "FROM $BASE AS made
COPY seed /seed
RUN mkdir /out && echo tool > /out/tool && cat /seed > /elsewhere
FROM $BASE AS kept
RUN mkdir /out && echo kept > /out/kept
FROM $BASE
RUN --mount=from=made,source=/out,target=/in cat /in/tool > /first
RUN --mount=from=made,source=/out/tool,target=/tool --mount=from=kept,source=/out,target=/kept \\
    --mount=source=beside,target=/beside cat /tool /kept/kept /beside > /second
RUN --mount=from=made,target=/all cat /all/elsewhere > /third
";

#[test]
fn a_run_is_found_by_the_contents_of_what_it_mounts_from_a_stage() {
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache: mounts from stages")) {
        let (source, place) = (source(MOUNTS, &[("seed", "1\n"), ("beside", "b\n")]), Scratch::new("cache"));
        let run = || {
            let mut executor = Executor::new(isolation, source.path());
            let place = executor.shared_directory(place.path());
            executor.only_layout().add(&["--cache", &format!("--cache-repo=oci:{place}")]);
            executor.output("--metadata-file", "metadata.json").run().expect(0)
        };
        let change = |from: &str, to: &str| {
            let text = fs::read_to_string(source.join("Dockerfile")).expect("it is there");
            fs::write(source.join("Dockerfile"), text.replace(from, to)).expect("scratch is writable");
        };
        let first = run();
        assert_eq!(places_done(&first), ["made 1", "made 2", "kept 1", "2 1", "2 2", "2 3"]);
        // Another file of the stage changed: only what mounts that one is done again.
        fs::write(source.join("context/seed"), "2\n").expect("scratch is writable");
        let name = isolation.name();
        assert_eq!(places_done(&run()), ["made 1", "made 2", "2 3"], "{name}");
        assert_eq!(places_done(&run()), [""; 0], "{name}");
        // The content is the same, but not the attributes of the directory that is shown.
        change("mkdir /out && echo tool", "mkdir -m 700 /out && echo tool");
        next_second();
        let third = run();
        assert_eq!(places_done(&third), ["made 2", "2 1", "2 2", "2 3"], "{name}");
        assert!(third.stderr.contains("what stage made has to mount"), "{name}: {}", third.stderr);
        // What a context shows counts as ever, and so does the other stage.
        fs::write(source.join("context/beside"), "c\n").expect("scratch is writable");
        assert_eq!(places_done(&run()), ["2 2", "2 3"], "{name}");
        change("echo kept", "echo other");
        assert_eq!(places_done(&run()), ["kept 1", "2 2", "2 3"], "{name}");
    }
}

#[test]
fn an_image_with_its_own_cache_finds_runs_by_what_they_mount() {
    if !Isolation::Namespace.allowed("cache: inline mounts") {
        return;
    }
    let text = "FROM $BASE AS made\nRUN mkdir /out && echo u > /out/u && cat /proc/sys/kernel/random/uuid > v\n\
                FROM $BASE\nRUN --mount=from=made,source=/out,target=/in cat /in/u > /w\nCOPY file /\n";
    let (source, place, registry) = (source(text, &[("file", "x\n")]), Scratch::new("cache"), Registry::plain());
    let place = format!("--cache-repo=oci:{}", place.path().display());
    let from = format!("--cache-from={}/app:1", registry.address);
    for (name, flags) in [("both", &["--cache", &*place][..]), ("inline alone", &[&from])] {
        let run = || {
            let mut executor = Executor::new(Isolation::Namespace, source.path());
            executor.push_plain(&registry, "app:1").add(&["--cache-inline"]).add(flags);
            executor.output("--digest-file", "digest").output("--metadata-file", "metadata.json").run().expect(0)
        };
        let (first, second) = (run(), run());
        assert!(places_done(&second).iter().all(|step| step.starts_with("made")), "{name}: {:?}", done(&second));
        assert_eq!(second.result("digest"), first.result("digest"), "{name}");
    }
}

#[test]
fn a_repository_is_found_by_the_commit_that_its_reference_names() {
    let (sources, web) = (sources(), Web::start());
    let commit = repository(&sources, &web);
    let url = format!("https://{}/git/repo.git", web.address);
    let root = web.scratch.join("root");
    let tag = |command: &str| script(&root, &format!("{command}; git -C repo.git update-server-info"));
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("cache: repositories")) {
        let (place, name) = (Scratch::new("cache"), isolation.name());
        let source = source("FROM $BASE\nADD $ADD /git/\nRUN cat /git/d/f > /f\n", &[]);
        let text = fs::read_to_string(source.join("Dockerfile")).expect("it is there");
        let run = |add: &str| -> Build {
            fs::write(source.join("Dockerfile"), text.replace("$ADD", add)).expect("scratch is writable");
            let mut executor = Executor::new(isolation, source.path());
            let ca = executor.credential("ca.crt", web.ca());
            let place = executor.shared_directory(place.path());
            executor.env("SSL_CERT_FILE", &ca).only_layout();
            executor.add(&["--cache", "--cache-copy-layers", &format!("--cache-repo=oci:{place}")]);
            executor.output("--metadata-file", "metadata.json").run()
        };
        // Where / is replaced, everything is fetched before, and kept whether it is needed or not.
        let fetches = |build: &Build| build.stderr.contains("bytes received") && isolation != Isolation::Container;
        let first = run(&format!("{url}#v1")).expect(0);
        assert_eq!(places_done(&first), ["0 1", "0 2"], "{name}");
        for same in [
            format!("{url}#v1"),
            format!("--checksum={commit} {url}#v1"),
            format!("--checksum={} {url}#v1", &commit[..12]),
            format!("{url}?ref=v1&commit={commit}"),
        ] {
            let build = run(&same).expect(0);
            assert_eq!(places_done(&build), [""; 0], "{name}: {same}: {}", build.stderr);
            assert!(!fetches(&build), "{name}: {same}: {}", build.stderr);
        }
        // An annotated tag names the commit, too; a commit stands for itself.
        for (add, again) in [("#v1a", "#v1a"), (&*format!("#{commit}"), &*format!("#{commit}"))] {
            run(&format!("{url}{add}")).expect(0);
            let build = run(&format!("{url}{again}")).expect(0);
            assert_eq!(places_done(&build), [""; 0], "{name}: {again}: {}", build.stderr);
            assert!(!fetches(&build), "{name}: {again}: {}", build.stderr);
        }
        // A layer that is known does not pass for another commit.
        let refused = run(&format!("--checksum={commit} {url}#other")).expect(76);
        assert!(refused.stderr.contains("was asked for"), "{name}: {}", refused.stderr);
        let refused = run(&format!("--checksum=00000000 {url}#v1")).expect(76);
        assert!(refused.stderr.contains("was asked for"), "{name}: {}", refused.stderr);
        assert_eq!(places_done(&run(&format!("{url}#v1")).expect(0)), [""; 0], "{name}");
        tag("git -C repo.git tag -f v1 other");
        let moved = run(&format!("{url}#v1")).expect(0);
        assert_eq!(places_done(&moved), ["0 1", "0 2"], "{name}");
        assert!(moved.stderr.contains("MISS because the commit changed"), "{name}: {}", moved.stderr);
        tag("git -C repo.git tag -f v1 main");
        let back = run(&format!("{url}#v1")).expect(0);
        assert_eq!(places_done(&back), [""; 0], "{name}: {}", back.stderr);
    }
}
