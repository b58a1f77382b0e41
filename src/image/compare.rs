//! What differs between two layers, and between the files of two images.
//!
//! Knows entries and the digests of their contents; does not know where layers are, nor which differences matter.
//!
//! *Invariant: each layer is read once, and no content is kept: a file costs its entry in the inventory, and 33 bytes.*

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inventory::Source;
use super::{Entry, EntryKind, Error, Inventory, LayerInventory, LayerReader, Node, Timestamp};
use crate::oci::Hasher;

/// How much of a file is hashed at a time.
const PIECE: usize = 128 << 10;

/// A SHA-256 digest, as bytes.
type Sum = [u8; 32];

/// The entries of a layer, and the digests of their contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashedLayer {
    inventory: LayerInventory,
    /// By the number of the entry; none of what has no content.
    contents: Vec<Option<Sum>>,
}

/// What may differ of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What it is.
    Type,
    /// Permission bits.
    Mode,
    /// User and group.
    Owner,
    /// Bytes.
    Size,
    /// When it was modified.
    Mtime,
    /// Where a link leads.
    Target,
    /// The numbers of a device.
    Device,
    /// Extended attributes.
    Xattrs,
    /// The digest of its content.
    Content,
    /// How many names it has.
    Links,
}

impl Field {
    /// Returns its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Size => "size",
            Self::Mtime => "mtime",
            Self::Target => "target",
            Self::Device => "device",
            Self::Xattrs => "xattrs",
            Self::Content => "content",
            Self::Links => "links",
        }
    }
}

/// A field that differs, with both values as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Which.
    pub field: Field,
    /// In the first.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// What differs at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the second has it: what it is.
    Added(&'static str),
    /// Only the first has it: what it is.
    Removed(&'static str),
    /// Both have it.
    Changed(Vec<FieldChange>),
}

/// A path at which two layers or images differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// The path, relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// What differs.
    pub change: Change,
}

impl HashedLayer {
    /// Reads a layer from its tar stream, to its end.
    ///
    /// # Errors
    /// As [`LayerReader::next_entry`], and [`Error::Content`].
    pub fn read(tar: impl Read) -> Result<Self, Error> {
        let mut reader = LayerReader::new(tar).watched(None);
        let (mut contents, mut piece) = (Vec::new(), vec![0; PIECE]);
        while let Some((entry, mut content)) = reader.next_entry()? {
            if !matches!(entry.kind, EntryKind::File { .. }) {
                contents.push(None);
                continue;
            }
            let mut hasher = Hasher::new();
            loop {
                match content.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => hasher.update(&piece[..count]),
                    Err(source) => return Err(Error::Content { path: entry.path, source }),
                }
            }
            contents.push(Some(hasher.sum()));
        }
        Ok(Self { inventory: reader.into_inventory(), contents })
    }

    /// Tells whether both have the same paths in the same order.
    pub fn is_ordered_like(&self, other: &Self) -> bool {
        self.inventory.len() == other.inventory.len()
            && self.inventory.entries().zip(other.inventory.entries()).all(|(a, b)| a.path == b.path)
    }

    /// Tells at which paths another layer has other entries, sorted by path. Of a path that stands there twice, the last
    /// entry counts.
    pub fn changes(&self, other: &Self) -> Vec<PathChange> {
        merged(self.by_path().into_iter(), other.by_path().into_iter())
    }

    fn by_path(&self) -> BTreeMap<PathBuf, Described> {
        let described = |(number, entry): (u32, Entry)| {
            (entry.path.clone(), Described { content: self.content(number), entry, links: 1 })
        };
        (0..).zip(self.inventory.entries()).map(described).collect()
    }

    fn content(&self, entry: u32) -> Option<Sum> {
        self.contents.get(entry as usize).copied().flatten()
    }
}

/// The files of an image, with the digests of their contents.
pub struct HashedFiles {
    files: Inventory,
    layers: Vec<Arc<HashedLayer>>,
}

impl HashedFiles {
    /// Lays layers over each other, the lowest first.
    ///
    /// # Errors
    /// As [`Inventory::apply`].
    pub fn of(layers: Vec<Arc<HashedLayer>>) -> Result<Self, Error> {
        let mut files = Inventory::new();
        for (number, layer) in (0..).zip(&layers) {
            files.apply(number, &layer.inventory)?;
        }
        Ok(Self { files, layers })
    }

    /// Tells at which paths another image has other files, sorted by path.
    pub fn changes(&self, other: &Self) -> Vec<PathChange> {
        merged(self.described(), other.described())
    }

    /// The root, then all below it in the order of paths.
    fn described(&self) -> impl Iterator<Item = (PathBuf, Described)> {
        let root = self.files.get(Path::new("")).map(|root| (PathBuf::new(), root));
        let all = root.into_iter().chain(self.files.walk(Path::new("")));
        all.map(|(path, node)| {
            let described =
                Described { entry: node.entry(path.clone()), content: self.content(node), links: node.links };
            (path, described)
        })
    }

