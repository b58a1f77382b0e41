//! A cache that is inside an image: which of its layers belongs to which key, in a field of its configuration.
//!
//! *Invariant: only layers that the image itself has are given out.*

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::registry::Network;
use super::{Blob, Entry, EntryKind, EntryName, Error, Kept, LayerCache, Lend};
use crate::image::LayerContent;
use crate::oci::{Descriptor, Platform, Reference};
use crate::store::Store;

/// The field of an image's configuration that holds an [`InlineCache`].
pub const INLINE_FIELD: &str = "dev.yadokari.cache";

/// What an image's configuration says of how it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineCache {
    /// Its steps.
    pub steps: Vec<InlineStep>,
    /// The image itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Entry>,
    /// The code of the image's seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_seal: Option<String>,
}

/// A step, as an image's configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineStep {
    /// Its result.
    pub entry: Entry,
    /// Its layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Descriptor>,
    /// The code of its seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
}

/// Returns what an entry says, as it is sealed.
pub(super) fn document(entry: &Entry) -> String {
    serde_json::to_string(entry).expect("strings and numbers always serialize")
}

/// The steps of an image, read from its configuration when the first is looked for.
pub struct Inline {
    network: Network,
    image: Reference,
    platform: Platform,
    steps: OnceLock<HashMap<EntryName, Kept>>,
}

impl Inline {
    /// Uses an image; nothing is asked of its registry yet.
    pub fn new(network: Network, image: Reference, platform: Platform) -> Self {
        // Another registry than that of the cache, perhaps.
        let network = Network { given_up: Arc::default(), ..network };
        Self { network, image, platform, steps: OnceLock::new() }
    }

    fn read_steps(&self) -> Result<HashMap<EntryName, Kept>, Error> {
        let resolved = match self.network.wait(self.network.client.resolve(&self.image, &self.platform)) {
            Ok(resolved) => resolved,
            // The first build of a branch has no image to look at.
            Err(Error::Registry(error)) if error.kind() == crate::registry::ErrorKind::NotFound => {
                return Ok(HashMap::new());
            }
            Err(error) => return Err(error),
        };
        let Some(field) = resolved.config.extra.get(INLINE_FIELD) else { return Ok(HashMap::new()) };
        let cache: InlineCache = serde_json::from_value(field.clone())
            .map_err(|error| Error::refused(&self.image, format!("its {INLINE_FIELD} is malformed: {error}")))?;
        let own = |layer: &Descriptor| resolved.manifest.layers.iter().any(|known| known.digest == layer.digest);
        let kept = |kind, entry: &Entry, code, blob| {
            (EntryName::new(kind, &entry.key), Kept { document: document(entry), code, blob })
        };
        let steps = cache.steps.into_iter().filter(|step| step.layer.as_ref().is_none_or(own));
        let known = steps.map(|step| kept(EntryKind::Step, &step.entry, step.seal, step.layer));
        let image = cache.image.iter();
        let known = known.chain(image.map(|image| kept(EntryKind::Image, image, cache.image_seal.clone(), None)));
        Ok(known.collect())
    }
}

impl LayerCache for Inline {
    fn describe(&self) -> String {
        self.image.to_string()
    }

    fn give_up(&self) {
        self.network.given_up.store(true, Ordering::Relaxed);
    }

    fn get(&self, name: &EntryName) -> Result<Option<Kept>, Error> {
        if self.steps.get().is_none() {
            // Two stages may read it at the same time; both read the same.
            let _first = self.steps.set(self.read_steps()?);
        }
        Ok(self.steps.get().and_then(|steps| steps.get(name)).cloned())
    }

    fn put(&self, name: &EntryName, _document: &str, _code: Option<&str>, _blob: &Blob) -> Result<(), Error> {
        Err(Error::refused(name, "an image is not written to"))
    }

    fn layer(&self, blob: &Descriptor, store: &Store, lend: Lend) -> Result<LayerContent, Error> {
        if store.contains(&blob.digest) {
            return Ok(LayerContent::Stored);
        }
        if lend == Lend::Whole {
            return self.network.fetch(&self.image, blob, store);
        }
        match self.network.wait(self.network.client.blob_size(&self.image, blob))? {
            Some(size) if size == blob.size => Ok(LayerContent::Lent(self.image.clone())),
            Some(_) | None => Err(Error::refused(&blob.digest, format!("{} does not have it whole", self.image))),
        }
    }

    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        Err(Error::refused(&blob.digest, "an image has layers only"))
    }
}
