//! What a build brings along to get at its context: credentials, endpoints and the places where more of them are.
//!
//! Knows what each is for; reads no environment itself. *Invariant: a credential is only sent to the host it is for,
//! and is never shown.*

use std::fmt;
use std::path::PathBuf;

/// All that gives access to contexts. No `Debug`: it is full of secrets.
#[derive(Clone, Default)]
pub struct Access {
    /// Directories that may hold `.netrc`, `.git-credentials`, `.gitconfig` and `.ssh`, the most important first.
    pub homes: Vec<PathBuf>,
    /// For the `https` URL of the context, else that of the Dockerfile.
    pub https: Option<Login>,
    /// For Git servers.
    pub git: GitAccess,
    /// For S3.
    pub s3: S3Access,
    /// For Google Cloud Storage: an endpoint that wants no credentials (`STORAGE_EMULATOR_HOST`).
    pub gcs_emulator: Option<String>,
    /// For Azure.
    pub azure: AzureAccess,
}

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Where it comes from, for messages.
    pub source: String,
    /// The secret itself.
    pub secret: Secret,
}

/// A secret and how it is sent.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A bearer token.
    Bearer(String),
    /// A user and a password, which may be empty.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// The whole value of the header `Authorization`.
    Header(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login from {}", self.source)
    }
}

impl Secret {
    /// Returns the value of the header `Authorization`.
    pub(super) fn header(&self) -> String {
        use base64::Engine as _;
        match self {
            Self::Bearer(token) => format!("Bearer {token}"),
            Self::Header(value) => value.clone(),
            Self::Basic { user, password } => {
                let text = format!("{user}:{password}");
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
            }
        }
    }
}

/// Access to Git servers.
#[derive(Clone, Default)]
pub struct GitAccess {
    /// For the context's own host only (`GIT_TOKEN`, else `GIT_USERNAME` and `GIT_PASSWORD`).
    pub login: Option<Login>,
    /// The socket of an SSH agent (`SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
    /// Files of private keys that are tried first.
    pub keys: Vec<PathBuf>,
    /// A file of known host keys that is asked first (`SSH_KNOWN_HOSTS`).
    pub known_hosts: Option<PathBuf>,
}

/// Access to S3; keys come from the usual places, which the SDK knows.
#[derive(Clone, Default)]
pub struct S3Access {
    /// Another endpoint than Amazon's (`S3_ENDPOINT`).
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path, not in the host's name (`S3_FORCE_PATH_STYLE`).
    pub force_path_style: bool,
}

/// Access to Azure Blob Storage.
#[derive(Clone, Default)]
pub struct AzureAccess {
    /// The storage account's key (`AZURE_STORAGE_ACCESS_KEY`).
    pub account_key: Option<String>,
    /// The query of a shared access signature (`AZURE_STORAGE_SAS_TOKEN`).
    pub signature: Option<String>,
    /// Who we are to Entra ID.
    pub identity: crate::cloud::azure::Identity,
    /// Another Blob service (`AZURE_STORAGE_SERVICE_ENDPOINT`); the account then is the first part of its paths.
    pub endpoint: Option<String>,
}
