//! Named contexts: files, images and layouts under a name for FROM and `--from`.

use std::fs;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::scratch::Scratch;
use crate::support::source::source;

fn layout(source: &Scratch, arguments: &[&str]) -> (String, Scratch) {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.only_layout().add(arguments).add(&["--reproducible"]).run().expect(0);
    let kept = Scratch::new("layout");
    copy(&build.path("layout"), &kept.join("layout"));
    (build.image().digest, kept)
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("scratch is writable");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("scratch is writable");
        }
    }
}

#[test]
fn files_stand_before_stages_and_images_of_their_name() {
    if !Isolation::Namespace.allowed("context: named files") {
        return;
    }
    let files = Scratch::new("files");
    files.file("file", "one\n");
    let argument = format!("--build-context=Name={}", files.path().display());
    let plain = layout(&source("FROM scratch\nCOPY file /file\n", &[("file", "one\n")]), &[]).0;
    let from = source(
        "FROM scratch AS name\nCOPY other /file\nFROM scratch\nCOPY --from=name file /file\n",
        &[("other", "x")],
    );
    // History differs, files do not: the layer is what both share.
    let layers = |digest: &str, kept: &Scratch| {
        let manifest =
            fs::read_to_string(kept.join("layout/blobs").join(digest.replace(':', "/"))).expect("a manifest");
        let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
        manifest["layers"].to_string()
    };
    let (digest, kept) = layout(&from, &[&argument]);
    let (reference, reference_kept) = layout(&source("FROM scratch\nCOPY file /file\n", &[("file", "one\n")]), &[]);
    assert_eq!(reference, plain);
    assert_eq!(layers(&digest, &kept), layers(&reference, &reference_kept));
    let (digest, kept) = layout(&source("FROM name\n", &[]), &[&argument]);
    assert_eq!(layers(&digest, &kept), layers(&reference, &reference_kept), "FROM begins with the files");
}

#[test]
fn a_layout_is_a_base() {
    if !Isolation::Namespace.allowed("context: named layout") {
        return;
    }
    let (digest, kept) = layout(&source("FROM scratch\nCOPY file /file\nENV A=b\n", &[("file", "one\n")]), &[]);
    let path = kept.join("layout").display().to_string();
    let stage = source("FROM base\nCOPY more /more\n", &[("more", "two\n")]);
    let first = layout(&stage, &[&format!("--build-context=base=oci-layout://{path}")]).0;
    let pinned = layout(&stage, &[&format!("--build-context=base=oci-layout://{path}@{digest}")]).0;
    assert_eq!(first, pinned);
    let copied = source("FROM scratch\nCOPY --from=base /file /copied\n", &[]);
    layout(&copied, &[&format!("--build-context=base=oci-layout://{path}")]);
    let mut executor = Executor::new(Isolation::Namespace, stage.path());
    let wrong = format!("--build-context=base=oci-layout://{path}@sha256:{}", "0".repeat(64));
    executor.only_layout().add(&[&wrong]).run().expect(76);
}
