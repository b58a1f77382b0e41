use std::io::Write as _;

use super::*;
use crate::sbom::testing::{names, read, read_in};

/// How a file is put into an archive.
#[derive(Clone, Copy)]
enum Way {
    Stored,
    Deflated,
    /// Its length stands behind it.
    Streamed,
}

const WAYS: [Way; 3] = [Way::Stored, Way::Deflated, Way::Streamed];

fn archive(files: &[(&str, &[u8])], way: Way) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let deflated = {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(content).expect("in memory");
            encoder.finish().expect("in memory")
        };
        let (method, flags, data) = match way {
            Way::Stored => (0_u16, 0_u16, content.to_vec()),
            Way::Deflated => (8, 0, deflated),
            Way::Streamed => (8, 8, deflated),
        };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small").to_le_bytes();
        let known = |value: [u8; 4]| if flags == 8 { [0; 4] } else { value };
        bytes.extend_from_slice(LOCAL);
        bytes.extend_from_slice(&[20, 0]);
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&method.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&known(length(&data)));
        bytes.extend_from_slice(&known(length(content)));
        bytes.extend_from_slice(&u16::try_from(name.len()).expect("short").to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&data);
        if flags == 8 {
            bytes.extend_from_slice(DESCRIPTOR);
            bytes.extend_from_slice(&[1; 4]);
            bytes.extend_from_slice(&length(&data));
            bytes.extend_from_slice(&length(content));
        }
    }
    bytes.extend_from_slice(b"PK\x01\x02and so on");
    bytes
}

const POM: &[u8] = b"#Created by Apache Maven\nversion=2.0.9\ngroupId=org.slf4j\nartifactId=slf4j-api\n";
const MANIFEST: &[u8] = b"Manifest-Version: 1.0\r\nBundle-SymbolicName: com.example.lib;singlet\r\n on:=true\r\n\
                          Implementation-Version: 9\r\n\r\nName: x\r\nImplementation-Version: 8\r\n";

#[test]
fn maven_notes_what_an_archive_is() {
    for way in WAYS {
        let padding = vec![b'p'; 5000];
        let files = [("big.class", &padding[..]), ("META-INF/maven/org.slf4j/slf4j-api/pom.properties", POM)];
        assert_eq!(names(&read("app/x.jar", &archive(&files, way))), ["org.slf4j:slf4j-api 2.0.9"]);
    }
}

#[test]
fn without_maven_the_manifest_and_the_name_tell() {
    for way in WAYS {
        let bytes = archive(&[("META-INF/", b""), ("META-INF/MANIFEST.MF", MANIFEST)], way);
        assert_eq!(names(&read("app/lib-core-1.2-rc1.jar", &bytes)), ["com.example.lib:lib-core 1.2-rc1"]);
        assert_eq!(names(&read("app/lib.jar", &bytes)), ["com.example.lib:lib 9"]);
    }
    assert_eq!(names(&read("app/lib.jar", &archive(&[("a", b"")], Way::Stored))), ["lib "]);
}

#[test]
fn archives_within_archives_are_read_up_to_a_depth() {
    for (outer, inner) in [(Way::Stored, Way::Streamed), (Way::Streamed, Way::Stored), (Way::Deflated, Way::Deflated)] {
        let inside = archive(&[("META-INF/maven/g/a/pom.properties", POM)], inner);
        let mut bytes = archive(&[("BOOT-INF/lib/slf4j-api-2.0.9.jar", &inside), ("z", b"z")], outer);
        bytes.splice(..0, b"#!/bin/sh\nexec java -jar $0\n".iter().copied());
        assert_eq!(names(&read("app/app-3.0.jar", &bytes)), ["app 3.0", "org.slf4j:slf4j-api 2.0.9"]);
    }
    let mut nested = archive(&[("x", b"x")], Way::Stored);
    for number in 0..DEEPEST {
        nested = archive(&[(&format!("l{number}-1.jar"), &nested)], Way::Stored);
    }
    let found = read_in("l9-1.jar", &nested, 100);
    assert_eq!(found.packages.len(), DEEPEST);
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
}

#[test]
fn what_is_damaged_is_told() {
    let whole = archive(&[("META-INF/maven/g/a/pom.properties", POM), ("b", POM)], Way::Deflated);
    for end in [3, 20, 60, 100, whole.len() - 20] {
        assert_eq!(read_in("a-1.jar", &whole[..end], 9).notes.len(), 1, "{end}");
    }
    assert_eq!(read_in("a-1.jar", &[b'a'; 400], 50).notes.len(), 1);
}
