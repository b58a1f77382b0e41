//! Cache mounts that a repository keeps: brought when the first RUN that mounts one is really done, sent back, once, when
//! they are not what they were then.
//!
//! Knows when, and what is worth it; the repository's own failures are told here, and none reaches the build.
//!
//! *Invariant: what came from there is unpacked as a whole or thrown away; what could not be looked at is not replaced.*

use std::io;
use std::path::{Path, PathBuf};

use crate::cache::{CacheKey, MountFound, MountRepository, size_of_tree};
use crate::causes;
use crate::image::whiteout::classify;
use crate::image::{EntryKind, Layer, LayerInventory, LayerReader, LayerWriter, decompressed};
use crate::plan::CacheMount;
use crate::progress::Event;
use crate::registry;
use crate::request::{BuildRequest, Compression, SnapshotMode};
use crate::rootfs::{self, Contents, Snapshot};
use crate::store::{self, Store};

use super::super::run::report;
use super::super::stage::Shared;
use super::super::{Error, Services, layers, unpoisoned};
use super::copies::pack_all;
use super::create;

/// What a cache mount was when it began.
pub(super) struct Begun {
    pub(super) data: PathBuf,
    /// Its id, for people.
    pub(super) id: String,
    pub(super) beginning: Beginning,
}

/// What a cache mount began with.
pub(super) enum Beginning {
    /// What the repository had.
    Kept(Box<Snapshot>),
    /// Something else.
    Anew,
    /// Something else, and what the repository has is not known.
    Unknown,
}

/// A cache mount that is to be sent.
pub(super) struct Packed {
    id: String,
    layer: Layer,
}

/// Why files that were kept are not taken.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("its files cannot be fetched")]
    Fetch(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("its files cannot be read")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Unpack(#[from] rootfs::Error),
    #[error("its entry `{}` is refused: {reason}", path.display())]
    Entry { path: PathBuf, reason: &'static str },
}

impl Shared<'_> {
    /// Brings the files of a cache mount into `room`, if the repository has them; returns where they are.
    ///
    /// A build that begins again goes on with what its first attempt has packed.
    pub(super) fn fetch_cache(
        &self,
        cache: &CacheMount,
        key: &CacheKey,
        room: &Path,
    ) -> Result<(Option<PathBuf>, Beginning), Error> {
        let services = self.services;
        let Some(repository) = &services.run.repository else { return Ok((None, Beginning::Unknown)) };
        let warn = |message: &str| warn(services, repository, &cache.id, message);
        let packed = unpoisoned(&services.run.packed);
        let packed = packed.get(key).map(|packed| Box::new(packed.layer.clone()));
        let is_packed = packed.is_some();
        let found = packed.map_or_else(
            || repository.find(key, self.request.run.caches.max_age, &services.store),
            |layer| Ok(Some(MountFound::Files(layer))),
        );
        let layer = match found {
            Ok(Some(MountFound::Files(layer))) => layer,
            Ok(Some(MountFound::Nothing)) => return Ok((None, Beginning::Anew)),
            Ok(Some(MountFound::Unusable(error))) => {
                warn(&format!("begins anew: {}", causes::in_one_line(&error)));
                return Ok((None, Beginning::Anew));
            }
            Ok(None) => return Ok((None, Beginning::Unknown)),
            Err(_) if services.cancel.is_cancelled() => return Err(Error::Interrupted),
            Err(error) => {
                warn(&not_read(&error));
                return Ok((None, Beginning::Unknown));
            }
        };
        let directory = room.join("kept");
        create(&directory)?;
        match bring(services, &layer, room).and_then(|store| unpack(services, &store, &layer, &directory)) {
            Ok(snapshot) => Ok((Some(directory), Beginning::Kept(Box::new(snapshot)))),
            Err(_) if services.cancel.is_cancelled() => Err(Error::Interrupted),
            Err(error) if error.is_proof() => {
                warn(&format!("begins anew: {}", causes::in_one_line(&error)));
                Ok((None, Beginning::Anew))
            }
            Err(error) if is_packed => {
                warn(&format!("does not have what this build has put there: {}", causes::in_one_line(&error)));
                Ok((None, Beginning::Unknown))
            }
            Err(error) => {
                repository.give_up();
                warn(&not_read(&error));
                Ok((None, Beginning::Unknown))
            }
        }
    }
}

impl Unusable {
    /// Tells whether what was kept is wrong, whoever reads it: neither the network nor the disk is the reason.
    fn is_proof(&self) -> bool {
        match self {
            Self::Fetch(error) => {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<registry::Error>());
                matches!(cause, Some(registry::Error::Digest { .. } | registry::Error::Size { .. }))
            }
            Self::Store(_) => false,
            Self::Read(_) | Self::Unpack(_) | Self::Entry { .. } => causes::of(self).all(|cause| {
                let error = cause.downcast_ref::<io::Error>();
                error.is_none_or(|error| error.raw_os_error().is_none())
            }),
        }
    }
}

