//! What happens during a build, as events.
//!
//! Knows the moments worth telling; does not know how they look: only `cli::report` makes text of them.
//!
//! *Invariant: an event carries facts (digest, bytes, durations), never a formatted sentence with a secret in it.*

mod activity;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::oci::{Digest, Platform, Reference};

pub use activity::{Activity, Moving, Reading};

/// Receives events; called from any thread, in the order in which things happen on that thread.
pub trait Reporter: Send + Sync {
    /// Takes note of one event.
    fn report(&self, event: Event<'_>);
}

/// Which step of which stage an event belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepId {
    /// The stage's name, or its number where it has none.
    pub stage: String,
    /// The step's number within the stage, from 1.
    pub number: usize,
    /// How many steps the stage has.
    pub total: usize,
}

/// Writes `[app 2/5]`.
impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} {}/{}]", self.stage, self.number, self.total)
    }
}

/// One of RUN's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// It made a layer.
    Layer {
        /// The compressed layer's digest.
        digest: Digest,
        /// The compressed layer's size in bytes.
        size: u64,
    },
    /// Its layer came from the cache.
    Cached {
        /// The compressed layer's digest.
        digest: Digest,
        /// The compressed layer's size in bytes.
        size: u64,
    },
    /// It is known from the cache that it makes no layer.
    CachedNoLayer,
    /// Another stage did the same from the same files, once for both.
    Alike {
        /// What the step is called there.
        step: StepId,
        /// The compressed layer's digest, and its size in bytes; none where it made none.
        layer: Option<(Digest, u64)>,
    },
    /// It was done, and changed no file.
    NoLayer,
    /// It is of the configuration alone.
    Configured,
}

impl StepResult {
    /// Tells whether the step was not done, because its result was known.
    pub fn is_cached(&self) -> bool {
        matches!(self, Self::Cached { .. } | Self::CachedNoLayer)
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageEnd<'a> {
    /// All of it was done.
    Done,
    /// It failed, for this reason.
    Failed(&'a str),
    /// It did not fail: something else ended the build.
    CutOff,
}

/// Why a step had to be done though there is a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What is otherwise than before: `file src/a changed`.
    pub because: String,
    /// When the result was made that does not fit any more, in seconds since 1970.
    pub since: Option<i64>,
}

impl Miss {
    /// Why all steps of a build miss whose cache is new.
    pub const NOTHING_KNOWN: &'static str = "nothing is known of an earlier build";
}

/// A part of the work: what is going on, and what the summary tells the time of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Bringing the context here and reading the Dockerfile.
    Context,
    /// Asking registries for manifests and configurations, and whether we may push.
    Resolve,
    /// Bringing blobs of bases here.
    Pull,
    /// Reading the tar headers of base layers.
    Index,
    /// Setting aside what stands in the container's own root, clearing that, and putting back.
    SetAside,
    /// Unpacking layers into a root file system.
    Unpack,
    /// Running RUN's processes.
    Run,
    /// Finding changes and writing layers.
    Snapshot,
    /// Writing the layers of COPY and ADD.
    Copy,
    /// Writing the image into files.
    Write,
    /// Sending blobs and manifests.
    Push,
    /// Waiting until the cache has what was made.
    Cache,
}

/// How a blob came to be in the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Its bytes were sent.
    Uploaded,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was there already.
    Existed,
}

/// A request and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The URL, redacted.
    pub url: &'a str,
    /// The status of the answer, or why there is none.
    pub answer: Result<u16, &'a str>,
    /// Headers of the answer that tell what happened, without secrets.
    pub headers: &'a [(&'static str, String)],
    /// How long it took until the answer began.
    pub elapsed: Duration,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Where the credential is from; none where there was none.
    pub credential: Option<&'a str>,
}

