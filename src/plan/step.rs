//! The plan as data: stages, what each starts from, and what each of its steps does.
//!
//! Mounts are data here: which of them an isolation can make, and how, is not known.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use super::chmod::Chmod;
use crate::dockerfile::{MountOwner, Sharing, Span, Warning};
use crate::image::Image;
use crate::oci::{ContainerConfig, Digest, ImageConfig, Platform, Reference};
use crate::progress::StepId;
use crate::request::{GitSource, Host, HttpsSource, RunNetwork};

/// A build, decided: every stage that the target needs, each after those it needs itself.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildPlan {
    /// The stages, each behind those that it needs.
    pub stages: Vec<Stage>,
    /// The one that becomes the image.
    pub target: StageId,
    /// What should be changed in the Dockerfile, found while planning, whatever `# check` says.
    pub warnings: Vec<Warning>,
}

impl BuildPlan {
    /// Returns the steps of all stages.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flat_map(|stage| &stage.steps)
    }

    /// Returns what is run, in all stages.
    pub fn runs(&self) -> impl Iterator<Item = &RunStep> {
        self.steps().filter_map(|step| match &step.action {
            Action::Run(run) => Some(run),
            Action::Configure | Action::Copy(_) | Action::Workdir(_) => None,
        })
    }
}

/// Which stage of a plan: an index into [`BuildPlan::stages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(pub usize);

/// A stage, decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its name, or its number in the Dockerfile, as text.
    pub name: String,
    /// What it starts from.
    pub base: StageBase,
    /// The platform of its base, and of its image.
    pub platform: Platform,
    /// Its steps, in order, ONBUILD triggers of its base first.
    pub steps: Vec<Step>,
    /// The configuration after the last step.
    pub config: ContainerConfig,
    /// The author after the last step, if MAINTAINER gave one.
    pub author: Option<String>,
    /// The place of its FROM.
    pub span: Span,
    /// Its FROM, as written on one line.
    pub text: String,
}

impl Stage {
    /// Returns what the step with this number, from 0, is called.
    pub fn step_id(&self, number: usize) -> StepId {
        StepId { stage: self.name.clone(), number: number + 1, total: self.steps.len() }
    }

    /// Returns the stages that must be done before this one can be.
    pub fn inputs(&self) -> BTreeSet<StageId> {
        let base = match self.base {
            StageBase::Stage(id) => Some(id),
            StageBase::Scratch | StageBase::Image(_) => None,
        };
        let read = self.steps.iter().flat_map(|step| step.action.stages());
        base.into_iter().chain(read).collect()
    }

    /// Tells whether one of its steps reads files of another stage.
    pub fn reads(&self, stage: StageId) -> bool {
        self.steps.iter().any(|step| step.action.sources().contains(&&CopyFrom::Stage(stage)))
    }
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageBase {
    /// Nothing.
    Scratch,
    /// An image of a registry.
    Image(BaseKey),
    /// The result of an earlier stage.
    Stage(StageId),
}

/// Which image a Dockerfile names: a reference, for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BaseKey {
    /// The image, as named.
    pub reference: Reference,
    /// The platform's text; `Platform` itself has no order.
    pub platform: String,
    /// The OCI layout that it is in; none for an image of a registry.
    pub layout: Option<PathBuf>,
}

/// An image that a Dockerfile names, resolved: manifest and configuration are known, no layer is fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// The repository and the digest that the registry answered for the reference (an index's, where it is one).
    pub pinned: Reference,
    /// The digest of the manifest for the platform.
    pub manifest: Digest,
    /// Its configuration, and its layers, which are not fetched yet.
    pub image: Image,
}

impl Base {
    /// Stands for an image that could not be asked for: it has no configuration, and no digest pins it.
    ///
    /// Only good for looking at a plan.
    pub fn unknown(reference: &Reference, platform: Platform) -> Self {
        let image = Image { config: ImageConfig::scratch(platform), layers: Vec::new() };
        let pinned = Reference { digest: None, ..reference.clone() };
        Self { pinned, manifest: Digest::of(b""), image }
    }

    /// Tells whether the registry was asked and answered.
    pub fn is_known(&self) -> bool {
        self.pinned.digest.is_some()
    }
}

