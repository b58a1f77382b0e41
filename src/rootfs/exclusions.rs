//! The paths of a root file system that are not the image's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::tree::relative;
use crate::dockerfile::glob;

/// Paths that are neither written, removed nor looked at: mount points, the state directory, `--ignore-path`.
#[derive(Clone, Debug, Default)]
pub struct Exclusions {
    paths: Vec<OsString>,
    /// Those with wildcards, apart: they cost more to compare.
    patterns: Vec<Vec<OsString>>,
}

impl Exclusions {
    /// Takes paths, absolute or relative to the root; a component may be a pattern of Go's `filepath.Match`. The
    /// root itself cannot be excluded and is left out.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let mut exclusions = Self::default();
        for path in paths {
            let path = relative(path).components().collect::<PathBuf>().into_os_string();
            if glob::has_wildcards(path.as_bytes()) {
                exclusions.patterns.push(Path::new(&path).iter().map(OsStr::to_owned).collect());
            } else if !path.is_empty() {
                exclusions.paths.push(path);
            }
        }
        exclusions
    }

    /// Tells whether `path` is excluded, or below what is.
    pub fn contains(&self, path: &Path) -> bool {
        self.paths.iter().any(|excluded| is_at_or_below(path, Path::new(excluded)))
            || self.patterns.iter().any(|pattern| matching(pattern, path) == pattern.len())
    }

    /// Tells whether `path` or something below it is excluded, so that it cannot be removed as a whole.
    pub fn touch(&self, path: &Path) -> bool {
        let mut paths = self.paths.iter().map(Path::new);
        paths.any(|excluded| is_at_or_below(path, excluded) || is_at_or_below(excluded, path))
            || self.patterns.iter().any(|pattern| matching(pattern, path) == pattern.len().min(path.iter().count()))
    }
}

/// Counts how many components of a pattern match those of a path, from the root on.
fn matching(pattern: &[OsString], path: &Path) -> usize {
    let matches = |(pattern, name): &(&OsString, &OsStr)| {
        // A pattern that is malformed matches nothing.
        glob::matches(pattern.as_bytes(), name.as_bytes()).unwrap_or(false)
    };
    pattern.iter().zip(path).take_while(matches).count()
}

/// Tells whether a path is another or below it; both in plain form, relative to the root. Compares bytes, not components:
/// it is asked for every file.
pub fn is_at_or_below(path: &Path, ancestor: &Path) -> bool {
    let (path, ancestor) = (path.as_os_str().as_bytes(), ancestor.as_os_str().as_bytes());
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || ancestor.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_components_count() {
        let exclusions = Exclusions::new(&[PathBuf::from("/proc/"), PathBuf::from("/var/run/x"), PathBuf::from("/")]);
        for (path, contains, touch) in [
            ("proc", true, true),
            ("proc/1", true, true),
            ("process", false, false),
            ("var", false, true),
            ("var/run", false, true),
            ("var/ru", false, false),
            ("var/run/x/y", true, true),
            ("etc", false, false),
        ] {
            assert_eq!(exclusions.contains(Path::new(path)), contains, "contains {path}");
            assert_eq!(exclusions.touch(Path::new(path)), touch, "touch {path}");
        }
    }

    #[test]
    fn a_component_may_be_a_pattern() {
        let exclusions = Exclusions::new(&[PathBuf::from("/tmp/apt-key-*/x")]);
        for (path, contains, touch) in [
            ("tmp", false, true),
            ("tmp/apt-key-1", false, true),
            ("tmp/apt-key-1/x", true, true),
            ("tmp/apt-key-1/x/y", true, true),
            ("tmp/apt-key-1/z", false, false),
            ("tmp/other", false, false),
        ] {
            assert_eq!(exclusions.contains(Path::new(path)), contains, "contains {path}");
            assert_eq!(exclusions.touch(Path::new(path)), touch, "touch {path}");
        }
    }
}
