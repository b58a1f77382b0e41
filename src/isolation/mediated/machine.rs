//! `/sys` and `/proc/sys` as RUN sees them: names in directories of our own, and the real files behind them, to be read.
//!
//! *Invariant: no directory of the machine's is ever given to RUN.*

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::view::{Found, PLACE, Special};
use super::walk::Child;

/// Parts that tell of the machine or act on it: those that the OCI runtimes hide.
const HIDDEN: [&str; 4] =
    ["/sys/firmware", "/sys/devices/virtual/powercap", "/sys/kernel/security", "/proc/sys/kernel/keys"];

fn is_hidden(path: &Path) -> bool {
    HIDDEN.iter().any(|hidden| path.starts_with(hidden))
}

/// Says what a name in a directory of the machine's is; `at` is the directory of ours that stands for it.
pub(super) fn child(at: &OwnedFd, path: &Path, name: &OsStr) -> Result<Child, Errno> {
    let real = path.join(name);
    if is_hidden(&real) {
        return Err(Errno::NOENT);
    }
    let metadata = fs::symlink_metadata(&real).map_err(errno)?;
    if metadata.is_symlink() {
        stand_in(at, &real, name)?;
        return fs::read_link(&real).map(|text| Child::Link(text.into_os_string())).map_err(errno);
    }
    stand_in(at, &real, name)?;
    let found = rustix::fs::openat(at, name, PLACE, Mode::empty())?;
    Ok(Child::Here(if metadata.is_dir() { found.into() } else { Found::special(found, Special::System(real)) }))
}

/// Puts something of the same kind into our directory.
fn stand_in(at: &OwnedFd, real: &Path, name: &OsStr) -> Result<(), Errno> {
    let metadata = fs::symlink_metadata(real).map_err(errno)?;
    let made = if metadata.is_dir() {
        rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755))
    } else if metadata.is_symlink() {
        let text = fs::read_link(real).map_err(errno)?;
        rustix::fs::symlinkat(text, at, name)
    } else if metadata.file_type().is_file() || metadata.file_type().is_fifo() {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o444)).map(drop)
    } else {
        return Err(Errno::NOENT);
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Puts all names of a directory of the machine's into ours.
pub(super) fn fill(at: &OwnedFd, path: &Path) {
    let names: Vec<OsString> =
        fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    for name in names.iter().filter(|name| !is_hidden(&path.join(name))) {
        // What cannot be shown is not listed.
        let _not_listed = stand_in(at, &path.join(name), name);
    }
}

/// Opens a file for reading.
pub(super) fn open(path: &PathBuf) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::empty())?;
    if super::view::is_directory(&rustix::fs::fstat(&opened)?) { Err(Errno::ISDIR) } else { Ok(opened) }
}

pub(super) fn errno(error: impl Into<std::io::Error>) -> Errno {
    Errno::from_io_error(&error.into()).unwrap_or(Errno::IO)
}
