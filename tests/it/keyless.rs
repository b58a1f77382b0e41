//! Signatures without a key: certificates for tokens, and logs; verified here and by sigstore's own verifier.

use std::process::Command;

use serde_json::Value;

use crate::signing::{Variables, expect, image, run};
use crate::support::process::{self, SHORT};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::signatures::{copy, ecdsa, kept, put_back, tag};
use crate::support::sigstore::{ISSUER, Sigstore, verifier};
use crate::support::skips;

const WORKFLOW: &str = "https://ci.example.com/team/app/.ci/release.yaml@refs/heads/main";

/// Verifies by identity.
fn verify(registry: &Registry, sigstore: &Sigstore, name: &str, identity: &str, issuer: &str) -> process::Finished {
    let root = sigstore.file("trusted_root.json");
    let words = [
        "verify",
        name,
        "--certificate-identity",
        identity,
        "--certificate-oidc-issuer",
        issuer,
        "--trusted-root",
        &root,
    ];
    run(registry, &words, &[])
}

fn sign(registry: &Registry, sigstore: &Sigstore, name: &str, more: &[&str]) -> process::Finished {
    let flags = sigstore.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let finished = run(registry, &[&["sign", name], &*flags, more].concat(), &[]);
    let all = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!all.contains(&sigstore.token()), "the token is told:\n{all}");
    finished
}

#[test]
fn an_identity_signs_and_is_told_from_others() {
    let registry = Registry::plain();
    for identity in [WORKFLOW, "somebody@example.com"] {
        let sigstore = Sigstore::start(identity);
        let repository = if identity == WORKFLOW { "workflow" } else { "person" };
        image(&registry, &format!("{repository}:1"), "one");
        let name = registry.repository(&format!("{repository}:1"));
        expect(&sign(&registry, &sigstore, &name, &[]), 0, "is signed");
        let verified = verify(&registry, &sigstore, &name, identity, ISSUER);
        expect(&verified, 0, &format!("{identity} ({ISSUER})"));
        assert_eq!(verified.stdout.lines().count(), 2, "a tag and a bundle: {}", verified.stdout);
        expect(&verify(&registry, &sigstore, &name, "*", "*"), 0, identity);
        let refused = format!("it was made by {identity} ({ISSUER})");
        expect(&verify(&registry, &sigstore, &name, "https://ci.example.com/other", ISSUER), 78, &refused);
        expect(&verify(&registry, &sigstore, &name, identity, "https://other.example.com"), 78, &refused);
        // The same identity by an authority that nobody trusts.
        let other = Sigstore::start(identity);
        expect(&verify(&registry, &other, &name, identity, ISSUER), 78, "in a log that is not trusted");
        let scratch = Scratch::new("key");
        let (_, public) = ecdsa(&scratch, "key");
        expect(&run(&registry, &["verify", &name, "--key", &public], &[]), 78, "another key");
    }
}

