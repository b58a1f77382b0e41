//! Where COPY reads: the build context through its `.dockerignore`, or the files of an image.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::dockerfile::ignore::{Match, Patterns};
use crate::dockerfile::{glob, suggest};
use crate::image::{Entry, EntryKind, Inventory, Trail};
use crate::rootfs::{Descent, FileKind, Tree, is_at_or_below};

use super::Error;
use super::draft::{Content, LinkedFile};
use super::error::{CONTEXT, IMAGE};

/// A tree to copy from.
pub(in crate::builder) enum Source<'a> {
    /// A directory on disk; its files belong to nobody, so copies get owner and group 0.
    Context {
        /// The directory.
        tree: &'a Tree,
        /// What is left out.
        ignore: &'a Patterns,
        /// Whether it is not the tree that the step's own sources are in.
        apart: bool,
        /// Where the reading is.
        position: RefCell<Position<'a>>,
    },
    /// The files of an image, on disk or only in its layers.
    Image {
        /// What it holds.
        files: &'a Inventory,
        /// Whether contents are read from `tree` rather than extracted from layers.
        on_disk: bool,
        /// Where the reading is.
        trail: RefCell<Trail>,
    },
}

/// A file of a source.
pub(super) struct SourceFile {
    /// Its metadata; the path is that in the source.
    pub(super) entry: Entry,
    /// Where its bytes are.
    pub(super) content: Content,
    /// Equal for the names of one file, when it has several.
    pub(super) link: Option<LinkedFile>,
}

/// Where the reading of a context is: files are mostly read beside the one before.
pub(in crate::builder) struct Position<'a> {
    descent: Descent<'a>,
    /// What the ignore file says of the path of the last look-up and of each directory on the way to it, by where its
    /// path ends.
    judged: Vec<(usize, Match)>,
    path: PathBuf,
    /// What was found last that is not left out: for its sake the directories on the way to it are not either.
    witness: PathBuf,
}

impl Position<'_> {
    /// Says what the ignore file says of a path.
    fn judge(&mut self, ignore: &Patterns, path: &Path) -> &Match {
        let is_on_the_way = |end: usize| is_at_or_below(path, Path::new(OsStr::from_bytes(&bytes(&self.path)[..end])));
        let kept = self.judged.iter().rposition(|(end, _)| is_on_the_way(*end)).map_or(0, |last| last + 1);
        self.judged.truncate(kept);
        let mut start = self.judged.last().map_or(0, |(end, _)| *end);
        while start < bytes(path).len() {
            let next = memchr::memchr(b'/', &bytes(path)[start + 1..]).map_or(bytes(path).len(), |at| start + 1 + at);
            let root = Match::default();
            let above = self.judged.last().map_or(&root, |(_, above)| above);
            let below = ignore.below(above, &bytes(path)[..next]);
            self.judged.push((next, below));
            start = next;
        }
        path.clone_into(&mut self.path);
        if self.judged.is_empty() {
            self.judged.push((0, Match::default()));
        }
        &self.judged[self.judged.len() - 1].1
    }

    /// Tells whether a path is part of the context: not ignored, or a directory with something in it that is not.
    fn is_visible(&mut self, ignore: &Patterns, path: &Path) -> Result<bool, Error> {
        if self.witness != Path::new("") && is_at_or_below(&self.witness, path) {
            return Ok(true);
        }
        let mut levels = vec![vec![path.to_owned()].into_iter()];
        while let Some(level) = levels.last_mut() {
            let Some(path) = level.next() else {
                levels.pop();
                continue;
            };
            let matched = self.judge(ignore, &path);
            if !matched.excluded {
                self.witness = path;
                return Ok(true);
            }
            if ignore.may_reinclude_below(matched, bytes(&path))
                && self.descent.stat(&path)?.is_some_and(|stat| stat.kind == FileKind::Directory)
            {
                let names = self.descent.read_dir(&path)?;
                let below: Vec<PathBuf> = names.iter().map(|name| path.join(name.as_os_str())).collect();
                levels.push(below.into_iter());
            }
        }
        Ok(false)
    }

    /// Returns the metadata of a file on disk, and which file it is where it has several names.
    ///
    /// # Errors
    /// For a socket, which no layer can hold.
    fn entry(&mut self, path: &Path) -> Result<(Entry, Option<LinkedFile>), Error> {
        let Some(stat) = self.descent.stat(path)? else {
            return Err(Error::NotFound { path: path.to_owned(), place: CONTEXT });
        };
        let (major, minor) = stat.device_numbers();
        let kind = match stat.kind {
            FileKind::Regular => EntryKind::File { size: stat.size },
            FileKind::Directory => EntryKind::Directory,
            FileKind::Symlink => EntryKind::Symlink { target: self.descent.read_link(path)? },
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::CharacterDevice => EntryKind::CharacterDevice { major, minor },
            FileKind::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileKind::Socket => return Err(Error::Socket { path: path.to_owned() }),
        };
        let xattrs = self.descent.xattrs(path)?;
        let (mode, uid, gid, mtime) = (u32::from(stat.mode), stat.uid, stat.gid, stat.mtime);
        let entry = Entry { path: path.to_owned(), kind, mode, uid, gid, mtime, xattrs };
        Ok((entry, stat.linked.then_some(LinkedFile::Inode(stat.inode))))
    }
}

