//! The digests of what steps read from outside: files of contexts, of stages, of images.
//!
//! A COPY is put together as if its destination were empty, and what comes out is hashed: names, kinds, modes, owners,
//! attributes, contents. *Invariant: times do not count, since a fresh clone has others; nor does where a context lies.*

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::cache::key::{FileDigest, Frames, Part};
use crate::image::{self, Entry, EntryKind, Inventory, Timestamp};
use crate::isolation::Mounting;
use crate::oci::{Digest, Hasher};
use crate::plan::{Action, CopyFrom, CopySource, CopyStep, Mount, RunStep, StageId, Step, Unpack};
use crate::rootfs::{Descent, Exclusions};

use super::copy::{Aside, Content, Copier, Draft, Link, Places, Sockets, Source};
use super::files::Opened;
use super::stage::{Progress, Shared};
use super::witness::{Observer, Witness};
use super::{CopyError, Error, files, keys, layers};

impl Shared<'_> {
    /// Digests what a step reads from elsewhere: of a COPY or ADD one thing, of a RUN what each mount shows.
    pub(super) fn inputs(
        &self,
        progress: &Progress,
        step: &Step,
        witness: Option<&Witness>,
    ) -> Result<Vec<Option<Part>>, Error> {
        match &step.action {
            Action::Configure | Action::Workdir(_) => Ok(Vec::new()),
            Action::Run(run) => self.mounted(progress, run, witness),
            Action::Copy(copy) => {
                let observer = witness.map(|witness| witness.record(progress.reader(0)));
                Ok(vec![Some(self.copied(progress.id, copy, observer)?)])
            }
        }
    }

    /// Digests what a step reads from stages file by file; what it reads from elsewhere stays as it is.
    pub(super) fn inputs_by_contents(
        &self,
        progress: &Progress,
        step: &Step,
        inputs: &mut [Option<Part>],
    ) -> Result<(), Error> {
        match &step.action {
            Action::Configure | Action::Workdir(_) => {}
            Action::Copy(copy) => {
                for input in inputs {
                    *input = Some(self.contents(progress.id, copy, None)?);
                }
            }
            Action::Run(run) => {
                for (mount, input) in run.mounts.iter().zip(inputs) {
                    if let Some((from @ CopyFrom::Stage(_), path)) = mount.what.shows() {
                        *input = Some(self.digest(progress.id, &shown_step(from, path), Reading::Shown, None)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// Digests what a COPY or ADD copies; stages and images by what they were made of.
    pub(super) fn copied(&self, id: StageId, step: &CopyStep, observer: Option<Observer<'_>>) -> Result<Part, Error> {
        match &step.from {
            CopyFrom::Context | CopyFrom::Named(_) => self.contents(id, step, observer),
            CopyFrom::Stage(stage) => {
                Ok(keys::stage_files(&self.plan.stages[stage.0].name, &self.finished(*stage).cached.state))
            }
            CopyFrom::Image(key) => {
                let layers = self.bases.get(key).map(|base| &*base.image.layers).unwrap_or_default();
                Ok(keys::image_files(&key.reference.to_string(), layers))
            }
        }
    }

    /// Digests what each mount of a RUN shows, or begins with; none for those that show nothing of the plan's.
    pub(super) fn mounted(
        &self,
        progress: &Progress,
        step: &RunStep,
        witness: Option<&Witness>,
    ) -> Result<Vec<Option<Part>>, Error> {
        let show = |(number, mount): (usize, &Mount)| {
            let observer = witness.map(|witness| witness.record(progress.reader(number + 1)));
            mount.what.shows().map(|(from, source)| self.shown(progress.id, from, source, observer)).transpose()
        };
        step.mounts.iter().enumerate().map(show).collect()
    }

    /// Digests what a mount shows; stages and images by what they were made of.
    pub(super) fn shown(
        &self,
        id: StageId,
        from: &CopyFrom,
        path: &str,
        observer: Option<Observer<'_>>,
    ) -> Result<Part, Error> {
        let step = shown_step(from, path);
        match from {
            CopyFrom::Context | CopyFrom::Named(_) => self.digest(id, &step, Reading::Shown, observer),
            CopyFrom::Stage(_) | CopyFrom::Image(_) => self.copied(id, &step, None),
        }
    }

    /// Digests what a COPY or ADD copies, file by file.
    pub(super) fn contents(&self, id: StageId, step: &CopyStep, observer: Option<Observer<'_>>) -> Result<Part, Error> {
        let commits = self.services.additions.commits(step, self.request, self.services)?;
        let part = self.digest(id, &neutral(step, &commits), Reading::Copied, observer)?;
        if commits.iter().all(Option::is_none) {
            return Ok(part);
        }
        let mut all = Frames::new("commits").with(part.digest.hex());
        for commit in &commits {
            all = all.option(commit.as_ref());
        }
        let alias = if commits.iter().all(Option::is_some) { Some("the commit".to_owned()) } else { part.alias };
        Ok(Part { alias, digest: all.digest(), ..part })
    }

    fn digest(
        &self,
        id: StageId,
        step: &CopyStep,
        reading: Reading,
        observer: Option<Observer<'_>>,
    ) -> Result<Part, Error> {
        let name = match &step.from {
            CopyFrom::Context => "the context".to_owned(),
            CopyFrom::Named(name) => format!("context {name}"),
            CopyFrom::Stage(stage) => format!("stage {}", self.plan.stages[stage.0].name),
            CopyFrom::Image(key) => format!("image {}", key.reference),
        };
        self.with_source(&step.from, |opened| {
            if let (Reading::Shown, Some(observer), Some(source)) = (reading, &observer, step.sources.first()) {
                self.notes_state(opened, path(source).unwrap_or_default(), observer)?;
            }
            let mut files = Vec::new();
            let mut all = Frames::new("sources");
            // Each by itself: what one puts over another's file in the image may be unpacked there.
            for source in &step.sources {
                let step = CopyStep { sources: vec![source.clone()], ..step.clone() };
                all = all.with(self.source(id, &step, opened, (reading, observer), &mut files)?.hex());
            }
            let (part, alias) = match reading {
                Reading::Copied => ("what is copied", format!("what {name} has to copy")),
                Reading::Shown => ("what is shown", format!("what {name} has to mount")),
            };
            let digest = all.digest();
            if let Some(observer) = &observer {
                observer.ended(&digest);
            }
            Ok(Part { alias: Some(alias), files, ..Part::new(part, digest) })
        })
    }

    /// Takes note of the state of what a mount may show where it is, before it is read.
    fn notes_state(&self, opened: &Opened<'_>, path: &str, observer: &Observer<'_>) -> Result<(), Error> {
        let is_mounted = self.services.isolation.abilities().mounting == Mounting::Mounted;
        if let (true, Some(directory)) = (is_mounted, opened.directory(Path::new(path))?) {
            observer.shows(&directory)?;
        }
        Ok(())
    }

    /// Digests what the only source of a step is; adds its files to `files`.
    fn source(
        &self,
        id: StageId,
        step: &CopyStep,
        opened: &Opened<'_>,
        (reading, observer): (Reading, Option<Observer<'_>>),
        files: &mut Vec<FileDigest>,
    ) -> Result<Digest, Error> {
        let Opened { source, layers, tree } = opened;
        let spool = self.scratch("digest", id)?;
        let added = self.added_to(step)?;
        let mut nothing = Inventory::new();
        let ignored = Exclusions::new(&[]);
        let mut draft = Draft::new(&mut nothing, &ignored, Timestamp::default());
        let (owner, sources, sockets) = (None, 0, Sockets::default());
        let mut aside = Aside::new(&spool, self.services.stop());
        let (draft_of, added_of) = (&mut draft, &added);
        let mut copier = Copier {
            step,
            source,
            draft: draft_of,
            owner,
            aside: &mut aside,
            sources,
            added: added_of,
            observer,
            sockets,
        };
        let names = match (reading, step.sources.first().and_then(path)) {
            (Reading::Shown, Some(path)) => {
                copier.copy_one(Path::new(path))?;
                shown_place(&step.from, Path::new(path), &source.find(Path::new(path))?)
            }
            (Reading::Shown | Reading::Copied, path) => {
                copier.copy()?;
                path.map_or_else(|| Ok(Frames::new("elsewhere")), |path| copied_places(source, step, path))?
            }
        };
        let services = self.services;
        let mut open = |number: u32| layers::open(services, &layers[number as usize], services.keep_layers);
        let contents = image::extract(&mut open, &draft.wanted(), &spool, &services.stop())?;
        let tree = tree.map(Descent::new).map(RefCell::new);
        let places = Places { tree, spool: Some(&contents), observer };
        let (first, mut links) = (files.len(), HashMap::new());
        for (entry, content, link) in draft.planned() {
            let number = links.len();
            let link = link.map(|link: Link| *links.entry(link).or_insert(number));
            let digest = file(entry, content, link, &places)?;
            let path = match content {
                Content::Tree(path) => path,
                Content::None | Content::Inline(_) | Content::Layer(_) | Content::Spool(_) | Content::Held(_) => {
                    &entry.path
                }
            };
            files.push(FileDigest { path: path.display().to_string(), digest });
        }
        files::remove_scratch(&spool)?;
        Ok(names.list(files[first..].iter().map(|file| file.digest.hex())).digest())
    }
}

/// How a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// COPY or ADD: a pattern, and of a directory only what is in it.
    Copied,
    /// A mount: a path as it stands, and a directory with its own attributes.
    Shown,
}

/// Starts the digest of what a pattern means with what decides where it goes: the names that match, and which of them are
/// directories, since these stand for what is in them.
fn copied_places(source: &Source<'_>, step: &CopyStep, path: &str) -> Result<Frames, CopyError> {
    let roots = if step.parents { path.split_once("/./").map_or("", |(root, _)| root) } else { path };
    let mut places = Vec::new();
    for found in source.matches(roots)? {
        let is_directory = source.is_directory(&found)?;
        places.push(Frames::new("place").with(found.as_os_str().as_bytes()).with(is_directory.to_string()).digest());
    }
    Ok(Frames::new("copied").list(places.iter().map(Digest::hex)))
}

/// Starts the digest of what a mount shows with what its files do not say: the attributes of the directory that they are
/// in. Those of a context itself do not count: every pod has others.
fn shown_place(from: &CopyFrom, path: &Path, entry: &Entry) -> Frames {
    let Entry { path: _, kind, mode, uid, gid, mtime: _, xattrs } = entry;
    let shown = Frames::new("shown").with((*kind == EntryKind::Directory).to_string());
    if path == Path::new("") && matches!(from, CopyFrom::Context | CopyFrom::Named(_)) {
        return shown;
    }
    let xattrs = xattrs.iter().flat_map(|(name, value)| [name, value]);
    shown.with(mode.to_le_bytes()).with(uid.to_le_bytes()).with(gid.to_le_bytes()).list(xattrs)
}

/// Returns a step that copies what a mount shows.
fn shown_step(from: &CopyFrom, path: &str) -> CopyStep {
    CopyStep::plain(from.clone(), path.trim_start_matches('/').to_owned(), "/")
}

/// Returns a step that copies the same, but does nothing with it; without what its own text pins, and repositories whose
/// commits are known.
///
/// Into a directory: whether the destination is one depends on the image, and there every file counts, under its name.
fn neutral(step: &CopyStep, commits: &[Option<String>]) -> CopyStep {
    let sources = step.sources.iter().zip(commits).filter(|(source, commit)| commit.is_none() && !is_pinned(source));
    let sources = sources.map(|(source, _)| source.clone()).collect();
    let destination = "/".to_owned();
    CopyStep { sources, destination, chown: None, chmod: None, unpack: Unpack::Nothing, ..step.clone() }
}

/// Tells whether the text of a source decides its content.
fn is_pinned(source: &CopySource) -> bool {
    match source {
        CopySource::Path(_) | CopySource::Git(_) => false,
        CopySource::Inline { .. } => true,
        CopySource::Url { source, .. } => source.checksum.is_some(),
    }
}

fn path(source: &CopySource) -> Option<&str> {
    match source {
        CopySource::Path(path) => Some(path),
        CopySource::Inline { .. } | CopySource::Url { .. } | CopySource::Git(_) => None,
    }
}

/// Digests a file: all that the layer will say of it but its time.
fn file(entry: &Entry, content: &Content, link: Option<usize>, places: &Places<'_>) -> Result<Digest, Error> {
    let Entry { path, kind, mode, uid, gid, mtime: _, xattrs } = entry;
    let kind = match kind {
        EntryKind::File { size } => Frames::new("file").with(size.to_le_bytes()),
        EntryKind::Directory => Frames::new("directory"),
        EntryKind::Symlink { target } => Frames::new("symlink").with(target.as_os_str().as_bytes()),
        EntryKind::HardLink { target } => Frames::new("hard link").with(target.as_os_str().as_bytes()),
        EntryKind::CharacterDevice { major, minor } => {
            Frames::new("character device").with(major.to_le_bytes()).with(minor.to_le_bytes())
        }
        EntryKind::BlockDevice { major, minor } => {
            Frames::new("block device").with(major.to_le_bytes()).with(minor.to_le_bytes())
        }
        EntryKind::Fifo => Frames::new("fifo"),
    };
    let content = hashed(entry, content, places)?;
    let xattrs = xattrs.iter().flat_map(|(name, value)| [name, value]);
    let all = kind.with(path.as_os_str().as_bytes()).with(mode.to_le_bytes()).with(uid.to_le_bytes());
    let all = all.with(gid.to_le_bytes()).list(xattrs).option(content.as_ref().map(Digest::hex));
    Ok(all.option(link.map(|number| number.to_string())).digest())
}

fn hashed(entry: &Entry, content: &Content, places: &Places<'_>) -> Result<Option<Digest>, Error> {
    if matches!(content, Content::None) {
        return Ok(None);
    }
    let mut hasher = Hasher::new();
    let copied = io::copy(&mut places.open((entry, content))?, &mut hasher);
    copied.map_err(|source| CopyError::ReadSource { path: entry.path.clone(), source })?;
    if let (Content::Tree(path), Some(observer)) = (content, &places.observer) {
        observer.content(path, hasher.clone());
    }
    Ok(Some(hasher.finish()))
}
