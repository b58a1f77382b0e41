//! `--single-snapshot`: the layers that a stage made become one.
//!
//! The difference between two inventories says all: what came from the stage's own layers is written again, what
//! only the base has is removed. No file system is looked at.

use std::path::{Path, PathBuf};

use crate::image::{self, Image, Inventory, LayerWriter};

use super::copy::{LayerPlan, Places};
use super::stage::{Progress, Shared};
use super::{Error, layers};

/// What a stage began with.
pub(super) struct Beginning {
    image: Image,
    files: Inventory,
}

impl Shared<'_> {
    /// Takes note of the base, before the first step.
    pub(super) fn begin_single(&self, progress: &mut Progress) -> Result<Beginning, Error> {
        let files = self.files(progress)?.clone();
        Ok(Beginning { image: progress.image.clone(), files })
    }

    /// Replaces the stage's own layers by one; the last line of its history gets it.
    pub(super) fn end_single(&self, progress: &mut Progress, beginning: Beginning) -> Result<(), Error> {
        let own = progress.image.layers.len() - beginning.image.layers.len();
        if own < 2 {
            return Ok(());
        }
        let first_own = u32::try_from(beginning.image.layers.len()).unwrap_or(u32::MAX);
        let files = self.files(progress)?.clone();
        let (plan, removed) = difference(&beginning.files, &files, first_own);
        let spool = self.scratch("single", progress.id)?;
        let (services, all) = (self.services, &progress.image.layers);
        let mut open = |number: u32| layers::open(services, &all[number as usize], services.keep_layers);
        let contents = image::extract(&mut open, &plan.wanted(), &spool, &services.stop())?;
        let writer = LayerWriter::new(&services.store, self.request.compression, self.request.epoch)?;
        let mut writer = writer.until(services.stop()).watched(self.watch());
        for path in &removed {
            writer.whiteout(path)?;
        }
        plan.write(&files, &mut writer, &Places { spool: Some(&contents), ..Places::default() })?;
        let (layer, inventory) = writer.finish()?;
        super::files::remove_scratch(&spool)?;
        let mut history = progress.image.config.history.split_off(beginning.image.config.history.len());
        history.iter_mut().for_each(|line| line.empty_layer = true);
        let last = history.pop().unwrap_or_default();
        let mut image = beginning.image;
        for line in history {
            image = image.with_history(line);
        }
        progress.image = image.with_layer(layer, last);
        let mut joined = beginning.files;
        joined.apply(first_own, &inventory)?;
        progress.files = Some(joined);
        Ok(())
    }
}

/// Returns what is new or changed in `after`, and the highest paths that only `before` has.
fn difference(before: &Inventory, after: &Inventory, first_own: u32) -> (LayerPlan, Vec<PathBuf>) {
    let mut plan = LayerPlan::default();
    for (path, node) in after.walk(Path::new("")) {
        if node.source.is_some_and(|source| source.layer >= first_own) {
            plan.add(path, node);
        }
    }
    let mut removed: Vec<PathBuf> = Vec::new();
    for (path, _) in before.walk(Path::new("")) {
        let is_below = removed.last().is_some_and(|parent| path.starts_with(parent));
        // What stands below something that is no directory any more is gone with it: no whiteout could say more.
        let replaced = path.parent().is_some_and(|parent| after.get(parent).is_none_or(|node| !node.is_directory()));
        if !is_below && !replaced && after.get(&path).is_none() {
            removed.push(path);
        }
    }
    (plan, removed)
}