/// The images that are resolved so far.
pub type Bases = HashMap<BaseKey, Base>;

/// One step of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The place of its instruction; for an ONBUILD trigger of an image, that of the FROM.
    pub span: Span,
    /// Its text for people: the instruction on one line.
    pub text: String,
    /// The text that goes into the image's history; none where nothing is written (ONBUILD).
    pub created_by: Option<String>,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing to files: the configuration only, which [`Stage::config`] has already.
    Configure,
    /// Runs a process in the root file system.
    Run(RunStep),
    /// Copies files into the image.
    Copy(CopyStep),
    /// Makes the working directory.
    Workdir(WorkdirStep),
}

impl Action {
    /// Tells whether the step can only be done in a root file system on disk.
    pub fn needs_rootfs(&self) -> bool {
        match self {
            Self::Run(_) => true,
            Self::Configure | Self::Copy(_) | Self::Workdir(_) => false,
        }
    }

    /// Tells whether the step must know which files its base has.
    pub fn needs_files(&self) -> bool {
        match self {
            Self::Run(_) | Self::Workdir(_) => true,
            Self::Copy(copy) => !copy.is_apart(),
            Self::Configure => false,
        }
    }

    /// Returns the contexts, stages and images that the step takes files from.
    pub fn sources(&self) -> Vec<&CopyFrom> {
        match self {
            Self::Run(run) => run.sources().collect(),
            Self::Copy(copy) => vec![&copy.from],
            Self::Configure | Self::Workdir(_) => Vec::new(),
        }
    }

    /// Returns the stages that the step takes files from.
    pub fn stages(&self) -> impl Iterator<Item = StageId> {
        self.sources().into_iter().filter_map(CopyFrom::stage)
    }
}

/// A process to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStep {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The whole environment, but for the proxies, and for HOME, which depends on the image's passwd.
    pub environment: Vec<(String, String)>,
    /// The proxy variables among the build arguments, which come before the environment; the result does not
    /// depend on them.
    pub proxies: Vec<(String, String)>,
    /// `USER` as it stands, empty for root.
    pub user: String,
    /// The working directory, absolute.
    pub directory: String,
    /// Which network it sees.
    pub network: RunNetwork,
    /// Further names for its `/etc/hosts`.
    pub hosts: Vec<Host>,
    /// The host name it sees; none means the isolation's.
    pub hostname: Option<String>,
    /// What is mounted for it, in this order: a path comes before what is below it.
    pub mounts: Vec<Mount>,
}

/// Something that is there for one RUN only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, absolute and clean, never the root; none for a secret that is a variable alone.
    pub target: Option<String>,
    /// What.
    pub what: Mounted,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// Files of a context, a stage or an image; what RUN writes to them is lost.
    Bind {
        /// Where they come from.
        from: CopyFrom,
        /// Which file or directory of it, absolute and clean.
        source: String,
        /// Whether RUN may write to them.
        read_only: bool,
    },
    /// A directory that outlives the RUN.
    Cache(CacheMount),
    /// An empty directory.
    Tmpfs {
        /// Its size in bytes, if limited.
        size: Option<u64>,
    },
    /// A secret, as a file, as a variable, or as both.
    Secret {
        /// Its id.
        id: String,
        /// Whether the build fails without it.
        required: bool,
        /// The variable that gets its value.
        variable: Option<String>,
        /// Mode and owner of the file.
        owner: MountOwner,
    },
    /// An agent's socket.
    Ssh {
        /// Its id.
        id: String,
        /// Whether the build fails without it.
        required: bool,
        /// Mode and owner of the socket.
        owner: MountOwner,
    },
    /// An executable file with this text.
    Script(String),
}

/// A directory that outlives the RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    /// What it is known by: RUNs that name the same id share it.
    pub id: String,
    /// What happens when several RUNs want it at a time.
    pub sharing: Sharing,
    /// What it begins with when it is new; nothing if none.
    pub from: Option<CopyFrom>,
    /// The directory of `from` that it begins with, or else the directory of the cache that is shown; absolute
    /// and clean.
    pub source: String,
    /// Mode and owner of the directory when it is new.
    pub owner: MountOwner,
    /// Whether RUN may not write to it.
    pub read_only: bool,
}

