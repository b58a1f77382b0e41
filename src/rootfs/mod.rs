//! (to come)

use std::path::PathBuf;

/// A root file system on disk that a stage works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// Where it is; `/` itself in `container` isolation.
    pub path: PathBuf,
    /// What in it is not the image's (mount points, the state directory …): absolute paths inside it.
    pub excluded: Vec<PathBuf>,
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
