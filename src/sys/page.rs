//! Memory at a fixed address that several processes read and one writes.
//!
//! Knows a file in memory and where it is mapped. Does not know what is written there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use rustix::fs::MemfdFlags;

use super::Error;

/// A file in memory, mapped for writing in this process.
#[derive(Debug)]
pub struct Shared {
    file: OwnedFd,
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, and moves with it.
unsafe impl Send for Shared {}

impl Shared {
    /// Makes one of `length` bytes, all zero.
    pub fn new(length: usize) -> Result<Self, Error> {
        let failed = |call: &'static str| move |errno: rustix::io::Errno| Error::from_io(call, &errno.into());
        let file = rustix::fs::memfd_create("shared", MemfdFlags::CLOEXEC).map_err(failed("memfd_create()"))?;
        rustix::fs::ftruncate(&file, length as u64).map_err(failed("ftruncate(memfd)"))?;
        // SAFETY: the kernel chooses an address where nothing is, so that no memory of ours is replaced.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::new("mmap(memfd)", Errno::last()));
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(|| Error::new("mmap(memfd)", Errno::EFAULT))?;
        Ok(Self { file, start, length })
    }

    /// Writes `bytes` at `offset`; false where there is no room.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.length) {
            return false;
        }
        // SAFETY: source and target do not overlap, and the target lies within the mapping, which is ours to write.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(offset), bytes.len()) };
        true
    }

    /// Opens the same file for reading alone.
    pub fn for_reading(&self) -> Result<OwnedFd, Error> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(|errno| Error::from_io("open(memfd)", &errno.into()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this address and length, and nothing refers to it any more.
        let _stays_mapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Maps a file for reading at a fixed address, where nothing may be yet; it stays until the next exec.
pub fn map_at(address: usize, length: usize, file: BorrowedFd<'_>) -> Result<(), Error> {
    let wanted = std::ptr::without_provenance_mut::<libc::c_void>(address);
    // SAFETY: with this flag the kernel replaces nothing that is mapped, and nothing of ours relies on the place.
    let found = unsafe {
        libc::mmap(
            wanted,
            length,
            libc::PROT_READ,
            libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE,
            file.as_fd().as_raw_fd(),
            0,
        )
    };
    if found == wanted {
        Ok(())
    } else {
        Err(Error::new(format!("mmap({address:#x}, MAP_FIXED_NOREPLACE)"), Errno::last()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_the_other_address() {
        let mut shared = Shared::new(4096).unwrap();
        let address = 0x2_0000_0000;
        map_at(address, 4096, shared.for_reading().unwrap().as_fd()).unwrap();
        assert!(shared.write(10, b"abc"));
        assert!(!shared.write(4094, b"abc"));
        let there = std::ptr::with_exposed_provenance::<u8>(address + 10);
        // SAFETY: `map_at` has mapped these bytes.
        assert_eq!(unsafe { std::slice::from_raw_parts(there, 3) }, b"abc");
        assert!(map_at(address, 4096, shared.for_reading().unwrap().as_fd()).is_err());
    }
}
