//! Signatures as others make and read them: OpenSSL's keys, what a registry holds, skopeo under a policy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::image::json_file;
use super::process::{self, Finished, SHORT};
use super::registry::{Registry, base64};
use super::scratch::Scratch;

/// A key that was made with an implementation of NaCl and of scrypt that is not ours, in cosign's form.
pub(crate) const COSIGN_KEY: &str = include_str!("keys/cosign.key");
/// Its public half.
pub(crate) const COSIGN_PUBLIC: &str = include_str!("keys/cosign.pub");
/// Its password.
pub(crate) const COSIGN_PASSWORD: &str = "correct horse";

/// Runs `openssl` with these words.
pub(crate) fn openssl(words: &[&str]) -> String {
    process::run(Command::new("openssl").args(words), SHORT).success()
}

/// Makes a key with `openssl`, in the words after `genpkey`, and its public half; returns their paths.
pub(crate) fn key(scratch: &Scratch, name: &str, words: &[&str]) -> (String, String) {
    let (key, public) = (path(scratch, &format!("{name}.key")), path(scratch, &format!("{name}.pub")));
    openssl(&[&["genpkey"], words, &["-out", &key]].concat());
    openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
    (key, public)
}

/// Makes an ECDSA key.
pub(crate) fn ecdsa(scratch: &Scratch, name: &str) -> (String, String) {
    key(scratch, name, &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
}

pub(crate) fn path(scratch: &Scratch, name: &str) -> String {
    scratch.join(name).display().to_string()
}

/// Copies an image with skopeo.
pub(crate) fn copy(words: &[&str]) -> Finished {
    let mut command = Command::new("skopeo");
    process::run(
        command.args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]).args(words),
        SHORT,
    )
}

/// Returns the tag under which what belongs to an image is.
pub(crate) fn tag(digest: &str, suffix: &str) -> String {
    format!("{}.{suffix}", digest.replace(':', "-"))
}

/// What is kept under a tag: its manifest, and the directory with its blobs by their hex digests.
pub(crate) fn kept(registry: &Registry, reference: &str, scratch: &Scratch, name: &str) -> (Value, PathBuf) {
    let directory = scratch.join(name);
    copy(&[&format!("docker://{}", registry.repository(reference)), &format!("dir:{}", directory.display())]).success();
    (json_file(&directory.join("manifest.json")), directory)
}

/// Takes one signature out of what is kept under the tag of an image, whose `number`th it is: returns the paths of what is
/// signed and of the signature.
pub(crate) fn payload(
    registry: &Registry,
    (name, digest): (&str, &str),
    number: usize,
    scratch: &Scratch,
) -> [String; 2] {
    let directory = Scratch::new("payload");
    let (manifest, blobs) = kept(registry, &format!("{name}:{}", tag(digest, "sig")), &directory, "kept");
    let layer = &manifest["layers"][number];
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().expect("a signature");
    let encoded = scratch.file("signature.b64", signature);
    let raw = path(scratch, "signature");
    openssl(&["base64", "-d", "-A", "-in", &encoded.display().to_string(), "-out", &raw]);
    let blob = blobs.join(layer["digest"].as_str().and_then(|text| text.strip_prefix("sha256:")).expect("hex"));
    let said = fs::read_to_string(blob).expect("the payload");
    assert!(said.contains(digest) && said.contains("cosign container image signature"), "{said}");
    [scratch.file("payload", said).display().to_string(), raw]
}

/// Changes the manifest of what [`kept`] has brought, and puts it under a tag.
pub(crate) fn put_back(registry: &Registry, reference: &str, directory: &Path, manifest: &Value) {
    fs::write(directory.join("manifest.json"), manifest.to_string()).expect("it is ours");
    copy(&[&format!("dir:{}", directory.display()), &format!("docker://{}", registry.repository(reference))]).success();
}

/// Reads an image with skopeo under a policy that wants a signature by one key.
pub(crate) fn read_under_policy(registry: &Registry, reference: &str, public: &str, scratch: &Scratch) -> Finished {
    let key = base64(&fs::read_to_string(public).expect("a public key"));
    let wanted = json!([{"type": "sigstoreSigned", "keyData": key, "signedIdentity": {"type": "matchRepository"}}]);
    let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": {&registry.address: wanted}}});
    let policy = scratch.file("policy.json", policy.to_string());
    let lookaside = format!("docker:\n  \"{}\":\n    use-sigstore-attachments: true\n", registry.address);
    scratch.file("registries.d/here.yaml", lookaside);
    let mut command = Command::new("skopeo");
    command.arg("--policy").arg(policy).arg("--registries.d").arg(scratch.join("registries.d"));
    command.args(["copy", "--quiet", "--src-tls-verify=false"]);
    command.arg(format!("docker://{}", registry.repository(reference)));
    process::run(command.arg(format!("dir:{}", scratch.join("read").display())), SHORT)
}

/// Debian's skopeo has this feature taken out; says so.
pub(crate) fn is_left_out(finished: &Finished, what: &str) -> bool {
    let is = finished.stderr.contains("sigstore disabled");
    if is {
        super::skips::skip(what, "a skopeo with sigstore signatures (Debian's has them disabled)");
    }
    is
}

/// Signs an image with skopeo and cosign's key, on the way from one name to another.
pub(crate) fn sign_with_skopeo(registry: &Registry, from: &str, to: &str, scratch: &Scratch) -> Finished {
    let key = scratch.file("cosign.key", COSIGN_KEY);
    let password = scratch.file("cosign.password", format!("{COSIGN_PASSWORD}\n"));
    let lookaside = format!("docker:\n  \"{}\":\n    use-sigstore-attachments: true\n", registry.address);
    scratch.file("registries.d/here.yaml", lookaside);
    let mut command = Command::new("skopeo");
    command.arg("--registries.d").arg(scratch.join("registries.d"));
    command.args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    command.arg("--sign-by-sigstore-private-key").arg(key).arg("--sign-passphrase-file").arg(password);
    command.arg(format!("docker://{}", registry.repository(from)));
    process::run(command.arg(format!("docker://{}", registry.repository(to))), SHORT)
}
