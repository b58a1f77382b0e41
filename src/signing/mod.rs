//! Signing: keys, signatures, the forms that they have, and whether they hold.
//!
//! Knows bytes: what is signed, how a signature is written, and what makes one trustworthy; asks the services that give
//! certificates, keep logs and hold keys. Does not know where signatures are kept, nor which image needs one: `trust` does.
//!
//! *Invariant: no cryptography of our own (keys, signatures and hashes are those of kept libraries); a private key, its
//! password and a token are wiped when they are done with, and appear in no message.*

mod bundle;
mod certificate;
mod dsse;
mod encrypted;
mod evidence;
mod key;
mod keyless;
mod kms;
mod log;
mod payload;
mod pem;
mod root;
mod signer;
mod simple;
mod token;

pub use bundle::{BUNDLE, Bundle, LARGEST_BUNDLE, SIGN, verify_envelope};
pub use certificate::{Chain, LogKey, Subject};
pub use dsse::Envelope;
pub use evidence::{Evidence, Signed, Statement};
pub use key::{KeyError, PrivateKey, PublicKey};
pub use keyless::Log;
pub use kms::{KeyUri, Kms, KmsAccess, KmsError};
pub use log::Entry;
pub use payload::{Payload, PayloadError};
pub use root::{IdentityTrust, Root, RootError};
pub use signer::{Error, SignedStatement, Signer};
pub use simple::{LARGEST_PAYLOAD, Refusal, SIGNATURE, Signature, Trust};
pub use token::Tokens;
