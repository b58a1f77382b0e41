//! Who a pod is to the clouds' registries: every source of credentials, against services that check what they are shown.

use std::fs;

use serde_json::json;

use crate::support::clouds::{Clouds, POD, google_file, google_user, google_workload};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";
const GOOGLE: &str = "europe-docker.pkg.dev";
const AZURE: &str = "team.azurecr.io";

/// A source of credentials: its name, what prepares it, and a request that must have been made.
type Row<'a> = (&'a str, &'a dyn Fn(&mut Executor), &'a str);

/// The clouds, and a real registry behind their registries.
struct Sky {
    clouds: Clouds,
    registry: Registry,
    source: Scratch,
}

impl Sky {
    fn start() -> Self {
        let (clouds, registry) = (Clouds::start(), Registry::plain());
        fs::write(clouds.scratch.join("root/upstream"), &registry.address).expect("scratch is writable");
        Self { clouds, registry, source: one_file() }
    }

    fn executor(&self, host: &str) -> Executor {
        let mut executor = Executor::new(Isolation::Namespace, self.source.path());
        self.reach(&mut executor);
        executor.add(&[&format!("--destination={host}/team/app:1"), "-v=trace"]);
        executor
    }

    /// Sends an executor's requests to these clouds.
    fn reach(&self, executor: &mut Executor) {
        let ca = fs::read(self.clouds.scratch.join("ca.crt")).expect("the CA is made");
        let ca = executor.credential("ca.crt", ca);
        executor.env("SSL_CERT_FILE", &ca).env("HTTPS_PROXY", &format!("http://{}", self.clouds.address));
        executor.env("AWS_EC2_METADATA_DISABLED", "true");
    }

    /// Pushes with each source of credentials, and looks for the request that tells which one it was.
    fn each(&self, host: &str, rows: &[Row<'_>]) {
        for (name, prepare, request) in rows {
            let before = self.clouds.requests().len();
            let mut executor = self.executor(host);
            prepare(&mut executor);
            executor.run().expect(0);
            let requests = self.clouds.requests().split_off(before);
            let count = requests.iter().filter(|line| line.contains(request)).count();
            assert!(count > 0, "{name}: {requests:?}");
            let foreign = |line: &&String| {
                let of = |cloud: &str, parts: &[&str]| host != cloud && parts.iter().any(|part| line.contains(part));
                (host != PUBLIC && of(ECR, &["amazonaws.com"]))
                    || of(GOOGLE, &["googleapis.com", "computeMetadata"])
                    || of(AZURE, &["microsoftonline.com", "/metadata/identity"])
            };
            assert_eq!(requests.iter().find(foreign), None, "{name}: another cloud was asked");
        }
        assert!(self.registry.digest("team/app:1").is_some());
    }
}

#[test]
fn amazon() {
    if !Isolation::Namespace.allowed("credentials: ECR") {
        return;
    }
    let sky = Sky::start();
    let local = format!("http://{}", sky.clouds.address);
    let token = |executor: &mut Executor| executor.credential("token", POD);
    let rows: &[Row<'_>] = &[
        (
            "keys",
            &|executor| {
                executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "SK");
            },
            "POST api.ecr.us-east-1.amazonaws.com /",
        ),
        (
            "another endpoint",
            &|executor| {
                executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "SK");
                executor.env("AWS_ENDPOINT_URL_ECR", "https://api.ecr.us-east-1.amazonaws.com/other");
            },
            "POST api.ecr.us-east-1.amazonaws.com /other",
        ),
        (
            "web identity, as IRSA gives it",
            &|executor| {
                let token = token(executor);
                executor.env("AWS_WEB_IDENTITY_TOKEN_FILE", &token).env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
            },
            "POST sts.us-east-1.amazonaws.com /",
        ),
        (
            "pod identity",
            &|executor| {
                let token = token(executor);
                executor.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token);
                executor.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{local}/pod"));
            },
            "GET local /pod",
        ),
        (
            "the instance's role",
            &|executor| {
                executor.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &local).env("AWS_EC2_METADATA_DISABLED", "false");
            },
            "/latest/meta-data/iam/security-credentials",
        ),
    ];
    sky.each(ECR, rows);
    let before = sky.clouds.requests().len();
    let mut expired = sky.executor(ECR);
    expired.env("AWS_ACCESS_KEY_ID", "EXPIRED").env("AWS_SECRET_ACCESS_KEY", "SK").env("AWS_SESSION_TOKEN", "session");
    let refused = expired.run().expect(77);
    assert!(refused.stderr.contains("ExpiredTokenException"), "{}", refused.stderr);
    let asked = sky.clouds.requests().split_off(before);
    assert_eq!(asked.iter().filter(|line| line.contains("api.ecr")).count(), 1, "asked once: {asked:?}");
    // Without any keys it is told what was looked for.
    let refused = sky.executor(ECR).run().expect(77);
    assert!(refused.stderr.contains("no AWS credentials"), "{}", refused.stderr);
}

