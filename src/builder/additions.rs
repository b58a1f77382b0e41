//! What ADD brings from elsewhere, each thing once however many steps want it.
//!
//! *Invariant: nothing is fetched that no planned step reads.*

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::attest::provenance::{DigestSet, commit, sha256};
use crate::context::{self, Checkout, Download};
use crate::image::Timestamp;
use crate::oci::Digest;
use crate::plan::{Action, BuildPlan, CopySource, CopyStep};
use crate::request::{BuildRequest, GitSource};
use crate::store::Verified;

use super::{Error, Services, unpoisoned};

/// What a source of ADD is, once it is here.
#[derive(Debug)]
pub(super) enum Added {
    /// A file.
    File {
        /// Its name, where the destination is a directory.
        name: String,
        /// Its bytes.
        held: Arc<Held>,
        /// When it was changed last, if the server says so.
        modified: Option<Timestamp>,
    },
    /// The files of a commit.
    Tree(Checkout),
}

/// The bytes of a file that was fetched, and perhaps compared with a checksum: they are on the disk, under no name, so
/// that no RUN can put others in their place; and each who reads them compares them again.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    digest: Digest,
    size: u64,
}

impl Held {
    /// Takes a file's name away; `download` says what is in it.
    fn take(path: &Path, download: &Download) -> io::Result<Arc<Self>> {
        let file = File::open(path)?;
        fs::remove_file(path)?;
        Ok(Arc::new(Self { file, digest: download.digest.clone(), size: download.size }))
    }

    /// Returns how many bytes there are.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads from the beginning; the read that reaches the end fails where the bytes are other ones.
    pub(super) fn reader(self: &Arc<Self>) -> impl Read + Send + use<> {
        Verified::new(HeldReader { held: Arc::clone(self), offset: 0 }, self.digest.clone())
    }
}

struct HeldReader {
    held: Arc<Held>,
    offset: u64,
}

impl Read for HeldReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.held.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// All that steps have added from elsewhere.
#[derive(Debug, Default)]
pub struct Additions(Mutex<Vec<Arc<Addition>>>);

#[derive(Debug)]
struct Addition {
    source: CopySource,
    /// Where it is put.
    number: usize,
    here: Mutex<Option<Arc<Added>>>,
    /// What its server said that its reference names, where it was asked.
    commit: Mutex<Option<Option<String>>>,
}

/// As many digits as a Git commit id has.
const COMMIT_DIGITS: usize = 40;

impl Additions {
    fn of(&self, source: &CopySource) -> Arc<Addition> {
        let mut known = unpoisoned(&self.0);
        if let Some(addition) = known.iter().find(|addition| addition.source == *source) {
            return Arc::clone(addition);
        }
        let added = Arc::new(Addition {
            source: source.clone(),
            number: known.len(),
            here: Mutex::default(),
            commit: Mutex::default(),
        });
        known.push(Arc::clone(&added));
        added
    }

    /// Returns all that is here.
    pub(super) fn here(&self) -> Vec<Arc<Added>> {
        unpoisoned(&self.0).iter().filter_map(|addition| unpoisoned(&addition.here).clone()).collect()
    }

    /// Fetches everything now: before `/` becomes another image's, and with it the files that credentials are in.
    pub(super) fn fetch_all(&self, plan: &BuildPlan, request: &BuildRequest, services: &Services) -> Result<(), Error> {
        for (place, step) in copies(plan) {
            let (stage, number) = place;
            let planned = &plan.stages[stage];
            let id = planned.step_id(number);
            let fetched = self.of_step(step, request, services);
            fetched.map_err(|error| error.at(planned.steps[number].span, Some(&id)))?;
        }
        Ok(())
    }

    /// Returns for each source of a step the commit that it means, where it is a repository and that is known without
    /// fetching it: by its own text, or because its server says so.
    pub(super) fn commits(
        &self,
        step: &CopyStep,
        request: &BuildRequest,
        services: &Services,
    ) -> Result<Vec<Option<String>>, Error> {
        let commit = |source: &CopySource| {
            let CopySource::Git(git) = source else { return Ok(None) };
            if let Some(pinned) = pinned(git) {
                return Ok(Some(pinned.to_owned()));
            }
            let addition = self.of(source);
            if let Some(Added::Tree(checkout)) = unpoisoned(&addition.here).as_deref() {
                return Ok(Some(checkout.commit.clone()));
            }
            let mut commit = unpoisoned(&addition.commit);
            if commit.is_none() {
                *commit = Some(context::commit(git, request, &services.means(request))?);
            }
            Ok(commit.clone().flatten())
        };
        step.sources.iter().map(commit).collect()
    }

