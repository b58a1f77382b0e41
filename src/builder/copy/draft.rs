//! A layer while COPY, ADD or WORKDIR puts it together: its entries, over the files that the image has already.
//!
//! Nothing is on disk: owners and modes are data, and contents are read when the layer is written.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::image::{Entry, EntryKind, Inventory, LayerWriter, Node, NodeId, Source, Spool, Timestamp, Trail};
use crate::rootfs::{Descent, Exclusions, Inode, is_at_or_below};

use super::super::additions::Held;
use super::super::again::Origins;
use super::super::witness::{Hashed, Observer};
use super::Error;

/// Where the bytes of a regular file are until the layer is written.
#[derive(Clone, Debug)]
pub(in crate::builder) enum Content {
    /// There are none: it is no regular file, or an empty one.
    None,
    /// Here.
    Inline(Vec<u8>),
    /// In a file of the source tree.
    Tree(PathBuf),
    /// In a layer of the source image, to be extracted first.
    Layer(Source),
    /// In a file of ours.
    Spool(PathBuf),
    /// In a file of ours that nobody can reach by a name.
    Held(Arc<Held>),
}

/// A path of the layer.
#[derive(Clone, Debug)]
struct Planned {
    entry: Entry,
    content: Content,
    /// Names with the same number are hard links of one file.
    link: Option<Link>,
    /// What the image has there, if it is the same but perhaps for its content.
    same: Option<Same>,
}

/// What an image has that is the same as what is put there.
#[derive(Clone, Copy, Debug)]
enum Same {
    /// A file or link of that layer, with the same time.
    File { layer: u32 },
    /// A directory, with that time.
    Directory { modified: Timestamp },
}

/// Tells apart the files that have several names in the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::builder) struct Link {
    /// The number of the source it came with: each is a copy of its own, even of the same file, as in BuildKit.
    pub(in crate::builder) source: usize,
    pub(in crate::builder) file: LinkedFile,
}

/// Which file a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::builder) enum LinkedFile {
    /// A file on disk.
    Inode(Inode),
    /// A file of an image.
    Node(NodeId),
    /// A file of an archive, numbered here.
    Own(u64),
}

/// The entries of a layer, by path.
#[derive(Debug, Default)]
pub(in crate::builder) struct LayerPlan {
    entries: BTreeMap<PathBuf, Planned>,
}

/// Where the contents of a layer come from.
#[derive(Default)]
pub(in crate::builder) struct Places<'a> {
    /// The source tree, where it is on disk.
    pub(in crate::builder) tree: Option<RefCell<Descent<'a>>>,
    /// What was extracted from layers.
    pub(in crate::builder) spool: Option<&'a Spool>,
    /// Is told what is read of the tree.
    pub(in crate::builder) observer: Option<Observer<'a>>,
}

/// A layer in the making.
pub(in crate::builder) struct Draft<'a> {
    /// The files of the image; what the draft gets is put there too, so that each look-up sees it.
    files: &'a mut Inventory,
    /// Where in it the last look-up led.
    trail: Trail,
    plan: LayerPlan,
    /// Paths that no layer gets anything at or below.
    ignored: &'a Exclusions,
    /// The time that directories made on the way get.
    now: Timestamp,
    next_link: u64,
    /// What the last entry of a file of an archive with several names says of it.
    described: HashMap<Link, Entry>,
    /// The layers that earlier steps have copied from the same place.
    before: BTreeSet<u32>,
    epoch: Option<i64>,
}

/// Mode and owner of a directory that is made because something goes into it.
#[derive(Clone, Copy, Debug)]
pub(in crate::builder) struct ImpliedDirectory {
    pub(in crate::builder) mode: u32,
    pub(in crate::builder) uid: u32,
    pub(in crate::builder) gid: u32,
}

impl<'a> Draft<'a> {
    /// Starts a layer over an image with these files.
    pub(in crate::builder) fn new(files: &'a mut Inventory, ignored: &'a Exclusions, now: Timestamp) -> Self {
        let (trail, plan, before) = (Trail::default(), LayerPlan::default(), BTreeSet::new());
        let described = HashMap::new();
        Self { files, trail, plan, ignored, now, next_link: 0, described, before, epoch: None }
    }

    /// Takes note of files that the image has from these layers, so that they can be [left out](Self::leave_out); later
    /// times than `epoch` are written as `epoch`.
    #[must_use]
    pub(in crate::builder) fn after(self, before: BTreeSet<u32>, epoch: Option<i64>) -> Self {
        Self { before, epoch, ..self }
    }

