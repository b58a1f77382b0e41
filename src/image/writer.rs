//! Entries written as a layer: a tar stream, its digest, its compressed form in the store, and its inventory.
//!
//! Knows the tar format and the store; does not know where entries come from.
//!
//! *Invariant: the same entries give the same bytes on any machine. PAX records stand only where ustar has no room,
//! owners have no names, and nothing is padded beyond the two closing blocks.*

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::Header;

use super::accounts::AccountFile;
use super::header::BLOCK;
use super::layer_inventory::LayerInventory;
use super::path::normalized;
use super::reader::retried;
use super::stored::{Fault, Output};
use super::watch::{Watch, Watched};
use super::{Entry, EntryKind, Error, Layer, Stop, Timestamp, go_on, pax, whiteout};
use crate::progress::Moving;
use crate::request::Compression;
use crate::store::Store;

/// Writes one layer; dropped unfinished, it leaves nothing in the store.
pub struct LayerWriter {
    output: Output,
    epoch: Option<i64>,
    /// Whether times are written with their fractions.
    fractions: bool,
    inventory: LayerInventory,
    records: Vec<u8>,
    stop: Option<Stop>,
    /// Is told the bytes of files that are written.
    moving: Option<Moving>,
    watched: Watched,
}

impl LayerWriter {
    /// Starts a layer in `store`; times later than `epoch` (seconds since 1970) become `epoch`.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be written.
    pub fn new(store: &Store, compression: Compression, epoch: Option<i64>) -> Result<Self, Error> {
        let output = Output::new(store, compression)?;
        let inventory = LayerInventory::default();
        let (records, watched) = (Vec::new(), Watched::default());
        Ok(Self { output, epoch, fractions: false, inventory, records, stop: None, moving: None, watched })
    }

    /// Makes writing fail once it is to end: a file may be as long as no disk is.
    #[must_use]
    pub fn until(self, stop: Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Tells how many bytes of files are written.
    #[must_use]
    pub fn telling(self, moving: Moving) -> Self {
        Self { moving: Some(moving), ..self }
    }

    /// Lets somebody look at the files that are written.
    #[must_use]
    pub fn watched(self, watch: Option<Box<dyn Watch>>) -> Self {
        Self { watched: Watched::by(watch), ..self }
    }

    /// Writes times as they are, for what is no layer of an image: programs compare those in their caches.
    #[must_use]
    pub fn with_fractions(self) -> Self {
        Self { fractions: true, ..self }
    }

    /// Writes an entry and, for a regular file, its content, which must have the size that the entry says.
    ///
    /// Times are cut to whole seconds, as in the layers that BuildKit writes (containerd's `archive` package): each
    /// fraction would need a header of its own, a kibibyte a file. [`LayerWriter::with_fractions`] keeps them.
    ///
    /// Content of anything but a regular file is not read.
    ///
    /// # Errors
    /// [`Error::Entry`] for a path that no layer can hold (one with `..`, or with the `.wh.` of a removal),
    /// [`Error::Content`] and [`Error::Changed`] when the content fails or has another size, [`Error::Write`] when
    /// the layer cannot be written. After an error the writer can only be dropped.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), Error> {
        if whiteout::classify(&entry.path).is_some() {
            return Err(refused(&entry.path, "names that begin with `.wh.` mean a removal in a layer"));
        }
        let mtime = entry.mtime.clamped(self.epoch);
        let entry = Entry { mtime: if self.fractions { mtime } else { mtime.whole() }, ..entry.clone() };
        self.header(&entry)?;
        if let EntryKind::File { size } = entry.kind {
            let mut watched = std::mem::take(&mut self.watched);
            let account = AccountFile::of(&entry.path, size);
            let mut bytes = Vec::new();
            let copy = account.map(|_| &mut bytes);
            let written = self.content(&entry.path, size, &mut Tee { content, copy, watched: &mut watched });
            watched.end();
            self.watched = watched;
            written?;
            if let Some(file) = account {
                self.inventory.keep_account(file, bytes);
            }
        }
        Ok(())
    }