#[test]
fn a_certificate_or_an_entry_that_does_not_count_is_refused() {
    let (registry, sigstore) = (Registry::plain(), Sigstore::start(WORKFLOW));
    for (number, (wrong, expected)) in [
        ("expired", "it had expired, or not begun"),
        ("unlogged", "it is in no log of certificates"),
        ("forged", "the log has not signed it"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("app:{number}");
        image(&registry, &name, wrong);
        let name = registry.repository(&name);
        expect(&sigstore.doing(wrong, || sign(&registry, &sigstore, &name, &[])), 0, "is signed");
        expect(&verify(&registry, &sigstore, &name, WORKFLOW, ISSUER), 78, expected);
    }

    // An entry of the log for another signature, and none at all.
    let scratch = Scratch::new("entries");
    let tags = ["--signature-format=tag"];
    let kept = ["one", "two"].map(|text| {
        let digest = image(&registry, &format!("entries:{text}"), text);
        expect(&sign(&registry, &sigstore, &registry.repository(&format!("entries:{text}")), &tags), 0, "is signed");
        let place = format!("entries:{}", tag(&digest, "sig"));
        let (manifest, blobs) = kept(&registry, &place, &scratch, text);
        (place, manifest, blobs)
    });
    let entry = "dev.sigstore.cosign/bundle";
    let [(place, manifest, blobs), (_, other, _)] = &kept;
    let name = registry.repository("entries:one");
    for (value, expected) in [
        (other["layers"][0]["annotations"][entry].clone(), "the log has an entry of other content"),
        (Value::from(""), "no log has it"),
    ] {
        let mut changed = manifest.clone();
        changed["layers"][0]["annotations"][entry] = value;
        put_back(&registry, place, blobs, &changed);
        expect(&verify(&registry, &sigstore, &name, WORKFLOW, ISSUER), 78, expected);
    }
    put_back(&registry, place, blobs, manifest);
    expect(&verify(&registry, &sigstore, &name, WORKFLOW, ISSUER), 0, WORKFLOW);
}

#[test]
fn the_token_is_found_where_pods_and_jobs_have_it_and_told_nowhere() {
    let (registry, sigstore) = (Registry::plain(), Sigstore::start(WORKFLOW));
    image(&registry, "app:1", "one");
    let (name, url, token) = (registry.repository("app:1"), &sigstore.url, sigstore.token());
    let (fulcio, rekor, github) =
        (format!("--fulcio-url={url}"), format!("--rekor-url={url}"), format!("{url}/github?x=1"));
    let words = ["sign", &name, "--sign-keyless", &fulcio, &rekor];
    let rows: [(Variables<'_>, i32, &str); 5] = [
        (&[("SIGSTORE_ID_TOKEN", &token)], 0, "is signed"),
        (&[("ACTIONS_ID_TOKEN_REQUEST_URL", &github), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "right")], 0, "is signed"),
        (
            &[("ACTIONS_ID_TOKEN_REQUEST_URL", &github), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wrong")],
            77,
            "id-token: write",
        ),
        (
            &[("SIGSTORE_ID_TOKEN", "e30.eyJzdWIiOiJwbGFudGVkIn0.planted-secret")],
            77,
            "error processing the identity token …",
        ),
        (&[], 72, "/var/run/sigstore/cosign/oidc-token cannot be read"),
    ];
    for (variables, code, expected) in rows {
        let finished = run(&registry, &words, variables);
        expect(&finished, code, expected);
        for secret in ["planted-secret", &token, "wrong"] {
            assert!(!finished.stderr.contains(secret), "{}", finished.stderr);
        }
    }
}

#[test]
fn the_verifier_of_sigstore_reads_our_bundles() {
    let Some(verifier) = verifier() else {
        skips::skip("keyless: sigstore's verifier", "sigstore of PyPI in target/test-services");
        return;
    };
    let (registry, sigstore, scratch) = (Registry::plain(), Sigstore::start(WORKFLOW), Scratch::new("verifier"));
    let digest = image(&registry, "app:1", "one");
    let name = registry.repository("app:1");
    expect(&sign(&registry, &sigstore, &name, &["--signature-format=bundle"]), 0, "is signed");
    let place = registry.repository(&format!("app:{}", digest.replace(':', "-")));
    let list = process::run(
        Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false"]).arg(format!("docker://{place}")),
        SHORT,
    )
    .success();
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let bundle = list["manifests"][0]["digest"].as_str().expect("a bundle");
    let from = format!("docker://{}", registry.repository(&format!("app@{bundle}")));
    let directory = scratch.join("bundle");
    copy(&[&from, &format!("dir:{}", directory.display())]).success();
    let manifest = crate::support::image::json_file(&directory.join("manifest.json"));
    let hex = &manifest["layers"][0]["digest"].as_str().expect("a digest")["sha256:".len()..];
    let inspected = process::run(
        Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false"]).arg(format!("docker://{name}")),
        SHORT,
    );
    let subject = scratch.file("manifest.json", inspected.success());
    let check = |identity: &str, subject: &std::path::Path| {
        let mut command = Command::new(&verifier);
        command.arg("--trust-config").arg(sigstore.configuration()).args([
            "verify",
            "identity",
            "--cert-identity",
            identity,
        ]);
        command.args(["--cert-oidc-issuer", ISSUER, "--bundle"]).arg(directory.join(hex)).arg(subject);
        process::run(command.env("HOME", scratch.path()), SHORT)
    };
    check(WORKFLOW, &subject).success();
    assert_ne!(check("https://ci.example.com/other", &subject).code, 0);
    let other = scratch.file("other.json", "{}");
    assert_ne!(check(WORKFLOW, &other).code, 0);
}
