//! Archives and Dockerfiles behind `https` URLs.
//!
//! *Invariant: a login is only sent to the server it is meant for, and never to where that one redirects.*

use std::sync::Arc;

use super::access::{Login, Secret};
use super::stream::{Archive, Remote};
use super::{Error, ErrorKind, Means, netrc};
use crate::http::download::{self, MakeCall};
use crate::http::{AUTHORIZATION, Call, HeaderName, HeaderValue, Method, Url, decoded, redact, secret_header};
use crate::request::{HttpsSource, SecretUrl};

/// Describes the download of an archive.
pub(super) fn archive(source: &HttpsSource, means: &Means<'_>) -> Result<Archive, Error> {
    let (url, login) = address(&source.url, means)?;
    Ok(described(source, url, login.as_ref()))
}

/// The same with a login that goes before the others, but for that of the URL.
pub(super) fn archive_with(source: &HttpsSource, login: Option<Login>, means: &Means<'_>) -> Result<Archive, Error> {
    let (url, other) = address(&source.url, means)?;
    let own = in_url(&parse(&source.url.0)?);
    Ok(described(source, url, own.or(login).or(other).as_ref()))
}

fn described(source: &HttpsSource, url: Url, login: Option<&Login>) -> Archive {
    let what = redact(&url);
    let remote = Remote { what, tried: tried(login), make: get(url, login) };
    Archive { remote, checksum: source.checksum.clone() }
}

/// Reads a small file; none where the server has none.
pub(super) fn file(url: &SecretUrl, means: &Means<'_>, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let (url, login) = address(url, means)?;
    let (what, tried) = (redact(&url), tried(login.as_ref()));
    let make = get(url, login.as_ref());
    let read = means.wait(async {
        let download = download::open(means.agent, make).await?;
        download.bytes(usize::try_from(limit).unwrap_or(usize::MAX)).await
    })?;
    match read {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(download::Error::Status { status, .. }) if matches!(status.as_u16(), 404 | 410) => Ok(None),
        Err(source) => Err(Error::Download { what, tried, source }),
    }
}

/// Takes a login out of a URL, or finds another one for it.
fn address(url: &SecretUrl, means: &Means<'_>) -> Result<(Url, Option<Login>), Error> {
    let mut parsed = parse(&url.0)?;
    let login = in_url(&parsed)
        .or_else(|| means.access.https.clone().filter(|_| means.is_main_origin(&parsed)))
        .or_else(|| {
            // A Dockerfile names hosts, too: those get what is kept for them by name, and nothing in clear text.
            let is_main = means.is_main_origin(&parsed);
            let host = parsed.host_str().filter(|_| is_main || parsed.scheme() == "https")?;
            netrc::login(&means.access.homes, host, is_main)
        });
    strip(&mut parsed);
    Ok((parsed, login))
}

/// Reads a URL; what cannot be read is not shown, because nobody knows what in it is secret.
pub(super) fn parse(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|error| Error::Refused {
        what: "a URL".to_owned(),
        tried: "not sent".to_owned(),
        reason: format!("the URL is malformed: {error}"),
        kind: ErrorKind::Wrong,
    })
}

/// Returns the login that a URL has in it.
pub(super) fn in_url(url: &Url) -> Option<Login> {
    if url.username().is_empty() {
        return None;
    }
    let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    Some(Login { source: "the user of the URL".to_owned(), secret: Secret::Basic { user, password } })
}

/// Takes user and password out of a URL.
pub(super) fn strip(url: &mut Url) {
    // Both fail only for URLs that cannot have a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

/// Says in a message which credentials were used.
pub(super) fn tried(login: Option<&Login>) -> String {
    match login {
        Some(login) => format!("with credentials of {}", login.source),
        None => "without credentials".to_owned(),
    }
}

/// Makes requests for a URL.
fn get(url: Url, login: Option<&Login>) -> MakeCall {
    let authorization = login.map(|login| (login.secret.header(), login.source.clone()));
    Arc::new(move |range| {
        let (url, authorization) = (url.clone(), authorization.clone());
        Box::pin(async move {
            let mut call = Call::new(Method::GET, url);
            if let Some((text, source)) = authorization {
                call.credential = Some(source);
                let value = secret_header(&text)?;
                call = call.header(AUTHORIZATION, value);
            }
            if let Some(range) = range {
                call = call.header(HeaderName::from_static("range"), HeaderValue::from_str(&range.header())?);
            }
            Ok(call)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_of_a_url_is_decoded_and_taken_out() {
        let mut url = parse("https://us%40er:p%3Ass@host/x?y=%20").expect("url");
        let login = in_url(&url).expect("login");
        assert!(login.secret == Secret::Basic { user: "us@er".into(), password: "p:ss".into() });
        strip(&mut url);
        assert_eq!(url.as_str(), "https://host/x?y=%20");
    }
}
