//! Certificates of keys that live for minutes: who they were given to, by whom, and that a log knows of them.
//!
//! Source: <https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>; RFC 6962 section 3.2 for the logs.

use der::asn1::Utf8StringRef;
use der::{AnyRef, Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagNumber};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::key::PublicKey;
use super::simple::Refusal;
use super::{KeyError, pem};

/// Extended key usage: code signing, 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
/// Fulcio's extensions: the issuer of the token, as text and as DER.
const ISSUER_V1: &str = "1.3.6.1.4.1.57264.1.1";
const ISSUER_V2: &str = "1.3.6.1.4.1.57264.1.8";
/// The list of timestamps of certificate logs.
const SCTS: &str = "1.3.6.1.4.1.11129.2.4.2";

/// A certificate, and those above it that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Vec<Vec<u8>>);

/// A key of a log, of certificates or of signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The digest of the key.
    pub(super) id: Vec<u8>,
    pub(super) key: PublicKey,
    /// From when to when it is the log's, in seconds since 1970.
    pub(super) holds: (i64, i64),
}

impl LogKey {
    /// Takes a key for that of a log, at any time.
    pub fn new(key: PublicKey) -> Self {
        Self { id: Sha256::digest(key.der()).to_vec(), key, holds: (i64::MIN, i64::MAX) }
    }

    pub(super) fn holds_at(&self, time: i64) -> bool {
        (self.holds.0..=self.holds.1).contains(&time)
    }
}

/// Whom a certificate was given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// A mail address, or the URL of a workflow or service account.
    pub name: String,
    /// Who has said so: the issuer of the token.
    pub issuer: String,
}

fn malformed(what: impl std::fmt::Display) -> Refusal {
    Refusal::Malformed(format!("its certificate: {what}"))
}

fn untrusted(what: impl std::fmt::Display) -> Refusal {
    Refusal::Certificate(what.to_string())
}

impl Chain {
    /// Takes certificates in DER, the lowest first.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] where there is none.
    pub fn new(certificates: Vec<Vec<u8>>) -> Result<Self, Refusal> {
        if certificates.is_empty() || certificates.len() > 10 {
            return Err(malformed(format!("there are {}", certificates.len())));
        }
        Ok(Self(certificates))
    }

