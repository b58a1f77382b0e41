//! The client against scripted servers and a real registry.

mod mirrors;
mod real;
mod referrers;
mod scripted;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::*;
use crate::http::Retry;
use crate::oci::{Descriptor, Reference, media_type};
use crate::progress::Silent;

/// A client that speaks plain http, waits milliseconds, and knows what `config` (a config.json) says.
fn client(config: &str, change: impl FnOnce(&mut http::Options, &mut Options)) -> Client {
    let retry = Retry { attempts: 4, first_delay: Duration::from_millis(1), ..Retry::default() };
    let mut http_options = http::Options { retry, ..http::Options::default() };
    let insecure = Registry { insecure: true, skip_verify: false };
    let mut options = Options { pull: insecure.clone(), push: insecure, chunk: 1000, ..Options::default() };
    change(&mut http_options, &mut options);
    let texts = [("config.json".to_owned(), config.to_owned())];
    let credentials = Credentials::parse(&texts, &[]).expect("credentials");
    Client::new(http::Agent::new(http_options).expect("agent"), options, credentials, Arc::new(Silent))
}

fn plain() -> Client {
    client("", |_, _| ())
}

fn reference(address: &str, rest: &str) -> Reference {
    format!("{address}/{rest}").parse().expect("reference")
}

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of(media_type::OCI_LAYER_GZIP, bytes)
}

/// Bytes that repeat nowhere, so that a piece in the wrong place shows.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

fn source(bytes: &[u8]) -> BlobSource {
    BlobSource::Bytes(Bytes::copy_from_slice(bytes))
}

async fn collect(mut stream: BlobStream) -> Result<Vec<u8>, Error> {
    let mut whole = Vec::new();
    while let Some(piece) = stream.next().await {
        whole.extend_from_slice(&piece?);
    }
    Ok(whole)
}
