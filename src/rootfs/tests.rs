//! Layers and disks together: properties over random trees, hostile layers, and races with the clock.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;

use super::listing::listing;
use super::*;
use crate::image::{Entry, EntryKind, LayerReader, LayerWriter, Timestamp};
use crate::request::{Compression, SnapshotMode};
use crate::store::Store;

/// What a test does to a tree.
#[derive(Clone, Debug)]
enum Action {
    File(usize, u8),
    Append(usize),
    Directory(usize),
    Symlink(usize, usize),
    Link(usize, usize),
    Fifo(usize),
    Remove(usize),
    Mode(usize, u32),
    Owner(usize, u32),
    Mtime(usize, i64, u32),
    Xattr(usize, u8),
    Rename(usize, usize),
    TouchBack(usize),
}

const PATHS: [&str; 14] =
    ["a", "a/b", "a/b/c", "a/b-c", "a/d", "a-b", "b", "b/a", "b/a/x", "c", "c/é", "c/d/e/f", "d", "d/.hidden"];

fn action() -> impl Strategy<Value = Action> {
    let path = 0..PATHS.len();
    prop_oneof![
        6 => (path.clone(), any::<u8>()).prop_map(|(p, byte)| Action::File(p, byte)),
        2 => path.clone().prop_map(Action::Append),
        5 => path.clone().prop_map(Action::Directory),
        2 => (path.clone(), path.clone()).prop_map(|(p, to)| Action::Symlink(p, to)),
        4 => (path.clone(), path.clone()).prop_map(|(p, to)| Action::Link(p, to)),
        1 => path.clone().prop_map(Action::Fifo),
        4 => path.clone().prop_map(Action::Remove),
        2 => (path.clone(), prop_oneof![Just(0o755u32), Just(0o4711), Just(0o1777), Just(0o600)])
            .prop_map(|(p, mode)| Action::Mode(p, mode)),
        2 => (path.clone(), 0..4u32).prop_map(|(p, id)| Action::Owner(p, id)),
        2 => (path.clone(), 0..2_000_000_000i64, 0..1_000_000_000u32).prop_map(|(p, s, n)| Action::Mtime(p, s, n)),
        2 => (path.clone(), any::<u8>()).prop_map(|(p, value)| Action::Xattr(p, value)),
        3 => (path.clone(), path.clone()).prop_map(|(p, to)| Action::Rename(p, to)),
        2 => path.prop_map(Action::TouchBack),
    ]
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Does an action where it is possible; what is not possible in the tree as it is does nothing.
fn act(root: &Path, action: &Action) {
    let at = |index: &usize| root.join(PATHS[*index]);
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    match action {
        Action::File(p, byte) => {
            // Where a link leads to a named pipe, opening it must not wait for a reader.
            let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let mut options = fs::OpenOptions::new();
            if let Ok(mut file) = options.write(true).create(true).truncate(true).custom_flags(nonblock).open(at(p)) {
                file.write_all(&vec![*byte; usize::from(*byte) * 7]).unwrap();
            }
        }
        Action::Append(p) if is_file(&at(p)) => {
            fs::OpenOptions::new().append(true).open(at(p)).unwrap().write_all(b"more").unwrap();
        }
        Action::Directory(p) => drop(fs::create_dir_all(at(p))),
        Action::Symlink(p, to) => drop(symlink(PATHS[*to].rsplit('/').next().unwrap(), at(p))),
        Action::Link(p, to) => drop(fs::hard_link(at(p), at(to))),
        Action::Fifo(p) => {
            let _ = rustix::fs::mknodat(CWD, at(p), FileType::Fifo, Mode::RUSR, 0);
        }
        Action::Remove(p) => {
            if fs::remove_file(at(p)).is_err() {
                let _ = fs::remove_dir_all(at(p));
            }
        }
        Action::Mode(p, mode) if fs::symlink_metadata(at(p)).is_ok_and(|found| !found.is_symlink()) => {
            fs::set_permissions(at(p), fs::Permissions::from_mode(*mode)).unwrap();
        }
        Action::Owner(p, id) => drop(std::os::unix::fs::lchown(at(p), Some(*id), Some(id + 1))),
        Action::Mtime(p, seconds, nanoseconds) => set_mtime(&at(p), *seconds, *nanoseconds),
        Action::Xattr(p, value) if *value < 64 => {
            let _ = rustix::fs::lremovexattr(at(p), "user.test");
        }
        Action::Xattr(p, value) => {
            let _ = rustix::fs::lsetxattr(at(p), "user.test", &[*value % 26 + b'a'], XattrFlags::empty());
        }
        Action::Rename(p, to) => drop(fs::rename(at(p), at(to))),
        Action::TouchBack(p) if is_file(&at(p)) => {
            let found = fs::symlink_metadata(at(p)).unwrap();
            let bytes = fs::read(at(p)).unwrap();
            fs::OpenOptions::new().write(true).open(at(p)).unwrap().write_all(&bytes).unwrap();
            set_mtime(&at(p), found.mtime(), u32::try_from(found.mtime_nsec()).unwrap());
        }
        Action::Append(_) | Action::Mode(..) | Action::TouchBack(_) => {}
    }
}

/// A place for trees, and a store for the layers between them.
struct Bench {
    directory: TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn rootfs(&self, name: &str) -> Rootfs {
        Rootfs::open(&self.path(name), Vec::new(), RootfsKind::Plain).unwrap()
    }

    fn writer(&self) -> LayerWriter {
        LayerWriter::new(&self.store, Compression::Uncompressed, None).unwrap()
    }

    fn bytes(&self, writer: LayerWriter) -> Vec<u8> {
        let (layer, _) = writer.finish().unwrap();
        let mut bytes = Vec::new();
        self.store.read(&layer.descriptor.digest).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn pack(&self, rootfs: &Rootfs, changes: &Changes, contents: &mut Contents) -> Vec<u8> {
        let mut writer = self.writer();
        pack(rootfs, changes, &mut writer, contents).unwrap();
        self.bytes(writer)
    }
}

fn apply(rootfs: &mut Rootfs, layer: &[u8]) -> Result<Vec<Warning>, Error> {
    unpack(rootfs, &mut LayerReader::new(layer), Fidelity::Strict, &mut Contents::default())
}

fn names(changes: &Changes) -> Vec<(String, ChangeKind)> {
    changes.entries.iter().map(|change| (change.path.display().to_string(), change.kind)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// unpack(pack(changes(a, b))) on a equals b.
    #[test]
    fn layers_carry_every_change(
        first in proptest::collection::vec(action(), 0..40),
        second in proptest::collection::vec(action(), 0..25),
        third in proptest::collection::vec(action(), 0..10),
    ) {
        let bench = Bench::new();
        let work = bench.rootfs("work");
        let mut copy = bench.rootfs("copy");
        let mut contents = Contents::default();
        let mut before = Snapshot::take(&work, &contents).unwrap();
        before.settle();
        for actions in [first, second, third] {
            for action in &actions {
                act(&work.path, action);
            }
            let changes = before.changes(&work, SnapshotMode::Full).unwrap();
            let layer = bench.pack(&work, &changes, &mut contents);
            apply(&mut copy, &layer).unwrap();
            prop_assert_eq!(listing(&copy.path), listing(&work.path), "{:?}", names(&changes));
            before = changes.into_snapshot(&contents);
            before.settle();
            prop_assert!(before.changes(&work, SnapshotMode::Full).unwrap().is_empty());
        }
    }
}

/// Runs `test` in a mount namespace of its own; says so and does nothing where that is not allowed.
fn with_own_mounts(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let private = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
                && nix::mount::mount(
                    None::<&str>,
                    "/",
                    None::<&str>,
                    nix::mount::MsFlags::MS_PRIVATE | nix::mount::MsFlags::MS_REC,
                    None::<&str>,
                )
                .is_ok();
            if private {
                test();
            } else {
                eprintln!("skipped: no right to mount (CAP_SYS_ADMIN)");
            }
        });
    });
}

