//! Where spans are sent: what OpenTelemetry's variables say, and the sending.
//!
//! Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter", "Environment Variable Specification"; W3C Trace
//! Context.
//!
//! *Invariant: a collector that cannot be reached, and a variable that cannot be obeyed, is a warning; no build fails for
//! it, and none waits longer for it than the timeout.*

use std::path::PathBuf;
use std::time::Duration;

use super::env::Environment;
use super::work;
use crate::causes;
use crate::http::{
    Agent, CONTENT_TYPE, Call, HeaderName, HeaderValue, Method, Options, Retry, Timeouts, Url, decoded, redact,
    secret_header,
};
use crate::record::{Origin, Record, otlp_json, otlp_protobuf};
use crate::sys::random;

/// What the specification sets, in milliseconds.
const TIMEOUT: u64 = 10_000;
/// How much of an answer is told.
const ANSWER: usize = 300;

/// Where spans are sent.
#[derive(Clone, Debug)]
pub struct Telemetry {
    endpoint: Url,
    is_json: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    certificate: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    origin: Origin,
}

impl Telemetry {
    /// Reads the variables; none where spans are not asked for, or the caller's are not recorded either.
    ///
    /// # Errors
    /// What is wrong with a variable, and what to do.
    pub(super) fn of(environment: &Environment) -> Result<Option<Self>, String> {
        let variables = Variables(environment);
        let Some(endpoint) = variables.endpoint()? else { return Ok(None) };
        if variables.is_off()? {
            return Ok(None);
        }
        let is_json = match &*variables.specific("PROTOCOL")?.unwrap_or_default() {
            "" | "http/protobuf" => false,
            "http/json" => true,
            other => {
                let port = "an endpoint that takes it: usually port 4318, not 4317";
                return Err(format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL={other} is not spoken, so no spans are sent: set it to http/protobuf or \
                     http/json, with {port}"
                ));
            }
        };
        let timeout = variables.specific("TIMEOUT")?.map_or(Ok(TIMEOUT), |text| {
            text.parse().map_err(|_| format!("OTEL_EXPORTER_OTLP_TIMEOUT={text} is no number of milliseconds"))
        })?;
        let path =
            |name| Ok::<_, String>(variables.specific(name)?.map(|path| environment.directories.working.join(path)));
        Ok(Some(Self {
            endpoint,
            is_json,
            headers: variables.headers()?,
            timeout: Duration::from_millis(timeout),
            certificate: path("CERTIFICATE")?,
            identity: path("CLIENT_CERTIFICATE")?.zip(path("CLIENT_KEY")?),
            origin: variables.origin()?,
        }))
    }

    /// Sends a record.
    ///
    /// # Errors
    /// Why the collector does not have it.
    pub(super) fn send(&self, record: &Record, options: &Options) -> Result<(), String> {
        let shown = redact(&self.endpoint);
        let fail = |why: &str| format!("spans were not sent to {shown}: {why}");
        let mut options = options.clone();
        let host = self.endpoint.host_str().unwrap_or_default();
        let host = self.endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let tls = options.hosts.entry(host).or_default();
        tls.certificates.extend(self.certificate.clone());
        tls.identity = self.identity.clone().or(tls.identity.take());
        options.timeouts = Timeouts { connect: self.timeout, idle: self.timeout, commit: self.timeout };
        options.retry = Retry { attempts: 1, ..options.retry };
        let agent = Agent::new(options).map_err(|error| fail(&causes::in_one_line(&error)))?;
        let runtime = work::runtime().map_err(|failure| fail(&failure.message))?;
        let bodies: Box<dyn Iterator<Item = Vec<u8>>> = match self.is_json {
            true => Box::new(otlp_json(record, &self.origin)),
            false => Box::new(otlp_protobuf(record, &self.origin)),
        };
        let sent = runtime.block_on(async {
            let all = async {
                for body in bodies {
                    self.send_one(&agent, body).await?;
                }
                Ok::<_, String>(())
            };
            let late = || format!("it took longer than {} ms (OTEL_EXPORTER_OTLP_TIMEOUT)", self.timeout.as_millis());
            tokio::time::timeout(self.timeout, all).await.unwrap_or_else(|_| Err(late()))
        });
        runtime.shutdown_background();
        sent.map_err(|why| fail(&why))
    }

    async fn send_one(&self, agent: &Agent, body: Vec<u8>) -> Result<(), String> {
        let form = if self.is_json { "application/json" } else { "application/x-protobuf" };
        let mut call = Call::new(Method::POST, self.endpoint.clone());
        call.body = body.into();
        for (name, value) in &self.headers {
            call = call.header(name.clone(), value.clone());
        }
        let call = call.header(CONTENT_TYPE, HeaderValue::from_static(form));
        let answer = agent.send(&call).await.map_err(|error| causes::in_one_line(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let beginning = answer.beginning(ANSWER).await;
        let text: String = String::from_utf8_lossy(&beginning).chars().filter(|c| !c.is_control()).collect();
        Err(format!("it answered {status} {text}").trim_end().to_owned())
    }
}

/// OpenTelemetry's variables.
#[derive(Clone, Copy)]
struct Variables<'a>(&'a Environment);

