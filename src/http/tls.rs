//! How a server's certificate is judged, and which one we show: configurations of TLS from what was read at the start.
//!
//! *Invariant: a certificate is taken because an authority that is trusted signed it, or because it is itself one of those
//! that are trusted; either way it is in date and for the name that was asked for, unless nothing is to be verified.*

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// Who is trusted.
#[derive(Clone)]
pub(super) struct Trusted {
    store: RootCertStore,
    /// The same, as bytes.
    exactly: HashSet<CertificateDer<'static>>,
}

/// The certificate that we show, with those between it and its authority, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Trusted {
    /// Nobody.
    pub(super) fn nobody() -> Self {
        Self { store: RootCertStore::empty(), exactly: HashSet::new() }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Adds certificates; tells whether all of them can be used.
    pub(super) fn add(&mut self, certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> bool {
        let mut all = true;
        for certificate in certificates {
            match self.store.add(certificate.clone()) {
                Ok(()) => {
                    self.exactly.insert(certificate);
                }
                Err(_) => all = false,
            }
        }
        all
    }
}

/// Makes the configuration of a client; `trusted` is none where any certificate is accepted.
///
/// # Errors
/// When the key is not that of the certificate.
pub(super) fn client(
    trusted: Option<Trusted>,
    identity: Option<&Identity>,
    wanted: &Wanted,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(trusted, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
        None => builder.with_client_cert_resolver(Arc::new(wanted.clone())),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// How often a server wanted to see a certificate, and we had none: one that does not go on without it may close the
/// connection before its reason arrives.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted(Arc<AtomicU64>);

impl Wanted {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Wanted {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Judges servers.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// Whoever answers is taken for the one who was meant.
    Anybody,
    /// None is trusted where no authority is.
    Trusted { chains: Option<Arc<WebPkiServerVerifier>>, exactly: HashSet<CertificateDer<'static>> },
}

fn verifier(trusted: Option<Trusted>, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    let provider = Arc::clone(provider);
    let Some(Trusted { store, exactly }) = trusted else { return Ok(Verifier { provider, rule: Rule::Anybody }) };
    let chains = if store.is_empty() {
        None
    } else {
        let made = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build();
        Some(made.map_err(|error| TlsError::General(error.to_string()))?)
    };
    Ok(Verifier { provider, rule: Rule::Trusted { chains, exactly } })
}

/// Why no server is trusted, whoever vouches for it.
#[derive(thiserror::Error)]
#[error(
    "no certificate of any authority could be read where SSL_CERT_FILE and SSL_CERT_DIR say; this user may lack the right"
)]
struct NobodyTrusted;

impl fmt::Debug for NobodyTrusted {
    /// The TLS library shows an error of ours in this form alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let (chains, exactly) = match &self.rule {
            Rule::Anybody => return Ok(ServerCertVerified::assertion()),
            Rule::Trusted { chains, exactly } => (chains, exactly),
        };
        let Some(chains) = chains else {
            return Err(CertificateError::Other(OtherError(Arc::new(NobodyTrusted))).into());
        };
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // It is in date: that is looked at before.
            Err(error) if is_authority(&error) && exactly.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        match self.rule {
            // Certificates of a form that nobody could verify are among those that are accepted then.
            Rule::Anybody => Ok(HandshakeSignatureValid::assertion()),
            Rule::Trusted { .. } => {
                let algorithms = &self.provider.signature_verification_algorithms;
                verify_tls12_signature(message, certificate, signature, algorithms)
            }
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        match self.rule {
            Rule::Anybody => Ok(HandshakeSignatureValid::assertion()),
            Rule::Trusted { .. } => {
                let algorithms = &self.provider.signature_verification_algorithms;
                verify_tls13_signature(message, certificate, signature, algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Tells whether a server showed the certificate of an authority: OpenSSL makes such ones when it signs for itself.
fn is_authority(error: &TlsError) -> bool {
    let TlsError::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    other.0.to_string() == "CaUsedAsEndEntity"
}
