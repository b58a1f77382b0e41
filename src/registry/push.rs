//! Push: the right to, blobs by the cheapest way that works, manifests with their digest confirmed.

use std::time::Duration;

use bytes::Bytes;

use super::host::{Purpose, Target};
use super::pull::{announced_digest, manifest_call};
use super::source::{BlobSource, Remote, Source};
use super::upload::{Upload, exists};
use super::{Client, Error};
use crate::http::{CONTENT_TYPE, Call, HeaderValue, Method, Retry};
use crate::oci::{Descriptor, Digest, Reference};
use crate::progress::{Delivery, Event, Reporter};

/// How often a manifest is put whose blobs the registry says it does not know.
const MANIFEST_ATTEMPTS: u32 = 4;

/// How a blob came to be in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded {
        /// The bytes that were sent, repetitions included.
        bytes: u64,
    },
}

impl Pushed {
    /// Tells that a blob is in a repository now.
    pub fn report(self, reporter: &dyn Reporter, repository: &Reference, blob: &Descriptor) {
        let delivery = match self {
            Self::Existed => Delivery::Existed,
            Self::Mounted => Delivery::Mounted,
            Self::Uploaded { .. } => Delivery::Uploaded,
        };
        let (repository, digest, size) = (&*repository.name(), &blob.digest, blob.size);
        reporter.report(Event::Pushed { repository, digest, size, delivery });
    }
}

impl Client {
    /// Checks that we may push to a repository, by beginning an upload and ending it.
    ///
    /// # Errors
    /// [`Error`], of kind `Denied` when we may not.
    pub async fn check_push(&self, repository: &Reference) -> Result<(), Error> {
        let target = self.target(repository, Purpose::Push, "push to", None).await?;
        let response = target.send(target.call(Method::POST, target.url("blobs/uploads/")?)).await?;
        let response = target.expect(response, &[202]).await?;
        Upload::begin(&target, &response)?.cancel().await;
        Ok(())
    }

    /// Tells whether a repository has a blob.
    ///
    /// # Errors
    /// [`Error`] when the registry says neither yes nor no.
    pub async fn blob_exists(&self, repository: &Reference, descriptor: &Descriptor) -> Result<bool, Error> {
        let target = self.blob_target(repository, descriptor, None).await?;
        exists(&target, descriptor).await
    }

    /// Lets the registry take a blob from another of its repositories; `false` when it does not.
    ///
    /// # Errors
    /// [`Error`] when the registry cannot be asked.
    pub async fn mount(&self, to: &Reference, from: &Reference, descriptor: &Descriptor) -> Result<bool, Error> {
        if !can_mount(to, from) {
            return Ok(false);
        }
        let target = self.blob_target(to, descriptor, Some(from)).await?;
        match mount(&target, from, descriptor).await? {
            Mount::Done => Ok(true),
            Mount::Session(upload) => {
                upload.cancel().await;
                Ok(false)
            }
            Mount::Refused => Ok(false),
        }
    }

    /// Brings a blob into a repository: not at all if it is there, by mounting it from `from` if the registry
    /// does that, else by sending it.
    ///
    /// Waits for its turn when [`super::Options::parallel`] pushes are under way.
    ///
    /// # Errors
    /// [`Error`]; the upload is then ended at the registry, too.
    pub async fn push_blob(
        &self,
        to: &Reference,
        blob: &BlobSource,
        descriptor: &Descriptor,
        from: Option<&Reference>,
    ) -> Result<Pushed, Error> {
        self.bring(to, &Source::Local(blob.clone()), descriptor, from).await
    }

    /// Pushes those of the blobs that `only` names, all where it names none: what [`Client::push_manifest_of`] asks for.
    ///
    /// # Errors
    /// As [`Client::push_blob`].
    pub async fn push_blobs<'a>(
        &self,
        to: &Reference,
        blobs: impl IntoIterator<Item = (&'a Descriptor, BlobSource)>,
        only: &[Digest],
    ) -> Result<(), Error> {
        for (descriptor, blob) in blobs {
            if only.is_empty() || only.contains(&descriptor.digest) {
                self.push_blob(to, &blob, descriptor, None).await?;
            }
        }
        Ok(())
    }

