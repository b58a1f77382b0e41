//! Git LFS: files that a repository only points to.
//!
//! Source: <https://github.com/git-lfs/git-lfs/tree/main/docs>, the pointer file and the batch API.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::address::Address;
use super::session::{Failure, Session};
use super::ssh;
use crate::context::stream::Remote;
use crate::context::writer::{Attributes, Writer};
use crate::context::{Error, ErrorKind, Means};
use crate::http::{
    CONTENT_TYPE, Call, HeaderName, HeaderValue, Meaning, Method, NamedBy, StatusCode, Url, secret_header,
};
use crate::image::Timestamp;
use crate::oci::{Digest, Hasher};

const VERSION: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// Larger files are no pointers (the specification's limit).
const LONGEST_POINTER: usize = 1024;
const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
/// How many files are asked for at once, as the program itself does.
const BATCH: usize = 100;
const LARGEST_ANSWER: usize = 8 << 20;
/// How many names an error has.
const NAMED: usize = 5;

/// A file that LFS has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    /// 64 hexadecimal digits.
    pub(super) id: String,
    pub(super) size: u64,
}

impl Pointer {
    /// Reads a pointer file; none where it is an ordinary one. The path is for the caller to say.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        if content.len() > LONGEST_POINTER || !content.starts_with(VERSION) {
            return None;
        }
        let text = std::str::from_utf8(content).ok()?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let id = value("oid")?.strip_prefix("sha256:")?;
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = value("size")?.parse().ok()?;
        is_id.then(|| Self { path: PathBuf::new(), mode: 0o644, id: id.to_lowercase(), size })
    }
}

#[derive(Deserialize)]
struct Batch {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

/// Fetches the files that pointers stand for.
pub(super) fn fetch(
    pointers: &[Pointer],
    mtime: Timestamp,
    writer: &mut Writer,
    session: &Arc<Session>,
    means: &Means<'_>,
) -> Result<(), Error> {
    if pointers.is_empty() {
        return Ok(());
    }
    if let Address::Url(url) = &session.address
        && url.scheme() == "file"
    {
        return from_directory(pointers, url, mtime, writer, session);
    }
    let endpoint = means.wait(endpoint(session))?.map_err(|failure| named(pointers, session, failure))?;
    for pointers in pointers.chunks(BATCH) {
        let objects = means.wait(batch(&endpoint, pointers, session))?;
        let objects = objects.map_err(|failure| named(pointers, session, failure))?;
        for pointer in pointers {
            let object = objects.iter().find(|object| object.oid == pointer.id);
            let refused = |reason: String| {
                let failure = Failure { reason, kind: ErrorKind::Wrong, tried: "by LFS".to_owned() };
                named(std::slice::from_ref(pointer), session, failure)
            };
            if let Some(refusal) = object.and_then(|object| object.error.as_ref()) {
                return Err(refused(refusal.message.clone()));
            }
            let action = object.and_then(|object| object.actions.as_ref()?.download.as_ref());
            let action = action.ok_or_else(|| refused("the LFS server does not say where it is".to_owned()))?;
            download(pointer, action, (&endpoint.url, mtime), writer, session, means)?;
        }
    }
    Ok(())
}

/// Names the files that are missing.
fn named(pointers: &[Pointer], session: &Session, failure: Failure) -> Error {
    let mut names: Vec<String> =
        pointers.iter().take(NAMED).map(|pointer| pointer.path.display().to_string()).collect();
    if pointers.len() > NAMED {
        names.push(format!("{} more", pointers.len() - NAMED));
    }
    session.refused(Failure {
        reason: format!("cannot get {} by Git LFS: {}", names.join(", "), failure.reason),
        ..failure
    })
}

/// Where the LFS server is, and what it wants to see.
struct Endpoint {
    url: Url,
    headers: Vec<(String, String)>,
    /// Whose word the URL is.
    named_by: NamedBy,
}

async fn endpoint(session: &Arc<Session>) -> Result<Endpoint, Failure> {
    let wrong =
        |reason: &str| Failure { reason: reason.to_owned(), kind: ErrorKind::Wrong, tried: "by LFS".to_owned() };
    if let Address::Ssh { path, host, .. } = &session.address {
        let command = format!("git-lfs-authenticate {} download", ssh::quoted(path.trim_start_matches('/')));
        let answer = ssh::output(session, &command, LARGEST_ANSWER).await?;
        let action: Action = serde_json::from_slice(&answer).map_err(|_| wrong("the server has no LFS over SSH"))?;
        let url = action.href.parse().map_err(|_| wrong("the server names a malformed URL"))?;
        let named_by = Url::parse(&format!("ssh://{host}/")).map_or(NamedBy::User, NamedBy::Server);
        return Ok(Endpoint { url, headers: action.header.into_iter().collect(), named_by });
    }
    let mut url = session.base().ok_or_else(|| wrong("the repository has no URL"))?;
    if url.scheme() == "git" {
        return Err(wrong("there is no LFS over Git's own protocol; use https or ssh"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if path.ends_with(".git") { path } else { format!("{path}.git") };
    url.set_path(&format!("{path}/info/lfs"));
    let named_by = session.address_url().map_or(NamedBy::User, NamedBy::Server);
    Ok(Endpoint { url, headers: Vec::new(), named_by })
}

async fn batch(endpoint: &Endpoint, pointers: &[Pointer], session: &Session) -> Result<Vec<Object>, Failure> {
    let failed = |reason: String, kind| Failure { reason, kind, tried: "by LFS".to_owned() };
    let mut url = endpoint.url.clone();
    url.set_path(&format!("{}/objects/batch", url.path().trim_end_matches('/')));
    let objects: Vec<_> = pointers.iter().map(|pointer| json!({ "oid": pointer.id, "size": pointer.size })).collect();
    let body = json!({ "operation": "download", "transfers": ["basic"], "objects": objects });
    let mut call = Call::new(Method::POST, url)
        .named_by(endpoint.named_by.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))
        .header(HeaderName::from_static("accept"), HeaderValue::from_static(MEDIA_TYPE));
    call.body = body.to_string().into();
    let call = with_headers(call, &endpoint.headers);
    let response = if endpoint.headers.is_empty() {
        session.send(&call).await?
    } else {
        session.agent.send_retrying(&call).await.map_err(|error| failed(error.in_short(), error.meaning().into()))?
    };
    let status = response.status();
    if status != StatusCode::OK {
        return Err(failed(format!("the LFS server answered {status}"), Meaning::of(status).into()));
    }
    let answer =
        response.bytes(LARGEST_ANSWER).await.map_err(|error| failed(error.in_short(), error.meaning().into()))?;
    let batch: Batch = serde_json::from_slice(&answer).map_err(|error| failed(error.to_string(), ErrorKind::Wrong))?;
    Ok(batch.objects)
}

fn with_headers<'a>(mut call: Call, headers: impl IntoIterator<Item = &'a (String, String)>) -> Call {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), secret_header(value)) {
            call = call.header(name, value);
        }
    }
    call
}

