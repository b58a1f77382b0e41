//! Pushing an image that is packed already: its blobs and documents go to every destination as they are.
//!
//! *Invariant: a document is pushed after all that it names, so that no reference ever leads to something incomplete.*

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::upload::{point, repositories};
use super::{Error, Packed};
use crate::oci::{Digest, Reference};
use crate::outcome::PushOutcome;
use crate::progress::Reporter;
use crate::registry::Client;

/// How many blobs are asked for at a time; the client itself bounds how many are sent.
const AT_A_TIME: usize = 8;

/// Pushes the image to every destination.
///
/// # Errors
/// [`Error::Registry`]; then a destination after the one that failed has no new tag.
pub async fn push(
    packed: &Packed,
    destinations: &[Reference],
    client: &Client,
    reporter: &dyn Reporter,
) -> Result<PushOutcome, Error> {
    let repositories = repositories(destinations);
    for (position, repository) in repositories.iter().enumerate() {
        // The first repository has all blobs by then: a registry may take them from there.
        let from = repositories.first().filter(|_| position > 0);
        let blobs = stream::iter(&packed.blobs).map(async |(descriptor, blob)| {
            let pushed = client.push_blob(repository, blob, descriptor, from).await?;
            pushed.report(reporter, repository, descriptor);
            Ok::<(), Error>(())
        });
        blobs.buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
        for (descriptor, bytes) in &packed.parts {
            let by_digest = repository.with_digest(descriptor.digest.clone());
            put(packed, &by_digest, (&descriptor.media_type, bytes), client).await?;
        }
    }
    let root = (&*packed.root.media_type, &packed.root_bytes);
    for repository in repositories.iter().filter(|_| !packed.referrers.is_empty()) {
        put(packed, &repository.with_digest(packed.root.digest.clone()), root, client).await?;
        for (subject, referrer) in &packed.referrers {
            let pushed = client.push_referrer(repository, subject, referrer).await;
            pushed.map_err(|source| Error::Attachment { subject: subject.to_string(), source })?;
        }
    }
    point(destinations, async |destination| put(packed, destination, root, client).await).await?;
    Ok(PushOutcome { image: packed.root.clone(), pushed: destinations.to_vec() })
}

/// Puts a document, with those blobs that the registry turns out not to know.
async fn put(
    packed: &Packed,
    to: &Reference,
    (media_type, bytes): (&str, &Bytes),
    client: &Client,
) -> Result<(), Error> {
    let send = async |client: &Client, unknown: &[Digest]| {
        let blobs = packed.blobs.iter().map(|(descriptor, blob)| (descriptor, blob.clone()));
        client.push_blobs(to, blobs, unknown).await
    };
    client.push_manifest_of(to, media_type, bytes.clone(), send).await?;
    Ok(())
}
