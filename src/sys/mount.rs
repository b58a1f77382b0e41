//! Mounts in the caller's own mount namespace.
//!
//! Knows mount(2) and its younger relatives, with the older call where a kernel or a sandbox lacks the newer.
//! Does not know what a root file system needs.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags};

use super::Error;

/// Mounts a new file system of type `kind` on `target`; `data` are its options, `mode=755` and the like.
pub fn filesystem(kind: &str, target: &Path, flags: MountFlags, data: &str) -> Result<(), Error> {
    let call = || format!("mount({kind}, {}, type={kind}, flags={flags:?}, {data:?})", target.display());
    let options = CString::new(data).map_err(|_| Error::new(call(), Errno::EINVAL))?;
    rustix::mount::mount(kind, target, kind, flags, options.as_c_str())
        .map_err(|errno| Error::from_io(call(), &errno.into()))
}

/// Makes the file or directory `source` visible at `target`; recursively with all mounts below it.
pub fn bind(source: &Path, target: &Path, recursive: bool) -> Result<(), Error> {
    let result = if recursive {
        rustix::mount::mount_bind_recursive(source, target)
    } else {
        rustix::mount::mount_bind(source, target)
    };
    result.map_err(|errno| {
        let flags = if recursive { "MS_BIND|MS_REC" } else { "MS_BIND" };
        Error::from_io(format!("mount({}, {}, {flags})", source.display(), target.display()), &errno.into())
    })
}

/// Ends the exchange of mounts with other namespaces, for all mounts of this namespace.
pub fn make_all_private() -> Result<(), Error> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Error::from_io("mount(/, MS_PRIVATE|MS_REC)", &errno.into()))
}

/// Makes the mount at `target` and all mounts below it read-only.
///
/// Needs mount_setattr(2), Linux 5.12. Older calls cannot do it for a tree at once, and would have to name
/// each mount's locked flags.
pub fn make_tree_read_only(target: &Path) -> Result<(), Error> {
    let call = || format!("mount_setattr({}, AT_RECURSIVE, MOUNT_ATTR_RDONLY)", target.display());
    let path = c_string(target).ok_or_else(|| Error::new(call(), Errno::EINVAL))?;
    let flags = libc::AT_RECURSIVE.unsigned_abs();
    set(libc::AT_FDCWD, &path, flags, libc::MOUNT_ATTR_RDONLY).map_err(|errno| Error::new(call(), errno))
}

/// Makes the one bind mount at `target` read-only, on any kernel.
pub fn make_read_only(target: &Path) -> Result<(), Error> {
    add_to_bind(target, libc::MOUNT_ATTR_RDONLY, MountFlags::RDONLY)
}

/// Sees to it that no device can be opened through the one bind mount at `target`, on any kernel.
pub fn forbid_devices(target: &Path) -> Result<(), Error> {
    add_to_bind(target, libc::MOUNT_ATTR_NODEV, MountFlags::NODEV)
}

fn add_to_bind(target: &Path, attribute: u64, flag: MountFlags) -> Result<(), Error> {
    if c_string(target).is_some_and(|path| set(libc::AT_FDCWD, &path, 0, attribute).is_ok()) {
        return Ok(());
    }
    // In a user namespace the flags that the mount came with are locked: a remount must repeat them.
    let kept = rustix::fs::statvfs(target).map_or(rustix::fs::StatVfsMountFlags::empty(), |fs| fs.f_flag);
    let mut flags = MountFlags::BIND | flag;
    for (stat, mount) in [
        (rustix::fs::StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (rustix::fs::StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (rustix::fs::StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if kept.contains(stat) {
            flags |= mount;
        }
    }
    rustix::mount::mount_remount(target, flags, c"").map_err(|errno| {
        Error::from_io(format!("mount({}, flags=MS_REMOUNT|{flags:?})", target.display()), &errno.into())
    })
}

/// Returns a descriptor of the file at `path` through a mount of its own that is read-only and in no
/// directory tree: what is opened through it can never be opened for writing.
pub fn read_only_copy(path: &Path) -> Result<OwnedFd, Error> {
    let call = || format!("open_tree({}, OPEN_TREE_CLONE)", path.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, path, flags).map_err(|errno| Error::from_io(call(), &errno.into()))?;
    set(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH.unsigned_abs(), libc::MOUNT_ATTR_RDONLY)
        .map_err(|errno| Error::new(format!("mount_setattr({}, MOUNT_ATTR_RDONLY)", path.display()), errno))?;
    Ok(tree)
}

/// Makes the mount at `root` the root of this process and of its mount namespace; nothing of the old root
/// stays reachable. The working directory is the new root afterwards.
pub fn pivot(root: &Path) -> Result<(), Error> {
    rustix::process::chdir(root)
        .map_err(|errno| Error::from_io(format!("chdir({})", root.display()), &errno.into()))?;
    // pivot_root(".", ".") puts the old root on top of the new one, from where it is taken away: no directory
    // is needed for it. Source: pivot_root(2), NOTES.
    rustix::process::pivot_root(".", ".")
        .map_err(|errno| Error::from_io(format!("pivot_root({}, .)", root.display()), &errno.into()))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)
        .map_err(|errno| Error::from_io("umount2(old root, MNT_DETACH)", &errno.into()))?;
    rustix::process::chdir("/").map_err(|errno| Error::from_io("chdir(/)", &errno.into()))
}

fn c_string(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).ok()
}

fn set(directory: libc::c_int, path: &CStr, flags: libc::c_uint, attribute: u64) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: attribute, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a C string and the attributes a struct of exactly the size given; both outlive the
    // call, and the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}
