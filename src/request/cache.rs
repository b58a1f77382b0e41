//! What a build takes from earlier ones, and keeps for later ones.

use std::path::PathBuf;

use super::SecretSource;
use crate::oci::Reference;

/// How the layers of steps are kept and found again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRequest {
    /// The directory that is asked first.
    pub directory: Option<PathBuf>,
    /// The repository that is asked then.
    pub repository: Option<Reference>,
    /// Images whose own layers are asked last.
    pub images: Vec<Reference>,
    /// The part of directory and repository that is written and read; what is above it is only read. Empty for the
    /// whole, which then is the only one.
    pub namespace: Vec<String>,
    /// Whether anything is kept.
    pub writes: bool,
    /// How old an entry may be, in seconds.
    pub ttl: i64,
    /// The time at the start of the build, in seconds since 1970.
    pub now: i64,
    /// The key that entries are sealed with; without one any entry counts.
    pub key: Option<SecretSource>,
    /// Which steps' layers are kept and found.
    pub steps: CachedSteps,
    /// Whether the image itself says which of its layers belongs to which step.
    pub inline: bool,
    /// Whether the key of the build is told, and nothing built.
    pub print_key: bool,
    /// Whether an image that was already built of the same is taken instead of building.
    pub skip_existing: bool,
}

/// Which steps' layers are kept and found again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedSteps {
    /// RUN and WORKDIR.
    pub runs: bool,
    /// COPY and ADD.
    pub copies: bool,
}

impl CacheRequest {
    /// Lists all that is asked of registries.
    pub fn repositories(&self) -> Vec<Reference> {
        let levels = self.repository.iter().flat_map(|root| self.levels(root));
        levels.chain(self.images.iter().cloned()).collect()
    }

    /// Lists the parts of a repository that are read: that of the namespace, and those above it.
    pub fn levels(&self, root: &Reference) -> Vec<Reference> {
        (0..=self.namespace.len()).rev().map(|level| part_of(root, &self.namespace[..level])).collect()
    }

    /// Tells whether anything is to be looked for.
    pub fn is_on(&self) -> bool {
        self.directory.is_some() || self.repository.is_some() || !self.images.is_empty()
    }
}

/// Returns the repository of a part of a cache.
pub fn part_of(root: &Reference, namespace: &[String]) -> Reference {
    let names = std::iter::once(&root.repository).chain(namespace);
    let repository = names.map(String::as_str).collect::<Vec<_>>().join("/");
    Reference { repository, ..root.clone() }
}
