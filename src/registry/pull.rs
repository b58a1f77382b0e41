//! Pull: from a reference to a verified manifest and configuration, and to streams of blobs.

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::download::{BlobStream, Download};
use super::error::PULL_BLOB;
use super::host::{Purpose, Target, Wanted};
use super::mirrors::Place;
use super::{Client, Error};
use crate::http::{Call, HeaderName, HeaderValue, Method, Response, Retry};
use crate::oci::{
    Descriptor, Digest, Document, ImageConfig, Index, LARGEST_DOCUMENT, Manifest, Platform, Reference, from_json,
};
use crate::progress::{Activity, Phase};

/// Source: OCI distribution-spec, "Pushing Manifests": registries take at least 4 MiB.
const LARGEST_MANIFEST: usize = 4 << 20;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// An image of a registry, chosen for a platform; all bytes verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What was asked for.
    pub reference: Reference,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's bytes, which its digest is of.
    pub manifest_bytes: Bytes,
    /// The manifest's digest.
    pub digest: Digest,
    /// The indexes on the way to it, that which the reference names first; none when it names the image itself.
    pub indexes: Vec<Bytes>,
    /// The image configuration.
    pub config: ImageConfig,
    /// The configuration's bytes, which its digest is of.
    pub config_bytes: Bytes,
}

impl Resolved {
    /// Returns the digest of what the reference names: an index or the manifest.
    pub fn named(&self) -> Digest {
        self.indexes.first().map_or_else(|| self.digest.clone(), |index| Digest::of(index))
    }
}

impl Client {
    /// Resolves a tag or digest to the image for a platform.
    ///
    /// A reference to one image is taken whatever its platform is: its configuration tells the caller.
    ///
    /// # Errors
    /// [`Error`]: of kind `NotFound` when there is no such image or none for the platform, of kind `Invalid`
    /// when the content is not what its digest says.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, Error> {
        let mut places = self.places(reference);
        loop {
            let (place, retry) = places.next()?;
            match self.resolve_at(reference, &place, platform, retry).await {
                Ok(resolved) => {
                    places.answered(&place);
                    return Ok(resolved);
                }
                Err(error) => places.failed(&place, error)?,
            }
        }
    }

    async fn resolve_at(
        &self,
        asked: &Reference,
        place: &Place,
        platform: &Platform,
        retry: Retry,
    ) -> Result<Resolved, Error> {
        let wanted = Wanted { purpose: Purpose::Pull, operation: "pull the manifest of", retry };
        let target = self.target_as(place, wanted, None).await?;
        let mut indexes = Vec::new();
        let mut identifier = place.reference.identifier().to_owned();
        let mut expected = place.reference.digest.clone();
        let mut size = None;
        for _ in 0..Index::DEEPEST {
            let (bytes, digest, served_as) = manifest(&target, &identifier, expected.as_ref()).await?;
            let actual = bytes.len() as u64;
            if let Some(expected) = size.filter(|size| *size != actual) {
                return Err(Error::Size { at: target.at.clone(), expected, actual });
            }
            let document = Document::parse(&served_as, &bytes);
            match document.map_err(|source| Error::Manifest { at: target.at.clone(), source })? {
                Document::Manifest(manifest) => {
                    let (config, config_bytes) = self.config(place, &manifest.config, retry).await?;
                    let reference = asked.clone();
                    let manifest_bytes = bytes;
                    return Ok(Resolved { reference, manifest, manifest_bytes, digest, indexes, config, config_bytes });
                }
                Document::Index(index) => {
                    let chosen = match index.choose(platform) {
                        Some(chosen) => chosen.clone(),
                        None => self.unlabelled(&target, place, &index, platform, retry).await?,
                    };
                    indexes.push(bytes);
                    identifier = chosen.digest.to_string();
                    expected = Some(chosen.digest.clone());
                    size = Some(chosen.size);
                }
            }
        }
        Err(target.protocol(format!("its indexes are nested more than {} deep", Index::DEEPEST)))
    }

    /// Finds the image for a platform among those of which an index does not say what they are for.
    async fn unlabelled(
        &self,
        target: &Target,
        place: &Place,
        index: &Index,
        platform: &Platform,
        retry: Retry,
    ) -> Result<Descriptor, Error> {
        for descriptor in index.unlabelled() {
            let digest = &descriptor.digest;
            let (bytes, _, served_as) = manifest(target, &digest.to_string(), Some(digest)).await?;
            let document = Document::parse(&served_as, &bytes);
            let document = document.map_err(|source| Error::Manifest { at: target.at.clone(), source })?;
            if let Document::Manifest(manifest) = document
                && platform.is_served_by(&self.config(place, &manifest.config, retry).await?.0.platform)
            {
                return Ok(descriptor.clone());
            }
        }
        Err(not_offered(target, index, platform))
    }

    /// Opens a blob as a stream that verifies size and digest at its end and continues after a cut.
    ///
    /// Waits for its turn when [`super::Options::parallel`] streams are open. `repository` is any reference
    /// into the repository; its tag and digest do not count.
    ///
    /// # Errors
    /// [`Error`] when the registry refuses; the stream's items carry later ones.
    pub async fn blob(&self, repository: &Reference, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let permit = self.0.pulls.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Descriptor { digest, size, .. } = descriptor;
        let pulling = Activity::new(Phase::Pull, digest.short()).of(Some(*size)).begin(&*self.0.reporter);
        let download = self.open(repository, descriptor, 0).await?;
        Ok(BlobStream::new(download, permit, pulling))
    }

    /// Reads a blob into memory: whoever asks for it has looked at its size.
    ///
    /// # Errors
    /// [`Error`] when it cannot be had as it is named.
    pub async fn whole_blob(&self, repository: &Reference, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let mut stream = self.blob(repository, descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.into())
    }

    /// Opens a blob at the first place that gives it.
    pub(super) async fn open(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Download, Error> {
        let mut places = self.places(repository);
        loop {
            let (place, retry) = places.next()?;
            match self.open_at(&place, descriptor, offset, retry).await {
                Ok(download) => {
                    places.answered(&place);
                    return Ok(download);
                }
                Err(error) => places.failed(&place, error)?,
            }
        }
    }

    async fn open_at(
        &self,
        place: &Place,
        descriptor: &Descriptor,
        offset: u64,
        retry: Retry,
    ) -> Result<Download, Error> {
        let place = place.with_digest(descriptor.digest.clone());
        let wanted = Wanted { purpose: Purpose::Pull, operation: PULL_BLOB, retry };
        let target = self.target_as(&place, wanted, None).await?;
        let mut download = Download::new(target, descriptor, offset);
        download.open().await?;
        Ok(download)
    }

    async fn config(
        &self,
        place: &Place,
        descriptor: &Descriptor,
        retry: Retry,
    ) -> Result<(ImageConfig, Bytes), Error> {
        let mut download = self.open_at(place, descriptor, 0, retry).await?;
        let at = download.at().clone();
        if descriptor.size > LARGEST_DOCUMENT {
            let reason = format!("its configuration has {} bytes, more than {LARGEST_DOCUMENT}", descriptor.size);
            return Err(Error::Protocol { at, reason });
        }
        let mut bytes = Vec::new();
        while let Some(piece) = download.next().await? {
            bytes.extend_from_slice(&piece);
        }
        let config = from_json(&bytes).map_err(|source| Error::Config { at, source })?;
        Ok((config, bytes.into()))
    }
}

