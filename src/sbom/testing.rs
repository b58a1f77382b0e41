//! What tests of readers share.

use super::file::{FileScan, Findings};

/// Reads one file, its content in pieces of several sizes, which must make no difference.
pub(super) fn read(path: &str, content: &[u8]) -> Findings {
    let whole = read_in(path, content, content.len().max(1));
    for size in [1, 7, 4096] {
        assert_eq!(read_in(path, content, size), whole, "{path} in pieces of {size}");
    }
    whole
}

/// Reads one file, its content in pieces of `size`.
pub(super) fn read_in(path: &str, content: &[u8], size: usize) -> Findings {
    let Some(mut scan) = FileScan::begin(path.as_bytes(), content.len() as u64) else { return Findings::default() };
    for piece in content.chunks(size) {
        if !scan.content(piece) {
            break;
        }
    }
    if scan.wants_pages() { scan.end_with(&content) } else { scan.end() }
}

/// Lists packages as `name version`.
pub(super) fn names(found: &Findings) -> Vec<String> {
    found.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
}
