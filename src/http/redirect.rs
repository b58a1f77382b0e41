//! The one place that decides what may go where a server sends us: by a redirect, as its token server, or as the address
//! of an upload.
//!
//! *Invariant: the scheme is never lowered; to another origin (scheme, host and port) goes no header that may tell who we
//! are, and no body; whoever did not begin at this machine is not led there.*

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, IF_RANGE, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::reach::{Reach, is_loopback};
use super::{Call, Error, NamedBy, redact};

/// What another origin gets of a request's headers: what is wanted of it, and nothing of who wants it.
const HARMLESS: [reqwest::header::HeaderName; 4] = [ACCEPT, ACCEPT_ENCODING, IF_RANGE, RANGE];

/// One request of a series of redirects.
pub(super) struct Hop {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) reach: Reach,
}

impl Hop {
    /// Begins with what a caller wants.
    ///
    /// # Errors
    /// [`Error::Redirect`] where it is a server that named the URL, and may not; [`Error::Address`].
    pub(super) fn first(call: &Call, allows_link_local: bool) -> Result<Self, Error> {
        let (url, headers) = (call.url.clone(), call.headers.clone());
        let start = |reach| Self { url: url.clone(), headers: headers.clone(), reach };
        let hop = match &call.named_by {
            _ if allows_link_local => start(Reach::Everywhere),
            NamedBy::Cloud => start(Reach::Everywhere),
            NamedBy::User => start(Reach::NotLinkLocal),
            NamedBy::Server(server) => start(reach(Reach::NotLinkLocal, server, &url)),
        };
        if let NamedBy::Server(server) = &call.named_by {
            keeps_scheme(server, &url)?;
        }
        hop.judged()
    }

    /// Goes on to where an answer sends us; none where it does not, or where this method may not go there.
    ///
    /// # Errors
    /// [`Error::Redirect`], [`Error::Address`].
    pub(super) fn next(
        &self,
        call: &Call,
        (status, answer): (StatusCode, &HeaderMap),
        allows_link_local: bool,
    ) -> Result<Option<Self>, Error> {
        let location = answer.get(LOCATION).filter(|_| follows(&call.method, status));
        let Some(location) = location else { return Ok(None) };
        let target = location.to_str().ok().and_then(|text| self.url.join(text).ok());
        let target = target.filter(|target| matches!(target.scheme(), "http" | "https"));
        let url = target.ok_or_else(|| refused(&self.url, "(not a URL)", "it leads to no URL of HTTP"))?;
        keeps_scheme(&self.url, &url)?;
        if url.origin() == self.url.origin() {
            return Self { url, headers: self.headers.clone(), reach: self.reach }.judged().map(Some);
        }
        if !call.body.is_empty() {
            return Err(refused(&self.url, &redact(&url), "what we send is not for another server"));
        }
        let kept = HARMLESS.iter().filter_map(|name| Some((name.clone(), self.headers.get(name)?.clone())));
        // We ask a cloud's own service at a link-local address, but a redirect from there to such an address is not trusted.
        let before = self.reach.max(Reach::NotLinkLocal);
        let reach = if allows_link_local { Reach::Everywhere } else { reach(before, &self.url, &url) };
        Self { url, headers: kept.collect(), reach }.judged().map(Some)
    }

    fn judged(self) -> Result<Self, Error> {
        if self.reach.allows_host_of(&self.url) {
            return Ok(self);
        }
        let address = self.url.host_str().unwrap_or_default().to_owned();
        Err(Error::Address { url: redact(&self.url), address })
    }
}

/// Refuses to leave TLS.
fn keeps_scheme(from: &Url, to: &Url) -> Result<(), Error> {
    let is_lower = matches!(from.scheme(), "https" | "ssh") && to.scheme() != "https";
    if is_lower { Err(refused(from, &redact(to), "nothing that began with TLS goes on without it")) } else { Ok(()) }
}

/// Returns how far a request may go that `from` sends to `to`.
fn reach(before: Reach, from: &Url, to: &Url) -> Reach {
    if from.origin() == to.origin() || is_loopback(from) { before } else { Reach::NotLocal }
}

fn refused(from: &Url, location: &str, reason: &'static str) -> Error {
    Error::Redirect { url: redact(from), location: location.to_owned(), reason }
}

