//! Cache mounts in a registry's repository: each is an entry whose layer holds its files.
//!
//! Knows entries and where they are looked for; neither packs nor unpacks a file. *Invariant: only the nearest part of the
//! cache is written; what replaces an entry does so at once and as a whole, so that of several builds the last one
//! counts.*

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Blob, CacheKey, Entry, EntryKind, EntryName, Error, Kept, LayerCache, Lend, Repository, Seal};
use crate::http::redact_within;
use crate::image::Layer;
use crate::oci::{Descriptor, media_type};
use crate::store::Store;

/// Where cache mounts are kept for other pods.
pub struct MountRepository {
    /// The part that is written, then those above it, each with its seal, if entries have one.
    levels: Vec<(Repository, Option<Seal>)>,
    writes: bool,
    /// The time at the start of the build, in seconds since 1970.
    now: i64,
    fails: AtomicBool,
    /// Whether a part above the one that is written has failed: those are not asked again either.
    above_fails: AtomicBool,
}

/// What came of looking for a cache mount.
#[derive(Debug)]
pub enum MountFound {
    /// These are its files, which are not read yet.
    Files(Box<Layer>),
    /// There is none, or none that is young enough.
    Nothing,
    /// There is one that is not what it should be, or what is above cannot be read.
    Unusable(Error),
}

impl MountRepository {
    /// Uses repositories, the nearest first; the first one is written, if any is.
    pub fn new(levels: Vec<(Repository, Option<Seal>)>, writes: bool, now: i64) -> Self {
        Self { levels, writes, now, fails: AtomicBool::new(false), above_fails: AtomicBool::new(false) }
    }

    /// Tells whether anything is kept there.
    pub fn is_written(&self) -> bool {
        self.writes && !self.fails.load(Ordering::Relaxed)
    }

    /// Names where it is written, for messages.
    pub fn describe(&self) -> String {
        self.levels.first().map(|(level, _)| level.describe()).unwrap_or_default()
    }

    /// Looks for a cache mount that was kept at most `max_age` seconds ago; none once a registry has failed.
    ///
    /// # Errors
    /// [`Error`] when a registry fails: what it has is not known then, and is not to be replaced.
    pub fn find(&self, key: &CacheKey, max_age: Option<u64>, store: &Store) -> Result<Option<MountFound>, Error> {
        if self.fails.load(Ordering::Relaxed) {
            return Ok(None);
        }
        for (position, level) in self.levels.iter().enumerate() {
            if position > 0 && self.above_fails.load(Ordering::Relaxed) {
                break;
            }
            match self.find_in(level, key, max_age, store) {
                Ok(None) => {}
                Ok(Some(layer)) => return Ok(Some(MountFound::Files(Box::new(layer)))),
                Err(error) if position == 0 && !is_the_entrys_fault(&error) => {
                    return Err(self.failed(error));
                }
                Err(error) => {
                    self.above_fails.fetch_or(!is_the_entrys_fault(&error), Ordering::Relaxed);
                    return Ok(Some(MountFound::Unusable(error)));
                }
            }
        }
        Ok(Some(MountFound::Nothing))
    }

    /// Asks for nothing and keeps nothing any more: what it has cannot be read, and is not to be replaced.
    pub fn give_up(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    /// Keeps the files of a cache mount, in place of those of before; `text` says for people which it is.
    ///
    /// # Errors
    /// [`Error`] when the registry fails.
    pub fn keep(&self, key: &CacheKey, text: &str, layer: &Layer, store: &Store) -> Result<(), Error> {
        let Some((level, seal)) = self.levels.first().filter(|_| self.is_written()) else { return Ok(()) };
        let (made, diff_id, text) = (self.now, Some(layer.diff_id.clone()), redact_within(text));
        let (effect, created) = (key.clone(), String::new());
        let entry = Entry { key: key.clone(), effect, made, created, diff_id, text, by_contents: None };
        let document = serde_json::to_string(&entry).expect("strings and numbers always serialize");
        let (descriptor, path) = (Box::new(layer.descriptor.clone()), store.path(&layer.descriptor.digest));
        let blob = Blob::Layer { descriptor, path, from: Vec::new() };
        let name = EntryName::new(EntryKind::Mount, key);
        let code = seal.as_ref().map(|seal| seal.make(&name, &document, blob.descriptor().as_ref()));
        level.put(&name, &document, code.as_deref(), &blob).map_err(|error| self.failed(error))
    }

    fn find_in(
        &self,
        (level, seal): &(Repository, Option<Seal>),
        key: &CacheKey,
        max_age: Option<u64>,
        store: &Store,
    ) -> Result<Option<Layer>, Error> {
        let name = EntryName::new(EntryKind::Mount, key);
        let Some(kept) = level.get(&name)? else { return Ok(None) };
        let Kept { document, code: _, blob } = kept.sealed(&name, seal.as_ref())?;
        let refused = |reason: &str| Error::refused(&name, reason);
        let entry: Entry = serde_json::from_str(&document).map_err(|_| refused("it is malformed"))?;
        let (Some(diff_id), Some(blob)) = (entry.diff_id, blob) else { return Err(refused("it lacks a part")) };
        if entry.key != *key {
            return Err(refused("it belongs to another key"));
        }
        let oldest = max_age.map_or(i64::MIN, |age| self.now.saturating_sub_unsigned(age));
        if entry.made < oldest {
            return Ok(None);
        }
        if blob.media_type != media_type::OCI_LAYER_ZSTD {
            return Err(refused("its blob is not of the type that cache mounts have"));
        }
        let content = level.layer(&blob, store, Lend::Lazily)?;
        let descriptor = Descriptor::new(&blob.media_type, blob.digest, blob.size);
        Ok(Some(Layer { descriptor, diff_id, content }))
    }

    fn failed(&self, error: Error) -> Error {
        self.give_up();
        error
    }
}

fn is_the_entrys_fault(error: &Error) -> bool {
    matches!(error, Error::Refused { .. } | Error::Unsealed { .. })
}
