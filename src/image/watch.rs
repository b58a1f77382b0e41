//! Those who look at the contents of a layer's files while they pass, so that no layer is read twice.

use std::path::Path;

use super::{Entry, EntryKind};
use crate::oci::Digest;

/// Looks at the regular files of one layer, one after the other.
pub trait Watch: Send {
    /// A file begins: the number of its entry in the layer's inventory, its path relative to the root, its size in bytes.
    /// Tells whether its content is wanted.
    fn begin(&mut self, entry: u32, path: &Path, size: u64) -> bool;

    /// The next piece of the file; tells whether more is wanted.
    fn content(&mut self, bytes: &[u8]) -> bool;

    /// No more of the file comes.
    fn end(&mut self);

    /// The layer is at its end; its digest where it was made on the way.
    fn finish(self: Box<Self>, made: Option<&Digest>);
}

/// One who watches, if any, and whether the current file is of interest.
#[derive(Default)]
pub(super) struct Watched {
    watch: Option<Box<dyn Watch>>,
    is_open: bool,
    /// Whether more of the current file is wanted.
    pub(super) wants: bool,
}

impl Watched {
    pub(super) fn by(watch: Option<Box<dyn Watch>>) -> Self {
        Self { watch, is_open: false, wants: false }
    }

    /// Takes note of an entry, the one of this number.
    pub(super) fn entry(&mut self, number: usize, entry: &Entry) {
        self.end();
        if let (EntryKind::File { size }, Some(watch)) = (&entry.kind, &mut self.watch) {
            self.wants = watch.begin(u32::try_from(number).unwrap_or(u32::MAX), &entry.path, *size);
            self.is_open = self.wants;
            self.wants &= *size > 0;
        }
    }

    /// Takes note of bytes of the current entry.
    pub(super) fn content(&mut self, bytes: &[u8]) {
        if let Some(watch) = self.watch.as_mut().filter(|_| self.wants) {
            self.wants = watch.content(bytes);
        }
    }

    /// Takes note of the end of the current entry.
    pub(super) fn end(&mut self) {
        if let Some(watch) = self.watch.as_mut().filter(|_| self.is_open) {
            watch.end();
        }
        self.is_open = false;
        self.wants = false;
    }

    /// Takes note of the end of the layer.
    pub(super) fn finish(mut self, made: Option<&Digest>) {
        self.end();
        if let Some(watch) = self.watch {
            watch.finish(made);
        }
    }
}
