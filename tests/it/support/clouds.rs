//! The hosts of the clouds that give credentials, and stores that want them: a proxy that is all of them (`clouds.py`).

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::executor::Executor;
use super::process::{self, SHORT, Service, wait_until};
use super::registry::{certify_for, free_address};
use super::scratch::Scratch;

/// What a pod has to show to get a token.
pub(crate) const POD: &str = "token-of-the-pod";

/// Gives the executor a file for Google.
pub(crate) fn google_file(executor: &mut Executor, content: &Value) {
    let path = executor.credential("google.json", content.to_string());
    executor.env("GOOGLE_APPLICATION_CREDENTIALS", &path);
}

/// Gives the executor a user's file, for Google.
pub(crate) fn google_user(executor: &mut Executor) {
    let user = json!({"type": "authorized_user", "client_id": "1", "client_secret": "2", "refresh_token": POD});
    google_file(executor, &user);
}

/// Gives the executor the token of its pod, for Google.
pub(crate) fn google_workload(executor: &mut Executor) {
    let token = executor.credential("token", POD);
    let content = json!({
        "type": "external_account", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"file": token},
    });
    google_file(executor, &content);
}

/// The hosts that certificates are for.
const HOSTS: [&str; 12] = [
    "*.googleapis.com",
    "*.us-east-1.amazonaws.com",
    "login.microsoftonline.com",
    "*.blob.core.windows.net",
    "*.ecr.us-east-1.amazonaws.com",
    "*.ecr-public.us-east-1.amazonaws.com",
    "*.dkr.ecr.us-east-1.amazonaws.com",
    "public.ecr.aws",
    "*.azurecr.io",
    "*.pkg.dev",
    "*.vault.azure.net",
    "localhost",
];

/// The running proxy; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Clouds {
    /// `127.0.0.1:<port>`.
    pub(crate) address: String,
    /// Holds the objects, in `root`, and the keys.
    pub(crate) scratch: Scratch,
    _service: Service,
}

impl Clouds {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new("clouds");
        let root = scratch.directory("root");
        certify_for(&scratch, &HOSTS);
        let keys = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out google.key
            openssl pkey -in google.key -pubout -out google.pub";
        process::run(Command::new("sh").args(["-ec", keys]).current_dir(scratch.path()), SHORT).success();
        scratch.file("kms.py", include_str!("kms.py"));
        let program = scratch.file("clouds.py", include_str!("clouds.py"));
        let address = free_address();
        let port = address.rsplit_once(':').expect("it has a port").1.to_owned();
        let at = |name: &str| scratch.join(name).display().to_string();
        let program = program.display().to_string();
        let arguments =
            [program, port, root.display().to_string(), at("server.crt"), at("server.key"), at("google.pub")];
        let service = Service::start("/usr/bin/python3", &arguments, &scratch.join("log"));
        let ready = wait_until(Duration::from_secs(10), || TcpStream::connect(&address).is_ok());
        assert!(ready, "clouds.py does not start: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
        Self { address, scratch, _service: service }
    }

    /// Returns `METHOD host path` of each request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}
