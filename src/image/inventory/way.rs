//! Paths through an inventory: as the kernel follows them, with the links that are in it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{EntryKind, Error, Inventory, Node, NodeId, ROOT, parts};

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// The real path, relative to the root and without symbolic links; parts that do not exist stand at its end.
    pub path: PathBuf,
    /// The file, where all parts exist.
    pub node: Option<&'a Node>,
    /// How many parts at the end of `path` do not exist.
    pub missing: usize,
    /// Whether a symbolic link leads to a part that does not exist.
    pub dangles: bool,
}

/// The parts of a real path.
#[derive(Default)]
pub(super) struct Way {
    pub(super) found: Vec<(Box<[u8]>, NodeId)>,
    pub(super) missing: Vec<Box<[u8]>>,
    /// Whether a part that is missing is of a link's target.
    dangles: bool,
}

impl Way {
    /// The last file that exists.
    pub(super) fn end(&self) -> NodeId {
        self.found.last().map_or(ROOT, |(_, id)| *id)
    }

    /// The part of it that exists.
    pub(super) fn real_path(&self) -> PathBuf {
        self.found.iter().map(|(name, _)| OsStr::from_bytes(name)).collect()
    }
}

impl Inventory {
    /// Follows `path` through symbolic links as the kernel does for a process whose root is the image's.
    ///
    /// `..` at the root stays there. A link at the end is followed if `follow_last`, or if the path ends in a slash.
    /// Behind the first part that is missing, `..` takes back the part before it.
    ///
    /// # Errors
    /// [`Error::Loop`] after 40 links, [`Error::NotDirectory`] where a part before the last is another kind of file.
    pub fn resolve(&self, path: &Path, follow_last: bool) -> Result<Resolved<'_>, Error> {
        Ok(self.resolved(&self.way(path, follow_last)?))
    }

    /// Follows `path` as the kernel does for a process whose root is the directory `root`: absolute links begin there, and
    /// `..` ends there. The path that is returned is the image's.
    ///
    /// # Errors
    /// As [`Inventory::resolve`]; `root` itself must be a real path.
    pub fn resolve_below(&self, root: &Path, path: &Path, follow_last: bool) -> Result<Resolved<'_>, Error> {
        Ok(self.resolved(&self.continued(self.way(root, false)?, path, follow_last)?))
    }

    fn resolved(&self, way: &Way) -> Resolved<'_> {
        let node = if way.missing.is_empty() { Some(self.node(way.end())) } else { None };
        let parts: Vec<_> =
            way.found.iter().map(|(name, _)| &name[..]).chain(way.missing.iter().map(|m| &m[..])).collect();
        let path = PathBuf::from(OsString::from_vec(parts.join(&b'/')));
        Resolved { path, node, missing: way.missing.len(), dangles: way.dangles }
    }

    /// Goes along a path from the root.
    pub(super) fn way(&self, path: &Path, follow_last: bool) -> Result<Way, Error> {
        self.continued(Way::default(), path, follow_last)
    }

    /// Goes on from the end of a way, whose links and `..` lead no further up than that end.
    fn continued(&self, mut way: Way, path: &Path, follow_last: bool) -> Result<Way, Error> {
        let bytes = path.as_os_str().as_bytes();
        let follow_last = follow_last || bytes.ends_with(b"/") || bytes.ends_with(b"/.");
        let root = way.found.len();
        let mut pending: VecDeque<Box<[u8]>> = parts(bytes).collect();
        // How many of the parts that come next are of a link's target.
        let (mut links, mut of_link) = (0, 0_usize);
        while let Some(part) = pending.pop_front() {
            let is_of_link = of_link > 0;
            of_link = of_link.saturating_sub(1);
            if &*part == b".." && way.missing.pop().is_some() {
                continue;
            }
            let directory = self.node(way.end());
            if !directory.is_directory() {
                return Err(Error::NotDirectory { path: path.to_owned(), file: way.real_path() });
            }
            if &*part == b".." {
                if way.found.len() > root {
                    way.found.pop();
                }
                continue;
            }
            let child = directory.children.get(&part).copied().filter(|_| way.missing.is_empty());
            match child.map(|id| (id, &self.node(id).kind)) {
                None => {
                    way.dangles |= is_of_link;
                    way.missing.push(part);
                }
                Some((_, EntryKind::Symlink { target })) if follow_last || !pending.is_empty() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Error::Loop { path: path.to_owned() });
                    }
                    let target = target.as_os_str().as_bytes();
                    if target.starts_with(b"/") {
                        way.found.truncate(root);
                    }
                    let parts: Vec<_> = parts(target).collect();
                    of_link += parts.len();
                    for part in parts.into_iter().rev() {
                        pending.push_front(part);
                    }
                }
                Some((id, _)) => way.found.push((part, id)),
            }
        }
        Ok(way)
    }
}
