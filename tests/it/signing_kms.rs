//! Keys that a cloud keeps: signatures by each kind verify with OpenSSL and here, and keys that cannot be used are refused
//! before anything is built.
//!
//! Amazon's service is moto, which checks how requests are signed and what a user may do; those of Google and Azure are
//! `kms.py`, which checks what it is asked.

use serde_json::{Value, json};

use crate::signing::{Variables, expect, image, run};
use crate::support::clouds::{Clouds, POD};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::objects::ObjectStore;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::signatures::{openssl, path, payload};
use crate::support::sigstore::Sigstore;

const PSS: &[&str] = &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];

/// What no output may have: the token and the secret of the clouds' users, and what a pod shows.
const SECRETS: [&str; 3] = ["hermit-crab-shell", POD, "session"];

/// A registry with an image, and the clouds.
struct Sky {
    clouds: Clouds,
    registry: Registry,
    scratch: Scratch,
    digest: String,
    name: String,
}

impl Sky {
    fn start() -> Self {
        let (clouds, registry, scratch) = (Clouds::start(), Registry::plain(), Scratch::new("kms"));
        let digest = image(&registry, "app:1", "one");
        let name = registry.repository("app:1");
        Self { clouds, registry, scratch, digest, name }
    }

    /// What leads to the clouds, and who we are there.
    fn variables(&self, who: &[(&str, &str)]) -> Vec<(String, String)> {
        let ca = path(&self.clouds.scratch, "ca.crt");
        let ways = [("SSL_CERT_FILE", ca), ("HTTPS_PROXY", format!("http://{}", self.clouds.address))];
        let ways = ways.into_iter().map(|(name, value)| (name.to_owned(), value));
        ways.chain(who.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }

    /// Signs with a key, and verifies with OpenSSL, by the key's public half, and by the key's own name; returns what signing
    /// tells.
    fn signs(&self, number: usize, key: &str, public: &str, how: &[&str], variables: Variables<'_>) -> String {
        let signed = run(&self.registry, &["sign", &self.name, "--key", key], variables);
        expect(&signed, 0, "is signed");
        expect(&run(&self.registry, &["sign", &self.name, "--key", key], variables), 0, "was signed already");
        let verified = run(&self.registry, &["verify", &self.name, "--key", public, "--json"], &[]);
        expect(&verified, 0, &self.digest);
        let told: Value = serde_json::from_str(&verified.stdout).expect("JSON");
        assert_eq!(told["signatures"].as_array().map(Vec::len), Some(2), "{key}: a tag and a bundle in {told}");
        expect(&run(&self.registry, &["verify", &self.name, "--key", key], variables), 0, "is signed by the key");
        let [payload, raw] = payload(&self.registry, ("app", &self.digest), number, &self.scratch);
        openssl(&[&["dgst"], how, &["-verify", public, "-signature", &raw, &payload]].concat());
        hides(&signed.stderr);
        signed.stderr
    }

    /// Signs with a key that cannot be used.
    fn refuses(&self, key: &str, code: i32, texts: &[&str], variables: Variables<'_>) {
        let refused = run(&self.registry, &["sign", &self.name, "--key", key], variables);
        for text in texts.iter().chain([&key]) {
            expect(&refused, code, text);
        }
        hides(&refused.stderr);
    }
}

fn hides(told: &str) {
    for secret in SECRETS {
        assert!(!told.contains(secret), "{secret} is told:\n{told}");
    }
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (&**name, &**value)).collect()
}

