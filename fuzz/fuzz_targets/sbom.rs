//! Any bytes, taken as each of the files that tell what is installed: findings or a note, no panic, the same whatever the
//! pieces they come in, and a record that survives being kept.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::sbom::{LayerPackages, LayerScan, Pages};

/// One path for each reader; the last one is a program's.
const PATHS: [&str; 20] = [
    "var/lib/dpkg/status",
    "usr/share/doc/a/copyright",
    "lib/apk/db/installed",
    "etc/os-release",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "a.dist-info/METADATA",
    "node_modules/a/package.json",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "Cargo.lock",
    "vendor/composer/installed.json",
    "gems/specifications/a-1.gemspec",
    "a.deps.json",
    "a-1.jar",
    "var/lib/rpm/Packages",
    "a.war",
    "x.egg-info",
    "usr/bin/program",
];

fn scan(path: &str, bytes: &[u8], piece: usize) -> LayerPackages {
    let mut scan = LayerScan::default();
    if scan.begin(0, path.as_bytes(), bytes.len() as u64) {
        let goes_on = |piece: &[u8]| scan.content(piece);
        bytes.chunks(piece).all(goes_on);
        let wants_pages = scan.wants_pages();
        scan.end(wants_pages.then_some(&bytes as &dyn Pages));
    }
    scan.finish()
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let path = PATHS[usize::from(*choice) % PATHS.len()];
    let mut bytes = bytes.to_vec();
    if path == "usr/bin/program" {
        bytes.splice(..0, *b"\x7fELF");
        bytes.resize(bytes.len().max(2048), 0);
    }
    let found = scan(path, &bytes, bytes.len().max(1));
    let in_pieces = scan(path, &bytes, 7);
    // In a program, a list of crates that is damaged is given up where that shows, which pieces decide.
    assert!(in_pieces == found || path == "usr/bin/program", "{path}: {in_pieces:?} {found:?}");
    assert_eq!(LayerPackages::from_bytes(&found.to_bytes()).expect("just written"), found);
    let _ = LayerPackages::from_bytes(&bytes);
});
