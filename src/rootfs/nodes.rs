//! Devices where the kernel makes none: in a user namespace, and in whatever directory an archive is unpacked to without rights.
//! Each stands there as an empty file, and a table tells what it is.
//!
//! *Invariant: a file that takes over the inode of a device that is gone is not taken for it: it was born at another moment.*

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, StatxFlags};

use super::{Device, Inode, Stat};
use crate::image::Timestamp;

/// The table of such devices.
#[derive(Debug, Default)]
pub struct Nodes(Mutex<HashMap<Inode, Node>>);

/// A device, and when the file was made that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    born: Option<Timestamp>,
    device: Device,
}

impl Nodes {
    /// Takes note that the file with this inode, which was made at `born`, stands for a device. No such moment: where the
    /// file system does not tell it; nobody else may remove files there.
    pub fn add(&self, inode: Inode, born: Option<Timestamp>, device: Device) {
        self.with(|nodes| nodes.insert(inode, Node { born, device }));
    }

    /// Returns what is told of a file of which the disk tells `stat`; `born` finds out when it was made.
    pub(super) fn tell(&self, stat: Stat, born: impl FnOnce() -> Option<Timestamp>) -> Stat {
        match self.with(|nodes| nodes.get(&stat.inode).copied()) {
            Some(node) if node.born == born() => stat.of_device(&node.device),
            Some(_) | None => stat,
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut HashMap<Inode, Node>) -> T) -> T {
        // Nothing that is done under the lock panics halfway.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns when a file was made, where its file system tells that.
pub fn born(directory: BorrowedFd<'_>, name: &std::ffi::OsStr) -> Option<Timestamp> {
    let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    let found = rustix::fs::statx(directory, name, flags, StatxFlags::BTIME).ok()?;
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    told.then_some(Timestamp { seconds: found.stx_btime.tv_sec, nanoseconds: found.stx_btime.tv_nsec })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use std::os::fd::AsFd;

    use super::super::{FileKind, Tree};
    use super::*;

    #[test]
    fn a_file_with_the_inode_of_a_device_that_is_gone_is_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let nodes = std::sync::Arc::new(Nodes::default());
        let tree = Tree::open(directory.path()).unwrap().with_nodes(std::sync::Arc::clone(&nodes));
        std::fs::write(directory.path().join("device"), "").unwrap();
        let parent = tree.directory("".as_ref()).unwrap();
        let name = OsStr::new("device");
        let stat = parent.stat(name).unwrap().unwrap();
        assert_eq!(stat.kind, FileKind::Regular);
        let device = Device { block: true, major: 7, minor: 300 };
        let other = Some(Timestamp { seconds: 1, nanoseconds: 2 });
        nodes.add(stat.inode, other, device);
        assert_eq!(parent.stat(name).unwrap().unwrap(), stat);
        nodes.add(stat.inode, born(parent.as_fd(), name), device);
        for told in [parent.stat(name).unwrap().unwrap(), tree.stat("device".as_ref()).unwrap().unwrap()] {
            assert_eq!((told.kind, told.device_numbers()), (FileKind::BlockDevice, (7, 300)));
        }
    }
}
