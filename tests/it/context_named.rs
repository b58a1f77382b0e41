//! Named contexts: files, images and layouts under a name for FROM and `--from`.

use std::fs;

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
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
fn images_and_layouts_are_bases_and_sources_in_every_isolation() {
    let image = bases::base("BASE");
    let (_, kept) = layout(&source("FROM scratch\nCOPY file /from-layout\n", &[("file", "one\n")]), &[]);
    let text = "FROM Start\nRUN echo ran >/ran\nCOPY --from=oven /from-layout /copied\n\
                COPY --from=start /etc/passwd /again\nFROM oven\nCOPY --from=0 /ran /copied /again /\n";
    let dockerfile = source(text, &[]);
    copy(&kept.join("layout"), &dockerfile.join("layout"));
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("context: named images")) {
        let mut executor = Executor::new(isolation, dockerfile.path());
        let layout = format!("--build-context=oven=oci-layout://{}/layout", executor.sources());
        let image = format!("--build-context=start=docker-image://{}", image.reference);
        let build = executor.only_layout().add(&[&layout, &image]).run().expect(0);
        let listing = Listing::of(&build.image());
        let paths: Vec<&str> = listing.0.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/again", "/copied", "/from-layout", "/ran"], "{}", isolation.name());
        assert!(listing.0["/copied"].text.ends_with("\"one\\n\""), "{:?}", listing.0["/copied"]);
    }
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
