//! Trusted certificates, read from files into memory.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::tls::{self, Identity, Trusted, Wanted};
use super::{Error, Roots};
use crate::place;

/// A file of certificates is smaller, in bytes: bundles of systems have some hundred KiB.
const LARGEST_FILE: u64 = 16 << 20;

/// Where distributions keep their bundle, for when nothing names one: Debian and Alpine, Fedora, its older
/// kin, openSUSE, and kaniko's own image.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/kaniko/ssl/certs/ca-certificates.crt",
];

/// The files of the roots that the platform trusts, read but not yet parsed: a build may never need them.
pub(super) struct Platform {
    texts: Vec<Vec<u8>>,
}

impl Platform {
    /// Reads the files.
    ///
    /// What cannot be read or parsed is left out, as OpenSSL does: one bad file in a directory of a hundred must
    /// not end every build, and a root that is missing shows in the exchange that needs it.
    pub(super) fn read(roots: &Roots) -> Self {
        let mut files: Vec<PathBuf> = roots.file.iter().cloned().collect();
        for directory in &roots.directories {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            files.append(&mut paths);
        }
        if files.is_empty() {
            files.extend(BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()));
        }
        // A directory holds each certificate three times: as a file, under its hash, and in the bundle.
        let mut seen = HashSet::new();
        let mut is_new = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok();
            metadata.is_some_and(|metadata| metadata.is_file() && seen.insert((metadata.dev(), metadata.ino())))
        };
        files.retain(&mut is_new);
        Self { texts: files.iter().filter_map(|path| read(path).ok()).collect() }
    }

    /// Parses what was read; what cannot be used is left out.
    pub(super) fn trusted(&self) -> Trusted {
        let mut trusted = Trusted::nobody();
        let mut ders: Vec<CertificateDer<'static>> = self.texts.iter().flat_map(|text| parse(text)).collect();
        ders.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        ders.dedup();
        trusted.add(ders);
        trusted
    }
}

/// Reads the certificates of a file that the user named; each must be good.
pub(super) fn named(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let error = |reason: String| Error::Certificate { path: path.to_owned(), reason };
    let certificates = parse(&read(path).map_err(|e| error(e.to_string()))?);
    if certificates.is_empty() {
        return Err(error("there is no PEM certificate in it".to_owned()));
    }
    if !Trusted::nobody().add(certificates.iter().cloned()) {
        return Err(error("a certificate in it is malformed".to_owned()));
    }
    Ok(certificates)
}

/// Reads the certificate that we show, and its key; one file may hold both.
pub(super) fn identity(certificate: &Path, key: &Path) -> Result<Identity, Error> {
    let error = |path: &Path, reason: String| Error::Certificate { path: path.to_owned(), reason };
    let read = |path: &Path| read(path).map_err(|e| error(path, e.to_string()));
    let (text, key_text) = (read(certificate)?, read(key)?);
    let chain = parse(&text);
    if chain.is_empty() {
        return Err(error(certificate, "there is no PEM certificate in it".to_owned()));
    }
    // The library's own message is left out: nothing of a key may be in a message.
    let private = PrivateKeyDer::from_pem_slice(&key_text);
    let identity = Identity { chain, key: private.map_err(|_| error(key, "there is no PEM key in it".to_owned()))? };
    let unfit = || error(key, format!("the key is not that of the certificate in {}", certificate.display()));
    tls::client(None, Some(&identity), &Wanted::default()).map_err(|_| unfit())?;
    Ok(identity)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    place::read_anywhere(path, LARGEST_FILE)
}

fn parse(text: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "hello").expect("write");
        assert!(named(&path).expect_err("no certificate").to_string().contains("ca.pem"));
        assert!(named(&directory.path().join("none")).is_err());
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("write");
        assert!(named(&path).expect_err("malformed").to_string().contains("malformed"));
        let roots = Platform::read(&Roots { file: Some(path), directories: Vec::new() });
        assert!(roots.trusted().is_empty());
    }
}
