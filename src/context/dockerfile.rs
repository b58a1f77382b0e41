//! Where the Dockerfile is, and the ignore file that goes with it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Error, ErrorKind, Means, https};
use crate::dockerfile::ignore::Patterns;
use crate::http::redact;
use crate::place::{self, Found, Refused, Scope};
use crate::progress::Event;
use crate::request::{DockerfileSource, SecretUrl};
use crate::rootfs::Tree;

/// Larger Dockerfiles and ignore files are refused: they are read into memory.
pub const LARGEST_DOCKERFILE: u64 = 16 << 20;
const IGNORE_FILE: &str = ".dockerignore";

/// The name that is looked for where the user names none.
const NAME: &str = "Dockerfile";
/// The names that others take where there is no file of that name: `docker build` the first, `podman build` the second.
const OTHER_NAMES: [&str; 2] = ["dockerfile", CONTAINERFILE];
const CONTAINERFILE: &str = "Containerfile";
/// What `podman build` looks for, beside a Containerfile and in its context, before it looks for [`IGNORE_FILE`].
const CONTAINER_IGNORE_FILE: &str = ".containerignore";

/// A Dockerfile as it was found.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// Its path for messages, as it was given.
    pub name: PathBuf,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// Where a Dockerfile was found: what is beside it belongs to it.
pub(super) enum Beside {
    /// On this machine, or in the context.
    File {
        /// Its path, as it was named.
        path: PathBuf,
        /// The directory that its links may not leave.
        directory: PathBuf,
        /// Whether nothing around that directory counts.
        is_whole: bool,
    },
    /// Behind a URL.
    Url(SecretUrl),
    /// Nothing is beside it.
    Nothing,
}

/// The files of a context, for what is read of them as text.
pub(super) struct Files<'a> {
    pub(super) tree: &'a Tree,
    /// What was brought here, of which the tree may be a part.
    pub(super) scope: Scope<'a>,
}

/// Looks for the Dockerfile as kaniko does, in the working directory first, then in the context; and where neither has it,
/// under the other names that it may have.
pub(super) fn read(
    source: &DockerfileSource,
    files: &Files<'_>,
    means: &Means<'_>,
) -> Result<(Dockerfile, Beside), Error> {
    let (given, absolute) = match source {
        DockerfileSource::Path { given, absolute } => (given, absolute),
        DockerfileSource::Url(url) => return read_url(url, means),
        DockerfileSource::Stdin => return read_stdin(),
    };
    let in_context = files.tree.path().join(given.strip_prefix("/").unwrap_or(given));
    for name in names(given) {
        let (first, second) = (name.of(absolute), name.of(&in_context));
        let (path, scope, found) = match find(&first, scope_of(&first, files))? {
            Some(found) => {
                tell_of_second(&found, &second, files, means);
                (&first, scope_of(&first, files), found)
            }
            None => match find(&second, files.scope)? {
                Some(found) => (&second, files.scope, found),
                None => continue,
            },
        };
        tell(&found, path, &name, given, scope, means);
        let text = found.read(LARGEST_DOCKERFILE).map_err(|error| unusable(path, error))?;
        let directory = scope.directory.to_owned();
        let beside = Beside::File { path: path.clone(), directory, is_whole: scope.is_whole };
        return Ok((Dockerfile { name: name.of(given), text }, beside));
    }
    if let Some(path) = [absolute, &in_context].into_iter().find(|path| path.is_dir()) {
        return Err(Error::DockerfileIsDirectory { path: path.clone() });
    }
    Err(Error::NoDockerfile { given: given.clone(), context: files.tree.path().to_owned() })
}

/// A name that a Dockerfile is looked for under.
enum Name {
    /// As it was given.
    Given,
    /// One that others take instead of [`NAME`].
    Other(&'static str),
}

impl Name {
    fn of(&self, path: &Path) -> PathBuf {
        match self {
            Self::Given => path.to_owned(),
            Self::Other(name) => path.with_file_name(name),
        }
    }
}

/// Returns what to look for, in this order. Tasks name `./Dockerfile` by default, so it does not count whether the name
/// was given: BuildKit goes by the name, too.
fn names(given: &Path) -> impl Iterator<Item = Name> {
    let others = if given.file_name() == Some(OsStr::new(NAME)) { &OTHER_NAMES[..] } else { &[] };
    std::iter::once(Name::Given).chain(others.iter().map(|name| Name::Other(name)))
}

/// Tells which file is the Dockerfile, and why, where somebody may have meant another one.
fn tell(found: &Found, path: &Path, name: &Name, given: &Path, scope: Scope<'_>, means: &Means<'_>) {
    let shown = found.path.display();
    let message = match name {
        Name::Given => format!("Dockerfile: {shown}"),
        Name::Other(_) => format!("Dockerfile: {shown}, since there is no {}", given.display()),
    };
    means.reporter.report(Event::Dockerfile { path, text: &message });
    let is_containers = path.file_name() == Some(OsStr::new(CONTAINERFILE));
    if names(given).count() > 1
        && !is_containers
        && let Ok(Some(other)) = find(&path.with_file_name(CONTAINERFILE), scope)
        && !is_same(&found.file, &other.file)
    {
        let message = format!(
            "{shown} is taken, as docker does; podman and buildah would take {}: --dockerfile names it",
            other.path.display()
        );
        means.reporter.report(Event::Warning { rule: "TwoDockerfiles", line: None, message: &message });
    }
}

/// A Dockerfile in the context is the context's; elsewhere its directory counts, which the user has named.
fn scope_of<'a>(path: &'a Path, files: &Files<'a>) -> Scope<'a> {
    if path.starts_with(files.scope.directory) { files.scope } else { scope_beside(path) }
}

fn scope_beside(path: &Path) -> Scope<'_> {
    Scope { directory: path.parent().unwrap_or(Path::new("/")), is_whole: false }
}

