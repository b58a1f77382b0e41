//! Images that a command line names to be looked at: in registries, or in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::env::Environment;
use super::exit::{Failure, Kind};
use super::failure::output_kind;
use super::request;
use super::state::StateDirectory;
use crate::inspect::Source;
use crate::oci::{Platform, Reference};
use crate::output::{self, Packed};
use crate::registry::Client;
use crate::store::Store;

/// How a named context says that it is a layout.
const LAYOUT: &str = "oci-layout://";

/// Where an image is that a word names.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Reference(Reference),
    Path(PathBuf),
    Stdin,
}

/// Opens images; where one is in a file, with a directory for what must be unpacked, which is gone at the end.
pub(super) struct Images<'a> {
    client: Client,
    environment: &'a Environment,
    state_directory: Option<&'a Path>,
    state: Option<(StateDirectory, Store)>,
}

impl<'a> Images<'a> {
    pub(super) fn new(client: Client, environment: &'a Environment, state_directory: Option<&'a Path>) -> Self {
        Self { client, environment, state_directory, state: None }
    }

    /// Opens the image that a word names.
    pub(super) async fn open(&mut self, text: &str) -> Result<Source, Failure> {
        let word = word(text, &self.environment.directories.working)?;
        let path = match word {
            Word::Reference(reference) => return Ok(Source::Registry { client: self.client.clone(), reference }),
            Word::Path(path) => Some(path),
            Word::Stdin => None,
        };
        let (name, store) = (text.to_owned(), self.store()?);
        let packed = packed(path, store).await.map_err(|error| Failure::from_error(output_kind(&error), &error))?;
        Ok(Source::Packed { name, packed: Arc::new(packed) })
    }

    fn store(&mut self) -> Result<Store, Failure> {
        if let Some((_, store)) = &self.state {
            return Ok(store.clone());
        }
        let path = request::state_directory(self.state_directory, self.environment);
        let state = StateDirectory::create(&path).map_err(|error| Failure::from_error(Kind::Disk, &error))?;
        let store = Store::open(&path.join("store")).map_err(|error| Failure::from_error(Kind::Disk, &error))?;
        self.state = Some((state, store.clone()));
        Ok(store)
    }
}

/// Opens an image in a file or directory, or the archive on standard input where no path is given, on a thread where reading
/// and compressing may take their time.
pub(super) async fn packed(path: Option<PathBuf>, store: Store) -> Result<Packed, output::Error> {
    let opened = tokio::task::spawn_blocking(move || match path {
        Some(path) => output::open_packed(&path, &store),
        None => output::read_packed(std::io::stdin(), &store),
    });
    opened.await.map_err(|error| output::Error::Task(error.to_string()))?
}

fn word(text: &str, working: &Path) -> Result<Word, Failure> {
    if text == "-" {
        return Ok(Word::Stdin);
    }
    let is_path =
        |text: &str| text == "." || text == ".." || ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    if let Some(path) = text.strip_prefix(LAYOUT).or_else(|| Some(text).filter(|text| is_path(text))) {
        return Ok(Word::Path(working.join(path)));
    }
    let found = working.join(text);
    if !text.is_empty() && found.exists() {
        return Ok(Word::Path(found));
    }
    text.parse().map(Word::Reference).map_err(|error| Failure::from_error(Kind::Usage, &error))
}

/// Reads the platform that a flag names.
pub(super) fn platform(text: Option<&str>) -> Result<Option<Platform>, Failure> {
    let given = text.filter(|text| !text.is_empty());
    let parsed = given.map(str::parse).transpose();
    parsed.map_err(|error: crate::oci::PlatformError| Failure::from_error(Kind::Usage, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_files_or_images() {
        let directory = tempfile::tempdir().expect("tempdir");
        let working = directory.path();
        std::fs::write(working.join("image.tar"), "").expect("write");
        let path = |path: &str| Word::Path(working.join(path));
        for (text, expected) in [
            ("-", Word::Stdin),
            ("image.tar", path("image.tar")),
            ("./none", path("./none")),
            ("../x", path("../x")),
            (".", path(".")),
            ("/a/b", Word::Path("/a/b".into())),
            ("oci-layout://out", path("out")),
            ("other.tar", Word::Reference("docker.io/library/other.tar:latest".parse().expect("reference"))),
            ("r.example.com/a:1", Word::Reference("r.example.com/a:1".parse().expect("reference"))),
        ] {
            assert_eq!(word(text, working).expect(text), expected, "{text}");
        }
        assert_eq!(word("A", working).expect_err("no name").kind, Kind::Usage);
        assert_eq!(word("", working).expect_err("no name").kind, Kind::Usage);
    }
}
