//! Whatever the bytes, reading ends: what readers say of samples that are damaged at random.

use proptest::prelude::*;

use super::testing::read_in;

/// A path for each reader, and how a file of it begins well.
const SAMPLES: [(&str, &[u8]); 16] = [
    ("var/lib/dpkg/status", b"Package: a\nVersion: 1\nSource: b (2)\n\n"),
    ("usr/share/doc/a/copyright", b"Format: x\n\nLicense: MIT\n"),
    ("lib/apk/db/installed", b"P:a\nV:1\nL:MIT\n\n"),
    ("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n"),
    ("var/lib/rpm/Packages.db", b"RpmP\0\0\0\0\x01\0\0\0\x01\0\0\0"),
    ("a.dist-info/METADATA", b"Name: a\nVersion: 1\nClassifier: License :: OSI Approved :: MIT\n"),
    ("node_modules/a/package.json", br#"{"name": "a", "version": "1", "license": ["MIT"]}"#),
    ("package-lock.json", br#"{"packages": {"node_modules/a": {"version": "1"}}}"#),
    ("yarn.lock", b"\"@a/b@^1\", c@2:\n  version \"1\"\n  resolution: \"d@npm:1\"\n"),
    ("pnpm-lock.yaml", b"packages:\n\n  /@a/b@1(c@2):\n    dev: true\n"),
    ("Cargo.lock", b"[[package]]\nname = \"a\"\nversion = \"1\"\nsource = \"x\"\n"),
    ("vendor/composer/installed.json", br#"[{"name": "a/b", "version": "1"}]"#),
    ("gems/specifications/a-1.gemspec", b"  s.name = \"a\".freeze\n  s.licenses = [\"MIT\", 'x']\n"),
    ("a.deps.json", br#"{"libraries": {"a/1": {"type": "package"}}}"#),
    ("a-1.jar", b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.jarPK\x07\x08"),
    ("bin/a", b"\x7fELF\0\0\0\0\0\0\0\0\0\0\0\0\xff Go buildinf:\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04go1.\x20"),
];

fn damaged(sample: &[u8], changes: &[(usize, u8)], rest: &[u8]) -> Vec<u8> {
    let mut bytes = [sample, rest].concat();
    for (at, byte) in changes {
        let at = at % bytes.len();
        bytes[at] = *byte;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_a_reader_fail(
        number in 0..SAMPLES.len(),
        changes in prop::collection::vec((0..200_usize, any::<u8>()), 0..6),
        rest in prop::collection::vec(any::<u8>(), 0..2000),
        size in 1..300_usize,
    ) {
        let (path, sample) = SAMPLES[number];
        read_in(path, &damaged(sample, &changes, &rest), size);
    }

    #[test]
    fn no_damage_makes_reading_an_rpm_database_fail(
        changes in prop::collection::vec((0..249_856_usize, any::<u8>()), 1..40),
        first in prop::collection::vec((0..8192_usize, any::<u8>()), 0..10),
    ) {
        let sample = super::readers::rpm::tests::sample();
        read_in("var/lib/rpm/rpmdb.sqlite", &damaged(&damaged(&sample, &changes, &[]), &first, &[]), 65_536);
    }
}
