//! What of libgit2 must be switched before it is used: its own transports and its check of owners.
//!
//! Knows libgit2's switches; does not know what a transport does. *Invariant: this happens once, before anything else
//! of libgit2's is called, since these switches are plain variables of the C library.*

use std::sync::OnceLock;

use git2::Remote;
use git2::transport::{self, Transport};

/// Makes a transport for a remote.
pub type Factory = fn(&Remote<'_>) -> Result<Transport, git2::Error>;

/// Replaces libgit2's transports for these URL schemes, and lets it read repositories that are somebody else's.
///
/// Only the first call does something.
///
/// # Errors
/// What libgit2 answered to the first call.
#[expect(unsafe_code, reason = "the switches are plain variables in C")]
pub fn prepare(schemes: &[(&str, Factory)]) -> Result<(), String> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        // SAFETY: `OnceLock` runs this once, and every use of libgit2 in this process comes after a call of `prepare`.
        unsafe {
            git2::opts::set_verify_owner_validation(false).map_err(|error| error.to_string())?;
            for (scheme, factory) in schemes {
                transport::register(scheme, *factory).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    });
    done.clone()
}
