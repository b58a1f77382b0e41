//! Amazon's registries: one signed request gives a password for twelve hours.
//!
//! Source: <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>.

use std::time::Duration;

use serde::Deserialize;

use super::{Clouds, Endpoints};
use crate::causes;
use crate::cloud::aws;
use crate::http::{CONTENT_TYPE, Call, HeaderName, HeaderValue, Method};
use crate::registry::credentials::{Secret, decode};

const PUBLIC: &str = "public.ecr.aws";
/// The only region that gives passwords for public ECR.
const PUBLIC_REGION: &str = "us-east-1";
/// How long before its end a password is no longer used.
const MARGIN: i64 = 300;
const LONGEST: Duration = Duration::from_secs(12 * 3600);
const LARGEST_ANSWER: usize = 1 << 20;
const LONGEST_MESSAGE: usize = 300;

/// What a host name says of an Amazon registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registry<'a> {
    is_public: bool,
    is_fips: bool,
    region: &'a str,
    /// What follows the region in the host name.
    suffix: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    authorization_data: OneOrMany,
}

/// ECR answers a list, public ECR does not.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Password>),
    One(Password),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Password {
    authorization_token: String,
    #[serde(default)]
    expires_at: Option<f64>,
}

impl<'a> Registry<'a> {
    /// Reads a host name; none for one that is not Amazon's.
    pub(super) fn parse(host: &'a str) -> Option<Self> {
        if host == PUBLIC {
            return Some(Self { is_public: true, is_fips: false, region: PUBLIC_REGION, suffix: "amazonaws.com" });
        }
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kinds = [("dkr.ecr-fips.", true), ("dkr.ecr.", false), ("dkr-ecr-fips.", true), ("dkr-ecr.", false)];
        let (rest, is_fips) =
            kinds.into_iter().find_map(|(kind, is_fips)| Some((rest.strip_prefix(kind)?, is_fips)))?;
        let (region, suffix) = rest.split_once('.')?;
        let known = ["amazonaws.com", "amazonaws.com.cn", "on.aws", "on.amazonwebservices.com.cn", "amazonaws.eu"];
        let fits = known.contains(&suffix) && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        fits.then_some(Self { is_public: false, is_fips, region, suffix })
    }

    /// Returns the address of the service that gives passwords.
    fn endpoint(&self, endpoints: &Endpoints) -> String {
        let given = if self.is_public { &endpoints.ecr_public } else { &endpoints.ecr };
        if let Some(given) = given {
            return given.clone();
        }
        let Self { region, suffix, .. } = self;
        let suffix = match *suffix {
            "on.aws" => "api.aws",
            "on.amazonwebservices.com.cn" => "api.amazonwebservices.com.cn",
            suffix => suffix,
        };
        match (self.is_public, self.is_fips, suffix.starts_with("api.")) {
            (true, ..) => format!("https://api.ecr-public.{region}.{suffix}"),
            (false, true, _) => format!("https://ecr-fips.{region}.{suffix}"),
            (false, false, true) => format!("https://ecr.{region}.{suffix}"),
            (false, false, false) => format!("https://api.ecr.{region}.{suffix}"),
        }
    }
}

pub(super) async fn ask(clouds: &Clouds, host: &str) -> Result<(Secret, Duration), String> {
    let registry = Registry::parse(host).ok_or_else(|| format!("{host} is not Amazon's"))?;
    let region = clouds.endpoints.aws_region.as_deref().unwrap_or(registry.region);
    let config = aws::config(&clouds.agent, Some(region)).await;
    let (service, target) = if registry.is_public {
        ("ecr-public", "SpencerFrontendService.GetAuthorizationToken")
    } else {
        ("ecr", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
    };
    let endpoint = registry.endpoint(&clouds.endpoints);
    let url = endpoint.parse().map_err(|_| format!("`{}` is no URL", crate::http::redact_text(&endpoint)))?;
    let mut call = Call::new(Method::POST, url)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"))
        .header(HeaderName::from_static("x-amz-target"), HeaderValue::from_static(target));
    call.body = "{}".into();
    let call = aws::signed(&config, call, service, registry.region).await.map_err(|error| error.to_string())?;
    let response = clouds.agent.send_retrying(&call).await.map_err(|error| causes::in_one_line(&error))?;
    let status = response.status();
    if !status.is_success() {
        let aws::Refusal { kind, message } = aws::Refusal::parse(&response.beginning(8 << 10).await);
        let words = [kind, message].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        let words: String = words.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect();
        return Err(format!("{endpoint} answered {status} {words}").trim_end().to_owned());
    }
    let body = response.bytes(LARGEST_ANSWER).await.map_err(|error| causes::in_one_line(&error))?;
    understand(&body).ok_or_else(|| format!("{endpoint} answered without a password"))
}

fn understand(body: &[u8]) -> Option<(Secret, Duration)> {
    let granted: Granted = serde_json::from_slice(body).ok()?;
    let password = match granted.authorization_data {
        OneOrMany::Many(passwords) => passwords.into_iter().next()?,
        OneOrMany::One(password) => password,
    };
    let until = password.expires_at.and_then(|seconds| jiff::Timestamp::from_second(whole(seconds)).ok());
    let left = until.map(|until| until.as_second() - jiff::Timestamp::now().as_second() - MARGIN);
    let lasts = left.map_or(LONGEST, |left| Duration::from_secs(u64::try_from(left).unwrap_or(0)).min(LONGEST));
    Some((decode(&password.authorization_token)?, lasts))
}

/// Cuts off the fraction, by way of text: any number is a valid answer.
fn whole(seconds: f64) -> i64 {
    format!("{:.0}", seconds.trunc()).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_their_region_and_service() {
        let endpoint = |host| Registry::parse(host).map(|registry| registry.endpoint(&Endpoints::default()));
        for (host, expected) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", Some("https://api.ecr.eu-west-1.amazonaws.com")),
            ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", Some("https://ecr-fips.us-east-1.amazonaws.com")),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("https://api.ecr.cn-north-1.amazonaws.com.cn")),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", Some("https://ecr.eu-west-1.api.aws")),
            ("public.ecr.aws", Some("https://api.ecr-public.us-east-1.amazonaws.com")),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
            ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", None),
            ("ecr.aws", None),
        ] {
            assert_eq!(endpoint(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn a_password_is_kept_until_shortly_before_its_end() {
        let soon = jiff::Timestamp::now().as_second() + 1000;
        let body = format!(r#"{{"authorizationData":[{{"authorizationToken":"QVdTOnB3","expiresAt":{soon}.5}}]}}"#);
        let (secret, lasts) = understand(body.as_bytes()).expect("a password");
        assert_eq!(secret, Secret::Password { user: "AWS".to_owned(), password: "pw".to_owned() });
        assert!((600..=700).contains(&lasts.as_secs()), "{lasts:?}");
        let public = r#"{"authorizationData":{"authorizationToken":"QVdTOnB3","expiresAt":1.0}}"#;
        assert_eq!(understand(public.as_bytes()).expect("a password").1, Duration::ZERO);
        assert_eq!(understand(b"{}"), None);
    }
}
