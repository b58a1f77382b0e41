//! Calls that only look: stat(2), access(2), readlink(2), statfs(2), getcwd(2), and their kin.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

use super::people::{Credentials, Ids, SYS_CHROOT};
use super::processes;
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::{Call, PATH_MAX};
use super::view::{Found, Special, Start, is_link};

/// What of a file's name is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) path: u64,
    pub(super) follow: bool,
    /// Whether no path at all means the descriptor itself.
    pub(super) or_itself: bool,
    /// Whether that must be more than a place (`O_PATH`).
    pub(super) opened: bool,
}

impl Look {
    pub(super) fn following(path: u64) -> Self {
        Self { path, follow: true, or_itself: false, opened: false }
    }

    pub(super) fn at_link(path: u64) -> Self {
        Self { path, follow: false, or_itself: false, opened: false }
    }

    /// By the flags of calls that end in `at`.
    pub(super) fn with(path: u64, flags: u32) -> Self {
        let flags = AtFlags::from_bits_retain(flags);
        let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
        Self { path, follow, or_itself: flags.contains(AtFlags::EMPTY_PATH), opened: false }
    }

    /// The descriptor itself.
    pub(super) fn itself() -> Self {
        Self { path: 0, follow: true, or_itself: true, opened: false }
    }

    /// The descriptor itself, which is open for reading or writing.
    pub(super) fn opened() -> Self {
        Self { opened: true, ..Self::itself() }
    }
}

impl Supervisor {
    /// Finds what a call names.
    pub(super) fn find(&self, call: &Call, who: &Credentials, start: &Start, look: Look) -> Result<Found, Errno> {
        let path =
            if look.path == 0 && look.or_itself { std::ffi::OsString::new() } else { call.read_path(look.path)? };
        if path.is_empty() {
            if look.opened {
                start.check_opened()?;
            }
            return if look.or_itself { start.open().map(Found::from) } else { Err(Errno::NOENT) };
        }
        self.view.find_there(who, start, &path, look.follow)
    }

    /// Returns what RUN is told of what it has found.
    pub(super) fn look_at(&self, call: &Call, found: &Found) -> Result<Stat, Errno> {
        let mut stat = self.view.stat_of(found)?;
        if let Some(shown) = self.shown_device(&stat) {
            return Ok(shown);
        }
        if matches!(stat.st_mode & libc::S_IFMT, libc::S_IFIFO | libc::S_IFSOCK)
            && stat.st_nlink == 1
            && self.is_nowhere(found)
        {
            // A pipe or a socket without a name belongs to whoever has it.
            (stat.st_uid, stat.st_gid) = (call.who.user.files, call.who.group.files);
        }
        Ok(stat)
    }

    /// Tells whether something has no place in what RUN sees: a pipe, a file in memory, one without a name.
    pub(super) fn is_nowhere(&self, found: &Found) -> bool {
        super::view::real_path(&found.at).is_none_or(|path| self.view.place_of(&path).is_none())
    }

