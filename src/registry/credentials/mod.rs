//! Who we are to each registry: one ordered search over files, variables, credential helpers and clouds.
//!
//! Knows the order among the sources and how they are merged. Knows neither where the files are (the command line says)
//! nor how a registry is asked (`auth` does that).
//!
//! *Invariant: files are read in [`Credentials::load`]; helpers run once in a while for each registry, and never between
//! [`Credentials::seal`] and [`Credentials::unseal`]; a cloud is asked only for its own registries, and only when nothing
//! before it knows them. No secret is ever in a message or in a `Debug` text.*

mod document;
mod key;
mod keychain;
mod search;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::Mutex;

use super::clouds::Clouds;
use super::helper::Answer;
use crate::oci::Reference;
#[cfg(feature = "aws")]
pub(super) use document::decode;
pub(super) use key::{normal_key, server_name};
pub use keychain::Keychain;
pub use search::{Explanation, Lookup, Outcome};

/// What opens a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// User name and password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token, to be changed into an access token.
    IdentityToken(String),
    /// A bearer token for the registry itself.
    RegistryToken(String),
}

impl Secret {
    /// Returns the user's name, where there is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } => Some(user),
            Self::IdentityToken(_) | Self::RegistryToken(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user}, ***)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(***)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(***)"),
        }
    }
}

/// A secret and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The secret.
    pub secret: Secret,
    /// For messages: `from /root/.docker/config.json, key registry.example.com`.
    pub source: String,
}

/// The outcome of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The credential; none means to ask anonymously.
    pub credential: Option<Credential>,
    /// What went wrong on the way, for the message if the registry then refuses.
    pub notes: Vec<String>,
    /// What to tell in any case.
    pub warnings: Vec<String>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is there and cannot be read.
    #[error("cannot read registry credentials from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is no Docker configuration. The parser's message is left out, because it quotes the text.
    #[error("registry credentials in {name} are malformed at line {line}, column {column}")]
    Malformed {
        /// The file, or the variable.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

/// All places of credentials, in the order in which they are asked. No `Debug`: secrets are among them.
#[derive(Clone, Default)]
pub struct Sources {
    /// Docker configuration files and texts.
    pub documents: Vec<Document>,
    /// What variables of the environment say.
    pub logins: Vec<Login>,
    /// What is asked when no document answers.
    pub keychains: Vec<Keychain>,
    /// Where credential helpers are (`PATH`).
    pub helper_directories: Vec<PathBuf>,
}

/// A Docker configuration.
#[derive(Clone)]
pub struct Document {
    /// For messages: the path, and what names it.
    pub name: String,
    /// Where its text is.
    pub content: Content,
    /// Whether it must be there: it was named, and is not one of many places.
    pub required: bool,
}

/// Where a document's text is.
#[derive(Clone)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Text(String),
}

/// A user and a password of the environment.
#[derive(Clone)]
pub struct Login {
    /// Whom they are for.
    pub names: Names,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// How a login of the environment names its registry.
#[derive(Clone)]
pub enum Names {
    /// As it is (`CI_REGISTRY`).
    Registry(String),
    /// As a part of the variable's name (`KANIKO_<HOST>_USER`).
    Variable(String),
}

/// Everything we know about registries' credentials; cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    documents: Vec<document::Opened>,
    logins: Vec<Login>,
    keychains: Vec<Keychain>,
    clouds: Option<Clouds>,
    helper_directories: Vec<PathBuf>,
    answers: Mutex<HashMap<(String, String), Granted>>,
    granted: Mutex<HashMap<(Keychain, String), Granted>>,
    /// Whether `/` is not the executor's own, so that what is on `PATH` is not to be trusted.
    sealed: AtomicBool,
}

/// What a helper or a cloud said, until when.
#[derive(Clone)]
struct Granted {
    answer: Answer,
    until: Instant,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.documents.iter().map(|document| &document.name).collect();
        f.debug_tuple("Credentials").field(&names).finish()
    }
}

impl Credentials {
    /// Knows nothing: every registry is asked anonymously.
    pub fn none() -> Self {
        Self::make(Vec::new(), Sources::default(), None)
    }

    /// Reads the documents; the clouds are asked through `clouds`, when they are needed.
    ///
    /// # Errors
    /// [`CredentialsError`] for a document that is there and cannot be used.
    pub fn load(sources: Sources, clouds: Option<Clouds>) -> Result<Self, CredentialsError> {
        let documents = sources.documents.iter().map(document::Opened::open).collect::<Result<_, _>>()?;
        Ok(Self::make(documents, sources, clouds))
    }

    /// Reads config.json texts given with a name for messages.
    ///
    /// # Errors
    /// [`CredentialsError::Malformed`].
    pub fn parse(texts: &[(String, String)], helper_directories: &[PathBuf]) -> Result<Self, CredentialsError> {
        let document = |(name, text): &(String, String)| Document {
            name: name.clone(),
            content: Content::Text(text.clone()),
            required: true,
        };
        let sources = Sources {
            documents: texts.iter().map(document).collect(),
            helper_directories: helper_directories.to_vec(),
            ..Sources::default()
        };
        Self::load(sources, None)
    }

    /// Lists the sources that are there, in the order in which they are asked, and for whom they have something. No secret
    /// is among it, and nobody is asked.
    pub fn overview(&self) -> Vec<(String, String)> {
        let documents = self.0.documents.iter().filter_map(|document| {
            let has = match &document.state {
                document::State::Absent => return None,
                document::State::Unreadable(why) => format!("is not ours to read: {why}"),
                document::State::Read(contents) => {
                    let known = contents.known();
                    let known = if known.is_empty() { "no registry".to_owned() } else { known.join(", ") };
                    let store =
                        contents.store.as_ref().map(|store| format!("; and the store docker-credential-{store}"));
                    format!("has {known}{}", store.unwrap_or_default())
                }
            };
            Some((document.name.clone(), has))
        });
        let logins = self.0.logins.iter().map(|login| {
            let source = match &login.names {
                Names::Registry(registry) => format!("variables for {registry}"),
                Names::Variable(host) => format!("KANIKO_{host}_USER"),
            };
            (source, format!("has user `{}`", login.user))
        });
        let keychains = self.0.keychains.iter().map(|keychain| (keychain.to_string(), "asked when needed".to_owned()));
        documents.chain(logins).chain(keychains).collect()
    }

    /// Asks the helpers and clouds of these repositories now, and none of them again before [`Credentials::unseal`].
    pub(super) async fn seal(&self, references: &[Reference]) {
        for reference in references {
            self.find(reference).await;
        }
        self.0.sealed.store(true, Ordering::SeqCst);
    }

    /// Lets helpers and clouds be asked again.
    pub(super) fn unseal(&self) {
        self.0.sealed.store(false, Ordering::SeqCst);
    }

    fn make(documents: Vec<document::Opened>, sources: Sources, clouds: Option<Clouds>) -> Self {
        Self(Arc::new(Inner {
            documents,
            logins: sources.logins,
            keychains: sources.keychains,
            clouds,
            helper_directories: sources.helper_directories,
            answers: Mutex::new(HashMap::new()),
            granted: Mutex::new(HashMap::new()),
            sealed: AtomicBool::new(false),
        }))
    }
}

/// Finds a program in directories, as `PATH` is searched.
pub fn find_program(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory: &PathBuf| Path::join(directory, name)).find(|path| path.is_file())
}
