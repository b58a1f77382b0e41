//! The stores of a build in the order in which they are asked, and what is kept in them.
//!
//! *Invariant: no failure of a store reaches the build. A store that fails is told once and asked no more; an entry that
//! is not right is told, and taken for missing.*

mod lists;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::inline::{self, InlineCache};
use super::key::Parts;
use super::trail::{self, TracedPart};
use super::{Blob, CacheKey, Entry, EntryKind, EntryName, Error, InlineStep, Kept, LayerCache, Lend, Seal, Trail};
use crate::causes;
use crate::http::redact_within;
use crate::image::{Layer, LayerContent};
use crate::oci::{Descriptor, Digest, Reference, media_type};
use crate::progress::{Event, Reporter};
use crate::store::Store;

const TRAIL_TYPE: &str = "application/vnd.yadokari.trail.v1+json";

/// How many entries are kept in a store at a time.
const AT_A_TIME: usize = 4;

/// What decides whether an entry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The time at the start of the build, in seconds since 1970.
    pub now: i64,
    /// How old an entry may be, in seconds.
    pub ttl: i64,
}

/// The stores of a build; without any, nothing is found and nothing kept.
pub struct Cache {
    tiers: Vec<Arc<Tier>>,
    options: Options,
    runtime: Handle,
    reporter: Arc<dyn Reporter>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Layers that a destination gets first, so that the registry can mount them for us.
    deferred: Mutex<Vec<Put>>,
    loans: Mutex<Loans>,
    /// Of what is kept in images.
    seal: Option<Seal>,
}

/// What a second attempt must know of the first.
#[derive(Default)]
struct Loans {
    /// The layers that were found in registries and not read.
    lent: HashSet<Digest>,
    /// What was made in the first attempt; only a second one looks there.
    made: HashMap<CacheKey, Hit>,
    /// Whether one of the layers could not be read: from then on each is read when it is found.
    distrusted: bool,
}

struct Tier {
    store: Box<dyn LayerCache>,
    /// Of all entries, where there is a key.
    seal: Option<Seal>,
    /// Whether it was told that there are entries without one.
    told_unsealed: AtomicBool,
    writes: bool,
    mounts: bool,
    fails_to_read: AtomicBool,
    fails_to_write: AtomicBool,
    /// Whether it is not reachable, and so is asked for nothing any more.
    is_gone: AtomicBool,
    /// Bounds what is kept at a time, so that a store that fails is not asked for all of it before that shows.
    turns: Semaphore,
    reporter: Arc<dyn Reporter>,
}

#[derive(Clone)]
struct Put {
    name: EntryName,
    document: String,
    blob: Blob,
}

/// What came of looking for a step's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    Hit(Box<Hit>),
    /// There is nothing.
    Nothing,
    /// It was made too long ago.
    Expired {
        /// When, in seconds since 1970.
        made: i64,
    },
    /// There is something, which is not right.
    Refused {
        /// What is wrong with it.
        reason: String,
    },
}

/// The result of a step that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What is known of it.
    pub entry: Entry,
    /// Its layer; none where it made none.
    pub layer: Option<Layer>,
    /// Whether this very build has made it, before it began again.
    pub made_now: bool,
}

impl Cache {
    /// Makes a cache without stores.
    pub fn new(options: Options, runtime: Handle, reporter: Arc<dyn Reporter>) -> Self {
        let (tasks, deferred) = (Mutex::default(), Mutex::default());
        Self { tiers: Vec::new(), options, runtime, reporter, tasks, deferred, loans: Mutex::default(), seal: None }
    }

    /// Seals what is kept in images.
    #[must_use]
    pub fn sealed(self, seal: Option<Seal>) -> Self {
        Self { seal, ..self }
    }

    /// Adds a store that is asked after those before it; `mounts` says that it may take layers from a destination. With a
    /// seal, only entries that carry it count.
    pub fn add(&mut self, store: Box<dyn LayerCache>, writes: bool, mounts: bool, seal: Option<Seal>) {
        let (fails_to_read, fails_to_write) = (AtomicBool::new(false), AtomicBool::new(false));
        let is_gone = AtomicBool::new(false);
        let (turns, reporter) = (Semaphore::new(AT_A_TIME), Arc::clone(&self.reporter));
        self.tiers.push(Arc::new(Tier {
            store,
            seal,
            told_unsealed: AtomicBool::new(false),
            writes,
            mounts,
            fails_to_read,
            fails_to_write,
            is_gone,
            turns,
            reporter,
        }));
    }

