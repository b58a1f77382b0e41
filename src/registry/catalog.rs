//! What a repository holds, for those who keep documents of their own in it: tags, manifests as bytes, sizes of blobs.

use bytes::Bytes;

use super::host::{Purpose, Wanted};
use super::mirrors::Place;
use super::pull::{manifest, manifest_call};
use super::{Client, Error};
use crate::http::{Method, Retry, Url};
use crate::oci::{Descriptor, Digest, Reference};

/// How many tags are asked for at a time.
const PAGE: usize = 1000;
/// How many pages are read at most: a registry that leads in a circle must not hold us.
const MOST_PAGES: usize = 1000;
const LARGEST_PAGE: usize = 4 << 20;

impl Client {
    /// Gets the manifest that a tag or digest names, as it is; none where there is none.
    ///
    /// # Errors
    /// [`Error`]; of kind `Invalid` when the bytes are not what a digest says.
    pub async fn manifest(&self, reference: &Reference) -> Result<Option<(Bytes, Digest)>, Error> {
        let mut places = self.places(reference);
        loop {
            let (place, retry) = places.next()?;
            match self.manifest_at(&place, retry).await {
                Ok((bytes, digest, _)) => {
                    places.answered(&place);
                    return Ok(Some((bytes, digest)));
                }
                Err(error) => match places.failed(&place, error) {
                    Ok(()) => {}
                    Err(error) if error.kind() == super::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    async fn manifest_at(&self, place: &Place, retry: Retry) -> Result<(Bytes, Digest, String), Error> {
        let wanted = Wanted { purpose: Purpose::Pull, operation: "pull the manifest of", retry };
        let target = self.target_as(place, wanted, None).await?;
        manifest(&target, place.reference.identifier(), place.reference.digest.as_ref()).await
    }

    /// Returns the size in bytes that a repository says a blob has; none where it has no such blob.
    ///
    /// # Errors
    /// [`Error`] when the registry does not answer that.
    pub async fn blob_size(&self, repository: &Reference, descriptor: &Descriptor) -> Result<Option<u64>, Error> {
        let reference = repository.with_digest(descriptor.digest.clone());
        let target = self.target(&reference, Purpose::Pull, "look for the blob", None).await?;
        let url = target.url(&format!("blobs/{}", descriptor.digest))?;
        let response = target.send(target.call(Method::HEAD, url)).await?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        let response = target.expect(response, &[200]).await?;
        // A registry that does not tell the length has the manifest all the same.
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        Ok(Some(length.unwrap_or(descriptor.size)))
    }

    /// Returns the tags of a repository; none where there is no such repository.
    ///
    /// # Errors
    /// [`Error`] when the registry does not list them.
    pub async fn tags(&self, repository: &Reference) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let target = self.target(repository, Purpose::Pull, "list the tags of", None).await?;
        let mut tags = Vec::new();
        let mut next: Option<Url> = Some(target.url(&format!("tags/list?n={PAGE}"))?);
        for _ in 0..MOST_PAGES {
            let Some(url) = next.take() else { break };
            let response = target.send(target.call(Method::GET, url.clone())).await?;
            if response.status().as_u16() == 404 {
                break;
            }
            let response = target.expect(response, &[200]).await?;
            let link = response.header("link").and_then(following);
            next = link.and_then(|link| url.join(&link).ok()).filter(|next| next.origin() == url.origin());
            let bytes = response.bytes(LARGEST_PAGE).await.map_err(|source| target.transport(source))?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| target.protocol(format!("its list of tags is malformed: {error}")))?;
            tags.extend(page.tags.unwrap_or_default());
        }
        Ok(tags)
    }

    /// Removes a manifest by its digest, and with it all tags that point to it.
    ///
    /// # Errors
    /// [`Error`]: many registries do not allow it.
    pub async fn delete_manifest(&self, repository: &Reference, digest: &Digest) -> Result<(), Error> {
        let reference = repository.with_digest(digest.clone());
        let target = self.target(&reference, Purpose::Delete, "delete the manifest", None).await?;
        let response = target.send(manifest_call(&target, Method::DELETE, digest.as_str())?).await?;
        // One that is gone already was deleted by somebody else.
        target.expect(response, &[200, 202, 204, 404]).await.map(drop)
    }
}

/// Reads the URL of a `Link: <url>; rel="next"` header. Source: OCI distribution-spec, "Listing Tags".
pub(super) fn following(link: &str) -> Option<String> {
    let (url, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_read_from_its_link() {
        for (link, url) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b")),
            ("</v2/a>; rel=\"prev\"", None),
            ("nonsense", None),
        ] {
            assert_eq!(following(link).as_deref(), url, "{link}");
        }
    }
}
