//! Directories inside each other, however many, with few descriptors.

use std::ffi::OsStr;

use rustix::io::Errno;

use super::{Directory, Error, Inode};

/// How many directories stay open: few enough for the smallest usual limit of descriptors, which is 1024.
pub(super) const OPEN: usize = 128;

/// Where a walk is: the directory that it looks at, and those around it, of which the innermost are held open.
#[derive(Debug)]
pub(super) struct Nest {
    innermost: Directory,
    /// The outermost first.
    around: Vec<Around>,
}

#[derive(Debug)]
struct Around {
    inode: Inode,
    path: std::path::PathBuf,
    open: Option<Directory>,
}

impl Nest {
    pub(super) fn new(outermost: &Directory) -> Result<Self, Error> {
        Ok(Self { innermost: outermost.try_clone()?, around: Vec::new() })
    }

    /// Returns the directory that was entered last.
    pub(super) fn innermost(&self) -> &Directory {
        &self.innermost
    }

    /// Goes into a directory of the innermost one, whose inode is `inner`; `outer` is the innermost one's.
    pub(super) fn enter(&mut self, name: &OsStr, outer: Inode) -> Result<(), Error> {
        let inner = self.innermost.open_directory(name)?;
        let outer_path = self.innermost.path().to_owned();
        let open = Some(std::mem::replace(&mut self.innermost, inner));
        self.around.push(Around { inode: outer, path: outer_path, open });
        if let Some(far) = self.around.len().checked_sub(OPEN) {
            self.around[far].open = None;
        }
        Ok(())
    }

    /// Goes back to the directory around the innermost one; that it is the same still is made sure.
    pub(super) fn leave(&mut self) -> Result<(), Error> {
        let Some(Around { inode, path, open }) = self.around.pop() else { return Ok(()) };
        self.innermost = match open {
            Some(open) => open,
            None => {
                let found = self.innermost.open_parent()?;
                if found.stat_self()?.inode != inode {
                    return Err(Error::call("openat", &path, "", Errno::STALE));
                }
                found.named(path)
            }
        };
        Ok(())
    }
}
