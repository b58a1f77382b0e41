//! Images and their digests for people: `file:line:column: image`, as compilers write it.

use std::fmt::Write as _;

use super::super::shown::shown;
use super::{State, Told};

/// Writes all images of all files that have no digest or another one than their tag, and what is left.
pub(super) fn render(files: &[Told<'_>]) -> String {
    let mut page = String::new();
    for file in files {
        // Writing to a string cannot fail.
        let name = shown(&file.file);
        for image in &file.images {
            let place = format!("{name}:{}:{}: {} {}", image.line, image.column, image.instruction, shown(image.image));
            let _ = match (&image.replacement, image.state) {
                (Some(replacement), _) => writeln!(page, "{place}\n  -> {}", shown(replacement)),
                (None, State::Pinned) => writeln!(page, "{place}\n  has a digest"),
                (None, State::Unpinned | State::Outdated) => writeln!(page, "{place}\n  has no digest"),
            };
        }
        for left in &file.left {
            let (line, column, image, reason) = (left.line, left.column, shown(left.image), shown(left.reason));
            let _ = writeln!(page, "{name}:{line}:{column}: {image}\n  left: {reason}");
        }
        let changes = file.images.iter().filter(|image| image.replacement.is_some()).count();
        let _ = match (file.written, changes, file.open()) {
            (_, _, 0) => writeln!(page, "{name}: every image has its digest"),
            (true, changes, _) => writeln!(page, "{name}: {changes} written"),
            (false, 0, open) => writeln!(page, "{name}: {open} without a digest"),
            (false, changes, _) => writeln!(page, "{name}: {changes} to be written; --write does so"),
        };
    }
    page
}
