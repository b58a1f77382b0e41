//! Keys that a cloud keeps: the public half is asked for, and each digest is sent to be signed.
//!
//! Knows the three services' interfaces. *Invariant: nothing is sent but digests of what is signed; a signature counts only
//! if it holds under the public half that was fetched first; a credential goes to the service of its own cloud alone.*

#[cfg(feature = "aws")]
mod aws;
mod azure;
mod error;
#[cfg(feature = "google")]
mod google;
mod jwk;
mod uri;

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::key::{Hash, PublicKey};
use crate::cloud::azure::Identity;
use crate::http::{self, Agent, Attempt, Call, StatusCode};
pub use error::KmsError;
use error::{Refusal, Service, What, Wrong};
pub use uri::KeyUri;
use uri::Place;

/// Answers are smaller: a key, a signature, a page of versions.
const LARGEST_ANSWER: usize = 8 << 20;
/// How much of a refusal is read.
const LARGEST_REFUSAL: usize = 8 << 10;

/// Why no such key signs, whatever the cloud.
const NO_ED25519: &str = "an Ed25519 key signs whole messages, of which a KMS takes a few thousand bytes only, and statements \
                          are longer";

/// Who we are to the clouds, as far as their SDKs do not find out by themselves, and where their services are. No `Debug`:
/// secrets are in it.
#[derive(Clone, Default)]
pub struct KmsAccess {
    /// Another address of Amazon's KMS (`AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL`).
    pub aws_endpoint: Option<String>,
    /// Google's metadata server (`GCE_METADATA_HOST`).
    pub google_metadata: Option<String>,
    /// The file with Google's credentials, if there is one.
    pub google_file: Option<PathBuf>,
    /// Who we are to Azure.
    pub azure: Identity,
}

/// A key in a KMS.
pub struct Kms {
    uri: KeyUri,
    access: KmsAccess,
    agent: Agent,
    held: OnceCell<Held>,
}

/// A key whose public half is known.
pub(super) struct Held {
    pub(super) public: PublicKey,
    /// The hash that it signs.
    pub(super) hash: Hash,
    opened: Opened,
}

/// A service that has told the public half, and signs.
enum Opened {
    #[cfg(feature = "aws")]
    Aws(Box<aws::Key>),
    #[cfg(feature = "google")]
    Google(google::Key),
    Azure(azure::Key),
}

impl Kms {
    /// Names a key; nothing is asked yet.
    pub fn new(uri: KeyUri, access: KmsAccess, agent: Agent) -> Self {
        Self { uri, access, agent, held: OnceCell::new() }
    }

    /// Returns the public half; the service is asked once.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn public(&self) -> Result<&PublicKey, KmsError> {
        Ok(&self.held().await?.public)
    }

    pub(super) async fn held(&self) -> Result<&Held, KmsError> {
        self.held.get_or_try_init(|| async { self.open().await.map_err(|wrong| self.failed(wrong)) }).await
    }

    fn failed(&self, wrong: Wrong) -> KmsError {
        KmsError::new(&self.uri.to_string(), wrong, self.service())
    }

    fn service(&self) -> &'static Service {
        match self.uri.place {
            #[cfg(feature = "aws")]
            Place::Aws { .. } => &aws::SERVICE,
            #[cfg(feature = "google")]
            Place::Google { .. } => &google::SERVICE,
            _ => &azure::SERVICE,
        }
    }

    async fn open(&self) -> Result<Held, Wrong> {
        let (access, agent) = (&self.access, &self.agent);
        match &self.uri.place {
            #[cfg(feature = "aws")]
            Place::Aws { endpoint, id, region } => {
                let key = aws::Key::new(endpoint.as_deref(), id, region.as_deref(), access, agent).await?;
                key.open(agent).await
            }
            #[cfg(feature = "google")]
            Place::Google { key, version } => google::open((key, version.as_deref()), access, agent).await,
            Place::Azure { vault, name, version, cloud } => {
                azure::open((vault, name, version.as_deref()), *cloud, &access.azure, agent).await
            }
            #[cfg(not(all(feature = "aws", feature = "google")))]
            _ => Err(Wrong::key(What::Other, "this cloud is not part of this executor")),
        }
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`KmsError`], also where what comes back is no signature of the message by this key.
    pub(super) async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let Held { public, hash, opened } = self.held().await?;
        let digest = hash.of(message);
        let signature = match opened {
            #[cfg(feature = "aws")]
            Opened::Aws(key) => key.sign(&digest, &self.agent).await,
            #[cfg(feature = "google")]
            Opened::Google(key) => key.sign(&digest, &self.agent).await,
            Opened::Azure(key) => key.sign(&digest, &self.agent).await,
        };
        match signature {
            Ok(signature) if public.has_signed(message, &signature) => Ok(signature),
            Ok(_) => {
                let problem = "the signature that came back does not hold for the public half that came before; has the \
                               name gone to another key meanwhile? Name a key, and a version of it";
                Err(self.failed(Wrong::key(What::Other, problem)))
            }
            Err(wrong) => Err(self.failed(wrong)),
        }
    }
}

