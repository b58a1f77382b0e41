//! Tekton: results that Chains signs, their size, and artifacts.
//!
//! Sources: <https://tekton.dev/docs/pipelines/tasks/#emitting-results>,
//! <https://tekton.dev/docs/chains/config/#chains-type-hinting>.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::Error;
use super::{Facts, file};
use crate::oci::Reference;
use crate::outcome::BaseUsed;
use crate::request::{ResultValue, ValueFile};

/// The names of results, which are those of Chains' type hints where it has one.
const RESULTS: [(&str, ResultValue); 14] = [
    ("IMAGE_URL", ResultValue::Url),
    ("IMAGE_DIGEST", ResultValue::Digest),
    ("IMAGE_REF", ResultValue::Reference),
    ("IMAGES", ResultValue::Images),
    ("BASE_IMAGES_DIGESTS", ResultValue::BaseImages),
    ("CHAINS-GIT_URL", ResultValue::GitUrl),
    ("CHAINS-GIT_COMMIT", ResultValue::GitCommit),
    ("IMAGE_ARTIFACT_OUTPUTS", ResultValue::ArtifactOutput),
    ("BASE_IMAGE_ARTIFACT_INPUTS", ResultValue::ArtifactInput(0)),
    ("BASE_IMAGE_2_ARTIFACT_INPUTS", ResultValue::ArtifactInput(1)),
    ("BASE_IMAGE_3_ARTIFACT_INPUTS", ResultValue::ArtifactInput(2)),
    ("BASE_IMAGE_4_ARTIFACT_INPUTS", ResultValue::ArtifactInput(3)),
    ("ERROR_KIND", ResultValue::ErrorKind),
    ("ERROR_MESSAGE", ResultValue::ErrorMessage),
];

/// What the termination message of a step may hold, in bytes: all results of the Task are in it, as JSON.
const LIMIT: usize = 4096;
/// What Tekton itself puts there: when the step began, and how it ended.
const OWN: usize = 200;
/// What `{"key":"","value":,"type":1},` takes.
const FRAME: usize = 30;

/// Returns the results there are to write. Where nothing was pushed, none of them could be signed as an image:
/// the digest is then left out, too.
fn values(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let told = |value| !(facts.pushed.is_empty() && value == ResultValue::Digest);
    RESULTS
        .into_iter()
        .filter(|(_, value)| told(*value))
        .filter_map(|(name, value)| Some((name, facts.value(value)?)))
        .collect()
}

/// Lists the files of all results.
pub(super) fn files(directory: &Path) -> impl Iterator<Item = ValueFile> + use<'_> {
    RESULTS.into_iter().map(|(name, value)| ValueFile { value, path: directory.join(name) })
}

pub(super) fn clear(directory: &Path) -> Result<(), Error> {
    RESULTS.iter().try_for_each(|(name, _)| file::clear(&directory.join(name)))
}

/// Writes a file for each result, and returns their names.
pub(super) fn write(directory: &Path, facts: &Facts<'_>) -> Result<Vec<&'static str>, Error> {
    let values = values(facts);
    for (name, value) in &values {
        file::write_atomically(&directory.join(name), value.as_bytes())?;
    }
    Ok(values.into_iter().map(|(name, _)| name).collect())
}

/// Checks that the results fit into a termination message, together with those that other steps left there.
///
/// Digests have one length, so this is known before anything is built.
pub(super) fn check(directory: &Path, artifacts: bool, facts: &Facts<'_>) -> Result<(), Error> {
    let entry = |name: &str, value: &str| FRAME + name.len() + Value::from(value).to_string().len();
    let own: usize = values(facts).iter().map(|(name, value)| entry(name, value)).sum();
    let artifacts = if artifacts { entry("", &provenance(facts)) } else { 0 };
    let others: usize = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|other| RESULTS.iter().all(|(name, _)| other.file_name() != *name))
        .filter_map(|other| Some(FRAME + other.file_name().len() + usize::try_from(other.metadata().ok()?.len()).ok()?))
        .sum();
    let size = OWN + own + artifacts + others;
    if size > LIMIT {
        return Err(Error::TooLarge { what: "the results of this Task", size, limit: LIMIT });
    }
    Ok(())
}

