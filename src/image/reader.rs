//! The entries of a layer, read from its tar stream.
//!
//! Knows v7, ustar, GNU, star and PAX archives; does not know compression, nor what a whiteout means.
//!
//! *Invariant: whatever the bytes, reading ends in entries or in an error: no panic, no path outside the root, no
//! more than [`LONGEST_META`] bytes of memory for each header. The source is read to its end before the end is
//! reported, so that a digest checked there is checked.*

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::header::{self, BLOCK, Fault, Fields};
use super::layer_inventory::LayerInventory;
use super::path::{Names, PATH_MAX};
use super::record::Record;
use super::sparse::{self, Form, Holes, MapInData, SparseMap};
use super::watch::Watch;
use super::{Entry, EntryKind, Error, Stop, Timestamp, go_on, pax};

/// The most that PAX records or a long name may take, in bytes.
pub const LONGEST_META: u64 = 1 << 20;

/// Holds a stretch of the stream; large enough that reading costs little, small enough for the processor's cache.
const BUFFER: usize = 128 << 10;

/// Reads entries from an uncompressed tar stream.
pub struct LayerReader<R> {
    source: Source<R>,
    /// What is left of the current entry's data in the stream, its padding included.
    left: u64,
    /// Of that, the padding.
    padding: u64,
    sparse: Option<Holes>,
    ended: bool,
    /// Takes note of what is read, where that was asked for.
    record: Option<Record>,
    names: Names,
    stop: Option<Stop>,
}

impl<R: Read> LayerReader<R> {
    /// Reads from `reader`; [`super::decompressed`] gives one for a compressed layer.
    pub fn new(reader: R) -> Self {
        let source = Source { reader, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, offset: 0 };
        Self { source, left: 0, padding: 0, sparse: None, ended: false, record: None, names: Names::Layer, stop: None }
    }

    /// Reads from `reader` an archive that is no layer: names with `..` in them, and absolute ones, are refused.
    pub fn strict(reader: R) -> Self {
        Self { names: Names::Strict, ..Self::new(reader) }
    }

    /// Reads from `reader` an archive that is unpacked with a directory as its root: names and hard links that lead out of
    /// it by `..` end there, as in Docker.
    pub fn rooted(reader: R) -> Self {
        Self { names: Names::Rooted, ..Self::new(reader) }
    }

