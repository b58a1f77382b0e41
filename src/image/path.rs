//! The form that paths have in this room: relative to the root, no `.`, no `..`, no empty part.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// No path that a system call takes is longer, its closing zero included. Source: path_resolution(7).
pub(super) const PATH_MAX: usize = 4096;

/// Why a path is no path of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathFault {
    /// `..` leads out of the root.
    Leaves,
    /// It has a NUL byte, which no kernel accepts.
    Nul,
    /// It is longer than any kernel accepts.
    Length,
}

impl PathFault {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Leaves => "its path leaves the root by `..`",
            Self::Nul => "its path has a NUL byte",
            Self::Length => "its path is longer than 4095 bytes, more than any system can unpack",
        }
    }
}

/// Brings `./a//b/`, `/a/b` and `a/x/../b` into the form `a/b`; the root itself becomes the empty path.
///
/// `..` is resolved in the text alone, as the tar readers of container engines do (Go's `path.Clean`).
pub(super) fn normalized(path: &[u8]) -> Result<PathBuf, PathFault> {
    cleaned(path, || Err(PathFault::Leaves))
}

/// Brings a path into the form of [`normalized`]; a `..` that leads out of the root stays there, as for a process.
pub(super) fn rooted(path: &[u8]) -> Result<PathBuf, PathFault> {
    cleaned(path, || Ok(()))
}

/// `leaving` says what becomes of a `..` at the root.
fn cleaned(path: &[u8], leaving: impl Fn() -> Result<(), PathFault>) -> Result<PathBuf, PathFault> {
    if memchr::memchr(0, path).is_some() {
        return Err(PathFault::Nul);
    }
    let mut clean: Vec<u8> = Vec::with_capacity(path.len());
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if clean.is_empty() => leaving()?,
            b".." => clean.truncate(memchr::memrchr(b'/', &clean).unwrap_or(0)),
            part => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    if clean.len() >= PATH_MAX {
        return Err(PathFault::Length);
    }
    Ok(PathBuf::from(OsString::from_vec(clean)))
}

/// Tells whether a name says that it is elsewhere, whatever [`normalized`] makes of it.
pub(super) fn is_outside(name: &[u8]) -> bool {
    name.starts_with(b"/") || name.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// What becomes of names that lead out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// They are refused.
    Layer,
    /// Those that would not if their `..` were resolved are refused as well, and absolute ones.
    Strict,
    /// They end at the root.
    Rooted,
}

impl Names {
    pub(super) fn path(self, name: &[u8]) -> Result<PathBuf, &'static str> {
        match self {
            Self::Strict if is_outside(name) => Err("its path is absolute or has `..` in it"),
            Self::Layer | Self::Strict => normalized(name).map_err(PathFault::reason),
            Self::Rooted => rooted(name).map_err(PathFault::reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_spelling_becomes_one() {
        for (given, expected) in [
            ("", ""),
            ("/", ""),
            ("./", ""),
            ("a", "a"),
            ("./a/", "a"),
            ("/a//b/.", "a/b"),
            ("a/../b", "b"),
            ("a/b/../../c", "c"),
            ("a/b/../c/", "a/c"),
            ("..a/b..", "..a/b.."),
            (&"a/../".repeat(2048), ""),
        ] {
            assert_eq!(normalized(given.as_bytes()).expect(given), Path::new(expected), "{given}");
        }
    }

    #[test]
    fn a_path_outside_the_root_is_refused() {
        for (given, fault) in [
            ("..", PathFault::Leaves),
            ("../a", PathFault::Leaves),
            ("/../a", PathFault::Leaves),
            ("a/../../b", PathFault::Leaves),
            ("a\0b", PathFault::Nul),
            (&"a/".repeat(2049), PathFault::Length),
        ] {
            assert_eq!(normalized(given.as_bytes()), Err(fault), "{given}");
        }
    }

    #[test]
    fn a_path_from_the_root_down_ends_there() {
        for (given, expected) in [("..", ""), ("/../a", "a"), ("x/../../etc/dots", "etc/dots"), ("a/../b", "b")] {
            assert_eq!(rooted(given.as_bytes()).expect(given), Path::new(expected), "{given}");
        }
        assert_eq!(rooted(b"a\0b"), Err(PathFault::Nul));
    }
}
