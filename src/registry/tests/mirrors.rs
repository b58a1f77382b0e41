//! Registries that stand in for others, and tags that nobody may move.

use std::sync::Mutex;

use super::*;
use crate::http::testing::{Reply, Request, Server};
use crate::oci::{Digest, Manifest};
use crate::progress::{Event, Reporter};

const LAYER: &[u8] = b"the layer";
const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

/// A registry that has one image, in any repository, for who shows `authorization`.
async fn image_server(authorization: &'static str) -> Server {
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config: Descriptor::of(media_type::OCI_CONFIG, CONFIG),
        layers: vec![layer(LAYER)],
        subject: None,
        annotations: BTreeMap::new(),
    };
    let manifest = manifest.to_bytes();
    Server::start(move |request| {
        if request.header("authorization") != authorization {
            return Reply::new(401).header("www-authenticate", "Basic realm=\"r\"");
        }
        match request.target.rsplit_once('/') {
            Some((_, "")) => Reply::new(200),
            Some((path, "1")) if path.ends_with("/manifests") => {
                Reply::new(200).header("content-type", media_type::OCI_MANIFEST).body(manifest.clone())
            }
            Some((_, digest)) if digest == Digest::of(CONFIG).as_str() => Reply::new(200).body(CONFIG),
            Some((_, digest)) if digest == Digest::of(LAYER).as_str() => Reply::new(200).body(LAYER),
            _ => Reply::new(404),
        }
    })
    .await
}

async fn empty_server() -> Server {
    Server::start(|request| Reply::new(if request.target == "/v2/" { 200 } else { 404 })).await
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn report(&self, event: Event<'_>) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().expect("no panic").push(message.to_owned());
        }
    }
}

/// A client with mirrors, and what it warns of.
fn mirrored(of: &str, mirrors: &[String], config: &str, change: impl FnOnce(&mut Options)) -> (Client, Arc<Warnings>) {
    let insecure = Registry { insecure: true, skip_verify: false };
    let mirrors = mirrors.iter().map(|text| text.parse().expect("a mirror")).collect();
    let mut options = Options { pull: insecure.clone(), push: insecure, ..Options::default() };
    options.mirrors.of = BTreeMap::from([(of.to_owned(), mirrors)]);
    change(&mut options);
    let retry = Retry { attempts: 4, first_delay: Duration::from_millis(1), ..Retry::default() };
    let agent = http::Agent::new(http::Options { retry, ..http::Options::default() }).expect("agent");
    let credentials = Credentials::parse(&[("config.json".to_owned(), config.to_owned())], &[]).expect("credentials");
    let warnings = Arc::new(Warnings::default());
    (Client::new(agent, options, credentials, Arc::clone(&warnings) as Arc<dyn Reporter>), warnings)
}

fn platform() -> crate::oci::Platform {
    "linux/amd64".parse().expect("platform")
}

