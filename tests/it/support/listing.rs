//! The file system of an image as readable text: one line for each path, in a stable order.
//!
//! Flattens the layers in memory by the OCI layer spec, with code that shares nothing with the executor's.
//! Along the way it refuses what no builder should write: entries through a symbolic link, whiteouts of what
//! is not there, names that leave the root.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::image::Image;

/// Content that is short is shown as it is, not as a digest: a golden can then be written by hand.
const SHOWN: usize = 80;

/// What stands at a path, and when it was modified (Unix seconds).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) modified: i64,
}

/// The paths of a tree with a line each. Paths start with `/`; odd bytes are escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Listing(pub(crate) BTreeMap<String, Line>);

impl Listing {
    /// Lists the image as a container of it would see it.
    pub(crate) fn of(image: &Image) -> Self {
        Self::of_lower(image, image.layers.len())
    }

    /// Lists the image as it was with only its `count` lowest layers.
    pub(crate) fn of_lower(image: &Image, count: usize) -> Self {
        let mut tree = Tree::default();
        for layer in 0..count {
            tree.apply(layer, image.open(layer));
        }
        tree.listing()
    }

    /// Returns the lines that are not in `base`, and `removed <path>` for what is no more, as one text.
    pub(crate) fn changes_from(&self, base: &Self) -> String {
        let mut text = String::new();
        let paths: BTreeSet<_> = self.0.keys().chain(base.0.keys()).collect();
        for path in paths {
            match (self.0.get(path), base.0.get(path)) {
                (Some(line), old) if old.map(|old| &old.text) != Some(&line.text) => {
                    writeln!(text, "{path} {}", line.text).expect("memory");
                }
                (None, Some(_)) => writeln!(text, "{path} removed").expect("memory"),
                (Some(_) | None, _) => {}
            }
        }
        text
    }
}

/// Returns where two texts differ, line by line, for a failure that can be read; empty when they are equal.
pub(crate) fn difference(expected: &str, found: &str) -> String {
    let [old, new]: [BTreeSet<&str>; 2] = [expected.lines().collect(), found.lines().collect()];
    let mut lines: Vec<_> = old.difference(&new).map(|line| (line, "expected")).collect();
    lines.extend(new.difference(&old).map(|line| (line, "found   ")));
    lines.sort();
    lines.iter().map(|(line, side)| format!("  {side} {line}\n")).collect()
}

/// Returns the names of a layer's tar entries, in their order.
pub(crate) fn entries(image: &Image, layer: usize) -> Vec<String> {
    let mut archive = tar::Archive::new(image.open(layer));
    let entries = archive.entries().expect("a layer is a tar stream");
    entries.map(|entry| escape(&entry.expect("a whole entry").path_bytes())).collect()
}

#[derive(Debug)]
struct Node {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    modified: i64,
    detail: String,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// Path (no leading slash) → the layer that wrote it, and the node; hard links share one.
#[derive(Debug, Default)]
struct Tree(BTreeMap<Vec<u8>, (usize, Rc<Node>)>);

impl Tree {
    fn apply(&mut self, layer: usize, stream: impl Read) {
        let mut archive = tar::Archive::new(stream);
        for entry in archive.entries().expect("a layer is a tar stream") {
            let mut entry = entry.expect("a layer's entries are whole");
            let path = clean(&entry.path_bytes());
            if path.is_empty() {
                continue;
            }
            let split = path.iter().rposition(|byte| *byte == b'/');
            let (parent, name) = split.map_or((&[][..], &path[..]), |at| (&path[..at], &path[at + 1..]));
            self.parents_are_directories(layer, &path);
            if name == b".wh..wh..opq" {
                self.remove_lower(layer, parent, false);
            } else if let Some(hidden) = name.strip_prefix(b".wh.") {
                let hidden = if parent.is_empty() { hidden.to_vec() } else { [parent, b"/", hidden].concat() };
                assert!(self.0.contains_key(&hidden), "layer {layer}: whiteout of nothing: {}", escape(&hidden));
                self.remove_lower(layer, &hidden, true);
            } else {
                let node = self.node(&mut entry);
                if node.kind != EntryType::Directory {
                    self.remove_lower(layer, &path, true);
                }
                self.0.insert(path, (layer, node));
            }
        }
    }