    /// Removes `path`, which a lower layer has.
    ///
    /// # Errors
    /// [`Error::Entry`] for the root, [`Error::Write`] when the layer cannot be written.
    pub fn whiteout(&mut self, path: &Path) -> Result<(), Error> {
        let removal = whiteout::removal(path).ok_or_else(|| refused(path, "the root cannot be removed"))?;
        self.marker(&removal)
    }

    /// Hides all that lower layers have in `directory`.
    ///
    /// # Errors
    /// [`Error::Write`] when the layer cannot be written.
    pub fn opaque(&mut self, directory: &Path) -> Result<(), Error> {
        self.marker(&whiteout::opaque(directory))
    }

    /// Ends the layer and returns it, stored, with what it holds.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::Store`] when the layer cannot be written.
    pub fn finish(mut self) -> Result<(Layer, LayerInventory), Error> {
        self.output.write(&[0; 2 * BLOCK])?;
        let layer = self.output.finish()?;
        self.watched.finish(Some(&layer.descriptor.digest));
        self.inventory.shrink();
        Ok((layer, self.inventory))
    }

    fn marker(&mut self, path: &Path) -> Result<(), Error> {
        self.header(&Entry {
            path: path.to_owned(),
            kind: EntryKind::File { size: 0 },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default().clamped(self.epoch),
            xattrs: std::collections::BTreeMap::new(),
        })
    }

    fn header(&mut self, entry: &Entry) -> Result<(), Error> {
        check(entry)?;
        self.records.clear();
        let header = encode(entry, &mut self.records);
        if !self.records.is_empty() {
            let meta = meta_header(&entry.path, self.records.len());
            self.output.write(meta.as_bytes())?;
            self.output.write(&self.records)?;
            self.output.pad(self.records.len() as u64)?;
        }
        self.output.write(header.as_bytes())?;
        self.watched.entry(self.inventory.len(), entry);
        self.inventory.push(entry)?;
        Ok(())
    }

    fn content(&mut self, path: &Path, size: u64, content: &mut dyn Read) -> Result<(), Error> {
        let failed = |source| Error::Content { path: path.to_owned(), source };
        let changed = |found| Error::Changed { path: path.to_owned(), expected: size, found };
        let mut left = size;
        while left > 0 {
            go_on(self.stop.as_ref()).map_err(failed)?;
            let count = self.output.read_from(content, left).map_err(|fault| match fault {
                Fault::Content(source) => failed(source),
                Fault::Output(error) => error,
            })?;
            if count == 0 {
                return Err(changed("fewer"));
            }
            left -= count as u64;
            if let Some(moving) = &self.moving {
                moving.advance(count as u64);
            }
        }
        // One byte more tells whether the file has grown.
        if retried(|| content.read(&mut [0])).map_err(failed)? > 0 {
            return Err(changed("more"));
        }
        self.output.pad(size)
    }
}

/// Refuses what a reader would not give back as it was written.
fn check(entry: &Entry) -> Result<(), Error> {
    match normalized(entry.path.as_os_str().as_bytes()) {
        Ok(path) if path.as_os_str() == entry.path.as_os_str() => {}
        Ok(_) => return Err(refused(&entry.path, "its path is not in the form `a/b`")),
        Err(fault) => return Err(refused(&entry.path, fault.reason())),
    }
    if entry.path.as_os_str().is_empty() && entry.kind != EntryKind::Directory {
        return Err(refused(&entry.path, "it stands for the root, but is not a directory"));
    }
    if let EntryKind::Symlink { target } | EntryKind::HardLink { target } = &entry.kind
        && (target.as_os_str().is_empty() || target.as_os_str().as_bytes().contains(&0))
    {
        return Err(refused(&entry.path, "it is a link without a usable target"));
    }
    Ok(())
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::Entry { path: path.display().to_string(), reason: reason.to_owned() }
}