    /// Tells whether there is any store.
    pub fn is_on(&self) -> bool {
        !self.tiers.is_empty()
    }

    /// Returns the time at the start of the build, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.options.now
    }

    /// Looks for a step's result. Its layer is checked as far as that costs no download.
    pub fn step(&self, key: &CacheKey, store: &Store, lend: Lend) -> Found {
        if let Some(hit) = self.loans().made_before(key) {
            return Found::Hit(Box::new(hit));
        }
        let name = EntryName::new(EntryKind::Step, key);
        let mut worst = Found::Nothing;
        for tier in self.tiers.iter().filter(|tier| tier.is_read()) {
            let found = tier.sealed(&name).and_then(|kept| match kept {
                Some(kept) => self.check((key, &name), kept, tier, (store, lend)),
                None => Ok(Found::Nothing),
            });
            match found {
                Ok(Found::Hit(hit)) => return Found::Hit(hit),
                Ok(Found::Nothing) => {}
                Ok(other) => worst = other,
                Err(error) => {
                    match &error {
                        Error::Refused { reason, .. } => worst = Found::Refused { reason: reason.clone() },
                        Error::Unsealed { .. } => {
                            worst = Found::Refused { reason: "it has no seal of the cache's key".to_owned() };
                        }
                        _ => {}
                    }
                    tier.failed_to_read(&error);
                }
            }
        }
        worst
    }

    fn check(
        &self,
        (key, name): (&CacheKey, &EntryName),
        kept: Kept,
        tier: &Tier,
        (store, lend): (&Store, Lend),
    ) -> Result<Found, Error> {
        let refused = |reason: &str| Error::refused(name, reason);
        let entry: Entry = serde_json::from_str(&kept.document).map_err(|_| refused("it is malformed"))?;
        if entry.key != *key {
            return Err(refused("it belongs to another key"));
        }
        if entry.made.saturating_add(self.options.ttl) < self.options.now {
            return Ok(Found::Expired { made: entry.made });
        }
        let layer = match (&entry.diff_id, kept.blob) {
            (None, None) => None,
            (Some(diff_id), Some(descriptor)) => {
                let types = [media_type::OCI_LAYER, media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD];
                if !types.contains(&descriptor.media_type.as_str()) {
                    return Err(refused("its blob is no layer"));
                }
                let lend = if self.loans().distrusted { Lend::Whole } else { lend };
                let content = tier.store.layer(&descriptor, store, lend)?;
                if matches!(content, LayerContent::Lent(_)) {
                    self.loans().lent.insert(descriptor.digest.clone());
                }
                let descriptor = Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size);
                Some(Layer { descriptor, diff_id: diff_id.clone(), content })
            }
            (Some(_), None) | (None, Some(_)) => return Err(refused("it lacks a part")),
        };
        Ok(Found::Hit(Box::new(Hit { entry, layer, made_now: false })))
    }

    /// Keeps a step's result. With `later`, its layer is on its way to a destination, and is taken from there.
    pub fn keep_step(&self, entry: &Entry, layer: Option<&Layer>, store: &Store, later: bool) {
        let name = EntryName::new(EntryKind::Step, &entry.key);
        let document = serde_json::to_string(entry).expect("strings and numbers always serialize");
        let blob = match layer {
            None => Blob::None,
            Some(layer) => {
                let (descriptor, path) = (Box::new(layer.descriptor.clone()), store.path(&layer.descriptor.digest));
                Blob::Layer { descriptor, path, from: Vec::new() }
            }
        };
        let put = Put { name, document, blob };
        if layer.is_none_or(|layer| layer.content == LayerContent::Stored) {
            let hit = Hit { entry: entry.clone(), layer: layer.cloned(), made_now: true };
            self.loans().made.insert(entry.key.clone(), hit);
        }
        if !later {
            return self.keep(&put);
        }
        self.keep_in(&put, |tier| !tier.mounts);
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner).push(put);
    }

    /// Tells whether a layer, which could not be read, was lent by a store. Then the build is to be begun again: from
    /// now on a step counts as found only once its layer was read, and what was made until now is found.
    pub fn distrust(&self, unreadable: &Digest) -> bool {
        let mut loans = self.loans();
        let first = !loans.distrusted && loans.lent.contains(unreadable);
        loans.distrusted |= first;
        first
    }

    /// Tells whether a layer was lent by a store, unread.
    pub fn lends(&self, layer: &Layer) -> bool {
        matches!(layer.content, LayerContent::Lent(_)) && self.loans().lent.contains(&layer.descriptor.digest)
    }

    fn loans(&self) -> MutexGuard<'_, Loans> {
        self.loans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a step depends on, as it may be kept in a trail.
    pub fn trace(&self, parts: &Parts) -> Vec<TracedPart> {
        trail::trace(parts, self.seal.as_ref())
    }

    /// Returns what the last build of that name depended on.
    pub fn trail(&self, key: &CacheKey) -> Option<Trail> {
        serde_json::from_slice(&self.blob(&EntryName::new(EntryKind::Trail, key))?).ok()
    }

    /// Keeps what this build depended on.
    pub fn keep_trail(&self, key: &CacheKey, trail: &Trail) {
        let bytes = serde_json::to_vec(trail).expect("strings and numbers always serialize");
        let blob = Blob::Bytes { media_type: TRAIL_TYPE, bytes };
        self.keep(&Put { name: EntryName::new(EntryKind::Trail, key), document: "{}".to_owned(), blob });
    }

    /// Returns when an image was first made; where no store knows it, that is now, at `created`.
    pub fn image(&self, key: &CacheKey, created: String) -> Entry {
        let name = EntryName::new(EntryKind::Image, key);
        let readable = self.tiers.iter().filter(|tier| tier.is_read());
        let known = readable.filter_map(|tier| tier.get(&name)).find_map(|kept| {
            let entry = serde_json::from_str::<Entry>(&kept.document).ok()?;
            let fresh = entry.made.saturating_add(self.options.ttl) >= self.options.now;
            (entry.key == *key && fresh).then_some(entry)
        });
        if let Some(known) = known {
            return known;
        }
        let (key, effect, made) = (key.clone(), key.clone(), self.options.now);
        let entry = Entry { key, effect, made, created, diff_id: None, text: "image".to_owned(), by_contents: None };
        let document = serde_json::to_string(&entry).expect("strings and numbers always serialize");
        self.keep(&Put { name, document, blob: Blob::None });
        entry
    }

    /// Makes a step a part of an image's configuration, to be found by `key`.
    pub fn inline(&self, hit: &Hit, key: &CacheKey) -> InlineStep {
        // An entry of an older executor may say more than an image may show.
        let text = redact_within(&hit.entry.text);
        let entry = Entry { key: key.clone(), text, by_contents: None, ..hit.entry.clone() };
        let layer = hit.layer.as_ref().map(|layer| layer.descriptor.clone());
        let name = EntryName::new(EntryKind::Step, &entry.key);
        let seal = self.seal.as_ref().map(|seal| seal.make(&name, &inline::document(&entry), layer.as_ref()));
        InlineStep { entry, layer, seal }
    }

    /// Makes the steps of an image, and itself, a part of its configuration.
    pub fn inline_image(&self, steps: Vec<InlineStep>, image: Entry) -> InlineCache {
        let name = EntryName::new(EntryKind::Image, &image.key);
        let image_seal = self.seal.as_ref().map(|seal| seal.make(&name, &inline::document(&image), None));
        InlineCache { steps, image: Some(image), image_seal }
    }

    /// Keeps what was left for later, and waits until all is kept. `delivered` are repositories that have the layers.
    pub fn finish(&self, delivered: &[Reference]) {
        for mut put in std::mem::take(&mut *self.deferred.lock().unwrap_or_else(PoisonError::into_inner)) {
            if let Blob::Layer { from, .. } = &mut put.blob {
                *from = delivered.to_vec();
            }
            self.keep_in(&put, |tier| tier.mounts);
        }
        for task in std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner)) {
            // A task that panicked has kept nothing, which is all that can be said of it.
            let _ = self.runtime.block_on(task);
        }
    }

    fn keep(&self, put: &Put) {
        self.keep_in(put, |_| true);
    }

    fn keep_in(&self, put: &Put, chosen: impl Fn(&Tier) -> bool) {
        for tier in self.tiers.iter().filter(|tier| tier.is_written() && chosen(tier)) {
            let task = self.runtime.spawn(Arc::clone(tier).put(put.clone()));
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
    }

    /// Reads the blob of an entry from the first store that has it.
    fn blob(&self, name: &EntryName) -> Option<Vec<u8>> {
        self.tiers.iter().filter(|tier| tier.is_read()).find_map(|tier| {
            let blob = tier.get(name)?.blob?;
            tier.store.read(&blob).inspect_err(|error| tier.failed_to_read(error)).ok()
        })
    }
}

