//! What an image holds: the trees of its layers laid over each other, without unpacking any.
//!
//! Knows whiteouts, replacements, hard links and how paths lead through symbolic links; holds no contents, but says
//! which entry of which layer has them. Does not know a disk.
//!
//! *Invariant: the tree equals what unpacking the layers in their order gives. No path leads out of the root, and
//! no lookup follows more than 40 symbolic links.*

mod way;

pub use way::Resolved;

use std::collections::{BTreeMap, btree_map};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::accounts::AccountFile;
use super::layer_inventory::LayerInventory;
use super::node_id::{NodeId, ROOT};
use super::trail::Trail;
use super::{Entry, EntryKind, Error, Timestamp, Whiteout, whiteout};

/// An image with more files than this is refused; they would take a gigabyte of memory.
const MOST_NODES: usize = 1 << 22;

/// The files of an image, or of its lowest layers.
#[derive(Clone, Debug)]
pub struct Inventory {
    nodes: Vec<Node>,
    accounts: Vec<(AccountFile, Source, Vec<u8>)>,
}

/// The entry of a layer that a file comes from, and that holds its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The layer's number, from 0 for the lowest.
    pub layer: u32,
    /// The entry's number within the layer, from 0.
    pub entry: u32,
}

/// A file of an image.
#[derive(Clone, Debug)]
pub struct Node {
    /// Which file it is.
    pub id: NodeId,
    /// What it is; never a hard link, as all names of a file lead to the same node.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When its content was last modified; 0 where no layer says.
    pub mtime: Timestamp,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where it comes from; none for a directory that no layer lists, but that has files in it.
    pub source: Option<Source>,
    /// How many names it has.
    pub links: u32,
    children: BTreeMap<Box<[u8]>, NodeId>,
}

/// What is known of an account file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountContent<'a> {
    /// The image has none.
    Absent,
    /// Its content.
    Known(&'a [u8]),
    /// It is there, but by another name or too large to be kept: [`super::extract`] gets it.
    Elsewhere(Source),
}

impl Node {
    fn directory(id: NodeId) -> Self {
        Self {
            id,
            kind: EntryKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: BTreeMap::new(),
            source: None,
            links: 0,
            children: BTreeMap::new(),
        }
    }

    /// Tells whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == EntryKind::Directory
    }

    /// Tells whether no layer lists it: a directory that only follows from what is in it.
    pub fn is_implied(&self) -> bool {
        self.source.is_none()
    }

    /// Returns it as an entry at `path`.
    pub fn entry(&self, path: PathBuf) -> Entry {
        Entry {
            path,
            kind: self.kind.clone(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.xattrs.clone(),
        }
    }

    fn describe(&mut self, entry: Entry, source: Source) {
        self.kind = entry.kind;
        self.mode = entry.mode;
        self.uid = entry.uid;
        self.gid = entry.gid;
        self.mtime = entry.mtime;
        self.xattrs = entry.xattrs;
        self.source = Some(source);
    }

    /// Takes over what the entry of a further name says: of the file's attributes the last entry counts, and extended ones
    /// are added.
    fn describe_again(&mut self, entry: Entry) {
        let is_link = matches!(self.kind, EntryKind::Symlink { .. });
        self.mode = if is_link { self.mode } else { entry.mode };
        self.uid = entry.uid;
        self.gid = entry.gid;
        self.mtime = entry.mtime;
        self.xattrs.extend(entry.xattrs);
    }
}

impl Default for Inventory {
    fn default() -> Self {
        Self::new()
    }
}

impl Inventory {
    /// Returns the inventory of an image without layers: the root alone, a directory of mode 0755.
    pub fn new() -> Self {
        Self { nodes: vec![Node { links: 1, ..Node::directory(ROOT) }], accounts: Vec::new() }
    }

