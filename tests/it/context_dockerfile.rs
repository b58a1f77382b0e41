//! Which file is the Dockerfile, and which ignore file goes with it.

use std::fs;
use std::path::Path;

use crate::support::executor::Build;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::scratch::Scratch;

const WARNING: &str = "podman and buildah would take";

/// Makes a context in which each of `names` is a Dockerfile that copies all, and says which it is.
fn context(names: &[&str]) -> Scratch {
    let scratch = Scratch::new("dockerfile");
    scratch.file("context/file", "file");
    for name in names {
        scratch.file(&format!("context/{name}"), format!("FROM scratch\nLABEL name={name}\nCOPY . /\n"));
    }
    scratch
}

fn build(executor: &mut Executor, dockerfile: &[&str]) -> Build {
    executor.only_layout().add(dockerfile);
    executor.run()
}

fn taken(build: &Build) -> String {
    build.image().config["config"]["Labels"]["name"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_dockerfile_is_found_under_the_names_that_docker_and_podman_know() {
    let rows: [(&[&str], &str, &str, bool); 7] = [
        (&["Dockerfile", "dockerfile"], "Dockerfile", "Dockerfile", false),
        (&["Dockerfile", "dockerfile", "Containerfile"], "Dockerfile", "Dockerfile", true),
        (&["dockerfile", "Containerfile"], "Dockerfile", "dockerfile", true),
        (&["Containerfile"], "Dockerfile", "Containerfile", false),
        // As the catalog's Tasks name it.
        (&["dockerfile"], "./Dockerfile", "dockerfile", false),
        (&["sub/Containerfile", "Containerfile"], "sub/Dockerfile", "sub/Containerfile", false),
        // Whoever names another file means it.
        (&["Containerfile", "Dockerfile"], "Containerfile", "Containerfile", false),
    ];
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("names of Dockerfiles")) {
        for (names, given, expected, warns) in &rows {
            let sources = context(names);
            let built =
                build(&mut Executor::new(isolation, sources.path()), &[&format!("--dockerfile={given}")]).expect(0);
            assert_eq!(taken(&built), *expected, "{names:?}, {given}: {}", built.stderr);
            assert_eq!(built.stderr.contains(WARNING), *warns, "{names:?}, {given}: {}", built.stderr);
            let note = Path::new(given).file_name() != Path::new(expected).file_name();
            assert_eq!(built.stderr.contains(&format!(", since there is no {given}")), note, "{}", built.stderr);
        }
    }
}

#[test]
fn another_name_is_never_taken_for_a_file_that_is_named() {
    if !Isolation::Namespace.allowed("names of Dockerfiles") {
        return;
    }
    for (names, given) in [
        (&["dockerfile"][..], "Dockerfile.dev"),
        (&["Dockerfile"], "dockerfile"),
        (&["Dockerfile"], "Containerfile"),
        (&["sub/Dockerfile"], "Dockerfile"),
    ] {
        let sources = context(names);
        let executor = &mut Executor::new(Isolation::Namespace, sources.path());
        let refused = build(executor, &[&format!("--dockerfile={given}")]).expect(76);
        assert!(refused.stderr.contains(&format!("there is no Dockerfile {given}")), "{}", refused.stderr);
    }
    // What is not even a file is no Dockerfile; what leads out is refused, and not passed over.
    let sources = context(&["dockerfile"]);
    fs::create_dir(sources.join("context/Dockerfile")).expect("scratch is writable");
    let built = build(&mut Executor::new(Isolation::Namespace, sources.path()), &["--dockerfile=Dockerfile"]).expect(0);
    assert_eq!(taken(&built), "dockerfile");
    let sources = context(&["dockerfile"]);
    std::os::unix::fs::symlink("/etc/hostname", sources.join("context/Dockerfile")).expect("scratch is writable");
    let refused =
        build(&mut Executor::new(Isolation::Namespace, sources.path()), &["--dockerfile=Dockerfile"]).expect(76);
    assert!(refused.stderr.contains("leads out"), "{}", refused.stderr);
}

#[test]
fn a_link_to_the_dockerfile_is_no_second_one() {
    if !Isolation::Namespace.allowed("names of Dockerfiles") {
        return;
    }
    let sources = context(&["Containerfile"]);
    std::os::unix::fs::symlink("Containerfile", sources.join("context/Dockerfile")).expect("scratch is writable");
    let built = build(&mut Executor::new(Isolation::Namespace, sources.path()), &["--dockerfile=Dockerfile"]).expect(0);
    assert!(!built.stderr.contains(WARNING), "{}", built.stderr);
}

#[test]
fn a_containerfile_brings_its_own_ignore_files() {
    if !Isolation::Namespace.allowed("names of ignore files") {
        return;
    }
    let all = [".dockerignore", ".containerignore", "Containerfile.dockerignore", "Containerfile.containerignore"];
    for (name, files, counts) in [
        ("Containerfile", &all[..], Some(3)),
        ("Containerfile", &all[..3], Some(2)),
        ("Containerfile", &all[..2], Some(1)),
        ("Containerfile", &all[..1], Some(0)),
        // Docker knows nothing of them.
        ("Dockerfile", &all[..], Some(0)),
        ("Dockerfile", &all[1..], None),
    ] {
        let sources = context(&[name]);
        for (number, file) in files.iter().enumerate() {
            let number = all.iter().position(|known| known == file).unwrap_or(number);
            sources.file(&format!("context/{file}"), format!("by-{number}\n"));
        }
        for number in 0..all.len() {
            sources.file(&format!("context/by-{number}"), "");
        }
        let built =
            build(&mut Executor::new(Isolation::Namespace, sources.path()), &["--dockerfile=Dockerfile"]).expect(0);
        let listing = Listing::of(&built.image());
        let left: Vec<usize> =
            (0..all.len()).filter(|number| !listing.0.contains_key(&format!("/by-{number}"))).collect();
        assert_eq!(left, counts.into_iter().collect::<Vec<_>>(), "{name} with {files:?}");
    }
}
