//! Tar archives as contexts, from wherever their bytes come, straight into the context's directory.
//!
//! Knows what the names in an archive mean; knows no network.
//!
//! *Invariant: the context is the archive's root, as for a process in it: absolute names and links, and `..`, end there.
//! So a link to `/usr/bin/python3` is text here as it is in a directory, and what it leads to is looked for when it is
//! copied.*

use super::Error;
use super::writer::{Attributes, Writer};
use crate::image::{self, Entry, EntryKind, LayerReader, Stop};
use crate::rootfs::Device;
use std::io::Read;

/// Unpacks an archive in whatever compression; `what` names it in messages, and `stop` is asked between blocks.
pub(super) fn unpack(what: &str, reader: impl Read + Send, writer: &mut Writer, stop: &Stop) -> Result<(), Error> {
    let unreadable = |source| Error::Read { what: what.to_owned(), source };
    let mut entries = LayerReader::rooted(image::decompressed(reader).map_err(unreadable)?).until(Stop::clone(stop));
    let mut count: u64 = 0;
    loop {
        let next = entries.next_entry();
        let Some((entry, mut content)) = next.map_err(|source| Error::Archive { what: what.to_owned(), source })?
        else {
            break;
        };
        count += 1;
        put(&entry, &mut content, writer)?;
    }
    if count == 0 {
        return Err(Error::Empty { what: what.to_owned() });
    }
    Ok(())
}

fn put(entry: &Entry, content: &mut dyn Read, writer: &mut Writer) -> Result<(), Error> {
    let path = &writer.inside(&entry.path)?;
    let attributes = Attributes { mode: entry.mode, mtime: entry.mtime };
    match &entry.kind {
        EntryKind::File { .. } => writer.file(path, attributes, content),
        EntryKind::Directory => writer.directory(path, attributes),
        EntryKind::Symlink { target } => writer.symlink(path, target, entry.mtime),
        EntryKind::HardLink { target } => {
            let target = writer.inside(target)?;
            writer.hard_link(path, &target, attributes)
        }
        EntryKind::Fifo => writer.fifo(path, attributes),
        EntryKind::CharacterDevice { major, minor } => {
            writer.device(path, attributes, Device { block: false, major: *major, minor: *minor })
        }
        EntryKind::BlockDevice { major, minor } => {
            writer.device(path, attributes, Device { block: true, major: *major, minor: *minor })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o640);
            header.set_mtime(9);
            let is_file = *kind == tar::EntryType::Regular;
            header.set_size(if is_file { text.len() as u64 } else { 0 });
            if !is_file {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, if is_file { text.as_bytes() } else { &[] }).expect("memory");
        }
        builder.into_inner().expect("memory")
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<(), Error>) {
        let directory = tempfile::tempdir().expect("tempdir");
        let mut writer = Writer::create(&directory.path().join("context"), 1 << 20).expect("writer");
        let never: Stop = std::sync::Arc::new(|| false);
        let result = unpack("test", bytes, &mut writer, &never).and_then(|()| writer.finish().map(drop));
        (directory, result)
    }

    #[test]
    fn every_kind_of_entry_and_compression() {
        use tar::EntryType as Kind;
        let plain = archive(&[
            ("./", Kind::Directory, ""),
            ("./d/f", Kind::Regular, "text"),
            ("l", Kind::Symlink, "d/../d/f"),
            ("h", Kind::Link, "d/f"),
            ("d/f", Kind::Regular, "later"),
        ]);
        for bytes in [plain.clone(), zstd::encode_all(&plain[..], 1).expect("zstd")] {
            let (directory, result) = unpacked(&bytes);
            result.expect("unpacks");
            let read = |path| fs::read_to_string(directory.path().join("context").join(path)).expect("file");
            assert_eq!((read("d/f"), read("l"), read("h")), ("later".into(), "later".into(), "text".into()));
        }
    }

    #[test]
    fn the_entry_of_a_further_name_describes_the_file() {
        use std::os::unix::fs::MetadataExt;
        let mut bytes = archive(&[("f", tar::EntryType::Regular, "text"), ("h", tar::EntryType::Link, "f")]);
        let header = tar::Header::from_byte_slice(&bytes[1024..1536]);
        let mut header = header.clone();
        header.set_mode(0o755);
        header.set_mtime(8);
        header.set_cksum();
        bytes[1024..1536].copy_from_slice(header.as_bytes());
        let (directory, result) = unpacked(&bytes);
        result.expect("unpacks");
        for name in ["f", "h"] {
            let metadata = fs::metadata(directory.path().join("context").join(name)).expect("it is there");
            assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o755, 8), "{name}");
        }
    }

    #[test]
    fn the_context_is_the_archives_root() {
        use tar::EntryType as Kind;
        let (directory, result) = unpacked(&archive(&[
            ("../up", Kind::Regular, "x"),
            ("a/../../dots", Kind::Regular, "x"),
            ("/absolute", Kind::Regular, "x"),
            ("out", Kind::Symlink, "/etc"),
            ("python", Kind::Symlink, "/usr/bin/python3"),
            ("a/far", Kind::Symlink, "../../../x"),
            ("etc/", Kind::Directory, ""),
            ("out/passwd", Kind::Regular, "x"),
            ("l", Kind::Symlink, "etc/../a"),
            ("l/below", Kind::Regular, "x"),
            ("hard", Kind::Link, "/out/passwd"),
            ("null", Kind::Char, ""),
        ]));
        result.expect("unpacks");
        let context = directory.path().join("context");
        for path in ["up", "dots", "absolute", "etc/passwd", "a/below", "hard"] {
            assert_eq!(fs::read(context.join(path)).expect(path), b"x", "{path}");
        }
        assert_eq!(fs::read_link(context.join("python")).expect("a link").to_str(), Some("/usr/bin/python3"));
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1, "outside is untouched");
    }

    #[test]
    fn what_leads_nowhere_is_refused_by_name() {
        use tar::EntryType as Kind;
        for (name, kind, text, reason) in [
            ("evil", Kind::Link, "missing", "not in the context"),
            ("gone/evil", Kind::Regular, "x", "leads to nothing"),
            ("circle/evil", Kind::Regular, "x", "circle"),
            ("file/evil", Kind::Regular, "x", "a file is where"),
        ] {
            let before =
                [("gone", Kind::Symlink, "/etc"), ("circle", Kind::Symlink, "circle"), ("file", Kind::Regular, "x")];
            let (directory, result) = unpacked(&archive(&[&before[..], &[(name, kind, text)]].concat()));
            let error = result.expect_err(name);
            let told = causes(&error);
            assert!(told.contains(name.split('/').next().unwrap_or(name)) && told.contains(reason), "{name}: {told}");
            assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1, "{name}: outside is untouched");
        }
        assert!(matches!(unpacked(&[0; 1024]).1, Err(Error::Empty { .. })));
        assert!(matches!(unpacked(b"not an archive").1, Err(Error::Archive { .. })));
    }

    fn causes(error: &dyn std::error::Error) -> String {
        let cause = error.source().map(causes).unwrap_or_default();
        format!("{error}: {cause}")
    }
}
