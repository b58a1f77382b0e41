//! Azure: a token of Entra ID for what a pod or a machine has.
//!
//! Source: <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::is_there;
use crate::http::{Agent, CONTENT_TYPE, Call, HeaderName, HeaderValue, Method, NamedBy, Url, redact};

const AUTHORITY: &str = "https://login.microsoftonline.com";
const INSTANCE: &str = "http://169.254.169.254";
const LARGEST_TOKEN: usize = 64 << 10;

/// What a token cannot be had for.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Who we are to Entra ID, and where it is. No `Debug`: a secret is in it.
#[derive(Clone, Default)]
pub struct Identity {
    /// The application or managed identity (`AZURE_CLIENT_ID`).
    pub client: Option<String>,
    /// Whose directory that is (`AZURE_TENANT_ID`).
    pub tenant: Option<String>,
    /// The file with the pod's own token (`AZURE_FEDERATED_TOKEN_FILE`).
    pub token_file: Option<PathBuf>,
    /// The password of an application (`AZURE_CLIENT_SECRET`).
    pub client_secret: Option<String>,
    /// Where Entra ID is (`AZURE_AUTHORITY_HOST`).
    pub authority: Option<String>,
    /// Where the machine's metadata service is, if not at its usual place (`AZURE_POD_IDENTITY_AUTHORITY_HOST`).
    pub instance: Option<String>,
}

/// Tokens for one scope; asked for when needed, kept until shortly before they expire.
pub struct Tokens {
    request: TokenRequest,
    scope: String,
    known: Mutex<Option<(String, Instant)>>,
}

enum TokenRequest {
    Federated { url: String, client: String, file: PathBuf },
    Secret { url: String, client: String, secret: String },
    Instance { url: String, client: Option<String> },
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: serde_json::Value,
}

/// Why there is no token. Source: RFC 6749 section 5.2.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Refusal {
    /// Returns the codes, which a user can look up; what is told beside them may quote what was shown.
    fn code(&self) -> String {
        let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
        let number = word(&self.error_description);
        let number = if number.starts_with("AADSTS") { format!(" {number}") } else { String::new() };
        format!("{}{number}", word(&self.error))
    }
}

impl Tokens {
    /// Chooses how to ask for tokens with `scope` (`https://…/.default`): with the pod's token, else with a secret, else
    /// of the machine's metadata service.
    pub fn new(identity: &Identity, scope: &str) -> Self {
        let Identity { client, tenant, token_file, client_secret, authority, instance } = identity;
        let authority = authority.as_deref().unwrap_or(AUTHORITY).trim_end_matches('/');
        let url = |tenant: &str| format!("{authority}/{tenant}/oauth2/v2.0/token");
        let request = match (client, tenant, token_file, client_secret) {
            (Some(client), Some(tenant), Some(file), _) => {
                TokenRequest::Federated { url: url(tenant), client: client.clone(), file: file.clone() }
            }
            (Some(client), Some(tenant), None, Some(secret)) => {
                TokenRequest::Secret { url: url(tenant), client: client.clone(), secret: secret.clone() }
            }
            (client, ..) => {
                let base = instance.as_deref().unwrap_or(INSTANCE).trim_end_matches('/');
                TokenRequest::Instance { url: format!("{base}/metadata/identity/oauth2/token"), client: client.clone() }
            }
        };
        Self { request, scope: scope.to_owned(), known: Mutex::new(None) }
    }

