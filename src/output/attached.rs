//! What is said about an image goes where the image goes, before any name leads to it.
//!
//! *Invariant: no tag ever leads to an image whose attestations are not all there.*

use bytes::Bytes;

use super::Error;
use crate::attest::{Attachment, Form, Kind, Written};
use crate::causes;
use crate::oci::{Descriptor, Digest, Reference};
use crate::progress::{Event, Reporter};
use crate::registry::{BlobSource, Client};

/// Pushes attachments to a repository.
///
/// # Errors
/// [`Error::Attachment`] with what the registry says.
pub async fn push_attachments(
    attachments: &[Attachment],
    repository: &Reference,
    client: &Client,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    for attachment in attachments {
        let pushed = match attachment.kind {
            Kind::Referrer => refer(attachment, repository, client, reporter).await,
            Kind::InIndex => put(&attachment.write(Form::Image), repository, client).await,
        };
        let subject = &attachment.subject.digest;
        pushed.map_err(|source| Error::Attachment { subject: subject.to_string(), source })?;
    }
    Ok(())
}

/// Pushes a document that refers to its subject; to a registry that takes no artifacts, as an image.
async fn refer(
    attachment: &Attachment,
    repository: &Reference,
    client: &Client,
    reporter: &dyn Reporter,
) -> Result<(), crate::registry::Error> {
    let subject = &attachment.subject.digest;
    let refused = match client.push_referrer(repository, subject, &attachment.write(Form::Artifact)).await {
        Err(error) if error.is_refused_artifact() => error,
        result => return result.map(drop),
    };
    client.push_referrer(repository, subject, &attachment.write(Form::Image)).await?;
    let message = format!(
        "{} takes no artifacts; what is said about {subject} is there as an image, and listed under the tag sha256-{}: {}",
        repository.registry,
        subject.hex(),
        causes::in_one_line(&refused)
    );
    reporter.report(Event::Warning { rule: "NoArtifacts", line: None, message: &message });
    Ok(())
}

async fn put(written: &Written, repository: &Reference, client: &Client) -> Result<(), crate::registry::Error> {
    let to = repository.with_digest(written.descriptor.digest.clone());
    let send = async |client: &Client, unknown: &[Digest]| {
        for (descriptor, bytes) in &written.blobs {
            if unknown.is_empty() || unknown.contains(&descriptor.digest) {
                client.push_blob(&to, &BlobSource::Bytes(bytes.clone()), descriptor, None).await?;
            }
        }
        Ok::<(), crate::registry::Error>(())
    };
    send(client, &[]).await?;
    let (media_type, bytes) = (&written.descriptor.media_type, written.manifest.clone());
    client.push_manifest_of(&to, media_type, bytes, send).await.map(drop)
}

/// Returns the blobs that attachments add to a layout or an archive, manifests among them, each once.
pub(super) fn blobs(attachments: &[Attachment]) -> Vec<(Descriptor, Bytes)> {
    let mut blobs: Vec<(Descriptor, Bytes)> = Vec::new();
    for attachment in attachments {
        let Written { descriptor, manifest, blobs: own } = attachment.write(attachment.form());
        for blob in own.into_iter().chain([(descriptor, manifest)]) {
            if !blobs.iter().any(|(known, _)| known.digest == blob.0.digest) {
                blobs.push(blob);
            }
        }
    }
    blobs
}

/// Returns what points to the manifests of attachments of one kind.
pub fn descriptors(attachments: &[Attachment], kind: Kind) -> Vec<Descriptor> {
    let of_kind = attachments.iter().filter(|attachment| attachment.kind == kind);
    of_kind.map(|attachment| attachment.write(attachment.form()).descriptor).collect()
}
