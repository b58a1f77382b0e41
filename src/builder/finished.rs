//! Stages that are done: what later stages and the image take from them.

use std::sync::{Arc, Mutex};

use crate::image::{Image, Inventory};
use crate::outcome::StepDone;

use super::again::Copied;
use super::cached::StageCache;
use super::run::Live;
use super::stage::Progress;
use super::{Error, Services, layers, unpoisoned};

/// A stage that is done.
pub(super) struct Finished {
    pub(super) image: Image,
    pub(super) cached: StageCache,
    /// The steps that have copied, also those of the stages that it is based on.
    pub(super) copied: Vec<Copied>,
    pub(super) steps: Vec<StepDone>,
    /// Which files it has, if that was needed, and while a later stage can still need it.
    pub(super) files: Mutex<Option<Arc<Inventory>>>,
    /// Its root file system, while a later stage can still use it.
    live: Mutex<Option<Arc<Live>>>,
}

impl Finished {
    pub(super) fn new(progress: Progress) -> Self {
        let Progress { image, files, live, cached, copied, steps, .. } = progress;
        let (files, live) = (Mutex::new(files.map(Arc::new)), Mutex::new(live.map(Arc::new)));
        Self { image, cached, copied, steps, files, live }
    }

    /// Returns which files the stage has; where nobody has asked before, that is read from its layers.
    pub(super) fn files(&self, services: &Services) -> Result<Arc<Inventory>, Error> {
        let mut files = unpoisoned(&self.files);
        match &*files {
            Some(files) => Ok(Arc::clone(files)),
            None => {
                let read = Arc::new(layers::inventory(services, &self.image.layers)?);
                Ok(Arc::clone(files.insert(read)))
            }
        }
    }

    /// Returns the stage's root file system, if it is still there.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        unpoisoned(&self.live).clone()
    }

    /// Takes the root file system away; whoever reads it now reads on, and then it is nobody's.
    pub(super) fn take_live(&self) -> Option<Live> {
        unpoisoned(&self.live).take().and_then(Arc::into_inner)
    }
}
