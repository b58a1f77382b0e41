//! Argo Workflows: a file for each output parameter.
//!
//! Source: <https://argo-workflows.readthedocs.io/en/latest/walk-through/output-parameters/>.

use super::super::Error;
use super::{Facts, put};
use crate::place::Places;
use crate::request::{ResultValue, ValueFile};

/// The names of parameters, which are those of the files below `--argo-outputs-dir`.
pub const PARAMETERS: [(&str, ResultValue); 10] = [
    ("image-url", ResultValue::Url),
    ("image-digest", ResultValue::Digest),
    ("image-ref", ResultValue::Reference),
    ("images", ResultValue::Images),
    ("base-images-digests", ResultValue::BaseImages),
    ("git-url", ResultValue::GitUrl),
    ("git-commit", ResultValue::GitCommit),
    ("attestations", ResultValue::Attestations),
    ("error-kind", ResultValue::ErrorKind),
    ("error-message", ResultValue::ErrorMessage),
];

/// Writes all files; what there is nothing to tell of is empty.
pub(super) fn write(files: &[ValueFile], facts: &Facts<'_>, places: &Places) -> Result<(), Error> {
    files.iter().try_for_each(|file| {
        let value = facts.value(file.value).unwrap_or_default();
        put(places, &file.path, value.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::super::begin;
    use super::super::value::tests::Owned;
    use super::*;
    use crate::request::ResultFiles;

    #[test]
    fn every_file_is_there_from_the_start() {
        let directory = tempfile::tempdir().expect("tempdir");
        let argo: Vec<ValueFile> =
            PARAMETERS.map(|(name, value)| ValueFile { value, path: directory.path().join("out").join(name) }).to_vec();
        let results = ResultFiles { argo, ..ResultFiles::default() };
        let files = &results.argo;
        let lengths = || files.iter().map(|file| std::fs::metadata(&file.path).expect("is there").len());
        let mut places = Places::default();
        begin(&results, &mut places).expect("begins");
        assert!(lengths().all(|length| length == 0));
        let mut owned = Owned::new(&["registry.example.com/app:1"]);
        owned.source = None;
        write(files, &owned.facts(), &places).expect("writes");
        let filled: Vec<bool> = lengths().map(|length| length > 0).collect();
        assert_eq!(filled, [true, true, true, true, true, false, false, false, false, false]);
        begin(&results, &mut Places::default()).expect("begins");
        assert!(lengths().all(|length| length == 0), "a retry must not see the digest of the attempt before");
    }
}
