//! Calls that change what is told of a file: owner, mode, times, size, extended attributes.
//!
//! *Invariant: a change that the disk cannot show moves the file's ctime all the same, so that the snapshot sees it.*

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::look::Look;
use super::open::owns;
use super::people::{CHOWN, Credentials, FSETID, FileCapabilities, NONE, SETFCAP};
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::Call;
use super::view::{Found, Start, again, inode, is_directory, is_link, kind, reopen};
use crate::rootfs::{FileKind, is_for_root, mode_on_disk};

pub(super) const CAPABILITY: &[u8] = b"security.capability";

/// Source: linux/limits.h.
const VALUE_MAX: usize = 64 * 1024;
const NAME_MAX: usize = 256;

impl Supervisor {
    /// Finds a file whose attributes are to be changed.
    fn find_to_change(&self, call: &Call, start: &Start, look: Look) -> Result<Option<(Found, Stat)>, Errno> {
        let found = self.find(call, &call.who, start, look)?;
        let real = found.real()?;
        if found.is_made_up() || !self.view.is_ours(&real) || self.is_without_place(&found, &real) {
            return Ok(None);
        }
        self.view.check_writable(&found)?;
        Ok(Some((found, real)))
    }

    /// Tells whether something is no file of ours: a pipe, a socket without a name, a file in memory.
    fn is_without_place(&self, found: &Found, real: &Stat) -> bool {
        matches!(kind(real), libc::S_IFIFO | libc::S_IFSOCK | libc::S_IFCHR) && self.is_nowhere(found)
    }

    /// What is answered where a file is not RUN's to change.
    fn foreign(call: &Call) -> Outcome {
        if call.who.can(CHOWN) { Ok(Answer::Value(0)) } else { Err(Errno::PERM) }
    }

    pub(super) fn chown(&self, call: &Call, start: &Start, look: Look, [uid, gid]: [u32; 2]) -> Outcome {
        let Some((found, real)) = self.find_to_change(call, start, look)? else { return Self::foreign(call) };
        let (told, _) = self.view.told(real);
        let who = &call.who;
        if !who.can(CHOWN) && (uid, gid) != (NONE, NONE) {
            let keeps_owner = uid == NONE || uid == told.st_uid;
            let to_own_group = gid == NONE || gid == told.st_gid || who.is_in(gid);
            if who.user.files != told.st_uid || !keeps_owner || !to_own_group {
                return Err(Errno::PERM);
            }
        }
        let is_file = kind(&told) != libc::S_IFDIR;
        let mut mode = told.st_mode & 0o7777;
        if is_file {
            mode = without_set_group(who, &told, mode & !libc::S_ISUID);
        }
        if mode != told.st_mode & 0o7777 && !owns(who, &told) {
            return Err(Errno::PERM);
        }
        self.set_mode(&found, &real, mode)?;
        self.view.owners.change(inode(&real), |row| {
            row.uid = if uid == NONE { told.st_uid } else { uid };
            row.gid = if gid == NONE { told.st_gid } else { gid };
            if is_file {
                row.attributes.remove(CAPABILITY);
            }
        });
        Ok(Answer::Value(0))
    }

    pub(super) fn chmod(&self, call: &Call, start: &Start, look: Look, mode: u32) -> Outcome {
        let Some((found, real)) = self.find_to_change(call, start, look)? else { return Self::foreign(call) };
        if is_link(&real) {
            return Err(Errno::OPNOTSUPP);
        }
        let (told, _) = self.view.told(real);
        if !owns(&call.who, &told) {
            return Err(Errno::PERM);
        }
        let mut mode = mode & 0o7777;
        if !call.who.is_in(told.st_gid) && !call.who.can(FSETID) {
            mode &= !libc::S_ISGID;
        }
        self.set_mode(&found, &real, mode)?;
        Ok(Answer::Value(0))
    }

    /// Sets the mode on the disk, as far as that may go, and the rest in the table; moves the file's ctime in any case.
    fn set_mode(&self, found: &Found, real: &Stat, mode: u32) -> Result<(), Errno> {
        if is_link(real) {
            return Self::touch(found, real);
        }
        let kind = if is_directory(real) { FileKind::Directory } else { FileKind::Regular };
        let mode = u16::try_from(mode).unwrap_or_default();
        let on_disk = mode_on_disk(kind, mode);
        rustix::fs::chmod(again(&found.at), Mode::from_raw_mode(on_disk.into()))?;
        self.view.owners.change(inode(real), |row| row.mode = (on_disk != mode).then_some(mode));
        Ok(())
    }

