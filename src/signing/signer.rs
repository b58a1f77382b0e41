//! What signs: a key in a file, or one for minutes with a certificate for a token.

use tokio::sync::Mutex;

use super::bundle::Bundle;
use super::certificate::Chain;
use super::dsse::{Envelope, signed_bytes};
use super::evidence::Evidence;
use super::key::{KeyError, PrivateKey, PublicKey};
use super::keyless::{Authority, Log};
use super::payload::Payload;
use super::simple::Signature;
use super::token::Tokens;
use crate::attest::IN_TOTO;
use crate::http::{Agent, Meaning, StatusCode, Url};

/// How long before its end a certificate is not used any more, in seconds: what is signed must come into the log by then.
const MARGIN: i64 = 120;

/// A signature that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no token, or it is none.
    #[error("cannot sign without a key: {0}")]
    Token(String),
    /// A service does not answer.
    #[error("cannot sign")]
    Http(#[from] crate::http::Error),
    /// A service answers something else.
    #[error("cannot sign: {0}")]
    Service(String),
    /// A service refuses.
    #[error("cannot sign: {url} answered {status}: {told}")]
    Refused {
        /// The redacted URL.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// The service's own words.
        told: String,
        /// What that means.
        meaning: Meaning,
    },
}

/// What signs. No `Debug`: keys are in it.
pub struct Signer {
    agent: Agent,
    means: Means,
    log: Option<Log>,
}

enum Means {
    Key(PrivateKey),
    Keyless { authority: Authority, tokens: Tokens, held: Mutex<Option<(std::sync::Arc<PrivateKey>, Chain)>> },
}

/// A signed statement, in both of its forms.
#[derive(Clone, Debug)]
pub struct SignedStatement {
    /// The envelope alone.
    pub envelope: Envelope,
    /// What vouches for its key.
    pub evidence: Evidence,
    /// Both in one.
    pub bundle: Bundle,
}

/// A key that is ready, and what vouches for it.
enum Ready<'a> {
    Key(&'a PrivateKey),
    Certified(std::sync::Arc<PrivateKey>, Chain),
}

impl Signer {
    /// Signs with a key; where a log is given, it shall know of each signature.
    pub fn key(key: PrivateKey, log: Option<Log>, agent: Agent) -> Self {
        Self { agent, means: Means::Key(key), log }
    }

    /// Signs as whom a token names.
    pub fn keyless(authority: Url, tokens: Tokens, log: Log, agent: Agent) -> Self {
        let means = Means::Keyless { authority: Authority(authority), tokens, held: Mutex::new(None) };
        Self { agent, means, log: Some(log) }
    }

    async fn ready(&self) -> Result<Ready<'_>, Error> {
        match &self.means {
            Means::Key(key) => Ok(Ready::Key(key)),
            Means::Keyless { authority, tokens, held } => {
                let mut held = held.lock().await;
                let until = held.as_ref().and_then(|(_, chain)| chain.validity().ok()).map_or(0, |(_, until)| until);
                if let Some((key, chain)) = &*held
                    && jiff::Timestamp::now().as_second() + MARGIN < until
                {
                    return Ok(Ready::Certified(key.clone(), chain.clone()));
                }
                let key = std::sync::Arc::new(PrivateKey::ephemeral()?);
                let token = tokens.token(&self.agent).await?;
                let chain = authority.certify(&self.agent, &key, &token).await?;
                *held = Some((key.clone(), chain.clone()));
                Ok(Ready::Certified(key, chain))
            }
        }
    }

    /// Signs a payload.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn payload(&self, payload: &Payload) -> Result<Signature, Error> {
        let ready = self.ready().await?;
        let payload = bytes::Bytes::from(payload.to_bytes());
        let signature = ready.key().sign(&payload)?;
        let entry = match &self.log {
            Some(log) => Some(log.signature(&self.agent, &payload, &signature, &ready.verifier()).await?),
            None => None,
        };
        Ok(Signature { payload, signature, evidence: Evidence { chain: ready.chain(), entry } })
    }

    /// Signs a statement.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn statement(&self, statement: &[u8]) -> Result<SignedStatement, Error> {
        let ready = self.ready().await?;
        let signature = ready.key().sign(&signed_bytes(IN_TOTO, statement))?;
        let envelope = Envelope::of(statement, &signature);
        let entry = match &self.log {
            Some(log) => Some(log.envelope(&self.agent, &envelope.to_bytes(), &ready.verifier()).await?),
            None => None,
        };
        let bundle = match ready.chain() {
            Some(chain) => Bundle::by_certificate(envelope.clone(), &chain, entry.clone()),
            None => Bundle::by_key(envelope.clone(), ready.key().public(), entry.clone()),
        };
        Ok(SignedStatement { envelope, evidence: Evidence { chain: ready.chain(), entry }, bundle })
    }

    /// Returns the key whose signatures need not be made again; none where each has a key of its own.
    pub fn public(&self) -> Option<&PublicKey> {
        match &self.means {
            Means::Key(key) => Some(key.public()),
            Means::Keyless { .. } => None,
        }
    }
}

impl Ready<'_> {
    fn key(&self) -> &PrivateKey {
        match self {
            Self::Key(key) => key,
            Self::Certified(key, _) => key,
        }
    }

    fn chain(&self) -> Option<Chain> {
        match self {
            Self::Key(_) => None,
            Self::Certified(_, chain) => Some(chain.clone()),
        }
    }

    /// Returns what shows the key, as PEM.
    fn verifier(&self) -> String {
        match self {
            Self::Key(key) => key.public().to_pem(),
            Self::Certified(_, chain) => chain.leaf_pem(),
        }
    }
}
