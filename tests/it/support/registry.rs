//! A real registry (Debian's `docker-registry`) on a free loopback port, with its data on tmpfs.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::fronts::Tokens;
use super::process::{self, SHORT, Service};
use super::scratch::Scratch;
use super::scripted::machine_address;

/// The user of a registry that asks who is there.
pub(crate) const USER: &str = "builder";
/// The user's password; it must never be seen in a log, a result file or an image.
pub(crate) const PASSWORD: &str = "hermit-crab-shell";
/// `builder:hermit-crab-shell` as bcrypt, the only form `docker-registry` reads.
const HTPASSWD: &str = "builder:$2y$05$abcdefghijklmnopqrstuuaR9DWq4xbmPjfT2PhjFJc878uOXbz8a\n";

/// How a registry differs from one that lets anyone in by plain HTTP.
#[derive(Clone, Copy, Debug, Default)]
struct Variant<'a> {
    /// It has a certificate of its own CA and wants a password.
    secured: bool,
    /// It wants a certificate of that CA, too.
    mutual: bool,
    /// It takes nothing.
    read_only: bool,
    /// It has a disk of this size only, in MiB.
    disk: Option<u32>,
    /// It wants a token of this server.
    tokens: Option<&'a Tokens>,
    /// Its certificate is its own authority.
    own_authority: bool,
    /// Where it listens, if not on loopback.
    address: Option<IpAddr>,
}

/// A running registry; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    /// `127.0.0.1:<port>`.
    pub(crate) address: String,
    secured: bool,
    scratch: Scratch,
    _service: Service,
}

impl Registry {
    /// Starts a registry that speaks plain HTTP and lets anyone in.
    pub(crate) fn plain() -> Self {
        Self::start(Variant::default())
    }

    /// Starts a registry behind TLS with a CA of its own, that wants [`USER`] and [`PASSWORD`].
    pub(crate) fn secured() -> Self {
        Self::start(Variant { secured: true, ..Variant::default() })
    }

    /// Starts a secured registry that also wants a certificate of its CA; [`Registry::file`] has one.
    pub(crate) fn mutual() -> Self {
        Self::start(Variant { secured: true, mutual: true, ..Variant::default() })
    }

    /// Starts a secured registry whose certificate is signed by itself, and says that it is an authority.
    pub(crate) fn its_own_authority() -> Self {
        Self::start(Variant { secured: true, own_authority: true, ..Variant::default() })
    }

    /// Starts a plain registry that is not on loopback; none where this machine has no other address.
    pub(crate) fn elsewhere() -> Option<Self> {
        let address = machine_address()?;
        Some(Self::start(Variant { address: Some(address), ..Variant::default() }))
    }

    /// Starts a plain registry that nobody can push to.
    pub(crate) fn read_only() -> Self {
        Self::start(Variant { read_only: true, ..Variant::default() })
    }

    /// Starts a plain registry whose disk has room for `disk` MiB.
    pub(crate) fn full(disk: u32) -> Self {
        Self::start(Variant { disk: Some(disk), ..Variant::default() })
    }

    /// Starts a plain registry that wants tokens of this server.
    pub(crate) fn with_tokens(tokens: &Tokens) -> Self {
        Self::start(Variant { tokens: Some(tokens), ..Variant::default() })
    }

    /// Reads one of its files, such as `server.crt`.
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.scratch.join(name)).expect("it is made")
    }

    /// Returns `address/repository`.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Returns the certificate of the CA that signed a secured registry.
    pub(crate) fn ca(&self) -> PathBuf {
        self.scratch.join("ca.crt")
    }

    /// Returns a `config.json` of Docker with the password in it.
    pub(crate) fn docker_config(&self, password: &str) -> String {
        let auth = base64(&format!("{USER}:{password}"));
        format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}", self.address)
    }

    /// Returns what skopeo and buildah need to reach it: `--creds` and no TLS check, as their own trust is not
    /// what is tested.
    pub(crate) fn skopeo_options(&self, side: &str) -> Vec<String> {
        let mut options = vec![format!("--{side}tls-verify=false")];
        if self.secured {
            options.push(format!("--{side}creds={USER}:{PASSWORD}"));
        }
        options
    }

    /// Returns the digest that the registry has under `name:tag`, asked by skopeo; `None` when there is none.
    pub(crate) fn digest(&self, reference: &str) -> Option<String> {
        let finished = process::run(
            Command::new("skopeo")
                .args(["inspect", "--no-tags", "--format={{.Digest}}"])
                .args(self.skopeo_options(""))
                .arg(format!("docker://{}/{reference}", self.address)),
            SHORT,
        );
        (finished.code == 0).then(|| finished.stdout.trim().to_owned())
    }

    /// Loses a blob: its bytes are gone, and manifests still name it.
    pub(crate) fn forget_blob(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let blobs = self.scratch.join("data/docker/registry/v2/blobs/sha256");
        fs::remove_dir_all(blobs.join(&hex[..2]).join(hex)).expect("the registry has it");
    }

    /// Changes one byte of a blob where the registry keeps it, so that its size stays right.
    pub(crate) fn damage_blob(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let path = self.scratch.join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data");
        let mut bytes = fs::read(&path).expect("the registry has it");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("its files are ours");
    }

    /// Returns everything that the registry keeps and that is text: manifests, configurations, statements, signatures.
    pub(crate) fn texts(&self) -> Vec<String> {
        let blobs = self.scratch.join("data/docker/registry/v2/blobs");
        let files = process::run(Command::new("find").arg(blobs).args(["-name", "data"]), SHORT).success();
        files.lines().filter_map(|path| fs::read_to_string(path).ok()).collect()
    }

    /// Copies an image of the registry into the OCI layout `directory` with skopeo.
    pub(crate) fn pull(&self, reference: &str, directory: &Path) {
        process::run(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--preserve-digests"])
                .args(self.skopeo_options("src-"))
                .arg(format!("docker://{}/{reference}", self.address))
                .arg(format!("oci:{}:image", directory.display())),
            SHORT,
        )
        .success();
    }

    fn start(variant: Variant<'_>) -> Self {
        let secured = variant.secured;
        let scratch = Scratch::new("registry");
        for _ in 0..5 {
            let address = free_address_at(variant.address.unwrap_or(Ipv4Addr::LOCALHOST.into()));
            let configuration = scratch.file("config.yml", configuration(&address, &scratch, variant));
            let log = scratch.join("log");
            let serve = format!("exec docker-registry serve {}", configuration.display());
            let service = match variant.disk {
                None => Service::start("sh", &["-c", &serve], &log),
                Some(size) => {
                    let data = scratch.join("data");
                    let script = format!("mount -t tmpfs -o size={size}m small {}; {serve}", data.display());
                    Service::start("unshare", &["--user", "--map-root-user", "--mount", "sh", "-ec", &script], &log)
                }
            };
            // Another process may have taken the port meanwhile: then this one never answers.
            let is_closed = secured || variant.tokens.is_some();
            if process::wait_until(Duration::from_secs(10), || answers(&address, is_closed)) {
                return Self { address, secured, scratch, _service: service };
            }
        }
        panic!("docker-registry does not start: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
    }
}

