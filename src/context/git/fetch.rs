//! A conversation with a server from its references to the commit that is wanted.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use git2::{FetchOptions, Oid, Remote, RemoteCallbacks, Repository};

use super::refs::{self, Target, Wanted};
use super::session::{self, Session};
use crate::context::{Error, ErrorKind, Means};
use crate::progress::{Activity, Event, Phase};

/// How often a whole fetch is made where the connection breaks.
const ATTEMPTS: u32 = 3;

/// Fetches what is wanted into a new repository at `place`; returns it with the commit.
pub(super) fn commit(
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
            Err(error) if error.kind() == ErrorKind::Transient && attempt < ATTEMPTS && !session.is_exhausted() => {
                attempt += 1;
            }
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
pub(super) fn list(session: &Arc<Session>, means: &Means<'_>) -> Result<Vec<refs::Listed>, Error> {
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

/// Removes a repository that has served.
pub(super) fn remove(place: &Path) -> Result<(), Error> {
    fs::remove_dir_all(place).map_err(|source| Error::State { doing: "remove", path: place.to_owned(), source })
}
