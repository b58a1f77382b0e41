//! A call of a task, and the task's memory.
//!
//! *Invariant: what is read here is a copy: nothing is decided by memory that is read a second time.*

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use rustix::io::Errno;

use super::people::{Credentials, Label};
use crate::sys::notify::Notification;
use crate::sys::process::Pid;
use crate::sys::tracee::{self, Plain};

/// Source: linux/limits.h.
pub(super) const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;

/// A call that waits for its answer, and who makes it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) task: Pid,
    pub(super) number: i64,
    pub(super) arguments: [u64; 6],
    pub(super) label: Label,
    pub(super) who: Rc<Credentials>,
}

impl Call {
    pub(super) fn new(notification: &Notification, label: Label, who: Rc<Credentials>) -> Self {
        let task = Pid::from_raw(notification.task);
        let Notification { id, number, arguments, .. } = *notification;
        Self { id, task, number, arguments, label, who }
    }

    /// Returns an argument.
    pub(super) fn argument(&self, index: usize) -> u64 {
        self.arguments.get(index).copied().unwrap_or_default()
    }

    /// Returns an argument as the kernel takes an `int`.
    pub(super) fn int(&self, index: usize) -> i32 {
        low(self.argument(index)).cast_signed()
    }

    /// Returns an argument as the kernel takes an `unsigned int`.
    pub(super) fn unsigned(&self, index: usize) -> u32 {
        low(self.argument(index))
    }

    /// Reads exactly so many bytes.
    pub(super) fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        self.read_into(address, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn read_into(&self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        match tracee::read(self.task, address, bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) | Err(_) => Err(Errno::FAULT),
        }
    }

    pub(super) fn read_number<const N: usize>(&self, address: u64) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        self.read_into(address, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn read_u32(&self, address: u64) -> Result<u32, Errno> {
        self.read_number(address).map(u32::from_le_bytes)
    }

    pub(super) fn read_u64(&self, address: u64) -> Result<u64, Errno> {
        self.read_number(address).map(u64::from_le_bytes)
    }

    /// Reads a text that ends with a zero, of less than `limit` bytes.
    pub(super) fn read_text(&self, address: u64, limit: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        let mut at = address;
        while text.len() < limit {
            // No further than the page, since the next may not be there.
            let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1).min(limit - text.len()).min(256);
            let start = text.len();
            text.resize(start + in_page, 0);
            let count = tracee::read(self.task, at, &mut text[start..]).map_err(|_| Errno::FAULT)?;
            if count == 0 {
                return Err(Errno::FAULT);
            }
            if let Some(end) = memchr::memchr(0, &text[start..start + count]) {
                text.truncate(start + end);
                return Ok(text);
            }
            text.truncate(start + count);
            at += count as u64;
        }
        Err(too_long)
    }

    /// Reads a path.
    pub(super) fn read_path(&self, address: u64) -> Result<OsString, Errno> {
        self.read_text(address, PATH_MAX, Errno::NAMETOOLONG).map(OsString::from_vec)
    }

    /// Writes all bytes.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        match tracee::write(self.task, address, bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) | Err(_) => Err(Errno::FAULT),
        }
    }

    pub(super) fn write_value(&self, address: u64, value: &impl Plain) -> Result<(), Errno> {
        self.write(address, value.bytes())
    }
}

/// Returns the number of `size` bytes that stands at `at`; bytes that are not there are zero.
pub(super) fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let bytes = bytes.get(at..at + size).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or_default()
}
