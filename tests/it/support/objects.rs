//! Object stores: S3 (moto; s3s-fs), Google Cloud Storage (fake-gcs-server) and Azure Blob Storage (Azurite), each the
//! emulator that the field uses, installed by `tests/run.sh` below `target/test-services`.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{self, SHORT, Service, wait_until};
use super::registry::free_address;
use super::scratch::Scratch;

/// Azurite's only account and its key, which are public.
pub(crate) const AZURE_ACCOUNT: &str = "devstoreaccount1";
pub(crate) const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running store; it ends when dropped.
#[derive(Debug)]
pub(crate) struct ObjectStore {
    /// `http://127.0.0.1:<port>`.
    pub(crate) url: String,
    scratch: Scratch,
    _service: Service,
}

impl ObjectStore {
    /// Starts moto, which takes any key: its check of keys knows signed headers only, not signed URLs.
    pub(crate) fn s3() -> Option<Self> {
        let program = installed("python/bin/moto_server")?;
        Self::start(&program, |_, port| ["-H", "127.0.0.1", "-p", port].map(str::to_owned).to_vec())
    }

    /// Starts moto with a KMS that signs digests (`moto_kms.py`). Once `reset-auth` is asked for, it checks signatures of
    /// requests, and the policies of users.
    pub(crate) fn kms() -> Option<Self> {
        let program = installed("python/bin/python")?;
        Self::start(&program, |scratch, port| {
            let server = scratch.file("moto_kms.py", include_str!("moto_kms.py")).display().to_string();
            [&server, "-H", "127.0.0.1", "-p", port].map(str::to_owned).to_vec()
        })
    }

    /// Starts s3s-fs, which checks signatures, for the key `AK` with the secret `SK`. Buckets are the directories of
    /// [`ObjectStore::buckets`], objects their files.
    pub(crate) fn s3_strict() -> Option<Self> {
        let program = installed("s3s/bin/s3s-fs")?;
        Self::start(&program, |scratch, port| {
            let root = scratch.directory("buckets").display().to_string();
            let words = ["--host", "127.0.0.1", "--port", port, "--access-key", "AK", "--secret-key", "SK", &root];
            words.map(str::to_owned).to_vec()
        })
    }

    /// Returns the directory of what s3s-fs serves.
    pub(crate) fn buckets(&self) -> PathBuf {
        self.scratch.join("buckets")
    }

    /// Starts fake-gcs-server.
    pub(crate) fn gcs() -> Option<Self> {
        let program = installed("fake-gcs-server")?;
        Self::start(&program, |_, port| {
            let words = ["-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory"];
            words.map(str::to_owned).to_vec()
        })
    }

    /// Starts Azurite, which checks signatures.
    pub(crate) fn azure() -> Option<Self> {
        let program = installed("azurite/node_modules/.bin/azurite-blob")?;
        Self::start(&program, |_, port| {
            let words = ["--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", port];
            let more = ["--skipApiVersionCheck", "--disableTelemetry"];
            words.into_iter().chain(more).map(str::to_owned).collect()
        })
    }

    fn start(program: &Path, arguments: impl Fn(&Scratch, &str) -> Vec<String>) -> Option<Self> {
        let scratch = Scratch::new("objects");
        let address = free_address();
        let port = address.rsplit_once(':').expect("it has a port").1;
        let arguments = arguments(&scratch, port);
        let service = Service::start(&program.display().to_string(), &arguments, &scratch.join("log"));
        let url = format!("http://{address}");
        let ready = wait_until(Duration::from_secs(20), || TcpStream::connect(&address).is_ok());
        assert!(ready, "{} does not start", program.display());
        Some(Self { url, scratch, _service: service })
    }

    /// Runs a Python program of the installed environment, with the store's URL as its first argument.
    pub(crate) fn python(&self, program: &str, arguments: &[&str]) -> String {
        let python = installed("python/bin/python").expect("it is there with the store");
        let file = self.scratch.file("program.py", program);
        let mut command = Command::new(python);
        command.arg(file).arg(&self.url).args(arguments);
        process::run(&mut command, SHORT).success().trim().to_owned()
    }
}

/// Returns a program below `target/test-services`, or none.
fn installed(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-services").join(name);
    path.is_file().then_some(path)
}
