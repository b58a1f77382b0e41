//! What a build takes from earlier ones, and keeps for later ones.

use std::path::PathBuf;

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
    /// Tells whether anything is to be looked for.
    pub fn is_on(&self) -> bool {
        self.directory.is_some() || self.repository.is_some() || !self.images.is_empty()
    }
}
