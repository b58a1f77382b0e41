//! Reading layers, wherever their blobs are: streams for unpacking, inventories for what a build must know of a base.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::causes;
use crate::image::{Inventory, Layer, LayerContent, LayerInventory, uncompressed};
use crate::isolation::Cancel;
use crate::oci::{Descriptor, Digest};
use crate::progress::{Activity, Event, Moving, Phase, Reporter};
use crate::registry;
use crate::store::{BlobWriter, Store};

use super::{Error, Services, unpoisoned};

/// How much of a layer is read ahead, in pieces of [`PIECE`] bytes.
const PIECES_AHEAD: usize = 32;
const PIECE: usize = 128 << 10;

/// Opens the compressed blob of a layer; the read that reaches its end fails when the digest is wrong.
///
/// With `keep`, what comes from a registry is kept in the store, for outputs that need it later.
pub(super) fn open(services: &Services, layer: &Layer, keep: bool) -> io::Result<Box<dyn Read + Send>> {
    let digest = &layer.descriptor.digest;
    borrow(services, layer)?;
    let turn = keep.then(|| services.fetching.turn(digest, &services.store)).flatten();
    if services.store.contains(digest) {
        let blob = services.store.verified(digest).map_err(io::Error::other)?;
        return Ok(Box::new(interruptible(services, blob)));
    }
    fetch(services, layer, turn)
}

