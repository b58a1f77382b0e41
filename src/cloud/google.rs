//! Google: Application Default Credentials, which are the SDK's.

use google_cloud_auth::credentials::{AccessTokenCredentials, Builder};

use crate::causes;

/// Finds the credentials: the file that the environment names, that of `gcloud`, or the metadata server. They renew
/// themselves with a task, for which a runtime must be entered. Nothing is asked yet.
///
/// # Errors
/// A message without secrets when a file is there and cannot be used.
pub fn credentials() -> Result<AccessTokenCredentials, String> {
    Builder::default().build_access_token_credentials().map_err(|error| causes::in_one_line(&error))
}