fn download(
    pointer: &Pointer,
    action: &Action,
    (server, mtime): (&Url, Timestamp),
    writer: &mut Writer,
    session: &Session,
    means: &Means<'_>,
) -> Result<(), Error> {
    let server = server.clone();
    let malformed = || session.wrong(format!("the LFS server names a malformed URL for {}", pointer.path.display()));
    let url: Url = action.href.parse().map_err(|_| malformed())?;
    let headers: Vec<(String, String)> = action.header.clone().into_iter().collect();
    let skip_verify = session.skip_tls_verify;
    let make = Arc::new(move |range: Option<crate::http::download::ByteRange>| {
        let call = Call::new(Method::GET, url.clone()).named_by(NamedBy::Server(server.clone()));
        let mut call = with_headers(call, &headers);
        call.skip_verify = skip_verify;
        if let Some(range) = range
            && let Ok(value) = HeaderValue::from_str(&range.header())
        {
            call = call.header(HeaderName::from_static("range"), value);
        }
        Box::pin(async move { Ok(call) }) as futures_util::future::BoxFuture<'static, _>
    });
    let what = format!("the LFS file {}", pointer.path.display());
    let remote = Remote { what: what.clone(), tried: "with what the LFS server gave".to_owned(), make };
    let mut body = remote.open(means)?;
    let attributes = Attributes { mode: pointer.mode, mtime };
    let written = writer.file(&pointer.path, attributes, &mut body.by_ref().take(pointer.size.saturating_add(1)));
    let actual = body.finish(&remote, written, means)?;
    check(&what, &actual, pointer)
}

fn check(what: &str, actual: &Digest, pointer: &Pointer) -> Result<(), Error> {
    if actual.hex() == pointer.id {
        return Ok(());
    }
    let expected = format!("sha256:{}", pointer.id);
    Err(Error::Checksum { what: what.to_owned(), expected, actual: actual.to_string() })
}

/// Takes the files from where LFS keeps them in a repository on this machine.
fn from_directory(
    pointers: &[Pointer],
    url: &Url,
    mtime: Timestamp,
    writer: &mut Writer,
    session: &Session,
) -> Result<(), Error> {
    let root = url.to_file_path().map_err(|()| session.wrong("it is no path".to_owned()))?;
    for pointer in pointers {
        let object = PathBuf::from("lfs/objects").join(&pointer.id[..2]).join(&pointer.id[2..4]).join(&pointer.id);
        let found = [root.join(".git").join(&object), root.join(&object)].into_iter().find(|path| path.is_file());
        let opened = found.and_then(|path| File::open(path).ok()).ok_or_else(|| {
            let (reason, tried) =
                ("it is not in the repository's directory lfs/objects".to_owned(), "by LFS".to_owned());
            named(std::slice::from_ref(pointer), session, Failure { reason, kind: ErrorKind::Wrong, tried })
        })?;
        let mut hashed = Hashed { reader: opened, hasher: Hasher::new() };
        writer.file(&pointer.path, Attributes { mode: pointer.mode, mtime }, &mut hashed)?;
        check(&format!("the LFS file {}", pointer.path.display()), &hashed.hasher.finish(), pointer)?;
    }
    Ok(())
}

struct Hashed {
    reader: File,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_known_by_its_form() {
        let id = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize 12345\n");
        let pointer = Pointer::parse(text.as_bytes()).expect("pointer");
        assert_eq!((pointer.id.as_str(), pointer.size), (id, 12345));
        for other in
            [&text[8..], &text.replace("sha256", "md5"), &text.replace("4d7a", "zz../"), &text.replace("size", "sizes")]
        {
            assert_eq!(Pointer::parse(other.as_bytes()), None, "{other}");
        }
    }
}
