//! What can go wrong between us and a registry, with everything a user needs to mend it and no secret.

use std::fmt;
use std::io;

use crate::causes;
use crate::http::{self, Meaning, StatusCode, TlsProblem};
use crate::oci::{Digest, ManifestError};

/// How messages call the reading of a blob.
pub(super) const PULL_BLOB: &str = "pull the blob";
/// How much of a registry's own error text is shown, in characters.
const LONGEST_DETAIL: usize = 600;

/// What was being done, to what: `pull the manifest of`, `docker.io/library/busybox:1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The operation, as it follows "cannot".
    pub operation: &'static str,
    /// The reference, and the digest where that is not in it.
    pub subject: String,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.operation, self.subject)
    }
}

/// An operation on a registry that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There was no answer.
    #[error("{at}{}", hint(at, source))]
    Transport {
        /// What was being done.
        at: At,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The answer was none that helps.
    #[error("{at}: {url} answered {status}{detail}")]
    Status {
        /// What was being done.
        at: At,
        /// The redacted URL.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// The registry's own words, after `: `, or nothing.
        detail: String,
        /// The digests that the registry names as what is wrong.
        named: Vec<Digest>,
    },
    /// The registry does not know a blob of the manifest that it got, though it has been given or said that it had it.
    #[error("{at}: {url} answered {status}{detail}; another push of the same blobs may be under way")]
    BlobUnknown {
        /// What was being done.
        at: At,
        /// The redacted URL.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// The registry's own words, after `: `, or nothing.
        detail: String,
        /// Which blobs; none where the registry does not say.
        unknown: Vec<Digest>,
    },
    /// The registry does not let us.
    #[error("{at}: {0}", .denied)]
    Denied {
        /// What was being done.
        at: At,
        /// By whom, and as whom.
        denied: Box<Denied>,
    },
    /// The content is not what its digest says.
    #[error("{at}: the content has digest {actual} instead of {expected}")]
    Digest {
        /// What was being done.
        at: At,
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: String,
    },
    /// The content has another size than its descriptor says.
    #[error("{at}: the content ended after {actual} bytes instead of {expected}")]
    Size {
        /// What was being done.
        at: At,
        /// What it should be, in bytes.
        expected: u64,
        /// What came, in bytes.
        actual: u64,
    },
    /// The manifest cannot be used.
    #[error("{at}")]
    Manifest {
        /// What was being done.
        at: At,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The image configuration cannot be used.
    #[error("{at}: the image configuration is malformed")]
    Config {
        /// What was being done.
        at: At,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The index holds no image for the platform.
    #[error("{at}: there is no image for {wanted}, only for {offered}")]
    Platform {
        /// What was being done.
        at: At,
        /// The platform that was asked for.
        wanted: String,
        /// Those that there are, comma-separated.
        offered: String,
    },
    /// None of the places that may have it gave it.
    #[error("{last}; mirrors before it failed: {}", tried.join("; "))]
    Places {
        /// What each mirror before the last place said.
        tried: Vec<String>,
        /// What the last place said.
        last: Box<Error>,
    },
    /// The settings forbid the registry.
    #[error("{at}: the settings of registries (--registries-conf) block {scope}")]
    Blocked {
        /// What was being done.
        at: At,
        /// What is blocked.
        scope: String,
    },
    /// The settings leave no place for it.
    #[error("cannot pull {reference}: {reason}")]
    Nowhere {
        /// What was asked for.
        reference: String,
        /// Which settings, and how.
        reason: &'static str,
    },
    /// The registry broke the protocol.
    #[error("{at}: {reason}")]
    Protocol {
        /// What was being done.
        at: At,
        /// How.
        reason: String,
    },
    /// What was to be pushed cannot be read.
    #[error("{at}: cannot read the content")]
    Read {
        /// What was being done.
        at: At,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A refusal: which registry, which right, as which user, known from where; never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The registry's name.
    pub registry: String,
    /// The right that was asked for, `repository:team/app:pull,push`.
    pub scope: String,
    /// The user's name, where there is one.
    pub user: Option<String>,
    /// Where the credential is from, or why there is none.
    pub source: String,
    /// The HTTP status.
    pub status: StatusCode,
    /// The registry's own words, after `: `, or nothing.
    pub detail: String,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, scope, user, source, status, detail } = self;
        write!(f, "registry {registry} refused {scope} with {status}{detail}; ")?;
        match user {
            Some(user) => write!(f, "asked as user `{user}`, {source}"),
            None => f.write_str(source),
        }
    }
}

/// What a caller may do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try later: the registry is busy or not reachable, after all retries.
    Transient,
    /// Give other credentials, or more rights to these.
    Denied,
    /// Say how the registry is spoken to: certificates, plain HTTP, proxies.
    Settings,
    /// There is no such host, or no way to it that we go: another try ends the same.
    Unreachable,
    /// There is nothing of that name.
    NotFound,
    /// What came is not what its digest and size say.
    Damaged,
    /// The content is wrong: malformed, or nothing that we understand.
    Invalid,
    /// Look at the disk here.
    Local,
    /// Anything else.
    Other,
}

