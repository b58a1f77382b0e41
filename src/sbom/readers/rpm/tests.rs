use std::io::Read as _;

use super::*;
use crate::sbom::testing::{names, read_in};

/// What rpm 4.18 wrote for three packages, one of them removed again; one has a description of 22 kilobytes.
pub(in crate::sbom) fn sample() -> Vec<u8> {
    unpacked(include_bytes!("testdata/rpmdb.sqlite.gz"))
}

/// What `lib/backend/ndb/rpmpkg.c` of rpm 4.18 wrote of the same packages: four were put, and two of them removed between.
fn ndb() -> Vec<u8> {
    unpacked(include_bytes!("testdata/Packages.db.gz"))
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("the sample is whole");
    bytes
}

const EXPECTED: [&str; 2] = ["sample-three 1.three-3", "sample-two 7:1.two-3"];

fn sorted(found: &Findings) -> Vec<String> {
    let mut names = names(found);
    names.sort();
    names
}

#[test]
fn a_database_that_rpm_wrote_is_read() {
    for directory in ["var/lib/rpm", "usr/lib/sysimage/rpm"] {
        let found = read_in(&format!("{directory}/rpmdb.sqlite"), &sample(), 10_000);
        assert_eq!(sorted(&found), EXPECTED);
        assert!(found.notes.is_empty(), "{:?}", found.notes);
        let package = &found.packages[0];
        assert_eq!(package.licences, ["GPLv2+ and MIT"]);
        assert_eq!(package.architecture.as_deref(), Some("noarch"));
        assert!(package.source.as_deref().is_some_and(|source| source.ends_with(".src.rpm")), "{package:?}");
        assert_eq!(package.supplier.as_deref(), Some("Example"));
    }
}

#[test]
fn rpms_own_form_is_read() {
    let found = read_in("usr/lib/sysimage/rpm/Packages.db", &ndb(), 10_000);
    assert_eq!(sorted(&found), EXPECTED);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn what_is_damaged_or_not_read_is_told() {
    let (sqlite, ndb) = (sample(), ndb());
    for (path, whole) in [("var/lib/rpm/rpmdb.sqlite", &sqlite), ("var/lib/rpm/Packages.db", &ndb)] {
        for length in [1, 50, 200, 5000] {
            let found = read_in(path, &whole[..length], 4096);
            assert_eq!(found.notes.len(), 1, "{path} of {length}: {found:?}");
        }
    }
    for (path, content) in [("var/lib/rpm/Packages", &b"\0\0\0"[..]), ("var/lib/rpm/rpmdb.sqlite-wal", b"x")] {
        assert_eq!(read_in(path, content, 1).notes.len(), 1, "{path}");
        assert!(read_in(path, b"", 1).is_empty(), "{path} that is empty");
    }
}

#[test]
fn pages_that_lead_in_a_circle_end() {
    let mut bytes = sample();
    let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    // Every page becomes one that has only itself below it.
    for number in 1..bytes.len() / size {
        let page = &mut bytes[number * size..(number + 1) * size];
        page.fill(0);
        page[0] = 5;
        page[8..12].copy_from_slice(&u32::try_from(number + 1).expect("small").to_be_bytes());
    }
    assert_eq!(read_in("var/lib/rpm/rpmdb.sqlite", &bytes, 4096).notes.len(), 1);
}
