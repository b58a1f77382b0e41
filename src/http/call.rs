//! A request, and who named where it goes.

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use reqwest::{Method, Url};

/// One request, complete and repeatable.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// The headers; secrets among them must be marked as sensitive.
    pub headers: HeaderMap,
    /// The body; streams go through [`Agent::send_stream`](super::Agent::send_stream).
    pub body: Bytes,
    /// Whose settings of [`Options::hosts`](super::Options::hosts) hold; none for the URL's own host. They also hold for the hosts
    /// that this one sends us to, such as its token server or its blob store, unless these have their own.
    pub on_behalf_of: Option<String>,
    /// Whether any certificate is accepted, whatever the host's settings say.
    pub skip_verify: bool,
    /// Who named the URL.
    pub named_by: NamedBy,
    /// Where the credential in its headers is from, for those who look at exchanges.
    pub credential: Option<String>,
}

/// Who named a URL: it decides to which addresses it may lead.
#[derive(Clone, Debug)]
pub enum NamedBy {
    /// The user, in a flag or a Dockerfile: not link-local.
    User,
    /// A server that we asked at this URL, as its token server or the place of an upload: the same rules hold as for a
    /// redirect.
    Server(Url),
    /// We ourselves, for what a cloud gives its machines: everywhere.
    Cloud,
}

/// Makes a header whose value is secret, so that no debug output shows it.
///
/// # Errors
/// When the text is none for a header.
pub fn secret_header(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut header = HeaderValue::from_str(text)?;
    header.set_sensitive(true);
    Ok(header)
}

impl Call {
    /// Makes a request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, body, named_by) = (HeaderMap::new(), Bytes::new(), NamedBy::User);
        Self { method, url, headers, body, on_behalf_of: None, skip_verify: false, named_by, credential: None }
    }

    /// Says who named the URL.
    pub fn named_by(self, named_by: NamedBy) -> Self {
        Self { named_by, ..self }
    }

    /// Adds a header, replacing one of the same name.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}
