//! The images that a Dockerfile names: where in its bytes they stand, and what stands there once they have digests.
//!
//! Knows FROM, `COPY --from`, `RUN --mount=from` and the ARGs before the first FROM that stand for images. Does not know
//! any registry.
//!
//! *Invariant*: no byte changes but those of a reference; what is not plainly the reference of one image is left, with the
//! reason.

mod argument;
mod find;
#[cfg(test)]
mod tests;

use super::lint::position;
use super::{ParseError, parse};
use crate::oci::{DEFAULT_TAG, Digest, Reference};

/// What a Dockerfile says of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// Those whose digest can be written down, in the order of the file.
    pub named: Vec<Named>,
    /// The others, in the order of the file.
    pub left: Vec<Left>,
}

/// An image that the file names in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The instruction that names it, or that gives the name its value: `FROM`, `COPY`, `RUN`, `ARG`.
    pub instruction: &'static str,
    /// The line of the reference, from 1.
    pub line: usize,
    /// Its column, from 1, in characters.
    pub column: usize,
    /// What it means.
    pub reference: Reference,
    /// The whole reference, as it is written.
    pub written: String,
    /// How much of its beginning stands elsewhere: before the variable whose value this is.
    before: usize,
    /// The offset in the file of the rest.
    start: usize,
}

/// An image that keeps its name as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is written there.
    pub written: String,
    /// Why it is left.
    pub reason: String,
    /// Whether the next build may use another image than the last one.
    pub is_open: bool,
}

/// A change of the file: these bytes become others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    start: usize,
    end: usize,
    text: String,
}

impl Named {
    /// Tells whether it has a digest already.
    pub fn is_pinned(&self) -> bool {
        self.reference.digest.is_some()
    }

    /// Returns the tag's name, without the digest; none where there is a digest alone.
    pub fn tagged(&self) -> Option<Reference> {
        self.reference.tag.as_ref().map(|_| Reference { digest: None, ..self.reference.clone() })
    }

    /// Returns the reference, written as before but with this digest.
    pub fn pinned(&self, digest: &Digest) -> String {
        let name = self.written.split_once('@').map_or(&*self.written, |(name, _)| name);
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        match &self.reference.tag {
            // What has no tag means this one, and the next reader should see of which tag the digest was.
            Some(_) if !has_tag => format!("{name}:{DEFAULT_TAG}@{digest}"),
            Some(_) | None => format!("{name}@{digest}"),
        }
    }

    /// Returns the change that writes this digest down.
    pub fn edit(&self, digest: &Digest) -> Edit {
        let text = self.pinned(digest)[self.before..].to_owned();
        Edit { start: self.start, end: self.start + self.written.len() - self.before, text }
    }
}

/// Finds the images that a Dockerfile names.
///
/// # Errors
/// When it is not valid.
pub fn images(text: &[u8]) -> Result<Images, ParseError> {
    let dockerfile = parse(text)?;
    let mut images = find::find(text, &dockerfile)?;
    images.named.sort_by_key(|named| (named.start, named.before));
    images.named.dedup_by_key(|named| named.start);
    images.left.sort_by_key(|left| (left.line, left.column));
    Ok(images)
}

/// Returns the file with all changes made.
pub fn rewritten(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.start);
    let (mut result, mut at) = (Vec::with_capacity(text.len() + 80 * edits.len()), 0);
    for edit in edits {
        result.extend_from_slice(&text[at..edit.start]);
        result.extend_from_slice(edit.text.as_bytes());
        at = edit.end;
    }
    result.extend_from_slice(&text[at..]);
    result
}
