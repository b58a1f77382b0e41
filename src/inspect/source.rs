//! Where an image is, and how one reads what belongs to it.

use std::io::{Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::Error;
use crate::oci::{Descriptor, Digest, Document, Reference};
use crate::output::Packed;
use crate::registry::{Client, read_blocking};
use crate::store::Verified;

/// An image, or an index of images, wherever it is; cheap to clone.
#[derive(Clone)]
pub enum Source {
    /// In a registry.
    Registry {
        /// What speaks to it.
        client: Client,
        /// What it is called there.
        reference: Reference,
    },
    /// In a directory or a file.
    Packed {
        /// For messages.
        name: String,
        /// The image.
        packed: Arc<Packed>,
    },
}

impl Source {
    /// Returns what the image is called.
    pub fn name(&self) -> String {
        match self {
            Self::Registry { reference, .. } => reference.to_string(),
            Self::Packed { name, .. } => name.clone(),
        }
    }

    /// Says what is wrong with the image.
    pub(super) fn unfit(&self, reason: impl Into<String>) -> Error {
        Error::Unfit { name: self.name(), reason: reason.into() }
    }

    /// Reads what the name leads to.
    pub(super) async fn root(&self) -> Result<(Descriptor, Document), Error> {
        let bytes = match self {
            Self::Registry { client, reference } => {
                let found = client.manifest(reference).await?;
                found.ok_or_else(|| Error::NoImage { name: self.name() })?.0
            }
            Self::Packed { packed, .. } => packed.root_bytes.clone(),
        };
        let parsed = self.parsed(Document::parse_alone(&bytes), &Digest::of(&bytes))?;
        let media_type = match &parsed {
            Document::Manifest(manifest) => &manifest.media_type,
            Document::Index(index) => &index.media_type,
        };
        Ok((Descriptor::of(media_type, &bytes), parsed))
    }

    /// Reads a manifest or index that another document names.
    pub(super) async fn document(&self, descriptor: &Descriptor) -> Result<Document, Error> {
        let digest = &descriptor.digest;
        let bytes = match self {
            Self::Registry { client, reference } => {
                client.manifest(&reference.with_digest(digest.clone())).await?.map(|(bytes, _)| bytes)
            }
            Self::Packed { packed, .. } => {
                let part = packed.parts.iter().find(|(part, _)| part.digest == *digest).map(|(_, bytes)| bytes);
                let referrer = packed.referrers.iter().find(|(_, written)| written.descriptor.digest == *digest);
                part.or(referrer.map(|(_, written)| &written.manifest)).cloned()
            }
        };
        let bytes = bytes.ok_or_else(|| self.unfit(format!("its document {digest} is not there")))?;
        self.parsed(Document::parse(&descriptor.media_type, &bytes), digest)
    }

    fn parsed(&self, parsed: Result<Document, crate::oci::ManifestError>, digest: &Digest) -> Result<Document, Error> {
        parsed.map_err(|source| Error::Manifest { name: self.name(), digest: digest.clone(), source })
    }

    /// Reads a blob of at most `largest` bytes.
    pub(super) async fn blob(&self, descriptor: &Descriptor, largest: u64) -> Result<Bytes, Error> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > largest {
            return Err(self.unfit(format!("{digest} has {size} bytes, more than {largest}")));
        }
        match self {
            Self::Registry { client, reference } => Ok(client.whole_blob(reference, descriptor).await?),
            Self::Packed { packed, .. } => {
                let mut bytes = Vec::new();
                let mut reader = self.opened(packed, digest)?.take(size + 1);
                let read = reader.read_to_end(&mut bytes);
                read.map_err(|error| self.unfit(format!("{digest}: {error}")))?;
                Ok(bytes.into())
            }
        }
    }

    /// Opens a layer as its registry or file has it; the read that reaches its end fails where its digest is another one.
    /// To be read by blocking code.
    pub(super) async fn layer(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        match self {
            Self::Registry { client, reference } => {
                let stream = client.blob(reference, descriptor).await?;
                Ok(Box::new(read_blocking(stream, &Handle::current())))
            }
            Self::Packed { packed, .. } => self.opened(packed, &descriptor.digest),
        }
    }

    fn opened(&self, packed: &Packed, digest: &Digest) -> Result<Box<dyn Read + Send>, Error> {
        let of_referrer = || {
            let mut blobs = packed.referrers.iter().flat_map(|(_, written)| &written.blobs);
            let (_, bytes) = blobs.find(|(descriptor, _)| descriptor.digest == *digest)?;
            let reader = Verified::new(Cursor::new(bytes.clone()), digest.clone());
            Some(Box::new(reader) as Box<dyn Read + Send>)
        };
        packed.open(digest).or_else(of_referrer).ok_or_else(|| self.unfit(format!("its blob {digest} is not there")))
    }

    /// Lists what refers to an image.
    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        match self {
            Self::Registry { client, reference } => Ok(client.referrers(reference, subject, None).await?),
            Self::Packed { packed, .. } => {
                let of_it = packed.referrers.iter().filter(|(of, _)| of == subject);
                Ok(of_it.map(|(_, written)| written.descriptor.clone()).collect())
            }
        }
    }
}
