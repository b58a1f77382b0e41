//! Why files cannot be copied.

use std::io;
use std::path::PathBuf;

use crate::dockerfile::ignore::IgnoreError;
use crate::{image, rootfs};

/// How messages call a directory that files are copied from.
pub(super) const CONTEXT: &str = "the build context";
/// How messages call an image or a stage that files are copied from.
pub(super) const IMAGE: &str = "the image that it is copied from";

/// A COPY, ADD or WORKDIR that fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source does not exist.
    #[error("`{}` is not in {place}", path.display())]
    NotFound {
        /// The source, as named.
        path: PathBuf,
        /// What it is looked for in: [`CONTEXT`] or [`IMAGE`].
        place: &'static str,
    },
    /// A source does not exist, and another one has nearly its name.
    #[error("`{}` is not in {place}", path.display())]
    Misspelt {
        /// The source, as named.
        path: PathBuf,
        /// What it is looked for in: [`CONTEXT`] or [`IMAGE`].
        place: &'static str,
        /// The one that exists.
        near: PathBuf,
    },
    /// A source is, or is below, a symbolic link to what is not there.
    #[error("`{}` in the build context is a symbolic link to `{}`, and the context has nothing there", path.display(), target.display())]
    Dangling {
        /// The link, as named.
        path: PathBuf,
        /// What it has as its target.
        target: PathBuf,
    },
    /// The links of a source never lead anywhere.
    #[error("`{}` in the source goes through symbolic links that lead in a circle", path.display())]
    Circle {
        /// The source, as named.
        path: PathBuf,
    },
    /// A source is left out of the context.
    #[error("`{}` is excluded from the build context by {pattern}", path.display())]
    Ignored {
        /// The source, as named.
        path: PathBuf,
        /// The pattern and its line.
        pattern: String,
    },
    /// A wildcard that is none.
    #[error("`{pattern}` is not a valid pattern")]
    Pattern {
        /// The source, as named.
        pattern: String,
    },
    /// `--exclude` or `--parents` with something that is no pattern.
    #[error("a pattern cannot be used")]
    Filter {
        /// Which, and why.
        #[source]
        source: IgnoreError,
    },
    /// A directory should be made where something else is.
    #[error("`{}` in the image is not a directory", path.display())]
    NotADirectory {
        /// The path in the image.
        path: PathBuf,
    },
    /// A file should be put where a directory is.
    #[error("`{}` in the image is a directory: a file cannot replace it", path.display())]
    ReplacesDirectory {
        /// The path in the image.
        path: PathBuf,
    },
    /// A socket, which no layer can hold.
    #[error("`{}` is a socket, which an image cannot hold", path.display())]
    Socket {
        /// Its path in the context.
        path: PathBuf,
    },
    /// `--chown` or USER names somebody that the image does not know.
    #[error("cannot find the owner `{owner}` in the image")]
    Owner {
        /// The text.
        owner: String,
        /// Which part is not known.
        #[source]
        source: image::Error,
    },
    /// A source cannot be read.
    #[error("cannot read `{}`", path.display())]
    ReadSource {
        /// The source's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An archive that ADD should unpack is broken.
    #[error("cannot unpack the archive `{}`", path.display())]
    Archive {
        /// Its path in the context.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: image::Error,
    },
    /// An entry of an archive is below a link that leads nowhere.
    #[error(
        "`{}` of the archive is below a symbolic link that leads to what is not in {}: an archive is unpacked with its \
         destination as the root",
        path.display(), root.display()
    )]
    LeadsOut {
        /// The directory that the entry is in, from the archive's root.
        path: PathBuf,
        /// The destination in the image.
        root: PathBuf,
    },
    /// A file of ours in the state directory cannot be used.
    #[error("cannot use the temporary file {}", path.display())]
    Spool {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What a source of ADD names was not fetched before.
    #[error("a source of ADD was not fetched")]
    NotFetched,
    /// A file of the source image was not found in its layers.
    #[error("`{}` could not be found in the layers of the source image", path.display())]
    NotExtracted {
        /// The path.
        path: PathBuf,
    },
    /// The context, or a root file system, cannot be read.
    #[error(transparent)]
    Tree(#[from] rootfs::Error),
    /// The layer cannot be written, or links in the image lead in a circle.
    #[error(transparent)]
    Layer(#[from] image::Error),
}
