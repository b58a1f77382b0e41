//! The steps that need no root file system: WORKDIR, COPY and ADD, and what they must know of the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::image::{self, Accounts, Inventory, Layer, LayerInventory, LayerWriter, Timestamp};
use crate::plan::{CopyFrom, CopyStep, WorkdirStep};
use crate::progress::{Event, Phase};
use crate::rootfs::Tree;

use super::copy::{Copier, Draft, ImpliedDirectory, Source};
use super::run::Live;
use super::stage::{Progress, Shared};
use super::{CopyError, Error, layers};

/// A COPY or ADD, with its source opened.
struct Copying<'a> {
    step: &'a CopyStep,
    owner: Option<image::Owner>,
    source: Source<'a>,
    /// The layers that the source's files are in, where it is an image.
    layers: &'a [Layer],
    /// The source's files on disk, where they are.
    tree: Option<&'a Tree>,
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
        draft.write(&mut writer, None, None)?;
        let (layer, inventory) = writer.finish()?;
        self.added(progress, &layer, &inventory)?;
        Ok(Some(layer))
    }

    pub(super) fn copy(&self, progress: &mut Progress, step: &CopyStep) -> Result<Option<Layer>, Error> {
        let start = Instant::now();
        if !step.link {
            self.files(progress)?;
        }
        let owner = match &step.chown {
            Some(text) => Some(owner(self, progress, text)?),
            None => None,
        };
        let layer = match &step.from {
            CopyFrom::Context => {
                let context = self.context;
                let (tree, source) =
                    (&context.tree, Source::Context { tree: &context.tree, ignore: &context.ignore, apart: false });
                self.copy_from(progress, &Copying { step, owner, source, layers: &[], tree: Some(tree) })?
            }
            CopyFrom::Named(name) => {
                let missing = || CopyError::NotFound { path: name.into() };
                let files = self.context.named.get(name).ok_or_else(missing)?;
                let source = Source::Context { tree: &files.tree, ignore: &files.ignore, apart: false };
                self.copy_from(progress, &Copying { step, owner, source, layers: &[], tree: Some(&files.tree) })?
            }
            CopyFrom::Stage(id) => {
                let finished = self.finished(*id);
                let (files, live) = (finished.files(self.services)?, finished.live());
                let tree = live.as_deref().filter(|live| live.holds_everything()).map(Live::tree);
                let source = Source::Image { files: &files, on_disk: tree.is_some() };
                let layers = &finished.image.layers;
                self.copy_from(progress, &Copying { step, owner, source, layers, tree })?
            }
            CopyFrom::Image(key) => {
                let layers = self.bases.get(key).map(|base| base.image.layers.clone()).unwrap_or_default();
                let files = layers::inventory(self.services, &layers)?;
                let source = Source::Image { files: &files, on_disk: false };
                self.copy_from(progress, &Copying { step, owner, source, layers: &layers, tree: None })?
            }
        };
        self.services.reporter.report(Event::Spent { phase: Phase::Copy, elapsed: start.elapsed() });
        Ok(layer)
    }

    /// Copies from one source into a layer; none where nothing was to copy.
    fn copy_from(&self, progress: &mut Progress, copying: &Copying<'_>) -> Result<Option<Layer>, Error> {
        let Copying { step, owner, source, layers, tree } = copying;
        let added = self.additions.of_step(step, self.request, self.services)?;
        let spool = self.scratch("copy", progress)?;
        let (now, epoch, compression) = (self.now(), self.request.epoch, self.request.compression);
        let mut nothing = Inventory::new();
        let files = if step.link { &mut nothing } else { progress.files.get_or_insert_with(Inventory::new) };
        let mut draft = Draft::new(files, &self.ignored, now);
        let mut copier = Copier {
            step,
            source,
            draft: &mut draft,
            owner: *owner,
            spool: &spool,
            spooled: 0,
            sources: 0,
            added: &added,
        };
        copier.copy()?;
        if draft.is_empty() {
            return Ok(None);
        }
        let wanted = draft.wanted();
        let services = self.services;
        let mut open = |number: u32| layers::open(services, &layers[number as usize], services.keep_layers);
        let contents = image::extract(&mut open, &wanted, &spool)?;
        let mut writer = LayerWriter::new(&services.store, compression, epoch)?;
        draft.write(&mut writer, *tree, Some(&contents))?;
        let (layer, inventory) = writer.finish()?;
        remove_scratch(&spool)?;
        self.added(progress, &layer, &inventory)?;
        Ok(Some(layer))
    }

    /// Makes a layer that was just written part of what is known of the image, and of its root file system.
    pub(super) fn added(
        &self,
        progress: &mut Progress,
        layer: &Layer,
        inventory: &LayerInventory,
    ) -> Result<(), Error> {
        if let Some(files) = &mut progress.files {
            let number = u32::try_from(progress.image.layers.len()).unwrap_or(u32::MAX);
            files.apply(number, inventory)?;
        }
        if let Some(live) = &mut progress.live {
            live.unpack(self.services, layer)?;
        }
        Ok(())
    }

    /// Returns the time of files that the build itself makes.
    fn now(&self) -> Timestamp {
        Timestamp { seconds: self.request.created, nanoseconds: 0 }
    }

    /// Makes an empty directory of a stage's own.
    pub(super) fn scratch(&self, name: &str, progress: &Progress) -> Result<PathBuf, Error> {
        let path = self.request.state_directory.join(format!("{name}-{}", progress.id.0));
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
    let spool = shared.scratch("accounts", progress)?;
    let files = shared.files(progress)?;
    let services = shared.services;
    let mut open = |number: u32| layers::open(services, &layers[number as usize], services.keep_layers);
    let read = |file| image::read_account_file(files, file, &mut open, &spool);
    let (mut read, passwd_file, group_file) = (read, image::AccountFile::Passwd, image::AccountFile::Group);
    let (passwd, group) = (read(passwd_file)?, read(group_file)?);
    remove_scratch(&spool)?;
    Ok(Accounts::parse(&passwd, &group))
}
