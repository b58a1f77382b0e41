//! What is said about an image goes where the image goes, before any name leads to it.
//!
//! *Invariant: no tag ever leads to an image whose attestations are not all there.*

use bytes::Bytes;

use super::Error;
use crate::attest::{Attachment, Kind, Written};
use crate::causes;
use crate::oci::{Descriptor, Reference};
use crate::progress::{Event, Reporter};
use crate::registry::{self, Client};

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
        let pushed = push_attachment(attachment, repository, client, reporter).await;
        let subject = || attachment.subject.digest.to_string();
        pushed.map_err(|source| Error::Attachment { subject: subject(), source })?;
    }
    Ok(())
}

/// Pushes an attachment to a repository.
///
/// # Errors
/// What the registry says.
pub async fn push_attachment(
    attachment: &Attachment,
    repository: &Reference,
    client: &Client,
    reporter: &dyn Reporter,
) -> Result<(), registry::Error> {
    let subject = &attachment.subject.digest;
    if let Some(refused) = client.push_attachment(repository, attachment).await? {
        let message = format!(
            "{} takes no artifacts; what is said about {subject} is there as an image, and listed under the tag sha256-{}: {}",
            repository.registry,
            subject.hex(),
            causes::in_one_line(&refused)
        );
        reporter.report(Event::Warning { rule: "NoArtifacts", line: None, message: &message });
    }
    Ok(())
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
