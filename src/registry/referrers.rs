//! Referrers: documents that tell about an image, and how one finds them when one has the image.
//!
//! A registry that has the API for it says so in its answer to the manifest, and lists them. For one that has not, the
//! clients keep the list: an index under a tag that is made of the image's digest.
//!
//! Source: OCI distribution-spec 1.1, "Pushing Manifests with Subject", "Listing Referrers", "Referrers Tag Schema".

use std::collections::BTreeMap;

use bytes::Bytes;

use super::catalog::following;
use super::host::{Purpose, Target};
use super::pull::manifest;
use super::push::put_call;
use super::{BlobSource, Client, Error, ErrorKind};
use crate::attest::{Attachment, Form, Kind, Written};
use crate::http::{HeaderName, HeaderValue, Method, Url};
use crate::oci::{Descriptor, Digest, Document, Index, Reference, media_type};

/// How often the list under a tag is written that somebody else writes at the same time.
const TAG_ATTEMPTS: usize = 8;
/// How many pages of referrers are read at most.
const MOST_PAGES: usize = 100;
const LARGEST_PAGE: usize = 4 << 20;

/// Who keeps the list in which a referrer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The registry.
    ByRegistry,
    /// An index under the tag that is made of the subject's digest.
    ByTag,
}

impl Client {
    /// Pushes an artifact that refers to `subject`, with its blobs, and sees to it that it is found.
    ///
    /// The subject need not be there yet: so nobody finds an image before what is said about it.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_refused_artifact`] tells that another form of manifest may be taken.
    pub async fn push_referrer(
        &self,
        repository: &Reference,
        subject: &Digest,
        written: &Written,
    ) -> Result<Listed, Error> {
        let to = repository.with_digest(written.descriptor.digest.clone());
        let send = async |client: &Self, unknown: &[Digest]| client.push_blobs(&to, sources(written), unknown).await;
        send(self, &[]).await?;
        let target = self.target(&to, Purpose::Push, "push the artifact", None).await?;
        // Put even where it is there: only the answer to that tells who keeps the list.
        let put = async || {
            let (digest, media_type) = (&written.descriptor.digest, &written.descriptor.media_type);
            let call = put_call(&target, digest.as_str(), media_type, written.manifest.clone())?;
            let response = target.expect(target.send(call).await?, &[200, 201, 202]).await;
            let response = response.map_err(Error::of_manifest)?;
            Ok(response.header("oci-subject").is_some_and(|named| named == subject.as_str()))
        };
        if self.until_known(put, send).await? {
            return Ok(Listed::ByRegistry);
        }
        self.list_by_tag(repository, subject, &written.descriptor).await?;
        Ok(Listed::ByTag)
    }

