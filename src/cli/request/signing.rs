//! Who signs: flags and variables become settings.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{UsageError, absolute};
use crate::cli::args::{SignatureFormatName, SigningArgs};
use crate::cli::env::Environment;
use crate::http::Url;
use crate::request::SecretSource;
use crate::signing::{KeyUri, Tokens};
use crate::trust::Forms;

/// Where pods mount the token for sigstore. Source: cosign, `pkg/providers/filesystem`.
const WELL_KNOWN: &str = "/var/run/sigstore/cosign/oidc-token";
const REKOR: &str = "https://rekor.sigstore.dev";

/// Who signs, and in which forms.
#[derive(Clone)]
pub struct SigningSettings {
    /// Who.
    pub who: Who,
    /// A transparency log that shall know of each signature.
    pub log: Option<Url>,
    /// In which forms.
    pub forms: Forms,
}

/// Who signs.
#[derive(Clone)]
pub enum Who {
    /// The owner of the key in a file, with its password.
    File(PathBuf, Option<SecretSource>),
    /// Who may use a key that a cloud keeps.
    Kms(KeyUri),
    /// Whom a token names.
    Keyless {
        /// The authority.
        authority: Url,
        /// Where the token comes from.
        tokens: Tokens,
    },
}

impl SigningSettings {
    /// Lists the files that hold secrets.
    pub(in crate::cli) fn secret_files(&self) -> Vec<PathBuf> {
        match &self.who {
            Who::File(key, password) => {
                let password = password.iter().filter_map(|source| match source {
                    SecretSource::File(path) => Some(path.clone()),
                    SecretSource::Value(_) => None,
                });
                password.chain([key.clone()]).collect()
            }
            Who::Keyless { tokens: Tokens::File(path), .. } => vec![path.clone()],
            Who::Keyless { .. } | Who::Kms(_) => Vec::new(),
        }
    }
}

/// Reads who signs; none where nobody does.
///
/// # Errors
/// [`UsageError`].
pub(in crate::cli) fn signing(
    args: &SigningArgs,
    environment: &Environment,
) -> Result<Option<SigningSettings>, UsageError> {
    let working = &environment.directories.working;
    let key = args.sign_key.as_deref().filter(|text| !text.is_empty());
    let log = args.rekor_url.as_deref().filter(|text| !text.is_empty());
    let log = log.map(|text| url("--rekor-url", text)).transpose()?;
    let forms = match args.signature_format {
        SignatureFormatName::Tag => Forms::Tag,
        SignatureFormatName::Bundle => Forms::Bundle,
        SignatureFormatName::Both => Forms::Both,
    };
    let (who, log) = match (key, args.sign_keyless) {
        (Some(_), true) => {
            let reason = "one has a key, the other needs none".to_owned();
            return Err(UsageError::Conflict { first: "--sign-key", second: "--sign-keyless", reason });
        }
        (None, false) => return Ok(None),
        (Some(key), false) => {
            let file = args.sign_key_password_file.as_deref().filter(|path| !path.as_os_str().is_empty());
            if KeyUri::is_one(key) {
                return kms(key, file, log, forms);
            }
            let password = match file {
                Some(path) => Some(SecretSource::File(absolute(path, working))),
                None => environment.variable("COSIGN_PASSWORD")?.map(|text| SecretSource::Value(text.to_owned())),
            };
            (Who::File(absolute(Path::new(key), working), password), log)
        }
        (None, true) => {
            let authority = url("--fulcio-url", &args.fulcio_url)?;
            let log = log.map_or_else(|| url("--rekor-url", REKOR), Ok)?;
            (Who::Keyless { authority, tokens: tokens(args, environment)? }, Some(log))
        }
    };
    Ok(Some(SigningSettings { who, log, forms }))
}

fn kms(
    key: &str,
    password: Option<&Path>,
    log: Option<Url>,
    forms: Forms,
) -> Result<Option<SigningSettings>, UsageError> {
    if password.is_some() {
        let reason = "a key in a KMS has no password: leave it out".to_owned();
        return Err(UsageError::Conflict { first: "--sign-key", second: "--sign-key-password-file", reason });
    }
    let key = key.parse().map_err(|reason| unfit_key("--sign-key", key, reason))?;
    Ok(Some(SigningSettings { who: Who::Kms(key), log, forms }))
}

/// Says that a text names no key of a KMS.
pub(in crate::cli) fn unfit_key(flag: &'static str, text: &str, reason: String) -> UsageError {
    UsageError::Value { flag, value: crate::http::redact_within(text), reason }
}

fn url(flag: &'static str, text: &str) -> Result<Url, UsageError> {
    let error = |reason: &str| UsageError::Value { flag, value: text.to_owned(), reason: reason.to_owned() };
    let url: Url = text.parse().map_err(|_| error("it is no URL"))?;
    match url.scheme() {
        "https" | "http" if url.host_str().is_some() => Ok(url),
        _ => Err(error("write https://HOST")),
    }
}

/// Finds where the token comes from: the nearest to the user first.
fn tokens(args: &SigningArgs, environment: &Environment) -> Result<Tokens, UsageError> {
    let working = &environment.directories.working;
    if let Some(path) = args.identity_token_file.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        return Ok(Tokens::File(absolute(path, working)));
    }
    if let Some(token) = environment.value("SIGSTORE_ID_TOKEN")? {
        return Ok(Tokens::Given(Zeroizing::new(token.to_owned())));
    }
    let asked = environment.value("ACTIONS_ID_TOKEN_REQUEST_URL")?;
    if let (Some(place), Some(right)) = (asked, environment.value("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?) {
        let unfit = |_| UsageError::Variable {
            name: "ACTIONS_ID_TOKEN_REQUEST_URL",
            value: crate::http::redact_text(place),
            reason: "it is no URL".to_owned(),
        };
        let (url, right) = (place.parse().map_err(unfit)?, Zeroizing::new(right.to_owned()));
        return Ok(Tokens::Github { url, right });
    }
    Ok(Tokens::File(PathBuf::from(WELL_KNOWN)))
}
