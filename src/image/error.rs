//! What can go wrong with an image's bytes.

use std::io;
use std::path::PathBuf;

use crate::store;

/// A layer that could not be read or written, or a name that an image does not have.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream that holds a layer failed, or its digest was wrong.
    #[error("cannot read the layer after {offset} bytes of its tar stream")]
    Read {
        /// How many bytes of the tar stream had been read.
        offset: u64,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A tar header is malformed.
    #[error("malformed tar header at byte {offset} of the layer: {reason}")]
    Header {
        /// Where the header begins in the tar stream.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry has a path that no file of an image can have.
    #[error("layer entry `{path}` is refused: {reason}")]
    Entry {
        /// The path as the layer has it.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The content of a file could not be read, on its way into a layer or out of one.
    #[error("cannot read the content of {path}")]
    Content {
        /// The file, relative to the root.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A file had another size than its entry says.
    #[error("{path} changed while it was read: it has {found} bytes than the {expected} it had before")]
    Changed {
        /// The file, relative to the root.
        path: PathBuf,
        /// Its size in bytes by its entry.
        expected: u64,
        /// `fewer` or `more`.
        found: &'static str,
    },
    /// A layer could not be compressed or written.
    #[error("cannot write a layer")]
    Write {
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error("cannot keep a layer in the store")]
    Store {
        /// Why it failed.
        #[source]
        source: store::Error,
    },
    /// A kept inventory could not be read or written.
    #[error("cannot read or write the inventory of a layer")]
    InventoryIo {
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A kept inventory is damaged, or of another version.
    #[error("the inventory of a layer is not usable: {reason}")]
    Inventory {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Symbolic links lead in a circle.
    #[error("too many symbolic links on the way to /{path} in the image")]
    Loop {
        /// The path that was looked up, relative to the root.
        path: PathBuf,
    },
    /// A path leads through something that is not a directory.
    #[error("/{path} cannot be reached in the image: /{file} is not a directory")]
    NotDirectory {
        /// The path that was looked up, relative to the root.
        path: PathBuf,
        /// What is in the way.
        file: PathBuf,
    },
    /// A user's name is not in the image.
    #[error("user `{name}` is not in /etc/passwd of the image")]
    User {
        /// The name.
        name: String,
    },
    /// A group's name is not in the image.
    #[error("group `{name}` is not in /etc/group of the image")]
    Group {
        /// The name.
        name: String,
    },
    /// A numeric user or group is out of range.
    #[error("user or group id `{id}` is out of range: ids go from 0 to 2147483647")]
    Id {
        /// The id's text.
        id: String,
    },
    /// Files extracted from layers could not be kept.
    #[error("cannot {action} {path} for files taken out of an image")]
    Spool {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A layer of an image could not be opened.
    #[error("cannot open layer {layer} of an image")]
    Open {
        /// The layer's number, from 0.
        layer: u32,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A layer does not hold an entry that its inventory says it holds.
    #[error("layer {layer} of an image has no regular file as its entry {entry}, which its inventory promises")]
    Missing {
        /// The layer's number, from 0.
        layer: u32,
        /// The entry's number within the layer, from 0.
        entry: u32,
    },
}