    fn same(&mut self, entry: &Entry, link: Option<Link>) -> Option<Same> {
        if self.before.is_empty() || link.is_some() {
            return None;
        }
        let node = self.files.get_along(&mut self.trail, &entry.path)?;
        let Entry { path: _, kind, mode, uid, gid, mtime, xattrs } = entry;
        let is_same = node.kind == *kind && node.mode == *mode && (node.uid, node.gid) == (*uid, *gid);
        if !is_same || node.xattrs != *xattrs {
            return None;
        }
        if *kind == EntryKind::Directory {
            return Some(Same::Directory { modified: node.mtime });
        }
        let source = node.source.filter(|source| self.before.contains(&source.layer))?;
        let is_same = node.links == 1 && node.mtime == mtime.clamped(self.epoch).whole();
        is_same.then_some(Same::File { layer: source.layer })
    }

    /// Tells whether [`Draft::leave_out`] may find something.
    pub(in crate::builder) fn repeats(&self) -> bool {
        self.plan.entries.values().any(|planned| matches!(planned.same, Some(Same::File { .. })))
    }

    /// Returns the files of the image and of the draft.
    pub(in crate::builder) fn files(&self) -> &Inventory {
        self.files
    }

    /// Takes out what the image has already: files that came from the same source, and then the directories that nothing is
    /// left in. Contents are those of `origins`.
    ///
    /// # Errors
    /// As [`Draft::put`].
    pub(in crate::builder) fn leave_out(&mut self, origins: &Origins) -> Result<(), Error> {
        let count = self.plan.entries.len();
        self.plan.entries.retain(|path, planned| match (planned.same, &planned.content) {
            (Some(Same::File { .. }), _) if planned.link.is_some() => true,
            (Some(Same::File { .. }), Content::None) => false,
            (Some(Same::File { layer }), Content::Tree(source)) => {
                origins.get(&(layer, path.clone())).is_none_or(|origin| origin != source)
            }
            (
                Some(Same::File { .. }),
                Content::Inline(_) | Content::Layer(_) | Content::Spool(_) | Content::Held(_),
            )
            | (Some(Same::Directory { .. }) | None, _) => true,
        });
        if self.plan.entries.len() == count {
            return Ok(());
        }
        // Deepest first.
        let directories: Vec<(Entry, Timestamp)> = self
            .plan
            .entries
            .values()
            .rev()
            .filter_map(|planned| match planned.same {
                Some(Same::Directory { modified }) => Some((planned.entry.clone(), modified)),
                Some(Same::File { .. }) | None => None,
            })
            .collect();
        for (entry, mtime) in directories {
            if self.plan.below(&entry.path).next().is_none() {
                self.plan.entries.remove(&entry.path);
                // It stays what it was.
                self.files.put(&mut self.trail, Entry { mtime, ..entry })?;
            }
        }
        Ok(())
    }

    /// Returns what is at a path whose parents are no links, if anything is.
    pub(super) fn get(&mut self, path: &Path) -> Option<Entry> {
        self.files.get_along(&mut self.trail, path).map(|node| node.entry(path.to_owned()))
    }

    /// Returns what kind of file is at such a path.
    fn kind(&mut self, path: &Path) -> Option<&EntryKind> {
        self.files.get_along(&mut self.trail, path).map(|node| &node.kind)
    }

    /// Tells whether a directory is at the path.
    pub(super) fn is_directory(&mut self, path: &Path) -> bool {
        self.kind(path) == Some(&EntryKind::Directory)
    }

