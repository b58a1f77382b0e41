//! The build context, brought here as a [`Tree`], and the Dockerfile and ignore file that go with it.
//!
//! Knows where contexts come from; knows neither what a Dockerfile says nor images.
//!
//! *Invariant: the context is only read. Nothing in it is written, chowned or touched, and no path that is looked
//! up in it leaves it. What is fetched goes below the state directory.*

mod access;
mod archive;
#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "s3", feature = "gcs"))]
mod bucket;
mod clone;
mod content;
mod dockerfile;
mod error;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "git")]
mod git;
mod https;
mod means;
mod netrc;
mod remote;
#[cfg(feature = "s3")]
mod s3;
mod stream;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use crate::dockerfile::ignore::Patterns;
use crate::http::Url;
use crate::outcome::{ContextOrigin, SourceUsed};
use crate::place::Scope;
use crate::request::{BuildRequest, ContextSource, DockerfileSource, NamedContext};
use crate::rootfs::Tree;

use means::{Fetched, below};

pub use access::{Access, AzureAccess, GitAccess, Login, S3Access, Secret};
pub use content::seal;
pub use dockerfile::{Dockerfile, LARGEST_DOCKERFILE};
pub use error::{Error, ErrorKind};
pub use means::Means;
pub use remote::{Checkout, Download, clone, commit, download};

/// A build context that is here.
#[derive(Debug)]
pub struct Context {
    /// Its files.
    pub tree: Tree,
    /// The Dockerfile.
    pub dockerfile: Dockerfile,
    /// What is left out of the context.
    pub ignore: Patterns,
    /// What is known of a context that was fetched.
    pub origin: Option<ContextOrigin>,
    /// The commit of a context that is a clone on this machine, or in one.
    pub clone: Option<SourceUsed>,
    /// The directory that is not there, where the context was to be one; its tree then is empty.
    pub missing: Option<PathBuf>,
    /// Further contexts, by the name that FROM and `--from` give them.
    pub named: BTreeMap<String, Files>,
    /// When it was changed last.
    pub changed: Changed,
}

impl Context {
    /// Returns the commit that the context is, as far as that is known.
    pub fn source(&self) -> Option<&SourceUsed> {
        self.origin.as_ref().and_then(|origin| origin.source.as_ref()).or(self.clone.as_ref())
    }
}

/// A named context that is here.
#[derive(Debug)]
pub struct Files {
    /// Its files.
    pub tree: Tree,
    /// What is left out of it.
    pub ignore: Patterns,
    /// When it was changed last.
    pub changed: Changed,
    /// What is known of one that was fetched; only where something is to be said of it, since its files are read for that.
    pub origin: Option<ContextOrigin>,
}

/// When files were changed last, which is the same wherever they are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Unknown: a directory that is here has the times of whoever wrote it here.
    Unknown,
    /// At this time, in seconds since 1970: a commit's, or what the server says.
    At(i64),
    /// When the newest of them was changed.
    Newest,
}

impl Changed {
    /// Returns the time in seconds since 1970 for the files of `tree`; none where it is unknown.
    ///
    /// # Errors
    /// [`Error`] when the tree cannot be read.
    pub fn seconds(self, tree: &Tree) -> Result<Option<i64>, Error> {
        match self {
            Self::Unknown => Ok(None),
            Self::At(seconds) => Ok(Some(seconds)),
            Self::Newest => content::newest(tree),
        }
    }
}

/// Returns the URL whose server a login for `https` is meant for: the context's, else the Dockerfile's.
pub fn main_origin(request: &BuildRequest) -> Option<Url> {
    let url = match (&request.context, &request.dockerfile) {
        (ContextSource::Https(source), _) => &source.url,
        (_, DockerfileSource::Url(url)) => url,
        _ => return None,
    };
    url.0.parse().ok()
}