/// Gets a manifest or index, and its digest and media type.
pub(super) async fn manifest(
    target: &Target,
    identifier: &str,
    expected: Option<&Digest>,
) -> Result<(Bytes, Digest, String), Error> {
    let mut attempts = target.client.0.agent.attempts(target.retry);
    let (served_as, announced, bytes) = loop {
        let response = target.send(manifest_call(target, Method::GET, identifier)?).await?;
        let response = target.expect(response, &[200]).await?;
        let served_as = response.header("content-type").unwrap_or_default();
        let served_as = served_as.split(';').next().unwrap_or_default().trim().to_owned();
        let announced = announced_digest(&response);
        match response.bytes(LARGEST_MANIFEST).await {
            Ok(bytes) => break (served_as, announced, bytes),
            // An answer that breaks off is asked for again, whole.
            Err(error) if error.is_transient() && attempts.again(&error.in_short(), None).await => {}
            Err(source) => return Err(target.transport(source)),
        }
    };
    let digest = Digest::of(&bytes);
    if let Some(expected) = expected.or(announced.as_ref()).filter(|expected| **expected != digest) {
        let (at, expected) = (target.at.clone(), expected.clone());
        return Err(Error::Digest { at, expected, actual: digest.to_string() });
    }
    Ok((bytes, digest, served_as))
}

/// Makes a request for a manifest, in any form that we understand.
pub(super) fn manifest_call(target: &Target, method: Method, identifier: &str) -> Result<Call, Error> {
    let call = target.call(method, target.url(&format!("manifests/{identifier}"))?);
    Ok(call.header(HeaderName::from_static("accept"), HeaderValue::from_static(ACCEPT)))
}

/// Reads `Docker-Content-Digest`, if it is there and a digest that we can verify.
pub(super) fn announced_digest(response: &Response) -> Option<Digest> {
    response.header("docker-content-digest")?.parse().ok()
}

fn not_offered(target: &Target, index: &Index, platform: &Platform) -> Error {
    let mut offered: Vec<String> =
        index.manifests.iter().filter_map(|d| d.platform.as_ref()).map(Platform::to_string).collect();
    offered.retain(|text| text != "unknown/unknown");
    offered.dedup();
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
    Error::Platform { at: target.at.clone(), wanted: platform.to_string(), offered }
}