impl Error {
    /// Sorts the error by what can be done about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport { source: http::Error::Offline { .. }, .. } => ErrorKind::NotFound,
            Self::Transport { source, .. } => match source.meaning() {
                Meaning::Transient => ErrorKind::Transient,
                Meaning::Settings => ErrorKind::Settings,
                Meaning::Denied => ErrorKind::Denied,
                Meaning::Wrong => ErrorKind::Unreachable,
            },
            Self::Read { .. } => ErrorKind::Local,
            Self::BlobUnknown { .. } => ErrorKind::Transient,
            Self::Status { status, .. } if http::is_transient_status(*status) => ErrorKind::Transient,
            Self::Status { status, .. } => match *status {
                StatusCode::NOT_FOUND => ErrorKind::NotFound,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
                StatusCode::BAD_REQUEST => ErrorKind::Invalid,
                _ => ErrorKind::Other,
            },
            Self::Places { last, .. } => last.kind(),
            Self::Denied { .. } | Self::Blocked { .. } => ErrorKind::Denied,
            Self::Platform { .. } | Self::Nowhere { .. } => ErrorKind::NotFound,
            Self::Digest { .. } | Self::Size { .. } => ErrorKind::Damaged,
            Self::Manifest { .. } | Self::Config { .. } | Self::Protocol { .. } => ErrorKind::Invalid,
        }
    }

    /// Tells whether it was the reading of a blob that failed, and not what was done with it.
    pub fn is_reading_blob(&self) -> bool {
        match self {
            Self::Transport { at, .. }
            | Self::Status { at, .. }
            | Self::Denied { at, .. }
            | Self::Digest { at, .. }
            | Self::Size { at, .. } => at.operation == PULL_BLOB,
            Self::Places { last, .. } => last.is_reading_blob(),
            Self::Manifest { .. }
            | Self::BlobUnknown { .. }
            | Self::Config { .. }
            | Self::Platform { .. }
            | Self::Protocol { .. }
            | Self::Blocked { .. }
            | Self::Nowhere { .. }
            | Self::Read { .. } => false,
        }
    }

    /// Tells whether the registry does not let anybody move a tag.
    ///
    /// By its words, since the statuses differ: ECR and Artifact Registry answer 400, Harbor 412, others 403 or 409.
    pub fn is_immutable_tag(&self) -> bool {
        let detail = match self {
            Self::Status { detail, status, .. } if matches!(status.as_u16(), 400 | 405 | 409 | 412) => detail,
            Self::Denied { denied, .. } => &denied.detail,
            _ => return false,
        };
        let detail = detail.to_lowercase();
        detail.contains("immutab") || detail.contains("tag_immutable")
    }

    /// Tells whether a registry does not take a manifest because of what kind of manifest it is: with a subject, with a
    /// type of its own, with a configuration that is none. By its status, which is all that they have in common.
    pub fn is_refused_artifact(&self) -> bool {
        matches!(self, Self::Status { status, .. } if matches!(status.as_u16(), 400 | 404 | 405 | 415 | 422 | 501))
    }

    /// Makes of the answer to a manifest what it says: that the registry does not know a blob.
    ///
    /// Source: OCI distribution-spec, "Error Codes": MANIFEST_BLOB_UNKNOWN, and by some BLOB_UNKNOWN.
    pub(super) fn of_manifest(self) -> Self {
        match self {
            Self::Status { at, url, status, detail, named }
                if matches!(status.as_u16(), 400 | 404) && detail.to_lowercase().contains("blob_unknown") =>
            {
                Self::BlobUnknown { at, url, status, detail, unknown: named }
            }
            other => other,
        }
    }

    /// Writes the error in one line for a message that something is tried again.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::Transport { source, .. } => source.in_short(),
            other => causes::in_one_line(other),
        }
    }

    /// Tells whether it was the other side's certificate.
    pub(super) fn is_untrusted(&self) -> bool {
        matches!(self, Self::Transport { source, .. } if matches!(source.tls_problem(), Some(TlsProblem::Untrusted | TlsProblem::OtherName)))
    }
}

