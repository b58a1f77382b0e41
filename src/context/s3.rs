//! S3, and what speaks its protocol: the SDK finds credentials and endpoints and signs; the bytes come through our own
//! client, as all others do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;

use super::bucket::{self, Object};
use super::means::Fetched;
use super::stream::Remote;
use super::{Error, ErrorKind, Means, S3Access};
use crate::cloud::aws::{self, TRIED, is_unreachable, told};
use crate::http::download::{MakeError, Unavailable};
use crate::http::{Agent, Call, HeaderName, HeaderValue, Method};
use crate::request::ObjectSource;
use crate::rootfs::Tree;

/// How long a signed URL holds; each request is signed anew.
const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// What a bucket's region is where nobody says: the SDK signs for this one elsewhere too.
const DEFAULT_REGION: &str = "us-east-1";

/// Fetches an archive, or all objects below a prefix.
pub(super) fn fetch(
    source: &ObjectSource,
    directory: &Path,
    limit: u64,
    means: &Means<'_>,
) -> Result<(Tree, Fetched), Error> {
    let client = means.wait(client(means.agent, &means.access.s3))?;
    let list = |what: &str| {
        means.wait(list(&client, source))?.map_err(|(reason, kind)| Error::Refused {
            what: what.to_owned(),
            tried: TRIED.to_owned(),
            reason,
            kind,
        })
    };
    bucket::fetch("s3", source, (directory, limit), means, list, |key| remote(&client, source, key))
}

async fn client(agent: &Agent, access: &S3Access) -> Client {
    let config = aws::config(agent, None).await;
    let mut builder = aws_sdk_s3::config::Builder::from(&config).force_path_style(access.force_path_style);
    if let Some(endpoint) = &access.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if config.region().is_none() {
        builder = builder.region(Region::from_static(DEFAULT_REGION));
    }
    Client::from_conf(builder.build())
}

/// Describes the download of one object.
fn remote(client: &Client, source: &ObjectSource, key: &str) -> Remote {
    let what = format!("s3://{}/{key}", source.bucket);
    let request = client.get_object().bucket(&source.bucket).key(key).set_version_id(source.version.clone());
    let make = Arc::new(move |range: Option<crate::http::download::ByteRange>| {
        let request = request.clone();
        let future = async move {
            let signed = request.presigned(PresigningConfig::expires_in(SIGNED_FOR)?).await;
            let signed = signed.map_err(|error| not_signed(&error))?;
            let mut call = Call::new(Method::GET, signed.uri().parse()?);
            for (name, value) in signed.headers() {
                call = call.header(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
            }
            if let Some(range) = range {
                call = call.header(HeaderName::from_static("range"), HeaderValue::from_str(&range.header())?);
            }
            Ok(call)
        };
        Box::pin(future) as futures_util::future::BoxFuture<'static, _>
    });
    Remote { what, tried: TRIED.to_owned(), make }
}

fn not_signed(error: &(dyn std::error::Error + 'static)) -> MakeError {
    if is_unreachable(error) { Unavailable(told(error)).into() } else { told(error).into() }
}

async fn list(client: &Client, source: &ObjectSource) -> Result<Vec<Object>, (String, ErrorKind)> {
    let mut objects = Vec::new();
    let mut pages = client.list_objects_v2().bucket(&source.bucket).prefix(&source.key).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            let status = error.raw_response().map(|response| response.status().as_u16());
            let kind = match (status, error.code()) {
                (_, Some("NoSuchBucket")) => ErrorKind::Wrong,
                (None, _) if is_unreachable(&error) => ErrorKind::Transient,
                (None, _) => ErrorKind::Denied,
                (Some(401 | 403), _) => ErrorKind::Denied,
                (Some(408 | 429 | 500..), _) => ErrorKind::Transient,
                _ => ErrorKind::Wrong,
            };
            (told(&error), kind)
        })?;
        objects.extend(page.contents().iter().filter_map(|object| {
            let name = object.key()?.strip_prefix(&source.key)?.to_owned();
            let size = u64::try_from(object.size().unwrap_or_default()).unwrap_or_default();
            let modified = object.last_modified().map_or(0, |moment| moment.secs());
            // The prefix itself may be an object: the directory.
            (!name.is_empty()).then_some(Object { name, size, modified })
        }));
    }
    Ok(objects)
}