/// Makes the header of an entry, and the PAX records for what has no room in it, sorted by key.
pub(super) fn encode(entry: &Entry, records: &mut Vec<u8>) -> Header {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    for (name, value) in &entry.xattrs {
        pax::append(records, &[pax::XATTR, name].concat(), value);
    }
    octal(&mut old.mode, u64::from(entry.mode & 0o7777));
    if !octal(&mut old.gid, u64::from(entry.gid)) {
        pax::append(records, b"gid", entry.gid.to_string().as_bytes());
    }
    let (flag, size, link) = match &entry.kind {
        EntryKind::File { size } => (b'0', *size, None),
        EntryKind::HardLink { target } => (b'1', 0, Some(target)),
        EntryKind::Symlink { target } => (b'2', 0, Some(target)),
        EntryKind::CharacterDevice { .. } => (b'3', 0, None),
        EntryKind::BlockDevice { .. } => (b'4', 0, None),
        EntryKind::Directory => (b'5', 0, None),
        EntryKind::Fifo => (b'6', 0, None),
    };
    old.linkflag = [flag];
    if let Some(target) = link {
        let target = target.as_os_str().as_bytes();
        if !fits(&mut old.linkname, target) {
            pax::append(records, b"linkpath", target);
        }
    }
    let seconds = u64::try_from(entry.mtime.seconds);
    if entry.mtime.nanoseconds != 0 || !octal(&mut old.mtime, seconds.unwrap_or(u64::MAX)) {
        octal(&mut old.mtime, seconds.unwrap_or(0));
        pax::append(records, b"mtime", pax::time_text(entry.mtime).as_bytes());
    }
    if !set_path(&mut header, entry) {
        pax::append(records, b"path", &path_text(entry));
    }
    let old = header.as_old_mut();
    if !octal(&mut old.size, size) {
        pax::append(records, b"size", size.to_string().as_bytes());
    }
    if !octal(&mut old.uid, u64::from(entry.uid)) {
        pax::append(records, b"uid", entry.uid.to_string().as_bytes());
    }
    let (major, minor) = match entry.kind {
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => (major, minor),
        EntryKind::File { .. }
        | EntryKind::HardLink { .. }
        | EntryKind::Symlink { .. }
        | EntryKind::Directory
        | EntryKind::Fifo => (0, 0),
    };
    if let Some(ustar) = header.as_ustar_mut() {
        device(&mut ustar.dev_major, major);
        device(&mut ustar.dev_minor, minor);
    }
    header.set_cksum();
    header
}