    pub(super) fn stat(&self, call: &Call, start: &Start, look: Look, to: u64) -> Outcome {
        let found = self.find(call, &call.who, start, look)?;
        call.write_value(to, &self.look_at(call, &found)?)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn statx(&self, call: &Call) -> Outcome {
        let flags = call.unsigned(2);
        let found = self.find(call, &call.who, &self.start(call, call.int(0)), Look::with(call.argument(1), flags))?;
        let sync = AtFlags::from_bits_retain(flags & 0x6000) | AtFlags::EMPTY_PATH;
        let mask = StatxFlags::from_bits_retain(call.unsigned(3)) | StatxFlags::BASIC_STATS;
        let mut answer = rustix::fs::statx(&found.at, "", sync, mask)?;
        let stat = self.look_at(call, &found)?;
        (answer.stx_uid, answer.stx_gid) = (stat.st_uid, stat.st_gid);
        answer.stx_mode = u16::try_from(stat.st_mode).unwrap_or_default();
        answer.stx_size = u64::try_from(stat.st_size).unwrap_or_default();
        (answer.stx_rdev_major, answer.stx_rdev_minor) =
            (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        call.write_value(call.argument(4), &answer)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn access(&self, call: &Call, start: &Start, look: Look, [mode, flags]: [u32; 2]) -> Outcome {
        if mode & !7 != 0 {
            return Err(Errno::INVAL);
        }
        let as_it_is = AtFlags::from_bits_retain(flags).contains(AtFlags::EACCESS);
        let who = if as_it_is { Rc::clone(&call.who) } else { as_real_user(&call.who) };
        let found = self.find(call, &who, start, look)?;
        let stat = self.view.stat_of(&found)?;
        if mode & 2 != 0 {
            self.view.check_writable(&found)?;
        }
        if mode == 0 || who.may(stat.st_uid, stat.st_gid, stat.st_mode, mode) {
            Ok(Answer::Value(0))
        } else {
            Err(Errno::ACCESS)
        }
    }

    pub(super) fn read_link(&self, call: &Call, start: &Start, path: u64, [to, size]: [u64; 2]) -> Outcome {
        let path = call.read_path(path)?;
        if path.is_empty() {
            return self.read_opened_link(call, start, [to, size]);
        }
        if self.view.is_no_link(&call.who, &path) {
            return Err(Errno::INVAL);
        }
        let found = self.view.find_there(&call.who, start, &path, false)?;
        let text = if let Some(Special::Process(path)) = &found.special {
            processes::link_text(&self.view, path)?
        } else {
            if !is_link(&found.real()?) {
                return Err(Errno::INVAL);
            }
            OsStr::from_bytes(rustix::fs::readlinkat(&found.at, "", Vec::new())?.as_bytes()).to_owned()
        };
        put_text(call, text.as_bytes(), [to, size])
    }

    fn read_opened_link(&self, call: &Call, start: &Start, to: [u64; 2]) -> Outcome {
        // What holds a link opens as the link itself.
        let link = start.open()?;
        if !is_link(&rustix::fs::fstat(&link)?) {
            return Err(Errno::NOENT);
        }
        let text = rustix::fs::readlinkat(&link, "", Vec::new())?;
        put_text(call, text.as_bytes(), to)
    }

    pub(super) fn statfs(&self, call: &Call) -> Outcome {
        let start = Start::Directory(call.task.as_raw());
        let found = self.find(call, &call.who, &start, Look::following(call.argument(0)))?;
        let mut answer = rustix::fs::fstatfs(found.at.as_fd())?;
        let mount = self.view.mount_of(&found.at);
        answer.f_type = match self.view.mounts[mount].kind {
            super::view::Kind::Plain => answer.f_type,
            super::view::Kind::Processes => rustix::fs::PROC_SUPER_MAGIC,
            // SYSFS_MAGIC of linux/magic.h.
            super::view::Kind::System => 0x6265_6572,
        };
        call.write_value(call.argument(1), &answer)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn working_directory(&self, call: &Call) -> Outcome {
        let path = Start::Directory(call.task.as_raw()).place(&self.view)?;
        let shown = match path.strip_prefix(&call.who.root) {
            Ok(below) => Path::new("/").join(below),
            // Source: getcwd(2).
            Err(_) => Path::new("(unreachable)/").join(path.strip_prefix("/").unwrap_or(&path)),
        };
        let mut text = shown.into_os_string().into_encoded_bytes();
        text.push(0);
        let size = usize::try_from(call.argument(1)).unwrap_or(usize::MAX);
        if text.len() > size {
            return Err(Errno::RANGE);
        }
        call.write(call.argument(0), &text)?;
        Ok(Answer::Value(text.len().try_into().unwrap_or_default()))
    }

    /// Finds the directory that a call names, and that whoever makes it may enter.
    fn find_to_enter(&self, call: &Call) -> Result<Found, Errno> {
        let start = Start::Directory(call.task.as_raw());
        let found = self.find(call, &call.who, &start, Look::following(call.argument(0)))?;
        let stat = self.view.stat_of(&found)?;
        if !super::view::is_directory(&stat) {
            return Err(Errno::NOTDIR);
        }
        if call.who.may(stat.st_uid, stat.st_gid, stat.st_mode, 1) { Ok(found) } else { Err(Errno::ACCESS) }
    }

    /// Changes the working directory: the task does it itself, with a descriptor.
    pub(super) fn change_directory(&mut self, call: &Call) -> Outcome {
        let found = self.find_to_enter(call)?;
        let directory = super::view::reopen(&found.at, OFlags::RDONLY | OFlags::DIRECTORY)?;
        self.enter_directory(call, &directory)
    }

    /// chroot(2): only paths know of it, since the task's own root is the pod's.
    pub(super) fn change_root(&self, call: &Call) -> Outcome {
        let found = self.find_to_enter(call)?;
        if !call.who.can(SYS_CHROOT) {
            return Err(Errno::PERM);
        }
        let root = super::view::real_path(&found.at).and_then(|path| self.view.inside(&path)).ok_or(Errno::NOENT)?;
        self.become_(call, Credentials { root, ..(*call.who).clone() })
    }
}

fn put_text(call: &Call, text: &[u8], [to, size]: [u64; 2]) -> Outcome {
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(PATH_MAX);
    if size == 0 {
        return Err(Errno::INVAL);
    }
    let text = &text[..text.len().min(size)];
    call.write(to, text)?;
    Ok(Answer::Value(text.len().try_into().unwrap_or_default()))
}

/// Returns who a process is by its real ids, as access(2) asks.
fn as_real_user(who: &Rc<Credentials>) -> Rc<Credentials> {
    let ids = |ids: Ids| Ids { files: ids.real, ..ids };
    let effective = if who.user.real == 0 { who.capabilities.permitted } else { 0 };
    if ids(who.user) == who.user && ids(who.group) == who.group && who.capabilities.effective == effective {
        return Rc::clone(who);
    }
    let mut who = Credentials { user: ids(who.user), group: ids(who.group), ..(**who).clone() };
    who.capabilities.effective = effective;
    Rc::new(who)
}