/// Names the flag that helps against a TLS failure.
fn hint(at: &At, source: &http::Error) -> String {
    let registry = at.subject.split('/').next().unwrap_or_default();
    match source.tls_problem() {
        Some(TlsProblem::Untrusted) => format!(
            ": its certificate is not trusted; give its authority with --registry-certificate {registry}=FILE, \
             or do without with --skip-tls-verify-registry {registry}"
        ),
        Some(TlsProblem::OtherName) => format!(
            ": its certificate is for another name; use that name, let it have one for this name, or do without with \
             --skip-tls-verify-registry {registry}"
        ),
        Some(TlsProblem::NotTls) => {
            format!(": it does not speak TLS; if it is plain http, say so with --insecure-registry {registry}")
        }
        Some(TlsProblem::WantsOurs) => {
            format!(": it wants a certificate of ours; give it with --registry-client-cert {registry}=CERT,KEY")
        }
        None => String::new(),
    }
}

/// Reads a registry's error document into `: CODE: message; …`, or takes a short plain text as it is.
///
/// Source: OCI distribution-spec, "Error Codes".
pub(super) fn detail(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        errors: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Document>(body) {
        Ok(document) => {
            let texts = document.errors.iter().map(|item| match (item.code.as_str(), item.message.as_str()) {
                ("", message) => message.to_owned(),
                (code, "") => code.to_owned(),
                (code, message) => format!("{code}: {message}"),
            });
            texts.collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let text = text.trim();
    if text.is_empty() || text == "{}" || text.starts_with('<') {
        return String::new();
    }
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_DETAIL).collect();
    format!(": {shown}")
}

/// Reads the digests that a registry's error document names in its details, as text or under `digest`.
pub(super) fn named(body: &[u8]) -> Vec<Digest> {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) else { return Vec::new() };
    let items = document["errors"].as_array().cloned().unwrap_or_default();
    let texts = items.iter().map(|item| &item["detail"]).filter_map(|detail| {
        let text = [detail, &detail["digest"], &detail["Digest"]].into_iter().find_map(|value| value.as_str());
        text?.parse().ok()
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_words_are_shown_in_short() {
        for (body, shown) in [
            (r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"},{"message":"y"}]}"#, ": DENIED: no; X; y"),
            ("too\nmany", ": too many"),
            ("<html>", ""),
            ("", ""),
            (r#"{"errors":[]}"#, ""),
        ] {
            assert_eq!(detail(body.as_bytes()), shown, "{body}");
        }
        assert!(detail(&vec![b'x'; 10_000]).len() < 700);
    }
}
