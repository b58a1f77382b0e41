//! Images and their bytes: layers, tar entries, whiteouts, compression, and the inventory of files in them.
//!
//! Knows streams and the store; touches neither a root file system nor the network.
//!
//! *Invariant: every read of a layer's blob verifies its digest; the same entries give the same bytes on any
//! machine, however many threads compress them.*

pub use accounts::{
    AccountFile, Accounts, Credentials, Group, LARGEST_ACCOUNT_FILE, Owner, User, owner_needs_accounts,
};
pub use compare::{Change, Field, FieldChange, HashedFiles, HashedLayer, PathChange};
pub use compress::Compressor;
pub use contents::{Spool, SpooledContent, extract, read_account_file};
pub use decompress::{Encoding, decompressed, is_archive};
pub use entry::{Entry, EntryKind, Timestamp};
pub use error::Error;
pub use flatten::flatten;
pub use inventory::{AccountContent, Inventory, Node, Resolved, Source, Walk};
pub use layer_inventory::{Entries, LayerInventory};
pub use node_id::NodeId;
pub use reader::{Content, LONGEST_META, LayerReader};
pub use stored::{compress_layer, is_compressed_as};
pub use trail::Trail;
pub use uncompressed::{OtherContent, uncompressed};
pub use watch::Watch;
pub use whiteout::Whiteout;
pub use writer::LayerWriter;

/// Tells whether reading or writing a layer is to end: it is asked between blocks.
pub type Stop = std::sync::Arc<dyn Fn() -> bool + Send + Sync>;

/// Fails where the work is to end.
fn go_on(stop: Option<&Stop>) -> std::io::Result<()> {
    match stop {
        Some(stop) if stop() => Err(std::io::Error::other("the build was interrupted")),
        Some(_) | None => Ok(()),
    }
}

mod accounts;
mod compare;
mod compress;
mod contents;
mod decompress;
mod entry;
mod error;
mod flatten;
mod gzip;
mod header;
mod inventory;
mod layer_inventory;
mod node_id;
mod path;
mod pax;
mod reader;
mod record;
mod sparse;
mod stored;
mod trail;
mod uncompressed;
mod watch;
pub mod whiteout;
mod writer;

use crate::oci::{Descriptor, DiffId, History, ImageConfig, Reference};

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar stream.
    pub diff_id: DiffId,
    /// Where the blob is.
    pub content: LayerContent,
}

/// Where a layer's blob is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerContent {
    /// In the store.
    Stored,
    /// In a repository, or where that is pulled from, not fetched yet; never fetched when nobody reads it.
    Remote(Reference),
    /// In a repository of the cache itself, not fetched yet either.
    Lent(Reference),
}

/// A configuration and the layers it belongs to; a change gives a new image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The configuration; its `rootfs.diff_ids` are those of `layers`.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// Returns this image with one more layer on top, and its line of history.
    pub fn with_layer(mut self, layer: Layer, history: History) -> Self {
        self.config.rootfs.diff_ids.push(layer.diff_id.clone());
        self.layers.push(layer);
        self.config.history.push(History { empty_layer: false, ..history });
        self
    }

    /// Returns this image with a line of history that has no layer.
    pub fn with_history(mut self, history: History) -> Self {
        self.config.history.push(History { empty_layer: true, ..history });
        self
    }
}
