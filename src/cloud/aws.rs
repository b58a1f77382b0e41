//! Amazon: the SDK finds credentials and signs; the bytes go through our own client, as all others do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use serde::Deserialize;

use super::PROBE;
use crate::causes;
use crate::http::{Agent, Call, HeaderName, HeaderValue, NamedBy};

/// Which credentials there may be, for messages.
pub const TRIED: &str =
    "with the first credentials of: environment, profile, web identity, container or pod identity, instance metadata";

/// How long before their end credentials are not used any more.
const MARGIN: Duration = Duration::from_secs(120);
/// Answers of credential services and listings are smaller.
const LARGEST_ANSWER: usize = 16 << 20;

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no credentials, or they cannot be had.
    #[error("{told}")]
    Credentials {
        /// Why, without the answers of services.
        told: String,
        /// Whether a service that gives them could not be reached.
        unreachable: bool,
    },
    /// The request cannot be signed.
    #[error("the request cannot be signed: {0}")]
    Sign(String),
}

/// Prepares the SDK: where credentials come from, and how it reaches their services. Nothing is asked yet.
///
/// The region is that of environment and profile where none is given.
pub async fn config(agent: &Agent, region: Option<&str>) -> SdkConfig {
    let agent = agent.clone();
    let no_metadata = Arc::new(AtomicBool::new(false));
    let http = http_client_fn(move |settings: &HttpConnectorSettings, _| {
        let limit = settings.read_timeout().or(settings.connect_timeout());
        let connector = Connector { agent: agent.clone(), limit, no_metadata: Arc::clone(&no_metadata) };
        SharedHttpConnector::new(connector)
    });
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    match region {
        Some(region) => loader.region(Region::new(region.to_owned())).load().await,
        None => loader.load().await,
    }
}

/// Signs a request for a service of a region with the credentials that are found.
///
/// # Errors
/// [`Error`], without anything secret.
pub async fn signed(config: &SdkConfig, call: Call, service: &str, region: &str) -> Result<Call, Error> {
    signed_with(credentials(config).await?, call, service, region)
}

async fn credentials(config: &SdkConfig) -> Result<Credentials, Error> {
    let provider = config.credentials_provider().ok_or_else(|| Error::Credentials {
        told: "no AWS credentials are configured".to_owned(),
        unreachable: false,
    })?;
    let refused =
        |error: CredentialsError| Error::Credentials { told: told(&error), unreachable: is_unreachable(&error) };
    provider.provide_credentials().await.map_err(refused)
}

/// Signs requests with credentials that are kept until shortly before they expire: where `/` holds another image
/// meanwhile, the files that they are from are not looked for again.
pub struct Keeper {
    config: SdkConfig,
    known: Mutex<Option<Credentials>>,
}

impl Keeper {
    /// Keeps what `config` finds; nothing is asked yet.
    pub fn new(config: SdkConfig) -> Self {
        Self { config, known: Mutex::new(None) }
    }

    /// Returns the settings.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Signs a request as [`signed`].
    ///
    /// # Errors
    /// [`Error`], without anything secret.
    pub async fn signed(&self, call: Call, service: &str, region: &str) -> Result<Call, Error> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let soon = SystemTime::from(jiff::Timestamp::now()) + MARGIN;
        let known = known.filter(|known| known.expiry().is_none_or(|expiry| soon < expiry));
        let credentials = match known {
            Some(known) => known,
            None => credentials(&self.config).await?,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
        signed_with(credentials, call, service, region)
    }
}

fn signed_with(credentials: Credentials, mut call: Call, service: &str, region: &str) -> Result<Call, Error> {
    let identity = credentials.into();
    let unfit = |error: &dyn std::error::Error| Error::Sign(causes::in_one_line(error));
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        // A signature holds for some minutes around the server's own time, so that this is the clock's.
        .time(SystemTime::from(jiff::Timestamp::now()))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unfit(&error))?
        .into();
    let headers = call.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(&call.body);
    let request = SignableRequest::new(call.method.as_str(), call.url.as_str(), headers, body);
    let output = sign(request.map_err(|error| unfit(&error))?, &parameters).map_err(|error| unfit(&error))?;
    let (instructions, _) = output.into_parts();
    for (name, value) in instructions.headers() {
        let name: HeaderName = name.parse().map_err(|_| Error::Sign(format!("`{name}` is no header")))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| Error::Sign(format!("{name} has no text")))?;
        value.set_sensitive(true);
        call.headers.insert(name, value);
    }
    Ok(call)
}

/// What a service says when it refuses, in its JSON protocols.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// Its word for it.
    #[serde(rename = "__type", default)]
    pub kind: String,
    /// More words; none where they would quote the request, and a session's token in it.
    #[serde(default, alias = "Message")]
    pub message: String,
}

impl Refusal {
    /// Reads one; empty where there is none.
    pub fn parse(body: &[u8]) -> Self {
        let Self { kind, message } = serde_json::from_slice(body).unwrap_or_default();
        // A namespace may stand before it.
        let kind = kind.rsplit('#').next().unwrap_or_default();
        let kind: String = kind.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        let quotes = ["InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature"].contains(&&*kind);
        Self { kind, message: if quotes { String::new() } else { message } }
    }
}

