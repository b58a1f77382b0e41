//! Devices that COPY and ADD take from archives, contexts and stages: data of the layer, whatever the machine allows.

use std::fs;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::source::source;

#[test]
fn a_device_that_is_copied_is_in_the_layer_whichever_way_it_came() {
    let text = "FROM scratch AS made\nADD devices.tar /made/\nFROM $BASE\nADD devices.tar /added/\nCOPY dev /copied/\n\
                COPY --from=made /made /staged\nRUN --mount=from=made,source=/made,target=/mounted ls /mounted > /seen\n";
    let source = source(text, &[("devices.tar", ""), ("note", "n\n")]);
    let device = |kind, name: &str, (major, minor)| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).expect("a name");
        header.set_mode(0o620);
        header.set_uid(0);
        header.set_gid(5);
        header.set_size(0);
        header.set_device_major(major).expect("a number");
        header.set_device_minor(minor).expect("a number");
        header.set_cksum();
        header
    };
    let mut archive = tar::Builder::new(Vec::new());
    for (kind, name, numbers) in [
        (tar::EntryType::Char, "null", (1, 3)),
        (tar::EntryType::Block, "loop", (7, 200)),
        (tar::EntryType::Fifo, "pipe", (0, 0)),
    ] {
        archive.append(&device(kind, name, numbers), &[][..]).expect("memory");
    }
    let archive = archive.into_inner().expect("memory");
    fs::write(source.join("context/devices.tar"), &archive).expect("scratch is writable");
    // The context is an archive, too: a machine may not let us make devices.
    let mut context = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(archive.len() as u64);
    header.set_mode(0o644);
    context.append_data(&mut header, "devices.tar", &archive[..]).expect("memory");
    for (kind, name, numbers) in
        [(tar::EntryType::Char, "dev/null", (1, 3)), (tar::EntryType::Block, "dev/loop", (7, 200))]
    {
        context.append(&device(kind, name, numbers), &[][..]).expect("memory");
    }
    fs::write(source.join("context.tar"), context.into_inner().expect("memory")).expect("scratch is writable");
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("devices that are copied")) {
        let mut executor = Executor::new(isolation, source.path());
        let context = format!("--context=tar://{}/context.tar", executor.sources());
        let build = executor.only_layout().add(&[&context]).run().expect(0);
        let listing = Listing::of(&build.image());
        let text = |path: &str| listing.0.get(path).map(|line| line.text.clone()).unwrap_or_default();
        let name = isolation.name();
        for (path, owner) in [("added", "0:5"), ("copied", "0:0"), ("staged", "0:5")] {
            assert_eq!(text(&format!("/{path}/null")), format!("char 0620 {owner} 1:3"), "{name}: {}", build.stderr);
            assert_eq!(text(&format!("/{path}/loop")), format!("block 0620 {owner} 7:200"), "{name}: {}", build.stderr);
        }
        assert_eq!(text("/staged/pipe"), "fifo 0620 0:5", "{name}");
        assert!(text("/seen").contains("pipe"), "{name}: {}", text("/seen"));
    }
}

#[test]
fn a_device_that_run_may_not_make_is_explained() {
    if !Isolation::Namespace.allowed("devices that RUN makes") {
        return;
    }
    let source = source("FROM $BASE\nRUN mknod /made c 1 3\n", &[]);
    let build = Executor::new(Isolation::Namespace, source.path()).only_layout().run().expect(1);
    assert!(build.stderr.contains("in a user namespace the kernel makes no devices"), "{}", build.stderr);
    let mut executor = Executor::new(Isolation::Mediated, source.path());
    if Isolation::Mediated.allowed("devices that RUN makes, mediated") {
        let listing = Listing::of(&executor.only_layout().run().expect(0).image());
        assert_eq!(listing.0["/made"].text, "char 0644 0:0 1:3");
    }
}
