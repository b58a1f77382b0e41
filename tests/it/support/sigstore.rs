//! Sigstore's services: an authority for tokens and its logs (`sigstore.py`), and sigstore's own verifier.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Service, wait_until};
use super::registry::{base64, free_address};
use super::scratch::Scratch;

/// Who has vouched for the identity of the token.
pub(crate) const ISSUER: &str = "https://issuer.example.com";

/// The running services; they end when dropped.
#[derive(Debug)]
pub(crate) struct Sigstore {
    /// Where they are.
    pub(crate) url: String,
    scratch: Scratch,
    _service: Service,
}

impl Sigstore {
    /// Starts the services, which take a token of this identity: the subject, or a mail address.
    pub(crate) fn start(identity: &str) -> Self {
        let scratch = Scratch::new("sigstore");
        let claim = if identity.contains("://") { "sub" } else { "email" };
        let claims = json!({"iss": ISSUER, "sub": "someone", "aud": "sigstore", claim: identity}).to_string();
        let encoded = base64(&claims).replace('+', "-").replace('/', "_").replace('=', "");
        scratch.file("token", format!("eyJhbGciOiJub25lIn0.{encoded}.c2lnbmF0dXJl"));
        let address = free_address();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/sigstore.py");
        let port = address.rsplit(':').next().expect("a port").to_owned();
        let arguments = [script.display().to_string(), port, scratch.path().display().to_string()];
        let service = Service::start("/usr/bin/python3", &arguments, &scratch.join("log"));
        let answers = wait_until(Duration::from_secs(20), || TcpStream::connect(&address).is_ok());
        assert!(answers, "sigstore.py: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
        Self { url: format!("http://{address}"), scratch, _service: service }
    }

    /// Returns the path of one of its files: `token`, `trusted_root.json`, `ca.pem`, `rekor.pub`.
    pub(crate) fn file(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    /// Returns the token.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.scratch.join("token")).expect("it is made")
    }

    /// Lets it do something wrong while the work goes on.
    pub(crate) fn doing<T>(&self, wrong: &str, work: impl FnOnce() -> T) -> T {
        let mark = self.scratch.file(wrong, "");
        let result = work();
        fs::remove_file(mark).expect("it was made");
        result
    }

    /// Returns the flags that sign with it.
    pub(crate) fn flags(&self) -> [String; 4] {
        let url = &self.url;
        [
            "--sign-keyless".to_owned(),
            format!("--identity-token-file={}", self.file("token")),
            format!("--fulcio-url={url}"),
            format!("--rekor-url={url}"),
        ]
    }

    /// Writes what sigstore's own verifier needs to know of the services.
    pub(crate) fn configuration(&self) -> PathBuf {
        let root: Value =
            serde_json::from_str(&fs::read_to_string(self.file("trusted_root.json")).expect("made")).expect("JSON");
        let since = json!({"start": "2024-01-01T00:00:00Z"});
        let service = json!([{"url": self.url, "majorApiVersion": 1, "validFor": since, "operator": "test"}]);
        let configuration = json!({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": root,
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": service, "oidcUrls": service, "rekorTlogUrls": service, "tsaUrls": [],
                "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"},
            },
        });
        self.scratch.file("configuration.json", configuration.to_string())
    }
}

/// Returns sigstore's own verifier, which `tests/run.sh` installs below `target/test-services`, or none.
pub(crate) fn verifier() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-services/sigstore/bin/sigstore");
    path.is_file().then_some(path)
}