/// Brings the requested context here and reads its Dockerfile and its ignore file.
///
/// # Errors
/// [`Error`] when the context or the Dockerfile is not there, or cannot be read.
pub fn fetch(request: &BuildRequest, means: &Means<'_>) -> Result<Context, Error> {
    let brought = bring(&request.context, "context", request.context_max_size, means);
    let (brought, missing) = match brought {
        Ok(brought) => (brought, None),
        Err(error) => instead(error, request, means)?,
    };
    let changed = brought.changed();
    let root = brought.tree.path().to_owned();
    let scope = Scope { directory: &root, is_whole: brought.fetched.is_some() };
    let tree = match &request.context_sub_path {
        Some(sub_path) => below(&brought.tree, sub_path, "--context-sub-path")?,
        None => brought.tree,
    };
    let files = dockerfile::Files { tree: &tree, scope };
    let (dockerfile, beside) =
        dockerfile::read(&request.dockerfile, &files, means).map_err(|error| match &missing {
            Some(path) => Error::Open { path: path.clone(), source: io::ErrorKind::NotFound.into() },
            None => error,
        })?;
    let ignore = dockerfile::read_ignore(&beside, &files, means)?;
    let origin = brought.fetched.map(|fetched| known(fetched, &tree)).transpose()?;
    let mut named = BTreeMap::new();
    for (number, (name, context)) in request.named_contexts.iter().enumerate() {
        let directory = format!("named-{number}");
        let (tree, changed, fetched) = match context {
            NamedContext::Files(source) => {
                let brought = bring(source, &directory, request.context_max_size, means);
                let brought = brought.map_err(|error| match error {
                    Error::Open { path, source } if source.kind() == io::ErrorKind::NotFound => {
                        Error::NoNamedContext { name: name.clone(), path }
                    }
                    error => error,
                })?;
                let changed = brought.changed();
                (brought.tree, changed, brought.fetched)
            }
            NamedContext::Scratch => {
                let tree = writer::Writer::create(&means.state.join(directory), 0)?.finish()?;
                (tree, Changed::Unknown, Some(Fetched::default()))
            }
            NamedContext::Image(_) | NamedContext::Layout { .. } => continue,
        };
        let scope = Scope { directory: tree.path(), is_whole: fetched.is_some() };
        let ignore = dockerfile::own_ignore(&dockerfile::Files { tree: &tree, scope })?;
        let fetched = fetched.filter(|_| request.attestations.is_wanted());
        let origin = fetched.map(|fetched| known(fetched, &tree)).transpose()?;
        named.insert(name.clone(), Files { tree, ignore, changed, origin });
    }
    let clone = match &request.context {
        ContextSource::Directory(path) => clone::commit_of(path),
        _ => None,
    };
    Ok(Context { tree, dockerfile, ignore, origin, clone, missing, named, changed })
}

/// Returns an empty context, and the directory that is not there, where that is why there is none: a Dockerfile from
/// elsewhere that takes nothing from it needs none, and kaniko does not look.
fn instead(error: Error, request: &BuildRequest, means: &Means<'_>) -> Result<(Brought, Option<PathBuf>), Error> {
    match error {
        Error::Open { path, source }
            if source.kind() == io::ErrorKind::NotFound
                && request.context_sub_path.is_none()
                && request.context == ContextSource::Directory(path.clone()) =>
        {
            let empty = means.state.join("no-context");
            fs::create_dir_all(&empty).map_err(|source| Error::Open { path: empty.clone(), source })?;
            Ok((Brought { tree: open(&empty)?, fetched: None }, Some(path)))
        }
        error => Err(error),
    }
}

/// Reads a Dockerfile that has no context.
///
/// # Errors
/// [`Error`] when it is not there, or cannot be read.
pub fn read_dockerfile(source: &DockerfileSource, means: &Means<'_>) -> Result<Dockerfile, Error> {
    dockerfile::read_alone(source, means)
}

/// Files that are here, and what is known of their way if they were fetched.
struct Brought {
    tree: Tree,
    fetched: Option<Fetched>,
}

impl Brought {
    fn changed(&self) -> Changed {
        match &self.fetched {
            None => Changed::Unknown,
            Some(Fetched { changed: Some(seconds), .. }) => Changed::At(*seconds),
            Some(Fetched { changed: None, .. }) => Changed::Newest,
        }
    }
}

fn known(fetched: Fetched, tree: &Tree) -> Result<ContextOrigin, Error> {
    let source = fetched.url.clone().zip(fetched.commit).map(|(url, commit)| SourceUsed { url, commit });
    Ok(ContextOrigin { content: content::digest(tree)?, url: fetched.url, source })
}

