//! Reads `/proc/self/mountinfo`: what is mounted where, as this process sees it.
//!
//! Source: proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    /// Where, absolute.
    pub(super) target: PathBuf,
    /// The file system's type: `overlay`, `proc` …
    pub(super) kind: String,
    /// Whether nobody can write there: the mount, or the file system itself, is read-only.
    pub(super) read_only: bool,
}

/// Reads the mounts of this process, in the order in which they were made.
pub(super) fn read() -> std::io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Returns the type of the file system that a path is on, as `mount` names it.
pub fn kind_at(path: &Path) -> Option<String> {
    let mounts = read().ok()?;
    // Of mounts on one another, the last one is seen.
    let above = mounts.into_iter().filter(|mount| path.starts_with(&mount.target));
    above.max_by_key(|mount| mount.target.components().count()).map(|mount| mount.kind)
}

/// Finds the mounts in the text of a mountinfo file; a line that is not of its form is left out.
pub(super) fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (target, options) = (fields.nth(4)?, fields.next()?);
    // A number of optional fields, then a hyphen, then the type, the source and the file system's own options.
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let is_read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|option| option == b"ro");
    let read_only = is_read_only(options) || fields.nth(1).is_some_and(is_read_only);
    Some(Mounted { target: PathBuf::from(OsString::from_vec(unescape(target))), kind, read_only })
}

/// Resolves the octal escapes of a space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| octal(tail)).flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = digits.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// Returns the targets of all mounts but that of the root itself, each once.
pub(super) fn targets(mounts: &[Mounted]) -> Vec<PathBuf> {
    let mut targets: Vec<PathBuf> =
        mounts.iter().map(|mount| mount.target.clone()).filter(|target| target != Path::new("/")).collect();
    targets.sort();
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_target_and_type_past_optional_fields() {
        let text = b"1 0 0:5 / / rw,relatime - overlay overlay rw,lowerdir=/a:/b\n\
            22 27 0:21 / /proc rw shared:12 master:1 - proc proc rw\n\
            23 1 8:1 /x /with\\040space\\134and\\011tab ro,nosuid - ext4 /dev/sda1 rw\n\
            24 1 8:2 / /frozen rw - ext4 /dev/sdb1 ro,norecovery\n\
            nonsense\n";
        let mounts = parse(text);
        let found = |m: &Mounted| (m.target.to_str().unwrap().to_owned(), m.kind.clone(), m.read_only);
        let expected = [
            ("/", "overlay", false),
            ("/proc", "proc", false),
            ("/with space\\and\ttab", "ext4", true),
            ("/frozen", "ext4", true),
        ];
        let expected = expected.map(|(target, kind, read_only)| (target.to_owned(), kind.to_owned(), read_only));
        assert_eq!(mounts.iter().map(found).collect::<Vec<_>>(), expected);
        assert_eq!(targets(&mounts), ["/frozen", "/proc", "/with space\\and\ttab"].map(PathBuf::from));
    }

    #[test]
    fn an_escape_that_is_none_stays_as_it_is() {
        for (field, expected) in [("a\\04", "a\\04"), ("a\\", "a\\"), ("\\999", "\\999"), ("\\777", "\\777")] {
            assert_eq!(unescape(field.as_bytes()), expected.as_bytes(), "{field}");
        }
    }

    #[test]
    fn reads_the_mounts_of_this_process() {
        assert!(read().unwrap().iter().any(|mount| mount.target == Path::new("/")));
    }
}
