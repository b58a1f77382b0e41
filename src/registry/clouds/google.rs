//! Google Container Registry and Artifact Registry: an access token is the password, or a service account's key is.
//!
//! Source: <https://cloud.google.com/artifact-registry/docs/docker/authentication>. The key itself is what the registries
//! take of a service account; what the SDK signs with it is for Google's other services.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::AccessTokenCredentials;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{Clouds, Endpoints};
use crate::cloud;
use crate::registry::credentials::Secret;

const USER: &str = "oauth2accesstoken";
const KEY_USER: &str = "_json_key";
/// A token that is given out is good for some minutes at least.
const LASTS: Duration = Duration::from_secs(180);

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
    // The first time finds out what there is.
    if clouds.google.get().is_none() {
        let Endpoints { google_file, google_metadata, .. } = &clouds.endpoints;
        if let Some(path) = google_file {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            // The parser's message is left out, because it quotes the text.
            let file: File = serde_json::from_str(&text).map_err(|_| format!("{} is malformed", path.display()))?;
            if file.kind == "service_account" {
                return Ok((Secret::Password { user: KEY_USER.to_owned(), password: text }, LASTS));
            }
        }
        cloud::google::expect(&clouds.agent, google_file.as_deref(), google_metadata.as_deref()).await?;
    }
    let credentials = clouds.google.get_or_try_init(|| async { cloud::google::credentials() }).await?;
    let token = cloud::google::token(credentials).await.map_err(|error| error.to_string())?;
    Ok((Secret::Password { user: USER.to_owned(), password: token }, LASTS))
}
