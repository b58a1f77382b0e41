//! Who a pod is to the clouds: every source of credentials that a context may need, with servers that check them.

use std::fs;

use serde_json::json;

use crate::context_archive::{built, expected, sources};
use crate::support::clouds::{Clouds, POD, google_file, google_user, google_workload};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::objects::ObjectStore;
use crate::support::scratch::Scratch;
use crate::support::skips;

/// A source of credentials: its name, what prepares it, and a request that must have been made.
type Row<'a> = (&'a str, &'a dyn Fn(&mut Executor), &'a str);

/// Builds from a context with each source of credentials, and looks for the request that tells which one it was.
fn each(clouds: &Clouds, sources: &Scratch, context: &str, prepare: impl Fn(&mut Executor), rows: &[Row<'_>]) {
    fs::copy(sources.join("c.tar.gz"), clouds.scratch.join("root/c.tgz")).expect("scratch is writable");
    let image = expected(sources);
    for (name, source, request) in rows {
        let before = clouds.requests().len();
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        let ca = fs::read(clouds.scratch.join("ca.crt")).expect("the CA is made");
        let ca = executor.credential("ca.crt", ca);
        executor.env("SSL_CERT_FILE", &ca).env("HTTPS_PROXY", &format!("http://{}", clouds.address));
        executor.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "us-east-1");
        prepare(&mut executor);
        source(&mut executor);
        assert_eq!(built(&mut executor, context), image, "{name}");
        let requests = clouds.requests().split_off(before);
        let asked = requests.iter().any(|line| line.contains(request));
        assert!(asked, "{name}: {requests:?}");
    }
}

#[test]
fn amazon() {
    if !Isolation::Namespace.allowed("context: credentials of S3") {
        return;
    }
    let Some(store) = ObjectStore::s3_strict() else {
        return skips::skip("context: credentials of S3", "s3s-fs is not installed: see tests/run.sh");
    };
    let (clouds, sources) = (Clouds::start(), sources());
    let bucket = store.buckets().join("bucket/dir");
    fs::create_dir_all(&bucket).expect("scratch is writable");
    fs::copy(sources.join("c.tar.gz"), bucket.join("c.tgz")).expect("scratch is writable");
    let s3 = |executor: &mut Executor| {
        executor.env("S3_ENDPOINT", &store.url).env("S3_FORCE_PATH_STYLE", "true");
    };
    let local = format!("http://{}", clouds.address);
    let rows: &[Row<'_>] = &[
        (
            "web identity",
            &|executor| {
                let token = executor.credential("token", POD);
                executor.env("AWS_WEB_IDENTITY_TOKEN_FILE", &token).env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
            },
            "POST sts.us-east-1.amazonaws.com /",
        ),
        (
            "pod identity",
            &|executor| {
                let token = executor.credential("token", POD);
                executor.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token);
                executor.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{local}/pod"));
            },
            "GET local /pod",
        ),
        (
            "instance metadata",
            &|executor| {
                executor.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &local).env("AWS_EC2_METADATA_DISABLED", "false");
            },
            "/latest/meta-data/iam/security-credentials",
        ),
    ];
    each(&clouds, &sources, "s3://bucket/dir/c.tgz", s3, rows);
    let image = expected(&sources);
    let with = |prepare: &dyn Fn(&mut Executor)| {
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        s3(&mut executor);
        executor.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "us-east-1");
        prepare(&mut executor);
        executor
    };
    let mut keys = with(&|executor| {
        executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "SK");
    });
    assert_eq!(built(&mut keys, "s3://bucket/dir/c.tgz"), image, "keys of the environment");
    let mut profile = with(&|executor| {
        let text = "[default]\naws_access_key_id = no\naws_secret_access_key = no\n\
                    [ci]\naws_access_key_id = AK\naws_secret_access_key = SK\n";
        executor.credential(".aws/credentials", text);
        executor.at_home().env("AWS_PROFILE", "ci");
    });
    assert_eq!(built(&mut profile, "s3://bucket/dir/c.tgz"), image, "a profile");
    let mut wrong = with(&|executor| {
        executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "wrong");
    });
    let refused = wrong.only_layout().add(&["--context=s3://bucket/dir/c.tgz"]).run().expect(77);
    assert!(refused.stderr.contains("SignatureDoesNotMatch"), "{}", refused.stderr);
    let mut unreachable = with(&|executor| {
        let token = executor.credential("token", POD);
        executor.env("AWS_WEB_IDENTITY_TOKEN_FILE", &token).env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
        executor.env("HTTPS_PROXY", "http://127.0.0.1:1");
    });
    unreachable.only_layout().add(&["--context=s3://bucket/dir/c.tgz"]).run().expect(75);
    // What a metadata service says may be a secret.
    let mut broken = with(&|executor| {
        executor.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &format!("{local}/broken"));
        executor.env("AWS_EC2_METADATA_DISABLED", "false");
    });
    let refused = broken.only_layout().add(&["--context=s3://bucket/dir/c.tgz"]).run().expect(77);
    assert!(refused.stderr.contains("IMDS"), "{}", refused.stderr);
}

