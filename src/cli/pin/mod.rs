//! `yadokari pin`: the digests of the images that Dockerfiles name.
//!
//! *Invariant: nothing is written before every digest is known; each file changes as a whole, or not at all.*

mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::args::{FormatName, PinArgs};
use super::env::Environment;
use super::exit::{Failure, Kind, Place};
use super::failure::registry_kind;
use super::report::Report;
use super::work::{print, wait};
use super::{request, services, shown};
use crate::builder::Failed;
use crate::context;
use crate::dockerfile::pin::{self, Edit, Left, Named};
use crate::oci::{Digest, Reference};
use crate::place;
use crate::registry::Client;

/// Finds the digests, and tells of them or writes them down.
pub(super) fn run(args: &PinArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let files = args.dockerfiles.iter().map(|path| File::read(path, environment));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let wanted: Vec<(&File, &Named, Reference)> = files.iter().flat_map(|file| file.wanted(args)).collect();
    let digests = if wanted.is_empty() {
        BTreeMap::new()
    } else {
        let network = request::registry_network(&args.registry, environment)?;
        let (_, client) = services::client(&network, report.clone())?;
        wait(digests(&client, &wanted))?
    };
    if args.write {
        for file in &files {
            file.write(&digests, environment)?;
        }
    }
    let told: Vec<Told<'_>> = files.iter().map(|file| file.told(&digests, args)).collect();
    print(&match args.format {
        FormatName::Text => text::render(&told),
        FormatName::Json => shown::json(&All { files: &told })?,
    })?;
    let open = told.iter().map(Told::open).sum::<usize>();
    if args.check && open > 0 {
        let message = match open {
            1 => "1 image has no digest, or not the present one".to_owned(),
            count => format!("{count} images have no digest, or not the present one"),
        };
        return Err(Failure::new(Kind::Dockerfile, message).hint("`yadokari pin --write` writes digests down"));
    }
    Ok(())
}

/// A Dockerfile, read.
struct File {
    /// Its name as it was given.
    name: PathBuf,
    path: PathBuf,
    text: Vec<u8>,
    images: pin::Images,
}

impl File {
    fn read(name: &Path, environment: &Environment) -> Result<Self, Failure> {
        let working = &environment.directories.working;
        let path = working.join(name);
        let text = place::read_named(&path, working, context::LARGEST_DOCKERFILE).map_err(|error| {
            Failure::new(Kind::Dockerfile, format!("the Dockerfile {} cannot be read: {error}", name.display()))
        })?;
        let images = pin::images(&text).map_err(|error| {
            let dockerfile = context::Dockerfile { name: name.to_owned(), text: text.clone() };
            Failure::from(Failed { error: error.into(), dockerfile: Some(dockerfile) })
        })?;
        Ok(Self { name: name.to_owned(), path, text, images })
    }

    /// Lists the images whose digests must be found out.
    fn wanted(&self, args: &PinArgs) -> Vec<(&Self, &Named, Reference)> {
        let is_wanted = |named: &Named| if named.is_pinned() { args.update } else { !args.check || args.update };
        let wanted = self.images.named.iter().filter(|named| is_wanted(named));
        wanted.filter_map(|named| Some((self, named, named.tagged()?))).collect()
    }

    fn write(&self, digests: &Digests, environment: &Environment) -> Result<(), Failure> {
        let changed = |named: &Named| {
            let digest = digests.get(&named.tagged()?)?;
            (named.reference.digest.as_ref() != Some(digest)).then(|| named.edit(digest))
        };
        let edits: Vec<Edit> = self.images.named.iter().filter_map(changed).collect();
        if edits.is_empty() {
            return Ok(());
        }
        let place = place::Place::find(&self.path, &environment.regions());
        let written = place.and_then(|place| place.replace(&pin::rewritten(&self.text, &edits)));
        written.map_err(|error| {
            Failure::new(Kind::Output, format!("the Dockerfile {} cannot be written: {error}", self.name.display()))
        })
    }

    fn told<'a>(&'a self, digests: &'a Digests, args: &PinArgs) -> Told<'a> {
        let image = |named: &'a Named| {
            let digest = named.tagged().and_then(|tagged| digests.get(&tagged));
            let present = named.reference.digest.as_ref();
            let state = match (present, digest) {
                (None, _) => State::Unpinned,
                (Some(present), Some(digest)) if present != digest => State::Outdated,
                (Some(_), _) => State::Pinned,
            };
            let is_changed = matches!(state, State::Unpinned | State::Outdated);
            ImageTold {
                line: named.line,
                column: named.column,
                instruction: named.instruction,
                image: &named.written,
                state,
                replacement: digest.filter(|_| is_changed).map(|digest| named.pinned(digest)),
            }
        };
        Told {
            file: self.name.display().to_string(),
            written: args.write,
            images: self.images.named.iter().map(image).collect(),
            left: self.images.left.iter().map(LeftTold::of).collect(),
        }
    }
}

type Digests = BTreeMap<Reference, Digest>;

/// Asks the registries; of an index its own digest, so that the reference stays one for every platform.
async fn digests(client: &Client, wanted: &[(&File, &Named, Reference)]) -> Result<Digests, Failure> {
    let mut digests = Digests::new();
    for (file, named, reference) in wanted {
        if digests.contains_key(reference) {
            continue;
        }
        let found =
            client.manifest(reference).await.map_err(|error| Failure::from_error(registry_kind(&error), &error));
        let found = found.and_then(|found| {
            found.ok_or_else(|| Failure::new(Kind::Dockerfile, format!("there is no image {reference}")))
        });
        let (_, digest) = found.map_err(|failure| failure.at(shown_place(file, named.line, Some(named.column))))?;
        digests.insert(reference.clone(), digest);
    }
    Ok(digests)
}

fn shown_place(file: &File, line: usize, column: Option<usize>) -> Place {
    let text = String::from_utf8_lossy(&file.text);
    Place { column, ..Place::new(file.name.display().to_string(), line, &text, line..=line) }
}

#[derive(Serialize)]
struct All<'a> {
    files: &'a [Told<'a>],
}

/// What there is to tell of a file.
#[derive(Serialize)]
struct Told<'a> {
    file: String,
    /// Whether replacements have been written into it.
    written: bool,
    images: Vec<ImageTold<'a>>,
    left: Vec<LeftTold<'a>>,
}

#[derive(Serialize)]
struct ImageTold<'a> {
    line: usize,
    column: usize,
    instruction: &'static str,
    image: &'a str,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<String>,
}

/// Whether an image has a digest.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Pinned,
    Unpinned,
    /// It has another one than its tag.
    Outdated,
}

#[derive(Serialize)]
struct LeftTold<'a> {
    line: usize,
    column: usize,
    image: &'a str,
    reason: &'a str,
    unpinned: bool,
}

impl<'a> LeftTold<'a> {
    fn of(left: &'a Left) -> Self {
        let Left { line, column, written, reason, is_open } = left;
        Self { line: *line, column: *column, image: written, reason, unpinned: *is_open }
    }
}

impl Told<'_> {
    /// Counts the images that another build may find changed.
    fn open(&self) -> usize {
        let images = self.images.iter().filter(|image| image.state != State::Pinned).count();
        images + self.left.iter().filter(|left| left.unpinned).count()
    }
}
