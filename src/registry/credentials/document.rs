//! The files: Docker's config.json in all its shapes, Podman's auth.json, and the older .dockercfg. Pure but for reading.

use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::{Content, CredentialsError, Document, Secret};

/// A document as far as it could be read.
pub(super) struct Opened {
    pub(super) name: String,
    pub(super) state: State,
}

pub(super) enum State {
    /// There is no such file.
    Absent,
    /// It is there and is not ours to read.
    Unreadable(String),
    Read(Contents),
}

/// What a config.json says.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) auths: BTreeMap<String, Entry>,
    pub(super) helpers: BTreeMap<String, String>,
    pub(super) store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Wire {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

/// What a file has for one registry.
#[derive(Default, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Opened {
    /// Reads and parses a document. One that is not there or not ours to read is none, unless it was named.
    pub(super) fn open(document: &Document) -> Result<Self, CredentialsError> {
        let path = match &document.content {
            Content::Text(text) => return Self::parse(&document.name, text),
            Content::File(path) => path,
        };
        let state = match std::fs::read_to_string(path) {
            Ok(text) => return Self::parse(&document.name, &text),
            Err(source) if document.required => return Err(CredentialsError::Read { path: path.clone(), source }),
            Err(source) if is_absent(&source) => State::Absent,
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => State::Unreadable(source.to_string()),
            Err(source) => return Err(CredentialsError::Read { path: path.clone(), source }),
        };
        Ok(Self { name: document.name.clone(), state })
    }

    fn parse(name: &str, text: &str) -> Result<Self, CredentialsError> {
        let malformed = |e: serde_json::Error| CredentialsError::Malformed {
            name: name.to_owned(),
            line: e.line(),
            column: e.column(),
        };
        let wire: Wire = match text.trim() {
            "" => Wire::default(),
            _ => serde_json::from_str(text).map_err(malformed)?,
        };
        let is_older = wire.auths.is_none() && wire.helpers.is_none() && wire.store.is_none();
        // .dockercfg has the entries at the top, without a name for them all.
        let older: Option<BTreeMap<String, Entry>> = if is_older { serde_json::from_str(text).ok() } else { None };
        let contents = Contents {
            auths: wire.auths.or(older).unwrap_or_default(),
            helpers: wire.helpers.unwrap_or_default(),
            store: wire.store.filter(|store| !store.is_empty()),
        };
        Ok(Self { name: name.to_owned(), state: State::Read(contents) })
    }
}

impl Contents {
    /// Lists the registries that the document has something for.
    pub(super) fn known(&self) -> Vec<&str> {
        let filled = self.auths.iter().filter(|(_, entry)| entry.is_filled()).map(|(key, _)| key.as_str());
        let mut known: Vec<&str> = filled.chain(self.helpers.keys().map(String::as_str)).collect();
        known.sort_unstable();
        known.dedup();
        known
    }
}

impl Entry {
    /// Tells whether there is anything in it: with a store, Docker leaves empty entries behind.
    pub(super) fn is_filled(&self) -> bool {
        [&self.auth, &self.username, &self.identitytoken, &self.registrytoken]
            .into_iter()
            .any(|field| field.as_ref().is_some_and(|text| !text.is_empty()))
    }

    /// Returns the secret, or none where it cannot be decoded.
    pub(super) fn secret(&self) -> Option<Secret> {
        let filled = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.registrytoken) {
            return Some(Secret::RegistryToken(token));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Some(Secret::IdentityToken(token));
        }
        if let Some(user) = filled(&self.username) {
            return Some(Secret::Password { user, password: self.password.clone().unwrap_or_default() });
        }
        decode(self.auth.as_deref()?)
    }
}

/// Reads `base64(user:password)`, padded or not; Docker also leaves NUL bytes at the end.
pub(in super::super) fn decode(auth: &str) -> Option<Secret> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    let password = password.trim_end_matches('\0');
    Some(Secret::Password { user: user.to_owned(), password: password.to_owned() })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
