use std::io::Read as _;

use super::*;
use crate::sbom::testing::{names, read_in};

/// What rpm 4.18 wrote for three packages, one of them removed again; one has a description of 22 kilobytes.
pub(in crate::sbom) fn sample() -> Vec<u8> {
    let packed = include_bytes!("testdata/rpmdb.sqlite.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("the sample is whole");
    bytes
}

/// The headers in the sample.
fn headers() -> Vec<Vec<u8>> {
    let mut blobs = Vec::new();
    let sample = sample();
    sqlite::each_blob(&sample.as_slice(), "Packages", &mut |blob| blobs.push(blob.to_vec())).expect("reads");
    blobs
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

/// Writes a database of rpm's own form: one page of slots, and blobs behind it; the second slot is free.
fn ndb(blobs: &[Vec<u8>]) -> Vec<u8> {
    let mut slots = Vec::new();
    let mut bodies: Vec<u8> = Vec::new();
    for (number, blob) in (1_u32..).zip(blobs) {
        let length = u32::try_from(blob.len()).expect("small");
        let block = u32::try_from((4096 + bodies.len()) / 16).expect("small");
        let blocks = u32::try_from((blob.len() + 28).div_ceil(16)).expect("small");
        slots.push([0x746f_6c53, number, block, blocks]);
        slots.push([0x746f_6c53, 0, 0, 0]);
        let head = [0x5362_6c42_u32, number, 1, length].map(u32::to_le_bytes).concat();
        bodies.extend([&head[..], blob, &[0; 12]].concat());
        bodies.resize(bodies.len().next_multiple_of(16), 0);
    }
    let mut page = [&b"RpmP"[..], &[0; 4], &1_u32.to_le_bytes(), &1_u32.to_le_bytes(), &[0; 16]].concat();
    slots.resize(254, [0x746f_6c53, 0, 0, 0]);
    page.extend(slots.into_iter().flat_map(|slot| slot.map(u32::to_le_bytes).concat()));
    [page, bodies].concat()
}

#[test]
fn rpms_own_form_is_read() {
    let found = read_in("usr/lib/sysimage/rpm/Packages.db", &ndb(&headers()), 10_000);
    assert_eq!(sorted(&found), EXPECTED);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn what_is_damaged_or_not_read_is_told() {
    let (sqlite, ndb) = (sample(), ndb(&headers()));
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
