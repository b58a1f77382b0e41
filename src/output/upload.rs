//! Pushing: layers are sent while later steps run; configuration and manifests at the end.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::image::{Layer, LayerContent};
use crate::oci::{Descriptor, Digest, Reference};
use crate::progress::Reporter;
use crate::registry::{self, BlobSource, Client};
use crate::store::Store;

use super::{Assembled, Error, push_attachments};

/// Uploads to all destinations, under way. Dropped before the end, it stops them.
pub struct Uploads {
    shared: Arc<Shared>,
    runtime: Handle,
    destinations: Vec<Reference>,
    tasks: Vec<JoinHandle<Result<(), Error>>>,
    started: Vec<Digest>,
}

struct Shared {
    /// Reads the layers of bases, wherever they come from.
    client: Client,
    /// Reads what we pushed, and what the cache lends.
    direct: Client,
    store: Store,
    /// One reference for each repository that is pushed to.
    repositories: Vec<Reference>,
    reporter: Arc<dyn Reporter>,
}

/// Checks that every destination's repository may be pushed to, before anything is built.
///
/// # Errors
/// The first registry's refusal.
pub async fn check_push(client: &Client, destinations: &[Reference]) -> Result<(), Error> {
    for repository in repositories(destinations) {
        client.check_push(&repository).await?;
    }
    Ok(())
}

/// Returns one of the references for each repository, in order.
pub fn repositories(destinations: &[Reference]) -> Vec<Reference> {
    let mut distinct: Vec<Reference> = Vec::new();
    for reference in destinations {
        if !distinct.iter().any(|known| known.name() == reference.name()) {
            distinct.push(reference.clone());
        }
    }
    distinct
}

impl Uploads {
    /// Makes ready to push to `destinations`; nothing is sent yet.
    pub fn new(
        client: Client,
        runtime: Handle,
        store: Store,
        destinations: Vec<Reference>,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let repositories = repositories(&destinations);
        let shared = Arc::new(Shared { direct: client.direct(), client, store, repositories, reporter });
        Self { shared, runtime, destinations, tasks: Vec::new(), started: Vec::new() }
    }

    /// Starts to bring a layer to all destinations; does not wait. A layer that was started already is left alone.
    pub fn layer(&mut self, layer: &Layer) {
        if self.shared.repositories.is_empty() || self.started.contains(&layer.descriptor.digest) {
            return;
        }
        self.started.push(layer.descriptor.digest.clone());
        let (shared, layer) = (Arc::clone(&self.shared), layer.clone());
        self.tasks.push(self.runtime.spawn(async move { shared.deliver_layer(&layer).await }));
    }

    /// Brings all layers, the configuration and the manifest to every destination, and returns those references.
    ///
    /// The manifest's tag goes last, so that none ever points to an image that is not whole, or without what is said about it.
    ///
    /// # Errors
    /// The first failure; other uploads are stopped.
    pub async fn finish(mut self, image: &Assembled) -> Result<Vec<Reference>, Error> {
        for layer in &image.layers {
            self.layer(layer);
        }
        for task in &mut self.tasks {
            task.await.map_err(|error| Error::Task(error.to_string()))??;
        }
        let config = BlobSource::Bytes(image.config_bytes.clone());
        for repository in &self.shared.repositories {
            self.shared.deliver(repository, &config, &image.config, None).await?;
        }
        if !image.attachments.is_empty() {
            for repository in &self.shared.repositories {
                let (direct, reporter) = (&self.shared.direct, &*self.shared.reporter);
                self.shared.put(&repository.with_digest(image.manifest.digest.clone()), image).await?;
                push_attachments(&image.attachments, repository, direct, reporter).await?;
            }
        }
        point(&self.destinations, async |destination| self.shared.put(destination, image).await).await?;
        Ok(std::mem::take(&mut self.destinations))
    }
}

