//! Google: Application Default Credentials, which are the SDK's.

use std::path::Path;
use std::time::Duration;

use google_cloud_auth::credentials::{AccessTokenCredentials, Builder, CacheableResource, CredentialsProvider as _};
use google_cloud_auth::errors::CredentialsError;

use super::is_there;
use crate::causes;
use crate::http::{AUTHORIZATION, Agent, HeaderMap};

const METADATA: &str = "metadata.google.internal";
/// The first token of a pod's identity takes some seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not come in time.
    #[error("no token within {} s", LONGEST_WAIT.as_secs())]
    Late,
    /// It is refused, or nobody could be asked.
    #[error("{told}")]
    Refused {
        /// Why, in one line.
        told: String,
        /// Whether it may be given later.
        transient: bool,
    },
}

impl Error {
    /// Tells whether the token may be given later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Late | Self::Refused { transient: true, .. })
    }
}

/// Finds the credentials: the file that the environment names, that of `gcloud`, or the metadata server. They renew
/// themselves with a task, for which a runtime must be entered. Nothing is asked yet.
///
/// # Errors
/// A message without secrets when a file is there and cannot be used.
pub fn credentials() -> Result<AccessTokenCredentials, String> {
    Builder::default().build_access_token_credentials().map_err(|error| causes::in_one_line(&error))
}

/// Checks that there is something to find: a file, or a metadata server at `metadata` (`host[:port]`, if not at its usual
/// place). The SDK itself would wait for one for long.
///
/// # Errors
/// That there is nothing.
pub async fn expect(agent: &Agent, file: Option<&Path>, metadata: Option<&str>) -> Result<(), String> {
    let metadata = metadata.unwrap_or(METADATA);
    match file.is_some() || is_there(agent, metadata).await {
        true => Ok(()),
        false => Err(format!("there is no file of credentials, and no metadata server answers at {metadata}")),
    }
}

/// Returns a token, which is good for some minutes at least.
///
/// # Errors
/// [`Error`], without secrets.
pub async fn token(credentials: &AccessTokenCredentials) -> Result<String, Error> {
    in_time(credentials.access_token()).await.map(|token| token.token)
}

/// Returns the headers that say who we are: a token, and for a user the project that pays, without which some services
/// answer no user.
///
/// # Errors
/// [`Error`], without secrets.
pub async fn headers(credentials: &AccessTokenCredentials) -> Result<HeaderMap, Error> {
    match in_time(credentials.headers(http::Extensions::new())).await? {
        CacheableResource::New { mut data, .. } => {
            if let Some(token) = data.get_mut(AUTHORIZATION) {
                token.set_sensitive(true);
            }
            Ok(data)
        }
        // It says so to who has shown what it had from it before, which is not done here.
        CacheableResource::NotModified => Err(Error::Late),
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, CredentialsError>>) -> Result<T, Error> {
    let refused =
        |error: CredentialsError| Error::Refused { told: causes::in_one_line(&error), transient: error.is_transient() };
    tokio::time::timeout(LONGEST_WAIT, asked).await.map_err(|_| Error::Late)?.map_err(refused)
}