    /// Brings a blob from one repository into another: by mounting if it can, else by streaming it through,
    /// without a disk.
    ///
    /// # Errors
    /// [`Error`] of either side.
    pub async fn copy_blob(&self, from: &Reference, to: &Reference, descriptor: &Descriptor) -> Result<Pushed, Error> {
        let (client, from_repository) = (self.clone(), from.clone());
        let remote = Remote { client, from: from_repository, descriptor: descriptor.clone() };
        let source = Source::Remote(Box::new(remote));
        self.bring(to, &source, descriptor, Some(from)).await
    }

    /// Puts a manifest as [`Client::push_manifest`] does. Where the registry says that it does not know a blob of it, `send`
    /// sends those that it is given with the client that it is given (all of them where none is named), and the manifest
    /// is put again: when two push the same blobs at once, one may be told that a blob is there before it is.
    ///
    /// # Errors
    /// As [`Client::push_manifest`], and that of `send`.
    pub async fn push_manifest_of<E: From<Error>>(
        &self,
        to: &Reference,
        media_type: &str,
        bytes: Bytes,
        send: impl AsyncFn(&Self, &[Digest]) -> Result<(), E>,
    ) -> Result<Digest, E> {
        self.until_known(async || self.push_manifest(to, media_type, bytes.clone()).await, send).await
    }

    /// Puts a manifest as `put` does it, again after its blobs were sent again where the registry does not know them.
    pub(super) async fn until_known<T, E: From<Error>>(
        &self,
        put: impl AsyncFn() -> Result<T, Error>,
        send: impl AsyncFn(&Self, &[Digest]) -> Result<(), E>,
    ) -> Result<T, E> {
        // The time that blobs take between two attempts does not count.
        let retry = Retry { attempts: MANIFEST_ATTEMPTS, total: Duration::from_secs(3600), ..self.0.agent.retry() };
        let mut attempts = self.0.agent.attempts(retry);
        loop {
            match put().await {
                Err(Error::BlobUnknown { at, url, status, detail, unknown }) => {
                    let error = Error::BlobUnknown { at, url, status, detail, unknown: unknown.clone() };
                    if !attempts.again(&error.in_short(), None).await {
                        return Err(error.into());
                    }
                    send(&self.anew(), &unknown).await?;
                }
                result => return result.map_err(E::from),
            }
        }
    }

    /// Puts a manifest or index under the reference's tag, or under its digest where it has no tag.
    ///
    /// Nothing is sent when the tag already points to these very bytes. The digest that is returned was
    /// compared with the one that the registry announced.
    ///
    /// # Errors
    /// [`Error`]; of kind `Invalid` when the digests differ.
    pub async fn push_manifest(&self, to: &Reference, media_type: &str, bytes: Bytes) -> Result<Digest, Error> {
        let target = self.target(to, Purpose::Push, "push the manifest of", None).await?;
        let digest = Digest::of(&bytes);
        let differs = |other: &Digest| {
            (*other != digest).then(|| Error::Digest {
                at: target.at.clone(),
                expected: digest.clone(),
                actual: other.to_string(),
            })
        };
        if let Some(error) = to.digest.as_ref().and_then(differs) {
            return Err(error);
        }
        let identifier = to.tag.as_deref().unwrap_or(digest.as_str());
        let known = target.send(manifest_call(&target, Method::HEAD, identifier)?).await?;
        if known.status().is_success() && announced_digest(&known).as_ref() == Some(&digest) {
            return Ok(digest);
        }
        let call = put_call(&target, identifier, media_type, bytes)?;
        let response = target.send(call.clone()).await?;
        let response = match target.expect(response, &[200, 201, 202]).await {
            Err(error) if self.0.options.ignore_immutable_tags && error.is_immutable_tag() => {
                let message = format!("{to} stays what it is, and the image is there as {digest}: {error}");
                self.report(Event::Warning { rule: "ImmutableTag", line: None, message: &message });
                // What the results name must be there.
                let call = Call { url: target.url(&format!("manifests/{digest}"))?, ..call };
                target.expect(target.send(call).await?, &[200, 201, 202]).await?
            }
            result => result.map_err(Error::of_manifest)?,
        };
        match announced_digest(&response).as_ref().and_then(differs) {
            Some(error) => Err(error),
            None => Ok(digest),
        }
    }

