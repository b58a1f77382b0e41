//! References that an image is pushed to.

use super::UsageError;
use crate::oci::Reference;

/// Reads a `--destination`.
pub(super) fn read(text: &str) -> Result<Reference, UsageError> {
    let error = |reason: String| UsageError::Value { flag: "--destination", value: text.to_owned(), reason };
    let reference: Reference = text.parse().map_err(|e: crate::oci::ReferenceError| error(e.reason))?;
    match reference.digest {
        Some(_) => Err(error("an image's digest is not known before it is built; give a tag, or none".to_owned())),
        None => Ok(reference),
    }
}

/// Takes the tags away, and what is then twice.
pub(super) fn untagged(destinations: Vec<Reference>) -> Vec<Reference> {
    let mut distinct: Vec<Reference> = Vec::new();
    for destination in destinations {
        let destination = Reference { tag: None, ..destination };
        if !distinct.contains(&destination) {
            distinct.push(destination);
        }
    }
    distinct
}
