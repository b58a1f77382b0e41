//! Calls that make, remove and rename.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Stat};
use rustix::io::Errno;

use super::open::owns;
use super::people::{Credentials, FSETID, MKNOD};
use super::split::{Split, split};
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::Call;
use super::view::{Found, PLACE, Start, again, inode, is_directory, kind};
use crate::rootfs::Device;

/// A name in a directory, whether something has it or not.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) parent: Found,
    pub(super) name: OsString,
    /// Whether the path ended with a slash.
    directory: bool,
}

impl Named {
    fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.parent.at, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// What a path ends with.
#[derive(Debug)]
pub(super) enum End {
    Name(Named),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// The path has no name at all.
    Root,
}

impl End {
    /// Returns the name; where there is none, the call fails.
    fn name(self, otherwise: Errno) -> Result<Named, Errno> {
        match self {
            Self::Name(named) => Ok(named),
            Self::Dot | Self::DotDot | Self::Root => Err(otherwise),
        }
    }
}

/// The rights that a call needs to make or remove a name in a directory: to write and to search it.
const TO_CHANGE: u32 = 3;
/// Whoever executes such a file runs as its group.
const GROUP_RUNS: u32 = libc::S_ISGID | libc::S_IXGRP;

impl Supervisor {
    /// Finds the directory and the name that a path ends with.
    pub(super) fn end_of(&self, call: &Call, start: &Start, path: &OsStr) -> Result<End, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let Some(Split { before, name, slash }) = split(path) else { return Ok(End::Root) };
        let parent = self.view.find_there(&call.who, start, before, true)?;
        if parent.special.is_some() {
            return Err(Errno::NOTDIR);
        }
        let stat = self.view.stat_of(&parent)?;
        if !is_directory(&stat) {
            return Err(Errno::NOTDIR);
        }
        if !call.who.may(stat.st_uid, stat.st_gid, stat.st_mode, 1) {
            return Err(Errno::ACCESS);
        }
        match name.as_bytes() {
            b"." => Ok(End::Dot),
            b".." => Ok(End::DotDot),
            name if name.len() > 255 => Err(Errno::NAMETOOLONG),
            _ => Ok(End::Name(Named { parent, name: name.to_owned(), directory: slash })),
        }
    }

    /// Finds a name that nothing has yet.
    pub(super) fn vacant_name(
        &self,
        call: &Call,
        start: &Start,
        path: &OsStr,
        is_directory: bool,
    ) -> Result<Named, Errno> {
        let named = self.end_of(call, start, path)?.name(Errno::EXIST)?;
        if named.stat().is_ok() {
            return Err(Errno::EXIST);
        }
        if named.directory && !is_directory {
            return Err(Errno::NOENT);
        }
        Ok(named)
    }

    /// Finds a name that something new is to have, where the process may make it.
    fn new_name(&self, call: &Call, start: &Start, path: u64, is_directory: bool) -> Result<Named, Errno> {
        let named = self.vacant_name(call, start, &call.read_path(path)?, is_directory)?;
        self.check_change(&call.who, &named.parent)?;
        Ok(named)
    }

    /// Fails where a process may neither make nor remove anything in a directory.
    pub(super) fn check_change(&self, who: &Credentials, parent: &Found) -> Result<(), Errno> {
        self.view.check_writable(parent)?;
        let stat = self.view.stat_of(parent)?;
        let is_plain = || matches!(self.view.mounts[self.view.mount_of(&parent.at)].kind, super::view::Kind::Plain);
        if who.may(stat.st_uid, stat.st_gid, stat.st_mode, TO_CHANGE) && is_plain() {
            Ok(())
        } else {
            Err(Errno::ACCESS)
        }
    }

    /// Fails where a name is not a process's to remove.
    fn check_removal(&self, who: &Credentials, named: &Named, stat: &Stat) -> Result<(), Errno> {
        self.check_change(who, &named.parent)?;
        let directory = self.view.stat_of(&named.parent)?;
        let told = self.view.told(*stat).0;
        // Source: inode(7), the sticky bit.
        if directory.st_mode & libc::S_ISVTX != 0 && who.user.files != directory.st_uid && !owns(who, &told) {
            return Err(Errno::PERM);
        }
        if self.view.crossing(stat).is_some() { Err(Errno::BUSY) } else { Ok(()) }
    }