/// Brings files here; those that are not here yet go into the directory `name` below the state directory.
fn bring(source: &ContextSource, name: &str, limit: u64, means: &Means<'_>) -> Result<Brought, Error> {
    let directory = means.state.join(name);
    let (tree, fetched) = match source {
        ContextSource::Directory(path) => return Ok(Brought { tree: open(path)?, fetched: None }),
        ContextSource::Tar(path) => {
            let file = File::open(path).map_err(|source| Error::Open { path: path.clone(), source })?;
            (unpacked(&path.display().to_string(), file, &directory, limit, means)?, Fetched::default())
        }
        ContextSource::Stdin => {
            if io::stdin().is_terminal() {
                return Err(Error::Terminal { what: "a tar archive" });
            }
            (unpacked("standard input", io::stdin(), &directory, limit, means)?, Fetched::default())
        }
        ContextSource::Https(source) => {
            let archive = https::archive(source, means)?;
            let writer = stream::fetch(&archive, &directory, limit, means)?;
            let changed = writer.modified.map(|modified| modified.seconds);
            (writer.finish()?, Fetched { url: Some(archive.remote.what), commit: None, changed })
        }
        ContextSource::Git(source) => from_git(source, &directory, limit, means)?,
        ContextSource::Gcs(source) => from_gcs(source, &directory, limit, means)?,
        ContextSource::S3(source) => from_s3(source, &directory, limit, means)?,
        ContextSource::Azblob(url) => from_azure(url, &directory, limit, means)?,
    };
    Ok(Brought { tree, fetched: Some(fetched) })
}

/// Defines how a form is fetched, and how it is refused in an executor that was built without its feature.
macro_rules! form {
    ($name:ident, $source:ty, $feature:literal, $what:literal, $fetch:path) => {
        #[cfg(feature = $feature)]
        use $fetch as $name;

        #[cfg(not(feature = $feature))]
        fn $name(_: &$source, _: &Path, _: u64, _: &Means<'_>) -> Result<(Tree, Fetched), Error> {
            Err(Error::NotBuilt { what: $what, feature: $feature })
        }
    };
}

#[cfg(feature = "git")]
use git::named as named_by_git;

#[cfg(not(feature = "git"))]
fn named_by_git(_: &crate::request::GitSource, _: &Means<'_>) -> Result<Option<String>, Error> {
    Err(Error::NotBuilt { what: "a Git repository", feature: "git" })
}

form!(from_git, crate::request::GitSource, "git", "a context from Git", git::fetch);
form!(from_gcs, crate::request::ObjectSource, "gcs", "a context from gs://", gcs::fetch);
form!(from_s3, crate::request::ObjectSource, "s3", "a context from s3://", s3::fetch);
form!(from_azure, crate::request::SecretUrl, "azure", "a context from Azure Blob Storage", azure::fetch);

fn unpacked(
    what: &str,
    reader: impl io::Read + Send,
    directory: &Path,
    limit: u64,
    means: &Means<'_>,
) -> Result<Tree, Error> {
    let mut writer = writer::Writer::create(directory, limit)?;
    let reader = Interruptible { reader, is_cancelled: &*means.is_cancelled };
    match archive::unpack(what, reader, &mut writer, &means.is_cancelled) {
        Err(_) if (means.is_cancelled)() => Err(Error::Interrupted),
        result => result.and_then(|()| writer.finish()),
    }
}

/// A reader that fails once the build is cancelled.
struct Interruptible<'a, R> {
    reader: R,
    is_cancelled: &'a (dyn Fn() -> bool + Send + Sync),
}

impl<R: io::Read> io::Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_cancelled)() {
            return Err(io::Error::other("the build was interrupted"));
        }
        self.reader.read(buffer)
    }
}

fn open(directory: &Path) -> Result<Tree, Error> {
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(Tree::open(directory)?),
        Ok(_) => Err(Error::NotADirectory { path: directory.to_owned() }),
        Err(source) => Err(Error::Open { path: directory.to_owned(), source }),
    }
}