/// Writes octal digits and a NUL; zeros, and false, where the number has no room.
fn octal(field: &mut [u8], value: u64) -> bool {
    let has_room = value.checked_ilog2().unwrap_or(0) as usize / 3 < field.len() - 1;
    let mut rest = if has_room { value } else { 0 };
    field.fill(0);
    for digit in field.iter_mut().rev().skip(1) {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    has_room
}

/// Writes a device number: octal, or GNU's base-256 above 2097151, for which PAX has no record.
fn device(field: &mut [u8; 8], number: u32) {
    if !octal(field, u64::from(number)) {
        field.fill(0);
        field[0] = 0x80;
        field[4..].copy_from_slice(&number.to_be_bytes());
    }
}

/// The path as it stands in the archive: a directory ends in a slash, and the root is `./`.
fn path_text(entry: &Entry) -> Vec<u8> {
    let mut path = entry.path.as_os_str().as_bytes().to_vec();
    if path.is_empty() {
        path.push(b'.');
    }
    if entry.kind == EntryKind::Directory {
        path.push(b'/');
    }
    path
}

/// Writes the path into the name, or into prefix and name; false where it has no room or is not ASCII.
fn set_path(header: &mut Header, entry: &Entry) -> bool {
    let path = path_text(entry);
    if fits(&mut header.as_old_mut().name, &path) {
        return true;
    }
    let Some(ustar) = header.as_ustar_mut() else { return false };
    // The slash between prefix and name is in neither, and the name must not be empty.
    let (longest_prefix, longest_name) = (ustar.prefix.len(), ustar.name.len());
    let from = path.len().saturating_sub(longest_name + 1);
    let slash = (from..path.len().saturating_sub(1).min(longest_prefix + 1)).find(|at| path[*at] == b'/' && *at > 0);
    if let Some(slash) = slash.filter(|_| path.is_ascii()) {
        ustar.name.fill(0);
        return fits(&mut ustar.prefix, &path[..slash]) && fits(&mut ustar.name, &path[slash + 1..]);
    }
    false
}

/// Writes `text` into a field; where it does not fit or is not ASCII, what is ASCII of it, and returns false.
fn fits(field: &mut [u8], text: &[u8]) -> bool {
    field.fill(0);
    if text.len() <= field.len() && text.is_ascii() {
        field[..text.len()].copy_from_slice(text);
        return true;
    }
    let ascii = text.iter().filter(|byte| byte.is_ascii());
    for (place, byte) in field.iter_mut().zip(ascii) {
        *place = *byte;
    }
    false
}

/// Makes the header that stands before PAX records; its name is for readers that do not know PAX.
pub(super) fn meta_header(path: &Path, length: usize) -> Header {
    let mut header = Header::new_ustar();
    let name = path.file_name().unwrap_or_default().as_bytes();
    let old = header.as_old_mut();
    fits(&mut old.name, &[b"PaxHeaders.0/", name].concat());
    octal(&mut old.mode, 0o644);
    octal(&mut old.uid, 0);
    octal(&mut old.gid, 0);
    octal(&mut old.size, length as u64);
    octal(&mut old.mtime, 0);
    old.linkflag = [b'x'];
    if let Some(ustar) = header.as_ustar_mut() {
        device(&mut ustar.dev_major, 0);
        device(&mut ustar.dev_minor, 0);
    }
    header.set_cksum();
    header
}

/// Copies what is read, and shows it to those who watch.
struct Tee<'a> {
    content: &'a mut dyn Read,
    copy: Option<&'a mut Vec<u8>>,
    watched: &'a mut Watched,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            copy.extend_from_slice(&buffer[..count]);
        }
        self.watched.content(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::image::{LayerReader, decompressed};
    use crate::oci::{DiffId, Digest};

    const GZIP: Compression = Compression::Gzip { level: 6 };

    fn entry(path: &str, kind: EntryKind) -> Entry {
        let mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
        Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }

    fn file(path: &str, content: &[u8]) -> Entry {
        entry(path, EntryKind::File { size: content.len() as u64 })
    }

    struct Scratch {
        _directory: tempfile::TempDir,
        store: Store,
    }

    fn scratch() -> Scratch {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("store");
        Scratch { _directory: directory, store }
    }

    fn written(store: &Store, compression: Compression, entries: &[(Entry, Vec<u8>)]) -> (Layer, LayerInventory) {
        let mut writer = LayerWriter::new(store, compression, None).expect("writer");
        for (entry, content) in entries {
            writer.append(entry, &mut &content[..]).expect("append");
        }
        writer.finish().expect("finish")
    }

    fn plain(store: &Store, layer: &Layer) -> Vec<u8> {
        let mut bytes = Vec::new();
        let blob = store.verified(&layer.descriptor.digest).expect("stored");
        decompressed(blob).and_then(|mut reader| reader.read_to_end(&mut bytes)).expect("whole");
        bytes
    }

    fn read(bytes: &[u8]) -> Vec<(Entry, Vec<u8>)> {
        let mut reader = LayerReader::new(bytes);
        let mut entries = Vec::new();
        while let Some((entry, mut content)) = reader.next_entry().expect("valid") {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).expect("content");
            entries.push((entry, bytes));
        }
        entries
    }

    fn literal() -> Vec<(Entry, Vec<u8>)> {
        let mut script = file("bin/greet", b"#!/bin/sh\necho hello\n");
        script.mode = 0o4755;
        script.mtime.nanoseconds = 120_000_000;
        script.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 10, 0, 0, 0]);
        let mut far = file(&format!("{}/{}", "d".repeat(140), "n".repeat(90)), b"");
        far.uid = 3_000_000;
        vec![
            (Entry { mode: 0o755, ..entry("bin", EntryKind::Directory) }, Vec::new()),
            (script, b"#!/bin/sh\necho hello\n".to_vec()),
            (entry("bin/hi", EntryKind::HardLink { target: "bin/greet".into() }), Vec::new()),
            (entry("bin/\u{e9}", EntryKind::Symlink { target: "../x".repeat(40).into() }), Vec::new()),
            (far, Vec::new()),
            (entry("dev/null", EntryKind::CharacterDevice { major: 1, minor: 3 }), Vec::new()),
        ]
    }

    /// A change of these is a change of every layer that anybody builds: it must be meant, and stand in the changelog.
    #[test]
    fn the_bytes_of_a_layer_do_not_change_by_accident() {
        let scratch = scratch();
        let (layer, _) = written(&scratch.store, GZIP, &literal());
        assert_eq!(
            layer.diff_id.to_string(),
            "sha256:a2a611a8b0c6b666a7446e44a8072a978334081e8875e1e6ad1fe009a876fabe"
        );
        assert_eq!(
            layer.descriptor.digest.as_str(),
            "sha256:d8929ae2bce24df67498bfca8e2fb8fbc3d28af67deafb90c7f8af24ec479289"
        );
    }

    #[test]
    fn another_reader_agrees() {
        let scratch = scratch();
        let (layer, _) = written(&scratch.store, GZIP, &literal());
        let bytes = plain(&scratch.store, &layer);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut listing = Vec::new();
        for found in archive.entries().expect("tar") {
            let mut found = found.expect("entry");
            let mut content = String::new();
            found.read_to_string(&mut content).expect("content");
            let path = String::from_utf8_lossy(&found.path_bytes()).into_owned();
            listing.push(format!(
                "{path} {:o} {} {content:?}",
                found.header().mode().expect("mode"),
                found.header().uid().expect("uid")
            ));
        }
        let far = format!("{}/{} 644 3000000 \"\"", "d".repeat(140), "n".repeat(90));
        assert_eq!(listing[0], "bin/ 755 0 \"\"");
        assert_eq!(listing[1], "bin/greet 4755 0 \"#!/bin/sh\\necho hello\\n\"");
        assert_eq!(listing[3], "bin/\u{e9} 644 0 \"\"");
        assert_eq!(listing[4], far);
    }

    #[test]
    fn a_layer_of_nothing_is_two_zero_blocks() {
        let scratch = scratch();
        let (layer, inventory) = written(&scratch.store, Compression::Uncompressed, &[]);
        assert_eq!(layer.descriptor.digest, layer.diff_id.0);
        assert_eq!(layer.descriptor.size, 1024);
        assert!(inventory.is_empty());
    }

    #[test]
    fn times_are_clamped_and_removals_are_empty_files() {
        let scratch = scratch();
        let mut writer = LayerWriter::new(&scratch.store, GZIP, Some(1_600_000_000)).expect("writer");
        writer.whiteout(Path::new("a/old")).expect("whiteout");
        writer.opaque(Path::new("b")).expect("opaque");
        writer.append(&file("new", b"x"), &mut &b"x"[..]).expect("append");
        let (layer, inventory) = writer.finish().expect("finish");
        let entries: Vec<_> = read(&plain(&scratch.store, &layer)).into_iter().map(|(entry, _)| entry).collect();
        let shown = entries.iter().map(|e| format!("{} {:o} {}", e.path.display(), e.mode, e.mtime.seconds));
        assert_eq!(shown.collect::<Vec<_>>(), ["a/.wh.old 0 0", "b/.wh..wh..opq 0 0", "new 644 1600000000"]);
        assert_eq!(inventory.entries().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn a_file_that_changed_is_named() {
        for (content, expected) in [(&b"xx"[..], "more"), (&b""[..], "fewer")] {
            let scratch = scratch();
            let mut writer = LayerWriter::new(&scratch.store, GZIP, None).expect("writer");
            let error = writer.append(&file("var/log", b"x"), &mut &content[..]).expect_err("changed");
            assert!(error.to_string().contains("var/log changed") && error.to_string().contains(expected), "{error}");
            drop(writer);
            let left = std::fs::read_dir(scratch.store.root().join("blobs/sha256")).expect("list").count();
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn paths_that_would_be_read_otherwise_are_refused() {
        for path in ["a/", "/a", "a//b", "./a", "../a", "a/../../b", "", "d/.wh.x", ".wh..wh..opq"] {
            let scratch = scratch();
            let mut writer = LayerWriter::new(&scratch.store, GZIP, None).expect("writer");
            assert!(writer.append(&file(path, b""), &mut &b""[..]).is_err(), "{path:?}");
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => "[a-z.]{1,12}".prop_map(String::into_bytes),
            1 => prop::collection::vec(1..=255_u8, 1..30),
            1 => "[a-z]{60,180}".prop_map(String::into_bytes),
        ];
        prop::collection::vec(part, 1..4).prop_map(|parts| {
            let clean = |part: Vec<u8>| -> Vec<u8> {
                let part: Vec<u8> = part.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect();
                if part.starts_with(b".") { [&b"x"[..], &part].concat() } else { part }
            };
            parts.into_iter().map(clean).collect::<Vec<_>>().join(&b'/')
        })
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        name().prop_map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    }

    fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
        let content = prop_oneof![prop::collection::vec(any::<u8>(), 0..2000), Just(vec![7; 300_000])];
        let kind = prop_oneof![
            4 => content.prop_map(|content| (EntryKind::File { size: content.len() as u64 }, content)),
            1 => Just((EntryKind::Directory, Vec::new())),
            1 => name().prop_map(|target| (EntryKind::Symlink { target: OsString::from_vec(target).into() }, Vec::new())),
            1 => path().prop_map(|target| (EntryKind::HardLink { target: Path::new("t").join(target) }, Vec::new())),
            1 => Just((EntryKind::Fifo, Vec::new())),
            1 => (any::<u32>(), 0..300_u32)
                .prop_map(|(major, minor)| (EntryKind::BlockDevice { major, minor }, Vec::new())),
        ];
        let owner = prop_oneof![0..3000_u32, any::<u32>()];
        let time = (-5_000_000_000_i64..10_000_000_000, prop_oneof![Just(0), 0..1_000_000_000_u32]);
        let xattrs = prop::collection::btree_map(
            "[a-z]{1,8}\\.[a-z]{1,20}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
            0..3,
        );
        (path(), kind, 0..=0o7777_u32, owner.clone(), owner, time, xattrs).prop_map(
            |(path, (kind, content), mode, uid, gid, (seconds, nanoseconds), xattrs)| {
                (Entry { path, kind, mode, uid, gid, mtime: Timestamp { seconds, nanoseconds }, xattrs }, content)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_written_is_read(entries in prop::collection::vec(any_entry(), 0..12)) {
            let scratch = scratch();
            let (layer, inventory) = written(&scratch.store, Compression::Gzip { level: 1 }, &entries);
            let bytes = plain(&scratch.store, &layer);
            prop_assert_eq!(&DiffId(Digest::of(&bytes)), &layer.diff_id);
            let cut = |(entry, content): &(Entry, Vec<u8>)| {
                (Entry { mtime: entry.mtime.whole(), ..entry.clone() }, content.clone())
            };
            prop_assert_eq!(&read(&bytes), &entries.iter().map(cut).collect::<Vec<_>>());
            prop_assert_eq!(&LayerInventory::read(&bytes[..]).expect("valid"), &inventory);
            let mut kept = Vec::new();
            inventory.write_to(&mut kept).expect("memory");
            prop_assert_eq!(&LayerInventory::read_from(&mut &kept[..]).expect("whole"), &inventory);
        }

        #[test]
        fn any_bytes_end_in_entries_or_an_error(
            entries in prop::collection::vec(any_entry(), 1..5),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
            repaired in any::<bool>(),
        ) {
            let scratch = scratch();
            let (layer, _) = written(&scratch.store, Compression::Uncompressed, &entries);
            let mut bytes = plain(&scratch.store, &layer);
            for (at, value) in changes {
                let at = at.index(bytes.len().min(4096));
                bytes[at] = value;
            }
            if repaired {
                // With its checksum right, a damaged header gets further.
                for block in bytes.as_chunks_mut::<512>().0.iter_mut().take(8) {
                    let mut header = Header::new_ustar();
                    header.as_mut_bytes().copy_from_slice(block);
                    header.set_cksum();
                    block.copy_from_slice(header.as_bytes());
                }
            } else {
                bytes.truncate(cut.index(bytes.len()));
            }
            let mut reader = LayerReader::new(&bytes[..]);
            while let Ok(Some((entry, content))) = reader.next_entry() {
                prop_assert!(entry.path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                let _ = io::copy(&mut content.take(1 << 20), &mut io::sink());
            }
            let _ = LayerInventory::read(&bytes[..]);
        }
    }
}
