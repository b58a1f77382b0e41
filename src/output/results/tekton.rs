//! Tekton: results that Chains signs, their size, and artifacts.
//!
//! Sources: <https://tekton.dev/docs/pipelines/tasks/#emitting-results>,
//! <https://tekton.dev/docs/chains/config/#chains-type-hinting>.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::Error;
use super::{Facts, put};
use crate::oci::Reference;
use crate::outcome::BaseUsed;
use crate::place::Places;
use crate::request::{ResultValue, TektonLimit, ValueFile};

/// The names of results, which are those of Chains' type hints where it has one.
const RESULTS: [(&str, ResultValue); 15] = [
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
    ("ATTESTATIONS", ResultValue::Attestations),
    ("ERROR_KIND", ResultValue::ErrorKind),
    ("ERROR_MESSAGE", ResultValue::ErrorMessage),
];

/// The result that several steps of a Task may add to.
const SHARED: &str = "IMAGES";
/// What Tekton itself puts into a termination message: when the step began, and how it ended.
const OWN: usize = 200;
/// What `{"key":"","value":,"type":1},` takes.
const FRAME: usize = 30;

/// Returns the results there are to write. Where nothing was pushed, none of them could be signed as an image:
/// the digest is then left out, too.
fn values(directory: &Path, facts: &Facts<'_>, places: &Places) -> Vec<(&'static str, String)> {
    let told = |value| !(facts.pushed.is_empty() && value == ResultValue::Digest);
    let value = |(name, value)| {
        let own = facts.value(value)?;
        let before = if name == SHARED { places.before(&directory.join(name)) } else { None };
        Some((name, added(before.unwrap_or_default(), own)))
    };
    RESULTS.into_iter().filter(|(_, value)| told(*value)).filter_map(value).collect()
}

/// Adds lines to those that other steps have told. Chains takes commas for the ends of lines, too.
fn added(before: &[u8], own: String) -> String {
    let before = String::from_utf8_lossy(before);
    let mut lines: Vec<&str> = before.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return own;
    }
    for line in own.lines() {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// Names all files of ours. Those of other steps that have the same names are recorded, and stay unless we write them.
pub(super) fn files(directory: &Path) -> impl Iterator<Item = ValueFile> + use<'_> {
    RESULTS.into_iter().map(|(name, value)| ValueFile { value, path: directory.join(name) })
}