/// Tells that the context has a Dockerfile of that name, too.
fn tell_of_second(taken: &Found, in_context: &Path, files: &Files<'_>, means: &Means<'_>) {
    let Ok(Some(other)) = find(in_context, files.scope) else { return };
    if other.path == taken.path || is_same(&taken.file, &other.file) {
        return;
    }
    let message = format!(
        "{} is taken, as kaniko does, and not {} of the context; name the one that is meant by its whole path",
        taken.path.display(),
        other.path.display()
    );
    means.reporter.report(Event::Warning { rule: "TwoDockerfiles", line: None, message: &message });
}

fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn find(path: &Path, scope: Scope<'_>) -> Result<Option<Found>, Error> {
    match place::open(path, scope) {
        // A directory on the way is a file.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        result => result.map_err(|error| unusable(path, error)),
    }
}

fn unusable(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match place::refused(&source) {
        Some(Refused::LeadsOut { .. }) => Error::LeadsOut { path, source },
        Some(Refused::TooLarge { limit }) => Error::TooLarge { path, limit: *limit },
        Some(Refused::Kind { .. } | Refused::Link { .. } | Refused::Linked | Refused::Unread) | None => {
            Error::Open { path, source }
        }
    }
}

/// Reads a Dockerfile that has no context: a path is one of this machine.
pub(super) fn read_alone(source: &DockerfileSource, means: &Means<'_>) -> Result<Dockerfile, Error> {
    match source {
        DockerfileSource::Path { given, absolute } => {
            for name in names(given) {
                if let Some(text) = read_file(&name.of(absolute), scope_beside(absolute))? {
                    return Ok(Dockerfile { name: name.of(given), text });
                }
            }
            Err(Error::Open { path: absolute.clone(), source: io::ErrorKind::NotFound.into() })
        }
        DockerfileSource::Url(url) => read_url(url, means).map(|(dockerfile, _)| dockerfile),
        DockerfileSource::Stdin => read_stdin().map(|(dockerfile, _)| dockerfile),
    }
}

fn read_url(url: &SecretUrl, means: &Means<'_>) -> Result<(Dockerfile, Beside), Error> {
    let mut shown = https::parse(&url.0)?;
    https::strip(&mut shown);
    let name = PathBuf::from(redact(&shown));
    match https::file(url, means, LARGEST_DOCKERFILE)? {
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
    let read = io::stdin().lock().take(LARGEST_DOCKERFILE + 1).read_to_end(&mut text);
    read.map_err(|source| Error::Open { path: name.clone(), source })?;
    if text.len() as u64 > LARGEST_DOCKERFILE {
        return Err(Error::TooLarge { path: name, limit: LARGEST_DOCKERFILE });
    }
    Ok((Dockerfile { name, text }, Beside::Nothing))
}

fn read_file(path: &Path, scope: Scope<'_>) -> Result<Option<Vec<u8>>, Error> {
    let read = |found: Found| found.read(LARGEST_DOCKERFILE).map_err(|error| unusable(path, error));
    find(path, scope)?.map(read).transpose()
}

/// Reads `<Dockerfile>.dockerignore`, else the context's `.dockerignore`, else nothing is ignored; of a Containerfile, each
/// time that of Podman's name first.
pub(super) fn read_ignore(dockerfile: &Beside, files: &Files<'_>, means: &Means<'_>) -> Result<Patterns, Error> {
    match dockerfile {
        Beside::File { path, directory, is_whole } => {
            read_ignore_beside(path, Scope { directory, is_whole: *is_whole }, files)
        }
        Beside::Url(url) => match read_beside_url(url, means)? {
            Some((path, text)) => parse(path, &text),
            None => own_ignore(files),
        },
        Beside::Nothing => own_ignore(files),
    }
}

fn read_ignore_beside(dockerfile: &Path, scope: Scope<'_>, files: &Files<'_>) -> Result<Patterns, Error> {
    let name = dockerfile.file_name().unwrap_or_default().as_encoded_bytes();
    let is_containers = name.starts_with(CONTAINERFILE.as_bytes());
    let suffixes = if is_containers { &[CONTAINER_IGNORE_FILE, IGNORE_FILE][..] } else { &[IGNORE_FILE] };
    for suffix in suffixes {
        let path = with_suffix(dockerfile, suffix);
        if let Some(text) = read_file(&path, scope)? {
            return parse(path, &text);
        }
    }
    for name in suffixes {
        if let Some(text) = read_file(&files.tree.path().join(name), files.scope)? {
            return parse(PathBuf::from(name), &text);
        }
    }
    Ok(Patterns::default())
}

/// Reads the `.dockerignore` of a tree.
pub(super) fn own_ignore(files: &Files<'_>) -> Result<Patterns, Error> {
    match read_file(&files.tree.path().join(IGNORE_FILE), files.scope)? {
        Some(text) => parse(PathBuf::from(IGNORE_FILE), &text),
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
    let text = https::file(&SecretUrl(parsed.into()), means, LARGEST_DOCKERFILE)?;
    Ok(text.map(|text| (name, text)))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
