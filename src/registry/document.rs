//! A manifest or an index as it is, by its digest.

use bytes::Bytes;

use super::host::Purpose;
use super::pull::manifest;
use super::{Client, Error};
use crate::oci::Reference;

impl Client {
    /// Gets the bytes of a manifest or an index; those of a pinned reference are verified.
    ///
    /// # Errors
    /// [`Error`]: of kind `NotFound` when there is none, of kind `Invalid` when it is not what its digest says.
    pub async fn document(&self, reference: &Reference) -> Result<Bytes, Error> {
        let target = self.target(reference, Purpose::Pull, "pull the manifest of", None).await?;
        let (bytes, ..) = manifest(&target, reference.identifier(), reference.digest.as_ref()).await?;
        Ok(bytes)
    }
}
