//! The steps that need no root file system: WORKDIR, COPY and ADD, and what they must know of the image.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::image::{self, Accounts, Inventory, Layer, LayerInventory, LayerWriter, Timestamp};
use crate::plan::{CopyFrom, CopyStep, StageId, WorkdirStep};
use crate::progress::{Activity, Event, Phase, StepId};
use crate::rootfs::{Descent, Exclusions, FileKind, Tree};

use super::additions::Added;
use super::again::Copied;
use super::copy::{Aside, Copier, Draft, ImpliedDirectory, Places, Sockets, Source};
use super::run::Live;
use super::stage::{Progress, Shared};
use super::witness::{Observer, Witness};
use super::{CopyError, Error, layers};

/// Where files come from, opened.
pub(super) struct Opened<'a> {
    pub(super) source: Source<'a>,
    /// The layers that the files are in, where they are an image's.
    pub(super) layers: &'a [Layer],
    /// The files on disk, where they are.
    pub(super) tree: Option<&'a Tree>,
}

impl Opened<'_> {
    /// Returns where a directory of a context is on disk, if a mount can show it as it is: nothing of it is left out.
    pub(super) fn directory(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let Source::Context { tree, ignore, .. } = &self.source else { return Ok(None) };
        if !ignore.patterns().is_empty() {
            return Ok(None);
        }
        let Some(real) = tree.real_path(path)? else { return Ok(None) };
        let is_directory = tree.stat(&real)?.is_some_and(|stat| stat.kind == FileKind::Directory);
        Ok(is_directory.then(|| tree.path().join(real)))
    }
}

/// A COPY or ADD.
pub(super) struct Copying<'a> {
    pub(super) step: &'a CopyStep,
    pub(super) owner: Option<image::Owner>,
    /// Paths that no layer gets anything at or below.
    pub(super) ignored: &'a Exclusions,
    /// An empty directory of ours.
    pub(super) spool: &'a Path,
    /// Is told what is read of a context.
    pub(super) observer: Option<Observer<'a>>,
    /// The earlier steps that have copied from the same place.
    pub(super) before: &'a [Copied],
    /// For which step it is; none for a mount's.
    pub(super) id: Option<&'a StepId>,
}