    /// Reads certificates in PEM, the lowest first.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn from_pem(text: &[u8]) -> Result<Self, Refusal> {
        let blocks = pem::blocks(text).map_err(malformed)?;
        let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        Self::new(certificates.map(|block| block.bytes.to_vec()).collect())
    }

    /// Returns the lowest certificate, in DER.
    pub fn leaf(&self) -> &[u8] {
        self.0.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// Writes the lowest certificate as PEM.
    pub fn leaf_pem(&self) -> String {
        pem::write("CERTIFICATE", self.leaf())
    }

    /// Writes those above it as PEM.
    pub fn above_pem(&self) -> String {
        self.0.iter().skip(1).map(|certificate| pem::write("CERTIFICATE", certificate)).collect()
    }

    /// Returns the certificates above the lowest.
    pub(super) fn above(&self) -> &[Vec<u8>] {
        self.0.get(1..).unwrap_or_default()
    }

    /// Returns the key of the lowest certificate.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn key(&self) -> Result<PublicKey, Refusal> {
        let der = parsed(self.leaf())?.tbs_certificate().subject_public_key_info().to_der().map_err(malformed)?;
        PublicKey::from_der(&der).map_err(|error: KeyError| malformed(error))
    }

    /// Returns whom the lowest certificate was given to.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn subject(&self) -> Result<Subject, Refusal> {
        let certificate = parsed(self.leaf())?;
        let (mut name, mut issuer, mut old_issuer) = (None, None, None);
        for extension in certificate.tbs_certificate().extensions().into_iter().flatten() {
            let value = extension.extn_value.as_bytes();
            match extension.extn_id.to_string().as_str() {
                "2.5.29.17" => {
                    let names = SubjectAltName::from_der(value).map_err(malformed)?.0;
                    name = names.into_iter().find_map(|name| match name {
                        GeneralName::Rfc822Name(text) => Some(text.as_str().to_owned()),
                        GeneralName::UniformResourceIdentifier(text) => Some(text.as_str().to_owned()),
                        _ => None,
                    });
                }
                ISSUER_V2 => issuer = Utf8StringRef::from_der(value).ok().map(|text| text.as_str().to_owned()),
                ISSUER_V1 => old_issuer = String::from_utf8(value.to_vec()).ok(),
                _ => {}
            }
        }
        Ok(Subject {
            name: name.ok_or_else(|| malformed("it has neither a mail address nor a URL"))?,
            issuer: issuer.or(old_issuer).ok_or_else(|| malformed("it does not say who vouches for its subject"))?,
        })
    }

    /// Returns from when to when the lowest certificate is valid, in seconds since 1970.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn validity(&self) -> Result<(i64, i64), Refusal> {
        let certificate = parsed(self.leaf())?;
        let validity = certificate.tbs_certificate().validity();
        let seconds =
            |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        Ok((seconds(&validity.not_before), seconds(&validity.not_after)))
    }

    /// Checks that an authority has given the certificate for signing, and that it was valid at a time. Returns the
    /// authority's certificate right above it.
    ///
    /// # Errors
    /// [`Refusal::Certificate`].
    pub(super) fn verify(&self, authorities: &[Vec<u8>], time: i64) -> Result<Vec<u8>, Refusal> {
        let leaf = CertificateDer::from(self.leaf());
        let leaf = EndEntityCert::try_from(&leaf).map_err(malformed)?;
        let roots: Vec<CertificateDer<'_>> = authorities.iter().map(|der| CertificateDer::from(&**der)).collect();
        let anchors = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<TrustAnchor<'_>>, _>>();
        let anchors = anchors.map_err(|error| untrusted(format!("an authority's own cannot be used: {error}")))?;
        let above: Vec<CertificateDer<'_>> =
            self.above().iter().chain(authorities).map(|der| CertificateDer::from(&**der)).collect();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time).unwrap_or(0)));
        let usage = KeyUsage::required(CODE_SIGNING);
        let (from, until) = self.validity()?;
        if !(from..=until).contains(&time) {
            return Err(untrusted("it was not valid when the signature was made: it had expired, or not begun"));
        }
        let path = leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &above, at, usage, None, None);
        let path = path.map_err(|error| untrusted(format!("it is not from an authority that is trusted: {error}")))?;
        let issuer = path.intermediate_certificates().next().map(|certificate| certificate.der().to_vec());
        Ok(match issuer {
            Some(issuer) => issuer,
            // The authority itself.
            None => {
                let subject = path.anchor().subject.as_ref();
                let is_it = |der: &&Vec<u8>| {
                    let parsed =
                        anchor_from_trusted_cert(&CertificateDer::from(&***der)).map(|one| one.subject.to_vec());
                    parsed.is_ok_and(|one| one == subject)
                };
                authorities.iter().find(is_it).cloned().unwrap_or_default()
            }
        })
    }

    /// Checks that one of these logs knows the certificate, which `issuer` (in DER) has signed.
    ///
    /// # Errors
    /// [`Refusal::Certificate`].
    pub(super) fn verify_logged(&self, issuer: &[u8], logs: &[LogKey]) -> Result<(), Refusal> {
        let certificate = parsed(self.leaf())?;
        let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
        let list = extensions.into_iter().find(|extension| extension.extn_id.to_string() == SCTS);
        let list = list.ok_or_else(|| untrusted("it is in no log of certificates"))?;
        let list = AnyRef::from_der(list.extn_value.as_bytes()).map_err(malformed)?.value().to_vec();
        let issuer = parsed(issuer)?.tbs_certificate().subject_public_key_info().to_der().map_err(malformed)?;
        let issuer = Sha256::digest(issuer);
        let signed = without_timestamps(self.leaf()).map_err(malformed)?;
        let timestamps = timestamps(&list).ok_or_else(|| malformed("its list of timestamps"))?;
        let is_known = |timestamp: &Timestamp| {
            let message = timestamp.message(&issuer, &signed);
            let log = logs.iter().find(|log| log.id == timestamp.log && log.holds_at(timestamp.seconds()));
            message.is_some_and(|message| log.is_some_and(|log| log.key.has_signed(&message, &timestamp.signature)))
        };
        match timestamps.iter().any(is_known) {
            true => Ok(()),
            false => Err(untrusted("no log of certificates that is trusted knows it")),
        }
    }
}

