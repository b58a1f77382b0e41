//! Contents of chosen files, taken out of an image's layers without unpacking them.
//!
//! Knows layers and one directory of its own; sets neither owners nor modes, so it needs no right.
//!
//! *Invariant: each layer is read once, and to its end, so that a digest checked there is checked before any content
//! is used. The files it keeps have no name: nothing is left when the process ends, however it ends.*

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::accounts::{AccountFile, LARGEST_ACCOUNT_FILE};
use super::inventory::{AccountContent, Inventory, Source};
use super::{EntryKind, Error, LayerReader, Stop, decompressed};

/// The contents of some files of an image; one file on disk for each layer, since making one for each file costs
/// more than writing it.
#[derive(Debug)]
pub struct Spool {
    files: BTreeMap<u32, Arc<File>>,
    places: BTreeMap<Source, Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    size: u64,
}

/// Reads the content of one file.
#[derive(Debug)]
pub struct SpooledContent {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

/// Takes the contents of `wanted` out of the layers that `open` gives by number, compressed or not.
///
/// `directory` must exist; it is empty again when this returns. `stop` is asked between blocks.
///
/// # Errors
/// [`Error::Open`] when a layer cannot be had, the errors of [`LayerReader::next_entry`], [`Error::Missing`] when a
/// layer is not the one the wish was made for, [`Error::Spool`] when the contents cannot be kept.
pub fn extract(
    open: &mut dyn FnMut(u32) -> io::Result<Box<dyn Read + Send>>,
    wanted: &BTreeSet<Source>,
    directory: &Path,
    stop: &Stop,
) -> Result<Spool, Error> {
    let mut spool = Spool { files: BTreeMap::new(), places: BTreeMap::new() };
    let layers: BTreeSet<u32> = wanted.iter().map(|source| source.layer).collect();
    for layer in layers {
        let tar = open(layer).and_then(decompressed).map_err(|source| Error::Open { layer, source })?;
        let file = nameless(directory)?;
        let reader = LayerReader::new(tar).until(Stop::clone(stop));
        take(reader, layer, wanted, &file, &mut spool.places).map_err(|fault| match fault {
            Fault::Layer(error) => error,
            Fault::Spool(source) => Error::Spool { action: "write to", path: directory.to_owned(), source },
        })?;
        spool.files.insert(layer, Arc::new(file));
    }
    match wanted.iter().find(|source| !spool.places.contains_key(source)) {
        Some(Source { layer, entry }) => Err(Error::Missing { layer: *layer, entry: *entry }),
        None => Ok(spool),
    }
}

/// Returns the content of one of an image's account files, empty where it has none; taken out of its layer where
/// the inventory did not keep it.
///
/// # Errors
/// As [`extract`] and [`Inventory::account_file`].
pub fn read_account_file(
    files: &Inventory,
    file: AccountFile,
    open: &mut dyn FnMut(u32) -> io::Result<Box<dyn Read + Send>>,
    directory: &Path,
    stop: &Stop,
) -> Result<Vec<u8>, Error> {
    let source = match files.account_file(file)? {
        AccountContent::Absent => return Ok(Vec::new()),
        AccountContent::Known(content) => return Ok(content.to_owned()),
        AccountContent::Elsewhere(source) => source,
    };
    let spool = extract(open, &BTreeSet::from([source]), directory, stop)?;
    let mut content = Vec::new();
    if let Some(spooled) = spool.open(source) {
        let read = spooled.take(LARGEST_ACCOUNT_FILE).read_to_end(&mut content);
        read.map_err(|source| Error::Spool { action: "read from", path: directory.to_owned(), source })?;
    }
    Ok(content)
}

impl Spool {
    /// Opens the content of a file, if it was among those wanted; any number may be open at a time.
    pub fn open(&self, source: Source) -> Option<SpooledContent> {
        let Place { offset, size } = *self.places.get(&source)?;
        Some(SpooledContent { file: Arc::clone(self.files.get(&source.layer)?), offset, left: size })
    }
}

impl Read for SpooledContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

enum Fault {
    Layer(Error),
    Spool(io::Error),
}

/// How much is copied at a time.
const PIECE: usize = 256 << 10;

fn take<R: Read>(
    mut reader: LayerReader<R>,
    layer: u32,
    wanted: &BTreeSet<Source>,
    file: &File,
    places: &mut BTreeMap<Source, Place>,
) -> Result<(), Fault> {
    let mut output = BufWriter::with_capacity(PIECE, file);
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    for number in 0.. {
        let Some((entry, mut content)) = reader.next_entry().map_err(Fault::Layer)? else { break };
        let source = Source { layer, entry: number };
        let EntryKind::File { size } = entry.kind else { continue };
        if !wanted.contains(&source) {
            continue;
        }
        loop {
            let count = match content.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(source) => return Err(Fault::Layer(Error::Content { path: entry.path, source })),
            };
            output.write_all(&piece[..count]).map_err(Fault::Spool)?;
        }
        places.insert(source, Place { offset, size });
        offset += size;
    }
    output.flush().map_err(Fault::Spool)
}

