//! Flags that annotate: `[TYPE[PLATFORM]:]KEY=VALUE`, as buildx writes them.
//!
//! Source: <https://docs.docker.com/build/metadata/annotations/#specify-annotation-level>.

use std::collections::BTreeMap;

use super::UsageError;
use crate::oci::Platform;

/// What an annotation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

/// One annotation, as a flag gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Annotation {
    /// What it is of; none where the flag does not say.
    pub(super) level: Option<Level>,
    pub(super) platform: Option<Platform>,
    pub(super) key: String,
    pub(super) value: String,
    /// As it was written, for messages.
    text: String,
}

const FLAG: &str = "--annotation";

impl Annotation {
    /// Returns an error about this annotation.
    pub(super) fn refused(&self, reason: &str) -> UsageError {
        UsageError::Value { flag: FLAG, value: self.text.clone(), reason: reason.to_owned() }
    }
}

/// Reads `--annotation`; several levels may be given with commas. A pipeline whose parameter is not set passes an
/// empty value.
pub(super) fn annotations(given: &[String]) -> Result<Vec<Annotation>, UsageError> {
    let mut annotations = Vec::new();
    for text in given.iter().filter(|text| !text.is_empty()) {
        let refuse = |reason: String| UsageError::Value { flag: FLAG, value: text.clone(), reason };
        let (name, value) = text.split_once('=').ok_or_else(|| refuse("write KEY=VALUE".to_owned()))?;
        let (levels, key) = match name.split_once(':') {
            Some((levels, key)) => (levels.split(',').map(Some).collect(), key),
            None => (vec![None], name),
        };
        for level in levels {
            annotations.push(annotation(level, key, value, text).map_err(refuse)?);
        }
    }
    Ok(annotations)
}

/// Reads the key of a field of `--output`, `annotation[-TYPE][PLATFORM].KEY`; none for any other key.
pub(super) fn field(name: &str, value: &str) -> Option<Result<Annotation, String>> {
    let rest = name.strip_prefix("annotation")?;
    let (level, key) = rest.split_once('.')?;
    let level = match level.strip_prefix('-') {
        Some(level) => Some(level.to_owned()),
        None if level.is_empty() => None,
        None if level.starts_with('[') => Some(format!("manifest{level}")),
        None => return None,
    };
    Some(annotation(level.as_deref(), key, value, &format!("{name}={value}")))
}

fn annotation(level: Option<&str>, key: &str, value: &str, text: &str) -> Result<Annotation, String> {
    if key.trim().is_empty() {
        return Err("it needs a key before its value".to_owned());
    }
    let (level, platform) = match level.map(|level| (level, level.strip_suffix(']'))) {
        Some((_, Some(level))) => level.split_once('[').map(|(level, platform)| (Some(level), Some(platform))),
        Some((level, None)) => Some((Some(level), None)),
        None => Some((None, None)),
    }
    .ok_or_else(|| "write a platform in brackets behind the type".to_owned())?;
    let platform: Option<Platform> =
        platform.map(str::parse).transpose().map_err(|error: crate::oci::PlatformError| error.to_string())?;
    let level = match level {
        None => None,
        Some("manifest") => Some(Level::Manifest),
        Some("manifest-descriptor") => Some(Level::ManifestDescriptor),
        Some("index") => Some(Level::Index),
        Some("index-descriptor") => Some(Level::IndexDescriptor),
        Some(other) => {
            return Err(format!(
                "`{other}` is no type; it can be manifest, manifest-descriptor, index, index-descriptor"
            ));
        }
    };
    let (key, value, text) = (key.to_owned(), value.to_owned(), text.to_owned());
    Ok(Annotation { level, platform, key, value, text })
}

/// Adds to a map; the same key again overwrites, as for labels.
pub(super) fn add(to: &mut BTreeMap<String, String>, annotation: Annotation) {
    to.insert(annotation.key, annotation.value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Annotation>, String> {
        annotations(&[text.to_owned()]).map_err(|error| error.to_string())
    }

    #[test]
    fn levels_and_platforms_are_read() {
        let rows = [
            ("a=b=c", None, None, "a", "b=c"),
            ("manifest:a=", Some(Level::Manifest), None, "a", ""),
            ("index:a=b:c", Some(Level::Index), None, "a", "b:c"),
            ("a=b:c", None, None, "a", "b:c"),
            ("index-descriptor:a=b", Some(Level::IndexDescriptor), None, "a", "b"),
            ("manifest-descriptor[linux/arm64]:a=b", Some(Level::ManifestDescriptor), Some("linux/arm64"), "a", "b"),
        ];
        for (text, level, platform, key, value) in rows {
            let read = read(text).expect(text);
            assert_eq!(read.len(), 1);
            let platform = platform.map(|platform| platform.parse().expect("platform"));
            assert_eq!((read[0].level, &read[0].platform), (level, &platform), "{text}");
            assert_eq!((&*read[0].key, &*read[0].value), (key, value), "{text}");
        }
        let two = read("manifest,manifest-descriptor:a=b").expect("two levels");
        assert_eq!(
            two.iter().map(|one| one.level).collect::<Vec<_>>(),
            [Some(Level::Manifest), Some(Level::ManifestDescriptor)]
        );
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_annotation_is_refused() {
        for (text, expected) in [
            ("a", "KEY=VALUE"),
            ("=b", "needs a key"),
            ("index:=b", "needs a key"),
            ("manifst:a=b", "`manifst` is no type"),
            ("manifest[x/y/z/q]:a=b", "not a platform"),
            ("manifest]:a=b", "in brackets"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn fields_of_outputs_are_annotations_too() {
        let level = |name: &str| field(name, "v").map(|read| read.map(|one| (one.level, one.key)));
        assert_eq!(level("annotation.a.b"), Some(Ok((None, "a.b".to_owned()))));
        assert_eq!(
            level("annotation-manifest-descriptor.a"),
            Some(Ok((Some(Level::ManifestDescriptor), "a".to_owned())))
        );
        assert_eq!(level("annotation[linux/amd64].a"), Some(Ok((Some(Level::Manifest), "a".to_owned()))));
        assert!(level("annotation-x.a").is_some_and(|read| read.is_err()));
        assert_eq!((level("annotations"), level("name")), (None, None));
    }
}