    fn content(&self, node: &Node) -> Option<Sum> {
        let Source { layer, entry } = node.source.filter(|_| matches!(node.kind, EntryKind::File { .. }))?;
        self.layers.get(layer as usize)?.content(entry)
    }
}

/// A file with all that is compared.
struct Described {
    entry: Entry,
    content: Option<Sum>,
    links: u32,
}

/// Goes through both in the order of their paths.
fn merged(
    a: impl Iterator<Item = (PathBuf, Described)>,
    b: impl Iterator<Item = (PathBuf, Described)>,
) -> Vec<PathChange> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return changes,
        };
        let one = if order == Ordering::Greater { None } else { a.next() };
        let other = if order == Ordering::Less { None } else { b.next() };
        let (path, change) = match (one, other) {
            (Some((path, one)), Some((_, other))) => (path, Change::Changed(one.fields(&other))),
            (Some((path, one)), None) => (path, Change::Removed(kind(&one.entry.kind))),
            (None, Some((path, other))) => (path, Change::Added(kind(&other.entry.kind))),
            (None, None) => return changes,
        };
        if change != Change::Changed(Vec::new()) {
            changes.push(PathChange { path, change });
        }
    }
}

impl Described {
    /// Lists what differs.
    fn fields(&self, other: &Self) -> Vec<FieldChange> {
        let (a, b) = (&self.entry, &other.entry);
        let mut changes = Vec::new();
        // Nearly all files are equal: nothing is written down of a field before it is known to differ.
        let mut differs = |field, told: &dyn Fn(&Self, &Self) -> String| {
            changes.push(FieldChange { field, a: told(self, other), b: told(other, self) });
        };
        if kind(&a.kind) != kind(&b.kind) {
            differs(Field::Type, &|one, _| kind(&one.entry.kind).to_owned());
        }
        if a.mode != b.mode {
            differs(Field::Mode, &|one, _| format!("{:04o}", one.entry.mode));
        }
        if (a.uid, a.gid) != (b.uid, b.gid) {
            differs(Field::Owner, &|one, _| format!("{}:{}", one.entry.uid, one.entry.gid));
        }
        if size(&a.kind).zip(size(&b.kind)).is_some_and(|(a, b)| a != b) {
            differs(Field::Size, &|one, _| size(&one.entry.kind).unwrap_or_default().to_string());
        }
        if a.mtime != b.mtime {
            differs(Field::Mtime, &|one, _| moment(one.entry.mtime));
        }
        if target(&a.kind) != target(&b.kind) {
            differs(Field::Target, &|one, _| {
                target(&one.entry.kind).map(|at| at.display().to_string()).unwrap_or_default()
            });
        }
        if device(&a.kind) != device(&b.kind) {
            let told = |(major, minor)| format!("{major}:{minor}");
            differs(Field::Device, &|one, _| device(&one.entry.kind).map(told).unwrap_or_default());
        }
        if a.xattrs != b.xattrs {
            differs(Field::Xattrs, &|one, other| xattrs(&one.entry, &other.entry));
        }
        if self.content != other.content {
            let told = |sum: &Sum| format!("sha256:{}", hex::encode(sum));
            differs(Field::Content, &|one, _| one.content.as_ref().map(told).unwrap_or_default());
        }
        if self.links != other.links {
            differs(Field::Links, &|one, _| one.links.to_string());
        }
        changes
    }
}

fn kind(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::HardLink { .. } => "hard link",
        EntryKind::Fifo => "fifo",
        EntryKind::CharacterDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
    }
}

fn size(kind: &EntryKind) -> Option<u64> {
    match kind {
        EntryKind::File { size } => Some(*size),
        _ => None,
    }
}

fn target(kind: &EntryKind) -> Option<&Path> {
    match kind {
        EntryKind::Symlink { target } | EntryKind::HardLink { target } => Some(target),
        _ => None,
    }
}

fn device(kind: &EntryKind) -> Option<(u32, u32)> {
    match kind {
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => Some((*major, *minor)),
        _ => None,
    }
}

/// Writes a moment as RFC 3339, in UTC; as seconds where it is in no year of four digits.
fn moment(time: Timestamp) -> String {
    let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or(0);
    match jiff::Timestamp::new(time.seconds, nanoseconds) {
        Ok(moment) => moment.to_string(),
        Err(_) => format!("{}s", time.seconds),
    }
}

