//! Archives in Azure Blob Storage: one GET, signed by the account's key, by a shared access signature, or with a token
//! of the pod's identity.
//!
//! Sources: <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>,
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::Deserialize;
use sha2::Sha256;

use super::stream::{self, Archive, Remote};
use super::{AzureAccess, Error, ErrorKind, Fetched, Means, https};
use crate::http::download::{ByteRange, MakeCall, MakeError};
use crate::http::{AUTHORIZATION, Agent, CONTENT_TYPE, Call, HeaderName, HeaderValue, Method, Url, redact};
use crate::request::SecretUrl;
use crate::rootfs::Tree;

const API_VERSION: &str = "2021-12-02";
const AUTHORITY: &str = "https://login.microsoftonline.com";
const SCOPE: &str = "https://storage.azure.com/.default";
const INSTANCE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
/// How long the metadata service may take: where there is none, nobody answers.
const INSTANCE_TIMEOUT: Duration = Duration::from_secs(3);
const LARGEST_TOKEN: usize = 64 << 10;

/// Fetches an archive.
pub(super) fn fetch(
    url: &SecretUrl,
    directory: &Path,
    limit: u64,
    means: &Means<'_>,
) -> Result<(Tree, Fetched), Error> {
    let given = https::parse(&url.0)?;
    let shown = redact(&given);
    let blob = Blob::new(given, &means.access.azure)?;
    let identity = Identity::choose(&blob.url, &means.access.azure, &shown)?;
    let remote =
        Remote { what: shown.clone(), tried: identity.describe().to_owned(), make: get(blob, identity, means.agent) };
    let archive = Archive { remote, checksum: None };
    let writer = stream::fetch(&archive, directory, limit, means)?;
    Ok((writer.finish()?, Fetched { url: Some(shown), commit: None }))
}

/// A blob and its storage account.
#[derive(Clone)]
struct Blob {
    url: Url,
    account: String,
}

impl Blob {
    fn new(given: Url, access: &AzureAccess) -> Result<Self, Error> {
        let account = given.host_str().and_then(|host| host.split('.').next()).unwrap_or_default().to_owned();
        let Some(endpoint) = &access.endpoint else { return Ok(Self { url: given, account }) };
        let mut url = https::parse(endpoint)?;
        url.set_path(&format!("{}/{account}{}", url.path().trim_end_matches('/'), given.path()));
        url.set_query(given.query());
        Ok(Self { url, account })
    }
}

/// Who we are.
#[derive(Clone)]
enum Identity {
    /// The URL is signed.
    Signed,
    /// The account's key.
    Key(Vec<u8>),
    /// The query of a shared access signature.
    Signature(String),
    /// Entra ID gives a token for something that we have.
    Token(Arc<Tokens>),
}

struct Tokens {
    request: TokenRequest,
    known: Mutex<Option<(String, Instant)>>,
}

enum TokenRequest {
    Federated { url: String, client: String, file: std::path::PathBuf },
    Secret { url: String, client: String, secret: String },
    Instance { client: Option<String> },
}