#[test]
fn public_amazon() {
    if !Isolation::Namespace.allowed("credentials: public ECR") {
        return;
    }
    let sky = Sky::start();
    let rows: &[Row<'_>] = &[(
        "keys",
        &|executor| {
            executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "SK");
            // Wherever the build runs, one region alone gives passwords.
            executor.env("AWS_REGION", "eu-west-1");
        },
        "POST api.ecr-public.us-east-1.amazonaws.com /",
    )];
    sky.each(PUBLIC, rows);
    // Who has no keys pulls as nobody, and no service but the token server is asked.
    let before = sky.clouds.requests().len();
    let source = source(&format!("FROM {PUBLIC}/team/app:1\nLABEL a=b\n"), &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    sky.reach(&mut executor);
    executor.only_layout().run().expect(0).image().verify();
    let asked = sky.clouds.requests().split_off(before);
    assert!(asked.iter().any(|line| line == "GET public.ecr.aws /token/"), "{asked:?}");
    assert_eq!(asked.iter().find(|line| line.contains("amazonaws.com")), None, "{asked:?}");
}

#[test]
fn google() {
    if !Isolation::Namespace.allowed("credentials: Artifact Registry") {
        return;
    }
    let sky = Sky::start();
    let key = fs::read_to_string(sky.clouds.scratch.join("google.key")).expect("it is made");
    let account = json!({"type": "service_account", "private_key": key, "client_email": "builder@p.example"});
    let rows: &[Row<'_>] = &[
        ("a service account's key", &|executor| google_file(executor, &account), "GET europe-docker.pkg.dev /v2/token"),
        (
            "metadata server",
            &|executor| {
                executor.env("GCE_METADATA_HOST", &sky.clouds.address);
            },
            "/computeMetadata/v1/instance/service-accounts/default/token",
        ),
        ("a user's file", &google_user, "POST oauth2.googleapis.com /token"),
        ("workload identity federation", &google_workload, "POST sts.googleapis.com /v1/token"),
    ];
    sky.each(GOOGLE, rows);
    // What accepts connections and says nothing is no metadata server.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let silent = silent.local_addr().expect("it is bound").to_string();
    let refused = sky.executor(GOOGLE).env("GCE_METADATA_HOST", &silent).run().expect(77);
    assert!(refused.stderr.contains(&format!("no metadata server answers at {silent}")), "{}", refused.stderr);
    let mut nowhere = sky.executor(GOOGLE);
    let refused = nowhere.env("GCE_METADATA_HOST", "127.0.0.1:1").run().expect(77);
    assert!(refused.stderr.contains("no metadata server answers at 127.0.0.1:1"), "{}", refused.stderr);
}

#[test]
fn azure() {
    if !Isolation::Namespace.allowed("credentials: Azure Container Registry") {
        return;
    }
    let sky = Sky::start();
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
            "service principal",
            &|executor| {
                executor.env("AZURE_CLIENT_SECRET", POD);
                client(executor);
            },
            "POST team.azurecr.io /oauth2/exchange",
        ),
        (
            "managed identity",
            &|executor| {
                executor.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &format!("http://{}", sky.clouds.address));
            },
            "GET local /metadata/identity/oauth2/token",
        ),
    ];
    sky.each(AZURE, rows);
    let mut wrong = sky.executor(AZURE);
    client(wrong.env("AZURE_CLIENT_SECRET", "wrong"));
    let refused = wrong.run().expect(77);
    assert!(refused.stderr.contains("AZURE_CLIENT_SECRET"), "{}", refused.stderr);
}
