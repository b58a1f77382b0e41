//! COPY, ADD and WORKDIR: files straight into a layer, with nothing of the image on disk.
//!
//! The rules of names, directories and metadata are BuildKit's (fsutil's `copy` package and the file operations of
//! its solver); what the image has at the destination is looked up in its inventory.
//!
//! *Invariant: owners and modes are data. Nothing here needs a right that an ordinary user has not.*

mod added;
mod archive;
mod draft;
mod error;
mod filter;
mod known;
mod source;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dockerfile::glob;
use crate::image::{Entry, EntryKind, Owner};
use crate::plan::{Chmod, CopySource, CopyStep, Unpack};

use super::additions::Added;
use super::witness::{Hashed, Observer};

pub(super) use archive::Aside;
use draft::absolute;
use filter::{Filter, Verdict};
use source::{SourceFile, base_name};

pub(super) use draft::{Content, Draft, ImpliedDirectory, LayerPlan, Link, LinkedFile, Places};
pub use error::Error;
pub(super) use known::check_sources;
pub(super) use source::Source;

/// Mode of directories that are made because something goes into them.
const DIRECTORY_MODE: u32 = 0o755;
/// Mode of files whose content stands in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

/// A COPY or ADD in progress.
pub(super) struct Copier<'a, 'b, 'c> {
    pub(super) step: &'a CopyStep,
    pub(super) source: &'a Source<'c>,
    pub(super) draft: &'a mut Draft<'b>,
    /// `--chown`, looked up; none keeps the source's owners.
    pub(super) owner: Option<Owner>,
    /// Takes what must be put aside.
    pub(super) aside: &'a mut Aside,
    /// How many sources were begun.
    pub(super) sources: usize,
    /// What each source is that comes from elsewhere.
    pub(super) added: &'a [Option<Arc<Added>>],
    /// Is told what is seen of a context.
    pub(super) observer: Option<Observer<'a>>,
    /// What was left out, since no layer can hold it.
    pub(super) sockets: Sockets,
}

/// Sockets of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    pub(super) count: usize,
    /// The first of them: its path in the source.
    pub(super) first: PathBuf,
}

/// Where a directory is: in the source, below the directory that is copied, in the image.
struct Place {
    real: PathBuf,
    below: PathBuf,
    target: PathBuf,
}

impl Place {
    fn join(&self, name: &OsStr) -> Self {
        Self { real: self.real.join(name), below: self.below.join(name), target: self.target.join(name) }
    }
}

/// A directory that is being copied.
struct Level {
    place: Place,
    verdict: Verdict,
    names: std::vec::IntoIter<OsString>,
    /// How many directories wait before it, for something in them to be taken.
    pending: usize,
}

