//! Bases that must have provenance of a builder: ours is taken, and whatever lacks a part of that ends the build.

use std::fs;

use serde_json::{Value, json};

use crate::signing::{expect, image, run};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::signatures::{ecdsa, kept, put_back, tag};
use crate::support::sigstore::{ISSUER, Sigstore};
use crate::support::source::source;

const BUILDER: &str = "https://ci.example.com/builder";
const WORKFLOW: &str = "https://ci.example.com/team/app/.ci/release.yaml@refs/heads/main";

/// Pushes a base as a pipeline does, and says how it came to be.
fn base(registry: &Registry, name: &str, builder: &str, arguments: &[&str]) -> String {
    let source = source("FROM scratch\nCOPY file /file\n", &[("file", name)]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(registry, name).add(&["--provenance=min", &format!("--builder-id={builder}")]).add(arguments);
    executor.output("--digest-file", "digest").run().expect(0).result("digest").expect("it was pushed")
}

/// Builds on a base under a policy.
fn build(registry: &Registry, name: &str, policy: &Value, (code, texts): (i32, &[&str])) {
    let source = source(&format!("FROM {}\nCOPY file /b\n", registry.repository(name)), &[("file", "x")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&[&format!("--insecure-registry={}", registry.address)]);
    let policy = executor.credential("policy.json", policy.to_string());
    let build = executor.add(&[&format!("--verify-base={policy}")]).run().expect(code);
    for text in texts {
        assert!(build.stderr.contains(text), "{name}: no `{text}` in\n{}", build.stderr);
    }
    assert_eq!(build.result("layout/index.json").is_some(), code == 0, "{name}");
}

#[test]
fn a_base_needs_signed_provenance_of_the_builder_that_the_rule_names() {
    if !Isolation::Namespace.allowed("signing: provenance of bases") {
        return;
    }
    let (registry, scratch) = (Registry::plain(), Scratch::new("provenance"));
    let [(private, public), (stranger, _)] = ["key", "stranger"].map(|name| ecdsa(&scratch, name));
    let (ours, theirs) = (format!("--sign-key={private}"), format!("--sign-key={stranger}"));
    base(&registry, "bundle:1", BUILDER, &[&ours, "--signature-format=bundle"]);
    let digest = base(&registry, "tag:1", BUILDER, &[&ours, "--signature-format=tag"]);
    base(&registry, "unsigned:1", BUILDER, &[]);
    base(&registry, "foreign:1", BUILDER, &[&theirs]);
    base(&registry, "other:1", "https://elsewhere.example.com", &[&ours]);
    // An image that is signed by the right key, of which nothing else is said; and one with nothing.
    image(&registry, "signed:1", "one");
    expect(&run(&registry, &["sign", &registry.repository("signed:1"), "--key", &private], &[]), 0, "is signed");
    image(&registry, "nothing:1", "two");
    // The provenance of one image under the tag of another.
    let moved = image(&registry, "tag:2", "three");
    let (manifest, blobs) = kept(&registry, &format!("tag:{}", tag(&digest, "att")), &scratch, "kept");
    put_back(&registry, &format!("tag:{}", tag(&moved, "att")), &blobs, &manifest);

    let key = crate::support::registry::base64(&fs::read_to_string(&public).expect("a key"));
    let rule = json!([{"type": "slsaProvenance", "builder": BUILDER, "keyData": key}]);
    let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": {registry.address.clone(): rule}}});
    let wanted = format!("must have SLSA provenance of the builder {BUILDER}, signed by the key sha256:");
    let named = format!("by the rule `{}`", registry.address);
    let refused = |text| (78, [&*wanted, &*named, "Dockerfile:1", text]);
    for name in ["bundle:1", "tag:1"] {
        build(&registry, name, &policy, (0, &[]));
    }
    let other_image = format!("it is a signature of {digest}");
    for (name, text) in [
        ("unsigned:1", "what refers to it is not signed (1 in all)"),
        ("foreign:1", "another key"),
        ("other:1", "names the builder https://elsewhere.example.com"),
        ("signed:1", "and it has none"),
        ("nothing:1", "and it has none"),
        ("tag:2", &*other_image),
    ] {
        let (code, texts) = refused(text);
        build(&registry, name, &policy, (code, &texts));
    }
}

#[test]
fn provenance_of_bases_may_be_signed_by_an_identity() {
    if !Isolation::Namespace.allowed("signing: provenance of bases by an identity") {
        return;
    }
    let (registry, sigstore) = (Registry::plain(), Sigstore::start(WORKFLOW));
    base(&registry, "app:1", BUILDER, &sigstore.flags().each_ref().map(String::as_str));
    let root = sigstore.file("trusted_root.json");
    for (identity, expected) in [
        (WORKFLOW, (0, &[][..])),
        ("https://ci.example.com/other", (78, &["https://ci.example.com/other", "it was made by"][..])),
    ] {
        let rule = json!([{
            "type": "slsaProvenance",
            "builder": BUILDER,
            "certificateIdentity": identity,
            "certificateOidcIssuer": ISSUER,
            "trustedRoot": root,
        }]);
        build(&registry, "app:1", &json!({ "default": rule }), expected);
    }
}