    /// Makes reading fail once it is to end: holes are as long as their header says, whatever is in the stream.
    #[must_use]
    pub fn until(self, stop: Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Makes the inventory of what is read on the way, and lets somebody, if anybody is given, look at the contents of files.
    #[must_use]
    pub fn watched(self, watch: Option<Box<dyn Watch>>) -> Self {
        Self { record: Some(self.record.unwrap_or_default().watched(watch)), ..self }
    }

    /// Returns the inventory of what was read; empty where it was not recorded.
    ///
    /// An account file is in it where its content was read, too.
    pub fn into_inventory(self) -> LayerInventory {
        self.record.unwrap_or_default().finish()
    }

    /// Returns the next entry and its content, or none at the end; content that was not read is skipped.
    ///
    /// PAX global headers are skipped as container engines do. Hard links, symbolic links, directories, devices and
    /// FIFOs have no content, whatever size their header says (as Go's `archive/tar` has it).
    ///
    /// # Errors
    /// When the stream fails, a header is malformed, or an entry has a path or type that no image can have.
    pub fn next_entry(&mut self) -> Result<Option<(Entry, Content<'_, R>)>, Error> {
        if let Some(record) = &mut self.record {
            record.end_of_entry();
        }
        let Some(entry) = self.advance()? else { return Ok(None) };
        if let Some(record) = &mut self.record {
            record.entry(&entry)?;
        }
        Ok(Some((entry, Content { reader: self })))
    }

    fn advance(&mut self) -> Result<Option<Entry>, Error> {
        self.finish_entry()?;
        let mut meta = Meta::default();
        while !self.ended {
            let at = self.source.offset;
            let Some(block) = self.source.block_or_end().map_err(|source| self.broken(source))? else {
                self.ended = true;
                break;
            };
            if header::is_zero(&block) {
                self.end_marker(at)?;
                break;
            }
            let fields = header::fields(&block).map_err(|fault| malformed(at, fault))?;
            match fields.flag {
                b'x' | b'X' => meta.pax = Pax::read(&self.meta(fields.size, at)?).map_err(|f| malformed(at, f))?,
                b'L' => meta.long_name = Some(header::text(&self.meta(fields.size, at)?).to_vec()),
                b'K' => meta.long_link = Some(header::text(&self.meta(fields.size, at)?).to_vec()),
                // A global header, or the label of a volume.
                b'g' | b'V' => {
                    self.expect(fields.size);
                    self.finish_entry()?;
                }
                _ => return self.entry(fields, meta, &block).map(Some),
            }
        }
        Ok(None)
    }

    /// Reads to the end of the source, which begins with the second of two zero blocks.
    fn end_marker(&mut self, at: u64) -> Result<(), Error> {
        let second = self.source.block_or_end().map_err(|source| self.broken(source))?;
        if second.is_some_and(|block| !header::is_zero(&block)) {
            return Err(malformed(at, "a single zero block stands between entries"));
        }
        self.ended = true;
        self.source.skip_all().map_err(|source| self.broken(source))
    }

    fn entry(&mut self, fields: Fields, meta: Meta, block: &[u8; BLOCK]) -> Result<Entry, Error> {
        let pax = meta.pax;
        let name = pax.sparse.name.clone().or(meta.long_name).or(pax.path).unwrap_or(fields.name);
        let refuse = |reason: Fault| refused(&name, reason);
        let path = self.names.path(&name).map_err(refuse)?;
        let link = meta.long_link.or(pax.link).unwrap_or(fields.link);
        let stored = pax.size.unwrap_or(fields.size);
        let number = |value: u64| u32::try_from(value).map_err(|_| refuse("its owner or group is above 4294967295"));
        let (uid, gid) = (number(pax.uid.unwrap_or(fields.uid))?, number(pax.gid.unwrap_or(fields.gid))?);
        let (major, minor) = fields.device;
        let kind = match fields.flag {
            // Before ustar, a directory was known by its name alone.
            0 if name.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => {
                let size = self.content(stored, fields.flag, &pax.sparse, block);
                EntryKind::File { size: size.map_err(|fault| fault.at(&name, self.source.offset))? }
            }
            b'1' => {
                let target = self.names.path(&link).map_err(refuse)?;
                if target.as_os_str().is_empty() || path == target {
                    return Err(refuse("it is a hard link to itself or to the root"));
                }
                EntryKind::HardLink { target }
            }
            b'2' if link.is_empty() || link.contains(&0) => {
                return Err(refuse("it is a symbolic link without a usable target"));
            }
            b'2' if link.len() >= PATH_MAX => return Err(refuse("it is a symbolic link with more than 4095 bytes")),
            b'2' => EntryKind::Symlink { target: PathBuf::from(OsString::from_vec(link)) },
            b'3' => EntryKind::CharacterDevice { major, minor },
            b'4' => EntryKind::BlockDevice { major, minor },
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            _ => return Err(refuse("its type is not one that a layer can hold")),
        };
        if path.as_os_str().is_empty() && kind != EntryKind::Directory {
            return Err(refuse("it stands for the root, but is not a directory"));
        }
        let mtime = pax.mtime.unwrap_or(Timestamp { seconds: fields.seconds, nanoseconds: 0 });
        Ok(Entry { path, kind, mode: fields.mode, uid, gid, mtime, xattrs: pax.xattrs })
    }

    /// Prepares reading a file's data and returns the file's size.
    fn content(
        &mut self,
        stored: u64,
        flag: u8,
        records: &sparse::Records,
        block: &[u8; BLOCK],
    ) -> Result<u64, EntryFault> {
        if flag == b'S' {
            let (mut segments, size, mut more) = sparse::gnu(block)?;
            while more {
                more = sparse::gnu_more(&self.source.block()?, &mut segments)?;
            }
            self.expect(stored);
            return Ok(self.spread(SparseMap::new(segments, size, stored)?));
        }
        let form = records.form(stored)?;
        self.expect(stored);
        match form {
            Form::Dense => Ok(stored),
            Form::Known(map) => Ok(self.spread(map)),
            Form::InData(size) => {
                let mut map = MapInData::default();
                loop {
                    let Some(data) = (self.left - self.padding).checked_sub(BLOCK as u64) else {
                        return Err(EntryFault::Refused("its sparse map is malformed"));
                    };
                    self.left -= BLOCK as u64;
                    if let Some(segments) = map.block(&self.source.block()?)? {
                        return Ok(self.spread(SparseMap::new(segments, size, data)?));
                    }
                }
            }
        }
    }

    fn spread(&mut self, map: SparseMap) -> u64 {
        let size = map.size;
        self.sparse = Some(Holes::new(map));
        size
    }

    /// Says that `size` bytes of data, and their padding, come next.
    fn expect(&mut self, size: u64) {
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        self.left = size.saturating_add(self.padding);
    }

    /// Reads the data of a header that belongs to the next entry.
    fn meta(&mut self, size: u64, at: u64) -> Result<Vec<u8>, Error> {
        if size > LONGEST_META {
            return Err(malformed(at, "its PAX records or long name are larger than 1 MiB"));
        }
        self.expect(size);
        let mut data = Vec::new();
        while self.left > self.padding {
            let wanted = self.left - self.padding;
            let piece = self.source.piece(wanted).map_err(|source| self.broken(source))?;
            data.extend_from_slice(&self.source.buffer[piece.clone()]);
            self.left -= piece.len() as u64;
        }
        self.finish_entry()?;
        Ok(data)
    }

    fn finish_entry(&mut self) -> Result<(), Error> {
        self.sparse = None;
        let left = std::mem::take(&mut self.left);
        self.padding = 0;
        self.source.skip(left).map_err(|source| self.broken(source))
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Read { offset: self.source.offset, source }
    }

    /// Reads stored data of the current entry.
    fn read_stored(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.left - self.padding;
        let wanted = usize::try_from(available).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(cut_off());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// The content of one entry; reads nothing for what is not a regular file.
pub struct Content<'a, R> {
    reader: &'a mut LayerReader<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_next(buffer)?;
        if let Some(record) = &mut self.reader.record {
            record.content(&buffer[..count]);
        }
        Ok(count)
    }
}

impl<R: Read> Content<'_, R> {
    /// Reads as much as those want who take note of it.
    pub(super) fn read_wanted(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while self.reader.record.as_ref().is_some_and(Record::wants_content) && self.read(buffer)? > 0 {}
        Ok(())
    }

