//! GitHub Actions: outputs and the summary of a step.
//!
//! Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>. The names
//! `digest`, `imageid` and `metadata` are those of docker/build-push-action.

use std::path::Path;

use serde_json::json;

use super::super::Error;
use super::{Facts, failure};
use crate::place::Places;
use crate::request::{GithubFiles, ResultValue};

/// Stands around values of several lines. No line of a reference can be equal to it: it has no colon.
const DELIMITER: &str = "yadokari_end_of_value";

/// Adds to both files: other steps' lines are in them, so they are never replaced.
pub(super) fn write(files: &GithubFiles, facts: &Facts<'_>, places: &Places) -> Result<(), Error> {
    let add = |path: &Path, text: &str| {
        places.with(path, |place| place.append(text.as_bytes())).map_err(failure("add to", path))
    };
    add(&files.output, &outputs(facts))?;
    files.summary.iter().try_for_each(|path| add(path, &summary(facts)))
}

fn outputs(facts: &Facts<'_>) -> String {
    let mut text = format!("digest={}\n", facts.digest);
    if let Some(config) = facts.config {
        text += &format!("imageid={config}\n");
    }
    for (name, value) in [("image", ResultValue::Url), ("image-ref", ResultValue::Reference)] {
        if let Some(value) = facts.value(value) {
            text += &format!("{name}={value}\n");
        }
    }
    if let Some(images) = facts.value(ResultValue::Images) {
        text += &format!("images<<{DELIMITER}\n{images}\n{DELIMITER}\n");
    }
    let names: Vec<String> = facts.pushed.iter().map(ToString::to_string).collect();
    let metadata = json!({
        "containerimage.config.digest": facts.config,
        "containerimage.digest": facts.digest,
        "image.name": names.join(","),
    });
    text + &format!("metadata={metadata}\n")
}

fn summary(facts: &Facts<'_>) -> String {
    let rows = facts.pushed.iter().map(|reference| format!("| `{reference}` | `{}` |\n", facts.digest));
    let rows: String = rows.collect();
    if rows.is_empty() {
        return format!("Built `{}`, pushed nowhere.\n\n", facts.digest);
    }
    format!("| Image | Digest |\n| --- | --- |\n{rows}\n")
}

#[cfg(test)]
mod tests {
    use super::super::value::tests::Owned;
    use super::*;

    #[test]
    fn lines_are_added_to_what_is_there() {
        let directory = tempfile::tempdir().expect("tempdir");
        let files =
            GithubFiles { output: directory.path().join("output"), summary: Some(directory.path().join("summary")) };
        std::fs::write(&files.output, "of=another\n").expect("writes");
        let owned = Owned::new(&["registry.example.com/app:1", "registry.example.com/app:2"]);
        write(&files, &owned.facts(), &Places::default()).expect("writes");
        let (text, digest) = (std::fs::read_to_string(&files.output).expect("reads"), &owned.digest);
        let start = format!(
            "of=another\ndigest={digest}\nimageid={digest}\nimage=registry.example.com/app:1\n\
             image-ref=registry.example.com/app@{digest}\nimages<<{DELIMITER}\n\
             registry.example.com/app:1@{digest}\nregistry.example.com/app:2@{digest}\n{DELIMITER}\nmetadata={{"
        );
        assert!(text.starts_with(&start), "{text}");
        let summary = std::fs::read_to_string(directory.path().join("summary")).expect("reads");
        assert_eq!(summary.matches(digest.as_str()).count(), 2);
    }

    #[test]
    fn without_a_push_the_digest_is_told_and_no_name() {
        let owned = Owned::new(&[]);
        let text = outputs(&owned.facts());
        assert!(text.starts_with("digest=sha256:") && !text.contains("image="), "{text}");
        assert!(summary(&owned.facts()).contains("pushed nowhere"));
    }
}