/// Returns the plain registry that all cases share; it holds the base images.
pub(crate) fn shared() -> &'static Registry {
    static SHARED: OnceLock<Registry> = OnceLock::new();
    SHARED.get_or_init(Registry::plain)
}

/// Returns an address of this machine's loopback at which nobody listens.
pub(crate) fn free_address() -> String {
    free_address_at(Ipv4Addr::LOCALHOST.into())
}

fn free_address_at(address: IpAddr) -> String {
    let listener = TcpListener::bind((address, 0)).expect("it has a free port");
    listener.local_addr().expect("it is bound").to_string()
}

/// Encodes text as base64 with padding.
pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn configuration(address: &str, scratch: &Scratch, variant: Variant<'_>) -> String {
    let data = scratch.directory("data");
    let mut text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}, maintenance: {{readonly: {{enabled: {}}}}}}}\n\
         http:\n  addr: {address}\n  secret: shared\n",
        data.display(),
        variant.read_only
    );
    if variant.secured {
        let htpasswd = scratch.file("htpasswd", HTPASSWD);
        if variant.own_authority {
            certify_itself(scratch);
        } else {
            certify(scratch);
        }
        let path = |name: &str| scratch.join(name).display().to_string();
        let authorities = if variant.mutual { format!(", clientcas: [{}]", path("ca.crt")) } else { String::new() };
        let (certificate, key) = (path("server.crt"), path("server.key"));
        writeln!(text, "  tls: {{certificate: {certificate}, key: {key}{authorities}}}").expect("memory");
        writeln!(text, "auth: {{htpasswd: {{realm: shore, path: {}}}}}", htpasswd.display()).expect("memory");
    }
    if let Some(tokens) = variant.tokens {
        let (realm, bundle) = (&tokens.realm, tokens.certificate());
        writeln!(
            text,
            "auth: {{token: {{realm: '{realm}', service: shore, issuer: tests, rootcertbundle: {}}}}}",
            bundle.display()
        )
        .expect("memory");
    }
    text
}

/// Makes a CA and a certificate for 127.0.0.1 signed by it.
pub(crate) fn certify(scratch: &Scratch) {
    certify_for(scratch, &["localhost"]);
}

/// The same for other names of hosts.
pub(crate) fn certify_for(scratch: &Scratch, hosts: &[&str]) {
    const SCRIPT: &str = "
        new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \"$@\"; }
        new -x509 -keyout ca.key -out ca.crt -subj '/CN=tests' -addext basicConstraints=critical,CA:TRUE
        new -keyout server.key -out server.csr -subj '/CN=127.0.0.1'
        printf 'subjectAltName=IP:127.0.0.1%s\\nbasicConstraints=CA:FALSE\\n' \"$1\" >server.ext
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt";
    let names: String = hosts.iter().map(|host| format!(",DNS:{host}")).collect();
    process::run(Command::new("sh").args(["-ec", SCRIPT, "sh", &names]).current_dir(scratch.path()), SHORT).success();
}

/// Makes a certificate for 127.0.0.1 that is its own authority: what `openssl req -x509` makes.
fn certify_itself(scratch: &Scratch) {
    const SCRIPT: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
         -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.crt; cp server.crt ca.crt";
    process::run(Command::new("sh").args(["-ec", SCRIPT]).current_dir(scratch.path()), SHORT).success();
}

fn answers(address: &str, is_closed: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    if is_closed {
        return true;
    }
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut status = [0; 12];
    stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut status).is_ok()
        && status.ends_with(b" 200")
}