/// Writes the attributes that another entry has not, or has otherwise.
fn xattrs(entry: &Entry, other: &Entry) -> String {
    let own = entry.xattrs.iter().filter(|(name, value)| other.xattrs.get(*name) != Some(value));
    let shown = own.map(|(name, value)| {
        let short = hex::encode(&value[..value.len().min(32)]);
        let more = if value.len() > 32 { "…" } else { "" };
        format!("{}=0x{short}{more}", String::from_utf8_lossy(name))
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{LayerWriter, decompressed};
    use crate::request::Compression;
    use crate::store::Store;

    /// A layer of files: path, mode, mtime, content; a path that ends with `/` is a directory, a content that begins with
    /// `->` a symbolic link, one with `=>` a hard link.
    fn layer(files: &[(&str, u32, i64, &str)]) -> Arc<HashedLayer> {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("store");
        let mut writer = LayerWriter::new(&store, Compression::Gzip { level: 1 }, None).expect("writer");
        for (path, mode, mtime, content) in files {
            if let Some(removed) = path.strip_prefix(".wh.") {
                writer.whiteout(Path::new(removed)).expect("whiteout");
                continue;
            }
            let kind = match (path.strip_suffix('/'), content.strip_prefix("->"), content.strip_prefix("=>")) {
                (Some(_), ..) => EntryKind::Directory,
                (_, Some(target), _) => EntryKind::Symlink { target: target.into() },
                (.., Some(target)) => EntryKind::HardLink { target: target.into() },
                _ => EntryKind::File { size: content.len() as u64 },
            };
            let content = if matches!(kind, EntryKind::File { .. }) { content.as_bytes() } else { b"" };
            let mtime = Timestamp { seconds: *mtime, nanoseconds: 0 };
            let path = path.trim_end_matches('/').into();
            let entry = Entry { path, kind, mode: *mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() };
            writer.append(&entry, &mut &*content).expect("append");
        }
        let (layer, _) = writer.finish().expect("finish");
        let blob = store.verified(&layer.descriptor.digest).expect("stored");
        Arc::new(HashedLayer::read(decompressed(blob).expect("opens")).expect("reads"))
    }

    /// Writes changes as text: a line a path.
    fn shown(changes: &[PathChange]) -> Vec<String> {
        let shown = changes.iter().map(|PathChange { path, change }| match change {
            Change::Added(kind) => format!("+ {} {kind}", path.display()),
            Change::Removed(kind) => format!("- {} {kind}", path.display()),
            Change::Changed(fields) => {
                let fields = fields.iter().map(|one| match one.field {
                    Field::Content => "content".to_owned(),
                    field => format!("{} {}>{}", field.name(), one.a, one.b),
                });
                format!("~ {} {}", path.display(), fields.collect::<Vec<_>>().join(", "))
            }
        });
        shown.collect()
    }

    #[test]
    fn each_field_that_differs_is_told_and_nothing_else() {
        let a = layer(&[
            ("d/", 0o755, 1, ""),
            ("d/same", 0o644, 1, "x"),
            ("d/time", 0o644, 1, "x"),
            ("gone", 0o644, 1, "x"),
            ("l", 0o777, 1, "->d"),
            ("mode", 0o644, 1, "x"),
            ("text", 0o644, 1, "one"),
            ("type", 0o644, 1, ""),
        ]);
        let b = layer(&[
            ("d/", 0o755, 1, ""),
            ("d/same", 0o644, 1, "x"),
            ("d/time", 0o644, 2, "x"),
            ("l", 0o777, 1, "->e"),
            ("mode", 0o600, 1, "x"),
            ("new", 0o644, 1, "x"),
            ("text", 0o644, 1, "two"),
            ("type/", 0o644, 1, ""),
        ]);
        let expected = [
            "~ d/time mtime 1970-01-01T00:00:01Z>1970-01-01T00:00:02Z",
            "- gone file",
            "~ l target d>e",
            "~ mode mode 0644>0600",
            "+ new file",
            "~ text content",
        ];
        let found = shown(&a.changes(&b));
        assert_eq!(found[..6], expected);
        assert!(found[6].starts_with("~ type type file>directory, content"), "{found:?}");
        assert_eq!(a.changes(&a), []);
        assert!(a.is_ordered_like(&a) && !a.is_ordered_like(&b));
        assert_eq!(
            shown(&HashedFiles::of(vec![a]).expect("applies").changes(&HashedFiles::of(vec![b]).expect("applies"))),
            found
        );
    }

    #[test]
    fn layers_that_come_to_the_same_files_differ_only_themselves() {
        let lower = layer(&[("a", 0o644, 1, "old"), ("b", 0o644, 1, "b"), ("gone", 0o644, 1, "x")]);
        let upper = layer(&[("a", 0o644, 1, "new"), (".wh.gone", 0o644, 1, "")]);
        let flat = layer(&[("a", 0o644, 1, "new"), ("b", 0o644, 1, "b")]);
        assert_eq!(shown(&lower.changes(&flat)), ["~ a content", "- gone file"]);
        let stacked = HashedFiles::of(vec![lower.clone(), upper]).expect("applies");
        let flat = HashedFiles::of(vec![flat]).expect("applies");
        assert_eq!(stacked.changes(&flat), []);
        let lower = HashedFiles::of(vec![lower]).expect("applies");
        assert_eq!(shown(&flat.changes(&lower)), ["~ a content", "+ gone file"]);
    }

    #[test]
    fn copies_and_hard_links_are_told_apart() {
        let links = layer(&[("a", 0o644, 1, "x"), ("b", 0o644, 1, "=>a")]);
        let copies = layer(&[("a", 0o644, 1, "x"), ("b", 0o644, 1, "x")]);
        let (links, copies) =
            (HashedFiles::of(vec![links]).expect("fits"), HashedFiles::of(vec![copies]).expect("fits"));
        assert_eq!(shown(&links.changes(&copies)), ["~ a links 2>1", "~ b links 2>1"]);
    }
}