    /// Lays the next layer over what is there; `layer` is its number, higher than those before.
    ///
    /// Removals and opaque markers concern lower layers only, wherever in the layer they stand; so they come first.
    /// The way to an entry
    /// leads through symbolic links as at unpacking; what is missing on it becomes directories of mode 0755, owned by
    /// 0:0, and what is in the way, and is no directory, is replaced by one.
    ///
    /// # Errors
    /// [`Error::Entry`] for a hard link to what is not there or is a directory, [`Error::Loop`] for an entry below
    /// symbolic links that lead in a circle, [`Error::Inventory`] for more than four million files.
    ///
    /// Source: OCI image-spec, layer.md "Applying Changesets".
    pub fn apply(&mut self, layer: u32, inventory: &LayerInventory) -> Result<(), Error> {
        let mut trail = Trail::default();
        for entry in inventory.entries() {
            if let Some(removal) = whiteout::classify(&entry.path) {
                self.remove(&mut trail, entry.path.parent().unwrap_or(Path::new("")), removal)?;
            }
        }
        let (mut trail, mut targets) = (Trail::default(), Trail::default());
        for (number, entry) in (0..).zip(inventory.entries()) {
            if whiteout::classify(&entry.path).is_none() {
                self.insert((&mut trail, &mut targets), Source { layer, entry: number }, entry)?;
            }
        }
        for account in inventory.accounts() {
            self.accounts.retain(|(file, _, _)| *file != account.file);
            let source = Source { layer, entry: account.entry };
            self.accounts.push((account.file, source, account.content.clone()));
        }
        Ok(())
    }

    /// Puts one file in its place while the layer that will hold it is still being put together; `trail` is where the
    /// file before went, or a look-up after it.
    ///
    /// To be followed by [`Inventory::apply`] of that layer, which tells where contents are.
    ///
    /// # Errors
    /// As [`Inventory::apply`].
    pub fn put(&mut self, trail: &mut Trail, entry: Entry) -> Result<(), Error> {
        self.insert((trail, &mut Trail::default()), Source { layer: u32::MAX, entry: 0 }, entry)
    }

