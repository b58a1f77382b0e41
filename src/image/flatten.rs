//! All files of an image as one tar stream: what its layers come to when they are laid over each other.
//!
//! Knows inventories and tar entries; touches no disk, and holds no content.
//!
//! *Invariant: each layer is read at most once. There are no whiteouts in the stream, each path stands in it once, and
//! a file before its other names. The same image gives the same bytes.*

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::header::BLOCK;
use super::inventory::{Inventory, Node, Source};
use super::node_id::NodeId;
use super::reader::retried;
use super::writer::{encode, meta_header};
use super::{Content, Entry, EntryKind, Error, LayerReader, Stop, decompressed};

/// How much is copied at a time.
const PIECE: usize = 128 << 10;

/// Writes the files to `output`; `open` gives the layers by number, compressed or not, and `adjust` may change what
/// is said of a file; `stop` is asked between blocks. The root itself is left out: where it is unpacked, a directory is there already.
///
/// Links and other files without content come first, by path; then the contents, layer after layer; then the
/// directories: tar sets a directory's time when it sees the entry, and what is written into it later would spoil it.
///
/// # Errors
/// [`Error::Open`] and the errors of [`LayerReader::next_entry`] when a layer cannot be read, [`Error::Missing`] when
/// it is not the one of the inventory, [`Error::Write`] when the output fails; then no end of an archive is written.
pub fn flatten(
    files: &Inventory,
    open: &mut dyn FnMut(u32) -> io::Result<Box<dyn Read + Send>>,
    adjust: &dyn Fn(&mut Entry),
    output: &mut dyn Write,
    stop: &Stop,
) -> Result<(), Error> {
    let mut stream = Stream { output, adjust, records: Vec::new(), piece: vec![0; PIECE] };
    let mut wanted: BTreeMap<Source, (&Node, Vec<PathBuf>)> = BTreeMap::new();
    let mut named: HashMap<NodeId, PathBuf> = HashMap::new();
    let mut directories = Vec::new();
    for (path, node) in files.walk(Path::new("")) {
        match (&node.kind, node.source) {
            (EntryKind::File { size }, Some(source)) if *size > 0 => {
                wanted.entry(source).or_insert_with(|| (node, Vec::new())).1.push(path);
            }
            (EntryKind::Directory, _) => directories.push((path, node)),
            _ => match named.get(&node.id) {
                Some(target) => stream.hard_link(node, path, target)?,
                None => {
                    stream.header(node.entry(path.clone()))?;
                    if node.links > 1 {
                        named.insert(node.id, path);
                    }
                }
            },
        }
    }
    let layers: BTreeSet<u32> = wanted.keys().map(|source| source.layer).collect();
    for layer in layers {
        let tar = open(layer).and_then(decompressed).map_err(|source| Error::Open { layer, source })?;
        stream.layer(layer, LayerReader::new(tar).until(Stop::clone(stop)), &mut wanted)?;
    }
    if let Some(Source { layer, entry }) = wanted.keys().next() {
        return Err(Error::Missing { layer: *layer, entry: *entry });
    }
    for (path, node) in directories {
        stream.header(node.entry(path))?;
    }
    stream.write(&[0; 2 * BLOCK])
}

struct Stream<'a> {
    output: &'a mut dyn Write,
    adjust: &'a dyn Fn(&mut Entry),
    records: Vec<u8>,
    piece: Vec<u8>,
}