impl Shared<'_> {
    pub(super) fn workdir(&self, progress: &mut Progress, step: &WorkdirStep) -> Result<Option<Layer>, Error> {
        let (now, epoch, compression) = (self.now(), self.request.epoch, self.request.compression);
        self.files(progress)?;
        let owner = if step.user.is_empty() { image::Owner::default() } else { owner(self, progress, &step.user)? };
        let files = progress.files.get_or_insert_with(Inventory::new);
        let mut draft = Draft::new(files, &self.ignored, now);
        let implied = ImpliedDirectory { mode: 0o755, uid: owner.uid, gid: owner.gid };
        draft.make_directories(Path::new(&step.path), implied)?;
        if draft.is_empty() {
            return Ok(None);
        }
        let mut writer = LayerWriter::new(&self.services.store, compression, epoch)?;
        draft.write(&mut writer, &Places::default())?;
        let (layer, inventory) = writer.finish()?;
        self.added(progress, &layer, &inventory)?;
        Ok(Some(layer))
    }

    pub(super) fn copy(
        &self,
        progress: &mut Progress,
        step: &CopyStep,
        witness: Option<&Witness>,
    ) -> Result<Option<Layer>, Error> {
        let start = Instant::now();
        if !step.is_apart() {
            self.files(progress)?;
        }
        let owner = match &step.chown {
            Some(text) => Some(owner(self, progress, text)?),
            None => None,
        };
        let layer = self.with_source(&step.from, |opened| {
            let observer = witness.map(|witness| witness.compare(progress.reader(0)));
            self.copy_from(progress, (step, observer), owner, opened)
        })?;
        if let Some(witness) = witness
            && self.services.additions.have_moved(step)
        {
            witness.contradict(progress.reader(0));
        }
        self.services.spent(Phase::Copy, start.elapsed());
        Ok(layer)
    }

    /// Opens what COPY or a mount takes files from, and calls `read` with it.
    pub(super) fn with_source<T>(
        &self,
        from: &CopyFrom,
        read: impl FnOnce(&Opened<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match from {
            CopyFrom::Context => {
                let context = self.context;
                self.must_be_as_fetched(&context.tree)?;
                let (tree, source) = (&context.tree, Source::context(&context.tree, &context.ignore, false));
                read(&Opened { source, layers: &[], tree: Some(tree) })
            }
            CopyFrom::Named(name) => {
                let missing = || CopyError::NotFound { path: name.into(), place: "what --build-context names" };
                let files = self.context.named.get(name).ok_or_else(missing)?;
                self.must_be_as_fetched(&files.tree)?;
                let source = Source::context(&files.tree, &files.ignore, false);
                read(&Opened { source, layers: &[], tree: Some(&files.tree) })
            }
            CopyFrom::Stage(id) => {
                let finished = self.finished(*id);
                let (files, live) = (finished.files(self.services)?, finished.live());
                let tree = live.as_deref().filter(|live| live.holds_everything()).map(Live::tree);
                let source = Source::image(&files, tree.is_some());
                read(&Opened { source, layers: &finished.image.layers, tree })
            }
            CopyFrom::Image(key) => {
                let layers = self.bases.get(key).map(|base| base.image.layers.clone()).unwrap_or_default();
                let files = layers::inventory(self.services, &layers)?;
                read(&Opened { source: Source::image(&files, false), layers: &layers, tree: None })
            }
        }
    }

    /// Copies from one source into a layer; none where nothing was to copy.
    fn copy_from(
        &self,
        progress: &mut Progress,
        (step, observer): (&CopyStep, Option<Observer<'_>>),
        owner: Option<image::Owner>,
        opened: &Opened<'_>,
    ) -> Result<Option<Layer>, Error> {
        let spool = self.scratch("copy", progress.id)?;
        let before = self.copied_before(progress, step);
        let id = &self.step_id(progress);
        let (ignored, before, id) = (&self.ignored, &*before, Some(id));
        let copying = Copying { step, owner, ignored, spool: &spool, observer, before, id };
        let mut nothing = Inventory::new();
        let files = if step.is_apart() { &mut nothing } else { progress.files.get_or_insert_with(Inventory::new) };
        let writer = LayerWriter::new(&self.services.store, self.request.compression, self.request.epoch)?;
        let writer = writer.until(self.services.stop()).watched(self.watch());
        let copied = self.write_copy(&copying, opened, files, writer)?;
        remove_scratch(&spool)?;
        let Some((layer, inventory)) = copied else { return Ok(None) };
        self.added(progress, &layer, &inventory)?;
        Ok(Some(layer))
    }

    /// Writes what is copied as a layer over an image with these files; none where nothing was to copy.
    pub(super) fn write_copy(
        &self,
        copying: &Copying<'_>,
        opened: &Opened<'_>,
        files: &mut Inventory,
        mut writer: LayerWriter,
    ) -> Result<Option<(Layer, LayerInventory)>, Error> {
        let Copying { step, owner, ignored, spool, observer, before, id } = *copying;
        let layers = before.iter().map(|copied| copied.layer).collect();
        let mut draft = Draft::new(files, ignored, self.now()).after(layers, self.request.epoch);
        let source = &opened.source;
        // The files of images and stages are what their digests say, or this build's own.
        let observer = observer.filter(|_| matches!(source, Source::Context { .. }));
        let added = self.added_to(step)?;
        let (draft, added) = (&mut draft, &added);
        let (mut aside, sockets) = (Aside::new(spool, self.services.stop()), Sockets::default());
        let aside = &mut aside;
        let mut copier = Copier { step, source, draft, owner, aside, sources: 0, added, observer, sockets };
        copier.copy()?;
        let sockets = copier.sockets;
        if sockets.count > 0 {
            let files = match sockets.count {
                1 => format!("the socket {}", sockets.first.display()),
                count => format!("the sockets {} and {} more", sockets.first.display(), count - 1),
            };
            let message = format!("{files} left out: an image cannot hold sockets");
            self.services.reporter.report(Event::Warning { rule: "SocketLeftOut", line: None, message: &message });
        }
        if draft.repeats() {
            draft.leave_out(&self.origins(before, source, draft.files().clone(), spool))?;
        }
        if draft.is_empty() {
            return Ok(None);
        }
        let wanted = draft.wanted();
        let services = self.services;
        if let Some(id) = id {
            let copying = Activity::new(Phase::Copy, "").of(Some(draft.size())).for_step(id);
            writer = writer.telling(copying.begin(&*services.reporter));
        }
        let mut open = |number: u32| layers::open(services, &opened.layers[number as usize], services.keep_layers);
        let contents = image::extract(&mut open, &wanted, spool, &services.stop())?;
        draft.write(
            &mut writer,
            &Places { tree: opened.tree.map(Descent::new).map(RefCell::new), spool: Some(&contents), observer },
        )?;
        Ok(Some(writer.finish()?))
    }

    /// Returns what each source of a step is that comes from elsewhere, none for the others.
    pub(super) fn added_to(&self, step: &CopyStep) -> Result<Vec<Option<Arc<Added>>>, Error> {
        let added = self.services.additions.of_step(step, self.request, self.services)?;
        for added in added.iter().flatten() {
            if let Added::Tree(checkout) = &**added {
                self.must_be_as_fetched(&checkout.tree)?;
            }
        }
        Ok(added)
    }

    /// Makes a layer that was just written part of what is known of the image, and of its root file system.
    pub(super) fn added(
        &self,
        progress: &mut Progress,
        layer: &Layer,
        inventory: &LayerInventory,
    ) -> Result<(), Error> {
        let (step, largest) = (self.step_id(progress), |most| inventory.largest(most));
        self.services.reporter.report(Event::LayerWritten { step: &step, largest: &largest });
        if self.caching.is_on {
            // A build that finds this layer in the cache need not read it to know what it holds.
            layers::keep_inventory(self.services, &layer.descriptor.digest, inventory);
        }
        if let Some(files) = &mut progress.files {
            let number = u32::try_from(progress.image.layers.len()).unwrap_or(u32::MAX);
            files.apply(number, inventory)?;
        }
        let is_seen = self.is_seen_by_run(progress);
        if let Some(live) = &mut progress.live {
            live.unpack(self.services, layer, is_seen)?;
        }
        Ok(())
    }

    /// Returns who looks at the files of a layer that is written, if anybody does. What it finds is kept where a later build
    /// may find the layer.
    pub(super) fn watch(&self) -> Option<Box<dyn image::Watch>> {
        self.services.packages.watch(None, self.caching.is_on)
    }

    /// Returns the time of files that the build itself makes.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp { seconds: self.request.created, nanoseconds: 0 }
    }

    /// Makes an empty directory of a stage's own.
    pub(super) fn scratch(&self, name: &str, id: StageId) -> Result<PathBuf, Error> {
        let path = self.request.state_directory.join(format!("{name}-{}", id.0));
        fs::create_dir_all(&path).map_err(|source| Error::State { action: "create", path: path.clone(), source })?;
        Ok(path)
    }
}