fn not_read(error: &dyn std::error::Error) -> String {
    format!("cannot be read, and the repository is not asked again: {}", causes::in_one_line(error))
}

/// Brings what was kept, whole, into a store of its own, which goes with `room`: only of what has the right digest is
/// it known whose fault it is that it cannot be unpacked.
fn bring(services: &Services, layer: &Layer, room: &Path) -> Result<Store, Unusable> {
    let store = Store::open(&room.join("blobs"))?;
    let mut blob = layers::open(services, layer, false).map_err(Unusable::Fetch)?;
    let mut writer = store.create()?;
    io::copy(&mut blob, &mut writer).map_err(Unusable::Fetch)?;
    writer.finish()?;
    Ok(store)
}

/// Unpacks what was kept, in a directory of its own, and notes its state.
fn unpack(services: &Services, store: &Store, layer: &Layer, directory: &Path) -> Result<Snapshot, Unusable> {
    let blob = store.read(&layer.descriptor.digest)?;
    let tar = decompressed(layers::interruptible(services, blob))?;
    let mut reader = LayerReader::strict(tar).watched(None);
    let mut rootfs = services.files(directory)?;
    let mut contents = Contents::default();
    let warnings = rootfs::unpack(&mut rootfs, &mut reader, services.fidelity, &mut contents)?;
    check(&reader.into_inventory())?;
    report(services, &warnings);
    let mut snapshot = Snapshot::take(&rootfs, &contents)?;
    snapshot.settle();
    Ok(snapshot)
}

/// Refuses what we would not have packed: devices, whiteouts, and what is not below a directory that came before.
fn check(inventory: &LayerInventory) -> Result<(), Unusable> {
    let mut directory = PathBuf::new();
    for entry in inventory.entries() {
        let path = &entry.path;
        let refused = |reason| Err(Unusable::Entry { path: path.clone(), reason });
        let parent = path.parent().unwrap_or(Path::new(""));
        if !directory.starts_with(parent) {
            return refused("it is not below a directory that came before it");
        }
        if classify(path).is_some() {
            return refused("its name is that of a whiteout");
        }
        match entry.kind {
            EntryKind::Directory => directory.clone_from(path),
            EntryKind::File { .. } | EntryKind::Symlink { .. } | EntryKind::HardLink { .. } | EntryKind::Fifo => {
                parent.clone_into(&mut directory);
            }
            EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. } => {
                return refused("a cache holds no devices");
            }
        }
    }
    Ok(())
}

