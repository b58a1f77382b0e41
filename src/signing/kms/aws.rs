//! Amazon's KMS.
//!
//! Source: <https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html>, `API_Sign.html`,
//! `CommonErrors.html`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{NO_ED25519, Refusal, Service, What, Wrong};
use super::exchange::{Read, ask};
use crate::cloud::aws::{self, Keeper, TRIED};
use crate::http::{Agent, CONTENT_TYPE, Call, HeaderName, HeaderValue, Method, StatusCode, Url, is_transient_status};
use crate::signing::key::{Hash, Kind, PublicKey};

pub(super) const SERVICE: Service = Service {
    who: TRIED,
    credentials: "environment, profile, web identity, container or pod identity, instance metadata; the region is that of \
                  the ARN, or AWS_REGION",
    rights: "kms:GetPublicKey and kms:Sign on the key, by the key's policy or an IAM policy",
    keys: "key usage SIGN_VERIFY, key spec ECC_NIST_P256, P384 or P521, or RSA_2048 and more",
};

/// A key of one region.
pub(super) struct Key {
    keeper: Keeper,
    url: Url,
    region: String,
    id: String,
    /// How it signs, once that is known.
    algorithm: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Public {
    public_key: String,
    #[serde(default)]
    key_usage: String,
    signing_algorithms: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    signature: String,
}

impl Key {
    pub(super) async fn new(
        endpoint: Option<String>,
        id: &str,
        region: Option<&str>,
        agent: &Agent,
    ) -> Result<Self, Wrong> {
        let config = aws::config(agent, region).await;
        let Some(region) = config.region().map(ToString::to_string) else {
            let problem = "its region is not known: set AWS_REGION, or name the key by its ARN";
            return Err(Wrong::key(What::Other, problem));
        };
        let is_fips = config.use_fips().unwrap_or(false);
        let text = endpoint.unwrap_or_else(|| self::endpoint(&region, is_fips));
        let unfit = |_| Wrong::key(What::Other, format!("`{}` is no URL of a KMS", crate::http::redact_text(&text)));
        let url = text.parse().map_err(unfit)?;
        Ok(Self { keeper: Keeper::new(config), url, region, id: id.to_owned(), algorithm: "" })
    }

    /// Asks for the public half.
    pub(super) async fn open(mut self, agent: &Agent) -> Result<(PublicKey, Hash, Self), Wrong> {
        let read = Read::Whole::<Public>;
        let public = ask(agent, || self.call("GetPublicKey", json!({"KeyId": self.id})), read, refusal).await?;
        if public.key_usage != "SIGN_VERIFY" {
            return Err(Wrong::key(What::Usage, format!("it is for {}", public.key_usage)));
        }
        let unfit = |told: String| Wrong::key(What::Usage, told);
        let der = STANDARD.decode(&public.public_key).map_err(|_| Wrong::unclear(&self.url, "answered no key"))?;
        let key = PublicKey::from_der(&der).map_err(|error| unfit(error.to_string()))?;
        self.algorithm = match key.kind() {
            Kind::P256 => "ECDSA_SHA_256",
            Kind::P384 => "ECDSA_SHA_384",
            Kind::P521 => "ECDSA_SHA_512",
            Kind::Rsa => "RSASSA_PKCS1_V1_5_SHA_256",
            Kind::Ed25519 => return Err(unfit(NO_ED25519.to_owned())),
        };
        let offered = public.signing_algorithms.unwrap_or_default();
        if !offered.iter().any(|offered| offered == self.algorithm) {
            return Err(unfit(format!("it signs with {}, and not with {}", offered.join(", "), self.algorithm)));
        }
        let hash = key.hash();
        Ok((key, hash, self))
    }

    pub(super) async fn sign(&self, digest: &[u8], agent: &Agent) -> Result<Vec<u8>, Wrong> {
        let body = json!({
            "KeyId": self.id,
            "Message": STANDARD.encode(digest),
            "MessageType": "DIGEST",
            "SigningAlgorithm": self.algorithm,
        });
        let signed = ask(agent, || self.call("Sign", body.clone()), Read::Whole::<Signed>, refusal).await?;
        STANDARD.decode(&signed.signature).map_err(|_| Wrong::unclear(&self.url, "answered no signature"))
    }

    async fn call(&self, action: &'static str, body: Value) -> Result<Call, Wrong> {
        let target = format!("TrentService.{action}");
        let target = HeaderValue::from_str(&target).map_err(|_| Wrong::unclear(&self.url, "cannot be asked"))?;
        let mut call = Call::new(Method::POST, self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"))
            .header(HeaderName::from_static("x-amz-target"), target);
        call.body = body.to_string().into();
        self.keeper.signed(call, "kms", &self.region).await.map_err(|error| match error {
            aws::Error::Credentials { told, unreachable } => Wrong::credentials(told, unreachable),
            aws::Error::Sign(_) => Wrong::key(What::Other, error.to_string()),
        })
    }
}

/// Returns the address of the service in a region. Source: AWS SDK, `partitions.json`.
fn endpoint(region: &str, is_fips: bool) -> String {
    let suffixes = [
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("eusc-", "amazonaws.eu"),
    ];
    let suffix = suffixes.iter().find(|(beginning, _)| region.starts_with(beginning));
    let (_, suffix) = suffix.unwrap_or(&("", "amazonaws.com"));
    format!("https://kms{}.{region}.{suffix}", if is_fips { "-fips" } else { "" })
}

/// Understands a refusal: the kind says what the status does not.
fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let aws::Refusal { kind: code, message } = aws::Refusal::parse(body);
    let mut passes = is_transient_status(status);
    let what = match &*code {
        "AccessDeniedException" | "NotAuthorized" => What::Right,
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired" => What::Credentials,
        "NotFoundException" => What::Missing,
        "DisabledException" | "KMSInvalidStateException" => What::Disabled,
        "InvalidKeyUsageException" | "UnsupportedOperationException" => What::Usage,
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "LimitExceededException"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "KMSInternalException" => {
            passes = true;
            What::Other
        }
        _ => What::Other,
    };
    Refusal { what, code, message, passes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_their_address() {
        for (region, is_fips, expected) in [
            ("eu-west-1", false, "https://kms.eu-west-1.amazonaws.com"),
            ("us-gov-west-1", true, "https://kms-fips.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, "https://kms.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", false, "https://kms.eusc-de-east-1.amazonaws.eu"),
            ("us-isob-east-1", false, "https://kms.us-isob-east-1.sc2s.sgov.gov"),
        ] {
            assert_eq!(endpoint(region, is_fips), expected);
        }
    }

    #[test]
    fn a_refusal_is_told_by_its_kind() {
        for (kind, what, passes) in [
            ("AccessDeniedException", What::Right, false),
            ("com.amazonaws.kms#DisabledException", What::Disabled, false),
            ("ExpiredTokenException", What::Credentials, false),
            ("NotFoundException", What::Missing, false),
            ("ThrottlingException", What::Other, true),
            ("Unheard", What::Other, false),
        ] {
            let body = json!({"__type": kind, "message": "words"}).to_string();
            let refusal = refusal(StatusCode::BAD_REQUEST, body.as_bytes());
            assert_eq!((refusal.what, refusal.passes, &*refusal.message), (what, passes, "words"), "{kind}");
        }
        assert!(refusal(StatusCode::BAD_GATEWAY, b"<html>").passes);
    }
}