/// Opens the blob of a layer where it is; with a turn, what comes is kept in the store.
fn fetch(services: &Services, layer: &Layer, turn: Option<Turn>) -> io::Result<Box<dyn Read + Send>> {
    let digest = &layer.descriptor.digest;
    let (client, reference) = match &layer.content {
        LayerContent::Remote(reference) => (&services.registry, reference),
        LayerContent::Lent(reference) => (&services.cache_registry, reference),
        LayerContent::Stored => {
            let text = format!("layer {digest} is not in the store {}", services.store.root().display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
    };
    let stream = services.wait(client.blob(reference, &layer.descriptor)).map_err(io::Error::other)?;
    let reader = registry::read_blocking(stream.map_err(io::Error::other)?, &services.runtime);
    let counted = Counted { reader, digest: digest.clone(), reporter: Arc::clone(&services.reporter), unreported: 0 };
    let reader = interruptible(services, counted);
    match turn {
        Some(turn) => {
            Ok(Box::new(Keep { reader, writer: Some(services.store.create().map_err(io::Error::other)?), _turn: turn }))
        }
        None => Ok(Box::new(reader)),
    }
}

/// Brings a layer into the store that the cache has lent, all of it: what is wrong with it must show before anything is
/// made of it. Does nothing for other layers.
pub(super) fn borrow(services: &Services, layer: &Layer) -> io::Result<()> {
    let digest = &layer.descriptor.digest;
    let turn = services.cache.lends(layer).then(|| services.fetching.turn(digest, &services.store)).flatten();
    let Some(turn) = turn else { return Ok(()) };
    let fetched = fetch(services, layer, Some(turn)).and_then(|mut blob| io::copy(&mut blob, &mut io::sink()));
    fetched.map(drop).map_err(|source| {
        // Neither an interrupted build nor a full disk is the layer's fault.
        if causes::of(&source).any(|cause| cause.is::<registry::Error>()) {
            io::Error::other(Unreadable { digest: digest.clone(), source })
        } else {
            source
        }
    })
}

/// A layer that a store of the cache has lent, and that is not there or not what its digest says.
#[derive(Debug, thiserror::Error)]
#[error("layer {digest}, which the cache has lent, cannot be read")]
pub(super) struct Unreadable {
    pub(super) digest: Digest,
    #[source]
    source: io::Error,
}

/// Opens a layer's tar stream.
pub(super) fn open_tar(services: &Services, layer: &Layer) -> io::Result<Box<dyn Read + Send>> {
    let blob = open(services, layer, services.keep_layers)?;
    let tar = unpacking(services, blob, layer)?;
    // Few compressed bytes may become very many.
    Ok(Box::new(interruptible(services, tar)))
}

/// Makes the tar stream of a layer's blob that is unpacked, decompressed by a thread of its own that reads a little ahead.
pub(super) fn unpacking(
    services: &Services,
    blob: Box<dyn Read + Send>,
    layer: &Layer,
) -> io::Result<Box<dyn Read + Send>> {
    let blob = Box::new(moving(services, Phase::Unpack, layer).reading(blob));
    Ok(Box::new(read_ahead(uncompressed(blob, &layer.diff_id)?)?))
}

/// Begins something with the bytes of a layer.
pub(super) fn moving(services: &Services, phase: Phase, layer: &Layer) -> Moving {
    let Descriptor { digest, size, .. } = &layer.descriptor;
    Activity::new(phase, digest.short()).of(Some(*size)).begin(&*services.reporter)
}

/// Finds out which files an image holds: from earlier builds, or from the headers of its layers, several at a time.
pub(super) fn inventory(services: &Services, layers: &[Layer]) -> Result<Inventory, Error> {
    read_inventory(services, layers, false)
}

/// Finds out the same, and what is recorded in the layers as installed, which `services.packages` knows then.
pub(super) fn inventory_with_packages(services: &Services, layers: &[Layer]) -> Result<Inventory, Error> {
    read_inventory(services, layers, true)
}

fn read_inventory(services: &Services, layers: &[Layer], with_packages: bool) -> Result<Inventory, Error> {
    let found: Vec<Mutex<Option<Result<LayerInventory, Error>>>> = layers.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
    std::thread::scope(|scope| {
        let work = || {
            while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < layers.len()) {
                let result = layer_inventory(services, &layers[number], with_packages);
                *unpoisoned(&found[number]) = Some(result);
            }
        };
        // This thread is one of them. Where no more are allowed, fewer do the same.
        for _ in 1..threads {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut inventory = Inventory::new();
    for (number, slot) in found.into_iter().enumerate() {
        let result = slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Every number below the length was taken by a thread, and the scope has waited for all of them.
        let layer = result.unwrap_or(Err(Error::Interrupted))?;
        inventory.apply(u32::try_from(number).unwrap_or(u32::MAX), &layer)?;
    }
    Ok(inventory)
}

fn layer_inventory(services: &Services, layer: &Layer, with_packages: bool) -> Result<LayerInventory, Error> {
    let digest = &layer.descriptor.digest;
    let is_enough = !with_packages || services.packages.knows(digest);
    if let Some(known) = services.inventories.get(digest).filter(|_| is_enough) {
        decided(services, &format!("{} is not read: an earlier build has kept which files it holds", digest.short()));
        return Ok(known);
    }
    decided(services, &format!("{} is read for which files it holds; nothing is unpacked", digest.short()));
    let fetch = |source| Error::Fetch { digest: digest.to_string(), source };
    let blob = open(services, layer, services.keep_layers).map_err(fetch)?;
    let blob = Box::new(moving(services, Phase::Index, layer).reading(blob));
    let tar = interruptible(services, uncompressed(blob, &layer.diff_id).map_err(fetch)?);
    let watch = services.packages.watch(Some(digest), true);
    let read = LayerInventory::read_watched(tar, watch)
        .map_err(|source| Error::Layer { digest: digest.to_string(), source })?;
    keep_inventory(services, digest, &read);
    Ok(read)
}

/// Tells what was decided about a layer.
pub(super) fn decided(services: &Services, text: &str) {
    services.reporter.report(Event::Decided { about: "layer", text });
}

/// Keeps an inventory for later builds; that it cannot be kept is worth a warning, not a failure.
pub(super) fn keep_inventory(services: &Services, layer: &Digest, inventory: &LayerInventory) {
    if let Err(error) = services.inventories.put(layer, inventory) {
        let message = format!("the next build will read this base again: {}", causes::in_one_line(&error));
        services.reporter.report(Event::Warning { rule: "IndexNotKept", line: None, message: &message });
    }
}

/// Moves reading to a thread of its own, which stays at most a few megabytes ahead.
fn read_ahead(reader: Box<dyn Read + Send>) -> io::Result<impl Read + Send> {
    let (sender, receiver) = sync_channel(PIECES_AHEAD);
    std::thread::Builder::new().spawn(move || send_pieces(reader, &sender))?;
    Ok(Ahead { receiver, piece: Vec::new(), position: 0 })
}

fn send_pieces(mut reader: Box<dyn Read + Send>, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let ended = piece.is_empty();
        let failed = read.is_err();
        // A receiver that is gone wants no more; an empty piece tells it that all is read.
        if sender.send(read.map(|_| piece)).is_err() || ended || failed {
            return;
        }
    }
}

struct Ahead {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    position: usize,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() {
            self.piece = match self.receiver.recv() {
                Ok(piece) => piece?,
                Err(_) => Vec::new(),
            };
            self.position = 0;
        }
        let count = buffer.len().min(self.piece.len() - self.position);
        buffer[..count].copy_from_slice(&self.piece[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

/// The layers that are being fetched into the store, so that stages that need the same one fetch it once.
#[derive(Clone, Debug, Default)]
pub struct Fetching {
    inner: Arc<(Mutex<HashSet<Digest>>, Condvar)>,
}

/// The right to fetch a layer, until it is dropped.
struct Turn {
    fetching: Fetching,
    digest: Digest,
}

impl Fetching {
    /// Waits until nobody fetches the layer; none when it is in the store then.
    fn turn(&self, digest: &Digest, store: &Store) -> Option<Turn> {
        let (digests, ended) = &*self.inner;
        let mut digests = unpoisoned(digests);
        loop {
            if store.contains(digest) {
                return None;
            }
            if digests.insert(digest.clone()) {
                return Some(Turn { fetching: self.clone(), digest: digest.clone() });
            }
            digests = ended.wait(digests).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (digests, ended) = &*self.fetching.inner;
        unpoisoned(digests).remove(&self.digest);
        ended.notify_all();
    }
}

/// Makes a reader fail once the build is cancelled.
pub(super) fn interruptible<R: Read>(services: &Services, reader: R) -> impl Read + use<R> {
    Interruptible { reader, cancel: services.cancel.clone() }
}

/// A reader that fails once the build is cancelled, so that no long copy outlives a signal.
struct Interruptible<R> {
    reader: R,
    cancel: Cancel,
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("the build was interrupted"));
        }
        self.reader.read(buffer)
    }
}

/// A reader that tells how much came over the network.
struct Counted<R> {
    reader: R,
    digest: Digest,
    reporter: Arc<dyn Reporter>,
    unreported: u64,
}

/// How many bytes come in before they are reported, so that events stay few.
const REPORTED_BYTES: u64 = 4 << 20;

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.unreported += count as u64;
        if self.unreported >= REPORTED_BYTES || (count == 0 && self.unreported > 0) {
            self.reporter.report(Event::Pulled { digest: &self.digest, bytes: self.unreported });
            self.unreported = 0;
        }
        Ok(count)
    }
}

/// A reader that also writes what it reads into the store, and finishes the blob at the end.
struct Keep<R> {
    reader: R,
    writer: Option<BlobWriter>,
    _turn: Turn,
}

impl<R: Read> Read for Keep<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count > 0
            && let Some(writer) = &mut self.writer
        {
            io::Write::write_all(writer, &buffer[..count])?;
        } else if !buffer.is_empty()
            && let Some(writer) = self.writer.take()
        {
            writer.finish().map_err(io::Error::other)?;
        }
        Ok(count)
    }
}
