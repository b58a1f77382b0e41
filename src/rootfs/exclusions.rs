//! The paths of a root file system that are not the image's.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::tree::relative;

/// Paths that are neither written, removed nor looked at: mount points, the state directory, `--ignore-path`.
#[derive(Clone, Debug, Default)]
pub(super) struct Exclusions {
    paths: Vec<OsString>,
}

impl Exclusions {
    /// Takes paths, absolute or relative to the root. The root itself cannot be excluded and is left out.
    pub(super) fn new<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let paths = paths.into_iter().map(|path| relative(path).components().collect::<PathBuf>().into_os_string());
        Self { paths: paths.filter(|path| !path.is_empty()).collect() }
    }

    /// Tells whether `path` is excluded, or below what is.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.paths.iter().any(|excluded| is_at_or_below(path.as_os_str().as_bytes(), excluded.as_bytes()))
    }

    /// Tells whether `path` or something below it is excluded, so that it cannot be removed as a whole.
    pub(super) fn touch(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        self.paths
            .iter()
            .any(|excluded| is_at_or_below(path, excluded.as_bytes()) || is_at_or_below(excluded.as_bytes(), path))
    }
}

/// Compares bytes, not components: it is asked for every file, and all paths here are in plain form.
pub(super) fn is_at_or_below(path: &[u8], ancestor: &[u8]) -> bool {
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
}
