//! A cache in a registry's repository: each entry is a manifest under a tag of its name, with its blob as its only layer.
//!
//! *Invariant: manifests are OCI image manifests with an image configuration, since some registries take nothing else.
//! What a manifest says is bound to its digest, and a blob that is named by it is read only as what its digest says.*

use std::future::Future;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::directory::LARGEST_BLOB;
use super::{Blob, EntryKind, EntryName, Error, Kept, LayerCache, Lend};
use crate::http::{Patience, Retry, Timeouts};
use crate::image::LayerContent;
use crate::oci::{Descriptor, Digest, Document, Manifest, Reference, media_type};
use crate::progress::{Event, Reporter};
use crate::registry::{BlobSource, Client, ErrorKind, read_blocking};
use crate::store::Store;

/// The annotation with an entry's document.
const DOCUMENT: &str = "dev.yadokari.cache.document";
/// The annotation with an entry's name.
const NAME: &str = "dev.yadokari.cache.name";
/// The annotation with the code of an entry's seal.
const SEAL: &str = "dev.yadokari.cache.seal";
/// The configuration of all entries: the smallest that is one.
const CONFIG: &str =
    r#"{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
/// What the manifest of a cache mount says that it is.
const MOUNT: &str = "application/vnd.yadokari.cache-mount.v1";
/// How much a registry of the cache is worth: a build can do without it.
pub const PATIENCE: Patience = Patience {
    timeouts: Timeouts {
        connect: Duration::from_secs(5),
        idle: Duration::from_secs(10),
        // The registry may have to move a large layer.
        commit: Duration::from_secs(60),
    },
    retry: Retry {
        attempts: 3,
        first_delay: Duration::from_millis(250),
        longest_delay: Duration::from_secs(2),
        // Less than the time without a byte: what hangs once is not asked again.
        total: Duration::from_secs(8),
        until: None,
    },
};
/// How often a wait for the network looks whether the build was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// How a registry is reached from blocking work.
#[derive(Clone)]
pub struct Network {
    /// Speaks to registries, to each of them itself: nothing that stands in for one has what was just kept there.
    pub client: Client,
    /// Drives the network's tasks.
    pub runtime: Handle,
    /// Is told what is moved.
    pub reporter: Arc<dyn Reporter>,
    /// Tells whether the build is being ended.
    pub is_cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Whether the registry was given up, by any of those who share this.
    pub given_up: Arc<AtomicBool>,
}

impl Network {
    /// Waits for something of the network, but not longer than until the build is cancelled, or the registry given up.
    pub(super) fn wait<T>(&self, future: impl Future<Output = Result<T, crate::registry::Error>>) -> Result<T, Error> {
        let cancelled = async {
            while !self.is_unwanted() {
                tokio::time::sleep(CANCEL_INTERVAL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancelled => Err(Error::Interrupted),
                result = future => Ok(result?),
            }
        })
    }

    /// Tells whether the build was cancelled, or the registry given up.
    fn is_unwanted(&self) -> bool {
        (self.is_cancelled)() || self.given_up.load(Ordering::Relaxed)
    }

    /// Brings a layer into `store`.
    pub(super) fn fetch(&self, from: &Reference, blob: &Descriptor, store: &Store) -> Result<LayerContent, Error> {
        let opened = self.wait(self.client.blob(from, blob));
        let mut stream = read_blocking(opened.map_err(|error| unfit(blob, error))?, &self.runtime);
        let mut writer = store.create()?;
        // The stream ends with an error where size or digest are wrong, and then there is no blob.
        let copied = io::copy(&mut Wanted { reader: &mut stream, network: self }, &mut writer);
        match copied.map_err(io::Error::downcast) {
            Ok(bytes) => self.reporter.report(Event::Pulled { digest: &blob.digest, bytes }),
            Err(_) if self.is_unwanted() => return Err(Error::Interrupted),
            Err(Ok(error)) => return Err(unfit(blob, Error::Registry(error))),
            Err(Err(source)) => return Err(Error::Write { path: store.path(&blob.digest), source }),
        }
        writer.finish()?;
        Ok(LayerContent::Stored)
    }
}

/// A reader that fails once nobody wants what it reads.
struct Wanted<'a, R> {
    reader: &'a mut R,
    network: &'a Network,
}

impl<R: io::Read> io::Read for Wanted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.network.is_unwanted() {
            return Err(io::Error::other("the build was interrupted, or the registry given up"));
        }
        self.reader.read(buffer)
    }
}

/// Tells a blob that is not what it should be from a registry that fails.
fn unfit(blob: &Descriptor, error: Error) -> Error {
    match error {
        Error::Registry(error)
            if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Invalid | ErrorKind::NotFound) =>
        {
            Error::refused(&blob.digest, error.to_string())
        }
        other => other,
    }
}

/// A repository of entries.
#[derive(Clone)]
pub struct Repository {
    network: Network,
    /// Any reference into it.
    repository: Reference,
}

impl Repository {
    /// Uses a repository; nothing is asked of the registry yet.
    pub fn new(network: Network, repository: Reference) -> Self {
        Self { network, repository }
    }

    /// Gets an entry's manifest, and what it says.
    pub(super) fn manifest(&self, name: &EntryName) -> Result<Option<(Digest, Kept)>, Error> {
        let found = self.network.wait(self.network.client.manifest(&self.reference(name)))?;
        let Some((bytes, digest)) = found else { return Ok(None) };
        let refused = |reason: &str| Error::refused(name, reason);
        let Ok(Document::Manifest(manifest)) = Document::parse(media_type::OCI_MANIFEST, &bytes) else {
            return Err(refused("it is no image manifest"));
        };
        if manifest.annotations.get(NAME).is_none_or(|known| *known != name.to_string()) {
            return Err(refused("it belongs to another key"));
        }
        let document = manifest.annotations.get(DOCUMENT).ok_or_else(|| refused("it says nothing"))?.clone();
        let code = manifest.annotations.get(SEAL).cloned();
        let blob = manifest.layers.into_iter().find(|layer| layer.media_type != media_type::OCI_EMPTY);
        Ok(Some((digest, Kept { document, code, blob })))
    }