    /// Returns the digest of what a source is, as far as that is known: what was fetched has one, and so has what must
    /// have one.
    pub(super) fn digest(&self, source: &CopySource) -> DigestSet {
        let addition = self.of(source);
        match (unpoisoned(&addition.here).as_deref(), source) {
            (Some(Added::File { held, .. }), _) => sha256(&held.digest),
            (Some(Added::Tree(checkout)), _) => commit(&checkout.commit),
            (None, CopySource::Url { source, .. }) => source.checksum.as_ref().map(sha256).unwrap_or_default(),
            (None, CopySource::Git(git)) => {
                let said = unpoisoned(&addition.commit).clone().flatten();
                pinned(git).or(said.as_deref()).map(commit).unwrap_or_default()
            }
            (None, CopySource::Path(_) | CopySource::Inline { .. }) => DigestSet::new(),
        }
    }

    /// Tells whether a repository's reference named another commit when it was fetched than when its server was asked.
    pub(super) fn have_moved(&self, step: &CopyStep) -> bool {
        step.sources.iter().any(|source| {
            let CopySource::Git(git) = source else { return false };
            let addition = self.of(source);
            let said = unpoisoned(&addition.commit).clone().flatten();
            match (said, unpoisoned(&addition.here).as_deref()) {
                // An id means the same at any time, also that of a tag.
                (Some(said), Some(Added::Tree(checkout))) => {
                    said != checkout.commit && git.reference.as_ref().is_none_or(|name| name.to_lowercase() != said)
                }
                _ => false,
            }
        })
    }

    /// Returns what each source of a step is that comes from elsewhere, none for the others.
    pub(super) fn of_step(
        &self,
        step: &CopyStep,
        request: &BuildRequest,
        services: &Services,
    ) -> Result<Vec<Option<Arc<Added>>>, Error> {
        let get = |source: &CopySource| {
            if !source.is_remote() {
                return Ok(None);
            }
            let addition = self.of(source);
            let mut here = unpoisoned(&addition.here);
            if here.is_none() {
                *here = fetch(source, addition.number, request, services)?.map(Arc::new);
            }
            Ok(here.clone())
        };
        step.sources.iter().map(get).collect()
    }
}

/// Returns the commit that the text of a source names in full, and does not contradict.
fn pinned(git: &GitSource) -> Option<&str> {
    let ids = || [&git.commit, &git.checksum].into_iter().flatten();
    let pinned = ids().find(|id| id.len() == COMMIT_DIGITS)?;
    ids().all(|id| pinned.starts_with(id.as_str())).then_some(pinned)
}

/// Returns the steps that copy, each with the numbers of its stage and in it.
fn copies(plan: &BuildPlan) -> impl Iterator<Item = ((usize, usize), &CopyStep)> {
    plan.stages.iter().enumerate().flat_map(|(stage, planned)| {
        planned.steps.iter().enumerate().filter_map(move |(number, step)| match &step.action {
            Action::Copy(copy) => Some(((stage, number), copy)),
            Action::Configure | Action::Run(_) | Action::Workdir(_) => None,
        })
    })
}

fn fetch(
    source: &CopySource,
    number: usize,
    request: &BuildRequest,
    services: &Services,
) -> Result<Option<Added>, Error> {
    let means = services.means(request);
    let parent = request.state_directory.join("added");
    fs::create_dir_all(&parent).map_err(|source| Error::State { action: "create", path: parent.clone(), source })?;
    let path = parent.join(number.to_string());
    Ok(match source {
        CopySource::Path(_) | CopySource::Inline { .. } => None,
        CopySource::Url { name, source } => {
            let download = context::download(source, &path, request, &means)?;
            let held = Held::take(&path, &download);
            let held = held.map_err(|source| Error::State { action: "open", path, source })?;
            Some(Added::File { name: name.clone(), held, modified: download.modified })
        }
        CopySource::Git(source) => Some(Added::Tree(context::clone(source, &path, request, &means)?)),
    })
}
