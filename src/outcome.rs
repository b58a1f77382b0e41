//! What came of a build; every result file is a view of it.
//!
//! Knows facts only, no file formats.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::oci::{Descriptor, Digest, Platform, Reference};
use crate::progress::{Miss, Phase, StepId, StepResult};

/// A build that succeeded.
#[derive(Clone, Debug)]
pub struct BuildOutcome {
    /// The manifest, or the index of several platforms: its digest is the image's.
    pub manifest: Descriptor,
    /// The configuration; of an index that of its first image.
    pub config: Descriptor,
    /// The images of an index, each with its platform; none where it is one image.
    pub images: Vec<Descriptor>,
    /// The size in bytes of all that a pull fetches: manifest, configuration, compressed layers.
    pub size: u64,
    /// How many layers the image has.
    pub layers: usize,
    /// How many of these came with the base.
    pub base_layers: usize,
    /// The image's platform.
    pub platform: Platform,
    /// The references that the image was pushed to, in the order they were given.
    pub pushed: Vec<Reference>,
    /// The images that the Dockerfile named and the target needed; the one that the target is based on first.
    pub bases: Vec<BaseUsed>,
    /// What is known of the context, if it was fetched.
    pub context: Option<ContextOrigin>,
    /// The commit of the context, fetched or a clone on this machine.
    pub source: Option<SourceUsed>,
    /// The steps that were done, stage after stage.
    pub steps: Vec<StepDone>,
    /// What was said about the image, and went where the image went.
    pub attested: Vec<Attested>,
    /// The documents of what is installed, one for each image, where that was asked for.
    pub sboms: Vec<String>,
    /// How it was built.
    pub circumstances: Circumstances,
}

/// How an image was built: what is of the machine and the day, and not of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// When the build began.
    pub began: Timestamp,
    /// How long it took, up to the results.
    pub elapsed: Duration,
    /// Which isolation RUNs had; none where there was no RUN to do.
    pub isolation: Option<&'static str>,
    /// What the time was spent on. Phases go on at the same time, so the sum may be more than all of it, or less.
    pub phases: BTreeMap<Phase, Duration>,
}

/// Documents about an image that were delivered with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// What points to their manifest.
    pub manifest: Descriptor,
    /// The image that they are about.
    pub subject: Digest,
    /// Whether they stand beside the image in an index, and do not refer to it.
    pub is_in_index: bool,
    /// Whether registries alone have them, and no other output of the build.
    pub is_offered: bool,
    /// The documents.
    pub documents: Vec<AttestedDocument>,
}

/// A document about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedDocument {
    /// What kind of statement it is; none where it is no statement.
    pub predicate_type: Option<String>,
    /// What its bytes are.
    pub media_type: String,
    /// Its bytes.
    pub content: Bytes,
}

/// An index that was made of images.
#[derive(Clone, Debug)]
pub struct IndexOutcome {
    /// The index: what a reference to it points to.
    pub index: Descriptor,
    /// Its images, each with its platform, in the order of the index.
    pub images: Vec<Descriptor>,
    /// The references that it was pushed to, in the order they were given.
    pub pushed: Vec<Reference>,
}

/// An image, or an index of images, that was pushed as it was.
#[derive(Clone, Debug)]
pub struct PushOutcome {
    /// What a reference to it points to.
    pub image: Descriptor,
    /// The references that it was pushed to, in the order they were given.
    pub pushed: Vec<Reference>,
}

/// The commit that a build context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUsed {
    /// The repository's URL, without credentials.
    pub url: String,
    /// The commit's full hash.
    pub commit: String,
}

/// Where a context came from, and what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextOrigin {
    /// The digest of its names, modes and contents.
    pub content: Digest,
    /// Its URL, without secrets.
    pub url: Option<String>,
    /// Its Git commit, where it was Git.
    pub source: Option<SourceUsed>,
}

/// An image that a Dockerfile names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUsed {
    /// As it was named, in normal form.
    pub name: Reference,
    /// The digest that the registry answered for it, an index's where it is one.
    pub digest: Digest,
}

/// A step that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDone {
    /// Which one.
    pub step: StepId,
    /// Its Dockerfile line, from 1.
    pub line: usize,
    /// The instruction.
    pub text: String,
    /// What came of it.
    pub result: StepResult,
    /// Why the cache did not have it; none where it had, or was not asked.
    pub miss: Option<Miss>,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
}
