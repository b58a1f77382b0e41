//! Submodules: repositories within a repository, each at the commit that the outer one names.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{Config, Oid, Repository};

use super::address::Address;
use super::checkout;
use super::fetch::{commit, remove};
use super::refs::Wanted;
use super::session::Session;
use crate::context::writer::Writer;
use crate::context::{Error, Means};

/// How deep submodules may be within each other: one that contains itself would never end.
const MOST_LEVELS: usize = 16;

/// Where a repository is that may have submodules.
pub(super) struct Place<'a> {
    /// The context's directory on disk.
    context: &'a Path,
    /// The repository's root within the context.
    root: PathBuf,
    level: usize,
}

impl<'a> Place<'a> {
    /// Says that the repository is the context itself.
    pub(super) fn top(context: &'a Path) -> Self {
        Self { context, root: PathBuf::new(), level: 0 }
    }
}

/// Fetches all submodules of a commit, and theirs.
pub(super) fn fetch_all(
    repository: &Repository,
    of: Oid,
    place: &Place<'_>,
    writer: &mut Writer,
    session: &Arc<Session>,
    means: &Means<'_>,
) -> Result<(), Error> {
    let failed = |error: git2::Error| session.failed(&error);
    let tree = repository.find_commit(of).and_then(|commit| commit.tree()).map_err(failed)?;
    let Ok(modules) = tree.get_path(Path::new(".gitmodules")) else { return Ok(()) };
    let modules = repository.find_blob(modules.id()).map_err(failed)?;
    for (path, url) in listed(modules.content(), repository.path()).map_err(failed)? {
        // What the file names and the tree has not, is not part of this commit.
        let Ok(entry) = tree.get_path(&path) else { continue };
        if entry.filemode() != 0o160_000 {
            continue;
        }
        if place.level >= MOST_LEVELS {
            return Err(session.wrong(format!("submodules are nested in each other too deeply at {}", path.display())));
        }
        let inner = session.submodule(&url)?;
        check(&session.address, &inner)?;
        let wanted = Wanted { reference: None, commit: Some(entry.id().to_string()), depth: Some(1) };
        let own = beside(place.context, place.level + 1);
        let (repository, id) = commit(&inner, &own, &wanted, means)?;
        let root = place.root.join(&path);
        checkout::write(&repository, id, &root, writer, &inner, means)?;
        let below = Place { context: place.context, root, level: place.level + 1 };
        fetch_all(&repository, id, &below, writer, &inner, means)?;
        drop(repository);
        remove(&own)?;
    }
    Ok(())
}

/// A repository of a server must not make us read our own disk, nor leave TLS.
fn check(outer: &Address, inner: &Session) -> Result<(), Error> {
    let scheme = |address: &Address| match address {
        Address::Url(url) => url.scheme().to_owned(),
        Address::Ssh { .. } => "ssh".to_owned(),
    };
    let (from, to) = (scheme(outer), scheme(&inner.address));
    let allowed = match to.as_str() {
        "file" => from == "file",
        "http" | "git" => from != "https" && from != "ssh",
        _ => true,
    };
    if allowed {
        Ok(())
    } else {
        Err(inner.wrong(format!("a submodule of a repository over {from} must not be over {to}")))
    }
}

/// Returns paths and URLs of the submodules that `.gitmodules` lists.
fn listed(text: &[u8], scratch: &Path) -> Result<Vec<(PathBuf, String)>, git2::Error> {
    let file = scratch.join("modules-of-context");
    fs::write(&file, text).map_err(|error| git2::Error::from_str(&error.to_string()))?;
    let config = Config::open(&file)?;
    let mut found: Vec<(String, Option<PathBuf>, Option<String>)> = Vec::new();
    config.entries(Some("submodule\\..*"))?.for_each(|entry| {
        let (Ok(name), Ok(value)) = (entry.name(), entry.value()) else { return };
        let Some((module, key)) = name.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else {
            return;
        };
        let at = found.iter().position(|(known, ..)| known == module).unwrap_or_else(|| {
            found.push((module.to_owned(), None, None));
            found.len() - 1
        });
        match key {
            "path" => found[at].1 = Some(PathBuf::from(value)),
            "url" => found[at].2 = Some(value.to_owned()),
            _ => {}
        }
    })?;
    // The file lies in a directory of ours that is removed as a whole.
    let _ = fs::remove_file(&file);
    Ok(found.into_iter().filter_map(|(_, path, url)| Some((path?, url?))).collect())
}

fn beside(context: &Path, level: usize) -> PathBuf {
    let mut name = context.as_os_str().to_owned();
    name.push(format!(".module-{level}.git"));
    name.into()
}
