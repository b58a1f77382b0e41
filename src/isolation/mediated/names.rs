//! Calls that make, remove and rename.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Stat};
use rustix::io::Errno;

use super::open::owns;
use super::people::{Credentials, MKNOD};
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::Call;
use super::view::{Found, PLACE, Split, Start, Where, again, inode, is_directory, kind, split};
use crate::rootfs::{Device, FileKind, least_mode};

/// A name in a directory, whether something has it or not.
#[derive(Debug)]
struct Named {
    parent: Found,
    name: OsString,
    /// Whether the path ended with a slash.
    directory: bool,
}

impl Named {
    fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.parent.at, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl Supervisor {
    /// Finds the directory and the name that a path ends with.
    fn named(&self, call: &Call, start: &Start, path: u64) -> Result<Named, Errno> {
        let path = call.read_path(path)?;
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let Split { before, name, slash } = split(&path).ok_or(Errno::EXIST)?;
        if matches!(name.as_bytes(), b"." | b"..") {
            return Err(Errno::INVAL);
        }
        if name.len() > 255 {
            return Err(Errno::NAMETOOLONG);
        }
        match self.view.find(&call.who, start, before, true)? {
            Where::There(parent) if parent.special.is_none() => {
                if !is_directory(&rustix::fs::fstat(&parent.at)?) {
                    return Err(Errno::NOTDIR);
                }
                Ok(Named { parent, name: name.to_owned(), directory: slash })
            }
            Where::There(_) => Err(Errno::NOTDIR),
            Where::Missing { .. } => Err(Errno::NOENT),
        }
    }

    /// Finds a name that something new is to have.
    fn new_name(&self, call: &Call, start: &Start, path: u64) -> Result<Named, Errno> {
        let named =
            self.named(call, start, path).map_err(|errno| if errno == Errno::INVAL { Errno::EXIST } else { errno })?;
        if named.stat().is_ok() {
            return Err(Errno::EXIST);
        }
        self.check_change(&call.who, &named.parent)?;
        Ok(named)
    }

    /// Fails where a process may neither make nor remove anything in a directory.
    pub(super) fn check_change(&self, who: &Credentials, parent: &Found) -> Result<(), Errno> {
        let stat = self.view.stat(&parent.at)?;
        if !who.may(stat.st_uid, stat.st_gid, stat.st_mode, 3) {
            return Err(Errno::ACCESS);
        }
        if !matches!(self.view.mounts[self.view.mount_of(&parent.at)].kind, super::view::Kind::Plain) {
            return Err(Errno::ACCESS);
        }
        self.view.check_writable(parent)
    }

    /// Fails where a name is not a process's to remove.
    fn check_removal(&self, who: &Credentials, named: &Named, stat: &Stat) -> Result<(), Errno> {
        self.check_change(who, &named.parent)?;
        if self.view.crossing(stat).is_some() {
            return Err(Errno::BUSY);
        }
        let directory = self.view.stat(&named.parent.at)?;
        let told = self.view.told(*stat).0;
        // Source: inode(7), the sticky bit.
        if directory.st_mode & libc::S_ISVTX != 0 && who.user.files != directory.st_uid && !owns(who, &told) {
            return Err(Errno::PERM);
        }
        Ok(())
    }

    /// Takes note of who a new file belongs to, and of the mode that it was made with (none: it has no mode).
    pub(super) fn made(
        &self,
        who: &Credentials,
        parent: impl AsFd,
        new: impl AsFd,
        mode: Option<u32>,
    ) -> Result<(), Errno> {
        let (parent, stat) = (self.view.stat(parent)?, rustix::fs::fstat(new)?);
        let inherits = parent.st_mode & libc::S_ISGID != 0;
        let gid = if inherits { parent.st_gid } else { who.group.files };
        let mode = mode.map(|mode| if inherits && is_directory(&stat) { mode | libc::S_ISGID } else { mode });
        let real = stat.st_mode & 0o7777;
        let mode = mode.filter(|mode| *mode != real).and_then(|mode| u16::try_from(mode).ok());
        self.view.owners.forget(inode(&stat));
        self.view.owners.change(inode(&stat), |row| (row.uid, row.gid, row.mode) = (who.user.files, gid, mode));
        Ok(())
    }

    fn made_by_name(&self, call: &Call, named: &Named, mode: Option<u32>) -> Outcome {
        let new = rustix::fs::openat(&named.parent.at, &named.name, PLACE, Mode::empty())?;
        self.made(&call.who, &named.parent.at, &new, mode)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn make_directory(&self, call: &Call, start: &Start, path: u64, mode: u32) -> Outcome {
        let named = self.new_name(call, start, path)?;
        let mode = mode & !call.label.umask & 0o1777;
        rustix::fs::mkdirat(&named.parent.at, &named.name, Mode::from_raw_mode(mode | 0o700))?;
        self.made_by_name(call, &named, Some(mode))
    }

    pub(super) fn make_node(&mut self, call: &Call, start: &Start, path: u64, [mode, device]: [u32; 2]) -> Outcome {
        let named = self.new_name(call, start, path)?;
        if named.directory {
            return Err(Errno::NOENT);
        }
        let permissions = mode & 0o7777 & !call.label.umask;
        let real = Mode::from_raw_mode(permissions & 0o777 | 0o600);
        let kind = match mode & libc::S_IFMT {
            0 | libc::S_IFREG | libc::S_IFCHR | libc::S_IFBLK => FileType::RegularFile,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFDIR => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        };
        let is_device = matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK);
        if is_device && !call.who.can(MKNOD) {
            return Err(Errno::PERM);
        }
        rustix::fs::mknodat(&named.parent.at, &named.name, kind, real, 0)?;
        let answer = self.made_by_name(call, &named, Some(permissions))?;
        if is_device {
            let device = u64::from(device);
            let device = Device {
                block: mode & libc::S_IFMT == libc::S_IFBLK,
                major: rustix::fs::major(device),
                minor: rustix::fs::minor(device),
            };
            self.view.owners.change(inode(&named.stat()?), |row| row.device = Some(device));
        }
        Ok(answer)
    }

    pub(super) fn make_link(&self, call: &Call, text: u64, start: &Start, path: u64) -> Outcome {
        let text = call.read_path(text)?;
        if text.is_empty() {
            return Err(Errno::NOENT);
        }
        let named = self.new_name(call, start, path)?;
        if named.directory {
            return Err(Errno::NOENT);
        }
        rustix::fs::symlinkat(text, &named.parent.at, &named.name)?;
        self.made_by_name(call, &named, None)
    }

    /// linkat(2) of what was found to a new name.
    pub(super) fn link(&self, call: &Call, old: &Found, start: &Start, path: u64) -> Outcome {
        let named = self.new_name(call, start, path)?;
        let stat = rustix::fs::fstat(&old.at)?;
        if is_directory(&stat) {
            return Err(Errno::PERM);
        }
        if old.is_made_up() {
            return Err(Errno::XDEV);
        }
        if stat.st_nlink > 0 && self.view.mount_of(&old.at) != self.view.mount_of(&named.parent.at) {
            return Err(Errno::XDEV);
        }
        rustix::fs::linkat(CWD, again(&old.at), &named.parent.at, &named.name, AtFlags::SYMLINK_FOLLOW)
            .map_err(|errno| if errno == Errno::ACCESS { Errno::XDEV } else { errno })?;
        Ok(Answer::Value(0))
    }

    pub(super) fn unlink(&self, call: &Call, start: &Start, path: u64, directory: bool) -> Outcome {
        let named = self.named(call, start, path).map_err(|errno| match errno {
            Errno::EXIST if directory => Errno::BUSY,
            Errno::EXIST => Errno::ISDIR,
            errno => errno,
        })?;
        let stat = named.stat()?;
        self.check_removal(&call.who, &named, &stat)?;
        if named.directory && !is_directory(&stat) {
            return Err(Errno::NOTDIR);
        }
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&named.parent.at, &named.name, flags)?;
        self.forget(&stat);
        Ok(Answer::Value(0))
    }