impl Identity {
    fn choose(url: &Url, access: &AzureAccess, shown: &str) -> Result<Self, Error> {
        if url.query_pairs().any(|(name, _)| name == "sig") {
            return Ok(Self::Signed);
        }
        if let Some(key) = &access.account_key {
            let decoded = STANDARD.decode(key.trim()).map_err(|_| Error::Refused {
                what: shown.to_owned(),
                tried: "with AZURE_STORAGE_ACCESS_KEY".to_owned(),
                reason: "the key is not base64".to_owned(),
                kind: ErrorKind::Denied,
            });
            return decoded.map(Self::Key);
        }
        if let Some(signature) = &access.signature {
            return Ok(Self::Signature(signature.trim_start_matches('?').to_owned()));
        }
        let authority = access.authority.as_deref().unwrap_or(AUTHORITY).trim_end_matches('/');
        let request = match (&access.client, &access.tenant, &access.token_file, &access.client_secret) {
            (Some(client), Some(tenant), Some(file), _) => TokenRequest::Federated {
                url: format!("{authority}/{tenant}/oauth2/v2.0/token"),
                client: client.clone(),
                file: file.clone(),
            },
            (Some(client), Some(tenant), None, Some(secret)) => TokenRequest::Secret {
                url: format!("{authority}/{tenant}/oauth2/v2.0/token"),
                client: client.clone(),
                secret: secret.clone(),
            },
            (client, ..) => TokenRequest::Instance { client: client.clone() },
        };
        Ok(Self::Token(Arc::new(Tokens { request, known: Mutex::new(None) })))
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Signed => "with the signature of the URL",
            Self::Key(_) => "with AZURE_STORAGE_ACCESS_KEY",
            Self::Signature(_) => "with AZURE_STORAGE_SAS_TOKEN",
            Self::Token(tokens) => match tokens.request {
                TokenRequest::Federated { .. } => "with workload identity (AZURE_FEDERATED_TOKEN_FILE)",
                TokenRequest::Secret { .. } => "with AZURE_CLIENT_SECRET",
                TokenRequest::Instance { .. } => {
                    "with managed identity; set AZURE_STORAGE_ACCESS_KEY or AZURE_STORAGE_SAS_TOKEN, or use workload identity"
                }
            },
        }
    }
}

fn get(blob: Blob, identity: Identity, agent: &Agent) -> MakeCall {
    let agent = agent.clone();
    Arc::new(move |range: Option<ByteRange>| {
        let (blob, identity, agent) = (blob.clone(), identity.clone(), agent.clone());
        Box::pin(async move {
            let mut url = blob.url.clone();
            if let Identity::Signature(signature) = &identity {
                let query = url.query().map(|query| format!("{query}&")).unwrap_or_default();
                url.set_query(Some(&format!("{query}{signature}")));
            }
            // A signature holds for some minutes around the server's own time, so that this is the clock's.
            let now = jiff::Timestamp::now();
            let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now)?;
            let range = range.map(ByteRange::header).unwrap_or_default();
            let mut call = Call::new(Method::GET, url.clone())
                .header(HeaderName::from_static("x-ms-version"), HeaderValue::from_static(API_VERSION))
                .header(HeaderName::from_static("x-ms-date"), HeaderValue::from_str(&date)?);
            if !range.is_empty() {
                call = call.header(HeaderName::from_static("range"), HeaderValue::from_str(&range)?);
            }
            let authorization = match &identity {
                Identity::Signed | Identity::Signature(_) => None,
                Identity::Key(key) => {
                    Some(shared_key(&blob.account, key, &to_sign(&blob.account, &url, &date, &range))?)
                }
                Identity::Token(tokens) => Some(format!("Bearer {}", tokens.token(&agent).await?)),
            };
            if let Some(text) = authorization {
                let mut value = HeaderValue::from_str(&text)?;
                value.set_sensitive(true);
                call = call.header(AUTHORIZATION, value);
            }
            Ok(call)
        })
    })
}

/// Writes what a shared key signs: the method, eleven headers of which we send one, ours, and the resource.
fn to_sign(account: &str, url: &Url, date: &str, range: &str) -> String {
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        query.entry(name.to_lowercase()).or_default().push(value.into_owned());
    }
    let mut resource = format!("/{account}{}", url.path());
    for (name, mut values) in query {
        values.sort();
        resource.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    format!("GET\n\n\n\n\n\n\n\n\n\n\n{range}\nx-ms-date:{date}\nx-ms-version:{API_VERSION}\n{resource}")
}