    /// Follows the links of a path, also the last; what does not exist is appended.
    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        Ok(self.files.resolve(path, true)?.path)
    }

    /// Follows the links of a path, also the last, as a process would whose root is `root`, a real path.
    ///
    /// # Errors
    /// When a link leads to what is not there, as far as such a process can see.
    pub(super) fn resolve_below(&self, root: &Path, path: &Path) -> Result<PathBuf, Error> {
        let found = self.files.resolve_below(root, path, true)?;
        if found.dangles {
            return Err(Error::LeadsOut { path: absolute(path), root: absolute(root) });
        }
        Ok(found.path)
    }

    /// Puts an entry into the layer; it replaces what is there.
    pub(super) fn put(&mut self, entry: Entry, content: Content, link: Option<Link>) -> Result<(), Error> {
        if self.ignored.contains(&entry.path) {
            return Ok(());
        }
        if entry.kind != EntryKind::Directory {
            // What was below a directory that is replaced is gone, in this layer as well.
            let below: Vec<PathBuf> = self.plan.below(&entry.path).map(|(path, _)| path.clone()).collect();
            for path in below {
                self.plan.entries.remove(&path);
            }
        }
        let same = self.same(&entry, link);
        // The image's own file stays known as what it is, until it is known to be written again.
        if same.is_none() || entry.kind == EntryKind::Directory {
            self.files.put(&mut self.trail, entry.clone())?;
        }
        self.plan.entries.insert(entry.path.clone(), Planned { entry, content, link, same });
        Ok(())
    }

    /// Puts a second name for a file into the layer: an entry whose kind is a hard link.
    ///
    /// What it says of owner, mode, time and attributes counts for the file with all its names, once the links are
    /// [settled](Self::settle_links): as in Docker and containerd, which link first and set these then.
    ///
    /// # Errors
    /// When there is no such file.
    pub(super) fn put_hard_link(&mut self, mut entry: Entry) -> Result<(), Error> {
        let EntryKind::HardLink { target } = &entry.kind else { return self.put(entry, Content::None, None) };
        if let Some(planned) = self.plan.entries.get_mut(target) {
            let link = *planned.link.get_or_insert_with(|| {
                self.next_link += 1;
                Link { source: 0, file: LinkedFile::Own(self.next_link) }
            });
            let (before, content) = (self.described.get(&link).unwrap_or(&planned.entry), planned.content.clone());
            let mut xattrs = before.xattrs.clone();
            xattrs.append(&mut entry.xattrs);
            let (mode, mtime) = match before.kind {
                EntryKind::Symlink { .. } => (before.mode, before.mtime),
                _ => (entry.mode, entry.mtime),
            };
            let entry = Entry { kind: before.kind.clone(), mode, mtime, xattrs, ..entry };
            self.described.insert(link, entry.clone());
            return self.put(entry, content, Some(link));
        }
        if self.get(target).is_none() {
            return Err(Error::NotFound { path: target.to_owned(), place: "the archive, which has a hard link to it" });
        }
        self.put(entry, Content::None, None)
    }

    /// Gives all names of a file what the last of them said.
    pub(super) fn settle_links(&mut self) {
        let described = std::mem::take(&mut self.described);
        if described.is_empty() {
            return;
        }
        for (path, planned) in &mut self.plan.entries {
            if let Some(entry) = planned.link.and_then(|link| described.get(&link)) {
                planned.entry = Entry { path: path.clone(), ..entry.clone() };
            }
        }
    }

    /// Returns the time that this layer's own directories and files get.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Makes a directory and its parents where they are missing. Links in the path are followed.
    ///
    /// # Errors
    /// When something on the way is no directory.
    pub(in crate::builder) fn make_directories(&mut self, path: &Path, implied: ImpliedDirectory) -> Result<(), Error> {
        let real = self.resolve(path)?;
        let mut current = PathBuf::new();
        for component in real.components() {
            current.push(component);
            match self.kind(&current) {
                Some(EntryKind::Directory) => {}
                Some(_) => return Err(Error::NotADirectory { path: absolute(&current) }),
                None => {
                    let ImpliedDirectory { mode, uid, gid } = implied;
                    let (kind, mtime) = (EntryKind::Directory, self.now);
                    let entry = Entry { path: current.clone(), kind, mode, uid, gid, mtime, xattrs: BTreeMap::new() };
                    self.put(entry, Content::None, None)?;
                }
            }
        }
        Ok(())
    }

    /// Returns what was put into the layer, by path; names with equal links are of one file.
    pub(in crate::builder) fn planned(&self) -> impl Iterator<Item = (&Entry, &Content, Option<Link>)> {
        self.plan.entries.values().map(|planned| (&planned.entry, &planned.content, planned.link))
    }

    /// Tells whether nothing was put into the layer.
    pub(in crate::builder) fn is_empty(&self) -> bool {
        self.plan.entries.is_empty()
    }

    /// Returns which contents must be extracted from the source image's layers.
    pub(in crate::builder) fn wanted(&self) -> BTreeSet<Source> {
        self.plan.wanted()
    }

    /// Returns how many bytes its files have, at most: names of one file count each.
    pub(in crate::builder) fn size(&self) -> u64 {
        self.planned().fold(0, |sum, (entry, ..)| match entry.kind {
            EntryKind::File { size } => sum.saturating_add(size),
            _ => sum,
        })
    }

    /// Writes the layer.
    pub(in crate::builder) fn write(&self, writer: &mut LayerWriter, places: &Places<'_>) -> Result<(), Error> {
        self.plan.write(self.files, writer, places)
    }
}

impl LayerPlan {
    /// Takes a file of an image, whose content is in that image's layers.
    pub(in crate::builder) fn add(&mut self, path: PathBuf, node: &Node) {
        let content = match (&node.kind, node.source) {
            (EntryKind::File { size }, Some(source)) if *size > 0 => Content::Layer(source),
            _ => Content::None,
        };
        let linked = node.links > 1 && !node.is_directory();
        let link = linked.then_some(Link { source: 0, file: LinkedFile::Node(node.id) });
        self.entries.insert(path.clone(), Planned { entry: node.entry(path), content, link, same: None });
    }

