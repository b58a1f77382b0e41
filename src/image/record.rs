//! The inventory that a reader makes on its way through a layer.

use super::accounts::AccountFile;
use super::layer_inventory::LayerInventory;
use super::watch::{Watch, Watched};
use super::{Entry, EntryKind, Error};

/// What a reader notes on its way.
#[derive(Default)]
pub(super) struct Record {
    inventory: LayerInventory,
    /// The account file that is being read, its size, and what was read of it.
    account: Option<(AccountFile, u64, Vec<u8>)>,
    watched: Watched,
}

impl Record {
    /// Lets somebody look at the files.
    pub(super) fn watched(self, watch: Option<Box<dyn Watch>>) -> Self {
        Self { watched: Watched::by(watch), ..self }
    }

    /// Takes note of an entry.
    ///
    /// # Errors
    /// [`Error::Inventory`] when there are too many.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.watched.entry(self.inventory.len(), entry);
        self.inventory.push(entry)?;
        if let EntryKind::File { size } = entry.kind {
            self.account = AccountFile::of(&entry.path, size).map(|file| (file, size, Vec::new()));
        }
        Ok(())
    }

    /// Takes note of bytes that were read of the current entry.
    pub(super) fn content(&mut self, bytes: &[u8]) {
        if let Some((_, _, content)) = &mut self.account {
            content.extend_from_slice(bytes);
        }
        self.watched.content(bytes);
    }

    /// Tells whether more of the current entry's content is of interest.
    pub(super) fn wants_content(&self) -> bool {
        self.account.is_some() || self.watched.wants
    }

    /// Keeps an account file whose content was read to its end.
    pub(super) fn end_of_entry(&mut self) {
        if let Some((file, size, content)) = self.account.take()
            && content.len() as u64 == size
        {
            self.inventory.keep_account(file, content);
        }
        self.watched.end();
    }

    /// Returns the inventory of all that was noted.
    pub(super) fn finish(mut self) -> LayerInventory {
        self.end_of_entry();
        self.watched.finish(None);
        self.inventory.shrink();
        self.inventory
    }
}
