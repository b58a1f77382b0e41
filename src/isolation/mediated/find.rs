//! Where a path of RUN's leads: by the kernel at once where its way is RUN's, else name by name, and by what is known already.
//!
//! Knows [`View`] and the notes of [`Known`](super::known::Known). Does not know calls.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::people::Credentials;
use super::split::{Split, split};
use super::view::{Found, Kind, PLACE, Start, View, Where, inode, is_link, kind, openat2, real_path};

impl View {
    /// Follows a path from the directory `start`, of which `path` is where RUN sees it.
    pub(super) fn find(&self, who: &Credentials, start: &Start, path: &OsStr, follow: bool) -> Result<Where, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if is_simple(who)
            && let Some(found) = self.find_at_once(start, path, follow)?
        {
            return Ok(found);
        }
        let is_absolute = path.as_bytes().starts_with(b"/");
        let place = if is_absolute { PathBuf::new() } else { start.place(self)? };
        super::walk::walk(self, who, &place, path, follow)
    }

    /// Follows a path to something that is there.
    pub(super) fn find_there(
        &self,
        who: &Credentials,
        start: &Start,
        path: &OsStr,
        follow: bool,
    ) -> Result<Found, Errno> {
        if is_simple(who) && self.known.borrow().is_missing(path, follow) {
            return Err(Errno::NOENT);
        }
        match self.find(who, start, path, follow)? {
            Where::There(found) => Ok(found),
            Where::Missing { .. } => Err(Errno::NOENT),
        }
    }

    /// Tells whether a path is known to lead to something that is no link.
    pub(super) fn is_no_link(&self, who: &Credentials, path: &OsStr) -> bool {
        is_simple(who) && self.known.borrow().is_no_link(path)
    }

    /// Takes note of a new name.
    pub(super) fn name_was_made(&self) {
        self.known.borrow_mut().name_was_made();
    }

    /// Takes note that a name is gone of what `stat` tells of.
    pub(super) fn name_is_gone(&self, name: &OsStr, stat: &Stat) {
        let mut known = self.known.borrow_mut();
        match kind(stat) {
            libc::S_IFDIR => known.forget(),
            // Paths lead through it.
            libc::S_IFLNK => known.forget_names(),
            _ => known.name_is_gone(name),
        }
    }

    /// Takes note that names lead elsewhere now, and whether a directory is gone by that.
    pub(super) fn names_have_changed(&self, directory_is_gone: bool) {
        let mut known = self.known.borrow_mut();
        if directory_is_gone { known.forget() } else { known.forget_names() }
    }

    /// Asks the kernel for the whole path; none where a mount may be on the way.
    fn find_at_once(&self, start: &Start, path: &OsStr, follow: bool) -> Result<Option<Where>, Errno> {
        let last = if follow { PLACE.difference(OFlags::NOFOLLOW) } else { PLACE };
        let is_absolute = path.as_bytes().starts_with(b"/");
        let (from, resolve) =
            if is_absolute { (None, ResolveFlags::IN_ROOT) } else { (Some(start.open()?), ResolveFlags::BENEATH) };
        if let Some(from) = &from
            && self.mounts[self.mount_of(from)].kind != Kind::Plain
        {
            return Ok(None);
        }
        let from = from.as_ref().map_or(self.root(), AsFd::as_fd);
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        match openat2(from, path, last, resolve) {
            Ok(at) => {
                let found = Found::from(at);
                if !self.is_visible(&found)? {
                    return Ok(None);
                }
                if is_absolute && !follow && !is_link(&found.real()?) {
                    self.known.borrow_mut().add_no_link(path);
                }
                Ok(Some(Where::There(found)))
            }
            Err(Errno::NOENT) => {
                let found = self.find_parent_at_once(from, path, resolve);
                if is_absolute && matches!(found, Ok(Some(_)) | Err(Errno::NOENT)) {
                    self.known.borrow_mut().add_missing(path, follow);
                }
                found
            }
            Err(Errno::ACCESS) => Err(Errno::ACCESS),
            Err(_) => Ok(None),
        }
    }

    /// Finds the directory of a path that leads to nothing; fails where that is missing, too.
    fn find_parent_at_once(
        &self,
        from: BorrowedFd<'_>,
        path: &OsStr,
        resolve: ResolveFlags,
    ) -> Result<Option<Where>, Errno> {
        // What ends with a slash is a directory: the way name by name knows what that means.
        let Some(Split { before: parent, name, slash: false }) = split(path) else { return Ok(None) };
        if matches!(name.as_bytes(), b"." | b"..") {
            return Ok(None);
        }
        let at = match openat2(from, parent, PLACE.difference(OFlags::NOFOLLOW) | OFlags::DIRECTORY, resolve) {
            Ok(at) => at,
            // Where the directory is missing for sure, so is what would be in it.
            Err(Errno::NOENT) => {
                let found = self.find_parent_at_once(from, parent, resolve)?;
                return if found.is_some() { Err(Errno::NOENT) } else { Ok(None) };
            }
            Err(_) => return Ok(None),
        };
        let parent = Found::from(at);
        if !self.is_visible(&parent)? {
            return Ok(None);
        }
        match rustix::fs::statat(&parent.at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(Some(Where::Missing { parent, name: name.to_owned() })),
            // A link that leads to nothing here may lead to a mount.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Tells whether what the kernel has found is what RUN sees there.
    fn is_visible(&self, found: &Found) -> Result<bool, Errno> {
        if self.mounts.len() == 1 {
            return Ok(true);
        }
        if self.crossings.contains_key(&inode(&found.real()?)) {
            return Ok(false);
        }
        if self.covered.is_empty() {
            return Ok(true);
        }
        let Some(path) = real_path(&found.at) else { return Ok(false) };
        let Ok(inside) = path.strip_prefix(&self.mounts[0].real) else { return Ok(true) };
        Ok(!self.covered.iter().any(|covered| inside.starts_with(covered.strip_prefix("/").unwrap_or(covered))))
    }
}

/// Tells whether the kernel's own way to a path is RUN's: for root, whose root is RUN's.
fn is_simple(who: &Credentials) -> bool {
    who.passes() && !who.is_elsewhere()
}
