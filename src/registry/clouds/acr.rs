//! Azure Container Registry: a token of Entra ID becomes the registry's own refresh token.
//!
//! Source: <https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md>.

use std::time::Duration;

use serde::Deserialize;

use super::{Clouds, host};
use crate::causes;
use crate::cloud::azure::{Identity, Tokens, form};
use crate::registry::credentials::Secret;

/// The service that a token must be for; every cloud of Azure's has it by this name.
const SCOPE: &str = "https://containerregistry.azure.net/.default";
/// Refresh tokens are good for three hours.
const LASTS: Duration = Duration::from_secs(2 * 3600);
const LARGEST_ANSWER: usize = 1 << 20;

#[derive(Deserialize)]
struct Exchanged {
    refresh_token: String,
}

pub(super) fn is_for(host: &str) -> bool {
    authority(host).is_some()
}

/// Returns where Entra ID is for the cloud that a registry is of.
fn authority(host: &str) -> Option<&'static str> {
    [
        (".azurecr.io", "https://login.microsoftonline.com"),
        (".azurecr.cn", "https://login.chinacloudapi.cn"),
        (".azurecr.us", "https://login.microsoftonline.us"),
    ]
    .into_iter()
    .find(|(suffix, _)| host.ends_with(suffix))
    .map(|(_, authority)| authority)
}

pub(super) async fn ask(clouds: &Clouds, registry: &str) -> Result<(Secret, Duration), String> {
    let mut identity = clouds.azure.clone();
    if identity.authority.is_none() {
        identity.authority = authority(host(registry)).map(str::to_owned);
    }
    let Identity { tenant, .. } = &identity;
    let tokens = Tokens::new(&identity, SCOPE);
    let failed = |error: crate::cloud::azure::Error| format!("{}: {}", tokens.describe(), causes::in_one_line(&*error));
    let token = tokens.token(&clouds.agent).await.map_err(failed)?;
    let scheme = if clouds.plain.contains(registry) { "http" } else { "https" };
    let mut pairs = vec![("grant_type", "access_token"), ("service", host(registry)), ("access_token", &token)];
    pairs.extend(tenant.as_deref().map(|tenant| ("tenant", tenant)));
    let mut call = form(&format!("{scheme}://{registry}/oauth2/exchange"), &pairs).map_err(failed)?;
    call.on_behalf_of = Some(registry.to_owned());
    let unreachable = |error: crate::http::Error| causes::in_one_line(&error);
    let response = clouds.agent.send_retrying(&call).await.map_err(unreachable)?;
    let status = response.status();
    if !status.is_success() {
        // The words of an answer may quote the token.
        return Err(format!("{} refused the exchange of the token of {} with {status}", registry, tokens.describe()));
    }
    let body = response.bytes(LARGEST_ANSWER).await.map_err(unreachable)?;
    let exchanged: Exchanged =
        serde_json::from_slice(&body).map_err(|_| format!("{registry} answered the exchange without a token"))?;
    Ok((Secret::IdentityToken(exchanged.refresh_token), LASTS))
}