    /// Says what is shown for a token, for messages.
    pub fn describe(&self) -> &'static str {
        match self.request {
            TokenRequest::Federated { .. } => "workload identity (AZURE_FEDERATED_TOKEN_FILE)",
            TokenRequest::Secret { .. } => "AZURE_CLIENT_SECRET",
            TokenRequest::Instance { .. } => "managed identity",
        }
    }

    /// Says what else may be given, for the message when this fails; empty where something was given.
    pub fn remedy(&self) -> &'static str {
        match self.request {
            TokenRequest::Federated { .. } | TokenRequest::Secret { .. } => "",
            TokenRequest::Instance { .. } => {
                "; set AZURE_STORAGE_ACCESS_KEY or AZURE_STORAGE_SAS_TOKEN, or use workload identity"
            }
        }
    }

    /// Returns a token.
    ///
    /// # Errors
    /// What went wrong, without secrets.
    pub async fn token(&self, agent: &Agent) -> Result<String, Error> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((token, until)) = known
            && Instant::now() < until
        {
            return Ok(token);
        }
        let call = self.request.call(&self.scope)?;
        let response = match &self.request {
            TokenRequest::Instance { .. } => {
                let (host, port) = (call.url.host_str().unwrap_or_default(), call.url.port_or_known_default());
                if !is_there(agent, &format!("{host}:{}", port.unwrap_or(80))).await {
                    return Err("there are no credentials: nothing is set, and no metadata service answers".into());
                }
                agent.send_retrying(&call).await?
            }
            TokenRequest::Federated { .. } | TokenRequest::Secret { .. } => agent.send_retrying(&call).await?,
        };
        let status = response.status();
        if !status.is_success() {
            let refusal = serde_json::from_slice::<Refusal>(&response.beginning(LARGEST_TOKEN).await);
            let code = refusal.map(|refusal| refusal.code()).unwrap_or_default();
            return Err(format!("{}: no token: {status} {code}", redact(&call.url)).trim_end().into());
        }
        let body = response.bytes(LARGEST_TOKEN).await?;
        // The parser's message is left out, because it quotes the text.
        let unclear = |_| format!("{}: the answer is no token", redact(&call.url));
        let granted: Granted = serde_json::from_slice(&body).map_err(unclear)?;
        // A number, or the text of one; a minute is left for the request itself.
        let seconds = granted.expires_in.as_u64().or_else(|| granted.expires_in.as_str()?.parse().ok()).unwrap_or(0);
        let until = Instant::now() + Duration::from_secs(seconds.saturating_sub(60));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((granted.access_token.clone(), until));
        Ok(granted.access_token)
    }
}

/// Writes a form as the body of a POST.
///
/// # Errors
/// For a text that is no URL.
pub fn form(url: &str, pairs: &[(&str, &str)]) -> Result<Call, Error> {
    let mut encoded = Url::parse("form:///")?;
    encoded.query_pairs_mut().extend_pairs(pairs);
    let content = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut call = Call::new(Method::POST, url.parse()?).header(CONTENT_TYPE, content);
    call.body = encoded.query().unwrap_or_default().to_owned().into();
    Ok(call)
}

impl TokenRequest {
    fn call(&self, scope: &str) -> Result<Call, Error> {
        match self {
            Self::Federated { url, client, file } => {
                let token = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form(
                    url,
                    &[
                        ("grant_type", "client_credentials"),
                        ("client_id", client),
                        ("scope", scope),
                        ("client_assertion_type", kind),
                        ("client_assertion", token.trim()),
                    ],
                )
            }
            Self::Secret { url, client, secret } => form(
                url,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_id", client),
                    ("scope", scope),
                    ("client_secret", secret),
                ],
            ),
            Self::Instance { url, client } => {
                let mut url = Url::parse(url)?;
                // As Microsoft's own SDKs: what a token is for has no slash at its end, and Key Vault compares it.
                let resource = scope.trim_end_matches("/.default");
                url.query_pairs_mut().append_pair("api-version", "2018-02-01").append_pair("resource", resource);
                if let Some(client) = client {
                    url.query_pairs_mut().append_pair("client_id", client);
                }
                Ok(Call::new(Method::GET, url)
                    .named_by(NamedBy::Cloud)
                    .header(HeaderName::from_static("metadata"), HeaderValue::from_static("true")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_codes() {
        for (answer, told) in [
            (
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid secret `hidden`"}"#,
                "invalid_client AADSTS7000215",
            ),
            (r#"{"error":"server_error","error_description":"hidden"}"#, "server_error"),
            ("{}", ""),
        ] {
            assert_eq!(serde_json::from_str::<Refusal>(answer).expect("JSON").code(), told, "{answer}");
        }
    }

    #[test]
    fn the_first_identity_that_is_there_is_taken() {
        let pod = Identity {
            client: Some("c".into()),
            tenant: Some("t".into()),
            token_file: Some("/t".into()),
            client_secret: Some("s".into()),
            ..Identity::default()
        };
        let told = |identity: &Identity| Tokens::new(identity, "https://x/.default").describe();
        assert!(told(&pod).contains("workload"));
        assert!(told(&Identity { token_file: None, ..pod.clone() }).contains("SECRET"));
        assert!(told(&Identity { tenant: None, ..pod }).contains("managed"));
        assert!(told(&Identity::default()).contains("managed"));
    }
}