    fn read_next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        go_on(self.reader.stop.as_ref())?;
        let Some(holes) = &mut self.reader.sparse else { return self.reader.read_stored(buffer) };
        let (is_hole, length) = holes.run();
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
        let count = if is_hole {
            buffer[..wanted].fill(0);
            wanted
        } else {
            self.reader.read_stored(&mut buffer[..wanted])?
        };
        if let Some(holes) = &mut self.reader.sparse {
            holes.advance(count as u64);
        }
        Ok(count)
    }
}

/// The headers that stand before an entry's own.
#[derive(Default)]
struct Meta {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// What PAX records say of an entry.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Timestamp>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: sparse::Records,
}

impl Pax {
    fn read(data: &[u8]) -> Result<Self, Fault> {
        let mut pax = Self::default();
        pax::for_each(data, |key, value| {
            if let Some(name) = key.strip_prefix(pax::XATTR) {
                pax.xattrs.insert(name.to_vec(), value.to_vec());
                return Ok(());
            }
            if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                return pax.sparse.add(key, value);
            }
            // An empty value takes back what a global header said, and those are not heeded.
            match key {
                _ if value.is_empty() => {}
                b"path" => pax.path = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => pax.size = Some(pax::unsigned(value)?),
                b"uid" => pax.uid = Some(pax::unsigned(value)?),
                b"gid" => pax.gid = Some(pax::unsigned(value)?),
                b"mtime" => pax.mtime = Some(pax::time(value)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(pax)
    }
}

/// A fault found where the entry's name is not at hand.
enum EntryFault {
    Refused(Fault),
    Read(io::Error),
}

impl EntryFault {
    fn at(self, name: &[u8], offset: u64) -> Error {
        match self {
            Self::Refused(reason) => refused(name, reason),
            Self::Read(source) => Error::Read { offset, source },
        }
    }
}

impl From<Fault> for EntryFault {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

impl From<io::Error> for EntryFault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

fn refused(name: &[u8], reason: Fault) -> Error {
    Error::Entry { path: name.escape_ascii().to_string(), reason: reason.to_owned() }
}

fn malformed(offset: u64, fault: Fault) -> Error {
    Error::Header { offset, reason: fault.to_owned() }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar stream ends in the middle of an entry")
}

/// A reader with a buffer that counts what was taken from it.
struct Source<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Source<R> {
    /// Reads more behind what is left in the buffer; returns whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let count = retried(|| self.reader.read(&mut self.buffer[self.end..]))?;
        self.end += count;
        Ok(count > 0)
    }

    fn take(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Reads one block, or none where the stream ends before it.
    fn block_or_end(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        while self.end - self.start < BLOCK {
            if !self.fill()? {
                return if self.start == self.end { Ok(None) } else { Err(cut_off()) };
            }
        }
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.buffer[self.start..self.start + BLOCK]);
        self.take(BLOCK);
        Ok(Some(block))
    }

    fn block(&mut self) -> io::Result<[u8; BLOCK]> {
        self.block_or_end()?.ok_or_else(cut_off)
    }

    /// Takes up to `wanted` bytes and returns where in the buffer they stand.
    fn piece(&mut self, wanted: u64) -> io::Result<std::ops::Range<usize>> {
        if self.start == self.end && !self.fill()? {
            return Err(cut_off());
        }
        let start = self.start;
        let count = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.end - start);
        self.take(count);
        Ok(start..start + count)
    }

    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            count -= self.piece(count)?.len() as u64;
        }
        Ok(())
    }