    /// Pushes an attachment; one that refers to its subject as an artifact, or, to a registry that takes none, as an image:
    /// what the registry said to the artifact is returned then.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push_attachment(
        &self,
        repository: &Reference,
        attachment: &Attachment,
    ) -> Result<Option<Error>, Error> {
        if attachment.kind == Kind::InIndex {
            return self.push_beside(repository, &attachment.write(Form::Image)).await.map(|()| None);
        }
        let subject = &attachment.subject.digest;
        match self.push_referrer(repository, subject, &attachment.write(Form::Artifact)).await {
            Err(refused) if refused.is_refused_artifact() => {
                self.push_referrer(repository, subject, &attachment.write(Form::Image)).await?;
                Ok(Some(refused))
            }
            result => result.map(|_| None),
        }
    }

    /// Pushes what stands beside its image in an index, which is not pushed yet.
    async fn push_beside(&self, repository: &Reference, written: &Written) -> Result<(), Error> {
        let to = repository.with_digest(written.descriptor.digest.clone());
        let send = async |client: &Self, unknown: &[Digest]| client.push_blobs(&to, sources(written), unknown).await;
        send(self, &[]).await?;
        let (media_type, bytes) = (&written.descriptor.media_type, written.manifest.clone());
        self.push_manifest_of(&to, media_type, bytes, send).await.map(drop)
    }

    /// Lists what refers to `subject` in a repository, of one type where it is given.
    ///
    /// # Errors
    /// [`Error`] when the registry says neither what there is nor that there is nothing.
    pub async fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let reference = repository.with_digest(subject.clone());
        let target = self.target(&reference, Purpose::Pull, "list the referrers of", None).await?;
        let listed = match listed(&target, subject, artifact_type).await? {
            Some(listed) => listed,
            None => tagged(&target, subject).await?.map(|index| index.manifests).unwrap_or_default(),
        };
        // A registry need not have filtered them.
        let is_wanted =
            |one: &Descriptor| artifact_type.is_none_or(|wanted| one.artifact_type.as_deref() == Some(wanted));
        Ok(listed.into_iter().filter(is_wanted).collect())
    }

    /// Adds a referrer to the list under the subject's tag. Registries have no way to change a tag only if nobody else
    /// has: it is read again afterwards, and written again where the referrer is missing.
    async fn list_by_tag(&self, repository: &Reference, subject: &Digest, referrer: &Descriptor) -> Result<(), Error> {
        let to = Reference { tag: Some(tag_of(subject)), digest: None, ..repository.clone() };
        let target = self.target(&to, Purpose::Push, "list the artifact under", None).await?;
        for _ in 0..TAG_ATTEMPTS {
            let mut index = tagged(&target, subject).await?.unwrap_or_else(empty);
            if index.manifests.iter().any(|known| known.digest == referrer.digest) {
                return Ok(());
            }
            index.manifests.push(referrer.clone());
            self.push_manifest(&to, media_type::OCI_INDEX, Bytes::from(index.to_bytes())).await?;
        }
        match tagged(&target, subject).await? {
            Some(index) if index.manifests.iter().any(|known| known.digest == referrer.digest) => Ok(()),
            _ => Err(target.protocol(format!("others have replaced the list {TAG_ATTEMPTS} times"))),
        }
    }
}

fn sources(written: &Written) -> impl Iterator<Item = (&Descriptor, BlobSource)> {
    written.blobs.iter().map(|(descriptor, bytes)| (descriptor, BlobSource::Bytes(bytes.clone())))
}

fn empty() -> Index {
    let media_type = media_type::OCI_INDEX.to_owned();
    Index { schema_version: 2, media_type, manifests: Vec::new(), annotations: BTreeMap::new() }
}

/// Returns the tag under which clients list what refers to an image.
fn tag_of(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Asks the registry for its list; none where it keeps none.
async fn listed(target: &Target, subject: &Digest, wanted: Option<&str>) -> Result<Option<Vec<Descriptor>>, Error> {
    let mut url = target.url(&format!("referrers/{subject}"))?;
    if let Some(wanted) = wanted {
        url.query_pairs_mut().append_pair("artifactType", wanted);
    }
    let mut found = Vec::new();
    let mut next: Option<Url> = Some(url);
    for _ in 0..MOST_PAGES {
        let Some(url) = next.take() else { break };
        let accept = HeaderValue::from_static(media_type::OCI_INDEX);
        let call = target.call(Method::GET, url.clone()).header(HeaderName::from_static("accept"), accept);
        let response = target.send(call).await?;
        let is_index = response.header("content-type").is_some_and(|served| served.starts_with(media_type::OCI_INDEX));
        // Registries without the API answer what they answer to any path that they do not know, some a page of HTML.
        if matches!(response.status().as_u16(), 400 | 404 | 405 | 406 | 501) || response.status() == 200 && !is_index {
            return Ok(None);
        }
        let response = target.expect(response, &[200]).await?;
        let link = response.header("link").and_then(following);
        next = link.and_then(|link| url.join(&link).ok()).filter(|next| next.origin() == url.origin());
        let bytes = response.bytes(LARGEST_PAGE).await.map_err(|source| target.transport(source))?;
        found.extend(index_of(target, &bytes)?.manifests);
    }
    Ok(Some(found))
}

/// Reads the list that clients keep under a tag; none where there is none.
async fn tagged(target: &Target, subject: &Digest) -> Result<Option<Index>, Error> {
    match manifest(target, &tag_of(subject), None).await {
        Ok((bytes, ..)) => index_of(target, &bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn index_of(target: &Target, bytes: &[u8]) -> Result<Index, Error> {
    let document = Document::parse(media_type::OCI_INDEX, bytes);
    match document.map_err(|source| Error::Manifest { at: target.at.clone(), source })? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(target.protocol("its list of referrers is an image".to_owned())),
    }
}