fn follows(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        301..=303 => *method == Method::GET || *method == Method::HEAD,
        307 | 308 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

    use super::*;

    fn call(method: Method, url: &str) -> Call {
        let call = Call::new(method, url.parse().expect("a URL"));
        let call = call.header(AUTHORIZATION, HeaderValue::from_static("Basic eA=="));
        let call = call.header(HeaderName::from_static("x-amz-security-token"), HeaderValue::from_static("secret"));
        call.header(RANGE, HeaderValue::from_static("bytes=1-"))
    }

    /// Asks `call` and follows one answer; returns where it leads, how many headers go along, and why not.
    fn followed(call: &Call, status: u16, location: &str) -> Result<Option<(String, usize)>, String> {
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, location.parse().expect("a header"));
        let status = StatusCode::from_u16(status).expect("a status");
        let hop = Hop::first(call, false).map_err(|error| error.to_string())?;
        let next = hop.next(call, (status, &answer), false).map_err(|error| error.to_string())?;
        Ok(next.map(|hop| (hop.url.to_string(), hop.headers.len())))
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let get = call(Method::GET, "https://a.example/x");
        for (location, url, headers) in [
            ("/y", "https://a.example/y", 3),
            ("https://a.example:443/y", "https://a.example/y", 3),
            ("https://a.example:444/y", "https://a.example:444/y", 1),
            ("https://b.example/y?sig=1", "https://b.example/y?sig=1", 1),
        ] {
            assert_eq!(followed(&get, 302, location), Ok(Some((url.to_owned(), headers))), "{location}");
        }
        let plain = call(Method::GET, "http://a.example/x");
        assert_eq!(followed(&plain, 302, "https://a.example/y"), Ok(Some(("https://a.example/y".to_owned(), 1))));
    }

    #[test]
    fn nothing_that_began_with_tls_goes_on_without_it() {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT] {
            for location in ["http://a.example/x", "http://a.example:5000/x", "http://b.example/x"] {
                let error = followed(&call(method.clone(), "https://a.example/x"), 307, location).expect_err("lower");
                assert!(error.contains("without it") && !error.contains("secret"), "{error}");
            }
        }
        // What a server names counts as where it sends us.
        for (server, url, is_fine) in [
            ("https://a.example/v2/", "http://a.example/token", false),
            ("https://a.example/v2/", "https://b.example/token", true),
            ("http://a.example/v2/", "http://b.example/token", true),
            ("ssh://a.example/", "http://a.example/lfs", false),
            ("ssh://a.example/", "https://a.example/lfs", true),
        ] {
            let call = call(Method::GET, url).named_by(NamedBy::Server(server.parse().expect("a URL")));
            assert_eq!(Hop::first(&call, false).is_ok(), is_fine, "{server} {url}");
            assert_eq!(Hop::first(&call, true).is_ok(), is_fine, "{server} {url}");
        }
    }

    #[test]
    fn a_body_goes_to_no_other_origin() {
        let mut post = call(Method::POST, "https://a.example/token");
        assert!(matches!(followed(&post, 307, "https://b.example/token"), Ok(Some((_, 1)))), "there is none");
        post.body = "refresh_token=secret".into();
        let error = followed(&post, 307, "https://b.example/token").expect_err("a body");
        assert!(error.contains("another server"), "{error}");
        assert!(matches!(followed(&post, 308, "/token2"), Ok(Some((_, 3)))));
        assert_eq!(followed(&post, 302, "https://b.example/"), Ok(None), "a POST is not repeated as one");
    }

    #[test]
    fn nobody_is_led_to_this_machine_or_to_its_services() {
        let leads = |from: &str, to: &str| followed(&call(Method::GET, from), 302, to).is_ok();
        for to in ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://[::ffff:169.254.169.254]/"] {
            assert!(!leads("http://a.example/", to) && !leads("http://127.0.0.1:5000/", to), "{to}");
        }
        for to in ["http://127.0.0.1:8080/", "http://localhost/", "http://[::1]/", "http://0.0.0.0:80/"] {
            assert!(!leads("http://a.example/", to), "{to}");
            assert!(leads("http://localhost:5000/", to), "{to}");
        }
        let named = |url: &str, by| Hop::first(&call(Method::GET, url).named_by(by), false).is_ok();
        assert!(!named("http://169.254.169.254/", NamedBy::User));
        assert!(named("http://169.254.169.254/", NamedBy::Cloud));
        assert!(named("http://127.0.0.1/", NamedBy::User));
        let server = |url: &str| NamedBy::Server(url.parse().expect("a URL"));
        assert!(!named("http://127.0.0.1/token", server("http://a.example/v2/")));
        assert!(named("http://127.0.0.1/token", server("http://127.0.0.1:5000/v2/")));
        assert!(Hop::first(&call(Method::GET, "http://169.254.169.254/"), true).is_ok());
    }
}