/// Lets every destination point to a manifest or an index, one after another, as `put` does it.
///
/// # Errors
/// The first failure, with the destinations that have it by then.
pub async fn point(
    destinations: &[Reference],
    put: impl AsyncFn(&Reference) -> Result<(), Error>,
) -> Result<(), Error> {
    for (position, destination) in destinations.iter().enumerate() {
        put(destination).await.map_err(|error| error.after(&destinations[..position]))?;
    }
    Ok(())
}

impl Drop for Uploads {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    /// Puts the manifest under a name, or under its digest alone.
    async fn put(&self, destination: &Reference, image: &Assembled) -> Result<(), Error> {
        let (bytes, media_type): (Bytes, _) = (image.manifest_bytes.clone(), &image.manifest.media_type);
        let send =
            async |client: &Client, unknown: &[Digest]| self.send_anew(client, destination, image, unknown).await;
        self.client.push_manifest_of(destination, media_type, bytes, send).await.map(drop)
    }

    /// Sends those blobs of an image to a repository that it does not know, all where none is named.
    async fn send_anew(
        &self,
        client: &Client,
        to: &Reference,
        image: &Assembled,
        unknown: &[Digest],
    ) -> Result<(), Error> {
        let (repositories, reporter) = (vec![to.clone()], Arc::clone(&self.reporter));
        let (direct, store) = (client.direct(), self.store.clone());
        let anew = Self { direct, client: client.clone(), store, repositories, reporter };
        let is_wanted = |digest: &Digest| unknown.is_empty() || unknown.contains(digest);
        for layer in image.layers.iter().filter(|layer| is_wanted(&layer.descriptor.digest)) {
            anew.deliver_layer(layer).await?;
        }
        if is_wanted(&image.config.digest) {
            let config = BlobSource::Bytes(image.config_bytes.clone());
            anew.deliver(to, &config, &image.config, None).await?;
        }
        Ok(())
    }

    /// Brings a layer to every repository: the first gets it from where it is, the others from the first if they can.
    async fn deliver_layer(&self, layer: &Layer) -> Result<(), Error> {
        let origin = match &layer.content {
            LayerContent::Stored => None,
            LayerContent::Remote(reference) => Some((&self.client, reference)),
            LayerContent::Lent(reference) => Some((&self.direct, reference)),
        };
        for (position, repository) in self.repositories.iter().enumerate() {
            let from = if position == 0 { origin } else { Some((&self.direct, &self.repositories[0])) };
            if self.store.contains(&layer.descriptor.digest) {
                let path = self.store.path(&layer.descriptor.digest);
                let blob = BlobSource::open(&path).map_err(|source| Error::Write { action: "open", path, source })?;
                self.deliver(repository, &blob, &layer.descriptor, from).await?;
            } else if let Some((client, from)) = from {
                let copied = client.copy_blob(from, repository, &layer.descriptor).await;
                let pushed = copied.map_err(|error| failed_copy(layer, error))?;
                pushed.report(&*self.reporter, repository, &layer.descriptor);
            } else {
                let source = std::io::ErrorKind::NotFound.into();
                return Err(Error::Layer { digest: layer.descriptor.digest.to_string(), source });
            }
        }
        Ok(())
    }

    async fn deliver(
        &self,
        repository: &Reference,
        blob: &BlobSource,
        descriptor: &Descriptor,
        from: Option<(&Client, &Reference)>,
    ) -> Result<(), Error> {
        let (client, from) = from.map_or((&self.direct, None), |(client, from)| (client, Some(from)));
        let pushed = client.push_blob(repository, blob, descriptor, from).await?;
        pushed.report(&*self.reporter, repository, descriptor);
        Ok(())
    }
}

/// Tells a layer that cannot be read from a destination that does not take it.
fn failed_copy(layer: &Layer, error: registry::Error) -> Error {
    if error.is_reading_blob() {
        let source = std::io::Error::other(error);
        return Error::Layer { digest: layer.descriptor.digest.to_string(), source };
    }
    error.into()
}
