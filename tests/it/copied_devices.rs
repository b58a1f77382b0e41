//! Devices that COPY and ADD take from archives, contexts and stages: data of the layer, whatever the machine allows.

use std::fs;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::Pod;
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
fn a_device_that_run_makes_is_data_of_the_layer() {
    let text = "FROM $BASE AS first
RUN umask 027 && mknod /made c 1 3 && mknod -m 640 /block b 7 200 && mkdir -p /d/e && cd /d && mknod e/old c 5 1 && \
    chown 5:6 e/old && mv e/old e/moved && ln e/moved linked && mknod pipe p
RUN ! mknod /made c 1 3 && ! mknod /nowhere/made c 1 3 && mknod /gone c 1 3 && rm /gone && echo x > /gone && \
    chmod 604 /made && rm /d/e/moved
RUN mkdir -p /other/bin /other/lib && cp /bin/busybox /other/bin/ && { chroot /other /bin/busybox mknod /inside c 1 5 || \
    mknod /other/inside c 1 5; }
USER 1000
RUN ! mknod /tmp/made c 1 3 && test ! -e /tmp/made
USER 0
FROM scratch
COPY --from=first /made /other/inside /d /copied/
";
    let source = source(text, &[]);
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("devices that RUN makes")) {
        let build = Executor::new(isolation, source.path()).only_layout().run().expect(0);
        let whole = Executor::new(isolation, source.path()).only_layout().add(&["--target=first"]).run().expect(0);
        let (copied, whole) = (Listing::of(&build.image()), Listing::of(&whole.image()));
        let name = isolation.name();
        let changed_root = !build.stderr.contains("can't change root directory");
        assert!(changed_root || isolation == Isolation::Chroot, "{name}: {}", build.stderr);
        for (listing, path, expected) in [
            (&whole, "/made", "char 0604 0:0 1:3"),
            (&whole, "/block", "block 0640 0:0 7:200"),
            (&whole, "/d/linked", "char 0640 5:6 5:1"),
            (&whole, "/d/pipe", "fifo 0640 0:0"),
            (&whole, "/other/inside", "char 0644 0:0 1:5"),
            (&copied, "/copied/made", "char 0604 0:0 1:3"),
            (&copied, "/copied/inside", "char 0644 0:0 1:5"),
            (&copied, "/copied/linked", "char 0640 5:6 5:1"),
        ] {
            let found = listing.0.get(path).map(|line| line.text.clone()).unwrap_or_default();
            assert_eq!(found, expected, "{name} {path}: {}", build.stderr);
        }
        assert!(whole.0["/gone"].text.starts_with("file"), "{name}: {}", whole.0["/gone"].text);
        assert!(!whole.0.contains_key("/d/e/moved"), "{name}");
    }
}

#[test]
fn a_device_is_made_where_run_sees_the_container_s_processes() {
    if !Isolation::Namespace.allowed("devices that RUN makes in a pod") {
        return;
    }
    let source = source("FROM $BASE\nRUN mkdir /d && cd /d && mknod made c 1 3 && mknod ../above b 7 1\n", &[]);
    let mut executor = Executor::in_pod(Isolation::Namespace, Pod::unshare_allowed(), source.path());
    let build = executor.only_layout().run().expect(0);
    let listing = Listing::of(&build.image());
    for (path, expected) in [("/d/made", "char 0644 0:0 1:3"), ("/above", "block 0644 0:0 7:1")] {
        assert_eq!(listing.0[path].text, expected, "{}", build.stderr);
    }
}
