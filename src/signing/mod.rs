//! Signing: keys, signatures, the forms that they have, and whether they hold.
//!
//! Knows bytes: what is signed, how a signature is written, and what makes one trustworthy. Does not know where signatures
//! are kept, nor which image needs one: `trust` does.
//!
//! *Invariant: no cryptography of our own (keys, signatures and hashes are those of kept libraries); a private key and
//! its password are wiped when they are done with, and appear in no message.*

mod encrypted;
mod key;
mod payload;
mod pem;
mod simple;

pub use key::{KeyError, PrivateKey, PublicKey};
pub use payload::{Payload, PayloadError};
pub use simple::{LARGEST_PAYLOAD, Refusal, Signature, Signed, Trust};
