//! Azure's Key Vault, and its managed HSM.
//!
//! Source: <https://learn.microsoft.com/rest/api/keyvault/keys/get-key/get-key>, `keys/sign/sign`;
//! <https://learn.microsoft.com/azure/key-vault/general/rest-error-codes>.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{NO_ED25519, Refusal, Service, What, Wrong};
use super::exchange::{Read, ask, question, told};
use super::jwk::{self, Jwk};
use super::uri::AzureCloud;
use crate::cloud::azure::{self, Identity, Tokens};
use crate::http::{AUTHORIZATION, Agent, Call, StatusCode, Url, secret_header};
use crate::signing::key::{Hash, Kind, PublicKey};

/// The oldest version of the interface that has all of this, and every cloud of Azure's.
const VERSION: &str = "7.4";

pub(super) const SERVICE: Service = Service {
    who: "with the first of: workload identity, client secret, managed identity",
    credentials: "workload identity (AZURE_FEDERATED_TOKEN_FILE with AZURE_CLIENT_ID and AZURE_TENANT_ID), \
                  AZURE_CLIENT_SECRET with the same two, managed identity",
    rights: "the key permissions get and sign, as the role Key Vault Crypto User has them",
    keys: "of type EC on P-256, P-384 or P-521, or RSA, with the operation sign",
};

/// One version of a key.
pub(super) struct Key {
    tokens: Tokens,
    url: Url,
    kind: Kind,
}

#[derive(Deserialize)]
struct Bundle {
    key: Value,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Signed {
    value: String,
}

#[derive(Default, Deserialize)]
struct ToldError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    innererror: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    code: String,
}

/// Asks for the public half of a version: of the newest, where none is named.
pub(super) async fn open(
    (vault, name, version): (&str, &str, Option<&str>),
    cloud: AzureCloud,
    identity: &Identity,
    agent: &Agent,
) -> Result<(PublicKey, Hash, Key), Wrong> {
    let mut identity = identity.clone();
    identity.authority = identity.authority.or_else(|| Some(cloud.authority.to_owned()));
    let tokens = Tokens::new(&identity, cloud.scope);
    let place = |version: Option<&str>, action: &str| {
        let version = version.map(|version| format!("/{version}")).unwrap_or_default();
        let text = format!("https://{vault}/keys/{name}{version}{action}?api-version={VERSION}");
        text.parse::<Url>().map_err(|_| Wrong::key(What::Other, "its name is none for a URL"))
    };
    let url = place(version, "")?;
    let bundle = ask(agent, || call(&url, None, &tokens, agent), Read::Whole::<Bundle>, refusal).await?;
    if bundle.attributes.enabled == Some(false) {
        return Err(Wrong::key(What::Disabled, "it is disabled"));
    }
    let operations = bundle.key["key_ops"].as_array();
    if operations.is_some_and(|operations| !operations.iter().any(|operation| operation == "sign")) {
        return Err(Wrong::key(What::Usage, "`sign` is none of its operations"));
    }
    // What signs must be the version whose public half this is, also when there is a newer one meanwhile.
    let held = bundle.key["kid"].as_str().and_then(|kid| kid.rsplit('/').next()).map(str::to_owned);
    let held = held.filter(|held| !held.is_empty() && held.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let held = held.ok_or_else(|| Wrong::unclear(&url, "answered a key without its version"))?;
    let jwk: Jwk = serde_json::from_value(bundle.key).map_err(|_| Wrong::unclear(&url, "answered no key"))?;
    let public = jwk.public_key().map_err(|told| Wrong::key(What::Usage, told))?;
    let key = Key { tokens, url: place(Some(&held), "/sign")?, kind: public.kind() };
    let hash = public.hash();
    Ok((public, hash, key))
}

impl Key {
    pub(super) async fn sign(&self, digest: &[u8], agent: &Agent) -> Result<Vec<u8>, Wrong> {
        let algorithm = match self.kind {
            Kind::P256 => "ES256",
            Kind::P384 => "ES384",
            Kind::P521 => "ES512",
            Kind::Rsa => "RS256",
            Kind::Ed25519 => return Err(Wrong::key(What::Usage, NO_ED25519)),
        };
        let body = json!({"alg": algorithm, "value": URL_SAFE_NO_PAD.encode(digest)});
        let read = Read::Whole::<Signed>;
        let signed = ask(agent, || call(&self.url, Some(&body), &self.tokens, agent), read, refusal).await?;
        let raw = jwk::decode(&signed.value);
        let signature = if self.kind == Kind::Rsa { raw } else { raw.and_then(|raw| jwk::ecdsa(&raw)) };
        signature.ok_or_else(|| Wrong::unclear(&self.url, "answered no signature"))
    }
}

async fn call(url: &Url, body: Option<&Value>, tokens: &Tokens, agent: &Agent) -> Result<Call, Wrong> {
    let token = tokens.token(agent).await.map_err(|error| without(&error, tokens))?;
    let unfit = |_| Wrong::credentials("the token is no text for a header", false);
    let token = secret_header(&format!("Bearer {token}")).map_err(unfit)?;
    Ok(question(url, body).header(AUTHORIZATION, token))
}

fn without(error: &azure::Error, tokens: &Tokens) -> Wrong {
    let is_transient = error.downcast_ref().is_some_and(crate::http::Error::is_transient);
    let told = crate::causes::in_one_line(&**error);
    Wrong::credentials(format!("{}: {told}", tokens.describe()), is_transient)
}

fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let ToldError { code, message, innererror } = told(body);
    // The inner one is what the outer one is about.
    let code = innererror.map(|inner| inner.code).filter(|inner| !inner.is_empty()).unwrap_or(code);
    let what = match (status.as_u16(), &*code) {
        (401, _) => What::Credentials,
        (_, "KeyDisabled" | "KeyNotYetValid" | "KeyExpired") => What::Disabled,
        (403, "ForbiddenByFirewall" | "ForbiddenByConnection") => What::Other,
        (403, _) => What::Right,
        (404, _) => What::Missing,
        (400, _) => What::Usage,
        _ => What::Other,
    };
    Refusal { what, code, message, passes: false }
}
