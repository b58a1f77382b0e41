//! Signing without a key that is kept: one for minutes, whose certificate Fulcio gives for a token, and a log that says when.
//!
//! Source: <https://github.com/sigstore/fulcio/blob/main/fulcio.proto> (`/api/v2/signingCert`); Rekor's openapi.yaml
//! (`/api/v1/log/entries`).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::certificate::Chain;
use super::key::{Hash, PrivateKey};
use super::log::Entry;
use super::signer::Error;
use crate::http::{Agent, CONTENT_TYPE, Call, HeaderName, HeaderValue, Method, Url, redact};

/// Answers are smaller: certificates, an entry with its statement.
const LARGEST_ANSWER: usize = 96 << 20;
/// How much of a refusal is told.
const LARGEST_REFUSAL: usize = 600;

/// A certificate authority for tokens, Fulcio.
#[derive(Clone, Debug)]
pub(super) struct Authority(pub(super) Url);

/// A transparency log, Rekor.
#[derive(Clone, Debug)]
pub struct Log(pub Url);

impl Authority {
    /// Asks for a certificate of a key, for whom a token names.
    pub(super) async fn certify(&self, agent: &Agent, key: &PrivateKey, token: &str) -> Result<Chain, Error> {
        // What shows that the key is ours: a signature of whom the token names.
        let subject = subject(token).ok_or_else(|| Error::Token("it is no token (JWT) with a subject".to_owned()))?;
        let proof = key.sign(subject.as_bytes())?;
        let body = json!({
            "credentials": {"oidcIdentityToken": token},
            "publicKeyRequest": {
                "publicKey": {"algorithm": "ECDSA", "content": key.public().to_pem()},
                "proofOfPossession": STANDARD.encode(proof),
            },
        });
        let url = joined(&self.0, "api/v2/signingCert")?;
        let answer = post(agent, &url, &body, token).await?.ok_or_else(|| unclear(&url))?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|_| unclear(&url))?;
        let chain = ["signedCertificateEmbeddedSct", "signedCertificateDetachedSct"].iter().find_map(|form| {
            let certificates = answer[form]["chain"]["certificates"].as_array()?;
            Some(certificates.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
        });
        let chain = chain.ok_or_else(|| unclear(&url))?;
        let chain = Chain::from_pem(chain.as_bytes()).map_err(|_| unclear(&url))?;
        match chain.key() {
            Ok(certified) if certified == *key.public() => Ok(chain),
            _ => Err(Error::Service(format!("{} gave a certificate of another key", redact(&url)))),
        }
    }
}

impl Log {
    /// Lets the log know of a signature of a payload, with the hash that is signed; `verifier` is the PEM of the certificate
    /// or the public key.
    pub(super) async fn signature(
        &self,
        agent: &Agent,
        (hash, payload, signature): (Hash, &[u8], &[u8]),
        verifier: &str,
    ) -> Result<Entry, Error> {
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "signature": {
                    "content": STANDARD.encode(signature),
                    "publicKey": {"content": STANDARD.encode(verifier)},
                },
                "data": {"hash": {"algorithm": hash.name(), "value": hex::encode(hash.of(payload))}},
            },
        });
        self.put(agent, &body).await
    }

    /// Lets the log know of a signed statement.
    pub(super) async fn envelope(&self, agent: &Agent, envelope: &[u8], verifier: &str) -> Result<Entry, Error> {
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {"proposedContent": {
                "envelope": String::from_utf8_lossy(envelope),
                "verifiers": [STANDARD.encode(verifier)],
            }},
        });
        self.put(agent, &body).await
    }

    async fn put(&self, agent: &Agent, body: &Value) -> Result<Entry, Error> {
        let url = joined(&self.0, "api/v1/log/entries")?;
        let answer = post(agent, &url, body, "").await?.ok_or_else(|| unclear(&url))?;
        Entry::from_answer(&answer).ok_or_else(|| unclear(&url))
    }
}

fn joined(base: &Url, path: &str) -> Result<Url, Error> {
    let base = base.as_str().trim_end_matches('/');
    format!("{base}/{path}").parse().map_err(|_| Error::Service(format!("`{base}` is no URL of a service")))
}

fn unclear(url: &Url) -> Error {
    Error::Service(format!("{}: the answer is not understood", redact(url)))
}

/// Sends JSON; none where the answer says that it is there already, and not what.
async fn post(agent: &Agent, url: &Url, body: &Value, secret: &str) -> Result<Option<bytes::Bytes>, Error> {
    let json = HeaderValue::from_static("application/json");
    let mut call = Call::new(Method::POST, url.clone()).header(CONTENT_TYPE, json.clone());
    call = call.header(HeaderName::from_static("accept"), json);
    call.body = body.to_string().into();
    let mut response = agent.send_retrying(&call).await?;
    // Rekor answers so to what it has, and says where.
    if response.status().as_u16() == 409
        && let Some(place) = response.header("location").and_then(|place| url.join(place).ok())
        && place.origin() == url.origin()
    {
        response = agent.send_retrying(&Call::new(Method::GET, place)).await?;
    }
    let status = response.status();
    if !status.is_success() {
        let told = response.beginning(LARGEST_REFUSAL).await;
        let told = String::from_utf8_lossy(&told).replace(|c: char| c.is_control(), " ");
        // A server may quote what it was sent.
        let told = if secret.is_empty() { told } else { told.replace(secret, "…") };
        let meaning = crate::http::Meaning::of(status);
        return Err(Error::Refused { url: redact(url), status, told: told.trim().to_owned(), meaning });
    }
    Ok(Some(response.bytes(LARGEST_ANSWER).await?))
}

/// Returns whom a token names, as Fulcio has it: a mail address where there is one, else the subject.
fn subject(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let text = |name: &str| claims[name].as_str().map(str::to_owned);
    text("email").or_else(|| text("sub"))
}