#[test]
fn google() {
    let sky = Sky::start();
    let variables = sky.variables(&[("GCE_METADATA_HOST", &sky.clouds.address)]);
    let variables = &*borrowed(&variables);
    let ring = "gcpkms://projects/team/locations/europe-west1/keyRings/release/cryptoKeys";
    let public = |name: &str| path(&sky.clouds.scratch, &format!("root/kms/{name}.pub"));
    let rows: [(&str, &str, &[&str], &str); 9] = [
        ("p256", "", &["-sha256"], ""),
        ("p384", "/versions/1", &["-sha384"], ""),
        ("rsa-2048", "/cryptoKeyVersions/1", &["-sha256"], ""),
        ("rsa-4096-sha512", "/versions/1", &["-sha512"], ""),
        ("pss-2048", "/versions/1", &[&["-sha256"], PSS].concat(), ""),
        ("pss-4096-sha512", "/versions/1", &[&["-sha512"], PSS].concat(), ""),
        // What fails once is told and asked again.
        ("busy", "/versions/1", &["-sha256"], "429 Too Many Requests RESOURCE_EXHAUSTED; tried again in"),
        ("damaged", "/versions/1", &["-sha256"], "a signature that was damaged on its way; tried again in"),
        ("unchecked", "/versions/1", &["-sha256"], "has not checked the sum of the digest"),
    ];
    for (number, (name, version, how, told)) in rows.into_iter().enumerate() {
        let stderr = sky.signs(number, &format!("{ring}/{name}{version}"), &public(name), how, variables);
        assert!(stderr.contains(told), "{stderr}");
    }
    // Of several versions the newest signs: by number, not by text, and from all pages.
    let newest = "POST cloudkms.googleapis.com /v1/projects/team/locations/europe-west1/keyRings/release/cryptoKeys/p256\
                  /cryptoKeyVersions/10:asymmetricSign";
    assert!(sky.clouds.requests().iter().any(|line| line == newest), "{:?}", sky.clouds.requests());
    let right = "viewPublicKey and cloudkms.cryptoKeyVersions.useToSign";
    let rows: [(&str, i32, &[&str]); 10] = [
        ("forbidden/versions/1", 77, &["403 Forbidden PERMISSION_DENIED", "Application Default Credentials", right]),
        ("only-read/versions/1", 77, &["Permission 'cloudkms.cryptoKeyVersions.useToSign' denied", right]),
        ("missing/versions/1", 72, &["404 Not Found NOT_FOUND", "name a key that is there"]),
        ("disabled/versions/1", 72, &["current state is: DISABLED", "enable the key"]),
        ("none-enabled", 72, &["it has no version that is enabled", "enable the key"]),
        ("symmetric/versions/1", 72, &["ENCRYPT_DECRYPT", "ASYMMETRIC_SIGN"]),
        ("decrypt-2048/versions/1", 72, &["its algorithm is RSA_DECRYPT_OAEP_2048_SHA256", "ASYMMETRIC_SIGN"]),
        ("ed25519/versions/1", 72, &["an Ed25519 key signs whole messages", "EC_SIGN_P256_SHA256"]),
        ("exchanged/versions/1", 72, &["does not hold for the public half", "has the name gone to another key"]),
        ("k/versions/x", 72, &["--sign-key cannot be", "write gcpkms://projects/"]),
    ];
    for (name, code, texts) in rows {
        sky.refuses(&format!("{ring}/{name}"), code, texts, variables);
    }
    // A user says which project pays.
    let user = json!({
        "type": "authorized_user", "client_id": "1", "client_secret": "2", "refresh_token": POD, "quota_project_id": "team",
    });
    let user = sky.scratch.file("user.json", user.to_string()).display().to_string();
    let user = sky.variables(&[("GOOGLE_APPLICATION_CREDENTIALS", &user)]);
    let paid = run(&sky.registry, &["sign", &sky.name, "--key", &format!("{ring}/paid/versions/1")], &borrowed(&user));
    expect(&paid, 0, "is signed");
    sky.refuses(&format!("{ring}/paid/versions/1"), 77, &["requires a quota project"], variables);
    // Nobody is there to say who we are.
    let nobody = sky.variables(&[("GCE_METADATA_HOST", "127.0.0.1:1")]);
    let told: &[&str] = &["no metadata server answers at 127.0.0.1:1", "GOOGLE_APPLICATION_CREDENTIALS"];
    sky.refuses(&format!("{ring}/p256"), 77, told, &borrowed(&nobody));
}

