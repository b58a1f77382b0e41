//! GitLab CI: a dotenv report.
//!
//! Source: <https://docs.gitlab.com/ci/yaml/artifacts_reports/#artifactsreportsdotenv>: names of letters, digits
//! and underscores, one line a value.

use std::path::Path;

use super::super::Error;
use super::{Facts, put};
use crate::place::Places;
use crate::request::ResultValue;

const VARIABLES: [(&str, ResultValue); 5] = [
    ("IMAGE_URL", ResultValue::Url),
    ("IMAGE_DIGEST", ResultValue::Digest),
    ("IMAGE_REF", ResultValue::Reference),
    ("IMAGES", ResultValue::Images),
    ("BASE_IMAGES_DIGESTS", ResultValue::BaseImages),
];

pub(super) fn write(path: &Path, facts: &Facts<'_>, places: &Places) -> Result<(), Error> {
    let line = |(name, value)| Some(format!("{name}={}\n", facts.value(value)?.replace('\n', ",")));
    let lines: String = VARIABLES.into_iter().filter_map(line).collect();
    put(places, path, lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::value::tests::Owned;
    use super::*;

    #[test]
    fn one_line_a_variable() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("build.env");
        let owned = Owned::new(&["registry.example.com/app:1", "registry.example.com/app:2"]);
        write(&path, &owned.facts(), &Places::default()).expect("writes");
        let text = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(text.lines().count(), 5, "{text}");
        let digest = &owned.digest;
        let images = format!("IMAGES=registry.example.com/app:1@{digest},registry.example.com/app:2@{digest}");
        assert!(text.lines().any(|line| line == images), "{text}");
    }
}
