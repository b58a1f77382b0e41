//! The build context, brought here as a [`Tree`], and the Dockerfile and ignore file that go with it.
//!
//! Knows where contexts come from; knows neither what a Dockerfile says nor images.
//!
//! *Invariant: the context is only read. Nothing in it is written, chowned or touched, and no path that is looked
//! up in it leaves it.*

mod error;

use std::fs;
use std::path::{Path, PathBuf};

use crate::dockerfile::ignore::Patterns;
use crate::request::{BuildRequest, ContextSource, DockerfileSource};
use crate::rootfs::Tree;

pub use error::Error;

/// Larger Dockerfiles and ignore files are refused: they are read into memory.
const LARGEST_FILE: u64 = 16 << 20;

/// A build context that is here.
#[derive(Debug)]
pub struct Context {
    /// Its files.
    pub tree: Tree,
    /// The Dockerfile.
    pub dockerfile: Dockerfile,
    /// What is left out of the context.
    pub ignore: Patterns,
}

/// A Dockerfile as it was found.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// Its path for messages, as it was given.
    pub name: PathBuf,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// Brings the requested context here and reads its Dockerfile and its ignore file.
///
/// # Errors
/// [`Error`] when the context or the Dockerfile is not there, or cannot be read.
pub fn fetch(request: &BuildRequest) -> Result<Context, Error> {
    let ContextSource::Directory(directory) = &request.context;
    let tree = open(directory)?;
    let tree = match &request.context_sub_path {
        Some(sub_path) => below(&tree, sub_path)?,
        None => tree,
    };
    let (dockerfile, beside) = read_dockerfile(&request.dockerfile, &tree)?;
    let ignore = read_ignore(&beside, &tree)?;
    Ok(Context { tree, dockerfile, ignore })
}

fn open(directory: &Path) -> Result<Tree, Error> {
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(Tree::open(directory)?),
        Ok(_) => Err(Error::NotADirectory { path: directory.to_owned() }),
        Err(source) => Err(Error::Open { path: directory.to_owned(), source }),
    }
}

fn below(tree: &Tree, sub_path: &Path) -> Result<Tree, Error> {
    match tree.stat_following(sub_path)? {
        Some(stat) if stat.kind == crate::rootfs::FileKind::Directory => Ok(tree.below(sub_path)?),
        Some(_) | None => Err(Error::NoSubPath { path: sub_path.to_owned() }),
    }
}

/// Where a Dockerfile was found: what is beside it belongs to it.
enum Beside {
    /// On this machine, at an absolute path.
    Machine(PathBuf),
    /// In the context, at a path relative to its root.
    Context(PathBuf),
}

/// Looks for the Dockerfile as kaniko does: in the working directory first, then in the context.
fn read_dockerfile(source: &DockerfileSource, tree: &Tree) -> Result<(Dockerfile, Beside), Error> {
    let DockerfileSource::Path { given, absolute } = source;
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

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let size = fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0);
    if size > LARGEST_FILE {
        return Err(Error::TooLarge { path: path.to_owned(), limit: LARGEST_FILE });
    }
    fs::read(path).map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// Reads `<Dockerfile>.dockerignore`, else the context's `.dockerignore`, else nothing is ignored.
fn read_ignore(dockerfile: &Beside, tree: &Tree) -> Result<Patterns, Error> {
    let own = match dockerfile {
        Beside::Machine(path) => {
            let path = with_suffix(path);
            if path.is_file() { Some((path.clone(), read_file(&path)?)) } else { None }
        }
        Beside::Context(path) => read_in(tree, with_suffix(path))?,
    };
    let found = match own {
        Some(found) => Some(found),
        None => read_in(tree, PathBuf::from(".dockerignore"))?,
    };
    match found {
        Some((path, text)) => Patterns::parse(&text).map_err(|source| Error::Ignore { path, source }),
        None => Ok(Patterns::default()),
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".dockerignore");
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