    fn below(&self, path: &Path) -> impl Iterator<Item = (&PathBuf, &Planned)> {
        let path = path.to_owned();
        let after = (std::ops::Bound::Excluded(path.clone()), std::ops::Bound::Unbounded);
        self.entries.range::<PathBuf, _>(after).take_while(move |(other, _)| is_at_or_below(other, &path))
    }

    /// Returns which contents must be extracted from the source image's layers.
    pub(in crate::builder) fn wanted(&self) -> BTreeSet<Source> {
        let wanted = self.entries.values().filter_map(|planned| match &planned.content {
            Content::Layer(source) => Some(*source),
            Content::None | Content::Inline(_) | Content::Tree(_) | Content::Spool(_) | Content::Held(_) => None,
        });
        wanted.collect()
    }

    /// Writes the layer: sorted, each parent directory once with its attributes, hard links to the first of their names.
    pub(in crate::builder) fn write(
        &self,
        files: &Inventory,
        writer: &mut LayerWriter,
        places: &Places<'_>,
    ) -> Result<(), Error> {
        let mut links: HashMap<Link, PathBuf> = HashMap::new();
        let (mut parents, mut trail) = (Parents::default(), Trail::default());
        for (path, planned) in &self.entries {
            for parent in parents.missing(path) {
                if let Some(node) = files.get_along(&mut trail, &parent) {
                    writer.append(&node.entry(parent), &mut io::empty())?;
                }
            }
            if planned.entry.kind == EntryKind::Directory {
                parents.written(path);
            }
            if let Some(link) = planned.link {
                if let Some(target) = links.get(&link) {
                    let kind = EntryKind::HardLink { target: target.clone() };
                    writer.append(&Entry { kind, ..planned.entry.clone() }, &mut io::empty())?;
                    continue;
                }
                links.insert(link, path.clone());
            }
            let mut content = places.open((&planned.entry, &planned.content))?;
            let mut hashed = Hashed::new(&mut content);
            match (&planned.content, &places.observer) {
                (Content::Tree(source), Some(observer)) => {
                    writer.append(&planned.entry, &mut hashed)?;
                    observer.content(source, hashed.into_hasher());
                }
                _ => writer.append(&planned.entry, &mut content)?,
            }
        }
        Ok(())
    }
}

/// Which parent directories a layer has already: the one written last, and those above it. Paths are sorted, so what is
/// not on the way to it has either been written long ago or not yet.
#[derive(Default)]
struct Parents(PathBuf);

impl Parents {
    /// Returns the parents of `path` that are not written yet, highest first, and takes them as written.
    fn missing(&mut self, path: &Path) -> Vec<PathBuf> {
        let Some(parent) = path.parent() else { return Vec::new() };
        let is_written = |path: &Path| is_at_or_below(&self.0, path);
        let mut missing: Vec<PathBuf> =
            parent.ancestors().take_while(|path| !is_written(path)).map(Path::to_owned).collect();
        missing.reverse();
        parent.clone_into(&mut self.0);
        missing
    }

    fn written(&mut self, directory: &Path) {
        directory.clone_into(&mut self.0);
    }
}

impl Places<'_> {
    /// Opens the content of a file.
    pub(in crate::builder) fn open<'c>(
        &self,
        planned: (&'c Entry, &'c Content),
    ) -> Result<Box<dyn Read + Send + 'c>, Error> {
        let (entry, content) = planned;
        let missing = || Error::NotExtracted { path: absolute(&entry.path) };
        Ok(match content {
            Content::None => Box::new(io::empty()),
            Content::Inline(bytes) => Box::new(bytes.as_slice()),
            Content::Spool(file) => {
                Box::new(File::open(file).map_err(|source| Error::Spool { path: file.clone(), source })?)
            }
            Content::Held(held) => Box::new(held.reader()),
            Content::Layer(source) => Box::new(self.spool.and_then(|spool| spool.open(*source)).ok_or_else(missing)?),
            Content::Tree(source) => {
                let file = self.tree.as_ref().ok_or_else(missing)?.borrow_mut().open_file(source)?;
                match entry.kind {
                    // What is written at its end meanwhile, a log perhaps, came after the copy was begun.
                    EntryKind::File { size } => Box::new(file.take(size)),
                    _ => Box::new(file),
                }
            }
        })
    }
}

/// Returns a path of the image as people write it, with a leading slash.
pub(super) fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}
