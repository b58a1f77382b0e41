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
mod lfs;
mod logins;
mod refs;
mod session;
mod ssh;
mod submodule;
mod transport;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use git2::{FetchOptions, Oid, Remote, RemoteCallbacks, Repository};

use super::writer::Writer;
use super::{Error, ErrorKind, Fetched, Means, below};
use crate::progress::{Activity, Event, Phase};
use crate::request::GitSource;
use crate::rootfs::Tree;
use crate::sys;

use address::Address;
use refs::{Target, Wanted};
use session::Session;

/// How often a whole fetch is made where the connection breaks.
const ATTEMPTS: u32 = 3;

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

fn remove(place: &Path) -> Result<(), Error> {
    fs::remove_dir_all(place).map_err(|source| Error::State { doing: "remove", path: place.to_owned(), source })
}

/// Fetches what is wanted into a new repository at `place`; returns it with the commit.
fn commit(
    session: &Arc<Session>,
    place: &Path,
    wanted: &Wanted,
    means: &Means<'_>,
) -> Result<(Repository, Oid), Error> {
    let mut attempt = 1;
    loop {
        if place.exists() {
            remove(place)?;
        }
        let failed = |error: git2::Error| session.failed(&error);
        let repository = Repository::init_bare(place).map_err(failed)?;
        match fetch_commit(session, &repository, wanted, means) {
            Ok(commit) => return Ok((repository, commit)),
            Err(error) if error.kind() == ErrorKind::Transient && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn fetch_commit(
    session: &Arc<Session>,
    repository: &Repository,
    wanted: &Wanted,
    means: &Means<'_>,
) -> Result<Oid, Error> {
    let listed = list(session, means)?;
    let attempts = refs::attempts(wanted, &listed).map_err(|reason| session.wrong(reason))?;
    let mut last = None;
    for attempt in attempts {
        let fetched = run_fetch(session, repository, &attempt.refspecs, attempt.depth, means);
        let found = fetched.and_then(|()| resolve(repository, &attempt.target).map_err(|reason| session.wrong(reason)));
        match found {
            Ok(commit) => return Ok(commit),
            Err(error) if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Denied | ErrorKind::Interrupted) => {
                return Err(error);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| session.wrong("the repository has nothing to fetch".to_owned())))
}

/// Asks the server for its references.
fn list(session: &Arc<Session>, means: &Means<'_>) -> Result<Vec<refs::Listed>, Error> {
    session::with(session, || {
        let mut remote = Remote::create_detached(session.address.url())?;
        remote.connect(git2::Direction::Fetch)?;
        let heads = remote.list()?.iter().map(|head| refs::Listed { name: head.name().to_owned(), id: head.oid() });
        let heads = heads.collect();
        remote.disconnect()?;
        Ok(heads)
    })
    .map_err(|error| interrupted(means).unwrap_or_else(|| session.failed(&error)))
}

fn run_fetch(
    session: &Arc<Session>,
    repository: &Repository,
    refspecs: &[String],
    depth: Option<u32>,
    means: &Means<'_>,
) -> Result<(), Error> {
    let fetching = Activity::new(Phase::Context, session.address.shown()).begin(means.reporter);
    let received = session::with(session, || {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|received| {
            fetching.set(received.received_bytes() as u64);
            !(means.is_cancelled)()
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).download_tags(git2::AutotagOption::None).update_fetchhead(false);
        // libgit2 has no shallow fetch from a directory; there all is at hand anyway.
        if let Some(depth) = depth.filter(|_| !session.address.is_file()) {
            options.depth(i32::try_from(depth).unwrap_or(i32::MAX));
        }
        let mut remote = repository.remote_anonymous(&session.address.url())?;
        remote.fetch(refspecs, Some(&mut options), None)?;
        let stats = remote.stats();
        Ok((stats.received_objects(), stats.received_bytes()))
    });
    let received = received.map_err(|error| interrupted(means).unwrap_or_else(|| session.failed(&error)))?;
    let (objects, bytes) = received;
    let text = format!("git {}: {objects} objects, {bytes} bytes received", session.address.shown());
    means.reporter.report(Event::Note(&text));
    Ok(())
}

fn interrupted(means: &Means<'_>) -> Option<Error> {
    (means.is_cancelled)().then_some(Error::Interrupted)
}

/// Compares a commit with what was asked for; the id of an annotated tag will do as well, as for BuildKit.
fn check(repository: &Repository, commit: Oid, checksum: &str) -> Result<(), String> {
    let tag = repository.refname_to_id(refs::FETCHED).ok();
    if [Some(commit), tag].into_iter().flatten().any(|id| id.to_string().starts_with(checksum)) {
        return Ok(());
    }
    Err(format!("the commit is {commit}, but {checksum} was asked for"))
}

/// Finds the commit in what was fetched.
fn resolve(repository: &Repository, target: &Target) -> Result<Oid, String> {
    let found = match target {
        Target::Object(id) => repository.find_object(*id, None),
        Target::Name(name) => repository.revparse_single(name),
    };
    let commit = found.and_then(|object| object.peel_to_commit());
    commit.map(|commit| commit.id()).map_err(|error| match target {
        Target::Object(id) => format!("it has no commit {id}: {}", error.message()),
        Target::Name(name) => format!("it has no commit `{name}`: {}", error.message()),
    })
}