    /// Takes note of who a new file belongs to, and of the mode that it was made with (none: it has no mode).
    pub(super) fn made(
        &self,
        who: &Credentials,
        parent: &Found,
        new: impl AsFd,
        mode: Option<u32>,
    ) -> Result<(), Errno> {
        self.view.name_was_made();
        let (parent, stat) = (self.view.stat_of(parent)?, rustix::fs::fstat(new)?);
        let inherits = parent.st_mode & libc::S_ISGID != 0;
        let gid = if inherits { parent.st_gid } else { who.group.files };
        let mode = mode.map(|mode| match (inherits, is_directory(&stat)) {
            (true, true) => mode | libc::S_ISGID,
            // Nobody makes a program that runs as a group of others.
            (true, false) if mode & GROUP_RUNS == GROUP_RUNS && !(who.is_in(gid) || who.can(FSETID)) => {
                mode & !libc::S_ISGID
            }
            _ => mode,
        });
        let real = stat.st_mode & 0o7777;
        let mode = mode.filter(|mode| *mode != real).and_then(|mode| u16::try_from(mode).ok());
        self.view.owners.forget(inode(&stat));
        self.view.owners.change(inode(&stat), |row| (row.uid, row.gid, row.mode) = (who.user.files, gid, mode));
        Ok(())
    }

