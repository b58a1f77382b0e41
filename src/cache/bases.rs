//! Base images in a directory that many builds share: documents and layers by their digests, as in an OCI layout.
//!
//! Builds only read it, a warmer fills it; several at a time may do either. What an image consists of is written before
//! its documents, so that one whose manifest is there is whole unless somebody removed a part.
//!
//! *Invariant: nothing is taken from it that does not have the digest that it is asked for by.*

use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;

use crate::oci::{Descriptor, Digest, Document, Index, LARGEST_DOCUMENT, Manifest, Platform, Reference, from_json};
use crate::place::Folder;
use crate::registry::{self, Client, Resolved, read_blocking};
use crate::store::{self, Store};

/// The part of the cache directory that base images are in.
const DIRECTORY: &str = "bases";
/// How long nothing is written to a temporary file before it is nobody's.
const ABANDONED: Duration = Duration::from_secs(3600);
/// How many layers are asked for at a time; the client bounds how many are fetched.
const AT_A_TIME: usize = 4;

/// A base image that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The registry fails or refuses.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The directory cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A layer cannot be kept.
    #[error("cannot keep layer {digest}")]
    Layer {
        /// Its digest.
        digest: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Base images by digest.
#[derive(Clone, Debug)]
pub struct BaseImages {
    store: Store,
}

impl BaseImages {
    /// Names the base images of a cache directory, which need not be there.
    pub fn new(cache: &Path) -> Self {
        Self { store: Store::shared(&Folder::of(cache).below(DIRECTORY)) }
    }

    /// Removes what a run left that was killed while it kept an image; `now` is in seconds since 1970.
    pub fn clear_abandoned(&self, now: i64) {
        let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(now).unwrap_or(0));
        self.store.clear_abandoned(now.checked_sub(ABANDONED).unwrap_or(UNIX_EPOCH));
    }

    /// Finds the image that a pinned reference names; none where it is not pinned, or not known.
    pub fn find(&self, reference: &Reference, platform: &Platform) -> Option<Resolved> {
        let (mut digest, mut indexes, mut size) = (reference.digest.clone()?, Vec::new(), None);
        for _ in 0..Index::DEEPEST {
            let bytes = self.document(&digest, size)?;
            match Document::parse_alone(&bytes).ok()? {
                Document::Index(index) => {
                    let chosen = index.choose(platform)?;
                    (digest, size) = (chosen.digest.clone(), Some(chosen.size));
                    indexes.push(bytes);
                }
                Document::Manifest(manifest) => {
                    let config_bytes = self.document(&manifest.config.digest, Some(manifest.config.size))?;
                    let config = from_json(&config_bytes).ok()?;
                    let (reference, manifest_bytes) = (reference.clone(), bytes);
                    return Some(Resolved {
                        reference,
                        manifest,
                        manifest_bytes,
                        digest,
                        indexes,
                        config,
                        config_bytes,
                    });
                }
            }
        }
        None
    }

    /// Lets another store have those of a manifest's layers that are here.
    pub fn lend(&self, manifest: &Manifest, to: &Store) {
        for layer in &manifest.layers {
            to.borrow(&self.store, layer);
        }
    }

    /// Brings an image here, but for what is here already; with `again` that too. Returns what the reference points to.
    ///
    /// # Errors
    /// [`BaseError`]; what came until then stays, and is used by the next attempt.
    pub async fn keep(
        &self,
        reference: &Reference,
        platform: &Platform,
        client: &Client,
        again: bool,
    ) -> Result<Reference, BaseError> {
        if !again && let Some(known) = self.find(reference, platform).filter(|known| self.has_layers(&known.manifest)) {
            return Ok(known.reference);
        }
        let resolved = client.resolve(reference, platform).await?;
        let layers = stream::iter(&resolved.manifest.layers).map(|layer| self.layer(reference, layer, client, again));
        layers.buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
        self.store.put(&resolved.config_bytes)?;
        self.store.put(&resolved.manifest_bytes)?;
        // That which is asked for comes last: who finds it finds all that it leads to.
        for index in resolved.indexes.iter().rev() {
            self.store.put(index)?;
        }
        Ok(reference.with_digest(resolved.named()))
    }

    async fn layer(&self, from: &Reference, layer: &Descriptor, client: &Client, again: bool) -> Result<(), BaseError> {
        if !again && self.store.has(layer) {
            return Ok(());
        }
        let stream = client.blob(from, layer).await?;
        let (store, runtime) = (self.store.clone(), Handle::current());
        let failure = |source| BaseError::Layer { digest: layer.digest.to_string(), source };
        let written = tokio::task::spawn_blocking(move || write(read_blocking(stream, &runtime), &store)).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failure)
    }

    fn has_layers(&self, manifest: &Manifest) -> bool {
        manifest.layers.iter().all(|layer| self.store.has(layer))
    }

    /// Reads a document, if it is here and what it should be.
    fn document(&self, digest: &Digest, size: Option<u64>) -> Option<Bytes> {
        let mut bytes = Vec::new();
        self.store.read(digest).ok()?.take(LARGEST_DOCUMENT).read_to_end(&mut bytes).ok()?;
        let is_as_long = size.is_none_or(|size| size == bytes.len() as u64);
        (is_as_long && Digest::of(&bytes) == *digest).then(|| bytes.into())
    }
}

/// Writes a layer; the stream ends with an error where digest or size are wrong, and then there is no blob.
fn write(mut stream: impl io::Read, store: &Store) -> io::Result<()> {
    let mut writer = store.create().map_err(io::Error::other)?;
    io::copy(&mut stream, &mut writer)?;
    writer.finish().map(drop).map_err(io::Error::other)
}
