//! The way from the root of a tree to the directory where the work is: what comes next mostly stands beside what came
//! before, and then costs no lookup at all.
//!
//! *Invariant: going through a tree in order costs a few system calls a file, however deep it is, and holds no more than
//! [`OPEN`] descriptors.*

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use super::nest::OPEN;
use super::tree::relative;
use super::{Directory, Error, FileKind, Inode, Name, Stat, Tree, Xattrs};

/// A directory that work is done in.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) directory: Directory,
    /// As it was when the directory was opened; its times may have moved on.
    pub(super) stat: Stat,
    /// Where it really is: no link on the way.
    pub(super) real: PathBuf,
}

/// The directories from the root to where the work is; the deepest are held open.
#[derive(Debug)]
pub struct Descent<'a> {
    tree: &'a Tree,
    /// The path of the last level, as it was asked for.
    path: Vec<u8>,
    levels: Vec<Level>,
    /// The first level that is open; so are all behind it.
    first_open: usize,
}

#[derive(Debug)]
struct Level {
    /// Where the path of this level ends.
    end: usize,
    inode: Inode,
    /// Whether symbolic links lead to it.
    linked: bool,
    open: Option<Rc<Parent>>,
}

impl<'a> Descent<'a> {
    /// Stands at the root.
    pub fn new(tree: &'a Tree) -> Self {
        Self { tree, path: Vec::new(), levels: Vec::new(), first_open: 0 }
    }

    /// Opens the directory at a path, following symbolic links.
    pub(super) fn directory(&mut self, path: &Path) -> Result<Rc<Parent>, Error> {
        let path = relative(path).as_os_str().as_bytes();
        self.return_to(path);
        let mut at = self.stand()?;
        while self.path.len() < path.len() {
            let start = self.path.len() + usize::from(!self.path.is_empty());
            let rest = path.get(start..).unwrap_or_default();
            let name = &rest[..memchr::memchr(b'/', rest).unwrap_or(rest.len())];
            if matches!(name, b"" | b"." | b"..") {
                // No path of ours has such parts; where one does, the kernel says what it means.
                return self.locate(Path::new(OsStr::from_bytes(path))).map(Rc::new);
            }
            at = self.step(&at, OsStr::from_bytes(name), &path[..start + name.len()])?;
        }
        Ok(at)
    }

