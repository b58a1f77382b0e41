//! Keys that a cloud keeps: the public half is asked for, and each digest is sent to be signed.
//!
//! Knows the three services' interfaces. *Invariant: nothing is sent but digests of what is signed; a signature counts only
//! if it holds under the public half that was fetched first; a credential goes to the service of its own cloud alone.*

#[cfg(feature = "aws")]
mod aws;
mod azure;
mod error;
mod exchange;
#[cfg(feature = "google")]
mod google;
mod jwk;
mod uri;

use std::path::PathBuf;

use tokio::sync::OnceCell;

use super::key::{Hash, PublicKey};
use crate::cloud::azure::Identity;
use crate::http::Agent;
pub use error::KmsError;
use error::{Service, What, Wrong};
pub use uri::KeyUri;
use uri::Place;

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
        let (public, hash, opened) = match &self.uri.place {
            #[cfg(feature = "aws")]
            Place::Aws { endpoint, id, region } => {
                let endpoint = endpoint.as_ref().map(|host| format!("https://{host}"));
                let endpoint = endpoint.or_else(|| access.aws_endpoint.clone());
                let key = aws::Key::new(endpoint, id, region.as_deref(), agent).await?;
                let (public, hash, key) = key.open(agent).await?;
                (public, hash, Opened::Aws(Box::new(key)))
            }
            #[cfg(feature = "google")]
            Place::Google { key, version } => {
                let places = (access.google_file.as_deref(), access.google_metadata.as_deref());
                let (public, hash, key) = google::open((key, version.as_deref()), places, agent).await?;
                (public, hash, Opened::Google(key))
            }
            Place::Azure { vault, name, version, cloud } => {
                let place = (vault.as_str(), name.as_str(), version.as_deref());
                let (public, hash, key) = azure::open(place, *cloud, &access.azure, agent).await?;
                (public, hash, Opened::Azure(key))
            }
            #[cfg(not(all(feature = "aws", feature = "google")))]
            _ => return Err(Wrong::key(What::Other, "this cloud is not part of this executor")),
        };
        Ok(Held { public, hash, opened })
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
