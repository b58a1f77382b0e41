//! Files that are copied again, unchanged: the layer of the second COPY does not have them, as in BuildKit.
//!
//! BuildKit compares what COPY has written with the layers below: attributes and time, and the content only where times
//! have no fractions. Here it is the same source that tells: what an earlier COPY has put at the same path from the same
//! file of the same context, and nobody has replaced since, has the same content. So no layer is read for it, and it does
//! not depend on what the cache had.
//!
//! *Invariant: what is left out is in a layer below, with the same attributes, time and content.*

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::image::Inventory;
use crate::plan::{Action, CopyFrom, CopySource, CopyStep, StageId, Unpack};
use crate::request::Snapshots;

use super::copy::{Aside, Content, Copier, Draft, Sockets, Source};
use super::stage::{Progress, Shared};

/// A COPY or ADD whose layer the image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    /// The number of the layer.
    pub(super) layer: u32,
    pub(super) stage: StageId,
    /// The number of the step in it, from 0.
    pub(super) step: usize,
}

/// Where files came from that earlier steps have copied: the path in the source, by the layer and the path in the image.
/// What a step left out itself is in it, too, but no file of the image is of its layer.
pub(super) type Origins = HashMap<(u32, PathBuf), PathBuf>;

impl Shared<'_> {
    /// Returns the steps that have copied from where a step does.
    pub(super) fn copied_before(&self, progress: &Progress, step: &CopyStep) -> Vec<Copied> {
        let from_files = matches!(step.from, CopyFrom::Context | CopyFrom::Named(_));
        if !from_files || step.is_apart() || self.request.snapshots == Snapshots::Single {
            return Vec::new();
        }
        let is_same = |copied: &&Copied| self.earlier(copied).is_some_and(|earlier| earlier.from == step.from);
        progress.copied.iter().filter(is_same).copied().collect()
    }

    fn earlier(&self, copied: &Copied) -> Option<&CopyStep> {
        match &self.plan.stages.get(copied.stage.0)?.steps.get(copied.step)?.action {
            Action::Copy(copy) => Some(copy),
            Action::Configure | Action::Run(_) | Action::Workdir(_) => None,
        }
    }

    /// Finds out where the files of earlier steps came from: each is copied once more, without a layer. `files` is what
    /// the image has.
    pub(super) fn origins(
        &self,
        before: &[Copied],
        source: &Source<'_>,
        mut files: Inventory,
        spool: &Path,
    ) -> Origins {
        let mut origins = Origins::new();
        for copied in before {
            let Some(earlier) = self.earlier(copied) else { continue };
            let sources = earlier.sources.iter().filter(|source| matches!(source, CopySource::Path(_)));
            let sources = sources.cloned().collect();
            let step = CopyStep { sources, unpack: Unpack::Nothing, ..earlier.clone() };
            let (mut nothing, mut aside) = (Inventory::new(), Aside::new(spool, self.services.stop()));
            let files = if step.is_apart() { &mut nothing } else { &mut files };
            let mut draft = Draft::new(files, &self.ignored, self.now());
            let copier = Copier {
                step: &step,
                source,
                draft: &mut draft,
                owner: None,
                aside: &mut aside,
                sources: 0,
                added: &[],
                observer: None,
                sockets: Sockets::default(),
            };
            // What cannot be copied any more tells nothing: then all of it is in the layer again.
            if { copier }.copy().is_err() {
                continue;
            }
            for (entry, content, _) in draft.planned() {
                if let Content::Tree(path) = content {
                    origins.insert((copied.layer, entry.path.clone()), path.clone());
                }
            }
        }
        origins
    }
}