    /// Opens the directory in which the last component of `path` stands, and returns that component.
    pub(super) fn parent<'p>(&mut self, path: &'p Path) -> Result<(Rc<Parent>, &'p OsStr), Error> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.directory(parent)?, name)),
            _ => Err(Error::NoName { path: path.to_owned() }),
        }
    }

    /// Opens a file for reading that a path without links leads to.
    pub fn open_file(&mut self, path: &Path) -> Result<std::fs::File, Error> {
        let (parent, name) = self.parent(path)?;
        parent.directory.open_file(name)
    }

    /// Returns the names in a directory, sorted.
    pub fn read_dir(&mut self, path: &Path) -> Result<Vec<Name>, Error> {
        self.directory(path)?.directory.names()
    }

    /// Returns what is known about `path`, a symbolic link itself where it is one; none where nothing is there.
    pub fn stat(&mut self, path: &Path) -> Result<Option<Stat>, Error> {
        let found = match self.parent(path) {
            Ok((parent, name)) => parent.directory.stat(name),
            Err(Error::NoName { .. }) => self.directory(path).map(|root| Some(root.stat)),
            Err(error) => Err(error),
        };
        found.or_else(|error| if error.is_not_found() { Ok(None) } else { Err(error) })
    }

    /// Returns the text of a symbolic link.
    pub fn read_link(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let (parent, name) = self.parent(path)?;
        parent.directory.read_link(name)
    }

    /// Returns the extended attributes of a file, of a symbolic link itself where it is one.
    pub fn xattrs(&mut self, path: &Path) -> Result<Xattrs, Error> {
        match self.parent(path) {
            Ok((parent, name)) => parent.directory.xattrs(name),
            Err(Error::NoName { .. }) => self.directory(path)?.directory.xattrs(OsStr::new("")),
            Err(error) => Err(error),
        }
    }

    /// Forgets what a removed file led to: a path may lead elsewhere now.
    pub(super) fn forget(&mut self, removed: &Stat) {
        let kept = match removed.kind {
            // Which of the links on the way was removed is not known.
            FileKind::Symlink => self.levels.iter().position(|level| level.linked),
            FileKind::Directory => self.levels.iter().position(|level| level.inode == removed.inode || level.linked),
            _ => None,
        };
        if let Some(kept) = kept {
            self.truncate(kept);
        }
    }

    /// Goes up to the last level that is on the way to `path`.
    fn return_to(&mut self, path: &[u8]) {
        let is_on_the_way = |level: &Level| {
            let above = &self.path[..level.end];
            path.strip_prefix(above)
                .is_some_and(|rest| above.is_empty() || rest.first().is_none_or(|next| *next == b'/'))
        };
        let mut kept = self.levels.len();
        while kept > 0 && !is_on_the_way(&self.levels[kept - 1]) {
            kept -= 1;
        }
        if let (true, Some(last)) = (kept > 0 && kept <= self.first_open, kept.checked_sub(1)) {
            self.climb(last);
        }
        self.truncate(kept);
    }

    fn truncate(&mut self, kept: usize) {
        self.levels.truncate(kept);
        self.path.truncate(self.levels.last().map_or(0, |level| level.end));
        self.first_open = self.first_open.min(kept);
    }

    /// Opens a level that was closed through those below it, where that is shorter than from the root.
    fn climb(&mut self, wanted: usize) {
        if self.levels[wanted].linked || self.first_open - wanted > wanted {
            return;
        }
        let Some(Some(below)) = self.levels.get(self.first_open).map(|level| level.open.clone()) else { return };
        if self.levels[self.first_open].linked {
            return;
        }
        let (mut directory, mut stat) = (None, None);
        for level in (wanted..self.first_open).rev() {
            let from = directory.as_ref().unwrap_or(&below.directory);
            let Ok(found) = from.open_parent() else { return };
            // Somebody may have moved the directory meanwhile.
            stat = found.stat_self().ok().filter(|stat| stat.inode == self.levels[level].inode);
            if stat.is_none() {
                return;
            }
            directory = Some(found);
        }
        let real = PathBuf::from(OsStr::from_bytes(&self.path[..self.levels[wanted].end]));
        if let (Some(directory), Some(stat)) = (directory, stat) {
            let directory = directory.named(self.tree.path().join(&real));
            self.levels[wanted].open = Some(Rc::new(Parent { directory, stat, real }));
            self.first_open = wanted;
        }
    }

    /// Returns the last level, opened.
    fn stand(&mut self) -> Result<Rc<Parent>, Error> {
        if let Some(Level { open: Some(parent), .. }) = self.levels.last() {
            return Ok(Rc::clone(parent));
        }
        let path = PathBuf::from(OsStr::from_bytes(&self.path));
        let parent = Rc::new(self.locate(&path)?);
        let (end, linked) = (self.path.len(), parent.real != path);
        self.levels.pop();
        self.push(Level { end, inode: parent.stat.inode, linked, open: Some(Rc::clone(&parent)) });
        self.first_open = self.levels.len() - 1;
        Ok(parent)
    }

    /// Goes from the last level into a directory, whose whole path is `path`.
    fn step(&mut self, at: &Parent, name: &OsStr, path: &[u8]) -> Result<Rc<Parent>, Error> {
        let linked = self.levels.last().is_some_and(|level| level.linked);
        let (parent, linked) = match at.directory.open_directory(name) {
            Ok(directory) => {
                let (stat, real) = (directory.stat_self()?, at.real.join(name));
                (Parent { directory, stat, real }, linked)
            }
            Err(error) if error.is_one_of(&[Errno::NOENT]) => return Err(error),
            // A symbolic link is resolved against the root, and not against where it stands.
            Err(_) => (self.locate(Path::new(OsStr::from_bytes(path)))?, true),
        };
        let parent = Rc::new(parent);
        self.path.clear();
        self.path.extend_from_slice(path);
        self.push(Level { end: path.len(), inode: parent.stat.inode, linked, open: Some(Rc::clone(&parent)) });
        Ok(parent)
    }

    fn push(&mut self, level: Level) {
        self.levels.push(level);
        if self.levels.len() - self.first_open > OPEN {
            self.levels[self.first_open].open = None;
            self.first_open += 1;
        }
    }

    /// Opens a directory from the root.
    fn locate(&self, path: &Path) -> Result<Parent, Error> {
        let directory = self.tree.directory(path)?;
        let stat = directory.stat_self()?;
        let real = self.tree.real_path(path)?.unwrap_or_else(|| relative(path).to_owned());
        Ok(Parent { directory, stat, real })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Makes a chain of directories `depth` deep, each with a file, and returns the deepest one's path.
    fn chain(root: &Path, depth: usize) -> PathBuf {
        let deepest = PathBuf::from(vec!["d"; depth].join("/"));
        fs::create_dir_all(root.join(&deepest)).expect("create");
        deepest
    }

    fn open(descent: &Descent<'_>) -> usize {
        descent.levels.iter().filter(|level| level.open.is_some()).count()
    }

    #[test]
    fn few_directories_are_open_however_deep_the_way_is() {
        let root = tempfile::tempdir().expect("tempdir");
        let deepest = chain(root.path(), 600);
        let tree = Tree::open(root.path()).expect("open");
        let mut descent = Descent::new(&tree);
        assert_eq!(descent.directory(&deepest).expect("there").real, deepest);
        assert_eq!((open(&descent), descent.levels.len()), (OPEN, 601));
        // On the way back each is opened again, through the one below it.
        for path in deepest.ancestors() {
            let found = descent.directory(path).expect("there");
            assert_eq!((found.real.as_path(), found.directory.path()), (path, root.path().join(path).as_path()));
            let expected = tree.directory(path).and_then(|directory| directory.stat_self()).expect("there");
            assert_eq!(found.stat.inode, expected.inode);
            assert!(open(&descent) <= OPEN + 1);
        }
        assert_eq!(descent.directory(Path::new("")).expect("there").real, Path::new(""));
    }

    #[test]
    fn a_directory_that_was_moved_is_not_climbed_through() {
        let root = tempfile::tempdir().expect("tempdir");
        let deepest = chain(root.path(), 300);
        let tree = Tree::open(root.path()).expect("open");
        let mut descent = Descent::new(&tree);
        descent.directory(&deepest).expect("there");
        let cut: PathBuf = deepest.iter().take(150).collect();
        fs::create_dir(root.path().join("other")).expect("create");
        fs::rename(root.path().join(&cut), root.path().join("other/moved")).expect("move");
        let above = cut.parent().expect("deep");
        let found = descent.directory(above).expect("still there");
        let expected = tree.directory(above).and_then(|directory| directory.stat_self()).expect("there");
        assert_eq!(found.stat.inode, expected.inode);
        assert!(descent.directory(&deepest).expect_err("moved").is_not_found());
    }

    #[test]
    fn links_lead_where_the_tree_says() {
        let root = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(root.path().join("usr/lib/x")).expect("create");
        std::os::unix::fs::symlink("/usr/lib", root.path().join("lib")).expect("link");
        let tree = Tree::open(root.path()).expect("open");
        let mut descent = Descent::new(&tree);
        assert_eq!(descent.directory(Path::new("lib/x")).expect("there").real, Path::new("usr/lib/x"));
        assert_eq!(descent.directory(Path::new("lib")).expect("there").real, Path::new("usr/lib"));
        assert_eq!(descent.directory(Path::new("usr/lib/../lib")).expect("there").real, Path::new("usr/lib"));
        let removed = tree.stat(Path::new("lib")).expect("asked").expect("there");
        fs::remove_file(root.path().join("lib")).expect("remove");
        descent.directory(Path::new("")).expect("there");
        descent.forget(&removed);
        assert!(descent.directory(Path::new("lib/x")).expect_err("gone").is_not_found());
    }
}
