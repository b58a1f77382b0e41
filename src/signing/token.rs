//! Where the token comes from that says who we are.
//!
//! Source: GitHub's "OpenID Connect reference" for `ACTIONS_ID_TOKEN_REQUEST_URL`; cosign's `pkg/providers` for the places
//! of tokens.

use std::path::PathBuf;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::signer::Error;
use crate::http::{AUTHORIZATION, Agent, Call, Method, NamedBy, Url, redact, secret_header};
use crate::place;

/// Tokens are some thousand bytes.
const LARGEST_TOKEN: usize = 64 << 10;
/// For whom a token must be that Fulcio takes.
const AUDIENCE: &str = "sigstore";

/// Where a token comes from. No `Debug`: it may be one.
#[derive(Clone)]
pub enum Tokens {
    /// It is this.
    Given(Zeroizing<String>),
    /// It is in a file, which may be replaced by a newer one.
    File(PathBuf),
    /// A job of GitHub's asks for it.
    Github {
        /// Where (`ACTIONS_ID_TOKEN_REQUEST_URL`).
        url: Url,
        /// With which right (`ACTIONS_ID_TOKEN_REQUEST_TOKEN`).
        right: Zeroizing<String>,
    },
}

#[derive(Deserialize)]
struct Granted {
    value: String,
}

impl Tokens {
    /// Returns a token that is valid now.
    pub(super) async fn token(&self, agent: &Agent) -> Result<Zeroizing<String>, Error> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::File(path) => {
                let unreadable = |reason: String| Error::Token(format!("{} {reason}", path.display()));
                let bytes = place::read_anywhere(path, LARGEST_TOKEN as u64);
                let bytes = bytes.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
                let text = String::from_utf8(bytes).map_err(|_| unreadable("is no token".to_owned()))?;
                Ok(Zeroizing::new(text.trim().to_owned()))
            }
            Self::Github { url, right } => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("audience", AUDIENCE);
                let header = secret_header(&format!("Bearer {}", &**right))
                    .map_err(|_| Error::Token("ACTIONS_ID_TOKEN_REQUEST_TOKEN is no token".to_owned()))?;
                let call = Call::new(Method::GET, url.clone()).named_by(NamedBy::User).header(AUTHORIZATION, header);
                let response = agent.send_retrying(&call).await?;
                if !response.status().is_success() {
                    let (url, status) = (redact(&url), response.status());
                    let meaning = crate::http::Meaning::of(status);
                    let told = "no token for this job; it needs `permissions: id-token: write`".to_owned();
                    return Err(Error::Refused { url, status, told, meaning });
                }
                let body = response.bytes(LARGEST_TOKEN).await?;
                let granted: Result<Granted, _> = serde_json::from_slice(&body);
                // The parser's message is left out, because it quotes the text.
                let granted = granted.map_err(|_| Error::Token(format!("{}: the answer is no token", redact(&url))))?;
                Ok(Zeroizing::new(granted.value))
            }
        }
    }
}