    fn skip_all(&mut self) -> io::Result<()> {
        loop {
            self.take(self.end - self.start);
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Reads past the buffer where nothing is in it and much is wanted.
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && target.len() >= self.buffer.len() {
            let count = retried(|| self.reader.read(target))?;
            self.offset += count as u64;
            return Ok(count);
        }
        if self.start == self.end && !self.fill()? {
            return Ok(0);
        }
        let piece = self.piece(target.len() as u64)?;
        target[..piece.len()].copy_from_slice(&self.buffer[piece.clone()]);
        Ok(piece.len())
    }
}

/// Reads again when a signal came between.
pub(super) fn retried(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::decompressed;
    use crate::oci::Digest;

    fn listing(archive: &[u8]) -> Vec<String> {
        let mut reader = LayerReader::new(decompressed(archive).expect("gzip"));
        let mut lines = Vec::new();
        while let Some((entry, mut content)) = reader.next_entry().expect("valid") {
            let mut text = String::new();
            content.read_to_string(&mut text).expect("content");
            let (path, time) = (entry.path.display().to_string(), entry.mtime);
            let kind = match entry.kind {
                EntryKind::HardLink { target } => format!("== {}", target.display()),
                EntryKind::Symlink { target } => format!("-> {}", target.display()),
                other => format!("{other:?}"),
            };
            let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
            lines.push(format!("{path} {kind} {mode:o} {uid}:{gid} {}.{:09} {text}", time.seconds, time.nanoseconds));
        }
        lines
    }

    /// The fixtures are GNU tar's: `--format=v7`, `gnu`, `posix` of one directory.
    #[test]
    fn every_format_is_read() {
        let line = |path: &str, rest: &str, time: &str, text: &str| format!("{path} {rest} {time} {text}");
        let long = format!("dir/{}", "n".repeat(150));
        let target = format!("-> ../{} 777 1000:3000000", "x".repeat(120));
        for (archive, time) in [
            (&include_bytes!("testdata/gnu.tar.gz")[..], "1577934245.000000000"),
            (&include_bytes!("testdata/posix.tar.gz")[..], "1577934245.123456789"),
        ] {
            let expected = [
                line("dir", "Directory 755 1000:3000000", time, ""),
                line(&long, "File { size: 4 } 644 1000:3000000", time, "long"),
                line("dir/pipe", "Fifo 644 1000:3000000", time, ""),
                line("dir/short", "File { size: 5 } 640 1000:3000000", time, "short"),
                line("dir/symlink", &target, time, ""),
                line("dir/twin", "== dir/short 640 1000:3000000", time, ""),
            ];
            assert_eq!(listing(archive), expected);
        }
        let time = "1577934245.000000000";
        let expected = [
            line("dir", "Directory 755 1000:1000", time, ""),
            line("dir/short", "File { size: 5 } 640 1000:1000", time, "short"),
            line("dir/twin", "== dir/short 640 1000:1000", time, ""),
        ];
        assert_eq!(listing(include_bytes!("testdata/v7.tar.gz")), expected);
    }

    /// The fixtures are GNU tar's: `--sparse` with each of its forms; the digest is of the file with its holes.
    #[test]
    fn holes_are_filled() {
        for archive in [
            &include_bytes!("testdata/sparse-gnu.tar.gz")[..],
            include_bytes!("testdata/sparse-0.0.tar.gz"),
            include_bytes!("testdata/sparse-0.1.tar.gz"),
            include_bytes!("testdata/sparse-1.0.tar.gz"),
        ] {
            for piece in [700, 1 << 20] {
                let mut reader = LayerReader::new(decompressed(archive).expect("gzip"));
                let (entry, content) = reader.next_entry().expect("valid").expect("an entry");
                assert_eq!(
                    (entry.path.as_path(), entry.kind),
                    ("sparse".as_ref(), EntryKind::File { size: 2_000_000 })
                );
                let mut bytes = Vec::new();
                io::BufReader::with_capacity(piece, content).read_to_end(&mut bytes).expect("content");
                let expected = "e12942230ba49951956b7bb1c8eec611d62b5959355ba5359fd7b8c6aa94987e";
                assert_eq!(Digest::of(&bytes).hex(), expected);
                let (entry, _) = reader.next_entry().expect("valid").expect("another");
                assert_eq!(entry.path.as_path(), "after");
            }
            let skipped = LayerReader::new(decompressed(archive).expect("gzip"));
            assert_eq!(names(skipped), Ok(vec!["sparse".to_owned(), "after".to_owned()]));
        }
    }

    fn names<R: Read>(mut reader: LayerReader<R>) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        while let Some((entry, _)) = reader.next_entry().map_err(|error| error.to_string())? {
            names.push(entry.path.display().to_string());
        }
        Ok(names)
    }