/// Something that happened.
#[derive(Clone)]
pub enum Event<'a> {
    /// A fact that the user should know, e.g. which isolation was taken and why.
    Note(&'a str),
    /// The Dockerfile was found.
    Dockerfile {
        /// Where on this machine.
        path: &'a Path,
        /// Which it is, and why, for people.
        text: &'a str,
    },
    /// The Dockerfile is being read.
    Reading {
        /// What is in it.
        text: &'a [u8],
    },
    /// Something that is probably not meant, with the place where one is known.
    Warning {
        /// The lint rule's or our own short name, e.g. `MaintainerDeprecated`.
        rule: &'a str,
        /// The Dockerfile line, from 1.
        line: Option<usize>,
        /// What is wrong, and what to do.
        message: &'a str,
    },
    /// Something failed in a way that may pass, and is tried again.
    Retry {
        /// What failed, to what and how.
        why: &'a str,
        /// How long is waited before.
        wait: Duration,
        /// The number of the attempt that follows, from 2.
        attempt: u32,
        /// How many there may be.
        attempts: u32,
    },
    /// A request was answered, or got no answer.
    Exchange(&'a Exchange<'a>),
    /// Something was decided that changes what is done.
    Decided {
        /// About what: `isolation`, `cache`, `layer`.
        about: &'a str,
        /// What, and why.
        text: &'a str,
    },
    /// A detail of how something is done.
    Detail {
        /// Of what: `run`.
        about: &'a str,
        /// Which.
        text: &'a str,
    },
    /// Another side is silent, and is waited for.
    Silence {
        /// What is waited for.
        what: &'a str,
        /// How long it has been.
        since: Duration,
        /// When it is given up, counted from the beginning.
        limit: Duration,
    },
    /// It is known what will be done.
    Planned {
        /// How many steps all stages have together.
        steps: usize,
        /// How many stages of the Dockerfile are left out, because the target does not need them.
        skipped: usize,
        /// The plan as text.
        plan: &'a dyn fmt::Display,
    },
    /// The key of the whole build is known.
    BuildKey {
        /// The key: 64 hexadecimal digits.
        key: &'a str,
        /// Whether it is all that was asked for.
        is_asked: bool,
    },
    /// RUN's isolation was chosen.
    Isolation {
        /// Which.
        name: &'static str,
        /// What it can do, and what was asked for.
        text: &'a str,
    },
    /// It is known which image a name means.
    Resolved {
        /// The name, in normal form.
        name: &'a Reference,
        /// What it means now; an index's digest where it is one.
        digest: &'a Digest,
    },
    /// A stage begins.
    StageStarted {
        /// Its name, or its number where it has none.
        stage: &'a str,
        /// What it is based on.
        base: &'a str,
        /// What it is built for.
        platform: &'a Platform,
    },
    /// A stage has ended, and with it the step that it was at.
    StageEnded {
        /// Its name, or its number where it has none.
        stage: &'a str,
        /// How.
        end: StageEnd<'a>,
    },
    /// A step begins.
    StepStarted {
        /// Which one.
        step: &'a StepId,
        /// The instruction's text.
        text: &'a str,
    },
    /// The step that has begun is being done: nobody has its result.
    Working {
        /// Which one.
        step: &'a StepId,
    },
    /// The cache does not have a step's result, so that it is done.
    Missed {
        /// Which one.
        step: &'a StepId,
        /// Why not.
        miss: &'a Miss,
    },
    /// RUN wrote something.
    Output {
        /// Which step.
        step: &'a StepId,
        /// Where it wrote.
        stream: Stream,
        /// What, as it came; not necessarily whole lines.
        bytes: &'a [u8],
    },
    /// A step wrote a layer.
    LayerWritten {
        /// Which one.
        step: &'a StepId,
        /// Finds its largest files, up to so many, the largest first, with their sizes in bytes; for who wants to know.
        largest: &'a dyn Fn(usize) -> Vec<(PathBuf, u64)>,
    },
    /// A step ended well.
    StepFinished {
        /// Which one.
        step: &'a StepId,
        /// What came of it.
        result: &'a StepResult,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something began that may take its time.
    Began {
        /// What, and how far it is.
        activity: &'a Arc<Activity>,
    },
    /// A layer of a base was downloaded, or a part of it.
    Pulled {
        /// The layer.
        digest: &'a Digest,
        /// Bytes that came over the network since the last such event.
        bytes: u64,
    },
    /// A blob is in a destination.
    Pushed {
        /// The destination's repository.
        repository: &'a str,
        /// The blob.
        digest: &'a Digest,
        /// Its size in bytes.
        size: u64,
        /// How it came there.
        delivery: Delivery,
    },
    /// A phase took time; added up for the summary.
    Spent {
        /// On what.
        phase: Phase,
        /// How long.
        elapsed: Duration,
    },
}

impl Phase {
    /// Returns its name, as the summary and programs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Resolve => "resolve",
            Self::Pull => "pull",
            Self::Index => "index",
            Self::SetAside => "set aside",
            Self::Unpack => "unpack",
            Self::Run => "run",
            Self::Snapshot => "snapshot",
            Self::Copy => "copy",
            Self::Write => "write",
            Self::Push => "push",
            Self::Cache => "cache",
        }
    }
}

/// A reporter that says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event<'_>) {}
}