    fn made_by_name(&self, call: &Call, named: &Named, mode: Option<u32>) -> Outcome {
        let new = rustix::fs::openat(&named.parent.at, &named.name, PLACE, Mode::empty())?;
        self.made(&call.who, &named.parent, &new, mode)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn make_directory(&self, call: &Call, start: &Start, path: u64, mode: u32) -> Outcome {
        let named = self.new_name(call, start, path, true)?;
        let mode = mode & !call.label.umask & 0o1777;
        rustix::fs::mkdirat(&named.parent.at, &named.name, Mode::from_raw_mode(mode | 0o700))?;
        self.made_by_name(call, &named, Some(mode))
    }

    pub(super) fn make_node(&mut self, call: &Call, start: &Start, path: u64, [mode, device]: [u32; 2]) -> Outcome {
        let kind = match mode & libc::S_IFMT {
            0 | libc::S_IFREG | libc::S_IFCHR | libc::S_IFBLK => FileType::RegularFile,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFDIR => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        };
        let named = self.new_name(call, start, path, false)?;
        let permissions = mode & 0o7777 & !call.label.umask;
        let real = Mode::from_raw_mode(permissions & 0o777 | 0o600);
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
        let named = self.new_name(call, start, path, false)?;
        rustix::fs::symlinkat(text, &named.parent.at, &named.name)?;
        self.made_by_name(call, &named, None)
    }

    /// linkat(2) of what was found to a new name.
    pub(super) fn link(&self, call: &Call, old: &Found, start: &Start, path: u64) -> Outcome {
        let named = self.vacant_name(call, start, &call.read_path(path)?, false)?;
        let stat = old.real()?;
        if old.is_made_up() || stat.st_nlink > 0 && self.view.mount_of(&old.at) != self.view.mount_of(&named.parent.at)
        {
            return Err(Errno::XDEV);
        }
        if !may_link(&call.who, &self.view.told(stat).0) {
            return Err(Errno::PERM);
        }
        self.check_change(&call.who, &named.parent)?;
        if is_directory(&stat) {
            return Err(Errno::PERM);
        }
        rustix::fs::linkat(CWD, again(&old.at), &named.parent.at, &named.name, AtFlags::SYMLINK_FOLLOW)
            .map_err(|errno| if errno == Errno::ACCESS { Errno::XDEV } else { errno })?;
        self.view.name_was_made();
        Ok(Answer::Value(0))
    }

    pub(super) fn unlink(&self, call: &Call, start: &Start, path: u64, directory: bool) -> Outcome {
        let named = match self.end_of(call, start, &call.read_path(path)?)? {
            End::Name(named) => named,
            _ if !directory => return Err(Errno::ISDIR),
            End::Root => return Err(Errno::BUSY),
            End::Dot => return Err(Errno::INVAL),
            End::DotDot => return Err(Errno::NOTEMPTY),
        };
        let stat = named.stat()?;
        if named.directory && !directory {
            return Err(if is_directory(&stat) { Errno::ISDIR } else { Errno::NOTDIR });
        }
        self.check_removal(&call.who, &named, &stat)?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&named.parent.at, &named.name, flags)?;
        self.view.name_is_gone(&named.name, &stat);
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
        let exchanges = flags.contains(RenameFlags::EXCHANGE);
        let excludes = exchanges && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT);
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
        if excludes || !known.contains(flags) {
            return Err(Errno::INVAL);
        }
        let old = self.end_of(call, from, &call.read_path(paths[0])?)?;
        let new = self.end_of(call, to, &call.read_path(paths[1])?)?;
        let taken = if flags.contains(RenameFlags::NOREPLACE) { Errno::EXIST } else { Errno::BUSY };
        let (old, new) = (old.name(Errno::BUSY)?, new.name(taken)?);
        if self.view.mount_of(&old.parent.at) != self.view.mount_of(&new.parent.at) {
            return Err(Errno::XDEV);
        }
        let stat = old.stat()?;
        let replaced = match new.stat() {
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EXIST),
            Err(errno) if exchanges => return Err(errno),
            found => found.ok(),
        };
        let other_is_directory = replaced.as_ref().is_some_and(is_directory);
        let slash_is_wrong = if exchanges {
            old.directory && !is_directory(&stat) || new.directory && !other_is_directory
        } else {
            (old.directory || new.directory) && !is_directory(&stat)
        };
        if slash_is_wrong {
            return Err(Errno::NOTDIR);
        }
        if is_directory(&stat) || other_is_directory {
            self.check_ancestors([&old, &new], exchanges)?;
        }
        self.check_rename(call, [&old, &new], stat, replaced, exchanges)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL);
        }
        rustix::fs::renameat_with(&old.parent.at, &old.name, &new.parent.at, &new.name, flags)?;
        self.view.names_have_changed(other_is_directory && !exchanges);
        Ok(Answer::Value(0))
    }

    /// Fails where one directory is below the other.
    fn check_ancestors(&self, [old, new]: [&Named; 2], exchanges: bool) -> Result<(), Errno> {
        let parent = |named: &Named| super::view::real_path(&named.parent.at).ok_or(Errno::NOENT);
        let (from, to) = (parent(old)?, parent(new)?);
        if to.starts_with(from.join(&old.name)) {
            return Err(Errno::INVAL);
        }
        let is_below = from.starts_with(to.join(&new.name));
        if is_below { Err(if exchanges { Errno::INVAL } else { Errno::NOTEMPTY }) } else { Ok(()) }
    }

    /// Fails where a process may not give one name to what another has.
    fn check_rename(
        &self,
        call: &Call,
        [old, new]: [&Named; 2],
        stat: Stat,
        replaced: Option<Stat>,
        exchanges: bool,
    ) -> Result<(), Errno> {
        if replaced.is_some_and(|replaced| inode(&replaced) == inode(&stat)) {
            return Ok(());
        }
        self.check_removal(&call.who, old, &stat)?;
        match &replaced {
            Some(replaced) => self.check_removal(&call.who, new, replaced)?,
            None => self.check_change(&call.who, &new.parent)?,
        }
        match replaced.as_ref().map(is_directory) {
            Some(false) if !exchanges && is_directory(&stat) => return Err(Errno::NOTDIR),
            Some(true) if !exchanges && !is_directory(&stat) => return Err(Errno::ISDIR),
            _ => {}
        }
        let parents = [old.parent.real()?, new.parent.real()?];
        let moves = inode(&parents[0]) != inode(&parents[1]);
        let moved = [Some(stat), replaced.filter(|_| exchanges)];
        for directory in moved.into_iter().flatten().filter(is_directory) {
            // Its `..` changes, which is a part of it.
            let told = self.view.told(directory).0;
            if moves && !call.who.may(told.st_uid, told.st_gid, told.st_mode, 2) {
                return Err(Errno::ACCESS);
            }
        }
        if is_directory(&stat) { self.check_no_mount_below(old) } else { Ok(()) }
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
}

/// Tells whether a process may give a file another name: where `protected_hardlinks` is set, as everywhere by default.
///
/// Source: proc_sys_fs(5).
fn may_link(who: &Credentials, told: &Stat) -> bool {
    let is_safe = kind(told) == libc::S_IFREG
        && told.st_mode & libc::S_ISUID == 0
        && told.st_mode & GROUP_RUNS != GROUP_RUNS
        && who.may(told.st_uid, told.st_gid, told.st_mode, 6);
    is_safe || owns(who, told)
}