impl RunStep {
    /// Returns the sources that its mounts take files from.
    pub fn sources(&self) -> impl Iterator<Item = &CopyFrom> {
        self.mounts.iter().filter_map(|mount| mount.what.shows()).map(|(from, _)| from)
    }
}

impl Mounted {
    /// Returns which files it shows, if any that are there before the RUN: whose, and the path.
    pub fn shows(&self) -> Option<(&CopyFrom, &str)> {
        match self {
            Self::Bind { from, source, read_only: _ } => Some((from, source)),
            Self::Cache(cache) => cache.from.as_ref().map(|from| (from, &*cache.source)),
            Self::Tmpfs { .. } | Self::Secret { .. } | Self::Ssh { .. } | Self::Script(_) => None,
        }
    }

    /// Tells whether no other RUN may have it.
    pub fn is_confidential(&self) -> bool {
        match self {
            Self::Secret { .. } | Self::Ssh { .. } => true,
            Self::Bind { .. } | Self::Cache(_) | Self::Tmpfs { .. } | Self::Script(_) => false,
        }
    }
}

/// Files to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyStep {
    /// Where they come from.
    pub from: CopyFrom,
    /// Which ones, in order.
    pub sources: Vec<CopySource>,
    /// Where they go: absolute; a trailing slash is kept, since it makes the destination a directory.
    pub destination: String,
    /// `--chown`, expanded.
    pub chown: Option<String>,
    /// `--chmod`: what happens to the permission bits of all that is copied.
    pub chmod: Option<Chmod>,
    /// `--link`; see [`CopyStep::is_apart`].
    pub link: bool,
    /// `--parents`: sources keep the directories that they are in.
    pub parents: bool,
    /// `--exclude`: patterns of what is left out.
    pub excludes: Vec<String>,
    /// Which archives are unpacked (ADD).
    pub unpack: Unpack,
}

impl CopyStep {
    /// Tells whether the layer does not depend on what the image has, so that nothing of it is looked at: with `--link`, but
    /// for `--chmod`, with which BuildKit does not link. A layer of its own would give the directories on the way to
    /// what it holds that mode, in place of the one that the image has.
    pub fn is_apart(&self) -> bool {
        self.link && self.chmod.is_none()
    }

    /// Makes a step that copies one source as it is, whatever the image has.
    pub fn plain(from: CopyFrom, source: String, destination: &str) -> Self {
        Self {
            from,
            sources: vec![CopySource::Path(source)],
            destination: destination.to_owned(),
            chown: None,
            chmod: None,
            link: true,
            parents: false,
            excludes: Vec::new(),
            unpack: Unpack::Nothing,
        }
    }
}

/// Which sources are unpacked if they are tar archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// None.
    Nothing,
    /// Files of the context.
    Local,
    /// Files of the context and what was downloaded.
    Everything,
}

/// Where COPY and mounts take files from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFrom {
    /// The build context.
    Context,
    /// Another context of files, by its name.
    Named(String),
    /// The result of another stage.
    Stage(StageId),
    /// An image of a registry.
    Image(BaseKey),
}

impl CopyFrom {
    /// Returns the stage, if it is one.
    pub fn stage(&self) -> Option<StageId> {
        match self {
            Self::Stage(id) => Some(*id),
            Self::Context | Self::Named(_) | Self::Image(_) => None,
        }
    }
}

/// One source of COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or a pattern, relative to the source's root.
    Path(String),
    /// A file that stands in the Dockerfile.
    Inline {
        /// Its name.
        name: String,
        /// Its content.
        content: String,
    },
    /// A file that a server has (ADD).
    Url {
        /// What it is called in the image where the destination is a directory.
        name: String,
        /// Where it is.
        source: HttpsSource,
    },
    /// The files of a repository's commit (ADD).
    Git(GitSource),
}

impl CopySource {
    /// Tells whether it must be fetched first.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Path(_) | Self::Inline { .. } => false,
            Self::Url { .. } | Self::Git(_) => true,
        }
    }
}

/// A directory to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkdirStep {
    /// The directory, absolute and clean.
    pub path: String,
    /// Who owns what is made: `USER` as it stands, empty for root.
    pub user: String,
}
