//! The files of the executor's own container that every RUN gets: who resolves names, and which are known.

use std::fs;

/// Contents of `resolv.conf` and `hosts`, read once at the start.
#[derive(Clone, Debug, Default)]
pub(super) struct HostFiles {
    files: Vec<(&'static str, Vec<u8>)>,
}

impl HostFiles {
    /// Reads them; one that is not there is not given to RUN either.
    pub(super) fn read() -> Self {
        let read = |path| Some((path, fs::read(path).ok()?));
        Self { files: ["/etc/resolv.conf", "/etc/hosts"].into_iter().filter_map(read).collect() }
    }

    /// Each file's path and content.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.iter().map(|(path, content)| (*path, content.as_slice()))
    }
}