    fn node(&self, entry: &mut tar::Entry<'_, impl Read>) -> Rc<Node> {
        let target = entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
        let kind = entry.header().entry_type();
        if kind == EntryType::Link {
            let target = clean(&target);
            let (_, node) =
                self.0.get(&target).unwrap_or_else(|| panic!("hard link to what is not there: {}", escape(&target)));
            return Rc::clone(node);
        }
        let mut xattrs = BTreeMap::new();
        if let Some(extensions) = entry.pax_extensions().expect("PAX headers are whole") {
            for extension in extensions.flatten() {
                let fraction = extension.key() == Ok("mtime") && extension.value_bytes().contains(&b'.');
                assert!(!fraction, "a time that is no whole second: {}", escape(&entry.path_bytes()));
                if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                    xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
                }
            }
        }
        let header = entry.header();
        let (mode, modified) = (header.mode().expect("mode"), header.mtime().expect("mtime"));
        let owner = (header.uid().expect("uid"), header.gid().expect("gid"));
        let device = (header.device_major().ok().flatten(), header.device_minor().ok().flatten());
        let detail = match kind {
            EntryType::Symlink => format!("-> {}", escape(&target)),
            EntryType::Char | EntryType::Block => {
                format!("{}:{}", device.0.unwrap_or_default(), device.1.unwrap_or_default())
            }
            EntryType::Directory | EntryType::Fifo => String::new(),
            _ => content(entry),
        };
        let modified = i64::try_from(modified).expect("a time of our era");
        Rc::new(Node { kind, mode: mode & 0o7777, owner, modified, detail, xattrs })
    }

    fn parents_are_directories(&mut self, layer: usize, path: &[u8]) {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = &path[..at];
            match self.0.get(parent) {
                Some((_, node)) => {
                    let told = escape(path);
                    assert_eq!(node.kind, EntryType::Directory, "layer {layer}: the parent of {told} is no directory");
                }
                None => panic!("layer {layer}: {} has no parent directory in any layer", escape(path)),
            }
        }
    }

    /// Removes what lower layers put below `path` (and at it), which is all that a whiteout may hide.
    fn remove_lower(&mut self, layer: usize, path: &[u8], itself: bool) {
        let below = [path, b"/"].concat();
        self.0.retain(|other, (written, _)| {
            let hit = (itself && other == path) || path.is_empty() || other.starts_with(&below);
            !hit || (*written == layer && other != path)
        });
    }

    fn listing(&self) -> Listing {
        let mut names: BTreeMap<*const Node, Vec<String>> = BTreeMap::new();
        for (path, (_, node)) in &self.0 {
            names.entry(Rc::as_ptr(node)).or_default().push(format!("/{}", escape(path)));
        }
        let lines = self.0.iter().map(|(path, (_, node))| {
            let text = line(node, &names[&Rc::as_ptr(node)]);
            (format!("/{}", escape(path)), Line { text, modified: node.modified })
        });
        Listing(lines.collect())
    }
}

fn line(node: &Node, names: &[String]) -> String {
    let kind = match node.kind {
        EntryType::Directory => "dir",
        EntryType::Symlink => "symlink",
        EntryType::Char => "char",
        EntryType::Block => "block",
        EntryType::Fifo => "fifo",
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => "file",
        other => panic!("an entry of type {other:?} in a layer"),
    };
    // A symbolic link's mode means nothing to Linux, and builders write different ones.
    let mode = if node.kind == EntryType::Symlink { "-".to_owned() } else { format!("{:04o}", node.mode) };
    let mut text = format!("{kind} {mode} {}:{}", node.owner.0, node.owner.1);
    if !node.detail.is_empty() {
        write!(text, " {}", node.detail).expect("memory");
    }
    for (name, value) in &node.xattrs {
        write!(text, " {name}={}", escape(value)).expect("memory");
    }
    if names.len() > 1 {
        write!(text, " links={}", names.join(",")).expect("memory");
    }
    text
}

fn content(entry: &mut impl Read) -> String {
    let (mut hasher, mut size, mut head) = (Sha256::new(), 0_usize, Vec::new());
    let mut buffer = [0; 65536];
    loop {
        let count = entry.read(&mut buffer).expect("an entry's content is whole");
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        head.extend(&buffer[..count.min(SHOWN + 1 - head.len().min(SHOWN + 1))]);
        size += count;
    }
    if size <= SHOWN {
        return format!("\"{}\"", escape(&head));
    }
    let hex: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{size} bytes sha256:{hex}…")
}

fn clean(name: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    assert!(!parts.contains(&&b".."[..]), "an entry leaves the root: {}", escape(name));
    parts.join(&b'/')
}

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
