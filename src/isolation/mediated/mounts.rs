//! What is mounted in RUN's root: entries of its view, behind which nothing was moved, copied or mounted.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use super::devices::usual;
use super::people::Credentials;
use super::view::{Kind, Mounted, PLACE, View, Where, inode};
use crate::isolation::Access;
use crate::isolation::nodes::LINKS;
use crate::isolation::protocol::{Planned, What};
use crate::rootfs::Device;
use crate::sys::Error;

/// Puts all that is planned into the view. `scratch` is an empty directory for what stands for `/proc`, `/sys`, `/dev` and
/// file systems in memory.
pub(super) fn set_up(view: &mut View, planned: &[Planned], scratch: &Path) -> Result<(), Error> {
    let root = view.mounts[0].real.clone();
    for (number, planned) in planned.iter().enumerate() {
        let target = Path::new("/").join(planned.target.strip_prefix(&root).unwrap_or(&planned.target));
        let place = scratch.join(number.to_string());
        mount(view, &target, &planned.what, &place)
            .map_err(|errno| Error::from_io(format!("mounting on {}", target.display()), &errno.into()))?;
    }
    Ok(())
}

fn mount(view: &mut View, target: &Path, what: &What, place: &Path) -> Result<(), Errno> {
    let is_file = match what {
        What::Bind { source, .. } => !source.is_dir(),
        What::File { .. } => true,
        What::Proc | What::Sys | What::Dev { .. } | What::Tmpfs { .. } => false,
    };
    let on = arrive(view, target, is_file)?;
    let (root, real, kind, read_only) = match what {
        What::Proc => (directory(place, 0o555)?, place.to_owned(), Kind::Processes, false),
        What::Sys => (directory(place, 0o555)?, place.to_owned(), Kind::System, true),
        What::Dev { .. } => (devices(view, place)?, place.to_owned(), Kind::Plain, false),
        What::Tmpfs { .. } => {
            let made = directory(place, 0o1777)?;
            // The set-id bits of a directory are masked by no umask of ours.
            rustix::fs::chmod(place, Mode::from_raw_mode(0o1777))?;
            (made, place.to_owned(), Kind::Plain, false)
        }
        What::Bind { source, read_only } => {
            let real = std::fs::canonicalize(source).map_err(super::machine::errno)?;
            let opened = rustix::fs::open(&real, PLACE, Mode::empty())?;
            (opened, real, Kind::Plain, *read_only)
        }
        What::File { content, access } => {
            let memory = memory(view, &content.0, *access)?;
            (memory, PathBuf::from(format!("/memory{}", target.display())), Kind::Plain, true)
        }
    };
    view.mount(on.as_fd(), Mounted { target: target.to_owned(), root, real, read_only, kind })
}

/// Opens what a mount goes on; what is missing of it, below another mount, is made.
fn arrive(view: &View, target: &Path, is_file: bool) -> Result<OwnedFd, Errno> {
    let root = Credentials::new(0, 0, Vec::new(), u64::MAX);
    let find = |path: &Path| super::walk::walk(view, &root, Path::new("/"), path.as_os_str(), true);
    let mut so_far = PathBuf::from("/");
    let names: Vec<&OsStr> = target.iter().skip(1).collect();
    for (index, name) in names.iter().enumerate() {
        so_far.push(name);
        if let Where::Missing { parent, name } = find(&so_far)? {
            let mode = Mode::from_raw_mode(0o755);
            if is_file && index + 1 == names.len() {
                rustix::fs::mknodat(&parent.at, &name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
            } else {
                rustix::fs::mkdirat(&parent.at, &name, mode)?;
            }
        }
    }
    match find(target)? {
        Where::There(found) => Ok(found.at),
        Where::Missing { .. } => Err(Errno::NOENT),
    }
}

fn directory(place: &Path, mode: u32) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdir(place, Mode::from_raw_mode(mode | 0o700))?;
    rustix::fs::open(place, PLACE, Mode::empty())
}

/// Makes the directory that stands for `/dev`.
fn devices(view: &View, place: &Path) -> Result<OwnedFd, Errno> {
    let root = directory(place, 0o755)?;
    for (name, major, minor) in usual() {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&root, name, flags, Mode::from_raw_mode(0o666))?;
        view.owners.change(inode(&rustix::fs::fstat(&made)?), |row| {
            row.mode = Some(0o666);
            row.device = Some(Device { block: false, major, minor });
        });
    }
    for (name, to) in LINKS.into_iter().chain([("core", "/proc/kcore")]) {
        rustix::fs::symlinkat(to, &root, name)?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)] {
        rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(mode))?;
        rustix::fs::chmodat(&root, name, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())?;
    }
    Ok(root)
}

/// Makes a file that is nowhere but in memory.
fn memory(view: &View, content: &[u8], access: Access) -> Result<OwnedFd, Errno> {
    let memory = rustix::fs::memfd_create("file", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(content).map_err(super::machine::errno)?;
    view.owners.change(inode(&rustix::fs::fstat(&file)?), |row| {
        (row.uid, row.gid) = (access.uid, access.gid);
        row.mode = u16::try_from(access.mode).ok();
    });
    let path = super::view::again(&file);
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