#[tokio::test]
async fn a_mirror_with_path_and_own_credentials_answers_for_the_registry() {
    let mirror = image_server("Basic dTpw").await;
    let config = format!(r#"{{"auths":{{"{}/proxy":{{"auth":"dTpw"}}}}}}"#, mirror.address);
    let (client, warnings) = mirrored("docker.io", &[format!("{}/proxy/hub", mirror.address)], &config, |_| ());
    let image: Reference = "busybox:1".parse().expect("reference");
    let resolved = client.resolve(&image, &platform()).await.expect("resolved");
    assert_eq!(resolved.reference, image, "the name stays");
    let blob = collect(client.blob(&image, &resolved.manifest.layers[0]).await.expect("opened")).await;
    assert_eq!(blob.expect("pulled"), LAYER);
    let paths: Vec<String> = mirror.lines().into_iter().filter(|line| line.contains("hub")).collect();
    assert!(paths.iter().all(|line| line.starts_with("GET /v2/proxy/hub/library/busybox/")), "{paths:?}");
    assert_eq!((paths.len(), warnings.0.lock().expect("no panic").len()), (3, 0));
}

#[tokio::test]
async fn what_no_mirror_has_comes_from_the_registry_itself_unless_that_is_not_wanted() {
    let (first, second) = (empty_server().await, Server::start(|_| Reply::new(503)).await);
    let origin = image_server("").await;
    let mirrors = [first.address.clone(), second.address.clone()];
    let image = reference(&origin.address, "app:1");
    let (client, warnings) = mirrored(&origin.address, &mirrors, "", |_| ());
    let resolved = client.resolve(&image, &platform()).await.expect("resolved");
    let asked = (first.seen().len(), second.seen().len());
    assert_eq!(asked, (2, 2), "a broken mirror is left soon");
    let blob = collect(client.blob(&image, &resolved.manifest.layers[0]).await.expect("opened")).await;
    assert_eq!(blob.expect("pulled"), LAYER);
    assert_eq!((first.seen().len(), second.seen().len()), asked, "blobs come from where the manifest was");
    let told = warnings.0.lock().expect("no panic").join("\n");
    assert!(mirrors.iter().all(|mirror| told.contains(mirror.as_str())), "{told}");

    let (client, _) = mirrored(&origin.address, &mirrors, "", |options| options.mirrors.only = true);
    let before = origin.seen().len();
    let error = client.resolve(&image, &platform()).await.expect_err("nobody has it").to_string();
    assert!(mirrors.iter().all(|mirror| error.contains(mirror.as_str())), "{error}");
    assert_eq!(origin.seen().len(), before);
}

#[tokio::test]
async fn a_blob_that_a_mirror_lost_comes_from_elsewhere() {
    let origin = image_server("").await;
    let manifests = image_server("").await;
    let lost = manifests.address.clone();
    let upstream = plain();
    let known = upstream.resolve(&reference(&lost, "app:1"), &platform()).await.expect("resolved");
    let (bytes, config) = (known.manifest_bytes.clone(), known.manifest.config.digest.to_string());
    let mirror = Server::start(move |request: &Request| match request.target.rsplit_once('/') {
        Some((_, "")) => Reply::new(200),
        Some((_, "1")) => Reply::new(200).header("content-type", media_type::OCI_MANIFEST).body(bytes.clone()),
        Some((_, digest)) if digest == config => Reply::new(200).body(CONFIG),
        _ => Reply::new(404),
    })
    .await;
    let image = reference(&origin.address, "app:1");
    let (client, _) = mirrored(&origin.address, std::slice::from_ref(&mirror.address), "", |_| ());
    client.resolve(&image, &platform()).await.expect("resolved");
    assert_eq!(origin.seen().len(), 0);
    let blob = collect(client.blob(&image, &layer(LAYER)).await.expect("opened")).await;
    assert_eq!(blob.expect("pulled"), LAYER);
}

#[tokio::test]
async fn a_tag_that_nobody_may_move_is_a_failure_unless_told_otherwise() {
    let refusals = [
        (
            400,
            r#"{"errors":[{"code":"TAG_INVALID","message":"The image tag '1' already exists in the 'app' repository and cannot be overwritten because the tag is immutable."}]}"#,
        ),
        (
            400,
            r#"{"errors":[{"code":"MANIFEST_INVALID","message":"cannot update tag 1. The repository has enabled tag immutability"}]}"#,
        ),
        (
            412,
            r#"{"errors":[{"code":"PRECONDITION","message":"Failed to process request due to 'app:1' configured as immutable."}]}"#,
        ),
        (403, r#"{"errors":[{"code":"DENIED","message":"immutable tag"}]}"#),
    ];
    let bytes = Bytes::from_static(br#"{"schemaVersion":2}"#);
    let digest = Digest::of(&bytes);
    for (status, body) in refusals {
        let server = Server::start(move |request| match request.line().as_str() {
            "GET /v2/" => Reply::new(200),
            "PUT /v2/app/manifests/1" => Reply::new(status).body(body),
            line if line.starts_with("PUT /v2/app/manifests/sha256:") => Reply::new(201),
            _ => Reply::new(404),
        })
        .await;
        let to = reference(&server.address, "app:1");
        for ignore in [false, true] {
            let (client, warnings) = mirrored("x.example", &[], "", |options| options.ignore_immutable_tags = ignore);
            let pushed = client.push_manifest(&to, media_type::OCI_MANIFEST, bytes.clone()).await;
            assert_eq!(pushed.is_ok(), ignore, "{body}: {pushed:?}");
            assert_eq!(warnings.0.lock().expect("no panic").len(), usize::from(ignore));
        }
        assert_eq!(server.lines().pop(), Some(format!("PUT /v2/app/manifests/{digest}")));
    }
    let server = Server::start(|request| match request.line().as_str() {
        "GET /v2/" => Reply::new(200),
        "PUT /v2/app/manifests/1" => Reply::new(400).body("the manifest is malformed"),
        _ => Reply::new(404),
    })
    .await;
    let (client, _) = mirrored("x.example", &[], "", |options| options.ignore_immutable_tags = true);
    let to = reference(&server.address, "app:1");
    client.push_manifest(&to, media_type::OCI_MANIFEST, bytes).await.expect_err("that is another failure");
}
