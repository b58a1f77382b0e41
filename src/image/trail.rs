//! Where the last look-up in an inventory led.
//!
//! *Invariant: looking up the files of a tree in order costs a step or two each, however deep the tree is.*

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::node_id::{NodeId, ROOT};

/// The directories from the root to where the last look-up led: what comes next mostly stands beside what came before.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    path: Vec<u8>,
    /// The directories below the root, and where the path of each ends.
    directories: Vec<(usize, NodeId)>,
    /// Whether symbolic links lead to the first of them.
    linked: bool,
}

impl Trail {
    /// The path of the last directory, as it was asked for.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last directory.
    pub(super) fn end(&self) -> NodeId {
        self.directories.last().map_or(ROOT, |(_, directory)| *directory)
    }

    /// Goes up to the last directory that is on the way to `path`.
    pub(super) fn return_to(&mut self, path: &[u8]) {
        while let Some((end, _)) = self.directories.last()
            && !path
                .strip_prefix(&self.path[..*end])
                .is_some_and(|rest| *end == 0 || rest.first().is_none_or(|next| *next == b'/'))
        {
            self.directories.pop();
        }
        self.shorten();
    }

    fn shorten(&mut self) {
        self.path.truncate(self.directories.last().map_or(0, |(end, _)| *end));
        self.linked &= !self.directories.is_empty();
    }

    pub(super) fn enter(&mut self, name: &[u8], directory: NodeId) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.directories.push((self.path.len(), directory));
    }

    /// Takes note that `path` leads to a directory, through links.
    pub(super) fn jump(&mut self, path: &Path, directory: NodeId) -> NodeId {
        let path = path.as_os_str().as_bytes();
        self.path = path.to_owned();
        self.directories = vec![(path.len(), directory)];
        self.linked = true;
        directory
    }

    /// Takes note that a file is gone that is none of those without a way through.
    pub(super) fn forget(&mut self, gone: NodeId) {
        let place = self.directories.iter().position(|(_, directory)| *directory == gone);
        // Which link leads to the first directory is not known.
        if let Some(kept) = if self.linked { Some(0) } else { place } {
            self.directories.truncate(kept);
            self.shorten();
        }
    }
}
