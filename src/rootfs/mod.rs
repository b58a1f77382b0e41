//! Root file systems on disk: applying layers to them, finding what changed, and writing that as a layer.
//!
//! Knows the disk through [`Tree`] alone, which nothing leaves; knows no registries, no instructions and no
//! processes. Which paths are not the image's is told with the [`Rootfs`]: there is no list in here.
//!
//! *Invariant: what is excluded is neither written, removed nor read; what a layer says never reaches outside
//! of the tree.*

use std::path::{Path, PathBuf};

pub use changes::{Change, ChangeKind, Changes};
pub use contents::Contents;
pub use descent::Descent;
pub use directory::{Directory, FileKind, Inode, Name, Stat};
pub use duplicate::{Old, duplicate, part};
pub use error::Error;
pub use exclusions::{Exclusions, is_at_or_below};
pub use holes::HoleWriter;
pub use nodes::{Nodes, born};
pub use owners::{Owners, Row, is_for_root, mode_on_disk};
pub use pack::pack;
pub use snapshot::Snapshot;
pub use tree::{Device, Tree};
pub use unpack::{Fidelity, unpack};
pub use warning::{Omission, Warning};
pub use xattr::{Xattrs, is_foreign};

mod changes;
mod contents;
mod descent;
mod directory;
mod duplicate;
mod error;
mod exclusions;
mod holes;
#[cfg(test)]
mod listing;
mod nest;
mod nodes;
mod overlay;
mod owners;
mod pack;
mod resolve;
mod snapshot;
mod tree;
mod unpack;
mod walk;
mod warning;
mod xattr;

/// A root file system on disk that a stage works in.
#[derive(Debug)]
pub struct Rootfs {
    /// Its files.
    pub tree: Tree,
    /// Where it is; `/` itself in `container` isolation.
    pub path: PathBuf,
    /// What in it is not the image's (mount points, the state directory …): absolute paths inside it.
    pub excluded: Vec<PathBuf>,
    /// Links of the image that stayed directories, because something that is excluded is below them: where, absolute, and
    /// the link's text. They are excluded, too.
    pub directories_for_links: Vec<(PathBuf, PathBuf)>,
    /// How it is kept on disk.
    pub kind: RootfsKind,
}

/// How a root file system is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootfsKind {
    /// One plain directory.
    Plain,
    /// An overlay mount.
    Overlay {
        /// The directory that receives what is written.
        upper: PathBuf,
    },
}

impl Rootfs {
    /// Takes a directory that is open as a plain root file system, all of it the image's.
    pub fn of(tree: Tree) -> Self {
        let (path, excluded) = (tree.path().to_owned(), Vec::new());
        Self { tree, path, excluded, directories_for_links: Vec::new(), kind: RootfsKind::Plain }
    }

    /// Opens the root file system at `path`.
    pub fn open(path: &Path, excluded: Vec<PathBuf>, kind: RootfsKind) -> Result<Self, Error> {
        let (tree, path) = (Tree::open(path)?, path.to_owned());
        Ok(Self { tree, path, excluded, directories_for_links: Vec::new(), kind })
    }
}

/// Removes a file, or a directory with all below it, however deep; true where it existed.
///
/// # Errors
/// When something cannot be removed.
pub fn remove(path: &Path) -> Result<bool, Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| Error::NoName { path: path.to_owned() })?;
    match Tree::open(parent) {
        Err(error) if error.is_not_found() => Ok(false),
        tree => tree?.remove(Path::new(name)),
    }
}

#[cfg(test)]
mod tests;
