//! Google Container Registry and Artifact Registry: an access token is the password, or a service account's key is.
//!
//! Source: <https://cloud.google.com/artifact-registry/docs/docker/authentication>. The key itself is what the registries
//! take of a service account; what the SDK signs with it is for Google's other services.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::AccessTokenCredentials;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::Clouds;
use crate::registry::credentials::Secret;
use crate::{causes, cloud};

const USER: &str = "oauth2accesstoken";
const KEY_USER: &str = "_json_key";
const METADATA: &str = "metadata.google.internal";
/// A token that is given out is good for some minutes at least.
const LASTS: Duration = Duration::from_secs(180);
/// The first token of a pod's identity takes some seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,
}

/// The SDK's credentials, once they were asked for.
pub type Kept = Arc<OnceCell<AccessTokenCredentials>>;

pub(super) fn is_for(host: &str) -> bool {
    host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev")
}

pub(super) async fn ask(clouds: &Clouds) -> Result<(Secret, Duration), String> {
    let metadata = clouds.endpoints.google_metadata.as_deref().unwrap_or(METADATA);
    // The first time finds out what there is.
    let is_known = clouds.google.get().is_some();
    if let Some(path) = clouds.endpoints.google_file.as_ref().filter(|_| !is_known) {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The parser's message is left out, because it quotes the text.
        let file: File = serde_json::from_str(&text).map_err(|_| format!("{} is malformed", path.display()))?;
        if file.kind == "service_account" {
            return Ok((Secret::Password { user: KEY_USER.to_owned(), password: text }, LASTS));
        }
    } else if !is_known && !cloud::is_there(&clouds.agent, metadata).await {
        return Err(format!("there is no file of credentials, and no metadata server answers at {metadata}"));
    }
    let credentials = clouds.google.get_or_try_init(|| async { cloud::google::credentials() }).await?;
    let token = tokio::time::timeout(LONGEST_WAIT, credentials.access_token()).await;
    let token = token.map_err(|_| format!("no token within {} s", LONGEST_WAIT.as_secs()))?;
    let token = token.map_err(|error| causes::in_one_line(&error))?;
    Ok((Secret::Password { user: USER.to_owned(), password: token.token }, LASTS))
}
