//! Why something is neither read nor written.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

/// What stands at a path is not what it may be. It is the source of an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A link leads out of where it stands.
    #[error("the symbolic link {} leads out of {}", link.display(), region.display())]
    LeadsOut {
        /// The link.
        link: PathBuf,
        /// What it must not leave.
        region: PathBuf,
    },
    /// A directory on the way is a link.
    #[error(
        "{} is a symbolic link, and nothing is written through links of {}; name the directory that it leads to",
        link.display(),
        region.display()
    )]
    Link {
        /// The link.
        link: PathBuf,
        /// Where it stands.
        region: PathBuf,
    },
    /// There is something else than a file.
    #[error("it is {kind}, and no file")]
    Kind {
        /// What it is.
        kind: &'static str,
    },
    /// A file has another name elsewhere, so that writing into it would change that, too.
    #[error("it has other names, and cannot be replaced in its directory")]
    Linked,
    /// Nobody reads a named pipe.
    #[error("it is a named pipe that nobody reads")]
    Unread,
    /// A file is too large.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The largest size that is taken, in bytes.
        limit: u64,
    },
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::other(refused)
    }
}

/// Returns what was refused, if that is what an error is about.
pub fn refused(error: &io::Error) -> Option<&Refused> {
    error.get_ref().and_then(|inner| inner.downcast_ref()).or_else(|| error.source()?.downcast_ref())
}

pub(super) fn link(link: &Path, region: &Path) -> io::Error {
    Refused::Link { link: link.to_owned(), region: region.to_owned() }.into()
}
