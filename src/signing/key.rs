//! Keys: read from the files that people have, and what is done with them.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING,
    ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA512, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{encrypted, pem};
use crate::oci::Digest;

/// Which algorithms a key's signatures may have, the usual one first. Several sizes of hash go with some keys: cosign had
/// SHA-256 for all of them once.
const P256: &[&dyn VerificationAlgorithm] = &[&ECDSA_P256_SHA256_ASN1];
const P384: &[&dyn VerificationAlgorithm] = &[&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1];
const P521: &[&dyn VerificationAlgorithm] = &[&ECDSA_P521_SHA512_ASN1, &ECDSA_P521_SHA256_ASN1];
const EDWARDS: &[&dyn VerificationAlgorithm] = &[&ED25519];
const RSA: &[&dyn VerificationAlgorithm] = &[
    &RSA_PKCS1_2048_8192_SHA256,
    &RSA_PKCS1_2048_8192_SHA384,
    &RSA_PKCS1_2048_8192_SHA512,
    &RSA_PSS_2048_8192_SHA256,
    &RSA_PSS_2048_8192_SHA512,
];

pub(super) const OF_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const OF_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(super) const OF_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(super) const CURVE_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(super) const CURVE_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(super) const CURVE_P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// A key that cannot be used. Nothing of it is in the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file is no key.
    #[error("it is no key: {0}")]
    Malformed(String),
    /// It is a key of a kind that is not supported.
    #[error("{0} is not supported: use ECDSA (P-256, P-384, P-521), Ed25519, or RSA of 2048 bits or more")]
    Unsupported(String),
    /// The key has a password, and none is given.
    #[error("the key has a password: give it in COSIGN_PASSWORD, or in a file with --sign-key-password-file")]
    NoPassword,
    /// The password is another one.
    #[error("the password does not open the key")]
    Password,
    /// The library refused to sign.
    #[error("the key does not sign")]
    Sign,
}

/// A private key, in memory. No `Debug`: it is secret.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// As X.509 has it (SubjectPublicKeyInfo).
    der: Vec<u8>,
    kind: Kind,
}

/// What kind a public key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa,
}

impl Kind {
    fn algorithms(self) -> &'static [&'static dyn VerificationAlgorithm] {
        match self {
            Self::P256 => P256,
            Self::P384 => P384,
            Self::P521 => P521,
            Self::Ed25519 => EDWARDS,
            Self::Rsa => RSA,
        }
    }
}

/// The hash of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Returns its name, as Rekor and Google's API write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn of(self, message: &[u8]) -> Vec<u8> {
        use sha2::Digest as _;
        match self {
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(message).to_vec(),
        }
    }
}