/// Writes an error of the SDK without the answers of services that it shows: they may hold secrets.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    // The SDK names each place that it has looked into, in lines of their own; we have named them.
    let text = match causes::of(error).find_map(|cause| cause.downcast_ref::<CredentialsError>()) {
        Some(CredentialsError::CredentialsNotLoaded(_)) => return "no AWS credentials were found".to_owned(),
        Some(unfit) => {
            let last = causes::of(unfit).last().map(ToString::to_string).unwrap_or_default();
            format!("no AWS credentials: {last}")
        }
        None => causes::in_one_line(error),
    };
    let cut = text.find("Response {").unwrap_or(text.len());
    text[..cut].trim_end_matches([' ', '.', ':', '(']).to_owned()
}

/// Tells whether a service could not be reached, and not what it said.
pub fn is_unreachable(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_transient = |cause: &crate::http::Error| cause.is_transient();
    causes::of(error).any(|cause| cause.downcast_ref().is_some_and(is_transient))
}

/// Lets the SDK use our client: its own would ask other resolvers, roots and proxies.
#[derive(Debug)]
struct Connector {
    agent: Agent,
    limit: Option<Duration>,
    /// Whether the instance's metadata service was seen not to be there: the SDK would ask it again and again.
    no_metadata: Arc<AtomicBool>,
}

/// The metadata service had its time.
#[derive(Debug, thiserror::Error)]
#[error("no metadata service answers on this machine")]
struct NoMetadata;

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (agent, limit, no_metadata) = (self.agent.clone(), self.limit, Arc::clone(&self.no_metadata));
        let probes = request.uri().contains("://169.254.169.254") || request.uri().contains("://[fd00:ec2::254]");
        let limit = if probes { Some(limit.map_or(PROBE, |limit| limit.min(PROBE))) } else { limit };
        HttpConnectorFuture::new(async move {
            if probes && no_metadata.load(Ordering::Relaxed) {
                return Err(ConnectorError::user(NoMetadata.into()));
            }
            let exchange = exchange(&agent, request);
            let result = match limit {
                Some(limit) => tokio::time::timeout(limit, exchange)
                    .await
                    .unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into()))),
                None => exchange.await,
            };
            if probes && result.is_err() {
                no_metadata.store(true, Ordering::Relaxed);
                return Err(ConnectorError::user(NoMetadata.into()));
            }
            result
        })
    }
}

async fn exchange(agent: &Agent, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
    let request = request.try_into_http1x().map_err(|error| user(error.into()))?;
    let url = request
        .uri()
        .to_string()
        .parse()
        .map_err(|error: <crate::http::Url as std::str::FromStr>::Err| user(error.into()))?;
    // Where the SDK's services are is said by the environment, and where there is none by the SDK.
    let mut call = Call::new(request.method().clone(), url).named_by(NamedBy::Cloud);
    call.headers = request.headers().clone();
    call.body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
    let failed = |error: crate::http::Error| {
        if error.is_transient() { ConnectorError::io(error.into()) } else { ConnectorError::user(error.into()) }
    };
    let response = agent.send(&call).await.map_err(failed)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes(LARGEST_ANSWER).await.map_err(failed)?;
    let mut answer = http::Response::new(SdkBody::from(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    HttpResponse::try_from(answer).map_err(|error| user(error.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;
    use crate::http::{AUTHORIZATION, Method};

    #[test]
    fn a_refusal_is_told_without_what_was_sent() {
        for (body, kind, message) in [
            (r#"{"__type":"com.amazonaws.kms#DisabledException","message":"it is"}"#, "DisabledException", "it is"),
            (r#"{"__type":"AccessDeniedException","Message":"no"}"#, "AccessDeniedException", "no"),
            (
                r#"{"__type":"InvalidSignatureException","message":"x-amz-security-token:s"}"#,
                "InvalidSignatureException",
                "",
            ),
            ("<html>", "", ""),
        ] {
            let (kind, message) = (kind.to_owned(), message.to_owned());
            assert_eq!(Refusal::parse(body.as_bytes()), Refusal { kind, message }, "{body}");
        }
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire() {
        #[derive(Debug)]
        struct Counting(Arc<AtomicUsize>, Option<Duration>);
        impl aws_credential_types::provider::ProvideCredentials for Counting {
            fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                let number = self.0.fetch_add(1, Ordering::Relaxed);
                let expiry = self.1.map(|left| SystemTime::from(jiff::Timestamp::now()) + left);
                let credentials = Credentials::new(format!("AK{number}"), "SK", None, expiry, "test");
                aws_credential_types::provider::future::ProvideCredentials::ready(Ok(credentials))
            }
        }
        for (left, asked) in [(None, 1), (Some(MARGIN * 2), 1), (Some(MARGIN / 2), 3)] {
            let count = Arc::default();
            let provider = SharedCredentialsProvider::new(Counting(Arc::clone(&count), left));
            let keeper = Keeper::new(SdkConfig::builder().credentials_provider(provider).build());
            for _ in 0..3 {
                let call = Call::new(Method::POST, "https://kms.example.com/".parse().expect("a URL"));
                let signed = keeper.signed(call, "kms", "eu-west-1").await.expect("it is signed");
                let text = signed.headers[AUTHORIZATION].to_str().expect("text").to_owned();
                assert!(text.contains("/eu-west-1/kms/aws4_request"), "{text}");
            }
            assert_eq!(count.load(Ordering::Relaxed), asked, "{left:?}");
        }
    }
}
