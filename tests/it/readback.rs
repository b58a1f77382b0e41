//! What we push is an image for everyone else: skopeo, umoci and podman read it.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::image::Image;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::{Pod, podman};
use crate::support::process::{self, LONG, SHORT};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::source;

const DOCKERFILE: &str = "FROM $BASE
ENV GREETING=ahoy
WORKDIR /srv
RUN mkdir -m 750 d && echo data > d/file && ln d/file hard && ln -s d/file soft && chown -R 1000:50 d && rm /bin/vi
COPY --chown=alice file copied
USER alice
LABEL org.example.read=back
ENTRYPOINT [\"/bin/sh\", \"-c\"]
CMD [\"echo $GREETING from $(id -un) in $(pwd); cat copied\"]
";

fn pushed(isolation: Isolation, registry: &Registry) {
    let source = source(DOCKERFILE, &[("file", "copied\n")]);
    Executor::new(isolation, source.path()).push_plain(registry, "app:1").run().expect(0);
}

#[test]
fn skopeo_inspects_and_copies() {
    if !Isolation::Namespace.allowed("readback: skopeo") {
        return;
    }
    let registry = Registry::plain();
    pushed(Isolation::Namespace, &registry);
    let inspect = |options: &[&str]| -> Value {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--tls-verify=false"]).args(options);
        let text = process::run(command.arg(format!("docker://{}/app:1", registry.address)), SHORT).success();
        serde_json::from_str(&text).expect("skopeo prints JSON")
    };
    let told = inspect(&[]);
    assert_eq!(told["Labels"]["org.example.read"], "back");
    assert_eq!(told["Os"], "linux");
    assert!(inspect(&["--config"])["history"].as_array().is_some_and(|history| history.len() >= 9));
    let scratch = Scratch::new("copied");
    registry.pull("app:1", scratch.path());
    let image = Image::from_layout(scratch.path());
    image.verify();
    assert_eq!(Some(image.digest), registry.digest("app:1"));
}

#[test]
fn umoci_unpacks_what_the_listing_tells() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("readback: umoci") {
            continue;
        }
        let registry = Registry::plain();
        pushed(isolation, &registry);
        let scratch = Scratch::new("umoci");
        let layout = scratch.directory("layout");
        registry.pull("app:1", &layout);
        let bundle = scratch.join("bundle");
        let image = format!("{}:image", layout.display());
        process::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle), LONG).success();
        let listing = Listing::of(&Image::from_layout(&layout));
        let mut unpacked = BTreeMap::new();
        walk(&bundle.join("rootfs"), "", &mut unpacked);
        let told: BTreeMap<_, _> = listing.0.iter().map(|(path, line)| (path.clone(), short(&line.text))).collect();
        assert_eq!(told, unpacked, "{}", isolation.name());
    }
}

#[test]
fn podman_runs_it() {
    if !Isolation::Container.allowed("readback: podman") {
        return;
    }
    let registry = Registry::plain();
    pushed(Isolation::Container, &registry);
    let reference = format!("{}/app:1", registry.address);
    let finished = Pod::plain().start_image(&reference, &[]).wait(LONG);
    assert_eq!(finished.success(), "ahoy from alice in /srv\ncopied\n");
    process::run(podman().args(["rmi", &reference]), SHORT).success();
}

/// Kind, mode and owner of a listing's line, which both sides tell.
fn short(line: &str) -> String {
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn walk(directory: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in directory.read_dir().expect("umoci unpacked it").flatten() {
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata().expect("it is there");
        let owner = format!("{}:{}", metadata.uid(), metadata.gid());
        let mode = format!("{:04o}", metadata.permissions().mode() & 0o7777);
        let kind = metadata.file_type();
        let line = if kind.is_symlink() {
            format!("symlink - {owner}")
        } else if kind.is_dir() {
            walk(&entry.path(), &path, found);
            format!("dir {mode} {owner}")
        } else {
            format!("file {mode} {owner}")
        };
        found.insert(path, line);
    }
}
