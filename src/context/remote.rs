//! What a Dockerfile's ADD brings from elsewhere: single files and Git repositories.
//!
//! Knows who a Dockerfile may be to a server; knows nothing of layers.
//!
//! *Invariant: a login that was given for the context goes to the context's own server only, whatever URL the Dockerfile
//! has; those of files go to the hosts that stand beside them.*

use std::fs;
use std::path::Path;

use super::stream;
use super::{Access, Error, Means, from_git, https};
use crate::http::Url;
use crate::image::Timestamp;
use crate::oci::Digest;
use crate::progress::Event;
use crate::request::{ContextSource, GitSource, HttpsSource, SecretUrl};
use crate::rootfs::Tree;

/// A file that was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was changed last, if the server says so.
    pub modified: Option<Timestamp>,
}

/// The files of a commit.
#[derive(Debug)]
pub struct Checkout {
    /// The files.
    pub tree: Tree,
    /// The commit's id.
    pub commit: String,
}

/// Downloads what is behind a URL into the new file `path`.
///
/// # Errors
/// [`Error`] when it cannot be had, is larger than `limit` bytes, or has another digest than asked for.
pub fn download(source: &HttpsSource, path: &Path, limit: u64, means: &Means<'_>) -> Result<Download, Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|source| Error::State { doing: "make", path: parent.to_owned(), source })?;
    let archive = https::archive(source, means)?;
    let saved = stream::save(&archive, path, limit, means)?;
    means.reporter.report(Event::Note(&format!("{}: {} bytes received", archive.remote.what, saved.size)));
    Ok(Download { digest: saved.digest, size: saved.size, modified: saved.modified })
}

/// Fetches a repository and writes the files of one commit into `directory`. `context` is where the build's own files
/// come from.
///
/// # Errors
/// [`Error`] when it cannot be had, or is larger than `limit` bytes.
pub fn clone(
    source: &GitSource,
    context: &ContextSource,
    directory: &Path,
    limit: u64,
    means: &Means<'_>,
) -> Result<Checkout, Error> {
    let mut access: Access = means.access.clone();
    let of_context = match context {
        ContextSource::Git(context) => host(&context.url),
        ContextSource::Directory(_)
        | ContextSource::Tar(_)
        | ContextSource::Stdin
        | ContextSource::Https(_)
        | ContextSource::Gcs(_)
        | ContextSource::S3(_)
        | ContextSource::Azblob(_) => None,
    };
    if of_context.is_none() || of_context != host(&source.url) {
        access.git.login = None;
    }
    let means = Means { access: &access, ..means.clone() };
    let (tree, fetched) = from_git(source, directory, limit, &means)?;
    Ok(Checkout { tree, commit: fetched.commit.unwrap_or_default() })
}

/// Returns the host of a Git URL, in whatever spelling.
fn host(url: &SecretUrl) -> Option<String> {
    match url.0.split_once("://") {
        Some(_) => Url::parse(&url.0).ok()?.host_str().map(str::to_owned),
        None => url.0.split_once(':')?.0.rsplit('@').next().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_in_every_spelling() {
        for (url, expected) in
            [("https://u:p@h:1/x.git", Some("h")), ("git@h:x", Some("h")), ("ssh://u@h/x", Some("h")), ("x", None)]
        {
            assert_eq!(host(&SecretUrl(url.to_owned())).as_deref(), expected, "{url}");
        }
    }
}