impl Copier<'_, '_, '_> {
    /// Puts all sources of the step into the draft.
    pub(super) fn copy(&mut self) -> Result<(), Error> {
        for (number, source) in self.step.sources.iter().enumerate() {
            match source {
                CopySource::Path(path) if self.step.parents => self.copy_with_parents(path)?,
                CopySource::Path(pattern) => {
                    for path in self.source.matches(pattern)? {
                        self.copy_one(&path)?;
                    }
                }
                CopySource::Inline { name, content } => self.copy_inline(name, content)?,
                CopySource::Url { .. } | CopySource::Git(_) => match self.added.get(number) {
                    Some(Some(added)) => self.copy_added(added)?,
                    Some(None) | None => return Err(Error::NotFetched),
                },
            }
        }
        Ok(())
    }

    /// Copies one file or the contents of one directory.
    pub(super) fn copy_one(&mut self, path: &Path) -> Result<(), Error> {
        self.sources += 1;
        let Some(real) = self.source.resolve(path)? else {
            return Err(self.source.missing(path));
        };
        let Some(file) = self.look(&real)? else { return Ok(()) };
        if self.step.unpack != Unpack::Nothing
            && let EntryKind::File { size } = file.entry.kind
            && let Source::Context { tree, .. } = self.source
            && archive::is_archive(tree.open_file(&real)?, &real)?
        {
            let mut archive = tree.open_file(&real)?.take(size);
            let mut hashed = Hashed::new(&mut archive);
            self.unpack(&mut hashed, &real)?;
            if let Some(observer) = &self.observer {
                observer.content(&real, hashed.into_hasher());
            }
            return Ok(());
        }
        let filter = Filter::new(None, &self.step.excludes)?;
        if file.entry.kind == EntryKind::Directory {
            let target = self.target(path, true)?;
            return self.copy_root_directory(&real, &file, &target, &filter);
        }
        // A file that a wildcard found is judged by its name, as the reference of `--exclude` has it.
        if !filter.judge(&Verdict::default(), Path::new(base_name(path).unwrap_or_default())).taken {
            return Ok(());
        }
        let target = self.target(path, false)?;
        self.put_file(file, target)
    }

    /// Returns what is at a path of the source that has no links in it; none for a socket.
    fn look(&mut self, path: &Path) -> Result<Option<SourceFile>, Error> {
        let file = match self.source.file(path) {
            Err(Error::Socket { .. }) => {
                if self.sockets.count == 0 {
                    path.clone_into(&mut self.sockets.first);
                }
                self.sockets.count += 1;
                return Ok(None);
            }
            result => result?,
        };
        if let (Some(observer), Source::Context { apart: false, .. }) = (&self.observer, self.source) {
            observer.file(path, &file.entry, file.link);
        }
        Ok(Some(file))
    }

    /// Copies what a path or pattern means together with the directories it is in, from `/./` in it on.
    fn copy_with_parents(&mut self, path: &str) -> Result<(), Error> {
        let (root, pattern) = path.split_once("/./").unwrap_or(("", path));
        let pattern = pattern.trim_start_matches("./").trim_matches('/');
        let missing = |path: PathBuf| self.source.missing(&path);
        let literal = !glob::has_wildcards(root.as_bytes()) && !glob::has_wildcards(pattern.as_bytes());
        if literal && self.source.resolve(&Path::new(root).join(pattern))?.is_none() {
            return Err(missing(Path::new(root).join(pattern)));
        }
        for root in self.source.matches(root)? {
            let Some(real) = self.source.resolve(&root)? else { return Err(missing(root)) };
            let Some(directory) = self.look(&real)? else { continue };
            let include = if pattern.is_empty() { "**" } else { pattern };
            let filter = Filter::new(Some(include), &self.step.excludes)?;
            let target = self.target(&root, true)?;
            self.copy_root_directory(&real, &directory, &target, &filter)?;
        }
        Ok(())
    }

    fn copy_inline(&mut self, name: &str, content: &str) -> Result<(), Error> {
        let target = self.target(Path::new(name), false)?;
        let entry = Entry {
            path: target.clone(),
            kind: EntryKind::File { size: content.len() as u64 },
            mode: INLINE_MODE,
            uid: 0,
            gid: 0,
            mtime: self.draft.now(),
            xattrs: BTreeMap::new(),
        };
        let content = Content::Inline(content.as_bytes().to_vec());
        self.put_file(SourceFile { entry, content, link: None }, target)
    }

    /// Finds the path that a source goes to, and makes the directories above it.
    fn target(&mut self, source: &Path, is_directory: bool) -> Result<PathBuf, Error> {
        let destination = self.step.destination.trim_start_matches('/');
        let implied = self.implied();
        if let Some((parents, _)) = destination.rsplit_once('/') {
            self.draft.make_directories(Path::new(parents), implied)?;
        }
        let mut target = self.draft.resolve(Path::new(destination.trim_end_matches('/')))?;
        let exists_as_directory = target == Path::new("") || self.draft.is_directory(&target);
        if !is_directory && exists_as_directory {
            target.extend(base_name(source));
        }
        let parent = if is_directory { Some(target.as_path()) } else { target.parent() };
        if let Some(parent) = parent
            && (!is_directory || self.draft.get(&target).is_none())
        {
            self.draft.make_directories(parent, implied)?;
        }
        Ok(target)
    }

    /// Copies the contents of a directory; the destination itself keeps its mode and owner where it exists.
    fn copy_root_directory(
        &mut self,
        real: &Path,
        directory: &SourceFile,
        target: &Path,
        filter: &Filter,
    ) -> Result<(), Error> {
        if target != Path::new("") {
            match self.draft.get(target) {
                // The time of the source is taken all the same, as BuildKit does.
                Some(existing) if existing.kind == EntryKind::Directory => {
                    let touched = Entry { mtime: directory.entry.mtime, ..existing };
                    self.draft.put(touched, Content::None, None)?;
                }
                Some(_) => return Err(Error::NotADirectory { path: absolute(target) }),
                None => {}
            }
        }
        let place = Place { real: real.to_owned(), below: PathBuf::new(), target: target.to_owned() };
        self.copy_children(place, filter)
    }

    /// Copies what is in a directory.
    fn copy_children(&mut self, root: Place, filter: &Filter) -> Result<(), Error> {
        let names = self.source.children(&root.real)?.into_iter();
        let mut levels = vec![Level { place: root, verdict: Verdict::default(), names, pending: 0 }];
        // The directories on the way that are made only when something in them is taken.
        let mut pending: Vec<Entry> = Vec::new();
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                pending.truncate(level.pending);
                levels.pop();
                continue;
            };
            let place = level.place.join(&name);
            let verdict = filter.judge(&level.verdict, &place.below);
            let Some(file) = self.look(&place.real)? else { continue };
            if verdict.taken {
                for directory in pending.drain(..) {
                    self.put_way(directory)?;
                }
            }
            if file.entry.kind != EntryKind::Directory {
                if verdict.taken {
                    self.put_file(file, place.target)?;
                }
                continue;
            }
            let entry = Entry { path: place.target.clone(), ..file.entry };
            let before = pending.len();
            if verdict.taken {
                self.put_directory(entry)?;
            } else if filter.may_take_below(&verdict, &place.below) {
                pending.push(entry);
            } else {
                continue;
            }
            let names = self.source.children(&place.real)?.into_iter();
            levels.push(Level { place, verdict, names, pending: before });
        }
        Ok(())
    }

    /// Puts a directory that only leads to what is taken: one that exists gets the source's mode and nothing else, as
    /// in BuildKit.
    fn put_way(&mut self, entry: Entry) -> Result<(), Error> {
        match self.draft.get(&entry.path) {
            Some(existing) if existing.kind == EntryKind::Directory => {
                self.draft.put(Entry { mode: entry.mode, ..existing }, Content::None, None)
            }
            _ => self.put_directory(entry),
        }
    }

    fn put_directory(&mut self, entry: Entry) -> Result<(), Error> {
        if self.draft.get(&entry.path).is_some_and(|existing| existing.kind != EntryKind::Directory) {
            return Err(Error::NotADirectory { path: absolute(&entry.path) });
        }
        let entry = self.owned(entry);
        self.draft.put(entry, Content::None, None)
    }

    fn put_file(&mut self, file: SourceFile, target: PathBuf) -> Result<(), Error> {
        if target == Path::new("") || self.draft.is_directory(&target) {
            return Err(Error::ReplacesDirectory { path: absolute(&target) });
        }
        let entry = self.owned(Entry { path: target, ..file.entry });
        let link = file.link.map(|file| Link { source: self.sources, file });
        self.draft.put(entry, file.content, link)
    }

    /// Applies `--chown` and `--chmod`; a link has no mode of its own.
    fn owned(&self, entry: Entry) -> Entry {
        let owner = self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
        let mode = match (&entry.kind, &self.step.chmod) {
            (EntryKind::Symlink { .. }, _) | (_, None) => entry.mode,
            (kind, Some(chmod)) => chmod.apply(entry.mode, *kind == EntryKind::Directory),
        };
        Entry { uid: owner.uid, gid: owner.gid, mode, ..entry }
    }

    fn implied(&self) -> ImpliedDirectory {
        let owner = self.owner.unwrap_or(Owner { uid: 0, gid: 0 });
        // Only permission bits: fsutil makes the directory with them, and setuid, setgid and sticky are not among them.
        let mode = match &self.step.chmod {
            Some(Chmod::Octal(mode)) if !self.step.link => mode & 0o777,
            Some(Chmod::Octal(_) | Chmod::Symbolic(_)) | None => DIRECTORY_MODE,
        };
        ImpliedDirectory { mode, uid: owner.uid, gid: owner.gid }
    }
}
