//! Whom one trusts in signatures by identity: authorities, logs, and which identity it must be.
//!
//! Source: <https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto>, in protobuf's JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::certificate::{Chain, LogKey};
use super::evidence::Evidence;
use super::key::PublicKey;
use super::simple::Refusal;
use crate::oci::from_json;

/// Authorities and logs that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Certificates of authorities.
    authorities: Vec<Authority>,
    /// Logs of certificates; none where that is not asked for.
    certificate_logs: Option<Vec<LogKey>>,
    /// Logs of signatures.
    logs: Vec<LogKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    certificates: Vec<Vec<u8>>,
    holds: (i64, i64),
}

/// An identity that must have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityTrust {
    /// Who vouches for it.
    pub root: Root,
    /// The mail address, or the URL of the workflow or service account; `*` stands for any text.
    pub subject: String,
    /// The issuer of its token; `*` stands for any text.
    pub issuer: String,
}

/// A document that is no list of whom one trusts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RootError(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    tlogs: Vec<Log>,
    #[serde(default)]
    ctlogs: Vec<Log>,
    #[serde(default)]
    certificate_authorities: Vec<CertificateAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    public_key: LogPublicKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogPublicKey {
    raw_bytes: String,
    #[serde(default)]
    valid_for: Period,
}

#[derive(Default, Deserialize)]
struct Period {
    start: Option<String>,
    end: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateAuthority {
    cert_chain: CertificateChain,
    #[serde(default)]
    valid_for: Period,
}

#[derive(Deserialize)]
struct CertificateChain {
    certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: String,
}

impl Period {
    fn seconds(&self) -> Result<(i64, i64), RootError> {
        let read = |text: &String| {
            let time: Result<jiff::Timestamp, _> = text.parse();
            time.map(jiff::Timestamp::as_second).map_err(|_| RootError(format!("`{text}` is no time")))
        };
        let start = self.start.as_ref().map(read).transpose()?;
        Ok((start.unwrap_or(i64::MIN), self.end.as_ref().map(read).transpose()?.unwrap_or(i64::MAX)))
    }
}

impl Root {
    /// Reads a `trusted_root.json`.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn parse(text: &[u8]) -> Result<Self, RootError> {
        let document: Document =
            from_json(text).map_err(|error| RootError(format!("it is no trusted root: {error}")))?;
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| RootError("a key is not in base64".to_owned()));
        let logs = |logs: Vec<Log>| {
            let mut keys = Vec::new();
            for log in logs {
                // A log whose key is of a kind that is not known vouches for nothing here.
                if let Ok(key) = PublicKey::from_der(&decoded(&log.public_key.raw_bytes)?) {
                    keys.push(LogKey { holds: log.public_key.valid_for.seconds()?, ..LogKey::new(key) });
                }
            }
            Ok::<_, RootError>(keys)
        };
        let mut authorities = Vec::new();
        for authority in document.certificate_authorities {
            let certificates = authority.cert_chain.certificates.iter().map(|one| decoded(&one.raw_bytes));
            let certificates = certificates.collect::<Result<_, _>>()?;
            authorities.push(Authority { certificates, holds: authority.valid_for.seconds()? });
        }
        Ok(Self { authorities, certificate_logs: Some(logs(document.ctlogs)?), logs: logs(document.tlogs)? })
    }

    /// Trusts the authority of these certificates, in PEM, and the logs of these keys. Logs of certificates are not asked
    /// for: this is what containers/image checks.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn of_authority(certificates: &[u8], logs: Vec<PublicKey>) -> Result<Self, RootError> {
        let chain = Chain::from_pem(certificates).map_err(|error| RootError(error.to_string()))?;
        let mut certificates = vec![chain.leaf().to_vec()];
        certificates.extend_from_slice(chain.above());
        let authorities = vec![Authority { certificates, holds: (i64::MIN, i64::MAX) }];
        Ok(Self { authorities, certificate_logs: None, logs: logs.into_iter().map(LogKey::new).collect() })
    }
}

impl IdentityTrust {
    /// Checks that an identity has signed a message; returns which, for messages.
    pub(super) fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
        evidence: &Evidence,
        content: &[u8],
    ) -> Result<String, Refusal> {
        let chain = evidence.chain.as_ref().ok_or(Refusal::NoCertificate)?;
        let entry = evidence.entry.as_ref().ok_or_else(|| Refusal::Log("no log has it".to_owned()))?;
        if !chain.key()?.has_signed(message, signature) {
            return Err(Refusal::OtherKey);
        }
        let time = entry.verify(&self.root.logs)?;
        entry.is_of(content, signature, chain.leaf())?;
        let issuer = self.issuer_of(chain, time)?;
        if let Some(logs) = &self.root.certificate_logs {
            chain.verify_logged(&issuer, logs)?;
        }
        let subject = chain.subject()?;
        if !matches(&self.subject, &subject.name) || !matches(&self.issuer, &subject.issuer) {
            return Err(Refusal::OtherIdentity { name: subject.name, issuer: subject.issuer });
        }
        Ok(format!("{} ({})", subject.name, subject.issuer))
    }

    fn issuer_of(&self, chain: &Chain, time: i64) -> Result<Vec<u8>, Refusal> {
        let mut why = Refusal::Certificate("there is no authority that is trusted".to_owned());
        for authority in &self.root.authorities {
            if !(authority.holds.0..=authority.holds.1).contains(&time) {
                continue;
            }
            match chain.verify(&authority.certificates, time) {
                Ok(issuer) => return Ok(issuer),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// Compares a text with a pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
