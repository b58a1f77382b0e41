//! What was found out about names and directories of RUN's root, until a call changes what it rests on.
//!
//! A compiler asks the same of the same paths thousands of times: whether each directory on the way to a header is a link, and
//! for headers where there are none. All that changes a name goes through the supervisor, so what it has found out stays true
//! until then.
//!
//! *Invariant: only what root sees is kept here, of paths that begin at RUN's root and lead through no mount of its own.*

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};

use super::split::split;
use crate::rootfs::Inode;

/// More is forgotten: it is found out again.
const MOST: usize = 1 << 16;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Paths that are there and no links, by their last names.
    no_links: HashMap<OsString, HashSet<OsString>>,
    /// How many those are.
    count: usize,
    /// Paths at which nothing is, and whether a link at their ends is followed.
    missing: HashSet<(OsString, bool)>,
    /// Directories in plain mounts, and which mounts.
    plain: HashMap<Inode, usize>,
}

impl Known {
    /// Takes note of a path that is there and no link.
    pub(super) fn add_no_link(&mut self, path: &OsStr) {
        if self.count == MOST {
            (self.no_links, self.count) = (HashMap::new(), 0);
        }
        let Some(name) = last_name(path) else { return };
        let paths = self.no_links.entry(name.to_owned()).or_default();
        self.count += usize::from(paths.insert(path.to_owned()));
    }

    pub(super) fn is_no_link(&self, path: &OsStr) -> bool {
        last_name(path).and_then(|name| self.no_links.get(name)).is_some_and(|paths| paths.contains(path))
    }

    /// Takes note of a path at which nothing is.
    pub(super) fn add_missing(&mut self, path: &OsStr, follow: bool) {
        if self.missing.len() == MOST {
            self.missing.clear();
        }
        self.missing.insert((path.to_owned(), follow));
    }

    pub(super) fn is_missing(&self, path: &OsStr, follow: bool) -> bool {
        // Most of the time nothing is known, and nothing needs to be copied for the question.
        !self.missing.is_empty() && self.missing.contains(&(path.to_owned(), follow))
    }

    /// Takes note of which plain mount a directory is in.
    pub(super) fn add_directory(&mut self, inode: Inode, mount: usize) {
        if self.plain.len() == MOST {
            self.plain.clear();
        }
        self.plain.insert(inode, mount);
    }

    /// Returns which plain mount a directory is in.
    pub(super) fn mount_of(&self, inode: Inode) -> Option<usize> {
        self.plain.get(&inode).copied()
    }

    /// There is a new name: nothing that was there is another.
    pub(super) fn name_was_made(&mut self) {
        self.missing.clear();
    }

    /// A name is gone of what is no directory and no link, so that no path leads through it.
    pub(super) fn name_is_gone(&mut self, name: &OsStr) {
        self.count -= self.no_links.remove(name).map_or(0, |paths| paths.len());
    }

    /// Any name may lead elsewhere.
    pub(super) fn forget_names(&mut self) {
        *self = Self { plain: std::mem::take(&mut self.plain), ..Self::default() };
    }

    /// Any name may lead elsewhere, and a new directory have the inode of an old one.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Returns the name that a path ends with; none where that is no name of a directory's entry.
fn last_name(path: &OsStr) -> Option<&OsStr> {
    split(path).filter(|split| !split.slash && split.name != "." && split.name != "..").map(|split| split.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &OsStr {
        OsStr::new(path)
    }

    #[test]
    fn what_is_known_of_a_path_ends_with_what_it_rests_on() {
        let mut known = Known::default();
        for path in ["/usr/include", "/opt/include", "/usr/lib", "/usr/.", "/usr/lib/"] {
            known.add_no_link(text(path));
        }
        known.add_missing(text("/usr/x"), true);
        known.name_was_made();
        assert!(!known.is_missing(text("/usr/x"), true));
        known.name_is_gone(text("include"));
        let found = ["/usr/include", "/opt/include", "/usr/lib", "/usr/.", "/usr/lib/"]
            .map(|path| known.is_no_link(text(path)));
        assert_eq!(found, [false, false, true, false, false]);
        assert_eq!(known.count, 1);
        let inode = Inode { device: 1, number: 2 };
        known.add_directory(inode, 3);
        known.forget_names();
        assert!(!known.is_no_link(text("/usr/lib")));
        assert_eq!(known.mount_of(inode), Some(3));
        known.forget();
        assert_eq!(known.mount_of(inode), None);
    }

    #[test]
    fn a_missing_path_is_known_as_it_was_asked_for() {
        let mut known = Known::default();
        known.add_missing(text("/a/link"), true);
        assert!(known.is_missing(text("/a/link"), true));
        assert!(!known.is_missing(text("/a/link"), false), "the link itself may be there");
    }

    #[test]
    fn a_flood_of_names_is_forgotten() {
        let mut known = Known::default();
        for number in 0..=MOST {
            known.add_no_link(text(&format!("/d/{number}")));
            known.add_missing(text(&format!("/m/{number}")), false);
            known.add_directory(Inode { device: 1, number: number as u64 }, 0);
        }
        assert_eq!((known.count, known.missing.len(), known.plain.len()), (1, 1, 1));
    }
}