/// Returns the document that Tekton reads as the inputs and outputs of a step.
///
/// Source: <https://tekton.dev/docs/pipelines/artifacts/>.
pub(super) fn provenance(facts: &Facts<'_>) -> String {
    let values = |uri: String, algorithm: &str, hex: &str| json!([{ "uri": uri, "digest": { algorithm: hex } }]);
    let mut inputs = Vec::new();
    if let Some(source) = facts.source {
        let uri = format!("git+{}@{}", source.url, source.commit);
        let algorithm = if source.commit.len() == 64 { "sha256" } else { "sha1" };
        inputs.push(json!({ "name": "source", "values": values(uri, algorithm, &source.commit) }));
    }
    let base =
        |BaseUsed { name, digest }: &BaseUsed| json!({ "uri": purl(name), "digest": { "sha256": digest.hex() } });
    let bases: Vec<Value> = facts.bases.unwrap_or_default().iter().map(base).collect();
    if !bases.is_empty() {
        inputs.push(json!({ "name": "base", "values": bases }));
    }
    let image = |name: &Reference| json!({ "uri": purl(name), "digest": { "sha256": facts.digest.hex() } });
    let images: Vec<Value> = facts.pushed.iter().map(image).collect();
    let outputs = if images.is_empty() {
        Vec::new()
    } else {
        vec![json!({ "name": "image", "buildOutput": true, "values": images })]
    };
    json!({ "inputs": inputs, "outputs": outputs }).to_string()
}

/// Returns the package URL of an image. Source: <https://github.com/package-url/purl-spec>, type `oci`.
fn purl(reference: &Reference) -> String {
    let last = reference.repository.rsplit('/').next().unwrap_or_default();
    let tag = reference.tag.as_ref().map(|tag| format!("&tag={tag}")).unwrap_or_default();
    format!("pkg:oci/{last}?repository_url={}{tag}", reference.name())
}

#[cfg(test)]
mod tests {
    use super::super::value::tests::Owned;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("lists").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_pushed_image_has_all_results_and_they_are_small() {
        let directory = tempfile::tempdir().expect("tempdir");
        let owned = Owned::new(&["registry.example.com/team/app:1"]);
        let written = write(directory.path(), &owned.facts()).expect("writes");
        assert_eq!(written.len(), 9);
        let all = [
            "BASE_IMAGES_DIGESTS",
            "BASE_IMAGE_ARTIFACT_INPUTS",
            "CHAINS-GIT_COMMIT",
            "CHAINS-GIT_URL",
            "IMAGES",
            "IMAGE_ARTIFACT_OUTPUTS",
            "IMAGE_DIGEST",
            "IMAGE_REF",
            "IMAGE_URL",
        ];
        assert_eq!(names(directory.path()), all);
        let bytes: u64 = all.iter().map(|name| fs::metadata(directory.path().join(name)).expect("stat").len()).sum();
        assert!(bytes < 1024, "{bytes} bytes");
        clear(directory.path()).expect("clears");
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_was_not_pushed_cannot_be_signed() {
        let directory = tempfile::tempdir().expect("tempdir");
        let mut owned = Owned::new(&[]);
        owned.source = None;
        let written = write(directory.path(), &owned.facts()).expect("writes");
        assert_eq!(written, ["BASE_IMAGES_DIGESTS", "BASE_IMAGE_ARTIFACT_INPUTS"]);
        assert!(!provenance(&owned.facts()).contains("buildOutput"));
    }

    #[test]
    fn the_size_is_known_before_the_build() {
        let directory = tempfile::tempdir().expect("tempdir");
        let destinations = |count: usize| -> Vec<String> {
            (0..count).map(|n| format!("registry.example.com/team/application:v1.2.{n}")).collect()
        };
        let check = |count, artifacts| {
            let names = destinations(count);
            let owned = Owned::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
            check(directory.path(), artifacts, &owned.facts())
        };
        check(1, true).expect("one is small");
        check(12, false).expect("twelve fit");
        let error = check(40, false).expect_err("forty do not");
        assert!(error.to_string().contains("4096"), "{error}");
        fs::write(directory.path().join("OF_ANOTHER_STEP"), "x".repeat(3000)).expect("writes");
        check(12, false).expect_err("another step's results count, too");
        fs::write(directory.path().join("OF_ANOTHER_STEP"), "x").expect("writes");
        fs::write(directory.path().join("IMAGES"), "x".repeat(4000)).expect("writes");
        check(1, false).expect("what is replaced does not count");
    }

    #[test]
    fn artifacts_are_short_and_say_what_came_of_what() {
        let owned = Owned::new(&["registry.example.com/team/app:1"]);
        let text = provenance(&owned.facts());
        assert!(text.len() < 700, "{} bytes: {text}", text.len());
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let output = &value["outputs"][0];
        assert_eq!(output["buildOutput"], true);
        assert_eq!(output["values"][0]["uri"], "pkg:oci/app?repository_url=registry.example.com/team/app&tag=1");
        assert_eq!(output["values"][0]["digest"]["sha256"], owned.digest.hex());
        assert_eq!(value["inputs"][0]["values"][0]["digest"]["sha1"], "a1".repeat(20));
        assert_eq!(value["inputs"][1]["name"], "base");
    }
}
