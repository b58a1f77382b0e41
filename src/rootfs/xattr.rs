//! Extended attributes of any kind of file, by directory descriptor and name.
//!
//! No call of Linux before 6.13 takes such a pair, and f*xattr(2) refuses an `O_PATH` descriptor. Through
//! `/proc/self/fd/<directory>/<name>` the calls that do not follow links do the same, for all kinds of files
//! and without the right to open them. Where no /proc is mounted (after a chroot), regular files and
//! directories are opened and asked by descriptor; other kinds can only have `trusted.` and `security.`
//! attributes, see xattr(7), and these are then left out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::owners::is_for_root;
use super::{Directory, Error};

/// Extended attributes by full name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Linux's own limits. Source: linux/limits.h, XATTR_LIST_MAX and XATTR_SIZE_MAX.
const LIST_MAX: usize = 64 * 1024;
const VALUE_MAX: usize = 64 * 1024;

/// The room for names that nearly all files are content with.
const LIST_USUAL: usize = 512;

/// Tells whether `name` belongs to the machine and not to the image.
///
/// SELinux labels come from the policy of the machine that unpacks; overlay's own marks would change the
/// meaning of a directory below another overlay.
pub fn is_foreign(name: &[u8]) -> bool {
    name == b"security.selinux" || name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

enum Handle {
    Path(PathBuf),
    File(OwnedFd),
    /// Something that cannot be asked here.
    None,
}

impl Directory {
    /// Returns the extended attributes of `name` that belong to the image.
    pub fn xattrs(&self, name: &OsStr) -> Result<Xattrs, Error> {
        let mut xattrs = self.all_xattrs(name).map_err(|errno| Error::call("getxattr", self.path(), name, errno))?;
        if let Some(owners) = self.owners() {
            xattrs.append(&mut owners.row(self.inode(name)?).attributes);
        }
        xattrs.retain(|name, _| !is_foreign(name));
        Ok(xattrs)
    }

    /// Returns one extended attribute of `name`, whether it belongs to the image or not.
    pub(super) fn xattr(&self, name: &OsStr, attribute: &str) -> Result<Option<Vec<u8>>, Error> {
        let found = self.all_xattrs(name).map_err(|errno| Error::call("getxattr", self.path(), name, errno))?;
        Ok(found.get(attribute.as_bytes()).cloned())
    }

    /// Sets an extended attribute of `name`.
    pub fn set_xattr(&self, name: &OsStr, attribute: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Some(owners) = self.owners().filter(|_| is_for_root(attribute)) {
            owners.change(self.inode(name)?, |row| drop(row.attributes.insert(attribute.to_vec(), value.to_vec())));
            return Ok(());
        }
        let attribute = OsStr::from_bytes(attribute);
        let result = match handle(self.as_fd(), name) {
            Ok(Handle::Path(path)) => rustix::fs::lsetxattr(path, attribute, value, XattrFlags::empty()),
            Ok(Handle::File(fd)) => rustix::fs::fsetxattr(fd, attribute, value, XattrFlags::empty()),
            Ok(Handle::None) => Err(Errno::OPNOTSUPP),
            Err(errno) => Err(errno),
        };
        result.map_err(|errno| Error::call("setxattr", self.path(), name, errno))
    }

    /// Removes an extended attribute of `name`.
    pub fn remove_xattr(&self, name: &OsStr, attribute: &[u8]) -> Result<(), Error> {
        if let Some(owners) = self.owners().filter(|_| is_for_root(attribute)) {
            owners.change(self.inode(name)?, |row| drop(row.attributes.remove(attribute)));
            return Ok(());
        }
        let attribute = OsStr::from_bytes(attribute);
        let result = match handle(self.as_fd(), name) {
            Ok(Handle::Path(path)) => rustix::fs::lremovexattr(path, attribute),
            Ok(Handle::File(fd)) => rustix::fs::fremovexattr(fd, attribute),
            Ok(Handle::None) => Err(Errno::OPNOTSUPP),
            Err(errno) => Err(errno),
        };
        result.map_err(|errno| Error::call("removexattr", self.path(), name, errno))
    }

    fn all_xattrs(&self, name: &OsStr) -> Result<Xattrs, Errno> {
        let handle = handle(self.as_fd(), name)?;
        let list = match list(&handle) {
            Ok(list) => list,
            Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
            Err(errno) => return Err(errno),
        };
        let mut found = Xattrs::new();
        for attribute in list.split(|byte| *byte == 0).filter(|attribute| !attribute.is_empty()) {
            match value(&handle, OsStr::from_bytes(attribute)) {
                Ok(value) => drop(found.insert(attribute.to_vec(), value)),
                // Listed by an overlay or a security module, but not for us to read; or gone meanwhile.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(found)
    }
}

fn handle(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Handle, Errno> {
    if proc_is_mounted() {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        path.push(if name.is_empty() { OsStr::new(".") } else { name });
        return Ok(Handle::Path(path));
    }
    by_opening(directory, name)
}

fn by_opening(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Handle, Errno> {
    let name = if name.is_empty() { OsStr::new(".") } else { name };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let kind = super::directory::statx(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?.kind;
    match kind {
        super::FileKind::Regular | super::FileKind::Directory => {
            rustix::fs::openat(directory, name, flags, Mode::empty()).map(Handle::File)
        }
        _ => Ok(Handle::None),
    }
}

/// Asked each time: `container` isolation and a chroot change what the path means.
fn proc_is_mounted() -> bool {
    rustix::fs::statfs(Path::new("/proc/self/fd")).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

fn list(handle: &Handle) -> Result<Vec<u8>, Errno> {
    let into = |buffer: &mut Vec<u8>| match handle {
        Handle::Path(path) => rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(buffer)),
        Handle::File(fd) => rustix::fs::flistxattr(fd, rustix::buffer::spare_capacity(buffer)),
        Handle::None => Ok(0),
    };
    let mut buffer = Vec::with_capacity(LIST_USUAL);
    match into(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.reserve(LIST_MAX);
            into(&mut buffer)?;
        }
        result => drop(result?),
    }
    Ok(buffer)
}

fn value(handle: &Handle, attribute: &OsStr) -> Result<Vec<u8>, Errno> {
    let into = |buffer: &mut Vec<u8>| match handle {
        Handle::Path(path) => rustix::fs::lgetxattr(path, attribute, rustix::buffer::spare_capacity(buffer)),
        Handle::File(fd) => rustix::fs::fgetxattr(fd, attribute, rustix::buffer::spare_capacity(buffer)),
        Handle::None => Ok(0),
    };
    let mut buffer = Vec::with_capacity(LIST_USUAL);
    match into(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.reserve(VALUE_MAX);
            into(&mut buffer)?;
        }
        result => drop(result?),
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::rootfs::Tree;

    #[test]
    fn both_ways_find_the_same() {
        let root = tempfile::tempdir().unwrap();
        let directory = Tree::open(root.path()).unwrap().directory(Path::new("")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        fs::create_dir(root.path().join("directory")).unwrap();
        std::os::unix::fs::symlink("file", root.path().join("link")).unwrap();
        let long = vec![b'v'; 3000];
        for name in ["file", "directory"] {
            for number in 0..40 {
                let attribute = format!("user.a-rather-long-name-{number}");
                directory.set_xattr(OsStr::new(name), attribute.as_bytes(), &long).unwrap();
            }
        }
        for (name, expected) in [("file", 40), ("directory", 40), ("link", 0)] {
            let name = OsStr::new(name);
            let by_path = directory.xattrs(name).unwrap();
            assert_eq!(by_path.len(), expected, "{}", name.display());
            assert!(by_path.values().all(|value| *value == long));
            let handle = by_opening(directory.as_fd(), name).unwrap();
            let opened = list(&handle).unwrap();
            assert_eq!(opened.split(|byte| *byte == 0).filter(|part| !part.is_empty()).count(), expected);
            for attribute in by_path.keys() {
                assert_eq!(value(&handle, OsStr::from_bytes(attribute)).unwrap(), long);
            }
        }
        directory.remove_xattr(OsStr::new("file"), b"user.a-rather-long-name-0").unwrap();
        assert_eq!(directory.xattrs(OsStr::new("file")).unwrap().len(), 39);
    }

    #[test]
    fn what_belongs_to_the_machine_is_known() {
        for (name, foreign) in [
            ("security.selinux", true),
            ("trusted.overlay.opaque", true),
            ("user.overlay.origin", true),
            ("security.capability", false),
            ("system.posix_acl_access", false),
            ("user.overlayed", false),
        ] {
            assert_eq!(is_foreign(name.as_bytes()), foreign, "{name}");
        }
    }
}
