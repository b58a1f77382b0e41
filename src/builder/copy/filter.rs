//! Which files below a copied directory are taken: `--parents` patterns say what to include, `--exclude` what not.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::dockerfile::ignore::{Match, Patterns};

use super::Error;

/// The patterns of one source.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// None takes everything.
    include: Option<Patterns>,
    exclude: Patterns,
}

/// What was said of a directory, for what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    include: Match,
    exclude: Match,
    /// Whether the file itself is taken.
    pub(super) taken: bool,
}

impl Filter {
    /// Makes a filter; patterns are relative to the directory that is copied.
    pub(super) fn new(include: Option<&str>, excludes: &[String]) -> Result<Self, Error> {
        let list = |patterns: &mut dyn Iterator<Item = &str>| {
            Patterns::from_list(patterns).map_err(|source| Error::Filter { source })
        };
        let include = match include {
            Some(pattern) => Some(list(&mut std::iter::once(pattern))?),
            None => None,
        };
        Ok(Self { include, exclude: list(&mut excludes.iter().map(String::as_str))? })
    }

    /// Judges a file by its path below the copied directory and what was said of the directory it is in.
    pub(super) fn judge(&self, directory: &Verdict, path: &Path) -> Verdict {
        let path = path.as_os_str().as_bytes();
        let include = self.include.as_ref().map(|include| include.below(&directory.include, path));
        let exclude = self.exclude.below(&directory.exclude, path);
        let included = include.as_ref().is_none_or(|include| include.excluded);
        Verdict { taken: included && !exclude.excluded, include: include.unwrap_or_default(), exclude }
    }

    /// Tells whether something below a directory may be taken though the directory itself is not.
    pub(super) fn may_take_below(&self, directory: &Verdict, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        let included = directory.include.excluded || self.include.as_ref().is_none_or(|p| p.may_match_below(path));
        included && (!directory.exclude.excluded || self.exclude.may_reinclude_below(&directory.exclude, path))
    }
}