/// Writes a file for each result, and returns their names.
pub(super) fn write(directory: &Path, facts: &Facts<'_>, places: &Places) -> Result<Vec<&'static str>, Error> {
    let values = values(directory, facts, places);
    for (name, value) in &values {
        put(places, &directory.join(name), value.as_bytes())?;
    }
    Ok(values.into_iter().map(|(name, _)| name).collect())
}

/// Checks that Tekton will take the results, together with those that other steps have told.
///
/// Digests have one length, so this is known before anything is built.
pub(super) fn check(
    directory: &Path,
    artifacts: bool,
    facts: &Facts<'_>,
    limit: &TektonLimit,
    places: &Places,
) -> Result<(), Error> {
    let values = values(directory, facts, places);
    let most = limit.most();
    if most == 0 {
        return Ok(());
    }
    if limit.is_each() {
        let largest = values.iter().max_by_key(|(_, value)| value.len());
        return match largest {
            Some((name, value)) if value.len() > most => {
                let what = format!("the result {name}");
                Err(Error::TooLarge { what, size: value.len(), limit: most })
            }
            Some(_) | None => Ok(()),
        };
    }
    let artifacts = if artifacts { entry("", &provenance(facts)) } else { 0 };
    let size = OWN + artifacts + message(directory, &values, limit);
    if size > most {
        return Err(Error::TooLarge { what: "the results of this Task".to_owned(), size, limit: most });
    }
    Ok(())
}

fn entry(name: &str, value: &str) -> usize {
    FRAME + name.len() + Value::from(value).to_string().len()
}

/// Returns how many bytes results will take in the termination message. All steps of a Task repeat all of its results
/// there, but only those that the Task declares.
fn message(directory: &Path, values: &[(&str, String)], limit: &TektonLimit) -> usize {
    let size = |file: &Path| fs::metadata(file).ok().and_then(|found| usize::try_from(found.len()).ok());
    let own = |name: &str| values.iter().find(|(own, _)| *own == name).map(|(name, value)| entry(name, value));
    let other = |file: &Path| Some(FRAME + file.file_name()?.len() + size(file)?);
    let Some(step) = &limit.step else {
        // Nobody knows what is declared: all that is there counts.
        let others = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let others = others.filter(|path| RESULTS.iter().all(|(name, _)| path.file_name() != Some(OsStr::new(name))));
        return values.iter().map(|(name, value)| entry(name, value)).sum::<usize>()
            + others.filter_map(|path| other(&path)).sum::<usize>();
    };
    let mut sum = 0;
    for (names, is_own) in
        [(&step.results, directory == step.directory), (&step.step_results, directory != step.directory)]
    {
        for name in names {
            let told = if is_own { own(name) } else { None };
            let place = if is_own { directory } else { &step.directory };
            sum += told.or_else(|| other(&place.join(name))).unwrap_or(0);
        }
    }
    sum
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
    use crate::request::TektonStep;

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
        let written = write(directory.path(), &owned.facts(), &Places::default()).expect("writes");
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
    }

    #[test]
    fn what_was_not_pushed_cannot_be_signed() {
        let directory = tempfile::tempdir().expect("tempdir");
        let mut owned = Owned::new(&[]);
        owned.source = None;
        let written = write(directory.path(), &owned.facts(), &Places::default()).expect("writes");
        assert_eq!(written, ["BASE_IMAGES_DIGESTS", "BASE_IMAGE_ARTIFACT_INPUTS"]);
        assert!(!provenance(&owned.facts()).contains("buildOutput"));
    }

    #[test]
    fn images_are_added_to_those_of_other_steps() {
        for (before, expected) in [
            ("", "a@1\nb@2"),
            ("c@3\n", "c@3\na@1\nb@2"),
            ("c@3,d@4", "c@3\nd@4\na@1\nb@2"),
            ("b@2\nc@3", "b@2\nc@3\na@1"),
        ] {
            assert_eq!(added(before.as_bytes(), "a@1\nb@2".to_owned()), expected, "{before}");
        }
        let directory = tempfile::tempdir().expect("tempdir");
        fs::write(directory.path().join("IMAGES"), "registry.example.com/first@sha256:1").expect("writes");
        let mut places = Places::default();
        files(directory.path()).try_for_each(|file| places.record(&file.path)).expect("records");
        write(directory.path(), &Owned::new(&["registry.example.com/app:1"]).facts(), &places).expect("writes");
        let text = fs::read_to_string(directory.path().join("IMAGES")).expect("reads");
        assert!(text.starts_with("registry.example.com/first@sha256:1\nregistry.example.com/app:1@sha256:"), "{text}");
    }

    #[test]
    fn the_size_is_known_before_the_build() {
        let directory = tempfile::tempdir().expect("tempdir");
        let destinations = |count: usize| -> Vec<String> {
            (0..count).map(|n| format!("registry.example.com/team/application:v1.2.{n}")).collect()
        };
        let judge = |count, artifacts, limit: &TektonLimit| {
            let names = destinations(count);
            let owned = Owned::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
            super::check(directory.path(), artifacts, &owned.facts(), limit, &Places::default())
        };
        let check = |count, artifacts| judge(count, artifacts, &TektonLimit::default());
        check(1, true).expect("one is small");
        check(12, false).expect("twelve fit");
        let error = check(40, false).expect_err("forty do not");
        assert!(error.to_string().contains("4096") && error.to_string().contains("--tekton-results-limit"), "{error}");
        fs::write(directory.path().join("OF_ANOTHER_STEP"), "x".repeat(3000)).expect("writes");
        check(12, false).expect_err("another step's results count, too");
        // The Task declares two results: only these are in the message.
        let own = directory.path().to_owned();
        let declared = |names: &[&str]| TektonStep {
            directory: own.clone(),
            results: names.iter().map(|&name| name.to_owned()).collect(),
            most: 4096,
            ..TektonStep::default()
        };
        let limit = |step| TektonLimit { bytes: None, step: Some(step) };
        judge(40, false, &limit(declared(&["IMAGE_URL", "IMAGE_DIGEST"]))).expect("IMAGES is not declared");
        judge(40, false, &limit(declared(&["IMAGES"]))).expect_err("it is");
        judge(12, false, &limit(declared(&["IMAGES", "OF_ANOTHER_STEP"]))).expect_err("both count");
        let cut = TektonStep { most: 1000, ..declared(&["IMAGES"]) };
        judge(12, false, &limit(cut)).expect_err("the kubelet cuts it");
        let sidecar = |step| TektonStep { by_sidecar: true, ..step };
        judge(12, false, &limit(sidecar(declared(&["IMAGES", "OF_ANOTHER_STEP"])))).expect("each has its own room");
        judge(60, false, &limit(sidecar(declared(&["IMAGES"])))).expect_err("one is too large");
        let asked = |bytes| TektonLimit { bytes: Some(bytes), step: Some(sidecar(declared(&["IMAGES"]))) };
        judge(60, false, &asked(65_536)).expect("the cluster takes larger ones");
        judge(60, false, &TektonLimit { bytes: Some(0), step: None }).expect("nothing is judged");
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
