//! Google Cloud Storage by its JSON API; only the credentials are the SDK's.
//!
//! Source: <https://cloud.google.com/storage/docs/json_api/v1/objects>.

use std::path::Path;
use std::sync::Arc;

use google_cloud_auth::credentials::AccessTokenCredentials;
use google_cloud_auth::errors::CredentialsError;
use serde::Deserialize;

use super::bucket::{self, Object};
use super::means::Fetched;
use super::stream::Remote;
use super::{Error, Means};
use crate::causes;
use crate::cloud::google;
use crate::http::download::{self, ByteRange, MakeCall, MakeError, Unavailable};
use crate::http::{AUTHORIZATION, Call, HeaderName, HeaderValue, Method, Url, secret_header};
use crate::request::ObjectSource;
use crate::rootfs::Tree;

const ENDPOINT: &str = "https://storage.googleapis.com";
const LARGEST_PAGE: usize = 16 << 20;

/// Who we are where nothing says it: a public bucket wants nothing.
const NO_CREDENTIALS: &str =
    "without credentials: GOOGLE_APPLICATION_CREDENTIALS is not set, and there is no metadata server";
/// The metadata server's name, which is known within Google's cloud only.
const METADATA_SERVER: &str = "metadata.google.internal";

/// The service, and who we are to it.
#[derive(Clone)]
struct Service {
    endpoint: Url,
    /// None where nothing is known: a public bucket wants nothing.
    credentials: Option<AccessTokenCredentials>,
    tried: String,
}

/// Fetches an archive, or all objects below a prefix.
pub(super) fn fetch(
    source: &ObjectSource,
    directory: &Path,
    limit: u64,
    means: &Means<'_>,
) -> Result<(Tree, Fetched), Error> {
    let service = Service::open(means)?;
    let list = |_: &str| service.list(source, means);
    bucket::fetch("gs", source, (directory, limit), means, list, |key| service.object(source, key))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    items: Vec<Item>,
    #[serde(rename = "nextPageToken")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    /// A number, as text.
    size: Option<String>,
    updated: Option<String>,
}

impl Service {
    fn open(means: &Means<'_>) -> Result<Self, Error> {
        if let Some(emulator) = &means.access.gcs_emulator {
            let text = if emulator.contains("://") { emulator.clone() } else { format!("http://{emulator}") };
            let endpoint = super::https::parse(&text)?;
            return Ok(Self {
                endpoint,
                credentials: None,
                tried: "without credentials: STORAGE_EMULATOR_HOST".into(),
            });
        }
        let endpoint = super::https::parse(ENDPOINT)?;
        // The credentials start a task that renews them.
        let _runtime = means.runtime.enter();
        let credentials = match google::credentials() {
            Ok(credentials) => credentials,
            Err(error) => {
                return Ok(Self { endpoint, credentials: None, tried: format!("without credentials: {error}") });
            }
        };
        let token = means.wait(credentials.access_token())?;
        if token.is_err_and(|error| is_without_metadata_server(&error)) {
            return Ok(Self { endpoint, credentials: None, tried: NO_CREDENTIALS.to_owned() });
        }
        Ok(Self { endpoint, credentials: Some(credentials), tried: "with Application Default Credentials".to_owned() })
    }

    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            // A slash in a part is encoded, as the API wants it.
            path.pop_if_empty().extend(["storage", "v1", "b"]).extend(parts);
        }
        url
    }

    /// Describes the download of one object.
    fn object(&self, source: &ObjectSource, key: &str) -> Remote {
        let mut url = self.url(&[&source.bucket, "o", key]);
        url.query_pairs_mut().append_pair("alt", "media");
        if let Some(generation) = &source.version {
            url.query_pairs_mut().append_pair("generation", generation);
        }
        Remote { what: format!("gs://{}/{key}", source.bucket), tried: self.tried.clone(), make: self.get(url) }
    }

    fn get(&self, url: Url) -> MakeCall {
        let credentials = self.credentials.clone();
        Arc::new(move |range: Option<ByteRange>| {
            let (url, credentials) = (url.clone(), credentials.clone());
            Box::pin(async move {
                // What is stored compressed must come as it is stored, or it has no ranges.
                let accept = HeaderName::from_static("accept-encoding");
                let mut call = Call::new(Method::GET, url).header(accept, HeaderValue::from_static("gzip"));
                if let Some(credentials) = credentials {
                    let token = credentials.access_token().await;
                    let token = token.map_err(|error| -> MakeError {
                        if error.is_transient() {
                            Unavailable(causes::in_one_line(&error)).into()
                        } else {
                            error.into()
                        }
                    })?;
                    let value = secret_header(&format!("Bearer {}", token.token))?;
                    call = call.header(AUTHORIZATION, value);
                }
                if let Some(range) = range {
                    call = call.header(HeaderName::from_static("range"), HeaderValue::from_str(&range.header())?);
                }
                Ok(call)
            })
        })
    }

    fn list(&self, source: &ObjectSource, means: &Means<'_>) -> Result<Vec<Object>, Error> {
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut url = self.url(&[&source.bucket, "o"]);
            url.query_pairs_mut().append_pair("prefix", &source.key);
            if let Some(token) = &token {
                url.query_pairs_mut().append_pair("pageToken", token);
            }
            let what = format!("gs://{}/{}", source.bucket, source.key);
            let remote = Remote { what, tried: self.tried.clone(), make: self.get(url) };
            let read = means.wait(async {
                let download = download::open(means.agent, remote.make.clone()).await?;
                download.bytes(LARGEST_PAGE).await
            })?;
            let bytes = read.map_err(|source| remote.failed(source))?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| Error::Refused {
                what: remote.what.clone(),
                tried: remote.tried.clone(),
                reason: format!("the list of objects is malformed: {error}"),
                kind: super::ErrorKind::Wrong,
            })?;
            objects.extend(page.items.into_iter().filter_map(|item| item.object(&source.key)));
            token = page.next.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(objects);
            }
        }
    }
}

/// Tells whether the default credentials would come from a metadata server that this machine has not.
fn is_without_metadata_server(error: &CredentialsError) -> bool {
    let text = causes::in_one_line(error);
    text.contains(METADATA_SERVER) && text.contains("dns error")
}

impl Item {
    fn object(self, prefix: &str) -> Option<Object> {
        let name = self.name.strip_prefix(prefix)?.to_owned();
        let size = self.size.and_then(|size| size.parse().ok()).unwrap_or_default();
        let modified = self.updated.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        // The prefix itself may be an object: the directory.
        (!name.is_empty()).then(|| Object { name, size, modified: modified.map_or(0, |moment| moment.as_second()) })
    }
}
