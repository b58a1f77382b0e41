//! Where the Dockerfile is, and the ignore file that goes with it.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use super::{Dockerfile, Error, ErrorKind, Means, https};
use crate::dockerfile::ignore::Patterns;
use crate::http::redact;
use crate::request::{DockerfileSource, SecretUrl};
use crate::rootfs::Tree;

/// Larger Dockerfiles and ignore files are refused: they are read into memory.
const LARGEST_FILE: u64 = 16 << 20;
const IGNORE_FILE: &str = ".dockerignore";

/// Where a Dockerfile was found: what is beside it belongs to it.
pub(super) enum Beside {
    /// On this machine, at an absolute path.
    Machine(PathBuf),
    /// In the context, at a path relative to its root.
    Context(PathBuf),
    /// Behind a URL.
    Url(SecretUrl),
    /// Nothing is beside it.
    Nothing,
}

/// Looks for the Dockerfile as kaniko does: in the working directory first, then in the context.
pub(super) fn read(source: &DockerfileSource, tree: &Tree, means: &Means<'_>) -> Result<(Dockerfile, Beside), Error> {
    let (given, absolute) = match source {
        DockerfileSource::Path { given, absolute } => (given, absolute),
        DockerfileSource::Url(url) => return read_url(url, means),
        DockerfileSource::Stdin => return read_stdin(),
    };
    let name = given.clone();
    if fs::metadata(absolute).is_ok_and(|metadata| !metadata.is_dir()) {
        let text = read_file(absolute)?;
        return Ok((Dockerfile { name, text }, Beside::Machine(absolute.clone())));
    }
    let in_context = given.strip_prefix("/").unwrap_or(given).to_owned();
    match tree.stat_following(&in_context)? {
        Some(_) => {
            let text = tree.read(&in_context, LARGEST_FILE)?;
            Ok((Dockerfile { name, text }, Beside::Context(in_context)))
        }
        None => Err(Error::NoDockerfile { given: given.clone(), context: tree.path().to_owned() }),
    }
}

/// Reads a Dockerfile that has no context: a path is one of this machine.
pub(super) fn read_alone(source: &DockerfileSource, means: &Means<'_>) -> Result<Dockerfile, Error> {
    match source {
        DockerfileSource::Path { given, absolute } => {
            Ok(Dockerfile { name: given.clone(), text: read_file(absolute)? })
        }
        DockerfileSource::Url(url) => read_url(url, means).map(|(dockerfile, _)| dockerfile),
        DockerfileSource::Stdin => read_stdin().map(|(dockerfile, _)| dockerfile),
    }
}

fn read_url(url: &SecretUrl, means: &Means<'_>) -> Result<(Dockerfile, Beside), Error> {
    let mut shown = https::parse(&url.0)?;
    https::strip(&mut shown);
    let name = PathBuf::from(redact(&shown));
    match https::file(url, means, LARGEST_FILE)? {
        Some(text) => Ok((Dockerfile { name, text }, Beside::Url(url.clone()))),
        None => Err(Error::Refused {
            what: format!("the Dockerfile {}", name.display()),
            tried: "404".to_owned(),
            reason: "the server has no such file".to_owned(),
            kind: ErrorKind::Wrong,
        }),
    }
}

fn read_stdin() -> Result<(Dockerfile, Beside), Error> {
    if io::stdin().is_terminal() {
        return Err(Error::Terminal { what: "a Dockerfile" });
    }
    let name = PathBuf::from("standard input");
    let mut text = Vec::new();
    let read = io::stdin().lock().take(LARGEST_FILE + 1).read_to_end(&mut text);
    read.map_err(|source| Error::Open { path: name.clone(), source })?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(Error::TooLarge { path: name, limit: LARGEST_FILE });
    }
    Ok((Dockerfile { name, text }, Beside::Nothing))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let size = fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0);
    if size > LARGEST_FILE {
        return Err(Error::TooLarge { path: path.to_owned(), limit: LARGEST_FILE });
    }
    fs::read(path).map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// Reads `<Dockerfile>.dockerignore`, else the context's `.dockerignore`, else nothing is ignored.
pub(super) fn read_ignore(dockerfile: &Beside, tree: &Tree, means: &Means<'_>) -> Result<Patterns, Error> {
    let own = match dockerfile {
        Beside::Machine(path) => {
            let path = with_suffix(path);
            if path.is_file() { Some((path.clone(), read_file(&path)?)) } else { None }
        }
        Beside::Context(path) => read_in(tree, with_suffix(path))?,
        Beside::Url(url) => read_beside_url(url, means)?,
        Beside::Nothing => None,
    };
    match own {
        Some((path, text)) => parse(path, &text),
        None => own_ignore(tree),
    }
}

/// Reads the `.dockerignore` of a tree.
pub(super) fn own_ignore(tree: &Tree) -> Result<Patterns, Error> {
    match read_in(tree, PathBuf::from(IGNORE_FILE))? {
        Some((path, text)) => parse(path, &text),
        None => Ok(Patterns::default()),
    }
}

fn parse(path: PathBuf, text: &[u8]) -> Result<Patterns, Error> {
    Patterns::parse(text).map_err(|source| Error::Ignore { path, source })
}

fn read_beside_url(url: &SecretUrl, means: &Means<'_>) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    let mut parsed = https::parse(&url.0)?;
    parsed.set_path(&format!("{}{IGNORE_FILE}", parsed.path()));
    let name = PathBuf::from(redact(&parsed));
    let text = https::file(&SecretUrl(parsed.into()), means, LARGEST_FILE)?;
    Ok(text.map(|text| (name, text)))
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(IGNORE_FILE);
    PathBuf::from(name)
}

fn read_in(tree: &Tree, path: PathBuf) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    match tree.stat_following(&path)? {
        Some(_) => {
            let text = tree.read(&path, LARGEST_FILE)?;
            Ok(Some((path, text)))
        }
        None => Ok(None),
    }
}
