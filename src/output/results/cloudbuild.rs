//! Google Cloud Build: the directory in which a step tells what it made.
//!
//! Sources: <https://cloud.google.com/build/docs/configuring-builds/pass-data-between-steps>; the file `images`
//! is kaniko's.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::Error;
use super::value::kaniko_name;
use super::{Facts, put};
use crate::oci::Reference;
use crate::place::Places;
use crate::request::ResultValue;

/// How many bytes of `output` Cloud Build keeps.
const LIMIT: usize = 4096;

/// Names both files.
pub(super) fn files(directory: &Path) -> [PathBuf; 2] {
    ["images", "output"].map(|name| directory.join(name))
}

/// Writes both files; `images` only after a push, as kaniko does.
pub(super) fn write(directory: &Path, facts: &Facts<'_>, places: &Places) -> Result<(), Error> {
    let [images_file, output_file] = files(directory);
    if !facts.pushed.is_empty() {
        put(places, &images_file, images(facts).as_bytes())?;
    }
    put(places, &output_file, output(facts).as_bytes())
}

fn images(facts: &Facts<'_>) -> String {
    let name = |reference: &Reference| {
        let tag = reference.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        kaniko_name(reference) + &tag
    };
    let line = |reference| json!({ "name": name(reference), "digest": facts.digest }).to_string() + "\n";
    facts.pushed.iter().map(line).collect()
}

/// Returns one line of JSON that is never cut: the list of references is left out where it is too long.
fn output(facts: &Facts<'_>) -> String {
    let brief = json!({ "image": facts.value(ResultValue::Url), "digest": facts.digest });
    let mut full = brief.clone();
    full["refs"] = facts.images().into();
    let full = full.to_string() + "\n";
    if full.len() > LIMIT { brief.to_string() + "\n" } else { full }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::begin;
    use super::super::value::tests::Owned;
    use super::*;
    use crate::request::ResultFiles;

    #[test]
    fn images_are_written_as_kaniko_does() {
        let owned = Owned::new(&["registry.example.com/app:1", "busybox"]);
        let digest = &owned.digest;
        let expected = format!(
            "{{\"name\":\"registry.example.com/app:1\",\"digest\":\"{digest}\"}}\n\
             {{\"name\":\"index.docker.io/library/busybox:latest\",\"digest\":\"{digest}\"}}\n"
        );
        assert_eq!(images(&owned.facts()), expected);
    }

    #[test]
    fn the_output_is_whole_however_many_destinations_there_are() {
        for count in [0, 1, 12, 100] {
            let names: Vec<String> = (0..count).map(|n| format!("registry.example.com/team/app:{n}")).collect();
            let owned = Owned::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let text = output(&owned.facts());
            assert!(text.len() <= LIMIT, "{count}: {} bytes", text.len());
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["digest"], owned.digest.to_string());
            assert_eq!(value["image"].is_string(), count > 0);
            assert_eq!(value["refs"].is_array(), count < 100);
        }
    }

    #[test]
    fn without_a_push_there_are_no_images() {
        let directory = tempfile::tempdir().expect("tempdir");
        std::fs::write(directory.path().join("images"), "old").expect("writes");
        let results = ResultFiles { cloud_build: Some(directory.path().to_owned()), ..ResultFiles::default() };
        let mut places = Places::default();
        begin(&results, &mut places).expect("begins");
        write(directory.path(), &Owned::new(&[]).facts(), &places).expect("writes");
        assert!(!directory.path().join("images").exists() && directory.path().join("output").exists());
    }
}