    /// One entry in its raw form: type, name, link, content.
    fn raw(flag: u8, name: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        old.linkflag = [flag];
        header.set_size(content.len() as u64);
        header.set_cksum();
        let padding = vec![0; content.len().next_multiple_of(BLOCK) - content.len()];
        [header.as_bytes(), content, &padding].concat()
    }

    fn records(pairs: &[(&str, &[u8])]) -> Vec<u8> {
        let mut records = Vec::new();
        pairs.iter().for_each(|(key, value)| pax::append(&mut records, key.as_bytes(), value));
        raw(b'x', b"PaxHeaders", b"", &records)
    }

    #[test]
    fn what_no_image_can_have_is_refused_by_name() {
        for (archive, expected) in [
            (raw(b'0', b"a/../../b", b"", b""), "layer entry `a/../../b` is refused: its path leaves the root by `..`"),
            (raw(b'1', b"a", b"../b", b""), "layer entry `a` is refused: its path leaves the root by `..`"),
            (raw(b'1', b"a", b"./a", b""), "it is a hard link to itself"),
            (raw(b'2', b"a", b"", b""), "without a usable target"),
            (raw(b'0', b"/", b"", b""), "it stands for the root"),
            (raw(b'M', b"a", b"", b""), "its type is not one that a layer can hold"),
            ([records(&[("path", b"a\0b")]), raw(b'0', b"x", b"", b"")].concat(), "has a NUL byte"),
            ([records(&[("uid", b"4294967296")]), raw(b'0', b"x", b"", b"")].concat(), "above 4294967295"),
            ([records(&[("uid", b"-1")]), raw(b'0', b"x", b"", b"")].concat(), "at byte 0 of the layer: a number"),
            (
                [records(&[("GNU.sparse.major", b"2"), ("GNU.sparse.realsize", b"1")]), raw(b'0', b"x", b"", b"")]
                    .concat(),
                "`x` is refused: it is a sparse file of an unknown form",
            ),
            (
                [records(&[("GNU.sparse.map", b"5,1,0,1"), ("GNU.sparse.size", b"9")]), raw(b'0', b"x", b"", b"ab")]
                    .concat(),
                "its sparse map is malformed",
            ),
            (raw(b'S', b"x", b"", b""), "without a GNU header"),
            (raw(b'0', b"a", b"", b"xyz")[..600].to_vec(), "after 600 bytes"),
            (raw(b'x', b"p", b"", &[b'1'; 100]), "its PAX records are malformed"),
            ([vec![0; BLOCK], raw(b'0', b"a", b"", b"")].concat(), "a single zero block"),
            (vec![b'x'; 512], "its checksum is wrong"),
            (vec![0; 100], "after 0 bytes"),
        ] {
            let error = names(LayerReader::new(&archive[..])).expect_err(expected);
            assert!(error.contains(expected), "{error}\n{expected}");
        }
    }

