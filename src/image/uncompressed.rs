//! A layer's content, held to what its image says of it.

use std::io::{self, Read};

use super::decompressed;
use crate::oci::{DiffId, Digest};
use crate::store::Verified;

/// A layer whose bytes are other ones than the configuration of its image says.
#[derive(Debug, thiserror::Error)]
#[error("its content has digest {found}, and the configuration of its image says {expected}")]
pub struct OtherContent {
    expected: Digest,
    found: Digest,
}

/// Decompresses a layer's blob; the read that reaches its end fails with [`OtherContent`] where the image's configuration
/// names other bytes.
///
/// # Errors
/// As [`decompressed`].
pub fn uncompressed(blob: impl Read + Send + 'static, diff_id: &DiffId) -> io::Result<Box<dyn Read + Send>> {
    let other = |expected, found| io::Error::new(io::ErrorKind::InvalidData, OtherContent { expected, found });
    Ok(Box::new(Verified::or(decompressed(blob)?, diff_id.0.clone(), other)))
}
