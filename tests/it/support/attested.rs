//! What registries say about images, read by other programs than ours.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::process::{self, SHORT};
use super::registry::Registry;
use super::scratch::Scratch;

/// The referrers that clients list under the tag of an image's digest; empty where there is no such tag.
pub(crate) fn referrers(registry: &Registry, repository: &str, digest: &str) -> Vec<Value> {
    let tag = digest.replace(':', "-");
    if registry.digest(&format!("{repository}:{tag}")).is_none() && raw(registry, repository, &tag).is_none() {
        return Vec::new();
    }
    let index = raw(registry, repository, &tag).expect("the tag is there");
    index["manifests"].as_array().expect("an index").clone()
}

/// A manifest or an index as it is, read by skopeo; `name` is a tag or a digest.
pub(crate) fn raw(registry: &Registry, repository: &str, name: &str) -> Option<Value> {
    let separator = if name.starts_with("sha256:") { '@' } else { ':' };
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--raw"]).args(registry.skopeo_options(""));
    command.arg(format!("docker://{}/{repository}{separator}{name}", registry.address));
    let finished = process::run(&mut command, SHORT);
    (finished.code == 0).then(|| serde_json::from_str(&finished.stdout).expect("JSON"))
}

/// A blob of a plain registry, read by curl.
pub(crate) fn blob(registry: &Registry, repository: &str, digest: &str) -> String {
    let url = format!("http://{}/v2/{repository}/blobs/{digest}", registry.address);
    process::run(Command::new("curl").args(["--fail", "--silent", "--location", "--noproxy", "*", &url]), SHORT)
        .success()
}

/// The first document of an attestation's manifest.
pub(crate) fn document(registry: &Registry, repository: &str, manifest: &str) -> Value {
    let manifest = raw(registry, repository, manifest).expect("it is there");
    let digest = manifest["layers"][0]["digest"].as_str().expect("a layer");
    serde_json::from_str(&blob(registry, repository, digest)).expect("JSON")
}

/// Holds a statement, and its predicate where there is a schema for it, against the schemas in `tests/schemas`.
pub(crate) fn validate(statement: &Value, predicate: Option<&str>) {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    let mut checks = vec![("in-toto-statement-v1.json", statement)];
    checks.extend(predicate.map(|schema| (schema, &statement["predicate"])));
    for (schema, document) in checks {
        let scratch = Scratch::new("schema");
        let file = scratch.file("document.json", document.to_string());
        let script = "import json, sys, jsonschema\n\
            schema = json.load(open(sys.argv[1]))\n\
            jsonschema.Draft202012Validator(schema).validate(json.load(open(sys.argv[2])))\n";
        let mut python = Command::new("python3");
        process::run(python.args(["-c", script]).arg(schemas.join(schema)).arg(file), SHORT).success();
    }
}