fn mount_overlay(bench: &Bench, redirect: bool) -> bool {
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| bench.path(name));
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir={},metacopy=off",
        lower.display(),
        upper.display(),
        work.display(),
        if redirect { "on" } else { "off" }
    );
    let mounted = nix::mount::mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        nix::mount::MsFlags::empty(),
        Some(options.as_str()),
    );
    if let Err(errno) = mounted {
        eprintln!("skipped: cannot mount an overlay here: {errno}");
    }
    mounted.is_ok()
}

/// What the walk finds in an overlay is what its upper directory holds.
#[test]
fn an_upper_directory_tells_what_the_walk_finds() {
    let config = ProptestConfig { cases: 80, ..ProptestConfig::default() };
    let actions = |most| proptest::collection::vec(action(), 0..most);
    with_own_mounts(|| {
        proptest!(config, |(first in actions(40), second in actions(20), third in actions(8), redirect: bool)| {
            let bench = Bench::new();
            let lower = bench.rootfs("lower");
            let mut contents = Contents::default();
            let empty = Snapshot::begin();
            first.iter().for_each(|action| act(&lower.path, action));
            let layer = bench.pack(&lower, &empty.changes(&lower, SnapshotMode::Full).unwrap(), &mut contents);
            if !mount_overlay(&bench, redirect) {
                return Ok(());
            }
            let merged = bench.path("merged");
            let kind = RootfsKind::Overlay { upper: bench.path("upper") };
            let overlay = Rootfs::open(&merged, Vec::new(), kind).unwrap();
            let plain = Rootfs::open(&merged, Vec::new(), RootfsKind::Plain).unwrap();
            let mut copy = bench.rootfs("copy");
            apply(&mut copy, &layer).unwrap();
            let mut before = Snapshot::take(&plain, &contents).unwrap();
            for actions in [second, third] {
                before.settle();
                actions.iter().for_each(|action| act(&merged, action));
                let walked = before.changes(&plain, SnapshotMode::Full).unwrap();
                let looked = before.changes(&overlay, SnapshotMode::Full).unwrap();
                prop_assert_eq!(names(&looked), names(&walked));
                let layer = bench.pack(&overlay, &looked, &mut contents);
                apply(&mut copy, &layer).unwrap();
                prop_assert_eq!(listing(&copy.path), listing(&merged));
                before = looked.into_snapshot(&contents);
            }
            nix::mount::umount2(&merged, nix::mount::MntFlags::MNT_DETACH).unwrap();
        });
    });
}

