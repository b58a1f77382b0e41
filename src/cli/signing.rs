//! Keys of signatures: from flags and variables to what signs.

use std::path::Path;

use zeroize::Zeroizing;

use super::args::WhoArgs;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::request::{Network, SigningSettings, Who, unfit_key};
use crate::http::Agent;
use crate::place;
use crate::request::SecretSource;
use crate::signing::{
    IdentityTrust, KeyError, KeyUri, Kms, KmsAccess, Log, PrivateKey, PublicKey, Root, Signer, Trust,
};
use crate::trust::{Policy, Signing};
use crate::{signing, trust};

/// Keys are shorter.
const LARGEST_KEY: u64 = 64 << 10;
/// Policies are shorter, keys in them included.
const LARGEST_POLICY: u64 = 8 << 20;

/// Why a policy names no key of a KMS.
const IN_POLICY: &str = "a policy names files: write the public half of a key in a KMS to one";

/// Makes what signs: reads the key and its password now, and asks nobody yet.
///
/// # Errors
/// [`Failure`] of kind usage when the key cannot be read or used.
pub(super) fn signing(settings: &SigningSettings, network: &Network, agent: &Agent) -> Result<Signing, Failure> {
    let (log, agent) = (settings.log.clone().map(Log), agent.clone());
    let signer = match &settings.who {
        Who::File(path, password) => {
            let text = read("--sign-key", path)?;
            let password = password.as_ref().map(self::password).transpose()?;
            let key = PrivateKey::from_pem(&text, password.as_deref().map(Vec::as_slice));
            Signer::key(key.map_err(|error| unusable("--sign-key", path, &error))?, log, agent)
        }
        Who::Kms(key) => {
            let kms = Kms::new(key.clone(), kms_access(network), agent.clone());
            Signer::kms(kms, log, agent)
        }
        Who::Keyless { authority, tokens } => {
            let log = log.ok_or_else(|| Failure::new(Kind::Usage, "--sign-keyless needs a log"))?;
            Signer::keyless(authority.clone(), tokens.clone(), log, agent)
        }
    };
    Ok(Signing { signer, forms: settings.forms })
}

/// Gathers who we are to the clouds, and where their services are.
fn kms_access(network: &Network) -> KmsAccess {
    KmsAccess {
        aws_endpoint: network.aws_kms.clone(),
        google_metadata: network.endpoints.google_metadata.clone(),
        google_file: network.endpoints.google_file.clone(),
        azure: network.azure.clone(),
    }
}

/// Reads the public keys of which one must have signed.
///
/// # Errors
/// [`Failure`] of kind usage when one cannot be read or used.
pub(super) fn public_key(flag: &str, path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::from_pem(&read(flag, path)?).map_err(|error| unusable(flag, path, &error))
}

/// Reads who must have signed; none where nobody is named. A key that a cloud keeps is asked for.
///
/// # Errors
/// [`Failure`] when a key or an authority cannot be read or used.
pub(super) async fn trusted(
    args: &WhoArgs,
    environment: &Environment,
    network: &Network,
    agent: &Agent,
) -> Result<Option<Trust>, Failure> {
    let working = &environment.directories.working;
    if let (Some(subject), Some(issuer)) = (&args.certificate_identity, &args.certificate_oidc_issuer) {
        let path = args.trusted_root.as_deref().filter(|path| !path.as_os_str().is_empty());
        let missing =
            "an identity needs somebody who vouches for it: give sigstore's trusted_root.json with --trusted-root";
        let root = root(&working.join(path.ok_or_else(|| Failure::new(Kind::Usage, missing))?))?;
        let (subject, issuer) = (subject.clone(), issuer.clone());
        return Ok(Some(Trust::Identity(Box::new(IdentityTrust { root, subject, issuer }))));
    }
    let mut keys = Vec::new();
    for path in args.key.iter().filter(|path| !path.as_os_str().is_empty()) {
        keys.push(match path.to_str().filter(|text| KeyUri::is_one(text)) {
            Some(text) => kept_key(text, network, agent).await?,
            None => public_key("--key", &working.join(path))?,
        });
    }
    Ok(if keys.is_empty() { None } else { Some(Trust::Keys(keys)) })
}

/// Asks a cloud for the public half of a key that it keeps.
async fn kept_key(text: &str, network: &Network, agent: &Agent) -> Result<PublicKey, Failure> {
    let unfit = |reason: String| Failure::from_error(Kind::Usage, &unfit_key("--key", text, reason));
    let kms = Kms::new(text.parse().map_err(unfit)?, kms_access(network), agent.clone());
    Ok(kms.public().await.map_err(signing::Error::from).map_err(trust::Error::from)?.clone())
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
    // Keys, and lists of authorities.
    let read = |path: &Path| match path.to_str().is_some_and(KeyUri::is_one) {
        true => Err(std::io::Error::new(std::io::ErrorKind::Unsupported, IN_POLICY)),
        false => place::read_anywhere(&directory.join(path), LARGEST_POLICY),
    };
    Policy::parse(&text, &read).map_err(|error| failed(&error))
}

/// Returns the password: without the end of the line that editors write.
fn password(source: &SecretSource) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match source {
        SecretSource::Value(value) => Ok(Zeroizing::new(value.as_bytes().to_vec())),
        SecretSource::File(path) => {
            let mut text = read("--sign-key-password-file", path)?;
            let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
            text.truncate(end);
            Ok(text)
        }
    }
}

/// Reads whom one trusts.
///
/// # Errors
/// [`Failure`] of kind usage when it cannot be read or used.
pub(super) fn root(path: &Path) -> Result<Root, Failure> {
    let text = place::read_anywhere(path, LARGEST_POLICY);
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Usage, format!("--trusted-root: {} cannot be used: {error}", path.display()))
    };
    Root::parse(&text.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))
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