#[test]
fn azure() {
    let sky = Sky::start();
    let secret = [("AZURE_CLIENT_ID", "client"), ("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_SECRET", POD)];
    let variables = sky.variables(&secret);
    let variables = &*borrowed(&variables);
    let vault = "azurekms://team.vault.azure.net";
    let public = |name: &str| path(&sky.clouds.scratch, &format!("root/kms/{name}.pub"));
    let rows: [(&str, &str, &[&str]); 5] = [
        ("p256", "", &["-sha256"]),
        ("p384", "/0a1b", &["-sha384"]),
        ("p521", "/0a1b", &["-sha512"]),
        ("rsa-2048", "", &["-sha256"]),
        ("rsa-4096", "/0a1b", &["-sha256"]),
    ];
    for (number, (name, version, how)) in rows.into_iter().enumerate() {
        sky.signs(number, &format!("{vault}/{name}{version}"), &public(name), how, variables);
    }
    // A log is told the hash that was signed: Rekor verifies the signature with it.
    let log = Sigstore::start("https://git.example.com/team/app");
    let logged = sky.registry.repository("logged:1");
    image(&sky.registry, "logged:1", "two");
    let (key, log) = (format!("{vault}/p384"), format!("--rekor-url={}", log.url));
    let words = ["sign", &logged, "--key", &key, &log, "--signature-format=tag"];
    expect(&run(&sky.registry, &words, variables), 0, "is signed");
    let right = "the key permissions get and sign";
    let rows: [(&str, i32, &[&str]); 8] = [
        ("forbidden", 77, &["403 Forbidden ForbiddenByPolicy", "workload identity, client secret", right]),
        ("only-read", 77, &["/keys/only-read/0a1b/sign", right]),
        ("missing", 72, &["404 Not Found KeyNotFound", "name a key that is there"]),
        ("disabled", 72, &["it is disabled", "enable the key"]),
        ("expired", 72, &["KeyExpired: Operation sign is not allowed on an expired key", "enable the key"]),
        ("wrap", 72, &["`sign` is none of its operations", "with the operation sign"]),
        ("bitcoin", 72, &["its curve is `P-256K`", "P-256, P-384 or P-521"]),
        ("a/b/c", 72, &["--sign-key cannot be", "write azurekms://VAULT"]),
    ];
    for (name, code, texts) in rows {
        sky.refuses(&format!("{vault}/{name}"), code, texts, variables);
    }
    let wrong = sky.variables(&[&secret[..2], &[("AZURE_CLIENT_SECRET", "hermit-crab-shell")]].concat());
    sky.refuses(&format!("{vault}/p256"), 77, &["AZURE_CLIENT_SECRET: ", "401 Unauthorized"], &borrowed(&wrong));
    let managed = format!("http://{}", sky.clouds.address);
    let managed = sky.variables(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &managed)]);
    let again = run(&sky.registry, &["sign", &sky.name, "--key", &format!("{vault}/p256")], &borrowed(&managed));
    expect(&again, 0, "was signed already");
}

/// Makes users and keys; prints what the test has to know of them, as JSON.
const AMAZON: &str = r#"
import base64, boto3, json, sys, urllib.request
url, home = sys.argv[1:3]
at = dict(endpoint_url=url, region_name="us-east-1", aws_access_key_id="AK", aws_secret_access_key="SK")
kms, iam = boto3.client("kms", **at), boto3.client("iam", **at)
told = {"keys": {}, "users": {}}
kinds = {"p256": "ECC_NIST_P256", "p384": "ECC_NIST_P384", "p521": "ECC_NIST_P521", "rsa": "RSA_3072", "disabled": "ECC_NIST_P256",
         "bitcoin": "ECC_SECG_P256K1", "decrypt": "RSA_2048", "symmetric": "SYMMETRIC_DEFAULT"}