impl<'a> Source<'a> {
    /// Reads a directory on disk; `apart` says that it is not the tree that the step's own sources are in.
    pub(in crate::builder) fn context(tree: &'a Tree, ignore: &'a Patterns, apart: bool) -> Self {
        let descent = Descent::new(tree);
        let position = Position { descent, judged: Vec::new(), path: PathBuf::new(), witness: PathBuf::new() };
        Self::Context { tree, ignore, apart, position: RefCell::new(position) }
    }

    /// Reads the files of an image; `on_disk` says that contents are read from a tree.
    pub(in crate::builder) fn image(files: &'a Inventory, on_disk: bool) -> Self {
        Self::Image { files, on_disk, trail: RefCell::default() }
    }
}

impl Source<'_> {
    /// Follows all links of a path; none when nothing is there, or it is left out.
    pub(super) fn resolve(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::Context { tree, .. } => {
                let real = tree.real_path(path).map_err(|error| match error.errno() {
                    Some(libc::ELOOP) => Error::Circle { path: path.to_owned() },
                    _ => Error::Tree(error),
                })?;
                let Some(real) = real else { return Ok(None) };
                Ok(self.is_visible(&real)?.then_some(real))
            }
            Self::Image { files, .. } => {
                let resolved = files.resolve(path, true)?;
                Ok(resolved.node.is_some().then_some(resolved.path))
            }
        }
    }

    /// Returns the metadata of what a path leads to.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Ignored`] for what is left out.
    pub(in crate::builder) fn find(&self, path: &Path) -> Result<Entry, Error> {
        match self.resolve(path)? {
            Some(real) => Ok(self.file(&real)?.entry),
            None => Err(self.missing(path)),
        }
    }

    /// Tells whether a path leads to a directory.
    pub(in crate::builder) fn is_directory(&self, path: &Path) -> Result<bool, Error> {
        match self.find(path) {
            Ok(entry) => Ok(entry.kind == EntryKind::Directory),
            Err(Error::Socket { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says why nothing is at a path.
    pub(in crate::builder) fn missing(&self, path: &Path) -> Error {
        let path = path.to_owned();
        let place = match self {
            Self::Context { .. } => CONTEXT,
            Self::Image { .. } => IMAGE,
        };
        if let Some(pattern) = self.ignored_by(&path) {
            return Error::Ignored { path, pattern };
        }
        if let Some((path, target)) = self.dangling(&path) {
            return Error::Dangling { path, target };
        }
        match self.near(&path) {
            Some(near) => Error::Misspelt { path, place, near },
            None => Error::NotFound { path, place },
        }
    }

    /// Finds the link on the way to a path of a context that leads to nothing in it, and its target.
    fn dangling(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let Self::Context { tree, .. } = self else { return None };
        let mut named = PathBuf::new();
        for part in path.components().filter(|part| matches!(part, Component::Normal(_))) {
            let here = tree.real_path(&named).ok()??.join(part);
            named.push(part);
            if tree.real_path(&named).ok()?.is_none() {
                let is_link = tree.stat(&here).ok()??.kind == FileKind::Symlink;
                return is_link.then(|| tree.read_link(&here).ok()).flatten().map(|target| (named, target));
            }
        }
        None
    }

    /// Finds the name that was probably meant where nothing is at a path: one that differs in case, or by a slip.
    pub(in crate::builder) fn near(&self, path: &Path) -> Option<PathBuf> {
        let mut existing = PathBuf::new();
        let mut rest = path.components().filter(|part| matches!(part, Component::Normal(_)));
        while let Some(part) = rest.next() {
            let next = existing.join(part);
            if self.resolve(&next).ok()?.is_some() {
                existing = next;
                continue;
            }
            let wanted = part.as_os_str().to_str()?;
            let names = self.children(&self.resolve(&existing).ok()??).ok()?;
            let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
            let same = names.iter().find(|name| name.to_lowercase() == wanted.to_lowercase()).copied();
            let near = same.or_else(|| suggest::nearest(wanted, names))?;
            let found: PathBuf = existing.join(near);
            let whole: PathBuf =
                [found.as_path()].into_iter().chain(rest.map(|part| Path::new(part.as_os_str()))).collect();
            return Some(if self.resolve(&whole).ok()?.is_some() { whole } else { found });
        }
        None
    }

    /// Says which pattern of the ignore file leaves a path out, for a message.
    fn ignored_by(&self, path: &Path) -> Option<String> {
        match self {
            Self::Context { tree, ignore, .. } => {
                let real = tree.real_path(path).ok()??;
                let pattern = &ignore.patterns()[ignore.matches(bytes(&real)).decided_by?];
                Some(format!("line {} of the ignore file, `{}`", pattern.line, pattern.text))
            }
            Self::Image { .. } => None,
        }
    }

    /// Returns what is at a path that has no links in it.
    pub(super) fn file(&self, path: &Path) -> Result<SourceFile, Error> {
        match self {
            Self::Context { tree, apart, position, .. } => {
                let (entry, link) = position.borrow_mut().entry(path)?;
                let content = match entry.kind {
                    EntryKind::File { size } if size > 0 && *apart => Content::Spool(tree.path().join(path)),
                    EntryKind::File { size } if size > 0 => Content::Tree(path.to_owned()),
                    _ => Content::None,
                };
                Ok(SourceFile { entry: Entry { uid: 0, gid: 0, ..entry }, content, link })
            }
            Self::Image { files, on_disk, trail } => {
                let Some(node) = files.get_along(&mut trail.borrow_mut(), path) else {
                    return Err(Error::NotFound { path: path.to_owned(), place: IMAGE });
                };
                let content = match (&node.kind, node.source) {
                    (EntryKind::File { size: 0 }, _) => Content::None,
                    (EntryKind::File { .. }, _) if *on_disk => Content::Tree(path.to_owned()),
                    (EntryKind::File { .. }, Some(source)) => Content::Layer(source),
                    _ => Content::None,
                };
                let link = (node.links > 1 && !node.is_directory()).then_some(LinkedFile::Node(node.id));
                Ok(SourceFile { entry: node.entry(path.to_owned()), content, link })
            }
        }
    }

    /// Returns the names in a directory, sorted, without those that are left out.
    pub(super) fn children(&self, directory: &Path) -> Result<Vec<OsString>, Error> {
        match self {
            Self::Context { ignore, position, .. } => {
                let position = &mut *position.borrow_mut();
                let mut names = Vec::new();
                for name in position.descent.read_dir(directory)? {
                    let name = name.as_os_str();
                    if position.is_visible(ignore, &directory.join(name))? {
                        names.push(name.to_owned());
                    }
                }
                Ok(names)
            }
            Self::Image { files, trail, .. } => {
                let directory = files.get_along(&mut trail.borrow_mut(), directory);
                let children = directory.into_iter().flat_map(|directory| files.children_of(directory));
                Ok(children.map(|(name, _)| name.to_owned()).collect())
            }
        }
    }

    fn is_visible(&self, path: &Path) -> Result<bool, Error> {
        match self {
            Self::Context { ignore, position, .. } => position.borrow_mut().is_visible(ignore, path),
            Self::Image { .. } => Ok(true),
        }
    }

    /// Finds what a source's text means: itself, or all that its wildcards match, sorted; a directory that matches is
    /// not searched further.
    ///
    /// The part before the first wildcard may go through links, the rest may not: so does BuildKit (fsutil,
    /// `ResolveWildcards`).
    pub(in crate::builder) fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>, Error> {
        let components: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let Some(first) = components.iter().position(|component| glob::has_wildcards(component.as_bytes())) else {
            return Ok(vec![components.iter().collect()]);
        };
        let prefix: PathBuf = components[..first].iter().collect();
        let Some(root) = self.resolve(&prefix)? else { return Ok(Vec::new()) };
        let mut found = vec![root];
        for component in &components[first..] {
            let mut next = Vec::new();
            for directory in found {
                if !self.is_directory(&directory)? {
                    continue;
                }
                for name in self.children(&directory)? {
                    let matched = glob::matches(component.as_bytes(), name.as_encoded_bytes());
                    if matched.map_err(|_| Error::Pattern { pattern: pattern.to_owned() })? {
                        next.push(directory.join(name));
                    }
                }
            }
            found = next;
        }
        Ok(found)
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Returns the last name of a path, none for a root.
pub(super) fn base_name(path: &Path) -> Option<&std::ffi::OsStr> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Some(name),
        _ => None,
    }
}