fn shared_key(account: &str, key: &[u8], text: &str) -> Result<String, MakeError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(format!("SharedKey {account}:{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: serde_json::Value,
}

impl Tokens {
    async fn token(&self, agent: &Agent) -> Result<String, MakeError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((token, until)) = known
            && Instant::now() < until
        {
            return Ok(token);
        }
        let call = self.request.call()?;
        let response = match &self.request {
            TokenRequest::Instance { .. } => {
                let asked = tokio::time::timeout(INSTANCE_TIMEOUT, agent.send(&call)).await;
                asked.map_err(|_| "there are no credentials: nothing is set, and no metadata service answers")??
            }
            TokenRequest::Federated { .. } | TokenRequest::Secret { .. } => agent.send_retrying(&call).await?,
        };
        let status = response.status();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&response.beginning(1024).await).replace(['\n', '\r'], " ");
            return Err(format!("{}: no token: {status}: {text}", redact(&call.url)).into());
        }
        let granted: Granted = serde_json::from_slice(&response.bytes(LARGEST_TOKEN).await?)?;
        // A number, or the text of one; a minute is left for the request itself.
        let seconds = granted.expires_in.as_u64().or_else(|| granted.expires_in.as_str()?.parse().ok()).unwrap_or(0);
        let until = Instant::now() + Duration::from_secs(seconds.saturating_sub(60));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((granted.access_token.clone(), until));
        Ok(granted.access_token)
    }
}

impl TokenRequest {
    fn call(&self) -> Result<Call, MakeError> {
        let form = |url: &str, pairs: &[(&str, &str)]| -> Result<Call, MakeError> {
            let mut encoded = Url::parse("form:///")?;
            encoded.query_pairs_mut().extend_pairs(pairs);
            let content = HeaderValue::from_static("application/x-www-form-urlencoded");
            let mut call = Call::new(Method::POST, url.parse()?).header(CONTENT_TYPE, content);
            call.body = encoded.query().unwrap_or_default().to_owned().into();
            Ok(call)
        };
        match self {
            Self::Federated { url, client, file } => {
                let token = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form(
                    url,
                    &[
                        ("grant_type", "client_credentials"),
                        ("client_id", client),
                        ("scope", SCOPE),
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
                    ("scope", SCOPE),
                    ("client_secret", secret),
                ],
            ),
            Self::Instance { client } => {
                let mut url = Url::parse(INSTANCE)?;
                let resource = SCOPE.trim_end_matches(".default");
                url.query_pairs_mut().append_pair("api-version", "2018-02-01").append_pair("resource", resource);
                if let Some(client) = client {
                    url.query_pairs_mut().append_pair("client_id", client);
                }
                Ok(Call::new(Method::GET, url)
                    .header(HeaderName::from_static("metadata"), HeaderValue::from_static("true")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_identity_that_is_there_is_taken() {
        let url: Url = "https://a.blob.core.windows.net/c/x".parse().expect("url");
        let signed: Url = "https://a.blob.core.windows.net/c/x?sv=1&sig=secret".parse().expect("url");
        let key = AzureAccess { account_key: Some("c2VjcmV0".into()), ..AzureAccess::default() };
        let pod = AzureAccess {
            client: Some("c".into()),
            tenant: Some("t".into()),
            token_file: Some("/t".into()),
            ..AzureAccess::default()
        };
        let told = |url: &Url, access: &AzureAccess| {
            Identity::choose(url, access, "x").map(|identity| identity.describe()).expect("one")
        };
        assert!(told(&signed, &key).contains("URL"));
        assert!(told(&url, &key).contains("ACCESS_KEY"));
        assert!(told(&url, &pod).contains("workload"));
        assert!(told(&url, &AzureAccess::default()).contains("managed"));
        let bad = AzureAccess { account_key: Some("%".into()), ..AzureAccess::default() };
        assert!(Identity::choose(&url, &bad, "x").is_err());
    }

    #[test]
    fn what_is_signed_is_canonical() {
        let url: Url = "https://a.blob.core.windows.net/c/x%20y?b=2&A=1".parse().expect("url");
        let text = to_sign("a", &url, "now", "bytes=0-1");
        assert!(text.ends_with("\nbytes=0-1\nx-ms-date:now\nx-ms-version:2021-12-02\n/a/c/x%20y\na:1\nb:2"), "{text}");
        assert_eq!(text.matches('\n').count(), 11 + 3 + 2);
    }
}