for name, spec in kinds.items():
    usage = "ENCRYPT_DECRYPT" if name in ("decrypt", "symmetric") else "SIGN_VERIFY"
    key = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    kms.create_alias(AliasName="alias/team/" + name, TargetKeyId=key["KeyId"])
    told["keys"][name] = {"id": key["KeyId"], "arn": key["Arn"]}
    if spec != "SYMMETRIC_DEFAULT":
        der = kms.get_public_key(KeyId=key["KeyId"])["PublicKey"]
        with open(f"{home}/{name}.pub", "w") as file:
            file.write("-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(der).decode() + "-----END PUBLIC KEY-----\n")
kms.disable_key(KeyId=told["keys"]["disabled"]["id"])
for name, actions in {"signer": ["kms:GetPublicKey", "kms:Sign"], "reader": ["kms:GetPublicKey"], "nobody": []}.items():
    iam.create_user(UserName=name)
    allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    if actions:
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    told["users"][name] = [key["AccessKeyId"], key["SecretAccessKey"]]
plain = {"Content-Type": "text/plain"}
urllib.request.urlopen(urllib.request.Request(url + "/moto-api/reset-auth", data=b"0", headers=plain))
print(json.dumps(told))
"#;

#[test]
fn amazon() {
    let Some(store) = ObjectStore::kms() else {
        return crate::support::skips::skip("signing: Amazon's KMS", "moto (tests/run.sh installs it)");
    };
    let sky = Sky::start();
    let home = sky.scratch.path().display().to_string();
    let told: Value = serde_json::from_str(&store.python(AMAZON, &[&home])).expect("JSON");
    let key = |name: &str, form: &str| told["keys"][name][form].as_str().expect("a key").to_owned();
    let who = |name: &str| {
        let user = |part: usize| told["users"][name][part].as_str().expect("a user").to_owned();
        let here = |name: &str, value: String| (name.to_owned(), value);
        vec![
            here("AWS_ENDPOINT_URL_KMS", store.url.clone()),
            here("AWS_REGION", "us-east-1".to_owned()),
            here("AWS_ACCESS_KEY_ID", user(0)),
            here("AWS_SECRET_ACCESS_KEY", user(1)),
        ]
    };
    let signer = who("signer");
    let signer = &*borrowed(&signer);
    let public = |name: &str| path(&sky.scratch, &format!("{name}.pub"));
    let without_region: Vec<_> = signer.iter().copied().filter(|(name, _)| *name != "AWS_REGION").collect();
    let rows: [(&str, String, &[&str], Variables<'_>); 4] = [
        ("p256", "awskms:///alias/team/p256".to_owned(), &["-sha256"], signer),
        // The region is that of the ARN.
        ("p384", format!("awskms:///{}", key("p384", "arn")), &["-sha384"], &without_region),
        ("p521", format!("awskms:///{}", key("p521", "id")), &["-sha512"], signer),
        ("rsa", "awskms:///alias/team/rsa".to_owned(), &["-sha256"], signer),
    ];
    for (number, (name, uri, how, variables)) in rows.into_iter().enumerate() {
        sky.signs(number, &uri, &public(name), how, variables);
    }
    // Its own address, where none is given, and one in the URI; both by HTTPS.
    let address = store.url.trim_start_matches("http://");
    std::fs::write(sky.clouds.scratch.join("root/kms-upstream"), address).expect("it is written");
    let here = sky.variables(&signer[1..]);
    for uri in ["awskms:///alias/team/p256", "awskms://kms.us-east-1.amazonaws.com:443/alias/team/p256"] {
        expect(&run(&sky.registry, &["sign", &sky.name, "--key", uri], &borrowed(&here)), 0, "was signed already");
    }
    let asked = sky.clouds.requests().iter().filter(|line| *line == "POST kms.us-east-1.amazonaws.com /").count();
    assert_eq!(asked, 2, "{:?}", sky.clouds.requests());
    let right = "whoever signs needs kms:GetPublicKey and kms:Sign";
    let (nobody, reader) = (who("nobody"), who("reader"));
    let (mut forged, mut stranger) = (who("signer"), who("signer"));
    forged[3].1 = "hermit-crab-shell".to_owned();
    stranger[2].1 = "AKIAIOSFODNN7EXAMPLE".to_owned();
    let [nobody, reader, forged, stranger] = [&nobody, &reader, &forged, &stranger].map(|who| borrowed(who));
    let keyless = borrowed(&[]);
    let missing = format!("awskms:///{}", key("p256", "id").replace(|c: char| c != '-', "0"));
    let rows: [(&str, i32, &[&str], Variables<'_>); 12] = [
        ("awskms:///alias/team/p256", 77, &["AccessDeniedException", "kms:GetPublicKey", right], &nobody),
        ("awskms:///alias/team/p521", 77, &["InvalidSignatureException", "with the first credentials of"], &forged),
        ("awskms:///alias/team/p521", 77, &["UnrecognizedClientException", "these are looked for: "], &stranger),
        ("awskms:///alias/team/disabled", 72, &["DisabledException", "is disabled", "enable the key"], signer),
        ("awskms:///alias/team/decrypt", 72, &["it is for ENCRYPT_DECRYPT", "key usage SIGN_VERIFY"], signer),
        ("awskms:///alias/team/symmetric", 72, &["UnsupportedOperationException", "key usage SIGN_VERIFY"], signer),
        ("awskms:///alias/team/bitcoin", 72, &["not supported", "ECC_NIST_P256"], signer),
        ("awskms:///alias/missing", 72, &["NotFoundException", "name a key that is there"], signer),
        (&missing, 72, &["NotFoundException", "name a key that is there"], signer),
        ("awskms:///alias/team/p256", 72, &["its region is not known", "set AWS_REGION"], &without_region),
        ("awskms:///alias/team/p256", 72, &["its region is not known"], &keyless),
        ("awskms://alias/team/p256", 72, &["--sign-key cannot be", "write awskms:///KEY-ID"], signer),
    ];
    for (uri, code, texts, variables) in rows {
        sky.refuses(uri, code, texts, variables);
    }
    // The half of the rights finds the key, and no more.
    let fresh = sky.registry.repository("fresh:1");
    image(&sky.registry, "fresh:1", "two");
    let refused = run(&sky.registry, &["sign", &fresh, "--key", "awskms:///alias/team/p256"], &reader);
    expect(&refused, 77, "kms:Sign");
    expect(&run(&sky.registry, &["verify", &sky.name, "--key", "awskms:///alias/team/p256"], &reader), 0, "is signed");
    let uri = "awskms:///alias/team/p256";
    let password = ["sign", &sky.name, "--key", uri, "--sign-key-password-file", "/nonexistent"];
    expect(&run(&sky.registry, &password, signer), 72, "a key in a KMS has no password");
    builds(&sky, &public("p256"), signer, &nobody);
}

/// Builds sign what they push with such a key, and what is said about it; without the right to, nothing runs.
fn builds(sky: &Sky, public: &str, signer: Variables<'_>, nobody: Variables<'_>) {
    let source = crate::support::source::source("FROM $BASE\nRUN echo must not \"run\"\n", &[]);
    for isolation in Isolation::ALL {
        if !isolation.allowed("signing: a key in a KMS") {
            continue;
        }
        for (variables, code) in [(nobody, 77), (signer, 0)] {
            let name = format!("{}:1", isolation.name());
            let mut executor = Executor::new(isolation, source.path());
            executor.push_plain(&sky.registry, &name).output("--digest-file", "digest");
            executor.add(&["--sign-key=awskms:///alias/team/p256", "--provenance=min"]);
            for (name, value) in variables {
                executor.env(name, value);
            }
            let build = executor.run().expect(code);
            hides(&build.stderr);
            if code == 77 {
                assert!(build.stderr.contains("AccessDeniedException"), "{}", build.stderr);
                assert!(!build.stderr.contains("must not run\n"), "the RUN ran:\n{}", build.stderr);
                assert_eq!(sky.registry.digest(&name), None);
                continue;
            }
            let digest = build.result("digest").expect("a digest");
            let image = format!("{}@{digest}", sky.registry.repository(isolation.name()));
            for more in [&["--json"][..], &["--predicate-type", "https://slsa.dev/provenance/v1"]] {
                let verify = [&["verify", &image, "--key", public], more].concat();
                expect(&run(&sky.registry, &verify, &[]), 0, &digest);
            }
        }
    }
}

#[test]
fn a_policy_and_files_name_no_key_of_a_kms() {
    let (registry, scratch) = (Registry::plain(), Scratch::new("named"));
    let policy = r#"{"default": [{"type": "sigstoreSigned", "keyPath": "awskms:///alias/release"}]}"#;
    let policy = scratch.file("policy.json", policy).display().to_string();
    let source = crate::support::source::one_file();
    let context = format!("--context={}", source.path().display());
    let words = [&*context, &format!("--verify-base={policy}"), "--no-push", "--print-plan"];
    expect(&run(&registry, &words, &[]), 72, "write the public half of a key in a KMS to one");
}
