//! What signs: a key in a file, one that a cloud keeps, or one for minutes with a certificate for a token.

use tokio::sync::Mutex;

use super::bundle::Bundle;
use super::certificate::Chain;
use super::dsse::{Envelope, signed_bytes};
use super::evidence::Evidence;
use super::key::{Hash, KeyError, PrivateKey, PublicKey};
use super::keyless::{Authority, Log};
use super::kms::{Kms, KmsError};
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
    /// The key that a cloud keeps does not sign.
    #[error(transparent)]
    Kms(#[from] KmsError),
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
    Kms(Box<Kms>),
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
    Kms(&'a Kms, &'a PublicKey, Hash),
    Certified(std::sync::Arc<PrivateKey>, Chain),
}

impl Signer {
    /// Signs with a key; where a log is given, it shall know of each signature.
    pub fn key(key: PrivateKey, log: Option<Log>, agent: Agent) -> Self {
        Self { agent, means: Means::Key(key), log }
    }

    /// Signs with a key that a cloud keeps.
    pub fn kms(key: Kms, log: Option<Log>, agent: Agent) -> Self {
        Self { agent, means: Means::Kms(Box::new(key)), log }
    }

    /// Signs as whom a token names.
    pub fn keyless(authority: Url, tokens: Tokens, log: Log, agent: Agent) -> Self {
        let means = Means::Keyless { authority: Authority(authority), tokens, held: Mutex::new(None) };
        Self { agent, means, log: Some(log) }
    }

    async fn ready(&self) -> Result<Ready<'_>, Error> {
        match &self.means {
            Means::Key(key) => Ok(Ready::Key(key)),
            Means::Kms(kms) => {
                let held = kms.held().await?;
                Ok(Ready::Kms(kms, &held.public, held.hash))
            }
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
        let signature = ready.sign(&payload).await?;
        let entry = match &self.log {
            Some(log) => {
                let signed = (ready.hash(), &*payload, &*signature);
                Some(log.signature(&self.agent, signed, &ready.verifier()).await?)
            }
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
        let signature = ready.sign(&signed_bytes(IN_TOTO, statement)).await?;
        let envelope = Envelope::of(statement, &signature);
        let entry = match &self.log {
            Some(log) => Some(log.envelope(&self.agent, &envelope.to_bytes(), &ready.verifier()).await?),
            None => None,
        };
        let bundle = match ready.chain() {
            Some(chain) => Bundle::by_certificate(envelope.clone(), &chain, entry.clone()),
            None => Bundle::by_key(envelope.clone(), ready.public(), entry.clone()),
        };
        Ok(SignedStatement { envelope, evidence: Evidence { chain: ready.chain(), entry }, bundle })
    }

    /// Returns the key whose signatures need not be made again; none where each has a key of its own. Where a cloud keeps
    /// it, the cloud is asked, once: what makes it useless is found out so before there is something to sign.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn public(&self) -> Result<Option<&PublicKey>, Error> {
        match &self.means {
            Means::Key(key) => Ok(Some(key.public())),
            Means::Kms(kms) => Ok(Some(kms.public().await?)),
            Means::Keyless { .. } => Ok(None),
        }
    }
}

impl Ready<'_> {
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Self::Key(key) => Ok(key.sign(message)?),
            Self::Kms(kms, ..) => Ok(kms.sign(message).await?),
            Self::Certified(key, _) => Ok(key.sign(message)?),
        }
    }

    fn public(&self) -> &PublicKey {
        match self {
            Self::Key(key) => key.public(),
            Self::Kms(_, public, _) => public,
            Self::Certified(key, _) => key.public(),
        }
    }

    /// Returns the hash of the message that is signed.
    fn hash(&self) -> Hash {
        match self {
            Self::Kms(_, _, hash) => *hash,
            Self::Key(_) | Self::Certified(..) => self.public().hash(),
        }
    }

    fn chain(&self) -> Option<Chain> {
        match self {
            Self::Key(_) | Self::Kms(..) => None,
            Self::Certified(_, chain) => Some(chain.clone()),
        }
    }

    /// Returns what shows the key, as PEM.
    fn verifier(&self) -> String {
        match self {
            Self::Key(_) | Self::Kms(..) => self.public().to_pem(),
            Self::Certified(_, chain) => chain.leaf_pem(),
        }
    }
}