    /// Takes from a file what a write takes: its capabilities, and set-id bits where the process may not leave them.
    ///
    /// The kernel does so when the first byte is written; here it is done when the file is opened for it.
    pub(super) fn written(&self, who: &Credentials, real: &Stat) {
        if !self.view.is_ours(real) {
            return;
        }
        let (told, row) = self.view.told(*real);
        let mut mode = told.st_mode & 0o7777;
        if !who.can(FSETID) {
            mode = without_set_group(who, &told, mode & !libc::S_ISUID);
        }
        let loses_bits = mode != told.st_mode & 0o7777;
        if loses_bits || row.attributes.contains_key(CAPABILITY) {
            self.view.owners.change(inode(real), |row| {
                row.attributes.remove(CAPABILITY);
                if loses_bits {
                    row.mode = u16::try_from(mode).ok().filter(|mode| u32::from(*mode) != real.st_mode & 0o7777);
                }
            });
        }
    }

    /// Moves the ctime of a file: by the mode that it has, since the change of an owner takes set-id bits.
    fn touch(found: &Found, real: &Stat) -> Result<(), Errno> {
        if is_link(real) {
            return rustix::fs::chownat(&found.at, "", None::<Uid>, None::<Gid>, AtFlags::EMPTY_PATH);
        }
        rustix::fs::chmod(again(&found.at), Mode::from_raw_mode(real.st_mode & 0o7777))
    }

    pub(super) fn set_times(&self, call: &Call, start: &Start, look: Look, times: Option<Timestamps>) -> Outcome {
        let found = self.find(call, &call.who, start, look)?;
        let real = found.real()?;
        if !self.view.is_ours(&real) || found.is_made_up() {
            return Self::foreign(call);
        }
        self.view.check_writable(&found)?;
        let told = self.view.told(real).0;
        let may_write = call.who.may(told.st_uid, told.st_gid, told.st_mode, 2);
        if !(owns(&call.who, &told) || times.is_none() && may_write) {
            return Err(if times.is_none() { Errno::ACCESS } else { Errno::PERM });
        }
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = times.unwrap_or(Timestamps { last_access: now, last_modification: now });
        if is_link(&real) {
            // No call takes a held link: by its name, which may have changed by now.
            let (parent, name) = self.view.name_of(&found.at)?;
            rustix::fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        } else {
            rustix::fs::utimensat(rustix::fs::CWD, again(&found.at), &times, AtFlags::empty())?;
        }
        Ok(Answer::Value(0))
    }

    pub(super) fn truncate(&self, call: &Call) -> Outcome {
        let start = Start::Directory(call.task.as_raw());
        let found = self.find(call, &call.who, &start, Look::following(call.argument(0)))?;
        let stat = self.view.stat_of(&found)?;
        match kind(&stat) {
            libc::S_IFREG if !found.is_made_up() => {}
            libc::S_IFDIR => return Err(Errno::ISDIR),
            _ => return Err(Errno::INVAL),
        }
        if !call.who.may(stat.st_uid, stat.st_gid, stat.st_mode, 2) {
            return Err(Errno::ACCESS);
        }
        self.view.check_writable(&found)?;
        self.written(&call.who, &found.real()?);
        let file = reopen(&found.at, OFlags::WRONLY)?;
        rustix::fs::ftruncate(&file, call.argument(1))?;
        Ok(Answer::Value(0))
    }

    pub(super) fn set_attribute(&self, call: &Call, start: &Start, look: Look) -> Outcome {
        let flags = XattrFlags::from_bits_retain(call.unsigned(4));
        if !(XattrFlags::CREATE | XattrFlags::REPLACE).contains(flags) {
            return Err(Errno::INVAL);
        }
        let name = read_name(call)?;
        let size = usize::try_from(call.argument(3)).unwrap_or(usize::MAX);
        if size > VALUE_MAX {
            return Err(Errno::TOOBIG);
        }
        let value = call.read(call.argument(2), size)?;
        let Some((found, real)) = self.find_to_change(call, start, look)? else { return Err(Errno::OPNOTSUPP) };
        self.check_attribute(call, &real, &name, 2)?;
        if name == CAPABILITY {
            return self.set_capability(&found, &real, value, flags);
        }
        rustix::fs::setxattr(again(&found.at), name.as_slice(), &value, flags)?;
        Ok(Answer::Value(0))
    }

    fn set_capability(&self, found: &Found, real: &Stat, value: Vec<u8>, flags: XattrFlags) -> Outcome {
        FileCapabilities::parse(&value).ok_or(Errno::INVAL)?;
        let is_there = self.view.owners.row(inode(real)).attributes.contains_key(CAPABILITY);
        if flags.contains(XattrFlags::CREATE) && is_there {
            return Err(Errno::EXIST);
        }
        if flags.contains(XattrFlags::REPLACE) && !is_there {
            return Err(Errno::NODATA);
        }
        self.view.owners.change(inode(real), |row| drop(row.attributes.insert(CAPABILITY.to_vec(), value)));
        Self::touch(found, real)?;
        Ok(Answer::Value(0))
    }

