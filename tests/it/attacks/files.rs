//! Links that a checkout or a volume holds where the executor reads or writes a file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::executor::Executor;
use crate::support::image::Image;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

fn point(link: &Path, target: impl AsRef<Path>) {
    let _nothing_was_there = fs::remove_file(link);
    symlink(target, link).expect("the link can be made");
}

#[test]
fn nothing_is_written_through_links_of_a_volume() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: links at results") {
            continue;
        }
        let volume = Scratch::new("volume");
        let victim = volume.file("victim", "untouched");
        for name in ["digest", "image.tar", "build.env"] {
            point(&volume.join(name), "victim");
        }
        // The names that temporary files had: of every process that it may be.
        for pid in 1..300 {
            point(&volume.join(format!("image.tar.{pid}.tmp")), "victim");
            point(&volume.join(format!("digest.{pid}.tmp")), "victim");
        }
        let source = one_file();
        let mut executor = Executor::new(isolation, source.path());
        let inside = executor.shared_directory(volume.path());
        executor.only_layout().add(&[
            &format!("--digest-file={inside}/digest"),
            &format!("--tar-path={inside}/image.tar"),
            &format!("--dotenv-file={inside}/build.env"),
        ]);
        let build = executor.run().expect(0);
        assert_eq!(fs::read_to_string(&victim).expect("reads"), "untouched", "{}", isolation.name());
        assert_eq!(fs::read_to_string(volume.join("digest")).expect("reads"), build.image().digest);
        for name in ["digest", "image.tar", "build.env"] {
            assert!(fs::symlink_metadata(volume.join(name)).expect("stat").is_file(), "{name} is a file now");
        }
    }
}

#[test]
fn nothing_is_written_through_directories_that_are_links() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: directories that are links") {
            continue;
        }
        let volume = Scratch::new("volume");
        let elsewhere = volume.directory("elsewhere");
        point(&volume.join("out"), "elsewhere");
        for flag in ["--digest-file=DIR/out/digest", "--oci-layout-path=DIR/out", "--output=type=local,dest=DIR/out"] {
            let source = one_file();
            let mut executor = Executor::new(isolation, source.path());
            let inside = executor.shared_directory(volume.path());
            let build = executor.add(&["--no-push", &flag.replace("DIR", &inside)]).run().expect(73);
            assert!(build.stderr.contains("is a symbolic link"), "{flag}: {}", build.stderr);
            assert_eq!(fs::read_dir(&elsewhere).expect("lists").count(), 0, "{flag} in {}", isolation.name());
        }
    }
}

#[test]
fn a_layout_holds_no_blob_of_others_under_a_digest_of_ours() {
    if !Isolation::Namespace.allowed("attacks: blobs of a layout") {
        return;
    }
    let source = one_file();
    let digest = |layout: &Path| {
        let text = fs::read_to_string(layout.join("index.json")).expect("an index");
        let index: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        index["manifests"][0]["digest"].as_str().expect("a digest").replace("sha256:", "blobs/sha256/")
    };
    // Else the second one would be made at another time, and have another digest.
    let epoch = ("SOURCE_DATE_EPOCH", "1600000000");
    let first = Executor::new(Isolation::Namespace, source.path()).only_layout().env(epoch.0, epoch.1).run().expect(0);
    let manifest = digest(&first.path("layout"));
    let volume = Scratch::new("layout");
    let victim = volume.file("victim", "untouched");
    volume.file("layout/blobs/sha256/x", "");
    for entry in fs::read_dir(first.path("layout/blobs/sha256")).expect("lists").flatten() {
        let name = entry.file_name().into_string().expect("a digest");
        volume.file(&format!("layout/blobs/sha256/{name}"), "planted");
    }
    point(&volume.join("layout").join(&manifest), &victim);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let layout = volume.join("layout");
    executor
        .env(epoch.0, epoch.1)
        .add(&["--no-push", &format!("--oci-layout-path={}", layout.display())])
        .run()
        .expect(0);
    for entry in fs::read_dir(first.path("layout/blobs/sha256")).expect("lists").flatten() {
        let written = fs::read(layout.join("blobs/sha256").join(entry.file_name())).expect("reads");
        assert_eq!(written, fs::read(entry.path()).expect("reads"), "{:?}", entry.file_name());
    }
    assert_eq!(fs::read_to_string(&victim).expect("reads"), "untouched");
}

