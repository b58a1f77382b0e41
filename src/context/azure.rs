//! Archives in Azure Blob Storage: one GET, signed by the account's key, by a shared access signature, or with a token
//! of the pod's identity.
//!
//! Sources: <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>,
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::fmt::rfc2822::DateTimePrinter;
use sha2::Sha256;

use super::means::Fetched;
use super::stream::{self, Archive, Remote};
use super::{AzureAccess, Error, ErrorKind, Means, https};
use crate::cloud::azure::Tokens;
use crate::http::download::{ByteRange, MakeCall, MakeError};
use crate::http::{AUTHORIZATION, Agent, Call, HeaderName, HeaderValue, Method, Url, redact, secret_header};
use crate::request::SecretUrl;
use crate::rootfs::Tree;

const API_VERSION: &str = "2021-12-02";
const SCOPE: &str = "https://storage.azure.com/.default";

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
    let remote = Remote { what: shown.clone(), tried: identity.describe(), make: get(blob, identity, means.agent) };
    let archive = Archive { remote, checksum: None };
    let writer = stream::fetch(&archive, directory, limit, means)?;
    Ok((writer.finish()?, Fetched { url: Some(shown), ..Fetched::default() }))
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
        Ok(Self::Token(Arc::new(Tokens::new(&access.identity, SCOPE))))
    }

    fn describe(&self) -> String {
        match self {
            Self::Signed => "with the signature of the URL".to_owned(),
            Self::Key(_) => "with AZURE_STORAGE_ACCESS_KEY".to_owned(),
            Self::Signature(_) => "with AZURE_STORAGE_SAS_TOKEN".to_owned(),
            Self::Token(tokens) => format!("with {}{}", tokens.describe(), tokens.remedy()),
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
                let value = secret_header(&text)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_identity_that_is_there_is_taken() {
        let url: Url = "https://a.blob.core.windows.net/c/x".parse().expect("url");
        let signed: Url = "https://a.blob.core.windows.net/c/x?sv=1&sig=secret".parse().expect("url");
        let key = AzureAccess { account_key: Some("c2VjcmV0".into()), ..AzureAccess::default() };
        let identity = crate::cloud::azure::Identity {
            client: Some("c".into()),
            tenant: Some("t".into()),
            token_file: Some("/t".into()),
            ..Default::default()
        };
        let pod = AzureAccess { identity, ..AzureAccess::default() };
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