impl Stream<'_> {
    /// Writes the files whose content is in this layer, in its order, each with its other names behind it.
    fn layer<R: Read>(
        &mut self,
        layer: u32,
        mut reader: LayerReader<R>,
        wanted: &mut BTreeMap<Source, (&Node, Vec<PathBuf>)>,
    ) -> Result<(), Error> {
        for number in 0.. {
            let Some((entry, content)) = reader.next_entry()? else { break };
            let source = Source { layer, entry: number };
            let (EntryKind::File { size }, Some((node, paths))) = (entry.kind, wanted.remove(&source)) else {
                continue;
            };
            let mut paths = paths.into_iter();
            let Some(path) = paths.next() else { continue };
            self.header(Entry { kind: EntryKind::File { size }, ..node.entry(path.clone()) })?;
            self.content(&path, size, content)?;
            for other in paths {
                self.hard_link(node, other, &path)?;
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, node: &Node, path: PathBuf, target: &Path) -> Result<(), Error> {
        self.header(Entry { kind: EntryKind::HardLink { target: target.to_owned() }, ..node.entry(path) })
    }

    fn header(&mut self, mut entry: Entry) -> Result<(), Error> {
        (self.adjust)(&mut entry);
        entry.mtime = entry.mtime.whole();
        self.records.clear();
        let header = encode(&entry, &mut self.records);
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            self.write(meta_header(&entry.path, records.len()).as_bytes())?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
            self.records = records;
        }
        self.write(header.as_bytes())
    }

    fn content<R: Read>(&mut self, path: &Path, size: u64, mut content: Content<'_, R>) -> Result<(), Error> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let count = retried(|| content.read(&mut self.piece[..most]));
            let count = count.map_err(|source| Error::Content { path: path.to_owned(), source })?;
            if count == 0 {
                return Err(Error::Changed { path: path.to_owned(), expected: size, found: "fewer" });
            }
            self.output.write_all(&self.piece[..count]).map_err(|source| Error::Write { source })?;
            left -= count as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, written: u64) -> Result<(), Error> {
        let over = usize::try_from(written % BLOCK as u64).unwrap_or(0);
        self.write(&[0; BLOCK][..(BLOCK - over) % BLOCK])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.output.write_all(bytes).map_err(|source| Error::Write { source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{LayerInventory, LayerWriter, Timestamp};
    use crate::request::Compression;
    use crate::store::Store;

    fn entry(path: &str, kind: EntryKind, mtime: i64) -> Entry {
        let mtime = Timestamp { seconds: mtime, nanoseconds: 5 };
        Entry { path: path.into(), kind, mode: 0o750, uid: 7, gid: 8, mtime, xattrs: BTreeMap::new() }
    }

    fn file(writer: &mut LayerWriter, path: &str, content: &[u8], mtime: i64) {
        let kind = EntryKind::File { size: content.len() as u64 };
        writer.append(&entry(path, kind, mtime), &mut &*content).expect("append");
    }

    fn link(writer: &mut LayerWriter, path: &str, target: &str) {
        let kind = EntryKind::HardLink { target: target.into() };
        writer.append(&entry(path, kind, 9), &mut io::empty()).expect("append");
    }

    #[test]
    fn what_is_left_of_the_layers_is_one_stream() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("store");
        let new = || LayerWriter::new(&store, Compression::Zstd { level: 1 }, None).expect("writer");
        let mut lower = new();
        lower.append(&entry("d", EntryKind::Directory, 1), &mut io::empty()).expect("append");
        file(&mut lower, "d/gone", b"gone", 2);
        file(&mut lower, "d/kept", b"kept", 3);
        link(&mut lower, "d/also", "d/kept");
        file(&mut lower, "d/changed", b"old", 4);
        file(&mut lower, "empty", b"", 5);
        link(&mut lower, "empty too", "empty");
        let mut upper = new();
        file(&mut upper, "d/changed", &vec![b'n'; 300_000], 6);
        upper.whiteout(Path::new("d/gone")).expect("whiteout");
        link(&mut upper, "third", "d/kept");
        let kind = EntryKind::Symlink { target: "d".into() };
        upper.append(&entry("to-d", kind, 7), &mut io::empty()).expect("append");
        let mut files = Inventory::new();
        let mut layers = Vec::new();
        for (number, writer) in (0..).zip([lower, upper]) {
            let (layer, inventory) = writer.finish().expect("finish");
            files.apply(number, &inventory).expect("fits");
            layers.push(layer.descriptor.digest);
        }
        let mut open = |number: u32| -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(store.verified(&layers[number as usize]).map_err(io::Error::other)?))
        };
        let never: Stop = std::sync::Arc::new(|| false);
        let (mut stream, mut again) = (Vec::new(), Vec::new());
        flatten(&files, &mut open, &|_| {}, &mut stream, &never).expect("flattens");
        flatten(&files, &mut open, &|_| {}, &mut again, &never).expect("flattens");
        assert!(stream == again, "other bytes the second time");
        let mut back = Inventory::new();
        back.apply(0, &LayerInventory::read(stream.as_slice()).expect("reads")).expect("applies");
        let shown = |files: &Inventory| {
            let walked = files.walk(Path::new(""));
            let line = |(path, node): (PathBuf, &Node)| format!("{:?} links {}", node.entry(path), node.links);
            walked.map(line).collect::<Vec<_>>()
        };
        assert_eq!(shown(&files), shown(&back));
        assert_eq!(shown(&back).len(), 8, "{:#?}", shown(&back));
        let mut reader = LayerReader::new(stream.as_slice());
        let mut contents = BTreeMap::new();
        while let Some((entry, mut content)) = reader.next_entry().expect("reads") {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).expect("reads");
            contents.insert(entry.path.display().to_string(), bytes);
        }
        assert_eq!(contents["d/changed"].len(), 300_000);
        assert!(contents.values().any(|content| content == b"kept") && !contents.contains_key("d/gone"));

        let mut adjusted = Vec::new();
        flatten(&files, &mut open, &|entry| entry.uid = 1000, &mut adjusted, &never).expect("flattens");
        let mut back = Inventory::new();
        back.apply(0, &LayerInventory::read(adjusted.as_slice()).expect("reads")).expect("applies");
        assert!(back.walk(Path::new("")).all(|(_, node)| node.uid == 1000 && node.gid == 8));
    }

    #[test]
    fn a_layer_of_another_image_is_noticed() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("store");
        let mut writer = LayerWriter::new(&store, Compression::Uncompressed, None).expect("writer");
        file(&mut writer, "f", b"f", 1);
        let (_, inventory) = writer.finish().expect("finish");
        let mut files = Inventory::new();
        files.apply(0, &inventory).expect("fits");
        let mut open = |_| -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(io::empty())) };
        let mut stream = Vec::new();
        let error = flatten(&files, &mut open, &|_| {}, &mut stream, &(std::sync::Arc::new(|| false) as Stop))
            .expect_err("it is not there");
        assert!(matches!(error, Error::Missing { layer: 0, entry: 0 }), "{error}");
        assert!(stream.is_empty(), "an end would make a whole archive of it");
    }
}
