//! The last name of a path, as the kernel takes it apart.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// A path in two parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split<'a> {
    /// The directory; `.` where the path names none.
    pub(super) before: &'a OsStr,
    /// The last name, which may be `.` or `..`.
    pub(super) name: &'a OsStr,
    /// Whether the path ends with a slash.
    pub(super) slash: bool,
}

/// Splits a path into its directory and its last name; none for a path that has no name.
pub(super) fn split(path: &OsStr) -> Option<Split<'_>> {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/')? + 1;
    let (before, name) = match memchr::memrchr(b'/', &bytes[..end]) {
        Some(0) => (b"/".as_slice(), &bytes[1..end]),
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..end]),
        None => (b".".as_slice(), &bytes[..end]),
    };
    Some(Split { before: OsStr::from_bytes(before), name: OsStr::from_bytes(name), slash: end < bytes.len() })
}
