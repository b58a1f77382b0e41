//! Why a build failed, and at which instruction.

use std::io;
use std::path::PathBuf;

use crate::dockerfile::lint::Rule;
use crate::dockerfile::{ParseError, Span};
use crate::isolation::Exit;
use crate::oci::Digest;
use crate::progress::StepId;
use crate::{cache, context, image, isolation, output, plan, registry, rootfs, store, trust};

/// A build that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context or the Dockerfile is not there.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// The Dockerfile does not parse.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The Dockerfile cannot be built.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// The Dockerfile breaks rules, and says that this is an error.
    #[error("lint violation found for rules: {}", names(rules))]
    Lint {
        /// The rules, each once.
        rules: Vec<Rule>,
    },
    /// An image that the Dockerfile names cannot be had.
    #[error("cannot use the image {reference}")]
    Base {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: registry::Error,
    },
    /// An image would have to be fetched, and nothing may use the network.
    #[error("the image {reference} is not on this machine, and no network may be used")]
    Offline {
        /// The image.
        reference: String,
    },
    /// An image says something about itself that does not fit together.
    #[error("the image {reference} is not usable: {reason}")]
    BadBase {
        /// The image.
        reference: String,
        /// What does not fit.
        reason: String,
    },
    /// An image does not meet the policy, or that cannot be found out.
    #[error(transparent)]
    Untrusted(#[from] trust::Error),
    /// A layer of a base cannot be read.
    #[error("cannot read layer {digest}")]
    Layer {
        /// Its digest.
        digest: String,
        /// Why.
        #[source]
        source: image::Error,
    },
    /// A layer of a base cannot be fetched.
    #[error("cannot fetch layer {digest}")]
    Fetch {
        /// Its digest.
        digest: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is said about the image cannot be written down.
    #[error("cannot write what is said about the image")]
    Attest(#[source] serde_json::Error),
    /// A layer cannot be written.
    #[error(transparent)]
    Write(#[from] image::Error),
    /// A file of the state directory cannot be used.
    #[error("cannot {action} {}", path.display())]
    State {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store of blobs fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What earlier builds left cannot be used.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The root file system fails.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// No process can be run here.
    #[error(transparent)]
    Isolation(#[from] isolation::Error),
    /// COPY, ADD or WORKDIR fails.
    #[error(transparent)]
    Copy(#[from] super::CopyError),
    /// USER names somebody that the image does not know.
    #[error("cannot run as user `{user}`")]
    User {
        /// The user, as USER has it.
        user: String,
        /// Which part is not known.
        #[source]
        source: image::Error,
    },
    /// `SOURCE_DATE_EPOCH` names nothing.
    #[error("SOURCE_DATE_EPOCH is `{value}`: neither seconds since 1970, nor `context`, a named context or a stage")]
    Epoch {
        /// Its value.
        value: String,
    },
    /// `SOURCE_DATE_EPOCH` names a stage that is more than one ADD.
    #[error(
        "SOURCE_DATE_EPOCH names the stage `{stage}`, which is not `FROM scratch` with one ADD of a URL or a repository alone"
    )]
    EpochStage {
        /// Its name.
        stage: String,
    },
    /// A RUN asks for what the isolation in use cannot give.
    #[error("{what} is not possible in {isolation} isolation")]
    Unable {
        /// What was asked for.
        what: String,
        /// The isolation in use.
        isolation: &'static str,
        /// What would help.
        hint: String,
    },
    /// A RUN needs what was not given to the build.
    #[error("{what} is required and was not given")]
    NotGiven {
        /// What.
        what: String,
        /// Which flag gives it.
        hint: String,
    },
    /// A RUN has changed what was fetched.
    #[error("a RUN has changed files that were fetched to {}", path.display())]
    Tampered {
        /// Where they are.
        path: PathBuf,
    },
    /// The executor's container has something of its own over files that a RUN counts on.
    #[error("RUN would not see {what} in container isolation: this container has {} of its own in the way", by.display())]
    Hidden {
        /// What is hidden.
        what: String,
        /// What hides it: a mount of the pod, or what is the executor's.
        by: PathBuf,
    },
    /// RUN's process failed.
    #[error("RUN failed: {}", exit_text(*exit))]
    Run {
        /// How it ended.
        exit: Exit,
        /// What is probably the reason, and what to do.
        hint: Option<String>,
    },
    /// The image cannot be delivered.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// A signal ended the build.
    #[error("the build was interrupted")]
    Interrupted,
    /// One of the above, at an instruction.
    #[error("{source}")]
    At {
        /// Where.
        place: Box<Place>,
        /// What.
        source: Box<Error>,
    },
}

/// A place in a Dockerfile, and in the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instruction's lines.
    pub span: Span,
    /// The step; none where the stage's base is at fault.
    pub step: Option<StepId>,
    /// What was probably meant there.
    pub hint: Option<String>,
}

impl Error {
    /// Adds what was probably meant at the place.
    pub(super) fn meant(self, meant: Option<String>) -> Self {
        match self {
            Self::At { place, source } => Self::At { place: Box::new(Place { hint: meant, ..*place }), source },
            other => other,
        }
    }

    /// Makes it that of a signal, which came when the build was at this place.
    pub(super) fn interrupted(self) -> Self {
        match self {
            Self::At { place, .. } => Self::At { place, source: Box::new(Self::Interrupted) },
            _ => Self::Interrupted,
        }
    }

    /// Adds the place, unless it is known already.
    pub(super) fn at(self, span: Span, step: Option<&StepId>) -> Self {
        match self {
            Self::At { .. } => self,
            other => {
                let place = Box::new(Place { span, step: step.cloned(), hint: None });
                Self::At { place, source: Box::new(other) }
            }
        }
    }
}

impl Error {
    /// Returns the layer that an output could not read.
    pub(super) fn undelivered(&self) -> Option<Digest> {
        let error = if let Self::At { source, .. } = self { source } else { self };
        let Self::Output(output::Error::Layer { digest, .. }) = error else { return None };
        digest.parse().ok()
    }
}

fn names(rules: &[Rule]) -> String {
    rules.iter().map(|rule| rule.name()).collect::<Vec<_>>().join(", ")
}

fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Status(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
    }
}
