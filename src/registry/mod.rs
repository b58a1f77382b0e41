//! Registries: the OCI distribution specification, as a client.
//!
//! Knows references, manifests, blobs, tokens and credentials. Knows neither builds nor layers' contents;
//! it decides nothing about what is pulled or pushed.
//!
//! *Invariant: no byte leaves this room as content before its size and digest are what the descriptor says
//! (a stream says so with its last item); every operation survives transient failures, loses no more than
//! one chunk of an upload and nothing of a download to them, and uses memory that does not grow with size.*

mod auth;
mod catalog;
mod challenge;
mod clouds;
mod credentials;
mod download;
mod error;
mod helper;
mod host;
mod login;
mod mirrors;
mod pull;
mod push;
mod read;
mod referrers;
mod registries_conf;
mod source;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;

#[cfg(feature = "google")]
pub use clouds::KeptGoogle;
pub use clouds::{Clouds, Endpoints};
pub use credentials::{
    Content, Credential, Credentials, CredentialsError, Document, Explanation, Found, Keychain, Login, Lookup, Names,
    Outcome, Secret, Sources, find_program,
};
pub use download::BlobStream;
pub use error::{At, Denied, Error, ErrorKind};
pub use login::{LoginError, store as store_login};
pub use mirrors::{Mirror, MirrorError, Mirrors, Pulls, Rule, Scope};
pub use pull::Resolved;
pub use push::Pushed;
pub use read::read_blocking;
pub use referrers::Listed;
pub use registries_conf::{RegistriesConf, RegistriesConfError};
pub use source::BlobSource;

use crate::http;
use crate::oci::{DEFAULT_REGISTRY, Reference};
use crate::progress::{Event, Reporter};

/// How registries are spoken to; certificates are [`http::Options::hosts`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings by registry, keyed as [`settings_key`] gives it.
    pub registries: BTreeMap<String, Registry>,
    /// What holds for every registry that is pulled from.
    pub pull: Registry,
    /// What holds for every registry that is pushed to.
    pub push: Registry,
    /// Where else a registry's content is.
    pub mirrors: Mirrors,
    /// Whether a tag that the registry does not let us move is no failure.
    pub ignore_immutable_tags: bool,
    /// How many blobs are pulled at a time, and how many pushed. Streams that are opened and not read hold
    /// their place: open them in the order in which they are read.
    pub parallel: usize,
    /// The size in bytes of one piece of an upload that is resumed.
    pub chunk: u64,
}

/// Settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Registry {
    /// Whether plain http is used; https still is where plain http is refused.
    pub insecure: bool,
    /// Whether any TLS certificate is accepted.
    pub skip_verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            pull: Registry::default(),
            push: Registry::default(),
            mirrors: Mirrors::default(),
            ignore_immutable_tags: false,
            parallel: 4,
            chunk: 16 << 20,
        }
    }
}

/// Speaks to registries; cheap to clone, all clones share tokens, connections and limits.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    agent: http::Agent,
    options: Options,
    credentials: Credentials,
    hosts: Arc<host::Hosts>,
    answered: Arc<mirrors::Answered>,
    reporter: Arc<dyn Reporter>,
    /// Whether blobs are sent without asking whether the registry has them.
    anew: bool,
    pulls: Arc<Semaphore>,
    pushes: Arc<Semaphore>,
}

impl Client {
    /// Makes a client; nothing is asked of any registry yet.
    ///
    /// The reporter is told what was done in place of what was asked: a mirror that was left, a tag left alone.
    pub fn new(agent: http::Agent, options: Options, credentials: Credentials, reporter: Arc<dyn Reporter>) -> Self {
        let parallel = options.parallel.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            agent,
            options,
            credentials,
            hosts: Arc::default(),
            answered: Arc::default(),
            reporter,
            anew: false,
            pulls: Arc::new(Semaphore::new(parallel)),
            pushes: Arc::new(Semaphore::new(parallel)),
        }))
    }

    /// Returns a client that knows the same, but has another patience, and limits of its own: what takes its time with
    /// one is not in the way of the other.
    #[must_use]
    pub fn with_patience(&self, patience: http::Patience) -> Self {
        let parallel = self.0.options.parallel.clamp(1, Semaphore::MAX_PERMITS);
        let (pulls, pushes) = (Arc::new(Semaphore::new(parallel)), Arc::new(Semaphore::new(parallel)));
        let agent = self.0.agent.with_patience(patience);
        Self(Arc::new(Shared { agent, pulls, pushes, ..Shared::clone(&self.0) }))
    }

    /// Returns a client that knows the same, but asks each registry itself: for what we pushed there ourselves, or
    /// are about to push, and which nothing that stands in for the registry needs to have.
    #[must_use]
    pub fn direct(&self) -> Self {
        let options = Options { mirrors: self.0.options.mirrors.without_places(), ..self.0.options.clone() };
        Self(Arc::new(Shared { options, answered: Arc::default(), ..Shared::clone(&self.0) }))
    }

    /// Returns a client that knows the same, but sends every blob that it pushes: what a registry said that it has was
    /// not so.
    #[must_use]
    fn anew(&self) -> Self {
        Self(Arc::new(Shared { anew: true, ..Shared::clone(&self.0) }))
    }

    /// Finds out now who we are to these repositories: until [`Client::unseal`] no program is run for it, and no file read
    /// that is not in a mount, since `/` is another image's.
    pub async fn seal(&self, references: &[Reference]) {
        self.0.credentials.seal(references).await;
    }

    /// Lets programs and files be asked again: `/` is the container's own.
    pub fn unseal(&self) {
        self.0.credentials.unseal();
    }

    fn report(&self, event: Event<'_>) {
        self.0.reporter.report(event);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Brings a registry's name, as a user gives it in an option, to the form that references have.
pub fn settings_key(name: &str) -> String {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    match bare.trim_end_matches('/') {
        "index.docker.io" | "registry-1.docker.io" | "index.docker.io/v1" => DEFAULT_REGISTRY.to_owned(),
        other => other.to_owned(),
    }
}
