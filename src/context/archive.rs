//! Tar archives as contexts, from wherever their bytes come, straight into the context's directory.
//!
//! Knows what an archive may hold that is no context; knows no network.
//!
//! *Invariant: what an archive says about places outside of the context is refused by the entry's name.*

use std::io::Read;
use std::path::{Component, Path};

use super::Error;
use super::writer::{Attributes, Writer};
use crate::image::{self, Entry, EntryKind, LayerReader};

/// Unpacks an archive in whatever compression; `what` names it in messages.
pub(super) fn unpack(what: &str, reader: impl Read + Send, writer: &mut Writer) -> Result<(), Error> {
    let unreadable = |source| Error::Read { what: what.to_owned(), source };
    let mut entries = LayerReader::strict(image::decompressed(reader).map_err(unreadable)?);
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
    let path = entry.path.as_path();
    let attributes = Attributes { mode: entry.mode, mtime: entry.mtime };
    match &entry.kind {
        EntryKind::File { .. } => writer.file(path, attributes, content),
        EntryKind::Directory => writer.directory(path, attributes),
        EntryKind::Symlink { target } if leaves(path, target) => {
            let reason = "it is a symbolic link that leads out of the context; make it relative, or leave it out";
            Err(Error::Entry { path: path.to_owned(), reason })
        }
        EntryKind::Symlink { target } => writer.symlink(path, target, entry.mtime),
        EntryKind::HardLink { target } => writer.hard_link(path, target, entry.mtime),
        EntryKind::Fifo => writer.fifo(path, attributes),
        EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. } => {
            Err(Error::Entry { path: path.to_owned(), reason: "it is a device" })
        }
    }
}

/// Tells whether a link's text leads out of the root, as far as the text alone can tell.
fn leaves(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
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
        let result = unpack("test", bytes, &mut writer).and_then(|()| writer.finish().map(drop));
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
    fn hostile_entries_are_refused_by_name() {
        use tar::EntryType as Kind;
        for (name, kind, text, reason) in [
            ("../evil", Kind::Regular, "x", ".."),
            ("a/../../evil", Kind::Regular, "x", ".."),
            ("/evil", Kind::Regular, "x", "absolute"),
            ("evil", Kind::Symlink, "/etc", "out of the context"),
            ("a/evil", Kind::Symlink, "../../x", "out of the context"),
            ("evil", Kind::Link, "../x", ".."),
            ("evil", Kind::Link, "/etc/passwd", "absolute"),
            ("evil", Kind::Link, "missing", "not in the context"),
            ("evil", Kind::Char, "", "device"),
            ("evil", Kind::Block, "", "device"),
        ] {
            let (directory, result) = unpacked(&archive(&[("fine", Kind::Regular, "x"), (name, kind, text)]));
            let error = result.expect_err(name);
            let told =
                format!("{error} {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
            assert!(told.contains("evil") && told.contains(reason), "{name}: {told}");
            assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1, "{name}: outside is untouched");
        }
        let through = archive(&[("l", Kind::Symlink, "d"), ("l/evil", Kind::Regular, "x")]);
        assert!(unpacked(&through).1.expect_err("through a link").to_string().contains("l"));
        assert!(matches!(unpacked(&[0; 1024]).1, Err(Error::Empty { .. })));
        assert!(matches!(unpacked(b"not an archive").1, Err(Error::Archive { .. })));
    }
}
