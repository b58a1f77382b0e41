//! Keys of signatures: from flags and variables to what signs.

use std::path::Path;

use zeroize::Zeroizing;

use super::args::SigningArgs;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::request::UsageError;
use crate::place;
use crate::signing::{KeyError, PrivateKey, PublicKey};
use crate::trust::Policy;

/// Keys are shorter.
const LARGEST_KEY: u64 = 64 << 10;
/// Policies are shorter, keys in them included.
const LARGEST_POLICY: u64 = 8 << 20;

/// Reads the key that signs; none where none is asked for.
///
/// # Errors
/// [`Failure`] of kind usage when it cannot be read or used.
pub(super) fn key(args: &SigningArgs, environment: &Environment) -> Result<Option<PrivateKey>, Failure> {
    let Some(named) = args.sign_key.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let path = environment.directories.working.join(named);
    let text = read("--sign-key", &path)?;
    let password = password(args, environment)?;
    let key = PrivateKey::from_pem(&text, password.as_deref().map(Vec::as_slice));
    key.map(Some).map_err(|error| unusable("--sign-key", &path, &error))
}

/// Reads the public keys of which one must have signed.
///
/// # Errors
/// [`Failure`] of kind usage when one cannot be read or used.
pub(super) fn public_key(flag: &str, path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::from_pem(&read(flag, path)?).map_err(|error| unusable(flag, path, &error))
}

/// Reads the policy of base images. The keys that it names are relative to it.
///
/// # Errors
/// [`Failure`] of kind usage when it or a key that it names cannot be read or used.
pub(super) fn policy(path: &Path) -> Result<Policy, Failure> {
    let text = place::read_anywhere(path, LARGEST_POLICY);
    let failed = |error: &dyn std::error::Error| {
        let failure = Failure::from_error(Kind::Usage, error);
        let message = format!("--verify-base: {} cannot be used: {}", path.display(), failure.message);
        Failure { message, ..failure }
    };
    let text = text.map_err(|error| failed(&error))?;
    let directory = path.parent().unwrap_or(path);
    let read = |key: &Path| place::read_anywhere(&directory.join(key), LARGEST_KEY);
    Policy::parse(&text, &read).map_err(|error| failed(&error))
}

/// Returns the password: without the end of the line that editors write.
fn password(args: &SigningArgs, environment: &Environment) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    match args.sign_key_password_file.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => {
            let mut text = read("--sign-key-password-file", &environment.directories.working.join(path))?;
            let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
            text.truncate(end);
            Ok(Some(text))
        }
        None => {
            let value = environment.variable("COSIGN_PASSWORD").map_err(UsageError::from)?;
            Ok(value.map(|value| Zeroizing::new(value.as_bytes().to_vec())))
        }
    }
}

fn read(flag: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = place::read_anywhere(path, LARGEST_KEY);
    let unreadable = |error: std::io::Error| {
        Failure::new(Kind::Usage, format!("{flag}: {} cannot be read: {error}", path.display()))
    };
    bytes.map(Zeroizing::new).map_err(unreadable)
}

fn unusable(flag: &str, path: &Path, error: &KeyError) -> Failure {
    Failure::new(Kind::Usage, format!("{flag}: {} cannot be used: {error}", path.display()))
}
