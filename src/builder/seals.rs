//! Fetched files that a RUN could reach: they must be what they were when they came.
//!
//! Where RUN shares the executor's own root (`container` isolation), it can write to the state directory, and so to
//! contexts and repositories that were fetched there. Files behind URLs have no name (`additions::Held`), layers have
//! digests; directories are digested here before the first RUN, and again when they are used after one. No process of a
//! RUN lives then.
//!
//! *Invariant: what came from elsewhere, a pinned commit above all, is used as it came, or the build fails.*

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::context;
use crate::isolation::Capacity;
use crate::oci::Digest;
use crate::rootfs::Tree;

use super::additions::Added;
use super::stage::Shared;
use super::{Error, unpoisoned};

/// The state of what was fetched before RUNs.
#[derive(Debug, Default)]
pub(super) struct Seals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many RUNs there were.
    runs: usize,
    sealed: HashMap<PathBuf, Seal>,
}

#[derive(Debug)]
struct Seal {
    digest: Digest,
    /// How many RUNs there were when it was last seen to be right.
    seen: usize,
}

impl Shared<'_> {
    /// Takes note of what was fetched, before the first RUN, and of each RUN.
    pub(super) fn before_run(&self) -> Result<(), Error> {
        if self.services.isolation.holds() == Capacity::Many {
            return Ok(());
        }
        let mut state = unpoisoned(&self.seals.0);
        if state.runs == 0 {
            let context =
                std::iter::once(&self.context.tree).chain(self.context.named.values().map(|files| &files.tree));
            let additions = self.services.additions.here();
            let commits = additions.iter().filter_map(|added| match &**added {
                Added::Tree(checkout) => Some(&checkout.tree),
                Added::File { .. } => None,
            });
            for tree in context.chain(commits).filter(|tree| self.is_fetched(tree.path())) {
                let seal = Seal { digest: context::seal(tree)?, seen: 0 };
                state.sealed.insert(tree.path().to_owned(), seal);
            }
        }
        state.runs += 1;
        Ok(())
    }

    /// Checks that no RUN has changed a tree that was fetched; others are the user's own.
    pub(super) fn must_be_as_fetched(&self, tree: &Tree) -> Result<(), Error> {
        let mut state = unpoisoned(&self.seals.0);
        let runs = state.runs;
        let Some(seal) = state.sealed.get_mut(tree.path()).filter(|seal| seal.seen < runs) else { return Ok(()) };
        if context::seal(tree)? != seal.digest {
            return Err(Error::Tampered { path: tree.path().to_owned() });
        }
        seal.seen = runs;
        Ok(())
    }

    fn is_fetched(&self, path: &Path) -> bool {
        path.starts_with(&self.request.state_directory)
    }
}
