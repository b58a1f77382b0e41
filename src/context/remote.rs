//! What a Dockerfile's ADD brings from elsewhere: single files and Git repositories.
//!
//! Knows who a Dockerfile may be to a server; knows nothing of layers.
//!
//! *Invariant: a login that was given for the context goes to the context's own server only, whatever URL the Dockerfile
//! has; those of files go to the hosts that stand beside them.*

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::access::{Login, Secret};
use super::stream;
use super::{Access, Error, Means, from_git, https, named_by_git};
use crate::http::Url;
use crate::image::Timestamp;
use crate::oci::Digest;
use crate::progress::Event;
use crate::request::{BuildRequest, ContextSource, GitSource, HttpsSource, SecretSource, SecretUrl};
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
    /// When it was made, in seconds since 1970.
    pub time: Option<i64>,
}

/// Downloads what is behind a URL into the new file `path`. The secrets `HTTP_AUTH_HEADER_<host>` and
/// `HTTP_AUTH_TOKEN_<host>` are for it, as in BuildKit.
///
/// # Errors
/// [`Error`] when it cannot be had, is too large, or has another digest than asked for.
pub fn download(
    source: &HttpsSource,
    path: &Path,
    request: &BuildRequest,
    means: &Means<'_>,
) -> Result<Download, Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|source| Error::State { doing: "make", path: parent.to_owned(), source })?;
    let host = host(&source.url).unwrap_or_default();
    let login = match secret(&request.run.secrets, &[format!("HTTP_AUTH_HEADER_{host}")])? {
        Some((source, value)) => Some(Login { source, secret: Secret::Header(value) }),
        None => secret(&request.run.secrets, &[format!("HTTP_AUTH_TOKEN_{host}")])?
            .map(|(source, token)| Login { source, secret: Secret::Bearer(token) }),
    };
    let archive = https::archive_with(source, login, means)?;
    let saved = stream::save(&archive, path, request.context_max_size, means)?;
    means.reporter.report(Event::Note(&format!("{}: {} bytes received", archive.remote.what, saved.size)));
    Ok(Download { digest: saved.digest, size: saved.size, modified: saved.modified })
}

/// Fetches a repository and writes the files of one commit into `directory`. The secrets `GIT_AUTH_HEADER` and
/// `GIT_AUTH_TOKEN`, also with `.<host>` behind, are for it, and the agent `default`, as in BuildKit.
///
/// # Errors
/// [`Error`] when it cannot be had, or is too large.
pub fn clone(
    source: &GitSource,
    directory: &Path,
    request: &BuildRequest,
    means: &Means<'_>,
) -> Result<Checkout, Error> {
    let access = git_access(source, request, means)?;
    let means = Means { access: &access, ..means.clone() };
    let (tree, fetched) = from_git(source, directory, request.context_max_size, &means)?;
    Ok(Checkout { tree, commit: fetched.commit.unwrap_or_default(), time: fetched.changed })
}

/// Asks a repository's server which commit is meant, as who [`clone`] is; none where it does not tell, or where another one
/// was asked for.
///
/// # Errors
/// [`Error`] when it cannot be asked.
pub fn commit(source: &GitSource, request: &BuildRequest, means: &Means<'_>) -> Result<Option<String>, Error> {
    let access = git_access(source, request, means)?;
    named_by_git(source, &Means { access: &access, ..means.clone() })
}

fn git_access(source: &GitSource, request: &BuildRequest, means: &Means<'_>) -> Result<Access, Error> {
    let mut access: Access = means.access.clone();
    let host = host(&source.url);
    if !is_of_context(&source.url, &request.context) {
        access.git.login = None;
    }
    let names = |name: &str| [host.as_ref().map_or(String::new(), |host| format!("{name}.{host}")), name.to_owned()];
    let ([own_header, header], [own_token, token]) = (names("GIT_AUTH_HEADER"), names("GIT_AUTH_TOKEN"));
    if let Some((source, value)) = secret(&request.run.secrets, &[own_header, own_token, header, token])? {
        let is_token = source.contains("TOKEN");
        let user = "x-access-token".to_owned();
        let secret = if is_token { Secret::Basic { user, password: value } } else { Secret::Header(value) };
        access.git.login = Some(Login { source, secret });
    }
    match request.run.agents.get("default").map(Vec::as_slice) {
        Some([path]) if is_socket(path) => access.git.agent = Some(path.clone()),
        Some(keys) => access.git.keys = keys.to_vec(),
        None => {}
    }
    Ok(access)
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Returns where the first secret comes from that has one of these ids, and its value.
fn secret(secrets: &BTreeMap<String, SecretSource>, ids: &[String]) -> Result<Option<(String, String)>, Error> {
    let found = ids.iter().find_map(|id| Some((id, secrets.get(id)?)));
    let Some((id, source)) = found else { return Ok(None) };
    let value = match source {
        SecretSource::Value(value) => value.clone(),
        SecretSource::File(path) => {
            fs::read_to_string(path).map_err(|source| Error::Open { path: path.clone(), source })?
        }
    };
    Ok(Some((format!("the secret {id}"), value.trim_end_matches(['\n', '\r']).to_owned())))
}

/// Tells whether what was given for the context's repository may go to this one, too.
fn is_of_context(url: &SecretUrl, context: &ContextSource) -> bool {
    match context {
        // Another port is another service, and one that is not encrypted is heard by others.
        ContextSource::Git(context) => match (Url::parse(&url.0), Url::parse(&context.url.0)) {
            (Ok(url), Ok(context)) if url.origin() == context.origin() => true,
            (Ok(url), _) if url.scheme() != "https" || url.port().is_some() => false,
            _ => host(url).is_some() && host(url) == host(&context.url),
        },
        ContextSource::Directory(_)
        | ContextSource::Tar(_)
        | ContextSource::Stdin
        | ContextSource::Https(_)
        | ContextSource::Gcs(_)
        | ContextSource::S3(_)
        | ContextSource::Azblob(_) => false,
    }
}

/// Returns the host of a URL, also in Git's spelling.
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
    fn the_first_secret_that_is_there_is_taken_without_its_newline() {
        let home = tempfile::tempdir().expect("tempdir");
        let file = home.path().join("token");
        fs::write(&file, "t\n").expect("write");
        let ids = ["GIT_AUTH_TOKEN.h", "GIT_AUTH_TOKEN"].map(str::to_owned);
        let mut secrets = BTreeMap::from([(ids[1].clone(), SecretSource::Value("v".to_owned()))]);
        let taken = |secrets: &BTreeMap<String, SecretSource>| secret(secrets, &ids).expect("readable");
        assert_eq!(taken(&secrets), Some(("the secret GIT_AUTH_TOKEN".to_owned(), "v".to_owned())));
        secrets.insert(ids[0].clone(), SecretSource::File(file));
        assert_eq!(taken(&secrets), Some(("the secret GIT_AUTH_TOKEN.h".to_owned(), "t".to_owned())));
        assert_eq!(taken(&BTreeMap::new()), None);
        secrets.insert(ids[0].clone(), SecretSource::File(home.path().join("none")));
        assert!(secret(&secrets, &ids).is_err());
    }

    #[test]
    fn a_host_is_known_in_every_spelling() {
        for (url, expected) in
            [("https://u:p@h:1/x.git", Some("h")), ("git@h:x", Some("h")), ("ssh://u@h/x", Some("h")), ("x", None)]
        {
            assert_eq!(host(&SecretUrl(url.to_owned())).as_deref(), expected, "{url}");
        }
    }
}
