//! Google's KMS.
//!
//! Source: <https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions>
//! (`list`, `getPublicKey`, `asymmetricSign`), <https://cloud.google.com/kms/docs/data-integrity-guidelines>.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use google_cloud_auth::credentials::AccessTokenCredentials;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{NO_ED25519, Refusal, Service, What, Wrong};
use super::exchange::{Read, ask, question, told};
use crate::cloud::google;
use crate::http::{Agent, Call, StatusCode, Url};
use crate::signing::key::{Hash, PublicKey};

const ENDPOINT: &str = "https://cloudkms.googleapis.com/v1/";
/// How many pages of versions are read, of a thousand each.
const MOST_PAGES: usize = 100;

pub(super) const SERVICE: Service = Service {
    who: "with Application Default Credentials",
    credentials: "the file of GOOGLE_APPLICATION_CREDENTIALS, that of gcloud, the metadata server",
    rights: "cloudkms.cryptoKeyVersions.viewPublicKey and cloudkms.cryptoKeyVersions.useToSign on the key, as \
             roles/cloudkms.signerVerifier has them; and cloudkms.cryptoKeyVersions.list where no version is named, as \
             roles/cloudkms.viewer has it",
    keys: "purpose ASYMMETRIC_SIGN, algorithm EC_SIGN_P256_SHA256, EC_SIGN_P384_SHA384, or one of RSA_SIGN_PKCS1_… and \
           RSA_SIGN_PSS_…",
};

/// One version of a key.
pub(super) struct Key {
    credentials: AccessTokenCredentials,
    /// The resource name of the version.
    name: String,
    hash: Hash,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    #[serde(default)]
    crypto_key_versions: Vec<Version>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct Version {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Public {
    #[serde(default)]
    pem: String,
    #[serde(default)]
    algorithm: String,
    #[serde(default)]
    pem_crc32c: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    #[serde(default)]
    signature: String,
    #[serde(default)]
    signature_crc32c: Value,
    #[serde(default)]
    verified_digest_crc32c: bool,
}

#[derive(Default, Deserialize)]
struct ToldError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Value>,
}

/// Asks for the public half of a version: of the newest that is enabled, where none is named.
pub(super) async fn open(
    (key, version): (&str, Option<&str>),
    (file, metadata): (Option<&Path>, Option<&str>),
    agent: &Agent,
) -> Result<(PublicKey, Hash, Key), Wrong> {
    google::expect(agent, file, metadata).await.map_err(|told| Wrong::credentials(told, false))?;
    let credentials = google::credentials().map_err(|told| Wrong::credentials(told, false))?;
    let name = match version {
        Some(version) => format!("{key}/cryptoKeyVersions/{version}"),
        None => newest(key, &credentials, agent).await?,
    };
    let url = url(&format!("{name}/publicKey"))?;
    let read = |public: Public| match is_sum(&public.pem_crc32c, public.pem.as_bytes()) {
        true => Read::Whole(public),
        false => Read::Damaged("answered a key that was damaged on its way"),
    };
    let public = ask(agent, || call(&url, None, &credentials), read, refusal).await?;
    let hash = hash(&public.algorithm).map_err(|told| Wrong::key(What::Usage, told))?;
    let unfit = |error: crate::signing::key::KeyError| Wrong::key(What::Usage, error.to_string());
    let public = PublicKey::from_pem(public.pem.as_bytes()).map_err(unfit)?;
    Ok((public, hash, Key { credentials, name, hash }))
}

/// Returns the name of the newest version that is enabled.
async fn newest(key: &str, credentials: &AccessTokenCredentials, agent: &Agent) -> Result<String, Wrong> {
    let (mut newest, mut page) = (None, String::new());
    for _ in 0..MOST_PAGES {
        let mut url = url(&format!("{key}/cryptoKeyVersions"))?;
        url.query_pairs_mut().append_pair("filter", "state=ENABLED").append_pair("pageSize", "1000");
        if !page.is_empty() {
            url.query_pairs_mut().append_pair("pageToken", &page);
        }
        let read = Read::Whole::<Versions>;
        let versions = ask(agent, || call(&url, None, credentials), read, refusal).await?;
        let numbers = versions.crypto_key_versions.iter().filter_map(|version| {
            version.name.strip_prefix(key)?.strip_prefix("/cryptoKeyVersions/")?.parse::<u64>().ok()
        });
        newest = newest.max(numbers.max());
        page = versions.next_page_token;
        if page.is_empty() {
            break;
        }
    }
    let none = || Wrong::key(What::Disabled, "it has no version that is enabled");
    newest.map(|version| format!("{key}/cryptoKeyVersions/{version}")).ok_or_else(none)
}

impl Key {
    pub(super) async fn sign(&self, digest: &[u8], agent: &Agent) -> Result<Vec<u8>, Wrong> {
        let url = url(&format!("{}:asymmetricSign", self.name))?;
        let body = json!({
            "digest": {self.hash.name(): STANDARD.encode(digest)},
            "digestCrc32c": crc32c(digest).to_string(),
        });
        let read = |signed: Signed| {
            let signature = STANDARD.decode(&signed.signature).unwrap_or_default();
            match (signed.verified_digest_crc32c, is_sum(&signed.signature_crc32c, &signature)) {
                (true, true) => Read::Whole(signature),
                (false, _) => Read::Damaged("has not checked the sum of the digest, which was damaged on its way"),
                (true, false) => Read::Damaged("answered a signature that was damaged on its way"),
            }
        };
        ask(agent, || call(&url, Some(&body), &self.credentials), read, refusal).await
    }
}

/// Returns the hash that an algorithm signs.
fn hash(algorithm: &str) -> Result<Hash, String> {
    let is_supported = algorithm.starts_with("RSA_SIGN_PKCS1_") || algorithm.starts_with("RSA_SIGN_PSS_");
    match algorithm {
        "EC_SIGN_P256_SHA256" => Ok(Hash::Sha256),
        "EC_SIGN_P384_SHA384" => Ok(Hash::Sha384),
        rsa if is_supported && rsa.ends_with("_SHA256") => Ok(Hash::Sha256),
        rsa if is_supported && rsa.ends_with("_SHA512") => Ok(Hash::Sha512),
        "EC_SIGN_ED25519" => Err(NO_ED25519.to_owned()),
        other => Err(format!("its algorithm is {other}")),
    }
}

fn url(name: &str) -> Result<Url, Wrong> {
    format!("{ENDPOINT}{name}").parse().map_err(|_| Wrong::key(What::Other, "its name is none for a URL"))
}

async fn call(url: &Url, body: Option<&Value>, credentials: &AccessTokenCredentials) -> Result<Call, Wrong> {
    let headers = google::headers(credentials).await;
    let headers = headers.map_err(|error| Wrong::credentials(error.to_string(), error.is_transient()))?;
    let mut call = question(url, body);
    call.headers.extend(headers);
    Ok(call)
}

fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let ToldError { message, status: code, details } = told(body);
    let is_off = details.iter().any(|detail| detail["reason"] == "SERVICE_DISABLED");
    let what = match (status.as_u16(), &*code) {
        (401, _) => What::Credentials,
        // Where the whole service is not enabled, its own words say so.
        (403, _) if !is_off => What::Right,
        (404, _) => What::Missing,
        (400, "FAILED_PRECONDITION") => What::Disabled,
        (400, "INVALID_ARGUMENT") => What::Usage,
        _ => What::Other,
    };
    Refusal { what, code, message, passes: false }
}