#[test]
fn google() {
    if !Isolation::Namespace.allowed("context: credentials of Google") {
        return;
    }
    let (clouds, sources) = (Clouds::start(), sources());
    let key = fs::read_to_string(clouds.scratch.join("google.key")).expect("it is made");
    let account = json!({
        "type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": key,
        "client_email": "builder@p.iam.gserviceaccount.com", "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let rows: &[Row<'_>] = &[
        (
            "metadata server",
            &|executor| {
                executor.env("GCE_METADATA_HOST", &clouds.address);
            },
            "/computeMetadata/v1/instance/service-accounts/default/token",
        ),
        ("service account", &|executor| google_file(executor, &account), "GET storage.googleapis.com"),
        ("user", &google_user, "POST oauth2.googleapis.com /token"),
        ("workload identity federation", &google_workload, "POST sts.googleapis.com /v1/token"),
    ];
    each(&clouds, &sources, "gs://bucket/c.tgz", |_| {}, rows);
    // Without any credentials, and nowhere near a metadata server, there are still public objects.
    fs::copy(sources.join("c.tar.gz"), clouds.scratch.join("root/public.tgz")).expect("scratch is writable");
    for (object, code) in [("public.tgz", 0), ("c.tgz", 77)] {
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        let ca = executor.credential("ca.crt", fs::read(clouds.scratch.join("ca.crt")).expect("the CA is made"));
        executor.env("SSL_CERT_FILE", &ca).env("HTTPS_PROXY", &format!("http://{}", clouds.address));
        executor.only_layout().add(&[&format!("--context=gs://bucket/{object}"), "--dockerfile=Dockerfile"]);
        let build = executor.run().expect(code);
        assert!(code == 0 || build.stderr.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{}", build.stderr);
    }
}

#[test]
fn azure() {
    if !Isolation::Namespace.allowed("context: credentials of Azure") {
        return;
    }
    let (clouds, sources) = (Clouds::start(), sources());
    let client = |executor: &mut Executor| {
        executor.env("AZURE_CLIENT_ID", "client").env("AZURE_TENANT_ID", "tenant");
    };
    let rows: &[Row<'_>] = &[
        (
            "workload identity",
            &|executor| {
                let token = executor.credential("token", POD);
                executor.env("AZURE_FEDERATED_TOKEN_FILE", &token);
                client(executor);
            },
            "POST login.microsoftonline.com /tenant/oauth2/v2.0/token",
        ),
        (
            "client secret",
            &|executor| {
                executor.env("AZURE_CLIENT_SECRET", POD);
                client(executor);
            },
            "POST login.microsoftonline.com",
        ),
        (
            "managed identity",
            &|executor| {
                executor.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &format!("http://{}", clouds.address));
            },
            "GET local /metadata/identity/oauth2/token",
        ),
    ];
    each(&clouds, &sources, "https://account.blob.core.windows.net/box/c.tgz", |_| {}, rows);
    let mut executor = Executor::new(Isolation::Namespace, sources.path());
    let ca = executor.credential("ca.crt", fs::read(clouds.scratch.join("ca.crt")).expect("the CA is made"));
    executor.env("SSL_CERT_FILE", &ca).env("HTTPS_PROXY", &format!("http://{}", clouds.address));
    executor.env("AZURE_CLIENT_SECRET", "wrong").only_layout();
    client(&mut executor);
    let refused = executor.add(&["--context=https://account.blob.core.windows.net/box/c.tgz"]).run().expect(77);
    assert!(refused.stderr.contains("AZURE_CLIENT_SECRET"), "{}", refused.stderr);
}
