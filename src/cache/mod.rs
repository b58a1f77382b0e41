//! What earlier builds have found out: the layers of steps, the files of layers, and what steps depended on.
//!
//! Knows keys and stores (a directory, a registry's repository, an image's own configuration); does not decide what a
//! key is made of, nor whether something is worth keeping: `builder` says both.
//!
//! *Invariant: an entry is whole or not there. What is damaged, under another's name, or not what its digest says counts
//! as missing, never as right; a store that fails makes a build slower, never another image.*

mod bases;
mod directory;
mod entry;
mod error;
mod inline;
mod inventories;
pub mod key;
mod mount_repository;
mod mounts;
mod place;
mod registry;
mod seal;
mod tiers;
mod trail;

use std::path::PathBuf;

pub use bases::{BaseError, BaseImages};
pub use directory::Directory;
pub use entry::Entry;
pub use error::Error;
pub use inline::{INLINE_FIELD, Inline, InlineCache, InlineStep};
pub use inventories::Inventories;
pub use key::CacheKey;
pub use mount_repository::{MountFound, MountRepository};
pub use mounts::{CacheMounts, FIRST_INSTANCE, Lease, Pruned, Use, size_of_tree};
pub use place::{Collected, Limits, Listed, Place, prune, size};
pub use registry::{Network, PATIENCE, Repository};
pub use seal::{Key, Seal, TooShort};
pub use tiers::{Cache, Found, Hit, Options};
pub use trail::{Trail, TrailStep};

use crate::image::LayerContent;
use crate::oci::{Descriptor, Reference};
use crate::store::Store;

/// A place that keeps documents under names, each with at most one blob.
///
/// Many builds use one at the same time, each may be killed at any moment.
pub trait LayerCache: Send + Sync {
    /// Names it, for messages.
    fn describe(&self) -> String;

    /// Lets whoever waits for it wait no longer: it is not reachable.
    fn give_up(&self);

    /// Finds an entry; none where there is none.
    ///
    /// # Errors
    /// [`Error::Refused`] for an entry that is not what it should be, others when the place cannot be read.
    fn get(&self, name: &EntryName) -> Result<Option<Kept>, Error>;

    /// Keeps an entry, in place of one of the same name; `code` is that of its seal.
    ///
    /// # Errors
    /// When the place cannot be written; then the entry of before may still be there.
    fn put(&self, name: &EntryName, document: &str, code: Option<&str>, blob: &Blob) -> Result<(), Error>;

    /// Makes the blob of an entry a layer's content: checked and in `store`, or, where `lend` allows it, to be read, and
    /// checked, from where it is.
    ///
    /// # Errors
    /// [`Error::Refused`] when the blob is not there or not what its digest says.
    fn layer(&self, blob: &Descriptor, store: &Store, lend: Lend) -> Result<LayerContent, Error>;

    /// Reads a small blob.
    ///
    /// # Errors
    /// As [`LayerCache::layer`].
    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, Error>;
}

/// When a layer that was found is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lend {
    /// Never: it is only asked whether it is there.
    Look,
    /// When something needs its bytes, if that ever happens.
    Lazily,
    /// At once, so that what is found is whole.
    Whole,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A step's result, by its key.
    Step,
    /// When an image was first made, by the key of all that is in it.
    Image,
    /// The files of a layer, by the layer's digest.
    Inventory,
    /// What is recorded in a layer as installed, by the layer's digest.
    Packages,
    /// What the steps of a build depended on, by what the build is called.
    Trail,
    /// The files of a cache mount, by all that makes it what it is.
    Mount,
}

impl EntryKind {
    const ALL: [Self; 6] = [Self::Step, Self::Image, Self::Inventory, Self::Packages, Self::Trail, Self::Mount];

    fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Image => "image",
            Self::Inventory => "inventory",
            Self::Packages => "packages",
            Self::Trail => "trail",
            Self::Mount => "mount",
        }
    }
}

/// The name of an entry: a kind, and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName {
    /// What it is about.
    pub kind: EntryKind,
    /// The digits.
    pub hex: String,
}

impl EntryName {
    /// Names the entry of a key.
    pub fn new(kind: EntryKind, key: &CacheKey) -> Self {
        Self { kind, hex: key.hex().to_owned() }
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, hex) = text.rsplit_once('-')?;
        let kind = EntryKind::ALL.into_iter().find(|known| known.name() == kind)?;
        hex.parse::<CacheKey>().is_ok().then(|| Self { kind, hex: hex.to_owned() })
    }
}

impl std::fmt::Display for EntryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.kind.name(), self.hex)
    }
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it says.
    pub document: String,
    /// The code of its seal, which is not looked at yet.
    pub code: Option<String>,
    /// Its blob, which is not looked at yet.
    pub blob: Option<Descriptor>,
}

impl Kept {
    /// Returns the entry if its seal is right; any entry where nobody has a key.
    ///
    /// # Errors
    /// As [`Seal::check`].
    fn sealed(self, name: &EntryName, seal: Option<&Seal>) -> Result<Self, Error> {
        match seal {
            Some(seal) => seal.check(name, &self.document, self.blob.as_ref(), self.code.as_deref()).map(|()| self),
            None => Ok(self),
        }
    }
}

/// The blob of an entry that is to be kept.
#[derive(Clone, Debug)]
pub enum Blob {
    /// There is none.
    None,
    /// Bytes at hand.
    Bytes {
        /// What they are.
        media_type: &'static str,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A layer.
    Layer {
        /// What describes it.
        descriptor: Box<Descriptor>,
        /// The file that has its bytes.
        path: PathBuf,
        /// Repositories that have it, too.
        from: Vec<Reference>,
    },
}

impl Blob {
    /// Describes it; none where there is none.
    fn descriptor(&self) -> Option<Descriptor> {
        match self {
            Self::None => None,
            Self::Bytes { media_type, bytes } => Some(Descriptor::of(media_type, bytes)),
            Self::Layer { descriptor, .. } => Some((**descriptor).clone()),
        }
    }
}