    async fn bring(
        &self,
        to: &Reference,
        source: &Source,
        descriptor: &Descriptor,
        from: Option<&Reference>,
    ) -> Result<Pushed, Error> {
        let _permit = self.0.pushes.clone().acquire_owned().await.expect("the semaphore is never closed");
        // A blob that was pulled by a mirror can be mounted from the mirror's repository, too.
        let from = from.map(|from| self.place_of(from)).filter(|from| can_mount(to, from));
        let from = from.as_ref();
        if self.0.anew {
            let target = self.blob_target(to, descriptor, None).await?;
            let bytes = super::upload::run(&target, source, descriptor, None).await?;
            return Ok(Pushed::Uploaded { bytes });
        }
        let target = self.blob_target(to, descriptor, from).await?;
        if exists(&target, descriptor).await? {
            return Ok(Pushed::Existed);
        }
        let session = match from {
            None => None,
            Some(from) => match mount(&target, from, descriptor).await? {
                Mount::Done => return Ok(Pushed::Mounted),
                Mount::Session(upload) => Some(*upload),
                Mount::Refused => None,
            },
        };
        // A token for two repositories may be refused where one for the first alone is given.
        let target =
            if from.is_some() && session.is_none() { self.blob_target(to, descriptor, None).await? } else { target };
        let bytes = super::upload::run(&target, source, descriptor, session).await?;
        Ok(Pushed::Uploaded { bytes })
    }

    async fn blob_target(
        &self,
        to: &Reference,
        descriptor: &Descriptor,
        from: Option<&Reference>,
    ) -> Result<Target, Error> {
        let reference = to.with_digest(descriptor.digest.clone());
        self.target(&reference, Purpose::Push, "push the blob", from).await
    }
}

/// Makes the request that puts a manifest.
pub(super) fn put_call(target: &Target, identifier: &str, media_type: &str, bytes: Bytes) -> Result<Call, Error> {
    let content_type = HeaderValue::from_str(media_type)
        .map_err(|_| target.protocol(format!("`{media_type}` is not a media type")))?;
    let mut call = target.call(Method::PUT, target.url(&format!("manifests/{identifier}"))?);
    call.body = bytes;
    Ok(call.header(CONTENT_TYPE, content_type))
}

/// What became of an attempt to mount.
enum Mount {
    Done,
    /// The registry began an upload instead. Source: OCI distribution-spec, "Mounting a blob".
    Session(Box<Upload>),
    Refused,
}

async fn mount(target: &Target, from: &Reference, descriptor: &Descriptor) -> Result<Mount, Error> {
    let mut url = target.url("blobs/uploads/")?;
    url.query_pairs_mut().append_pair("mount", descriptor.digest.as_str()).append_pair("from", &from.repository);
    let response = match target.send(target.call(Method::POST, url)).await {
        Ok(response) => response,
        // The token server may refuse a token for both repositories.
        Err(Error::Denied { .. }) => return Ok(Mount::Refused),
        Err(error) => return Err(error),
    };
    match response.status().as_u16() {
        201 => Ok(Mount::Done),
        202 => Ok(Mount::Session(Box::new(Upload::begin(target, &response)?))),
        _ => Ok(Mount::Refused),
    }
}

fn can_mount(to: &Reference, from: &Reference) -> bool {
    to.registry == from.registry && to.repository != from.repository
}
