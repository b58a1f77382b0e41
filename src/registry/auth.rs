//! Authorisation: from a challenge and a credential to the header of a request.
//!
//! *Invariant: a token is asked for once for each set of scopes and kept until shortly before it expires or
//! the registry refuses it; a password goes to the registry's own token server only, and never in the clear
//! when the registry itself speaks TLS.*

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{Credential, Found, Secret};
use super::error::{Denied, Error};
use super::host::Target;
use crate::http::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, Method, StatusCode, Url, secret_header};

/// How long a token is good that does not say so. Source: distribution's token specification, `expires_in`.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(10);
const LARGEST_TOKEN: usize = 1 << 20;
const CLIENT_ID: &str = "yadokari";

/// A bearer token and what it is good for.
#[derive(Debug)]
pub(super) struct Token {
    header: HeaderValue,
    scopes: BTreeSet<String>,
    owner: String,
    until: Instant,
}

/// Who asks for what, in one operation.
pub(super) struct Authoriser {
    found: Found,
    scopes: Mutex<BTreeSet<String>>,
    last: Mutex<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Authoriser {
    pub(super) fn new(found: Found, scopes: Vec<String>) -> Self {
        Self { found, scopes: Mutex::new(scopes.into_iter().collect()), last: Mutex::new(None) }
    }

    /// Returns the header that the registry's challenge asks for, or none where there is nothing to show.
    pub(super) async fn header(&self, target: &Target) -> Result<Option<HeaderValue>, Error> {
        let secret = self.found.credential.as_ref().map(|credential| &credential.secret);
        let header = match (target.host.challenge(), secret) {
            (None, _) | (Some(Challenge::Basic), None | Some(Secret::IdentityToken(_))) => None,
            (Some(_), Some(Secret::RegistryToken(token))) => secret_header(&format!("Bearer {token}")).ok(),
            (Some(Challenge::Basic), Some(Secret::Password { user, password })) => basic(user, password),
            (Some(Challenge::Bearer { realm, service, .. }), _) => {
                Some(self.token(target, &realm, service.as_deref()).await?)
            }
        };
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&header);
        Ok(header)
    }