    /// Returns the file at `path` without following a symbolic link at its end; none where there is none.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        self.resolve(path, false).ok()?.node
    }

    /// Returns the same as [`Inventory::get`]; `trail` is where the look-up before this one led, and nothing but
    /// [`Inventory::put`] along it has changed the inventory since.
    pub fn get_along(&self, trail: &mut Trail, path: &Path) -> Option<&Node> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return self.get(path) };
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return self.get(path);
        }
        match self.follow(trail, parent) {
            Stop::There(directory) => self.node(directory).children.get(name.as_bytes()).map(|child| self.node(*child)),
            Stop::Missing => None,
            Stop::Odd => self.get(path),
        }
    }

    /// Returns what is in the directory at `path`, sorted by name; nothing where there is no directory.
    pub fn children(&self, path: &Path) -> impl Iterator<Item = (&OsStr, &Node)> {
        self.get(path).into_iter().flat_map(|directory| self.children_of(directory))
    }

    /// Returns what is in a directory, sorted by name.
    pub fn children_of<'a>(&'a self, directory: &'a Node) -> impl Iterator<Item = (&'a OsStr, &'a Node)> {
        directory.children.iter().map(|(name, child)| (OsStr::from_bytes(name), self.node(*child)))
    }

    /// Returns all that is below the directory at `path`, each directory before what is in it, sorted by name.
    pub fn walk(&self, path: &Path) -> Walk<'_> {
        let start = self.resolve(path, false).ok().and_then(|found| Some((found.node?, found.path)));
        let (levels, path) = match start {
            Some((node, path)) => (vec![node.children.iter()], path),
            None => (Vec::new(), PathBuf::new()),
        };
        Walk { inventory: self, levels, path, inside: false }
    }

    /// Returns what is known of one of the image's account files.
    ///
    /// # Errors
    /// [`Error::Loop`] when symbolic links on the way to it lead in a circle.
    pub fn account_file(&self, file: AccountFile) -> Result<AccountContent<'_>, Error> {
        let found = match self.resolve(file.path(), true) {
            Ok(found) => found.node,
            Err(Error::NotDirectory { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(Node { kind: EntryKind::File { .. }, source: Some(source), .. }) = found else {
            return Ok(AccountContent::Absent);
        };
        let kept = self.accounts.iter().find(|(_, kept, _)| kept == source);
        Ok(kept.map_or(AccountContent::Elsewhere(*source), |(_, _, content)| AccountContent::Known(content)))
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Goes along directories that are no links, from where the trail is.
    fn follow(&self, trail: &mut Trail, path: &Path) -> Stop {
        let path = path.as_os_str().as_bytes();
        trail.return_to(path);
        while trail.path().len() < path.len() {
            let start = trail.path().len() + usize::from(!trail.path().is_empty());
            let rest = path.get(start..).unwrap_or_default();
            let name = &rest[..memchr::memchr(b'/', rest).unwrap_or(rest.len())];
            if matches!(name, b"" | b"." | b"..") {
                return Stop::Odd;
            }
            match self.node(trail.end()).children.get(name) {
                // Behind what is missing, `..` takes back.
                None if memchr::memmem::find(rest, b"..").is_some() => return Stop::Odd,
                None => return Stop::Missing,
                Some(child) if self.node(*child).is_directory() => trail.enter(name, *child),
                Some(_) => return Stop::Odd,
            }
        }
        Stop::There(trail.end())
    }

    /// Removes what is in `parent`.
    fn remove(&mut self, trail: &mut Trail, parent: &Path, removal: Whiteout<'_>) -> Result<(), Error> {
        let directory = match self.follow(trail, parent) {
            Stop::There(directory) => directory,
            // Nothing is there to remove.
            Stop::Missing => return Ok(()),
            Stop::Odd => match self.way(parent, true) {
                Ok(way) if way.missing.is_empty() => trail.jump(parent, way.end()),
                Ok(_) | Err(Error::NotDirectory { .. }) => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        match removal {
            Whiteout::Remove(name) => self.unlink(&mut [trail], directory, name.as_bytes()),
            Whiteout::Opaque => {
                let names: Vec<_> = self.node(directory).children.keys().cloned().collect();
                names.iter().for_each(|name| self.unlink(&mut [trail], directory, name));
            }
            Whiteout::Reserved => {}
        }
        Ok(())
    }

    fn unlink(&mut self, trails: &mut [&mut Trail], directory: NodeId, name: &[u8]) {
        if let Some(child) = self.node(directory).children.get(name) {
            let may_lead_on = !matches!(self.node(*child).kind, EntryKind::File { .. });
            trails.iter_mut().filter(|_| may_lead_on).for_each(|trail| trail.forget(*child));
        }
        let mut gone: Vec<NodeId> = self.node_mut(directory).children.remove(name).into_iter().collect();
        while let Some(id) = gone.pop() {
            let node = self.node_mut(id);
            node.links = node.links.saturating_sub(1);
            if node.links == 0 {
                gone.extend(std::mem::take(&mut node.children).into_values());
            }
        }
    }

    fn link(&mut self, directory: NodeId, name: &[u8], child: NodeId) {
        self.node_mut(child).links += 1;
        self.node_mut(directory).children.insert(name.into(), child);
    }

    fn add(&mut self, node: impl FnOnce(NodeId) -> Node) -> Result<NodeId, Error> {
        let id = u32::try_from(self.nodes.len()).ok().filter(|_| self.nodes.len() < MOST_NODES);
        let id = NodeId(id.ok_or(Error::Inventory { reason: "the image holds too many files" })?);
        self.nodes.push(node(id));
        Ok(id)
    }

    fn insert(
        &mut self,
        (trail, targets): (&mut Trail, &mut Trail),
        source: Source,
        entry: Entry,
    ) -> Result<(), Error> {
        let Some(name) = entry.path.file_name().map(OsStr::to_owned) else {
            self.node_mut(ROOT).describe(entry, source);
            return Ok(());
        };
        let name = name.as_bytes();
        let directory = self.directory((trail, targets), entry.path.parent().unwrap_or(Path::new("")))?;
        let target = match &entry.kind {
            EntryKind::HardLink { target } => Some(self.link_target(targets, &entry.path, target)?),
            _ => None,
        };
        if let Some(existing) = self.node(directory).children.get(name).copied() {
            if target == Some(existing) {
                self.node_mut(existing).describe_again(entry);
                return Ok(());
            }
            if self.node(existing).is_directory() && entry.kind == EntryKind::Directory {
                self.node_mut(existing).describe(entry, source);
                return Ok(());
            }
            self.unlink(&mut [trail, targets], directory, name);
        }
        let node = match target {
            Some(node) if self.node(node).links == 0 => {
                return Err(refused(&entry.path, "it is a hard link to a file that it replaces"));
            }
            Some(node) => {
                self.node_mut(node).describe_again(entry);
                node
            }
            None => self.add(|id| {
                let mut node = Node::directory(id);
                node.describe(entry, source);
                node
            })?,
        };
        self.link(directory, name, node);
        Ok(())
    }

    fn link_target(&self, trail: &mut Trail, path: &Path, target: &Path) -> Result<NodeId, Error> {
        let refuse = |reason| refused(path, &format!("it is a hard link to {}, which {reason}", target.display()));
        let (parent, name) = (target.parent().unwrap_or(Path::new("")), target.file_name().unwrap_or_default());
        let found = match self.follow(trail, parent) {
            Stop::There(directory) => self.node(directory).children.get(name.as_bytes()).copied(),
            Stop::Missing => None,
            Stop::Odd => match self.way(target, false) {
                Ok(way) if way.missing.is_empty() => Some(way.end()),
                Ok(_) => None,
                Err(_) => return Err(refuse("cannot be reached")),
            },
        };
        match found {
            None => Err(refuse("is not there")),
            Some(found) if self.node(found).is_directory() => Err(refuse("is a directory")),
            Some(found) => Ok(found),
        }
    }

    /// Finds the directory for an entry of a layer, and makes it if it is missing.
    fn directory(&mut self, (trail, targets): (&mut Trail, &mut Trail), path: &Path) -> Result<NodeId, Error> {
        match self.follow(trail, path) {
            Stop::There(directory) => return Ok(directory),
            Stop::Missing => {
                for name in parts(&path.as_os_str().as_bytes()[trail.path().len()..]) {
                    let node = self.add(Node::directory)?;
                    self.link(trail.end(), &name, node);
                    trail.enter(&name, node);
                }
                return Ok(trail.end());
            }
            Stop::Odd => {}
        }
        let mut way = loop {
            match self.way(path, true) {
                Err(Error::NotDirectory { file, .. }) => self.clear_the_way((trail, targets), &file)?,
                way => break way?,
            }
        };
        if !self.node(way.end()).is_directory() {
            self.clear_the_way((trail, targets), &way.real_path())?;
            way.missing = way.found.pop().map(|(name, _)| name).into_iter().collect();
        }
        let mut directory = way.end();
        for name in way.missing {
            let node = self.add(Node::directory)?;
            self.link(directory, &name, node);
            directory = node;
        }
        Ok(trail.jump(path, directory))
    }

    /// Removes a file that stands where a directory is needed.
    fn clear_the_way(&mut self, (trail, targets): (&mut Trail, &mut Trail), file: &Path) -> Result<(), Error> {
        let way = self.way(file.parent().unwrap_or(Path::new("")), true)?;
        self.unlink(&mut [trail, targets], way.end(), file.file_name().unwrap_or_default().as_bytes());
        Ok(())
    }
}

/// How far a look-up came.
enum Stop {
    There(NodeId),
    /// The next part does not exist.
    Missing,
    /// The next part is no directory, or no plain name.
    Odd,
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::Entry { path: path.display().to_string(), reason: reason.to_owned() }
}

fn parts(path: &[u8]) -> impl Iterator<Item = Box<[u8]>> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(Into::into)
}

/// Iterates over all that is below a directory.
pub struct Walk<'a> {
    inventory: &'a Inventory,
    levels: Vec<btree_map::Iter<'a, Box<[u8]>, NodeId>>,
    path: PathBuf,
    /// Whether `path` has the name of the last item at its end.
    inside: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (PathBuf, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.levels.last_mut()?.next();
            if std::mem::take(&mut self.inside) {
                self.path.pop();
            }
            let Some((name, child)) = next else {
                self.levels.pop();
                self.inside = !self.levels.is_empty();
                continue;
            };
            self.path.push(OsStr::from_bytes(name));
            let node = self.inventory.node(*child);
            if node.is_directory() {
                self.levels.push(node.children.iter());
            } else {
                self.inside = true;
            }
            return Some((self.path.clone(), node));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes entries as `path/` (directory), `path -> target`, `path == target` (hard link) or `path=mode`.
    fn layer(lines: &[&str]) -> LayerInventory {
        let mut inventory = LayerInventory::default();
        for line in lines {
            let (path, kind, mode) = if let Some((path, target)) = line.split_once(" -> ") {
                (path, EntryKind::Symlink { target: target.into() }, 0o777)
            } else if let Some((path, target)) = line.split_once(" == ") {
                (path, EntryKind::HardLink { target: target.into() }, 0o644)
            } else if let Some(path) = line.strip_suffix('/') {
                (path, EntryKind::Directory, 0o700)
            } else {
                let (path, mode) = line.split_once('=').unwrap_or((line, "644"));
                let kind = EntryKind::File { size: 1 };
                (path, kind, u32::from_str_radix(mode, 8).expect("octal"))
            };
            let (mtime, xattrs) = (Timestamp::default(), BTreeMap::new());
            inventory.push(&Entry { path: path.into(), kind, mode, uid: 0, gid: 0, mtime, xattrs }).expect("few");
        }
        inventory
    }

    fn image(layers: &[&[&str]]) -> Inventory {
        let mut image = Inventory::new();
        for (number, lines) in (0..).zip(layers) {
            image.apply(number, &layer(lines)).expect("fits");
        }
        image
    }

    fn listing(image: &Inventory) -> String {
        let shown = image.walk(Path::new("")).map(|(path, node)| {
            let source =
                node.source.map_or("implied".to_owned(), |source| format!("{}.{}", source.layer, source.entry));
            format!("{}{} {source}", path.display(), if node.is_directory() { "/" } else { "" })
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn layers_lie_over_each_other() {
        let cases: &[(&str, &[&[&str]], &str)] = &[
            ("parents are implied", &[&["a/b/c"]], "a/ implied, a/b/ implied, a/b/c 0.0"),
            ("a directory keeps its files", &[&["a/", "a/b"], &["a/"]], "a/ 1.0, a/b 0.1"),
            ("a file is removed", &[&["a/b", "a/c"], &["a/.wh.b"]], "a/ implied, a/c 0.1"),
            ("a tree is removed", &[&["a/b/c", "d"], &[".wh.a"]], "d 0.1"),
            ("what is not there is removed", &[&["a"], &[".wh.x", "y/.wh.z", "a/.wh.b"]], "a 0.0"),
            ("a removal spares its own layer", &[&["a/b"], &["a/c", ".wh.a"]], "a/ implied, a/c 1.0"),
            (
                "opaque hides lower layers",
                &[&["a/", "a/b", "a/d/e"], &["a/", "a/c", "a/.wh..wh..opq"]],
                "a/ 1.0, a/c 1.1",
            ),
            ("a file replaces a directory", &[&["a/b"], &["a"]], "a 1.0"),
            ("a directory replaces a file", &[&["a"], &["a/", "a/b"]], "a/ 1.0, a/b 1.1"),
            ("an implied directory replaces a file", &[&["a"], &["a/b/c"]], "a/ implied, a/b/ implied, a/b/c 1.0"),
            ("a directory replaces a link", &[&["d/", "l -> d"], &["l/", "l/f"]], "d/ 0.0, l/ 1.0, l/f 1.1"),
            ("the way leads through links", &[&["d/", "l -> /d"], &["l/f", "l/.wh.x"]], "d/ 0.0, d/f 1.0, l 0.1"),
            ("removal leads through links", &[&["d/x", "l -> d"], &["l/.wh.x"]], "d/ implied, l 0.1"),
            (
                "a link out of nowhere is filled",
                &[&["l -> n/m"], &["l/f"]],
                "l 0.0, n/ implied, n/m/ implied, n/m/f 1.0",
            ),
            ("bookkeeping is no file", &[&[".wh..wh.plnk", "a"]], "a 0.1"),
            ("the root may be listed", &[&["/", "a"], &["/"]], "a 0.1"),
        ];
        for (name, layers, expected) in cases {
            assert_eq!(listing(&image(layers)), *expected, "{name}");
        }
    }

    #[test]
    fn hard_links_are_one_file() {
        let image = image(&[&["a=600", "d/b == a", "c == d/b"], &["a=640"], &["e == c"], &[".wh.c"]]);
        assert_eq!(listing(&image), "a 1.0, d/ implied, d/b 0.0, e 0.0");
        let [a, b, e] = ["a", "d/b", "e"].map(|path| image.get(Path::new(path)).expect(path));
        assert_eq!((b.id, b.mode, b.links), (e.id, 0o644, 2));
        assert_eq!((a.mode, a.links), (0o640, 1));
    }

    #[test]
    fn a_hard_link_to_nothing_is_refused() {
        for lines in [&["a == b"][..], &["d/", "a == d"], &["d/f", "d == d/f"], &["l -> l", "a == l/x"]] {
            let error = Inventory::new().apply(0, &layer(lines)).expect_err("refused");
            assert!(matches!(error, Error::Entry { .. }), "{error}");
        }
    }

    #[test]
    fn paths_resolve_as_in_a_chroot() {
        let image = image(&[&[
            "d/e/f",
            "abs -> /d/e",
            "rel -> d/../d/e",
            "out -> ../../../d",
            "gone -> /no/where",
            "loop -> loop",
            "d/up -> ../d",
        ]]);
        for (path, follow, expected) in [
            ("", true, "|0"),
            ("/", true, "|0"),
            ("/d/e/f", true, "d/e/f|0"),
            ("abs/f", false, "d/e/f|0"),
            ("rel/f", false, "d/e/f|0"),
            ("out/e", false, "d/e|0"),
            ("abs", true, "d/e|0"),
            ("abs", false, "abs|0"),
            ("abs/", false, "d/e|0"),
            ("../../d", true, "d|0"),
            ("d/up/up/up/e", true, "d/e|0"),
            ("abs/..", true, "d|0"),
            ("gone", false, "gone|0"),
            ("gone", true, "no/where|2"),
            ("gone/x/../y", true, "no/where/y|3"),
            ("d/new/deep", true, "d/new/deep|2"),
            ("d/new/../../x", true, "x|1"),
            ("loop", false, "loop|0"),
            ("loop", true, "too many symbolic links on the way to /loop in the image"),
            ("d/e/f/g", true, "/d/e/f/g cannot be reached in the image: /d/e/f is not a directory"),
            ("d/e/f/..", true, "/d/e/f/.. cannot be reached in the image: /d/e/f is not a directory"),
        ] {
            let found = match image.resolve(Path::new(path), follow) {
                Ok(found) => {
                    assert_eq!(found.node.is_some(), found.missing == 0);
                    format!("{}|{}", found.path.display(), found.missing)
                }
                Err(error) => error.to_string().replace("//", "/"),
            };
            assert_eq!(found, expected, "{path} {follow}");
        }
        assert!(image.get(Path::new("gone")).is_some() && image.get(Path::new("no")).is_none());
        let names: Vec<_> = image.children(Path::new("d")).map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["e", "up"]);
        let below: Vec<_> = image.walk(Path::new("abs/")).map(|(path, _)| path).collect();
        assert_eq!(below, [Path::new("d/e/f")]);
    }

    #[test]
    fn account_files_are_those_of_the_top_layer() {
        let with = |lines: &[&str], content: &str| {
            let mut inventory = layer(lines);
            inventory.keep_account(AccountFile::Passwd, content.into());
            inventory
        };
        let passwd = |image: &Inventory| match image.account_file(AccountFile::Passwd).expect("no loop") {
            AccountContent::Known(content) => String::from_utf8_lossy(content).into_owned(),
            other => format!("{other:?}"),
        };
        let mut image = Inventory::new();
        assert_eq!(passwd(&image), "Absent");
        image.apply(0, &with(&["etc/passwd"], "one")).expect("fits");
        assert_eq!(passwd(&image), "one");
        image.apply(1, &with(&["x", "etc/passwd"], "two")).expect("fits");
        assert_eq!(passwd(&image), "two");
        image.apply(2, &layer(&["etc/passwd"])).expect("fits");
        assert_eq!(passwd(&image), "Elsewhere(Source { layer: 2, entry: 0 })");
        image.apply(3, &layer(&["etc/.wh.passwd"])).expect("fits");
        assert_eq!(passwd(&image), "Absent");
        image.apply(4, &layer(&["etc/passwd -> /lib/p", "lib/p"])).expect("fits");
        assert_eq!(passwd(&image), "Elsewhere(Source { layer: 4, entry: 1 })");
    }

    #[test]
    fn a_deep_tree_needs_no_deep_stack() {
        let deep = "d/".repeat(20_000);
        let mut image = image(&[&[&format!("{deep}f")]]);
        assert_eq!(image.walk(Path::new("")).last().map(|(path, _)| path.as_os_str().len()), Some(deep.len() + 1));
        image.apply(1, &layer(&[".wh.d"])).expect("fits");
        assert_eq!(listing(&image), "");
    }

    /// The same rules, written down once more in the simplest way: a map from path to what is there.
    fn model(layers: &[Vec<String>]) -> BTreeMap<String, &'static str> {
        let mut files: BTreeMap<String, &str> = BTreeMap::new();
        let below = |path: &str, other: &str| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        for lines in layers {
            for line in lines {
                let (parent, name) = line.rsplit_once('/').unwrap_or(("", line));
                if name == ".wh..wh..opq" {
                    files.retain(|other: &String, _| !(parent.is_empty() || below(parent, other)));
                } else if let Some(name) = name.strip_prefix(".wh.") {
                    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
                    files.retain(|other: &String, _| *other != path && !below(&path, other));
                }
            }
            for line in lines.iter().filter(|line| !line.contains(".wh.")) {
                let path = line.trim_end_matches('/');
                for (at, _) in path.match_indices('/') {
                    files.insert(path[..at].to_owned(), "directory");
                }
                if line.ends_with('/') {
                    files.insert(path.to_owned(), "directory");
                } else {
                    files.retain(|other: &String, _| !below(path, other));
                    files.insert(path.to_owned(), "file");
                }
            }
        }
        files
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_layers_give_what_the_rules_say(
            layers in prop::collection::vec(
                prop::collection::vec("(a|b)(/(a|b)){0,2}/?|((a|b)/){0,2}\\.wh\\.(a|b|\\.wh\\.\\.opq)", 0..6), 0..4,
            ),
        ) {
            let mut image = Inventory::new();
            for (number, lines) in (0..).zip(&layers) {
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                image.apply(number, &layer(&lines)).expect("no links");
            }
            let found: BTreeMap<_, _> = image
                .walk(Path::new(""))
                .map(|(path, node)| (path.display().to_string(), if node.is_directory() { "directory" } else { "file" }))
                .collect();
            prop_assert_eq!(found, model(&layers));
        }
    }
}