pub(super) fn remove_scratch(path: &Path) -> Result<(), Error> {
    fs::remove_dir_all(path).map_err(|source| Error::State { action: "remove", path: path.to_owned(), source })
}

/// Looks up an owner in the image; numbers and `root` need no look.
fn owner(shared: &Shared<'_>, progress: &mut Progress, text: &str) -> Result<image::Owner, Error> {
    let accounts = if image::owner_needs_accounts(text) { accounts(shared, progress)? } else { Accounts::default() };
    let found = accounts.owner(text);
    found.map_err(|source| CopyError::Owner { owner: text.to_owned(), source }.into())
}

/// Reads the image's passwd and group files, from its inventory or from its layers.
pub(super) fn accounts(shared: &Shared<'_>, progress: &mut Progress) -> Result<Accounts, Error> {
    let layers = progress.image.layers.clone();
    let spool = shared.scratch("accounts", progress.id)?;
    let files = shared.files(progress)?;
    let services = shared.services;
    let mut open = |number: u32| layers::open(services, &layers[number as usize], services.keep_layers);
    let stop = services.stop();
    let read = |file| image::read_account_file(files, file, &mut open, &spool, &stop);
    let (mut read, passwd_file, group_file) = (read, image::AccountFile::Passwd, image::AccountFile::Group);
    let (passwd, group) = (read(passwd_file)?, read(group_file)?);
    remove_scratch(&spool)?;
    Ok(Accounts::parse(&passwd, &group))
}