    /// Returns the names of all entries.
    pub(super) fn names(&self) -> Result<Vec<EntryName>, Error> {
        let tags = self.network.wait(self.network.client.tags(&self.repository))?;
        Ok(tags.iter().filter_map(|tag| EntryName::parse(tag)).collect())
    }

    /// Removes the manifest of an entry; the registry's own collector removes blobs.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), Error> {
        self.network.wait(self.network.client.delete_manifest(&self.repository, digest))
    }

    fn reference(&self, name: &EntryName) -> Reference {
        Reference { tag: Some(name.to_string()), digest: None, ..self.repository.clone() }
    }

    fn push(&self, bytes: Bytes, media_type: &str) -> Result<(Descriptor, Option<BlobSource>), Error> {
        let descriptor = Descriptor::of(media_type, &bytes);
        let source = BlobSource::Bytes(bytes);
        self.push_blob(&source, &descriptor, None)?;
        Ok((descriptor, Some(source)))
    }

    fn push_blob(&self, blob: &BlobSource, descriptor: &Descriptor, from: Option<&Reference>) -> Result<(), Error> {
        let client = &self.network.client;
        let pushed = self.network.wait(client.push_blob(&self.repository, blob, descriptor, from))?;
        pushed.report(&*self.network.reporter, &self.repository, descriptor);
        Ok(())
    }

    /// Brings a blob into the repository; returns it, and what it can be sent from again.
    fn keep(&self, blob: &Blob) -> Result<(Descriptor, Option<BlobSource>), Error> {
        match blob {
            // A manifest needs a layer. Source: OCI image-spec, manifest.md.
            Blob::None => self.push(Bytes::from_static(b"{}"), media_type::OCI_EMPTY),
            Blob::Bytes { media_type, bytes } => self.push(Bytes::copy_from_slice(bytes), media_type),
            Blob::Layer { descriptor, path, from: _ } if !path.exists() => {
                match self.network.wait(self.network.client.blob_size(&self.repository, descriptor))? {
                    Some(size) if size == descriptor.size => Ok(((**descriptor).clone(), None)),
                    Some(_) | None => Err(Error::refused(&descriptor.digest, "it is neither here nor there")),
                }
            }
            Blob::Layer { descriptor, path, from } => {
                let source = BlobSource::open(path).map_err(|source| Error::Read { path: path.clone(), source })?;
                let from = from.iter().find(|from| from.registry == self.repository.registry);
                self.push_blob(&source, descriptor, from)?;
                Ok(((**descriptor).clone(), Some(source)))
            }
        }
    }
}

impl LayerCache for Repository {
    fn describe(&self) -> String {
        self.repository.name()
    }

    fn give_up(&self) {
        self.network.given_up.store(true, Ordering::Relaxed);
    }

    fn get(&self, name: &EntryName) -> Result<Option<Kept>, Error> {
        Ok(self.manifest(name)?.map(|(_, kept)| kept))
    }

    fn put(&self, name: &EntryName, document: &str, code: Option<&str>, blob: &Blob) -> Result<(), Error> {
        let blobs = [self.push(Bytes::from_static(CONFIG.as_bytes()), media_type::OCI_CONFIG)?, self.keep(blob)?];
        let [config, layer] = blobs.each_ref().map(|(descriptor, _)| descriptor.clone());
        let own_name = name.to_string();
        let annotations = [(DOCUMENT, document), (NAME, &own_name)].into_iter().chain(code.map(|code| (SEAL, code)));
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: (name.kind == EntryKind::Mount).then(|| MOUNT.to_owned()),
            config,
            layers: vec![layer],
            subject: None,
            annotations,
        };
        let (reference, bytes) = (self.reference(name), Bytes::from(manifest.to_bytes()));
        let send = async |client: &Client, unknown: &[Digest]| {
            let blobs = blobs.iter().filter_map(|(descriptor, source)| Some((descriptor, source.clone()?)));
            client.push_blobs(&self.repository, blobs, unknown).await
        };
        let pushed = self.network.client.push_manifest_of(&reference, media_type::OCI_MANIFEST, bytes, send);
        self.network.wait(pushed).map(drop)
    }

    fn layer(&self, blob: &Descriptor, store: &Store, lend: Lend) -> Result<LayerContent, Error> {
        if store.contains(&blob.digest) {
            return Ok(LayerContent::Stored);
        }
        if lend == Lend::Whole {
            return self.network.fetch(&self.repository, blob, store);
        }
        match self.network.wait(self.network.client.blob_size(&self.repository, blob))? {
            Some(size) if size == blob.size => Ok(LayerContent::Lent(self.repository.clone())),
            Some(size) => Err(Error::refused(&blob.digest, format!("it has {size} bytes instead of {}", blob.size))),
            None => Err(Error::refused(&blob.digest, "its blob is not there")),
        }
    }

    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        let stream = self.network.wait(self.network.client.blob(&self.repository, blob))?;
        let mut bytes = Vec::new();
        let read = read_blocking(stream, &self.network.runtime).take(LARGEST_BLOB).read_to_end(&mut bytes);
        read.map_err(|error| Error::refused(&blob.digest, error.to_string()))?;
        self.network.reporter.report(Event::Pulled { digest: &blob.digest, bytes: bytes.len() as u64 });
        Ok(bytes)
    }
}
