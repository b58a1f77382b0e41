//! Git repositories as contexts: what is needed of them is fetched, and their files are written as they are committed.
//!
//! Knows repositories; the bytes come through our own transports, never through libgit2's, which would resolve names by
//! the C library and bring a second TLS.
//!
//! *Invariant: no file gets what depends on this machine: modes are Git's, times are the commit's, and no filter, hook
//! or attribute of the repository changes a byte, but for LFS, which replaces a pointer by what it points to.*

mod address;
mod checkout;
mod config;
mod fetch;
mod lfs;
mod logins;
mod refs;
mod session;
mod ssh;
mod submodule;
mod transport;

use std::path::Path;
use std::sync::Arc;

use git2::{Oid, Repository};

use super::means::{Fetched, below};
use super::writer::Writer;
use super::{Error, ErrorKind, Means};
use crate::request::GitSource;
use crate::rootfs::Tree;
use crate::sys;

use address::Address;
use fetch::{commit, list, remove};
use refs::Wanted;
use session::Session;

/// Fetches a repository and writes the files of one commit into `directory`.
pub(super) fn fetch(
    source: &GitSource,
    directory: &Path,
    limit: u64,
    means: &Means<'_>,
) -> Result<(Tree, Fetched), Error> {
    let session = begin(source, means)?;
    let mut writer = Writer::create(directory, limit)?;
    let place = if source.keep_git_directory { directory.join(".git") } else { beside(directory) };
    let wanted = wanted(source);
    let (repository, commit) = commit(&session, &place, &wanted, means)?;
    if let Some(checksum) = &source.checksum {
        check(&repository, commit, checksum).map_err(|reason| session.wrong(reason))?;
    }
    checkout::write(&repository, commit, Path::new(""), &mut writer, &session, means)?;
    if source.submodules {
        submodule::fetch_all(&repository, commit, &submodule::Place::top(directory), &mut writer, &session, means)?;
    }
    let changed = repository.find_commit(commit).map_err(|error| session.failed(&error))?.time().seconds();
    let shown = session.address.shown();
    if source.keep_git_directory {
        checkout::keep(&repository, commit).map_err(|error| session.failed(&error))?;
    } else {
        drop(repository);
        remove(&place)?;
    }
    let tree = writer.finish()?;
    let tree = match &source.sub_directory {
        Some(directory) => below(&tree, directory, "the directory in the Git URL")?,
        None => tree,
    };
    Ok((tree, Fetched { url: Some(shown), commit: Some(commit.to_string()), changed: Some(changed) }))
}

/// Asks a server which commit is meant; none where it does not tell, or where another one was asked for.
pub(super) fn named(source: &GitSource, means: &Means<'_>) -> Result<Option<String>, Error> {
    let session = begin(source, means)?;
    let listed = list(&session, means)?;
    let is_asked = |ids: &[Oid]| match &source.checksum {
        Some(checksum) => ids.iter().any(|id| id.to_string().starts_with(checksum)),
        None => true,
    };
    let named = refs::named(&wanted(source), &listed).filter(|ids| is_asked(ids));
    Ok(named.and_then(|ids| ids.last().map(Oid::to_string)))
}

fn begin(source: &GitSource, means: &Means<'_>) -> Result<Arc<Session>, Error> {
    sys::git::prepare(&transport::SCHEMES).map_err(|reason| Error::Refused {
        what: "a Git repository".to_owned(),
        tried: "not sent".to_owned(),
        reason,
        kind: ErrorKind::Wrong,
    })?;
    let config = config::Config::read(&means.access.homes);
    let address = Address::parse(&config.rewritten(&source.url.0))?;
    Ok(Session::new(address, source.skip_tls_verify, config, means))
}

fn wanted(source: &GitSource) -> Wanted {
    Wanted { reference: source.reference.clone(), commit: source.commit.clone(), depth: source.depth }
}

/// Returns where a repository is kept while its files are written.
fn beside(directory: &Path) -> std::path::PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(".git");
    name.into()
}

/// Compares a commit with what was asked for; the id of an annotated tag will do as well, as for BuildKit.
fn check(repository: &Repository, commit: Oid, checksum: &str) -> Result<(), String> {
    let tag = repository.refname_to_id(refs::FETCHED).ok();
    if [Some(commit), tag].into_iter().flatten().any(|id| id.to_string().starts_with(checksum)) {
        return Ok(());
    }
    Err(format!("the commit is {commit}, but {checksum} was asked for"))
}