    /// Forgets a file whose last name is gone. One that is still open is root's from now on, as nobody can name it.
    fn forget(&self, stat: &Stat) {
        if is_directory(stat) {
            self.view.owners.forget(inode(stat));
        }
    }

    pub(super) fn rename(&self, call: &Call, [from, to]: [&Start; 2], paths: [u64; 2], flags: u32) -> Outcome {
        let flags = RenameFlags::from_bits_retain(flags);
        let busy = |errno| if matches!(errno, Errno::EXIST | Errno::INVAL) { Errno::BUSY } else { errno };
        let old = self.named(call, from, paths[0]).map_err(busy)?;
        let new = self.named(call, to, paths[1]).map_err(busy)?;
        let stat = old.stat()?;
        self.check_removal(&call.who, &old, &stat)?;
        match new.stat() {
            Ok(replaced) => self.check_removal(&call.who, &new, &replaced)?,
            Err(_) => self.check_change(&call.who, &new.parent)?,
        }
        if (old.directory || new.directory) && !is_directory(&stat) {
            return Err(Errno::NOTDIR);
        }
        if self.view.mount_of(&old.parent.at) != self.view.mount_of(&new.parent.at) {
            return Err(Errno::XDEV);
        }
        if is_directory(&stat) {
            self.check_no_mount_below(&old)?;
        }
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL);
        }
        rustix::fs::renameat_with(&old.parent.at, &old.name, &new.parent.at, &new.name, flags)?;
        Ok(Answer::Value(0))
    }

    /// Fails where a mount is below a directory: it would stay where it is in RUN's eyes.
    fn check_no_mount_below(&self, named: &Named) -> Result<(), Errno> {
        if self.view.mounts.len() == 1 {
            return Ok(());
        }
        let Some(path) = super::view::real_path(&named.parent.at).and_then(|path| self.view.inside(&path)) else {
            return Ok(());
        };
        let path = path.join(&named.name);
        if self.view.mounts.iter().any(|mount| mount.target.starts_with(&path)) { Err(Errno::BUSY) } else { Ok(()) }
    }

    /// Returns what a file must have on the disk beside the mode that RUN gives it.
    pub(super) fn least(stat: &Stat) -> u32 {
        let kind = if kind(stat) == libc::S_IFDIR { FileKind::Directory } else { FileKind::Regular };
        least_mode(kind).into()
    }
}