impl PrivateKey {
    /// Reads a key from a PEM file: PKCS#8, SEC 1 (`EC PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`), PKCS#8 with a password,
    /// or cosign's own form with one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &[u8], password: Option<&[u8]>) -> Result<Self, KeyError> {
        let blocks = pem::blocks(text).map_err(KeyError::Malformed)?;
        let Some(block) = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")) else {
            return Err(KeyError::Malformed("there is no PRIVATE KEY in it".to_owned()));
        };
        let password = || password.ok_or(KeyError::NoPassword);
        match &*block.label {
            "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => Self::from_der(&block.bytes),
            "ENCRYPTED PRIVATE KEY" => {
                let sealed = EncryptedPrivateKeyInfoRef::try_from(&**block.bytes);
                let sealed = sealed.map_err(|error| KeyError::Malformed(error.to_string()))?;
                let opened = sealed.decrypt(password()?).map_err(|error| match error {
                    // What it decrypts to with another password is no key.
                    pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) => KeyError::Password,
                    pkcs8::Error::EncryptedPrivateKey(other) => {
                        KeyError::Unsupported(format!("its encryption ({other})"))
                    }
                    _ => KeyError::Password,
                })?;
                Self::from_der(opened.as_bytes())
            }
            "ENCRYPTED COSIGN PRIVATE KEY" | "ENCRYPTED SIGSTORE PRIVATE KEY" => {
                Self::from_der(&encrypted::open(&block.bytes, password()?)?)
            }
            other => Err(KeyError::Unsupported(format!("`{other}`"))),
        }
    }

    /// Makes a key for one use, which is never written.
    ///
    /// # Errors
    /// [`KeyError::Sign`] where the system has no randomness.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| KeyError::Sign)?;
        Self::of_ecdsa(pair)
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let curves: [&'static EcdsaSigningAlgorithm; 3] =
            [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];
        for curve in curves {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, der) {
                return Self::of_ecdsa(pair);
            }
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let public = pair.public_key().as_der().map_err(|_| KeyError::Sign)?;
            let public = PublicKey::from_der(public.as_ref())?;
            return Ok(Self { pair: Pair::Ed25519(pair), public });
        }
        let rsa = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der));
        let pair = rsa.map_err(|_| KeyError::Unsupported("this key".to_owned()))?;
        let public = pair.public_key().as_der().map_err(|_| KeyError::Sign)?;
        let public = PublicKey::from_der(public.as_ref())?;
        Ok(Self { pair: Pair::Rsa(Box::new(pair)), public })
    }

    fn of_ecdsa(pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let public = pair.public_key().as_der().map_err(|_| KeyError::Sign)?;
        let public = PublicKey::from_der(public.as_ref())?;
        Ok(Self { pair: Pair::Ecdsa(Box::new(pair)), public })
    }

    /// Returns the key's public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message: ECDSA with the hash of the curve's size, Ed25519, or RSA's PKCS#1 v1.5 with SHA-256.
    ///
    /// # Errors
    /// [`KeyError::Sign`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(|_| KeyError::Sign)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
        }
    }
}

impl PublicKey {
    /// Reads the first public key of a PEM file (`PUBLIC KEY`).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::blocks(text).map_err(KeyError::Malformed)?;
        match blocks.iter().find(|block| block.label == "PUBLIC KEY") {
            Some(block) => Self::from_der(&block.bytes),
            None if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) => {
                Err(KeyError::Malformed("it is a private key, and the public one is wanted".to_owned()))
            }
            None => Err(KeyError::Malformed("there is no PUBLIC KEY in it".to_owned())),
        }
    }

    /// Reads a key as X.509 has it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|error| KeyError::Malformed(error.to_string()))?;
        let curve = info.algorithm.parameters_oid().ok();
        let kind = match (info.algorithm.oid, curve) {
            (OF_EC, Some(CURVE_P256)) => Kind::P256,
            (OF_EC, Some(CURVE_P384)) => Kind::P384,
            (OF_EC, Some(CURVE_P521)) => Kind::P521,
            (OF_ED25519, _) => Kind::Ed25519,
            (OF_RSA, _) => Kind::Rsa,
            (other, _) => return Err(KeyError::Unsupported(format!("a key of kind {other}"))),
        };
        let parsed = kind.algorithms().first().map(|algorithm| ParsedPublicKey::new(*algorithm, der));
        match parsed {
            Some(Ok(_)) => Ok(Self { der: der.to_vec(), kind }),
            _ => Err(KeyError::Unsupported("this key".to_owned())),
        }
    }

    /// Tells whether this key has signed a message.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verifies = |algorithm: &&'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(*algorithm, &self.der).verify(message, signature).is_ok()
        };
        self.kind.algorithms().iter().any(verifies)
    }

    /// Returns what kind of key it is.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the hash that goes with the key where nothing else is said: of the size of the curve; Ed25519 has its own.
    pub(super) fn hash(&self) -> Hash {
        match self.kind {
            Kind::P256 | Kind::Rsa => Hash::Sha256,
            Kind::P384 => Hash::Sha384,
            Kind::P521 | Kind::Ed25519 => Hash::Sha512,
        }
    }

    /// Writes the key as PEM.
    pub fn to_pem(&self) -> String {
        pem::write("PUBLIC KEY", &self.der)
    }

    /// Returns the key as X.509 has it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the digest of [`PublicKey::der`]: it names the key.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.der)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.kind, self.fingerprint())
    }
}