#[test]
fn a_dockerfile_that_leads_out_is_not_read() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: Dockerfile that is a link") {
            continue;
        }
        for (target, is_ignore_file) in [
            ("/proc/self/environ", false),
            ("/proc/version", false),
            ("/dev/zero", false),
            ("/proc/self/environ", true),
        ] {
            let source = one_file();
            let name = if is_ignore_file { "Dockerfile.dockerignore" } else { "Dockerfile" };
            point(&source.join(name), target);
            let build = Executor::new(isolation, source.path()).only_layout().run().expect(76);
            assert!(build.stderr.contains("leads out of"), "{target} in {}: {}", isolation.name(), build.stderr);
            assert!(!build.stderr.contains("Linux version") && !build.stderr.contains("PATH="), "{}", build.stderr);
        }
    }
}

#[test]
fn a_dockerfile_that_is_a_link_within_its_mount_is_read() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: Dockerfile of a monorepo") {
            continue;
        }
        let source = source("FROM scratch\nCOPY file /file\n", &[("file", "x")]);
        let common = source.directory("common");
        fs::rename(source.join("Dockerfile"), common.join("Dockerfile")).expect("moves");
        point(&source.join("Dockerfile"), "common/Dockerfile");
        let build = Executor::new(isolation, source.path()).only_layout().run().expect(0);
        assert!(build.stderr.contains("common/Dockerfile"), "the log says which file it was: {}", build.stderr);
    }
}

#[test]
fn files_that_flags_name_are_not_read_through_links_that_lead_out() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("attacks: files of flags") {
            continue;
        }
        for (flag, code) in [("--build-arg-file=DIR/secret", 72), ("--secret=id=x,src=DIR/secret", 72)] {
            let source = one_file();
            point(&source.join("secret"), "/proc/version");
            let mut executor = Executor::new(isolation, source.path());
            let flag = flag.replace("DIR", &executor.sources());
            let build = executor.only_layout().add(&[&flag]).run().expect(code);
            assert!(build.stderr.contains("leads out of"), "{flag}: {}", build.stderr);
        }
    }
}

#[test]
fn two_dockerfiles_are_told_where_one_of_them_is_taken() {
    if !Isolation::Namespace.allowed("attacks: two Dockerfiles") {
        return;
    }
    let source = source("FROM scratch\nLABEL from=outside\n", &[]);
    let own = "FROM scratch\nLABEL from=context\n";
    source.file("context/Dockerfile", own);
    let build = |source: &Scratch, second: Option<&str>| {
        let _nothing_was_there = fs::remove_file(source.join("context/Dockerfile"));
        match second {
            Some("link") => point(&source.join("context/Dockerfile"), "../Dockerfile"),
            Some(text) => drop(source.file("context/Dockerfile", text)),
            None => {}
        }
        let script = "cd \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(source.path()).arg(EXECUTOR);
        command.args(["--context=context", "--dockerfile=Dockerfile", "--no-push", "--isolation=namespace"]);
        let layout = Scratch::new("layout");
        command.arg(format!("--oci-layout-path={}", layout.join("image").display()));
        let finished = process::run(&mut command, SHORT);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        let label = Image::from_layout(&layout.join("image")).config["config"]["Labels"]["from"].clone();
        assert_eq!(label, "outside", "kaniko's order");
        finished.stderr
    };
    let stderr = build(&source, Some(own));
    assert!(
        stderr.contains("is taken, as kaniko does") && stderr.contains("context/Dockerfile of the context"),
        "{stderr}"
    );
    for second in [None, Some("link")] {
        let stderr = build(&source, second);
        assert!(!stderr.contains("as kaniko does"), "{second:?}: {stderr}");
    }
}