    #[test]
    fn a_long_header_takes_no_memory() {
        for flag in *b"xLK" {
            let mut header = raw(flag, b"a", b"", b"");
            let field = tar::Header::from_byte_slice(&header).as_old().size.len();
            header[124..124 + field].copy_from_slice(b"77777777777\0");
            let mut block = tar::Header::new_ustar();
            block.as_mut_bytes().copy_from_slice(&header);
            block.set_cksum();
            let endless = block.as_bytes().chain(io::repeat(b'1'));
            assert!(names(LayerReader::new(endless)).expect_err("refused").contains("larger than 1 MiB"));
        }
    }

    #[test]
    fn spellings_and_sizes_are_evened_out() {
        let archive = [
            raw(b'g', b"pax_global_header", b"", b"19 comment=unheeded\n"),
            raw(b'V', b"label", b"", b""),
            raw(b'5', b"./", b"", b""),
            raw(b'5', b"./a//", b"", b""),
            raw(0, b"a/old/", b"", b""),
            raw(b'7', b"/a/b", b"", &[7; 700]),
            raw(b'1', b"a/../c", b"/a/b", b""),
            raw(b'0', b"a/\xff", b"", b""),
            // The size of a PAX record counts, not that of the header.
            [records(&[("size", b"3")]), raw(b'0', b"d", b"", b"")].concat(),
            [&b"xyz"[..], &[0; 509]].concat(),
            raw(b'0', b"e", b"", b""),
        ];
        let expected = ["", "a", "a/old", "a/b", "c", "a/\u{fffd}", "d", "e"].map(str::to_owned).to_vec();
        // Some writers leave out the end.
        for end in [0, 2 * BLOCK, 20 * BLOCK] {
            let archive = [archive.concat(), vec![0; end]].concat();
            assert_eq!(names(LayerReader::new(&archive[..])).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn the_source_is_read_to_its_end() {
        let archive = [raw(b'0', b"a", b"", b""), vec![0; 3 * BLOCK]].concat();
        let source = crate::store::Verified::new(&archive[..], Digest::of(b"other"));
        let error = names(LayerReader::new(source)).expect_err("wrong digest");
        assert!(error.contains("after 2048 bytes"), "{error}");
    }
}