/// Tells whether this is the sum of these bytes; the interface writes numbers of 64 bits as text.
fn is_sum(sum: &Value, bytes: &[u8]) -> bool {
    let sum = sum.as_u64().or_else(|| sum.as_str()?.parse().ok());
    sum == Some(u64::from(crc32c(bytes)))
}

/// Computes a CRC-32C. Source: RFC 3720 appendix B.4; the polynomial is 0x1EDC6F41, written backwards.
fn crc32c(bytes: &[u8]) -> u32 {
    let add = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
    };
    !bytes.iter().fold(u32::MAX, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        for (bytes, sum) in
            [(&[0; 32][..], 0x8A91_36AA), (&[0xFF; 32], 0x62A8_AB43), (b"123456789", 0xE306_9283), (b"", 0)]
        {
            assert_eq!(crc32c(bytes), sum);
            assert!(is_sum(&json!(sum), bytes) && is_sum(&json!(sum.to_string()), bytes));
            assert!(!is_sum(&json!(sum ^ 1), bytes) && !is_sum(&Value::Null, bytes) && !is_sum(&json!("x"), bytes));
        }
    }

    #[test]
    fn algorithms_say_their_hash() {
        for (algorithm, expected) in [
            ("EC_SIGN_P256_SHA256", Ok(Hash::Sha256)),
            ("EC_SIGN_P384_SHA384", Ok(Hash::Sha384)),
            ("RSA_SIGN_PKCS1_2048_SHA256", Ok(Hash::Sha256)),
            ("RSA_SIGN_PKCS1_4096_SHA512", Ok(Hash::Sha512)),
            ("RSA_SIGN_PSS_3072_SHA256", Ok(Hash::Sha256)),
            ("RSA_SIGN_PSS_4096_SHA512", Ok(Hash::Sha512)),
            ("RSA_SIGN_RAW_PKCS1_2048", Err("RSA_SIGN_RAW_PKCS1_2048")),
            ("RSA_DECRYPT_OAEP_2048_SHA256", Err("RSA_DECRYPT_OAEP_2048_SHA256")),
            ("EC_SIGN_SECP256K1_SHA256", Err("EC_SIGN_SECP256K1_SHA256")),
            ("EC_SIGN_ED25519", Err("Ed25519")),
            ("PQ_SIGN_ML_DSA_65", Err("PQ_SIGN_ML_DSA_65")),
        ] {
            match (hash(algorithm), expected) {
                (Ok(found), Ok(hash)) => assert_eq!(found, hash, "{algorithm}"),
                (Err(told), Err(part)) => assert!(told.contains(part), "{told}"),
                (found, _) => panic!("{algorithm}: {found:?}"),
            }
        }
    }
}