/// Makes a file and takes its name away at once.
fn nameless(directory: &Path) -> Result<File, Error> {
    for number in 0_u64.. {
        let path = directory.join(format!("contents-{number}"));
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::Spool { action: "create", path, source }),
            Ok(file) => {
                fs::remove_file(&path).map_err(|source| Error::Spool { action: "remove", path, source })?;
                return Ok(file);
            }
        }
    }
    let source = io::ErrorKind::AlreadyExists.into();
    Err(Error::Spool { action: "create a file in", path: directory.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Entry, Inventory, LayerWriter, Timestamp};
    use crate::request::Compression;
    use crate::store::{self, Store};

    fn stored(store: &Store, files: &[(&str, &[u8])], image: &mut Inventory, number: u32) -> store::Verified<File> {
        let mut writer = LayerWriter::new(store, Compression::Gzip { level: 1 }, None).expect("writer");
        for (path, content) in files {
            let kind = EntryKind::File { size: content.len() as u64 };
            let mtime = Timestamp::default();
            let entry = Entry { path: path.into(), kind, mode: 0, uid: 7, gid: 7, mtime, xattrs: BTreeMap::new() };
            writer.append(&entry, &mut &content[..]).expect("append");
        }
        let (layer, inventory) = writer.finish().expect("finish");
        image.apply(number, &inventory).expect("fits");
        store.verified(&layer.descriptor.digest).expect("stored")
    }

    #[test]
    fn wanted_files_come_out_of_their_layers() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(&directory.path().join("store")).expect("store");
        let (spool_directory, never): (_, Stop) = (directory.path().join("spool"), Arc::new(|| false));
        fs::create_dir(&spool_directory).expect("create");
        let mut image = Inventory::new();
        let large = vec![b'l'; 700_000];
        let mut layers = [
            Some(stored(&store, &[("a", b"old"), ("b", &large), ("c", b"see")], &mut image, 0)),
            None,
            Some(stored(&store, &[("a", b"new"), ("empty", b"")], &mut image, 2)),
        ];
        let source = |path: &str| image.get(Path::new(path)).and_then(|node| node.source).expect(path);
        let wanted: BTreeSet<_> = ["a", "b", "empty"].map(source).into();
        let mut open = |number: u32| -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(layers[number as usize].take().expect("each layer is read once, and only those needed")))
        };
        let spool = extract(&mut open, &wanted, &spool_directory, &never).expect("extract");
        for (path, expected) in [("a", &b"new"[..]), ("b", &large), ("empty", b""), ("a", b"new")] {
            let mut content = Vec::new();
            spool.open(source(path)).expect(path).read_to_end(&mut content).expect("read");
            assert!(content == expected, "{path}");
        }
        assert!(spool.open(source("c")).is_none());
        assert_eq!(fs::read_dir(&spool_directory).expect("list").count(), 0);

        let wrong = BTreeSet::from([Source { layer: 1, entry: 9 }]);
        let blob = stored(&store, &[("x", b"")], &mut image, 3);
        let mut blob = Some(blob);
        let mut open = |_| -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(blob.take().expect("once"))) };
        let error = extract(&mut open, &wrong, &spool_directory, &never).expect_err("not there");
        assert!(matches!(error, Error::Missing { layer: 1, entry: 9 }), "{error}");
    }
}