/// Writes an archive that no careful writer would write.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, flag: u8, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(flag));
        header.set_mode(if flag == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        if matches!(flag, b'3' | b'4') {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(b'0', name, "", content.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        self.add(b'5', name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(b'2', name, target, b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.add(b'1', name, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Returns the paths and contents of a tree, without directories: `a=content b->target`.
fn sketch(root: &Path) -> String {
    let mut files = Vec::new();
    let tree = Tree::open(root).unwrap();
    walk::walk(&tree, &Exclusions::default(), &mut |visit| {
        let name = visit.path.display();
        match visit.stat.kind {
            FileKind::Regular => files.push(format!("{name}={}", fs::read_to_string(root.join(visit.path)).unwrap())),
            FileKind::Symlink => files.push(format!("{name}->{}", visit.parent.read_link(visit.name())?.display())),
            FileKind::Directory => {}
            other => files.push(format!("{name}:{other:?}")),
        }
        Ok(())
    })
    .unwrap();
    files.join(" ")
}

#[test]
fn no_layer_reaches_out_of_the_tree() {
    let new = Archive::default;
    let cases: [(&str, Archive); 16] = [
        ("a link upwards", new().symlink("e", "../outside").file("e/victim", "x")),
        ("many steps up", new().symlink("e", "../../../../../../../../outside").file("e/new/victim", "x")),
        ("an absolute link", new().symlink("e", "OUTSIDE").file("e/victim", "x")),
        ("a link to a file", new().symlink("e", "../outside/victim").file("e", "x")),
        ("a chain of links", new().symlink("e", "f").symlink("f", "../outside").file("e/victim", "x")),
        ("a directory on a link", new().symlink("e", "../outside").directory("e").file("e/victim", "x")),
        ("a directory below a link", new().symlink("e", "../outside").directory("e/sub").directory("e")),
        ("a removal", new().symlink("e", "../outside").file("e/.wh.victim", "")),
        ("an opaque directory", new().symlink("e", "../outside").file("e/.wh..wh..opq", "")),
        ("a hard link", new().symlink("e", "../outside").link("h", "e/victim").file("h", "x")),
        ("a hard link to a link", new().symlink("e", "../outside/victim").link("h", "e").file("h", "x")),
        ("a hard link upwards", new().link("h", "../outside/victim")),
        ("dots in the path", new().file("../outside/victim", "x")),
        ("dots within the path", new().directory("a").file("a/../../outside/victim", "x")),
        ("an absolute path", new().file("/outside/victim", "x")),
        ("a device", new().symlink("e", "../outside").add(b'3', "e/victim", "", b"")),
    ];
    for resolver in [resolve::Resolver::Openat2, resolve::Resolver::Walk] {
        for (name, archive) in &cases {
            let bench = Bench::new();
            let outside = bench.path("outside");
            fs::write(outside.join("victim"), "untouched").unwrap();
            fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
            let before = listing(&bench.path("outside"));
            let mut rootfs = bench.rootfs("root");
            rootfs.tree = rootfs.tree.with_resolver(resolver);
            let mut layer = Archive(archive.0.clone()).end();
            if let Some(at) = layer.windows(7).position(|window| window == b"OUTSIDE") {
                let target = bench.directory.path().join("outside");
                let target = target.to_str().unwrap().as_bytes();
                layer[at..at + target.len()].copy_from_slice(target);
                let mut header = tar::Header::new_ustar();
                header.as_mut_bytes().copy_from_slice(&layer[..512]);
                header.set_cksum();
                layer[..512].copy_from_slice(header.as_bytes());
            }
            // An error is as good as an entry that was led back into the tree.
            let _ = apply(&mut rootfs, &layer);
            assert_eq!(listing(&outside), before, "{name} with {resolver:?}");
            assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o7777, 0o750, "{name} with {resolver:?}");
        }
    }
}

#[test]
fn layers_are_merged() {
    let new = Archive::default;
    let lower = || new().directory("d").file("d/old", "1").file("d/both", "1").directory("d/s").file("d/s/old", "1");
    let cases: [(&str, Archive, Archive, &str); 18] = [
        ("removal", lower(), new().file("d/.wh.old", "").file("d/.wh.s", ""), "d/both=1"),
        ("removal of what is not there", new().file("a", "1"), new().file("x/.wh.y", "").file(".wh.z", ""), "a=1"),
        (
            "removal before the new one",
            lower(),
            new().file("d/.wh.s", "").file("d/s/new", "2"),
            "d/both=1 d/old=1 d/s/new=2",
        ),
        (
            "removal after the new one",
            lower(),
            new().file("d/s/new", "2").file("d/.wh.s", ""),
            "d/both=1 d/old=1 d/s/new=2",
        ),
        ("opaque first", lower(), new().directory("d").file("d/.wh..wh..opq", "").file("d/both", "2"), "d/both=2"),
        (
            "opaque last",
            lower(),
            new().file("d/both", "2").file("d/s/new", "2").file("d/.wh..wh..opq", ""),
            "d/both=2 d/s/new=2",
        ),
        (
            "opaque through a link",
            lower().symlink("l", "d"),
            new().file("d/both", "2").file("l/.wh..wh..opq", ""),
            "d/both=2 l->d",
        ),
        ("directory again", lower(), new().directory("d"), "d/both=1 d/old=1 d/s/old=1"),
        ("file on directory", lower(), new().file("d", "2"), "d=2"),
        ("directory on file", new().file("a", "1"), new().directory("a").file("a/b", "2"), "a/b=2"),
        (
            "directory on link",
            lower().symlink("l", "d"),
            new().directory("l").file("l/x", "2"),
            "d/both=1 d/old=1 d/s/old=1 l/x=2",
        ),
        ("link on directory", lower(), new().symlink("d", "e").file("e/x", "2"), "d->e e/x=2"),
        ("below a link", lower().symlink("l", "/d"), new().file("l/old", "2"), "d/both=1 d/old=2 d/s/old=1 l->/d"),
        (
            "below a dangling link",
            new().symlink("l", "/deep/down"),
            new().file("l/x", "2"),
            "deep/down/x=2 l->/deep/down",
        ),
        ("parent was a file", new().file("a", "1"), new().file("a/b/c", "2"), "a/b/c=2"),
        ("hard link to a lower file", new().file("a", "1"), new().link("b", "a"), "a=1 b=1"),
        ("hard link onto its target", new().file("a", "1").link("b", "a"), new().link("b", "a"), "a=1 b=1"),
        ("reserved names", new().file("a", "1"), new().file(".wh..wh.plnk", "").file(".wh..", ""), "a=1"),
    ];
    for (name, lower, upper, expected) in cases {
        let bench = Bench::new();
        let mut rootfs = bench.rootfs("root");
        assert_eq!(apply(&mut rootfs, &lower.end()).unwrap(), [], "{name}");
        assert_eq!(apply(&mut rootfs, &upper.end()).unwrap(), [], "{name}");
        assert_eq!(sketch(&rootfs.path), expected, "{name}");
    }
}

#[test]
fn a_parent_that_the_layer_does_not_name_keeps_its_time() {
    let bench = Bench::new();
    let mut rootfs = bench.rootfs("root");
    let new = Archive::default;
    apply(&mut rootfs, &new().directory("d").directory("d/e").file("d/e/a", "1").file("d/b", "1").end()).unwrap();
    apply(&mut rootfs, &new().file("d/e/new", "2").file("d/.wh.b", "").symlink("l", "d/e").end()).unwrap();
    apply(&mut rootfs, &new().file("l/newer", "3").end()).unwrap();
    for path in ["d", "d/e", "d/e/newer", "l"] {
        let stat = rootfs.tree.stat(Path::new(path)).unwrap().unwrap();
        assert_eq!(stat.mtime, Timestamp { seconds: 1_000_000_000, nanoseconds: 0 }, "{path}");
    }
}

#[test]
fn a_hard_link_without_a_target_is_an_error() {
    let bench = Bench::new();
    let layer = Archive::default().directory("d").link("a", "missing").end();
    let error = apply(&mut bench.rootfs("root"), &layer).unwrap_err();
    assert_eq!(error.to_string(), "a is a hard link to missing, which is no file of the image");
    let layer = Archive::default().directory("d").link("a", "d").end();
    assert!(matches!(apply(&mut bench.rootfs("root"), &layer), Err(Error::Link { .. })));
}

#[test]
fn what_is_excluded_is_left_alone() {
    let bench = Bench::new();
    let mut rootfs = bench.rootfs("root");
    fs::create_dir_all(rootfs.path.join("var/run/secrets")).unwrap();
    fs::write(rootfs.path.join("var/run/secrets/token"), "mounted").unwrap();
    fs::create_dir_all(rootfs.path.join("proc/1")).unwrap();
    rootfs.excluded = vec![PathBuf::from("/var/run/secrets"), PathBuf::from("/proc"), PathBuf::from("/etc/hosts")];
    let new = Archive::default;
    let layer = new().directory("proc").file("proc/x", "1").file("etc/hosts", "1").file("etc/ok", "1");
    let layer = layer.link("a", "etc/hosts").directory("run").file("var/.wh.run", "").file("var/run/x", "1");
    let layer = layer.symlink("var/run", "/run");
    let warnings = apply(&mut rootfs, &layer.end()).unwrap();
    assert_eq!(sketch(&rootfs.path), "etc/ok=1 var/run/secrets/token=mounted");
    let told: Vec<_> = warnings.iter().map(|warning| (warning.omission, warning.path.to_str().unwrap())).collect();
    assert_eq!(told, [(Omission::InTheWay, "var/run"), (Omission::LinkToExcluded, "a")]);
    assert!(rootfs.excluded.contains(&PathBuf::from("/var/run")));
    assert_eq!(rootfs.directories_for_links, [(PathBuf::from("/var/run"), PathBuf::from("/run"))]);
    let changes = Snapshot::begin().changes(&rootfs, SnapshotMode::Full).unwrap();
    let found: Vec<_> = names(&changes).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["", "etc", "etc/ok", "run", "var"]);
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    let mtime = Timestamp { seconds: 1_234_567_890, nanoseconds: 123_456_789 };
    Entry { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Xattrs::new() }
}

#[test]
fn metadata_arrives_whole() {
    let bench = Bench::new();
    let mut writer = bench.writer();
    // Version 2, cap_net_raw permitted. Source: linux/capability.h, struct vfs_cap_data.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let xattrs = Xattrs::from([
        (b"security.capability".to_vec(), capability.to_vec()),
        (b"user.note".to_vec(), b"x".to_vec()),
        (b"security.selinux".to_vec(), b"not_of_the_image".to_vec()),
    ]);
    let file = EntryKind::File { size: 3 };
    let setuid = Entry { mode: 0o6755, uid: 7, gid: 8, xattrs: xattrs.clone(), ..entry("setuid", file) };
    writer.append(&setuid, &mut &b"abc"[..]).unwrap();
    let link = Entry { uid: 9, gid: 10, ..entry("link", EntryKind::Symlink { target: "setuid".into() }) };
    writer.append(&link, &mut std::io::empty()).unwrap();
    let sticky = Entry { mode: 0o3777, gid: 5, ..entry("sticky", EntryKind::Directory) };
    writer.append(&sticky, &mut std::io::empty()).unwrap();
    writer.append(&Entry { mode: 0o700, ..entry("", EntryKind::Directory) }, &mut std::io::empty()).unwrap();
    writer.append(&Entry { mode: 0o622, ..entry("fifo", EntryKind::Fifo) }, &mut std::io::empty()).unwrap();
    let layer = bench.bytes(writer);
    let mut rootfs = bench.rootfs("root");
    assert_eq!(apply(&mut rootfs, &layer).unwrap(), []);
    let hash = listing(&rootfs.path).lines().nth(2).unwrap().split(' ').nth(6).unwrap().to_owned();
    let caps = String::from_utf8_lossy(&capability);
    let expected = format!(
        "fifo Fifo 0622 0:0 0 1234567890   =fifo\n\
         link Symlink 0777 9:10 6 1234567890 -> setuid  =link\n\
         setuid Regular 6755 7:8 3 1234567890 {hash} security.capability={caps},user.note=x =setuid\n\
         sticky Directory 3777 0:5 0 1234567890   =sticky\n"
    );
    assert_eq!(listing(&rootfs.path), expected);
    let root = rootfs.tree.stat(Path::new("")).unwrap().unwrap();
    assert_eq!((root.mode, root.mtime.nanoseconds), (0o700, 0));
}

#[test]
fn a_file_touched_back_is_no_change() {
    let bench = Bench::new();
    let mut rootfs = bench.rootfs("root");
    let mut contents = Contents::default();
    let layer = Archive::default().file("a", "same").file("b", "same").symlink("l", "a").directory("d").end();
    unpack(&mut rootfs, &mut LayerReader::new(&layer[..]), Fidelity::Strict, &mut contents).unwrap();
    let mut before = Snapshot::take(&rootfs, &contents).unwrap();
    before.settle();
    let at = |name: &str| rootfs.path.join(name);
    fs::write(at("a"), "same").unwrap();
    fs::remove_file(at("l")).unwrap();
    symlink("a", at("l")).unwrap();
    fs::write(at("d/x"), "").unwrap();
    fs::remove_file(at("d/x")).unwrap();
    fs::copy(at("b"), at("c")).unwrap();
    fs::rename(at("c"), at("b")).unwrap();
    for name in ["a", "b", "l", "d"] {
        set_mtime(&at(name), 1_000_000_000, 0);
    }
    assert_eq!(names(&before.changes(&rootfs, SnapshotMode::Full).unwrap()), []);
    fs::write(at("a"), "SAME").unwrap();
    set_mtime(&at("a"), 1_000_000_000, 0);
    let changed = [("a".to_owned(), ChangeKind::Modified)];
    let told = before.changes(&rootfs, SnapshotMode::Full).unwrap();
    assert_eq!(names(&told), changed);
    // What was told is known from then on.
    let after = told.into_snapshot(&Contents::default());
    set_mtime(&at("a"), 1_000_000_000, 0);
    assert_eq!(names(&after.changes(&rootfs, SnapshotMode::Full).unwrap()), []);
    // The weaker modes are what their documentation says they are.
    assert_eq!(names(&before.changes(&rootfs, SnapshotMode::Redo).unwrap()), []);
    fs::set_permissions(at("b"), fs::Permissions::from_mode(0o600)).unwrap();
    let changed = [("b".to_owned(), ChangeKind::Modified)];
    assert_eq!(names(&before.changes(&rootfs, SnapshotMode::Redo).unwrap()), changed);
    assert_eq!(names(&before.changes(&rootfs, SnapshotMode::Time).unwrap()), []);
}

/// Were the shortcut taken for a file that changed in the tick of its last change, this would be missed.
#[test]
fn a_file_in_the_tick_of_the_snapshot_is_compared_by_content() {
    let bench = Bench::new();
    let rootfs = bench.rootfs("root");
    fs::write(rootfs.path.join("a"), "new").unwrap();
    // As if the file had held something else, of which stat tells nothing.
    let mut contents = Contents::default();
    contents.record(Path::new("a"), contents::Known { content: 1, xattrs: 0 });
    let mut before = Snapshot::take(&rootfs, &contents).unwrap();
    let stat = before.node(1).unwrap().stat;
    before.set_settled(stat.ctime);
    let changed = [("a".to_owned(), ChangeKind::Modified)];
    assert_eq!(names(&before.changes(&rootfs, SnapshotMode::Full).unwrap()), changed);
    before.set_settled(Timestamp { seconds: stat.ctime.seconds + 1, ..stat.ctime });
    assert_eq!(names(&before.changes(&rootfs, SnapshotMode::Full).unwrap()), []);
}

#[test]
fn a_change_right_after_the_snapshot_is_seen() {
    let bench = Bench::new();
    let rootfs = bench.rootfs("root");
    let path = rootfs.path.join("a");
    for round in 0..100u8 {
        let settled = round % 2 == 0;
        fs::write(&path, [round]).unwrap();
        set_mtime(&path, 1, 0);
        let mut contents = Contents::default();
        contents.record(Path::new("a"), contents::Known { content: xxhash_rust::xxh3::xxh3_128(&[round]), xattrs: 0 });
        let mut before = Snapshot::take(&rootfs, &contents).unwrap();
        if settled {
            assert_eq!(before.settle(), 0);
        }
        fs::write(&path, [!round]).unwrap();
        set_mtime(&path, 1, 0);
        let changes = before.changes(&rootfs, SnapshotMode::Full).unwrap();
        assert_eq!(names(&changes), [("a".to_owned(), ChangeKind::Modified)], "round {round}");
    }
}

#[test]
fn a_clock_set_back_is_told() {
    let bench = Bench::new();
    let rootfs = bench.rootfs("root");
    let mut snapshot = Snapshot::take(&rootfs, &Contents::default()).unwrap();
    let stat = snapshot.node(0).unwrap().stat;
    let ctime = Timestamp { seconds: stat.ctime.seconds + 3600, nanoseconds: 1 };
    snapshot.push(Path::new("future"), Stat { ctime, ..stat }, None);
    assert_eq!(snapshot.settle(), 1);
}

#[test]
fn all_names_of_a_changed_file_stay_together() {
    let bench = Bench::new();
    let rootfs = bench.rootfs("root");
    let at = |name: &str| rootfs.path.join(name);
    fs::write(at("b"), "1").unwrap();
    fs::hard_link(at("b"), at("c")).unwrap();
    let contents = &mut Contents::default();
    let first = Snapshot::begin().changes(&rootfs, SnapshotMode::Full).unwrap();
    bench.pack(&rootfs, &first, contents);
    let mut before = first.into_snapshot(contents);
    before.settle();
    fs::hard_link(at("b"), at("a")).unwrap();
    let changes = before.changes(&rootfs, SnapshotMode::Full).unwrap();
    let expected = [("a", ChangeKind::Added), ("b", ChangeKind::Linked), ("c", ChangeKind::Linked)];
    assert_eq!(names(&changes), expected.map(|(name, kind)| (name.to_owned(), kind)));
    let layer = bench.pack(&rootfs, &changes, contents);
    let mut reader = LayerReader::new(&layer[..]);
    let mut kinds = Vec::new();
    while let Some((entry, _)) = reader.next_entry().unwrap() {
        kinds.push(entry.kind);
    }
    let link = EntryKind::HardLink { target: "a".into() };
    assert_eq!(kinds, [EntryKind::File { size: 1 }, link.clone(), link]);
}

#[test]
fn what_a_layer_cannot_hold_is_told() {
    let bench = Bench::new();
    let rootfs = bench.rootfs("root");
    let _socket = std::os::unix::net::UnixListener::bind(rootfs.path.join("socket")).unwrap();
    fs::create_dir(rootfs.path.join(".wh.d")).unwrap();
    fs::write(rootfs.path.join(".wh.d/x"), "").unwrap();
    fs::write(rootfs.path.join("ok"), "").unwrap();
    let changes = Snapshot::begin().changes(&rootfs, SnapshotMode::Full).unwrap();
    let mut writer = bench.writer();
    let warnings = pack(&rootfs, &changes, &mut writer, &mut Contents::default()).unwrap();
    let told: Vec<_> = warnings.iter().map(|warning| (warning.omission, warning.count)).collect();
    assert_eq!(told, [(Omission::Socket, 1), (Omission::ReservedName, 2)]);
    assert_eq!(
        warnings[1].to_string(),
        "/.wh.d has a name that begins with `.wh.`, which would remove a file: left out (and 1 more)"
    );
}

#[test]
fn an_attribute_that_the_kernel_refuses_is_told_and_left_out() {
    let bench = Bench::new();
    let mut writer = bench.writer();
    // The kernel knows no such class of attributes.
    let xattrs = Xattrs::from([(b"nonsense.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), b"2".to_vec())]);
    for name in ["x", "y"] {
        let file = Entry { xattrs: xattrs.clone(), ..entry(name, EntryKind::File { size: 0 }) };
        writer.append(&file, &mut std::io::empty()).unwrap();
    }
    let layer = bench.bytes(writer);
    let mut rootfs = bench.rootfs("root");
    let contents = &mut Contents::default();
    let warnings = unpack(&mut rootfs, &mut LayerReader::new(&layer[..]), Fidelity::Strict, contents).unwrap();
    assert_eq!(warnings, [Warning { omission: Omission::Xattrs, path: "x".into(), count: 2 }]);
    // What is remembered is what was set: a file touched back is still no change.
    let mut before = Snapshot::take(&rootfs, contents).unwrap();
    before.settle();
    fs::write(rootfs.path.join("y"), "").unwrap();
    set_mtime(&rootfs.path.join("y"), 1_234_567_890, 0);
    set_mtime(&rootfs.path, 1, 1);
    assert_eq!(names(&before.changes(&rootfs, SnapshotMode::Full).unwrap()), []);
}

#[test]
fn directories_as_deep_as_a_path_can_be_come_through() {
    let bench = Bench::new();
    let path = "d/".repeat(2000);
    let path = path.trim_end_matches('/');
    let mut writer = bench.writer();
    writer.append(&entry(path, EntryKind::Directory), &mut std::io::empty()).unwrap();
    let layer = bench.bytes(writer);
    let mut rootfs = bench.rootfs("root");
    apply(&mut rootfs, &layer).unwrap();
    let mut snapshot = Snapshot::take(&rootfs, &Contents::default()).unwrap();
    assert_eq!(snapshot.len(), 2001);
    snapshot.settle();
    let deepest = rootfs.tree.directory(Path::new(path)).unwrap();
    deepest.create_directory("new".as_ref(), 0o755).unwrap();
    let changes = snapshot.changes(&rootfs, SnapshotMode::Full).unwrap();
    assert_eq!(changes.entries.len(), 2, "the new one and the one it is in");
    let mut writer = bench.writer();
    pack(&rootfs, &changes, &mut writer, &mut Contents::default()).unwrap();
    let layer = bench.bytes(writer);
    let mut again = bench.rootfs("again");
    apply(&mut again, &layer).unwrap();
    assert!(again.tree.stat(&Path::new(path).join("new")).unwrap().is_some());
    for rootfs in [rootfs, again] {
        assert!(remove(&rootfs.path).unwrap());
    }
}

#[test]
fn holes_stay_holes_and_large_files_whole() {
    let bench = Bench::new();
    let mut bytes = vec![0; 3 << 20];
    bytes[1 << 20..][..5].copy_from_slice(b"bytes");
    let mut writer = bench.writer();
    let size = bytes.len() as u64;
    writer.append(&entry("sparse", EntryKind::File { size }), &mut &bytes[..]).unwrap();
    let layer = bench.bytes(writer);
    let mut rootfs = bench.rootfs("root");
    let mut contents = Contents::default();
    unpack(&mut rootfs, &mut LayerReader::new(&layer[..]), Fidelity::Strict, &mut contents).unwrap();
    assert_eq!(fs::read(rootfs.path.join("sparse")).unwrap(), bytes);
    assert!(fs::metadata(rootfs.path.join("sparse")).unwrap().blocks() * 512 < 1 << 20);
    let known = contents.get(Path::new("sparse")).unwrap();
    assert_eq!(known.content, xxhash_rust::xxh3::xxh3_128(&bytes));
}

#[test]
fn a_directory_that_an_overlay_renamed_is_looked_through() {
    with_own_mounts(|| {
        let bench = Bench::new();
        let lower = bench.path("lower");
        for file in ["a/x", "b/y"] {
            fs::create_dir_all(lower.join(file).parent().unwrap()).unwrap();
            fs::write(lower.join(file), "").unwrap();
        }
        set_mtime(&lower.join("b"), 1, 0);
        if !mount_overlay(&bench, true) {
            return;
        }
        let merged = bench.path("merged");
        let kind = RootfsKind::Overlay { upper: bench.path("upper") };
        let rootfs = Rootfs::open(&merged, Vec::new(), kind).unwrap();
        let mut before = Snapshot::take(&rootfs, &Contents::default()).unwrap();
        before.settle();
        fs::remove_dir_all(merged.join("b")).unwrap();
        fs::rename(merged.join("a"), merged.join("b")).unwrap();
        let changes = before.changes(&rootfs, SnapshotMode::Full).unwrap();
        let (added, modified, removed) = (ChangeKind::Added, ChangeKind::Modified, ChangeKind::Removed);
        let expected = [("a", removed), ("b", modified), ("b/x", added), ("b/y", removed)];
        assert_eq!(names(&changes), expected.map(|(name, kind)| (name.to_owned(), kind)));
        nix::mount::umount2(&merged, nix::mount::MntFlags::MNT_DETACH).unwrap();
    });
}

#[test]
fn parents_come_first_and_once() {
    let bench = Bench::new();
    let rootfs = bench.rootfs("root");
    fs::create_dir_all(rootfs.path.join("d/e")).unwrap();
    fs::create_dir_all(rootfs.path.join("d-f")).unwrap();
    for file in ["d/a", "d/e/b", "d/e/c", "d-f/g"] {
        fs::write(rootfs.path.join(file), "1").unwrap();
    }
    let mut before = Snapshot::take(&rootfs, &Contents::default()).unwrap();
    before.settle();
    // Changes no directory.
    for file in ["d/a", "d/e/b", "d/e/c", "d-f/g"] {
        fs::write(rootfs.path.join(file), "22").unwrap();
    }
    let changes = before.changes(&rootfs, SnapshotMode::Full).unwrap();
    assert_eq!(changes.entries.len(), 4);
    let layer = bench.pack(&rootfs, &changes, &mut Contents::default());
    let mut reader = LayerReader::new(&layer[..]);
    let mut paths = Vec::new();
    while let Some((entry, _)) = reader.next_entry().unwrap() {
        paths.push(entry.path.display().to_string());
    }
    assert_eq!(paths, ["d", "d/a", "d/e", "d/e/b", "d/e/c", "d-f", "d-f/g"]);
}
