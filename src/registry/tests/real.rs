//! A real registry (Debian's docker-registry), where it is installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::http::Tls;
use crate::oci::{Digest, Document, Index, Manifest, Platform};

/// A registry process; ends with the value.
struct RealRegistry {
    process: Child,
    address: String,
    directory: TempDir,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }
}

/// Starts a registry with further lines of configuration; none, loudly, where it is not installed.
async fn start(lines: impl Fn(&Path) -> (&'static str, String)) -> Option<RealRegistry> {
    let program = Path::new("/usr/bin/docker-registry");
    if !program.exists() {
        eprintln!("skipped: docker-registry missing");
        return None;
    }
    let place = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let directory = tempfile::tempdir_in(place).expect("directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = free.local_addr().expect("address").to_string();
    drop(free);
    let (http, rest) = lines(directory.path());
    let http = http.replace("DIR", &directory.path().display().to_string());
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{inmemory: {{}}, delete: {{enabled: true}}}}\nhttp:\n  addr: {address}\n{http}\n{rest}\n"
    );
    let config = directory.path().join("config.yml");
    std::fs::write(&config, text).expect("write");
    let quiet = || Stdio::null();
    let process = Command::new(program)
        .arg("serve")
        .arg(&config)
        .env_clear()
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .spawn()
        .expect("docker-registry starts");
    let registry = RealRegistry { process, address, directory };
    for _ in 0..400 {
        if TcpStream::connect(&registry.address).await.is_ok() {
            return Some(registry);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("docker-registry does not answer on {}", registry.address);
}

async fn start_plain() -> Option<RealRegistry> {
    start(|_| ("", String::new())).await
}

/// Pushes an image of one layer; returns its manifest's digest.
async fn push_image(client: &Client, to: &Reference, layer_bytes: &[u8]) -> Digest {
    let config = Bytes::from_static(
        br#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
    let layer_descriptor = layer(layer_bytes);
    let blobs = [(BlobSource::Bytes(config), &config_descriptor), (source(layer_bytes), &layer_descriptor)];
    for (blob, descriptor) in blobs {
        client.push_blob(to, &blob, descriptor, None).await.expect("pushed");
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config: config_descriptor,
        layers: vec![layer_descriptor],
        subject: None,
        annotations: BTreeMap::new(),
    };
    client.push_manifest(to, media_type::OCI_MANIFEST, manifest.to_bytes().into()).await.expect("pushed")
}

fn platform() -> Platform {
    "linux/amd64".parse().expect("platform")
}

#[tokio::test]
async fn an_image_goes_up_and_comes_down_again() {
    let Some(registry) = start_plain().await else { return };
    let client = plain();
    let to = reference(&registry.address, "team/app:1");
    client.check_push(&to).await.expect("allowed");
    let error = client.resolve(&to, &platform()).await.expect_err("nothing there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    let bytes = content(300_000);
    let path = registry.directory.path().join("layer");
    std::fs::write(&path, &bytes).expect("write");
    let file = BlobSource::open(&path).expect("open");
    let pushed = client.push_blob(&to, &file, &layer(&bytes), None).await.expect("pushed");
    assert_eq!(pushed, Pushed::Uploaded { bytes: 300_000 });
    let pushed = client.push_blob(&to, &file, &layer(&bytes), None).await.expect("pushed");
    assert_eq!(pushed, Pushed::Existed);

    let digest = push_image(&client, &to, &bytes).await;
    let resolved = client.resolve(&to, &platform()).await.expect("resolved");
    assert_eq!((&resolved.digest, &resolved.named(), resolved.indexes.len()), (&digest, &digest, 0));
    assert_eq!(resolved.config.config.env, ["A=b"]);
    assert_eq!(Digest::of(&resolved.manifest_bytes), digest);
    let stream = client.blob(&to, &resolved.manifest.layers[0]).await.expect("opened");
    assert_eq!(collect(stream).await.expect("pulled"), bytes);

    let image =
        Descriptor { platform: Some(platform()), ..Descriptor::of(media_type::OCI_MANIFEST, &resolved.manifest_bytes) };
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: vec![image],
        annotations: BTreeMap::new(),
    };
    let bytes = index.to_bytes();
    assert!(matches!(Document::parse("", &bytes), Ok(Document::Index(_))));
    let many = reference(&registry.address, "team/app:many");
    let index_digest = client.push_manifest(&many, media_type::OCI_INDEX, bytes.into()).await.expect("pushed");
    let resolved = client.resolve(&many.with_digest(index_digest.clone()), &platform()).await.expect("resolved");
    assert_eq!((&resolved.digest, resolved.named()), (&digest, index_digest));
}

#[tokio::test]
async fn blobs_are_mounted_or_copied_between_repositories() {
    let (Some(first), Some(second)) = (start_plain().await, start_plain().await) else { return };
    let client = plain();
    let bytes = content(200_000);
    let from = reference(&first.address, "base");
    client.push_blob(&from, &source(&bytes), &layer(&bytes), None).await.expect("pushed");

    let near = reference(&first.address, "near");
    assert!(client.mount(&near, &from, &layer(&bytes)).await.expect("mounted"));
    assert!(client.blob_exists(&near, &layer(&bytes)).await.expect("asked"));
    let other = reference(&first.address, "other");
    let pushed = client.copy_blob(&from, &other, &layer(&bytes)).await.expect("copied");
    assert_eq!(pushed, Pushed::Mounted);
    assert!(!client.mount(&other, &from, &layer(b"unknown")).await.expect("asked"));

    let far = reference(&second.address, "far");
    assert!(!client.mount(&far, &from, &layer(&bytes)).await.expect("asked"), "another registry");
    let pushed = client.copy_blob(&from, &far, &layer(&bytes)).await.expect("copied");
    assert_eq!(pushed, Pushed::Uploaded { bytes: 200_000 });
    assert_eq!(collect(client.blob(&far, &layer(&bytes)).await.expect("opened")).await.expect("pulled"), bytes);
    let error = client.copy_blob(&from, &far, &layer(b"unknown")).await.expect_err("not there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_digest_that_does_not_fit_is_refused_by_the_registry() {
    let Some(registry) = start_plain().await else { return };
    let to = reference(&registry.address, "app");
    let error = plain().push_blob(&to, &source(b"this"), &layer(b"that"), None).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
}

/// Forwards connections, and breaks the first ones after so many bytes from the client.
async fn breaking_proxy(to: String, breaks: Vec<u64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move {
        let mut breaks = breaks.into_iter();
        while let Ok((client, _)) = listener.accept().await {
            let limit = breaks.next().unwrap_or(u64::MAX);
            let server = TcpStream::connect(&to).await.expect("registry");
            tokio::spawn(async move {
                let (client_read, mut client_write) = client.into_split();
                let (mut server_read, mut server_write) = server.into_split();
                let down = tokio::spawn(async move { tokio::io::copy(&mut server_read, &mut client_write).await });
                let mut limited = client_read.take(limit);
                let sent = tokio::io::copy(&mut limited, &mut server_write).await.unwrap_or(0);
                server_write.shutdown().await.unwrap_or(());
                if sent == limit {
                    down.abort();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_push_over_connections_that_break_succeeds() {
    let Some(registry) = start_plain().await else { return };
    let size = 8_000_000;
    let breaks = vec![3_000_000, 2_000_000, 1_000_000];
    let address = breaking_proxy(registry.address.clone(), breaks).await;
    let client = client("", |_, options| options.chunk = 500_000);
    let bytes = content(size);
    let to = reference(&address, "app");
    let pushed = client.push_blob(&to, &source(&bytes), &layer(&bytes), None).await.expect("pushed");
    assert!(matches!(pushed, Pushed::Uploaded { bytes } if bytes > size as u64), "no connection broke: {pushed:?}");
    let there = reference(&registry.address, "app");
    assert_eq!(collect(plain().blob(&there, &layer(&bytes)).await.expect("opened")).await.expect("pulled"), bytes);
}

/// bcrypt of the password `U*U`, a test vector of crypt_blowfish.
const HTPASSWD: &str = "jane:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";

#[tokio::test]
async fn basic_authentication_is_answered_and_a_wrong_password_explained() {
    let lines = |directory: &Path| {
        let path = directory.join("htpasswd");
        std::fs::write(&path, HTPASSWD).expect("write");
        ("", format!("auth: {{htpasswd: {{realm: test, path: {}}}}}", path.display()))
    };
    let Some(registry) = start(lines).await else { return };
    let to = reference(&registry.address, "app:1");
    let config = |password: &str| {
        format!(r#"{{"auths":{{"{}":{{"username":"jane","password":"{password}"}}}}}}"#, registry.address)
    };
    let allowed = client(&config("U*U"), |_, _| ());
    allowed.check_push(&to).await.expect("allowed");
    push_image(&allowed, &to, b"layer").await;
    allowed.resolve(&to, &platform()).await.expect("resolved");
    let error = client(&config("hunter2"), |_, _| ()).check_push(&to).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("as user `jane`, from config.json") && !error.to_string().contains("hunter2"),
        "{error}"
    );
    let error = plain().resolve(&to, &platform()).await.expect_err("refused");
    assert!(error.to_string().contains(&format!("no credentials for {} in config.json", registry.address)), "{error}");
}

fn openssl(directory: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .stderr(Stdio::null())
        .status()
        .expect("openssl runs");
    assert!(status.success(), "openssl {arguments}");
}

/// Makes an authority (`ca.pem`) and a server certificate (`server.pem`, `server.key`) for loopback.
fn make_certificates(directory: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(directory.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("write");
    openssl(directory, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority"));
    openssl(directory, &format!("req {key} -keyout server.key -out server.csr -subj /CN=registry"));
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile san",
    );
}

#[tokio::test]
async fn tls_with_an_authority_of_its_own() {
    let lines = |directory: &Path| {
        make_certificates(directory);
        ("  tls: {certificate: DIR/server.pem, key: DIR/server.key}", String::new())
    };
    let Some(registry) = start(lines).await else { return };
    let to = reference(&registry.address, "app:1");
    let strict = |change: &dyn Fn(&mut http::Options, &mut Options)| {
        client("", |http_options, options| {
            (options.pull, options.push) = (Registry::default(), Registry::default());
            change(http_options, options);
        })
    };
    let tls = |skip_verify: bool, certificates: &[&str]| {
        let certificates = certificates.iter().map(|name| registry.directory.path().join(name)).collect();
        BTreeMap::from([(registry.address.clone(), Tls { skip_verify, certificates, identity: None })])
    };
    let error = strict(&|_, _| ()).check_push(&to).await.expect_err("not trusted");
    let hint = format!("--registry-certificate {}=FILE", registry.address);
    assert!(error.to_string().contains(&hint) && error.kind() == ErrorKind::Settings, "{error:?}");

    let trusted = strict(&|http_options, _| http_options.hosts = tls(false, &["ca.pem"]));
    push_image(&trusted, &to, b"layer").await;
    strict(&|http_options, _| http_options.hosts = tls(true, &[])).resolve(&to, &platform()).await.expect("skipped");
    strict(&|_, options| options.pull.skip_verify = true).resolve(&to, &platform()).await.expect("skipped");
    strict(&|_, options| options.pull.skip_verify = true).check_push(&to).await.expect_err("pull only");
    let roots = strict(&|http_options, _| http_options.roots.file = Some(registry.directory.path().join("ca.pem")));
    roots.resolve(&to, &platform()).await.expect("trusted by SSL_CERT_FILE");
    // One flag for all destinations must not break those that speak TLS.
    let insecure = strict(&|http_options, options| {
        http_options.hosts = tls(false, &["ca.pem"]);
        options.push.insecure = true;
    });
    insecure.check_push(&to).await.expect("https after http was refused");
}

#[tokio::test]
async fn a_registry_that_wants_a_certificate_of_ours() {
    let lines = |directory: &Path| {
        make_certificates(directory);
        let tls = "  tls: {certificate: DIR/server.pem, key: DIR/server.key, clientcas: [DIR/ca.pem]}";
        (tls, String::new())
    };
    let Some(registry) = start(lines).await else { return };
    let to = reference(&registry.address, "app:1");
    let file = |name: &str| registry.directory.path().join(name);
    let with = |identity: Option<(PathBuf, PathBuf)>| {
        let tls = Tls { skip_verify: false, certificates: vec![file("ca.pem")], identity };
        client("", |http_options, options| {
            (options.pull, options.push) = (Registry::default(), Registry::default());
            http_options.hosts = BTreeMap::from([(registry.address.clone(), tls)]);
        })
    };
    with(None).check_push(&to).await.expect_err("nobody in particular");
    push_image(&with(Some((file("server.pem"), file("server.key")))), &to, b"layer").await;
    for (certificate, key) in [("server.pem", "ca.key"), ("server.key", "server.key"), ("server.pem", "none")] {
        let tls = Tls { identity: Some((file(certificate), file(key))), ..Tls::default() };
        let options = http::Options { hosts: BTreeMap::from([("r".to_owned(), tls)]), ..http::Options::default() };
        let error = http::Agent::new(options).expect_err("unfit").to_string();
        assert!(error.contains(certificate) || error.contains(key), "{error}");
    }
}

#[tokio::test]
async fn a_plain_registry_is_only_spoken_to_when_that_is_wanted() {
    let Some(registry) = start_plain().await else { return };
    let port = registry.address.rsplit(':').next().expect("a port").to_owned();
    let hosts = registry.directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 registry.test").expect("write");
    let with = |registries: BTreeMap<String, Registry>| {
        client("", |http_options, options| {
            http_options.hosts_file.clone_from(&hosts);
            *options = Options { registries, ..Options::default() };
        })
    };
    for address in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("a.localhost:{port}")] {
        with(BTreeMap::new()).check_push(&reference(&address, "app")).await.expect("this machine is");
    }
    let address = format!("registry.test:{port}");
    let to = reference(&address, "app");
    let error = with(BTreeMap::new()).check_push(&to).await.expect_err("no other host is");
    assert!(error.to_string().contains(&format!("--insecure-registry {address}")), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Settings);
    let insecure = Registry { insecure: true, skip_verify: false };
    with(BTreeMap::from([(settings_key(&address), insecure)])).check_push(&to).await.expect("allowed");
}