/// What can be made of an answer.
enum Read<T> {
    /// What was wanted.
    Whole(T),
    /// It was damaged on its way, in this manner: ask again.
    #[cfg(any(feature = "google", test))]
    Damaged(&'static str),
}

/// Asks a service until it answers, refuses for good, or the patience is over.
async fn ask<A, T>(
    agent: &Agent,
    make: impl AsyncFn() -> Result<Call, Wrong>,
    read: impl Fn(A) -> Read<T>,
    refusal: impl Fn(StatusCode, &[u8]) -> Refusal,
) -> Result<T, Wrong>
where
    A: DeserializeOwned,
{
    let mut attempts = agent.attempts(agent.retry());
    loop {
        // Made anew each time: a signature of a request, and a token, hold for some time only.
        let call = make().await?;
        let named = || format!("{} {}", call.method, http::redact(&call.url));
        let sent = agent.send_in(&call, attempts.turn()).await;
        let attempt = match sent {
            Ok(response) if response.status().is_success() => match response.bytes(LARGEST_ANSWER).await {
                Ok(body) => match serde_json::from_slice(&body).map(&read) {
                    Ok(Read::Whole(value)) => Attempt::Final(Ok(value)),
                    #[cfg(any(feature = "google", test))]
                    Ok(Read::Damaged(why)) => {
                        let value = Err(Wrong::damaged(&call.url, why));
                        Attempt::Passing { value, why: format!("{}: it {why}", named()), asked: None }
                    }
                    // The parser's message is left out, because it quotes the text.
                    Err(_) => Attempt::Final(Err(Wrong::unclear(&call.url, "answered what is not understood"))),
                },
                Err(error) => failed(error),
            },
            Ok(response) => {
                let (status, asked) = (response.status(), http::retry_after(response.headers()));
                let refusal = refusal(status, &response.beginning(LARGEST_REFUSAL).await);
                let value = Err(Wrong::refused(&call, status, &refusal));
                match refusal.passes || http::is_transient_status(status) {
                    true => {
                        let why = format!("{} was answered with {status} {}", named(), refusal.code);
                        Attempt::Passing { value, why: why.trim_end().to_owned(), asked }
                    }
                    false => Attempt::Final(value),
                }
            }
            Err(error) => failed(error),
        };
        if let Some(result) = attempts.settle(attempt).await {
            return result;
        }
    }
}

fn failed<T>(error: http::Error) -> Attempt<Result<T, Wrong>> {
    match error.is_transient() {
        true => Attempt::Passing { why: error.in_short(), value: Err(Wrong::unreachable(error)), asked: None },
        false => Attempt::Final(Err(Wrong::unreachable(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::http::testing::{Reply, Server};
    use crate::http::{AUTHORIZATION, HeaderValue, Meaning, Method, Options, Retry};

    const SERVICE: Service = Service { who: "with nothing", credentials: "none", rights: "a right", keys: "any" };

    /// Asks a server on `address` for a number, at most three times; the number 1 is a damaged one.
    async fn asked(address: &str) -> Result<u64, KmsError> {
        let retry = Retry { attempts: 3, first_delay: Duration::from_millis(1), ..Retry::default() };
        let agent = Agent::new(Options { retry, ..Options::default() }).expect("an agent");
        let make = || async {
            let mut token = HeaderValue::from_static("Bearer hunter2");
            token.set_sensitive(true);
            let url = format!("http://{address}/key").parse().expect("a URL");
            Ok(Call::new(Method::GET, url).header(AUTHORIZATION, token))
        };
        let read = |number: u64| if number == 1 { Read::Damaged("answered in pieces") } else { Read::Whole(number) };
        let refusal = |status: StatusCode, body: &[u8]| {
            let (code, message) = ("Code".to_owned(), String::from_utf8_lossy(body).into_owned());
            let what = if status.as_u16() == 403 { What::Right } else { What::Other };
            Refusal { what, code, message, passes: status.as_u16() == 400 }
        };
        ask(&agent, make, read, refusal).await.map_err(|wrong| KmsError::new("kms://key", wrong, &SERVICE))
    }

    #[tokio::test]
    async fn what_passes_is_asked_again_and_what_does_not_is_told() {
        let busy = |first: fn() -> Reply| {
            let count = AtomicUsize::new(0);
            Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => first(),
                _ => Reply::new(200).body("7"),
            })
        };
        let rows: [fn() -> Reply; 5] = [
            || Reply::new(429),
            || Reply::new(400).body("throttled"),
            || Reply::new(200).body("1"),
            || Reply::new(200).body("7777777").cut_after(1),
            Reply::hang_up,
        ];
        for row in rows {
            let server = busy(row).await;
            assert_eq!(asked(&server.address).await.expect("a number"), 7, "{:?}", row());
            assert_eq!(server.seen().len(), 3);
        }
        type Row = (fn() -> Reply, usize, Meaning, &'static str);
        let rows: [Row; 5] = [
            (|| Reply::new(403).body("not\nhunter2"), 1, Meaning::Denied, "403 Forbidden Code: not … (with nothing)"),
            (|| Reply::new(404).body("no"), 1, Meaning::Wrong, "404 Not Found Code: no"),
            (|| Reply::new(503), 3, Meaning::Transient, "503 Service Unavailable Code"),
            (|| Reply::new(200).body("1"), 3, Meaning::Transient, "/key answered in pieces"),
            (|| Reply::new(200).body("{hunter2"), 1, Meaning::Wrong, "answered what is not understood"),
        ];
        for (reply, count, meaning, told) in rows {
            let server = Server::start(move |_| reply()).await;
            let error = asked(&server.address).await.expect_err(told);
            assert!(error.to_string().ends_with(told), "{error}");
            assert!(!error.to_string().contains("hunter2") && error.to_string().contains("kms://key"), "{error}");
            assert_eq!((server.seen().len(), error.meaning()), (count, meaning), "{error}");
            assert_eq!(error.hint().is_some(), meaning == Meaning::Denied, "{error}");
        }
        let nowhere = asked("127.0.0.1:1").await.expect_err("nobody is there");
        assert_eq!(nowhere.meaning(), Meaning::Transient);
        let cause = std::error::Error::source(&nowhere).expect("a cause").to_string();
        assert!(
            nowhere.to_string().contains("cannot be reached") && cause.contains("127.0.0.1:1"),
            "{nowhere}: {cause}"
        );
    }
}