impl Variables<'_> {
    fn value(self, name: &str) -> Result<Option<String>, String> {
        let value = self.0.value(name).map_err(|error| error.to_string())?;
        Ok(value.map(str::to_owned))
    }

    /// Returns the variable for traces, else that for all signals.
    fn specific(self, name: &str) -> Result<Option<String>, String> {
        let own = self.value(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))?;
        if own.is_some() { Ok(own) } else { self.value(&format!("OTEL_EXPORTER_OTLP_{name}")) }
    }

    /// Returns where traces go: the address of all signals has theirs below it.
    fn endpoint(self) -> Result<Option<Url>, String> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let (own, all) = (self.value(names[0])?, self.value(names[1])?);
        let (name, text) = match (own, all) {
            (Some(own), _) => (names[0], own),
            (None, Some(all)) => (names[1], format!("{}/v1/traces", all.trim_end_matches('/'))),
            (None, None) => return Ok(None),
        };
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        // The value may have a login in it.
        url.map(Some).ok_or_else(|| format!("{name} is no http:// or https:// URL, so no spans are sent"))
    }

    /// Tells whether nothing is sent, though there is an address.
    fn is_off(self) -> Result<bool, String> {
        let is_true = |text: String| text.eq_ignore_ascii_case("true");
        let exporters = self.value("OTEL_TRACES_EXPORTER")?;
        let is_other = exporters.is_some_and(|list| !list.split(',').any(|name| name.trim() == "otlp"));
        // The caller decides for all that it calls.
        Ok(self.value("OTEL_SDK_DISABLED")?.is_some_and(is_true)
            || is_other
            || self.0.trace.is_some_and(|caller| !caller.is_sampled()))
    }

    fn headers(self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        // They may be secrets, and are not told.
        let wrong = || "OTEL_EXPORTER_OTLP_HEADERS is no list NAME=VALUE,NAME=VALUE, so no spans are sent".to_owned();
        let pairs = pairs(&self.specific("HEADERS")?.unwrap_or_default()).ok_or_else(wrong)?;
        let header = |(name, value): (String, String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, secret_header(&value).ok()?))
        };
        pairs.into_iter().map(header).collect::<Option<_>>().ok_or_else(wrong)
    }

    fn origin(self) -> Result<Origin, String> {
        let given = pairs(&self.value("OTEL_RESOURCE_ATTRIBUTES")?.unwrap_or_default());
        let mut resource = given.ok_or_else(|| {
            "OTEL_RESOURCE_ATTRIBUTES is no list NAME=VALUE,NAME=VALUE, so no spans are sent".to_owned()
        })?;
        let name = self.value("OTEL_SERVICE_NAME")?;
        let has_name = resource.iter().any(|(known, _)| known == "service.name");
        if name.is_some() || !has_name {
            resource.retain(|(known, _)| known != "service.name");
            resource.insert(0, ("service.name".to_owned(), name.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned())));
        }
        if !resource.iter().any(|(known, _)| known == "service.version") {
            resource.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        }
        let parent = self.0.trace;
        let state = self.value("TRACESTATE")?.filter(|_| parent.is_some()).unwrap_or_default();
        let trace = match parent {
            Some(parent) => parent.trace(),
            None => u128::from_be_bytes(random_id()?).max(1).to_be_bytes(),
        };
        let seed = u64::from_be_bytes(random_id()?);
        Ok(Origin { resource, trace, parent: parent.map(|parent| parent.span()), state, seed })
    }
}

fn random_id<const N: usize>() -> Result<[u8; N], String> {
    random::bytes().map_err(|error| format!("the system gives no random bytes for the ids of spans: {error}"))
}

/// Reads a list as that of W3C's baggage: `NAME=VALUE,NAME=VALUE`, values percent-encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').filter(|(name, _)| !name.trim().is_empty())?;
        Some((name.trim().to_owned(), decoded(value.trim())))
    };
    parts.map(pair).collect()
}
