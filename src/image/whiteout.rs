//! The names that mean a removal.
//!
//! Knows the `.wh.` names of the layer format; does not remove anything.
//!
//! Source: OCI image-spec, layer.md "Whiteouts".

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How all of them begin.
pub const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const RESERVED: &[u8] = b".wh..wh.";

/// What a file's name says about the layers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// The file of this name in the same directory is removed.
    Remove(&'a OsStr),
    /// All that lower layers have in the directory is removed.
    Opaque,
    /// A name of AUFS's own bookkeeping (`.wh..wh.plnk` and the like): neither a file nor a removal.
    Reserved,
}

/// Tells what the last part of `path` removes; an ordinary file removes nothing.
///
/// A `.wh.` with nothing after it, or with `.` or `..`, is reserved too: it names no file that could be removed.
pub fn classify(path: &Path) -> Option<Whiteout<'_>> {
    let name = path.file_name()?.as_bytes();
    let removed = name.strip_prefix(PREFIX)?;
    Some(match removed {
        _ if name == OPAQUE => Whiteout::Opaque,
        _ if name.starts_with(RESERVED) => Whiteout::Reserved,
        b"" | b"." | b".." => Whiteout::Reserved,
        removed => Whiteout::Remove(OsStr::from_bytes(removed)),
    })
}

/// Returns the path of the entry that removes `path`; none for the root, which cannot be removed.
pub fn removal(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let mut removal = OsString::from_vec(PREFIX.to_vec());
    removal.push(name);
    Some(path.with_file_name(removal))
}

/// Returns the path of the entry that hides what lower layers have in `directory`.
pub fn opaque(directory: &Path) -> PathBuf {
    directory.join(OsStr::from_bytes(OPAQUE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let remove = |name| Some(Whiteout::Remove(OsStr::new(name)));
        for (path, expected) in [
            ("", None),
            ("a/b", None),
            ("a/.wh", None),
            (".wh.a/b", None),
            ("a/.wh.b", remove("b")),
            (".wh..hidden", remove(".hidden")),
            ("a/.wh..wh..opq", Some(Whiteout::Opaque)),
            ("a/.wh..wh.plnk", Some(Whiteout::Reserved)),
            ("a/.wh.", Some(Whiteout::Reserved)),
            ("a/.wh..", Some(Whiteout::Reserved)),
            ("a/.wh...", Some(Whiteout::Reserved)),
        ] {
            assert_eq!(classify(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_made_is_understood() {
        let removal = removal(Path::new("a/b")).expect("not the root");
        assert_eq!(removal, Path::new("a/.wh.b"));
        assert_eq!(classify(&removal), Some(Whiteout::Remove(OsStr::new("b"))));
        assert_eq!(classify(&opaque(Path::new("a"))), Some(Whiteout::Opaque));
        assert_eq!(super::removal(Path::new("")), None);
    }
}
