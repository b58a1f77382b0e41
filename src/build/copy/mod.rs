//! COPY, ADD and WORKDIR: files straight into a layer, with nothing of the image on disk.
//!
//! The rules of names, directories and metadata are BuildKit's (fsutil's `copy` package and the file operations of
//! its solver); what the image has at the destination is looked up in its inventory.
//!
//! *Invariant: owners and modes are data. Nothing here needs a right that an ordinary user has not.*

mod archive;
mod draft;
mod error;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::image::{Entry, EntryKind, Owner};
use crate::plan::{CopySource, CopyStep};

use draft::absolute;
use source::{SourceFile, base_name};

pub(super) use draft::{Content, Draft, ImpliedDirectory, LayerPlan};
pub use error::Error;
pub(super) use source::Source;

/// Mode of directories that are made because something goes into them.
const DIRECTORY_MODE: u32 = 0o755;
/// Mode of files whose content stands in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

/// A COPY or ADD in progress.
pub(super) struct Copier<'a, 'b> {
    pub(super) step: &'a CopyStep,
    pub(super) source: &'a Source<'a>,
    pub(super) draft: &'a mut Draft<'b>,
    /// `--chown`, looked up; none keeps the source's owners.
    pub(super) owner: Option<Owner>,
    /// A directory of ours, empty at first, for what must be put aside.
    pub(super) spool: &'a Path,
    /// How many files are in it.
    pub(super) spooled: usize,
}

impl Copier<'_, '_> {
    /// Puts all sources of the step into the draft.
    pub(super) fn copy(&mut self) -> Result<(), Error> {
        for source in &self.step.sources {
            match source {
                CopySource::Path(pattern) => {
                    for path in self.source.matches(pattern)? {
                        self.copy_one(&path)?;
                    }
                }
                CopySource::Inline { name, content } => self.copy_inline(name, content)?,
            }
        }
        Ok(())
    }

    /// Copies one file or the contents of one directory.
    fn copy_one(&mut self, path: &Path) -> Result<(), Error> {
        let Some(real) = self.source.resolve(path)? else {
            return Err(match self.source.ignored_by(path) {
                Some(pattern) => Error::Ignored { path: path.to_owned(), pattern },
                None => Error::NotFound { path: path.to_owned() },
            });
        };
        let file = self.source.file(&real)?;
        if self.step.unpack
            && matches!(file.entry.kind, EntryKind::File { .. })
            && let Source::Context { tree, .. } = self.source
            && archive::is_archive(tree, &real)?
        {
            return self.unpack(tree, &real);
        }
        let is_directory = file.entry.kind == EntryKind::Directory;
        let target = self.target(path, is_directory)?;
        if is_directory { self.copy_root_directory(&real, &file, &target) } else { self.put_file(file, target) }
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
    fn copy_root_directory(&mut self, real: &Path, directory: &SourceFile, target: &Path) -> Result<(), Error> {
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
        self.copy_children(real, target)
    }

    fn copy_children(&mut self, real: &Path, target: &Path) -> Result<(), Error> {
        for name in self.source.children(real)? {
            let (from, to) = (real.join(&name), target.join(&name));
            let file = self.source.file(&from)?;
            if file.entry.kind == EntryKind::Directory {
                if self.draft.get(&to).is_some_and(|entry| entry.kind != EntryKind::Directory) {
                    return Err(Error::NotADirectory { path: absolute(&to) });
                }
                let entry = self.owned(Entry { path: to.clone(), ..file.entry });
                self.draft.put(entry, Content::None, None)?;
                self.copy_children(&from, &to)?;
            } else {
                self.put_file(file, to)?;
            }
        }
        Ok(())
    }

    fn put_file(&mut self, file: SourceFile, target: PathBuf) -> Result<(), Error> {
        if target == Path::new("") || self.draft.is_directory(&target) {
            return Err(Error::ReplacesDirectory { path: absolute(&target) });
        }
        let entry = self.owned(Entry { path: target, ..file.entry });
        self.draft.put(entry, file.content, file.link)
    }

    /// Applies `--chown` and `--chmod`; a link has no mode of its own.
    fn owned(&self, entry: Entry) -> Entry {
        let owner = self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
        let mode = match (&entry.kind, self.step.chmod) {
            (EntryKind::Symlink { .. }, _) | (_, None) => entry.mode,
            (_, Some(mode)) => mode,
        };
        Entry { uid: owner.uid, gid: owner.gid, mode, ..entry }
    }

    fn implied(&self) -> ImpliedDirectory {
        let owner = self.owner.unwrap_or(Owner { uid: 0, gid: 0 });
        // Only permission bits: fsutil makes the directory with them, and setuid, setgid and sticky are not among them.
        let mode = self.step.chmod.map_or(DIRECTORY_MODE, |mode| mode & 0o777);
        ImpliedDirectory { mode, uid: owner.uid, gid: owner.gid }
    }
}