impl Loans {
    fn made_before(&self, key: &CacheKey) -> Option<Hit> {
        self.made.get(key).filter(|_| self.distrusted).cloned()
    }
}

impl Tier {
    /// Keeps an entry when its turn comes. Who waits must not hold a thread: those whose turn it is need threads, too.
    async fn put(self: Arc<Self>, put: Put) {
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        // It may have failed meanwhile.
        if !self.is_written() {
            return;
        }
        let tier = Arc::clone(&self);
        let work = move || {
            let blob = put.blob.descriptor();
            let code = tier.seal.as_ref().map(|seal| seal.make(&put.name, &put.document, blob.as_ref()));
            tier.store.put(&put.name, &put.document, code.as_deref(), &put.blob)
        };
        // A task that panicked has kept nothing, which is all that can be said of it.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            self.failed_to_write(&error);
        }
    }

    fn is_read(&self) -> bool {
        !self.is_gone.load(Ordering::Relaxed) && !self.fails_to_read.load(Ordering::Relaxed)
    }

    fn is_written(&self) -> bool {
        self.writes && !self.is_gone.load(Ordering::Relaxed) && !self.fails_to_write.load(Ordering::Relaxed)
    }

    /// Finds an entry, which has the seal of the key where there is a key.
    fn sealed(&self, name: &EntryName) -> Result<Option<Kept>, Error> {
        self.store.get(name)?.map(|kept| kept.sealed(name, self.seal.as_ref())).transpose()
    }

    fn get(&self, name: &EntryName) -> Option<Kept> {
        self.sealed(name).inspect_err(|error| self.failed_to_read(error)).ok().flatten()
    }

    fn failed_to_read(&self, error: &Error) {
        match error {
            Error::Interrupted => {}
            Error::Refused { .. } => self.warn(&format!("{error}; it is made anew")),
            Error::Unsealed { .. } => {
                if !self.told_unsealed.swap(true, Ordering::Relaxed) {
                    self.warn("it has entries without a seal of the cache's key, which do not count");
                }
            }
            Error::Write { .. } | Error::Read { .. } | Error::Registry(_) | Error::Store(_) => {
                if !self.is_unreachable(error)
                    && !self.fails_to_read.swap(true, Ordering::Relaxed)
                    && !self.is_told(error)
                {
                    self.warn(&format!("cannot be read, and is not asked again: {}", causes::in_one_line(error)));
                }
            }
        }
    }

    fn failed_to_write(&self, error: &Error) {
        // What is refused here is one entry's own fault: its layer is in another store only.
        if matches!(error, Error::Interrupted | Error::Refused { .. } | Error::Unsealed { .. }) {
            return;
        }
        if !self.is_unreachable(error) && !self.fails_to_write.swap(true, Ordering::Relaxed) && !self.is_told(error) {
            self.warn(&format!("cannot be written, and nothing more is kept there: {}", causes::in_one_line(error)));
        }
    }

    /// Tells whether a registry does not answer, or says that it fails; then it is given up for reading and writing.
    fn is_unreachable(&self, error: &Error) -> bool {
        if error.is_transient() && !self.is_gone.swap(true, Ordering::Relaxed) {
            self.store.give_up();
            self.warn(&format!("is not reachable, and not asked again: {}", causes::in_one_line(error)));
        }
        error.is_transient()
    }

    /// Tells whether it was said already that the registry does not let us: once is enough.
    fn is_told(&self, error: &Error) -> bool {
        let both = self.fails_to_read.load(Ordering::Relaxed) && self.fails_to_write.load(Ordering::Relaxed);
        error.is_denied() && both
    }

    fn warn(&self, message: &str) {
        let message = format!("cache {}: {message}", self.store.describe());
        self.reporter.report(Event::Warning { rule: "Cache", line: None, message: &message });
    }
}