fn parsed(der: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::from_der(der).map_err(malformed)
}

/// A log's word that it knows a certificate. Source: RFC 6962 section 3.2.
struct Timestamp {
    log: Vec<u8>,
    /// Milliseconds since 1970, as the log writes them.
    time: [u8; 8],
    extensions: Vec<u8>,
    signature: Vec<u8>,
}

impl Timestamp {
    fn seconds(&self) -> i64 {
        i64::try_from(u64::from_be_bytes(self.time) / 1000).unwrap_or(i64::MAX)
    }

    /// Returns what the log has signed: version 1, a timestamp, of a certificate before it had timestamps.
    fn message(&self, issuer: &[u8], signed: &[u8]) -> Option<Vec<u8>> {
        let mut message = vec![0, 0];
        message.extend_from_slice(&self.time);
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(issuer);
        message.extend_from_slice(u32::try_from(signed.len()).ok()?.to_be_bytes().get(1..)?);
        message.extend_from_slice(signed);
        message.extend_from_slice(&u16::try_from(self.extensions.len()).ok()?.to_be_bytes());
        message.extend_from_slice(&self.extensions);
        Some(message)
    }
}

fn timestamps(list: &[u8]) -> Option<Vec<Timestamp>> {
    let (all, rest) = framed(list)?;
    let (mut all, mut found) = (rest.is_empty().then_some(all)?, Vec::new());
    while !all.is_empty() {
        let (one, rest) = framed(all)?;
        all = rest;
        let (version, one) = one.split_first()?;
        let (log, one) = one.split_at_checked(32)?;
        let (time, one) = one.split_at_checked(8)?;
        let (extensions, one) = framed(one)?;
        // The algorithm's name; the log's key says it, too.
        let (signature, _) = framed(one.get(2..)?)?;
        if *version == 0 {
            let (log, time) = (log.to_vec(), time.try_into().ok()?);
            found.push(Timestamp { log, time, extensions: extensions.to_vec(), signature: signature.to_vec() });
        }
    }
    Some(found)
}

/// Splits off what has its length in two bytes before it.
fn framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(2)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))
}

/// Returns what a certificate's issuer signs, without the extension that has the timestamps of logs.
fn without_timestamps(certificate: &[u8]) -> der::Result<Vec<u8>> {
    let extensions_tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
    let name = x509_cert::der::asn1::ObjectIdentifier::new_unwrap(SCTS).to_der()?;
    let whole = AnyRef::from_der(certificate)?;
    let mut reader = SliceReader::new(whole.value())?;
    let signed = AnyRef::from_der(reader.tlv_bytes()?)?;
    let mut content = Vec::new();
    for part in parts(signed.value())? {
        let any = AnyRef::from_der(part)?;
        if der::Tagged::tag(&any) != extensions_tag {
            content.extend_from_slice(part);
            continue;
        }
        let list = AnyRef::from_der(any.value())?;
        let mut kept = Vec::new();
        for extension in parts(list.value())? {
            if !AnyRef::from_der(extension)?.value().starts_with(&name) {
                kept.extend_from_slice(extension);
            }
        }
        let list = AnyRef::new(Tag::Sequence, &kept)?.to_der()?;
        content.extend(AnyRef::new(extensions_tag, &list)?.to_der()?);
    }
    AnyRef::new(Tag::Sequence, &content)?.to_der()
}

/// Splits content into its parts.
fn parts(content: &[u8]) -> der::Result<Vec<&[u8]>> {
    let mut reader = SliceReader::new(content)?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(reader.tlv_bytes()?);
    }
    Ok(parts)
}