    /// Takes note that the registry refused the last header; tells whether another one may help.
    pub(super) async fn refused(&self, target: &Target, challenge: &Challenge) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        match challenge {
            Challenge::Bearer { scope, .. } => {
                if let Some(last) = &last {
                    target.host.tokens.lock().await.retain(|token| token.header != last);
                }
                let asked = scope.iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty());
                let mut scopes = self.scopes();
                for scope in asked {
                    if !scopes.iter().any(|have| covers(have, scope)) {
                        scopes.insert(scope.to_owned());
                    }
                }
                *self.scopes.lock().unwrap_or_else(PoisonError::into_inner) = scopes;
                true
            }
            // Nothing was shown because /v2/ had not asked; now there is something to show.
            Challenge::Basic => last.is_none() && self.found.credential.is_some(),
        }
    }

    /// Describes a refusal.
    pub(super) fn denied(&self, registry: &str, status: StatusCode, detail: String) -> Denied {
        let credential = self.found.credential.as_ref();
        let user = credential.and_then(|credential| match &credential.secret {
            Secret::Password { user, .. } => Some(user.clone()),
            Secret::IdentityToken(_) | Secret::RegistryToken(_) => None,
        });
        let source = match credential {
            Some(Credential { secret: Secret::Password { .. }, source }) => source.clone(),
            Some(Credential { source, .. }) => format!("asked with a token {source}"),
            None => format!("asked without credentials: {}", self.found.notes.join("; ")),
        };
        let scope = self.scopes().into_iter().collect::<Vec<_>>().join(" ");
        Denied { registry: registry.to_owned(), scope, user, source, status, detail }
    }

    fn scopes(&self) -> BTreeSet<String> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns where the credential is from; empty where a token is asked for without one.
    pub(super) fn owner(&self) -> String {
        self.found.credential.as_ref().map(|credential| credential.source.clone()).unwrap_or_default()
    }

    /// Finds a token that covers the scopes, or asks for one. The lock is held while asking, so that several
    /// operations that begin together ask once.
    async fn token(&self, target: &Target, realm: &str, service: Option<&str>) -> Result<HeaderValue, Error> {
        let (scopes, owner) = (self.scopes(), self.owner());
        let mut tokens = target.host.tokens.lock().await;
        let now = Instant::now();
        tokens.retain(|token| token.until > now);
        let fits = |token: &&Token| {
            token.owner == owner && scopes.iter().all(|want| token.scopes.iter().any(|have| covers(have, want)))
        };
        if let Some(token) = tokens.iter().find(fits) {
            return Ok(token.header.clone());
        }
        let answer = self.ask(target, realm, service, &scopes).await?;
        let text = answer.token.or(answer.access_token).filter(|text| !text.is_empty());
        let header = text.and_then(|text| secret_header(&format!("Bearer {text}")).ok());
        let header = header.ok_or_else(|| target.protocol(format!("the token server {realm} sent no token")))?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).max(DEFAULT_LIFE);
        let until = now + life.saturating_sub(MARGIN).min(Duration::from_secs(24 * 3600));
        tokens.push(Token { header: header.clone(), scopes, owner, until });
        Ok(header)
    }

    /// Asks the token server: with the refresh token as OAuth2 wants it, else with or without a password.
    async fn ask(
        &self,
        target: &Target,
        realm: &str,
        service: Option<&str>,
        scopes: &BTreeSet<String>,
    ) -> Result<TokenAnswer, Error> {
        let mut url = realm_url(target, realm)?;
        let secret = self.found.credential.as_ref().map(|credential| &credential.secret);
        let call = if let Some(Secret::IdentityToken(refresh)) = secret {
            let joined = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("scope", &joined),
                ("client_id", CLIENT_ID),
                ("refresh_token", refresh),
            ];
            let mut call = target.call(Method::POST, url);
            call.body = form_body(&form).into();
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            call.header(CONTENT_TYPE, kind)
        } else {
            url.query_pairs_mut().extend_pairs(service.map(|service| ("service", service)));
            url.query_pairs_mut().extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
            let mut call = target.call(Method::GET, url);
            if let Some(Secret::Password { user, password }) = secret {
                call.url.query_pairs_mut().append_pair("account", user);
                call.headers.extend(basic(user, password).map(|header| (AUTHORIZATION, header)));
            }
            call
        };
        let sent = target.client.0.agent.send_retrying_as(&call, target.retry).await;
        let response = sent.map_err(|source| target.transport(source))?;
        let response = target.expect(response, &[200]).await?;
        let body = response.bytes(LARGEST_TOKEN).await.map_err(|source| target.transport(source))?;
        // The parser's message is left out, because it quotes the text.
        serde_json::from_slice(&body)
            .map_err(|_| target.protocol(format!("the token server {realm} sent no JSON that we understand")))
    }
}

/// Reads the realm, relative or not. What may be sent there is decided where it is sent: it is named by the registry.
fn realm_url(target: &Target, realm: &str) -> Result<Url, Error> {
    let base = target.url("")?;
    base.join(realm).map_err(|e| target.protocol(format!("the token server `{realm}` is not a URL: {e}")))
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    secret_header(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))).ok()
}

fn form_body(pairs: &[(&str, &str)]) -> String {
    // A URL's query has the encoding of a form.
    let mut url = Url::parse("http://form/").expect("a constant URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// Tells whether scope `have` gives all that `want` asks: the same resource and at least its actions.
fn covers(have: &str, want: &str) -> bool {
    let (Some((have, given)), Some((want, asked))) = (have.rsplit_once(':'), want.rsplit_once(':')) else {
        return have == want;
    };
    have == want && asked.split(',').all(|action| given.split(',').any(|other| other == action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_the_same_resource_with_fewer_actions() {
        for (have, want, expected) in [
            ("repository:a:pull,push", "repository:a:pull", true),
            ("repository:a:pull,push", "repository:a:push,pull", true),
            ("repository:a:pull", "repository:a:pull,push", false),
            ("repository:a:pull", "repository:b:pull", false),
            ("repository:h:5/a:pull", "repository:h:5/a:pull", true),
            ("x", "x", true),
        ] {
            assert_eq!(covers(have, want), expected, "{have} covers {want}");
        }
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(form_body(&[("a", "x y&z"), ("b", "")]), "a=x+y%26z&b=");
    }
}
