//! Signatures: made here and verified by others, made by others and verified here, and refused where they do not hold.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Finished, SHORT};
use crate::support::registry::{Registry, base64};
use crate::support::scratch::Scratch;
use crate::support::signatures::{
    COSIGN_KEY, COSIGN_PASSWORD, COSIGN_PUBLIC, copy, ecdsa, is_left_out, kept, key, openssl, path, payload, put_back,
    read_under_policy, sign_with_skopeo, tag,
};

/// Variables, by name and value.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

/// Runs a command of the executor with these variables alone.
pub(crate) fn run(registry: &Registry, words: &[&str], variables: Variables<'_>) -> Finished {
    let mut command = Command::new(EXECUTOR);
    command.args(words).arg(format!("--insecure-registry={}", registry.address));
    command.env_clear().env("TMPDIR", crate::support::scratch::root()).envs(variables.iter().copied());
    process::run(&mut command, SHORT)
}

/// Pushes an image of one layer; returns its digest.
pub(crate) fn image(registry: &Registry, name: &str, content: &str) -> String {
    let scratch = Scratch::new("image");
    let directory = scratch.path();
    let mut layer = crate::support::bases::Layer::default();
    layer.file("file", 0o644, (0, 0), content.as_bytes());
    let image = crate::support::bases::image_with(directory, &[layer.finish()], |_| ());
    crate::support::bases::layout(directory, &[image]);
    let to = format!("docker://{}", registry.repository(name));
    copy(&["--preserve-digests", &format!("oci:{}", directory.display()), &to]).success();
    registry.digest(name).expect("it is pushed")
}

pub(crate) fn expect(finished: &Finished, code: i32, text: &str) {
    assert_eq!(finished.code, code, "{}\n{}{}", finished.command, finished.stdout, finished.stderr);
    let all = format!("{}{}", finished.stdout, finished.stderr);
    assert!(all.contains(text), "no `{text}` in:\n{all}");
}

/// The keys that people have: name, how OpenSSL makes it, with which words OpenSSL verifies.
const KEYS: [(&str, &[&str], &[&str]); 5] = [
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], &["-sha256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-sha384"]),
    ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], &["-sha512"]),
    ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], &["-sha256"]),
    ("ed25519", &["-algorithm", "ED25519"], &[]),
];

#[test]
fn signatures_by_every_kind_of_key_verify_with_openssl_and_here() {
    let (registry, scratch) = (Registry::plain(), Scratch::new("keys"));
    let digest = image(&registry, "app:1", "one");
    let name = registry.repository("app:1");
    for (number, (kind, words, how)) in KEYS.into_iter().enumerate() {
        let (private, public) = key(&scratch, kind, words);
        expect(&run(&registry, &["sign", &name, "--key", &private], &[]), 0, "is signed");
        expect(&run(&registry, &["sign", &name, "--key", &private], &[]), 0, "was signed already");
        let verified = run(&registry, &["verify", &name, "--key", &public, "--json"], &[]);
        expect(&verified, 0, &digest);
        let told: Value = serde_json::from_str(&verified.stdout).expect("JSON");
        // One under the tag, which has a name, and one in a bundle, which has none.
        assert_eq!(told["signatures"].as_array().map(Vec::len), Some(2), "{kind}: {told}");
        assert_eq!(told["signatures"][0]["name"], registry.repository("app"));
        assert_eq!(told["signatures"][1]["predicateType"], "https://sigstore.dev/cosign/sign/v1");

        let [payload, raw] = payload(&registry, ("app", &digest), number, &scratch);
        match how {
            [] => openssl(&[
                "pkeyutl", "-verify", "-pubin", "-inkey", &public, "-rawin", "-in", &payload, "-sigfile", &raw,
            ]),
            how => openssl(&[&["dgst"], how, &["-verify", &public, "-signature", &raw, &payload]].concat()),
        };
    }
    let (_, stranger) = ecdsa(&scratch, "stranger");
    let refused = run(&registry, &["verify", &name, "--key", &stranger], &[]);
    expect(&refused, 78, "it has 10 signatures: it was made with another key");
}