    /// Fails where a process may not read (4) or write (2) an attribute, as in a container without CAP_SYS_ADMIN.
    ///
    /// Source: xattr(7), and for the order of the refusals `fs/xattr.c` of Linux.
    fn check_attribute(&self, call: &Call, real: &Stat, name: &[u8], wanted: u32) -> Result<(), Errno> {
        let told = self.view.told(*real).0;
        let refused = if wanted == 2 { Errno::PERM } else { Errno::NODATA };
        if name == CAPABILITY {
            return if wanted == 4 || call.who.can(SETFCAP) { Ok(()) } else { Err(Errno::PERM) };
        }
        if is_for_root(name) {
            return Err(refused);
        }
        if name.starts_with(b"system.") {
            let is_acl = name.starts_with(b"system.posix_acl_");
            return match (is_acl, is_link(real)) {
                (true, false) if wanted == 4 || owns(&call.who, &told) => Ok(()),
                (true, false) => Err(Errno::PERM),
                _ => Err(Errno::OPNOTSUPP),
            };
        }
        if name.starts_with(b"user.") {
            let is_sticky = told.st_mode & libc::S_ISVTX != 0;
            let may_have = match kind(&told) {
                libc::S_IFREG => true,
                libc::S_IFDIR => wanted == 4 || !is_sticky || owns(&call.who, &told),
                _ => false,
            };
            if !may_have {
                return Err(refused);
            }
        }
        if call.who.may(told.st_uid, told.st_gid, told.st_mode, wanted) { Ok(()) } else { Err(Errno::ACCESS) }
    }

    pub(super) fn get_attribute(&self, call: &Call, start: &Start, look: Look) -> Outcome {
        let name = read_name(call)?;
        let found = self.find(call, &call.who, start, look)?;
        let real = found.real()?;
        let value = if is_for_root(&name) {
            self.view.owners.row(inode(&real)).attributes.remove(&name).ok_or(Errno::NODATA)?
        } else {
            self.check_attribute(call, &real, &name, 4)?;
            let mut value = Vec::with_capacity(VALUE_MAX);
            rustix::fs::getxattr(again(&found.at), name.as_slice(), rustix::buffer::spare_capacity(&mut value))?;
            value
        };
        Self::give(call, &value, [call.argument(2), call.argument(3)])
    }

    pub(super) fn list_attributes(&self, call: &Call, start: &Start, look: Look) -> Outcome {
        let found = self.find(call, &call.who, start, look)?;
        let real = found.real()?;
        let mut list = Vec::new();
        if !is_link(&real) {
            let mut names = Vec::with_capacity(VALUE_MAX);
            match rustix::fs::listxattr(again(&found.at), rustix::buffer::spare_capacity(&mut names)) {
                Ok(_) | Err(Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
            // The machine's own, of a security module, are not RUN's.
            for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !is_for_root(name)) {
                list.extend_from_slice(name);
                list.push(0);
            }
        }
        for name in self.view.owners.row(inode(&real)).attributes.keys() {
            list.extend_from_slice(name);
            list.push(0);
        }
        Self::give(call, &list, [call.argument(1), call.argument(2)])
    }

    /// Answers with bytes, or with how many there are where no room is given.
    fn give(call: &Call, bytes: &[u8], [to, size]: [u64; 2]) -> Outcome {
        if size != 0 {
            if (bytes.len() as u64) > size {
                return Err(Errno::RANGE);
            }
            call.write(to, bytes)?;
        }
        Ok(Answer::Value(bytes.len().try_into().unwrap_or_default()))
    }

    pub(super) fn remove_attribute(&self, call: &Call, start: &Start, look: Look) -> Outcome {
        let name = read_name(call)?;
        let Some((found, real)) = self.find_to_change(call, start, look)? else { return Err(Errno::NODATA) };
        self.check_attribute(call, &real, &name, 2)?;
        if name == CAPABILITY {
            let mut removed = None;
            self.view.owners.change(inode(&real), |row| removed = row.attributes.remove(CAPABILITY));
            removed.ok_or(Errno::NODATA)?;
            Self::touch(&found, &real)?;
            return Ok(Answer::Value(0));
        }
        rustix::fs::removexattr(again(&found.at), name.as_slice())?;
        Ok(Answer::Value(0))
    }
}

fn read_name(call: &Call) -> Result<Vec<u8>, Errno> {
    let name = call.read_text(call.argument(1), NAME_MAX, Errno::RANGE)?;
    if name.is_empty() { Err(Errno::RANGE) } else { Ok(name) }
}

/// Returns a mode after the change of an owner or of content: setgid goes from a program, and from what is of a group of others.
fn without_set_group(who: &Credentials, told: &Stat, mode: u32) -> u32 {
    let stays = mode & libc::S_IXGRP == 0 && (who.is_in(told.st_gid) || who.can(FSETID));
    if stays { mode } else { mode & !libc::S_ISGID }
}