/// Packs the cache mounts that are to be sent, before the isolation that holds them ends; also after a build that
/// failed, but not after one that was interrupted. What a build that begins again packs takes the place of what its
/// first attempt had packed, with which the cache mount began.
pub(in crate::builder) fn pack(request: &BuildRequest, services: &Services) {
    let mut begun = unpoisoned(&services.run.begun);
    let begun = std::mem::take(&mut *begun);
    let Some(repository) = services.run.repository.as_ref().filter(|repository| repository.is_written()) else {
        return;
    };
    for (key, Begun { data, id, beginning }) in begun {
        if services.cancel.is_interrupted() {
            return;
        }
        match pack_one(request, services, &data, &beginning) {
            Ok(Some((layer, left_out))) => {
                if let Some(reason) = left_out {
                    warn(services, repository, &id, &reason);
                }
                let mut packed = unpoisoned(&services.run.packed);
                packed.insert(key, Packed { id, layer });
            }
            Ok(None) => {}
            Err(error) => warn(services, repository, &id, &format!("is not kept: {}", causes::in_one_line(&*error))),
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Packs a cache mount; none where that is of no use. With it comes what is to be told about it.
fn pack_one(
    request: &BuildRequest,
    services: &Services,
    data: &Path,
    beginning: &Beginning,
) -> Result<Option<(Layer, Option<String>)>, Cause> {
    let is_there = data.is_dir();
    let is_changed = match beginning {
        Beginning::Unknown => false,
        Beginning::Anew => is_there && std::fs::read_dir(data)?.next().is_some(),
        Beginning::Kept(snapshot) => {
            let now = services.files(data);
            is_there && !snapshot.changes(&now?, SnapshotMode::Full)?.is_empty()
        }
    };
    if !is_changed {
        return Ok(None);
    }
    let empty = request.state_directory.join("no-cache");
    create(&empty)?;
    let (mut from, mut left_out) = (data, None);
    if let Some(limit) = request.run.caches.max_size {
        let size = size_of_tree(data);
        if size > limit {
            from = &empty;
            left_out =
                Some(format!("has {size} bytes, more than the {limit} that it may have, and begins anew next time"));
        }
    }
    let writer = LayerWriter::new(&services.store, Compression::ZSTD, None)?.with_fractions();
    let (layer, inventory) = pack_all(services, from, &empty, writer)?;
    check(&inventory)?;
    Ok(Some((layer, left_out)))
}

/// Sends what was packed.
pub(in crate::builder) fn keep(services: &Services) {
    let Some(repository) = &services.run.repository else { return };
    let packed = std::mem::take(&mut *unpoisoned(&services.run.packed));
    for (key, Packed { id, layer }) in packed {
        if !repository.is_written() || services.cancel.is_interrupted() {
            return;
        }
        match repository.keep(&key, &format!("cache mount {id}"), &layer, &services.store) {
            Ok(()) => {
                let place = repository.describe();
                let note = format!("kept the cache mount {id} in {place}, {} bytes", layer.descriptor.size);
                services.reporter.report(Event::Note(&note));
            }
            Err(error) => warn(services, repository, &id, &format!("cannot be kept: {}", causes::in_one_line(&error))),
        }
    }
}

fn warn(services: &Services, repository: &MountRepository, id: &str, message: &str) {
    let message = format!("the cache mount {id} of {} {message}", repository.describe());
    services.reporter.report(Event::Warning { rule: "CacheMounts", line: None, message: &message });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image;

    #[test]
    fn only_what_would_be_wrong_anywhere_is_replaced() {
        let full = || io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let (path, malformed) = (PathBuf::from("a"), || io::Error::new(io::ErrorKind::InvalidData, "no zstd"));
        let call = |source| rootfs::Error::Call { call: "write", path: path.clone(), source };
        let layer = |source| rootfs::Error::Layer { source: image::Error::Read { offset: 0, source } };
        let content = |source| rootfs::Error::Content { path: path.clone(), source };
        let rows = [
            (Unusable::Unpack(call(full())), false),
            (Unusable::Unpack(layer(full())), false),
            (Unusable::Unpack(content(full())), false),
            (Unusable::Read(full()), false),
            (Unusable::Fetch(full()), false),
            (Unusable::Fetch(io::Error::other("the connection broke")), false),
            (Unusable::Unpack(layer(malformed())), true),
            (Unusable::Unpack(content(malformed())), true),
            (Unusable::Unpack(rootfs::Error::Link { path: path.clone(), target: path.clone() }), true),
            (Unusable::Entry { path: path.clone(), reason: "a cache holds no devices" }, true),
        ];
        for (error, is_proof) in rows {
            assert_eq!(error.is_proof(), is_proof, "{error:?}");
        }
    }
}