#[test]
fn keys_are_read_in_the_forms_that_files_have() {
    let (registry, scratch) = (Registry::plain(), Scratch::new("forms"));
    image(&registry, "app:1", "one");
    let name = registry.repository("app:1");
    let (pkcs8, public) = ecdsa(&scratch, "key");
    let (rsa, rsa_public) = key(&scratch, "rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let [sec1, sealed, pkcs1, commented] = ["sec1", "sealed", "pkcs1", "commented"].map(|name| path(&scratch, name));
    openssl(&["ec", "-in", &pkcs8, "-out", &sec1]);
    openssl(&["pkcs8", "-topk8", "-in", &pkcs8, "-passout", "pass:hunter2", "-out", &sealed]);
    openssl(&["rsa", "-traditional", "-in", &rsa, "-out", &pkcs1]);
    let parameters = openssl(&["ecparam", "-name", "prime256v1"]);
    fs::write(&commented, format!("my key\n{parameters}{}", fs::read_to_string(&sec1).expect("text"))).expect("write");
    let password = scratch.file("password", "hunter2\n").display().to_string();
    let cosign = scratch.file("cosign.key", COSIGN_KEY).display().to_string();
    let cosign_public = scratch.file("cosign.pub", COSIGN_PUBLIC).display().to_string();
    let rows: [(&str, &str, &[&str], Variables<'_>); 6] = [
        (&sec1, &public, &[], &[]),
        (&commented, &public, &[], &[]),
        (&sealed, &public, &["--sign-key-password-file", &password], &[]),
        (&sealed, &public, &[], &[("COSIGN_PASSWORD", "hunter2")]),
        (&pkcs1, &rsa_public, &[], &[]),
        (&cosign, &cosign_public, &[], &[("COSIGN_PASSWORD", COSIGN_PASSWORD)]),
    ];
    for (private, public, more, variables) in rows {
        expect(&run(&registry, &[&["sign", &name, "--key", private], more].concat(), variables), 0, "signed");
        expect(&run(&registry, &["verify", &name, "--key", public], &[]), 0, "is signed by the key sha256:");
    }
    let refused: [(&str, Variables<'_>, &str); 6] = [
        (&sealed, &[], "COSIGN_PASSWORD"),
        (&sealed, &[("COSIGN_PASSWORD", "hunter3")], "password does not open"),
        (&cosign, &[("COSIGN_PASSWORD", "hunter3")], "password does not open"),
        (&public, &[], "no PRIVATE KEY"),
        (&password, &[], "no PRIVATE KEY"),
        ("/nonexistent", &[], "cannot be read"),
    ];
    for (private, variables, text) in refused {
        let finished = run(&registry, &["sign", &name, "--key", private], variables);
        expect(&finished, 72, text);
        assert!(!finished.stderr.contains("hunter"), "{}", finished.stderr);
    }
    expect(&run(&registry, &["verify", &name, "--key", &pkcs8], &[]), 72, "the public one is wanted");
}

#[test]
fn skopeo_reads_our_signature_under_its_policy_and_we_read_that_of_skopeo() {
    let (registry, scratch) = (Registry::plain(), Scratch::new("skopeo"));
    image(&registry, "app:1", "one");
    let (private, public) = ecdsa(&scratch, "key");
    let (_, stranger) = ecdsa(&scratch, "stranger");
    let unsigned = read_under_policy(&registry, "app:1", &public, &scratch);
    assert_ne!(unsigned.code, 0, "skopeo wants a signature");
    expect(&run(&registry, &["sign", &registry.repository("app:1"), "--key", &private], &[]), 0, "is signed");
    let read = read_under_policy(&registry, "app:1", &public, &scratch);
    if is_left_out(&read, "signing: skopeo under a policy") {
        return;
    }
    read.success();
    assert_ne!(read_under_policy(&registry, "app:1", &stranger, &scratch).code, 0);

    sign_with_skopeo(&registry, "app:1", "theirs:1", &scratch).success();
    let theirs = scratch.file("cosign.pub", COSIGN_PUBLIC).display().to_string();
    let name = registry.repository("theirs:1");
    expect(&run(&registry, &["verify", &name, "--key", &theirs], &[]), 0, "is signed by the key sha256:");
    expect(&run(&registry, &["verify", &name, "--key", &public], &[]), 78, "another key");
    // Ours stands beside theirs, and both are read.
    expect(&run(&registry, &["sign", &name, "--key", &private], &[]), 0, "is signed");
    expect(&run(&registry, &["verify", &name, "--key", &public], &[]), 0, "is signed");
    read_under_policy(&registry, "theirs:1", &theirs, &scratch).success();
}

#[test]
fn a_signature_that_was_changed_or_moved_does_not_hold() {
    let (registry, scratch) = (Registry::plain(), Scratch::new("tampered"));
    let (digest, other) = (image(&registry, "app:1", "one"), image(&registry, "app:2", "two"));
    let (private, public) = ecdsa(&scratch, "key");
    let (one, two) = (registry.repository("app:1"), registry.repository("app:2"));
    let verify = |name: &str| run(&registry, &["verify", name, "--key", &public], &[]);
    expect(&verify(&one), 78, "it has no signature");
    let sign = ["sign", &one, "--key", &private, "--signature-format=tag"];
    expect(&run(&registry, &sign, &[]), 0, "is signed");
    let place = format!("app:{}", tag(&digest, "sig"));
    let (manifest, blobs) = kept(&registry, &place, &scratch, "kept");

    // The signature of one image under the tag of another.
    put_back(&registry, &format!("app:{}", tag(&other, "sig")), &blobs, &manifest);
    expect(&verify(&two), 78, &format!("it is a signature of {digest}"));

    // A payload that names the other image, under the old signature.
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let payload = fs::read_to_string(blobs.join(&layer["sha256:".len()..])).expect("the payload");
    let forged = payload.replace(&digest, &other);
    let hex = crate::support::image::sha256(&mut forged.as_bytes());
    let hex = hex.strip_prefix("sha256:").unwrap_or(&hex);
    fs::write(blobs.join(hex), &forged).expect("write");
    let mut changed = manifest.clone();
    changed["layers"][0]["digest"] = format!("sha256:{hex}").into();
    put_back(&registry, &format!("app:{}", tag(&other, "sig")), &blobs, &changed);
    expect(&verify(&two), 78, "what it signs was changed");

    // Something else than a signature, none at all, and very many.
    for (value, text) in [
        (Value::from(base64("nonsense")), "another key"),
        ("!".into(), "not in base64"),
        (Value::Null, "has no signature"),
    ] {
        let mut changed = manifest.clone();
        let annotations = &mut changed["layers"][0]["annotations"];
        match value {
            Value::Null => *annotations = serde_json::json!({"other": "x"}),
            value => annotations["dev.cosignproject.cosign/signature"] = value,
        }
        put_back(&registry, &place, &blobs, &changed);
        expect(&verify(&one), 78, text);
    }
    let mut changed = manifest.clone();
    let layer = changed["layers"][0].clone();
    changed["layers"] = vec![layer; 65].into();
    put_back(&registry, &place, &blobs, &changed);
    expect(&verify(&one), 78, "more than 64");
    put_back(&registry, &place, &blobs, &manifest);
    expect(&verify(&one), 0, "is signed");
}

#[test]
fn a_signature_that_openssl_made_verifies_here() {
    let (registry, scratch) = (Registry::plain(), Scratch::new("theirs"));
    let digest = image(&registry, "app:1", "one");
    let name = registry.repository("app:1");
    let (ours, _) = ecdsa(&scratch, "ours");
    let (theirs, public) = ecdsa(&scratch, "theirs");
    expect(&run(&registry, &["sign", &name, "--key", &ours], &[]), 0, "is signed");
    let place = format!("app:{}", tag(&digest, "sig"));
    let (mut manifest, blobs) = kept(&registry, &place, &scratch, "kept");
    let said = serde_json::json!({
        "critical": {
            "type": "cosign container image signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": "registry.example.com/theirs:2"},
        },
        "optional": {"creator": "somebody", "timestamp": 1_700_000_000},
    });
    let hex = crate::support::image::sha256(&mut said.to_string().as_bytes());
    let payload = blobs.join(&hex["sha256:".len()..]);
    fs::write(&payload, said.to_string()).expect("write");
    let (payload, raw) = (payload.display().to_string(), path(&scratch, "raw"));
    openssl(&["dgst", "-sha256", "-sign", &theirs, "-out", &raw, &payload]);
    let signature = openssl(&["base64", "-A", "-in", &raw]);
    let layer = serde_json::json!({
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "digest": hex,
        "size": said.to_string().len(),
        "annotations": {"dev.cosignproject.cosign/signature": signature.trim()},
    });
    manifest["layers"].as_array_mut().expect("layers").push(layer);
    put_back(&registry, &place, &blobs, &manifest);
    expect(&run(&registry, &["verify", &name, "--key", &public], &[]), 0, "as registry.example.com/theirs:2");
}

/// Makes a build that names images in every way there is, and a file that its RUN would leave.
fn uses(base: &str, copied: &str) -> Scratch {
    let dockerfile = format!(
        "FROM {base} AS base\nFROM $BASE\nCOPY --from=base /file /a\nCOPY --from={copied} /file /b\nRUN echo must not \"run\"\n"
    );
    crate::support::source::source(&dockerfile, &[])
}

#[test]
fn bases_that_do_not_meet_the_policy_end_the_build_before_anything_runs() {
    let (registry, scratch) = (Registry::plain(), Scratch::new("policy"));
    for (name, content) in [("signed:1", "one"), ("other:1", "two"), ("foreign:1", "three"), ("exact:1", "four")] {
        image(&registry, name, content);
    }
    let (private, public) = ecdsa(&scratch, "key");
    let (stranger, _) = ecdsa(&scratch, "stranger");
    for (name, key) in [("signed:1", &private), ("exact:1", &private), ("foreign:1", &stranger)] {
        expect(&run(&registry, &["sign", &registry.repository(name), "--key", key], &[]), 0, "is signed");
    }
    let key = base64(&fs::read_to_string(&public).expect("a key"));
    let base = crate::support::bases::base("BASE").reference;
    let wanted =
        serde_json::json!([{"type": "sigstoreSigned", "keyData": key, "signedIdentity": {"type": "matchRepository"}}]);
    let policy = serde_json::json!({
        "default": [{"type": "reject"}],
        "transports": {"docker": {
            base.trim_end_matches(":latest"): [{"type": "insecureAcceptAnything"}],
            registry.address.clone(): wanted,
            registry.repository("exact"): [{"type": "sigstoreSigned", "keyData": key}],
        }},
    })
    .to_string();
    let [signed, other, foreign, exact] =
        ["signed:1", "other:1", "foreign:1", "exact:1"].map(|name| registry.repository(name));
    let second = Registry::plain();
    image(&second, "app:1", "one");
    let elsewhere = second.repository("app:1");
    let unsigned = "it must be signed by the key sha256:";
    let rule = format!("by the rule `{}`", registry.address);
    let rows = [
        (uses(&signed, &signed), vec![], 0, vec![]),
        (uses(&other, &signed), vec![], 78, vec![&*other, &rule, unsigned, "it has no signature", "Dockerfile:1"]),
        (uses(&signed, &foreign), vec![], 78, vec![&*foreign, &rule, "another key", "Dockerfile:4"]),
        (
            crate::support::source::source("FROM $BASE\nRUN --mount=from=x,target=/x echo must not \"run\"\n", &[]),
            vec![format!("--build-context=x=docker-image://{other}")],
            78,
            vec![&*other, "it has no signature"],
        ),
        (
            uses(&elsewhere, &signed),
            vec![format!("--insecure-registry={}", second.address)],
            78,
            vec![&*elsewhere, "by the rule `default` nothing is accepted there"],
        ),
        (uses(&exact, &signed), vec![], 78, vec![&*exact, "must be as", "matchRepository"]),
    ];
    for isolation in Isolation::ALL {
        if !isolation.allowed("signing: a policy of bases") {
            continue;
        }
        for (source, more, code, texts) in &rows {
            let mut executor = Executor::new(isolation, source.path());
            executor.only_layout().add(&[&format!("--insecure-registry={}", registry.address)]);
            let policy = executor.credential("policy.json", &policy);
            executor.add(&[&format!("--verify-base={policy}")]).output("--metadata-file", "metadata");
            executor.add(&more.iter().map(String::as_str).collect::<Vec<_>>());
            let build = executor.run().expect(*code);
            for text in texts {
                assert!(build.stderr.contains(text), "{}: no `{text}` in\n{}", isolation.name(), build.stderr);
            }
            if *code == 78 {
                assert!(!build.stderr.contains("must not run\n"), "the RUN ran:\n{}", build.stderr);
                assert!(build.result("metadata").is_some_and(|text| text.contains("\"untrusted\"")));
            }
        }
    }
}

#[test]
fn a_build_signs_what_it_pushes_and_each_image_of_an_index() {
    if !Isolation::Namespace.allowed("signing: builds") {
        return;
    }
    let (registry, scratch) = (Registry::plain(), Scratch::new("builds"));
    let (private, public) = ecdsa(&scratch, "key");
    let source = crate::support::source::one_file();
    for (name, platforms) in [("one:1", "linux/amd64"), ("many:1", "linux/amd64,linux/arm64")] {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, name).output("--digest-file", "digest");
        executor.add(&[&format!("--sign-key={private}"), &format!("--custom-platform={platforms}")]);
        let build = executor.run().expect(0);
        let digest = build.result("digest").expect("a digest");
        assert!(
            build.stderr.contains(&format!("Signed {}@{digest}", registry.repository(name.trim_end_matches(":1"))))
        );
        let images: Vec<String> = match platforms.contains(',') {
            false => Vec::new(),
            true => {
                let index = process::run(
                    Command::new("skopeo")
                        .args(["inspect", "--raw", "--tls-verify=false"])
                        .arg(format!("docker://{}", registry.repository(name))),
                    SHORT,
                );
                let index: Value = serde_json::from_str(&index.success()).expect("JSON");
                let images = index["manifests"].as_array().expect("images").iter();
                images.map(|image| image["digest"].as_str().expect("a digest").to_owned()).collect()
            }
        };
        let repository = registry.repository(name.trim_end_matches(":1"));
        for digest in images.iter().chain([&digest]) {
            let verified =
                run(&registry, &["verify", &format!("{repository}@{digest}"), "--key", &public, "--json"], &[]);
            expect(&verified, 0, digest);
            let told: Value = serde_json::from_str(&verified.stdout).expect("JSON");
            assert_eq!(told["signatures"].as_array().map(Vec::len), Some(2), "{told}");
        }
    }
    // What cannot be signed is not pushed under its name.
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "no:1").add(&["--sign-key=/nonexistent"]);
    let refused = executor.run().expect(72);
    assert!(refused.stderr.contains("--sign-key: /nonexistent cannot be read"), "{}", refused.stderr);
    assert_eq!(registry.digest("no:1"), None);
}
