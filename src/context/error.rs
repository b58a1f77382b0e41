//! Why a build context cannot be had.

use std::io;
use std::path::PathBuf;

use crate::dockerfile::ignore::IgnoreError;
use crate::http::{Meaning, download};
use crate::{image, rootfs};

/// What a failure means to whoever decides about another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for is wrong: another try ends the same way.
    Wrong,
    /// Another try may succeed.
    Transient,
    /// Our settings do not fit the server: certificates, proxies.
    Settings,
    /// The server wants other credentials, or any.
    Denied,
    /// This machine's disk.
    Disk,
    /// The build was interrupted.
    Interrupted,
}

impl From<Meaning> for ErrorKind {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Transient => Self::Transient,
            Meaning::Settings => Self::Settings,
            Meaning::Denied => Self::Denied,
            Meaning::Wrong => Self::Wrong,
        }
    }
}

/// A context, Dockerfile or ignore file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context or a file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A named context is not there.
    #[error("there is no build context {} for --build-context {name}", path.display())]
    NoNamedContext {
        /// Its name.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// The context is a file.
    #[error("the build context {} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// What is named within the context is no directory of the context.
    #[error("{what} {}: the build context has no such directory", path.display())]
    NoSubPath {
        /// The flag, or what else names it.
        what: &'static str,
        /// The sub path.
        path: PathBuf,
    },
    /// What is named as Dockerfile is a directory.
    #[error("the Dockerfile {} is a directory", path.display())]
    DockerfileIsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// There is no Dockerfile.
    #[error("there is no Dockerfile {}: neither in the working directory nor in the build context {}", given.display(), context.display())]
    NoDockerfile {
        /// The path that was given.
        given: PathBuf,
        /// The context's directory.
        context: PathBuf,
    },
    /// The context is not there.
    #[error("there is no build context {}", path.display())]
    NoContext {
        /// Where it was to be.
        path: PathBuf,
    },
    /// A Dockerfile or ignore file is a link that leads elsewhere.
    #[error("{} leads out of the build context, or of the directory that --dockerfile names", path.display())]
    LeadsOut {
        /// The path.
        path: PathBuf,
        /// Which link it is, and what it may not leave.
        #[source]
        source: io::Error,
    },
    /// A Dockerfile or ignore file is too large to be one.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is taken, in bytes.
        limit: u64,
    },
    /// The ignore file has a line that is no pattern.
    #[error("{} cannot be used", path.display())]
    Ignore {
        /// The ignore file.
        path: PathBuf,
        /// The line and what is wrong with it.
        #[source]
        source: IgnoreError,
    },
    /// The context cannot be read.
    #[error(transparent)]
    Tree(#[from] rootfs::Error),
    /// A file or directory of ours cannot be made or written.
    #[error("cannot {doing} {} for the build context", path.display())]
    State {
        /// What was tried.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry of an archive or a repository is nothing that a context may hold.
    #[error("the build context's entry `{}` is refused: {reason}", path.display())]
    Entry {
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// What is fetched is larger than it may be.
    #[error("what is fetched is larger than --context-max-size={limit} at `{}`", path.display())]
    TooBig {
        /// Where the limit was met.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The content of a file cannot be read to its end.
    #[error("cannot read the content of {} of the build context", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An archive cannot be read.
    #[error("cannot read {what}")]
    Read {
        /// The archive.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An archive is none, or holds what no context may hold.
    #[error("{what} is not usable as a tar archive")]
    Archive {
        /// The archive.
        what: String,
        /// What is wrong with it.
        #[source]
        source: image::Error,
    },
    /// An archive without entries.
    #[error(
        "{what} has no tar entry in it: a context is a tar archive, plain or compressed by gzip, zstd, bzip2 or xz"
    )]
    Empty {
        /// The archive.
        what: String,
    },
    /// Standard input has no archive or Dockerfile.
    #[error("standard input is a terminal: pipe {what} into it")]
    Terminal {
        /// What is wanted from it.
        what: &'static str,
    },
    /// What was downloaded is something else.
    #[error("{what} has the digest {actual}, but {expected} was asked for")]
    Checksum {
        /// The archive.
        what: String,
        /// What was asked for.
        expected: String,
        /// What came.
        actual: String,
    },
    /// A download failed.
    #[error("cannot fetch {what} ({tried})")]
    Download {
        /// What, without secrets.
        what: String,
        /// Which credentials were used.
        tried: String,
        /// Why.
        #[source]
        source: download::Error,
    },
    /// A server cannot be spoken to, or says what makes no sense.
    #[error("cannot fetch {what} ({tried}): {reason}")]
    Refused {
        /// What, without secrets.
        what: String,
        /// Which credentials were used.
        tried: String,
        /// What the server said, and what to do.
        reason: String,
        /// What it means.
        kind: ErrorKind,
    },
    /// This executor was built without what the form needs.
    #[error("this executor was built without the feature `{feature}`, which {what} needs")]
    NotBuilt {
        /// The form.
        what: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// A signal ended the build.
    #[error("the build was interrupted")]
    Interrupted,
}

impl Error {
    /// Tells what the failure means.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Download { source, .. } => source.meaning().into(),
            Self::Refused { kind, .. } => *kind,
            Self::State { .. } | Self::Tree(_) => ErrorKind::Disk,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Open { .. }
            | Self::NoNamedContext { .. }
            | Self::LeadsOut { .. }
            | Self::NotADirectory { .. }
            | Self::NoSubPath { .. }
            | Self::NoContext { .. }
            | Self::DockerfileIsDirectory { .. }
            | Self::NoDockerfile { .. }
            | Self::TooLarge { .. }
            | Self::Ignore { .. }
            | Self::Entry { .. }
            | Self::TooBig { .. }
            | Self::Content { .. }
            | Self::Read { .. }
            | Self::Archive { .. }
            | Self::Empty { .. }
            | Self::Terminal { .. }
            | Self::Checksum { .. }
            | Self::NotBuilt { .. } => ErrorKind::Wrong,
        }
    }
}
