//! open(2) and its kin.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::names::End;
use super::people::{Credentials, FOWNER};
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::Call;
use super::view::{self, Found, Kind, Special, Start, Where, again, is_directory, is_link, kind, reopen};
use super::{machine, processes};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) flags: OFlags,
    pub(super) mode: u32,
}

impl Wanted {
    pub(super) fn new(flags: u32, mode: u32) -> Self {
        let mut flags = OFlags::from_bits_retain(flags);
        if flags.contains(OFlags::PATH) {
            flags &= OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        }
        Self { flags, mode: mode & 0o7777 }
    }

    fn closes(self) -> bool {
        self.flags.contains(OFlags::CLOEXEC)
    }

    /// Which rights it takes: reading is 4, writing 2.
    fn access(self) -> u32 {
        let mode = self.flags & OFlags::ACCMODE;
        let write = if self.flags.contains(OFlags::TRUNC) { 2 } else { 0 };
        write
            | if mode == OFlags::WRONLY {
                2
            } else if mode == OFlags::RDONLY {
                4
            } else {
                6
            }
    }

    /// Fails for flags that exclude each other, as Linux 6.4 and later.
    fn check(self) -> Result<(), Errno> {
        let makes_directory = self.flags.contains(OFlags::CREATE | OFlags::DIRECTORY);
        let is_unnamed = self.flags.bits() & (OFlags::TMPFILE.bits() & !OFlags::DIRECTORY.bits()) != 0;
        let opens_unnamed = self.flags.contains(OFlags::TMPFILE) && self.writes();
        if makes_directory || is_unnamed && !opens_unnamed { Err(Errno::INVAL) } else { Ok(()) }
    }

    fn writes(self) -> bool {
        self.access() & 2 != 0
    }

    /// The flags for a file that is there, by its descriptor.
    fn on_existing(self) -> OFlags {
        self.flags.difference(OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::PATH)
    }
}

impl Supervisor {
    pub(super) fn open(&mut self, call: &Call, start: &Start, path: u64, wanted: Wanted) -> Outcome {
        let path = call.read_path(path)?;
        wanted.check()?;
        // O_TMPFILE is more than one bit, one of which is O_DIRECTORY.
        if wanted.flags.contains(OFlags::TMPFILE) {
            return self.open_unnamed(call, start, &path, wanted);
        }
        if wanted.flags.contains(OFlags::CREATE)
            && super::split::split(&path).is_some_and(|split| split.slash)
            && let End::Name(_) = self.end_of(call, start, &path)?
        {
            return Err(Errno::ISDIR);
        }
        let exclusive = wanted.flags.contains(OFlags::CREATE | OFlags::EXCL);
        let follow = !(wanted.flags.contains(OFlags::NOFOLLOW) || exclusive);
        if !wanted.flags.contains(OFlags::CREATE) {
            let found = self.view.find_there(&call.who, start, &path, follow)?;
            return self.open_found(call, found, wanted);
        }
        match self.view.find(&call.who, start, &path, follow)? {
            Where::There(_) if exclusive => Err(Errno::EXIST),
            Where::There(found) => self.open_found(call, found, wanted),
            Where::Missing { parent, name } => self.create(call, &parent, &name, wanted),
        }
    }

    fn open_found(&mut self, call: &Call, found: Found, wanted: Wanted) -> Outcome {
        if wanted.flags.contains(OFlags::PATH) {
            self.open_place(call, found, wanted)
        } else {
            self.open_existing(call, found, wanted)
        }
    }

    fn open_existing(&mut self, call: &Call, found: Found, wanted: Wanted) -> Outcome {
        // What a descriptor is open for is judged as by its name, where it has one.
        if let Some(special) = &found.special
            && (found.is_made_up() || self.is_nowhere(&found))
        {
            return self.open_special(&found, special, wanted);
        }
        let real = found.real()?;
        let (told, row) = self.view.told(real);
        if wanted.flags.contains(OFlags::DIRECTORY) && !is_directory(&real) {
            return Err(Errno::NOTDIR);
        }
        if is_link(&real) {
            return Err(Errno::LOOP);
        }
        if is_directory(&real) && (wanted.writes() || wanted.flags.contains(OFlags::CREATE)) {
            return Err(Errno::ISDIR);
        }
        if !call.who.may(told.st_uid, told.st_gid, told.st_mode, wanted.access()) {
            return Err(Errno::ACCESS);
        }
        if wanted.flags.contains(OFlags::NOATIME) && !owns(&call.who, &told) {
            return Err(Errno::PERM);
        }
        if let Some(device) = row.device {
            return self.open_device(call, &device, wanted);
        }
        if wanted.writes() && !matches!(kind(&real), libc::S_IFIFO | libc::S_IFCHR) {
            self.view.check_writable(&found)?;
        }
        match kind(&real) {
            libc::S_IFIFO if !wanted.flags.contains(OFlags::NONBLOCK) => Ok(self.open_pipe(call, found.at, wanted)),
            libc::S_IFSOCK => Err(Errno::NXIO),
            libc::S_IFDIR => {
                self.fill(&found.at);
                hand(reopen(&found.at, wanted.on_existing().difference(OFlags::NOATIME))?, wanted)
            }
            _ => {
                if wanted.writes() && kind(&real) == libc::S_IFREG {
                    self.written(&call.who, &real);
                }
                hand(reopen(&found.at, wanted.on_existing())?, wanted)
            }
        }
    }

    /// Puts names into a directory that stands for one of the machine's, before it is read.
    fn fill(&self, at: &OwnedFd) {
        if self.view.mounts.len() == 1 {
            return;
        }
        let Some((index, rest)) = view::real_path(at).and_then(|real| self.view.place_of(&real)) else { return };
        let mount = &self.view.mounts[index];
        match mount.kind {
            Kind::Plain => {}
            Kind::Processes => processes::fill(&self.view, at, &mount.shows(&rest)),
            Kind::System => machine::fill(at, &mount.shows(&rest)),
        }
    }

    fn open_special(&self, found: &Found, special: &Special, wanted: Wanted) -> Outcome {
        if wanted.flags.contains(OFlags::DIRECTORY) {
            return Err(Errno::NOTDIR);
        }
        let opened = match special {
            // Whoever has it open may open it once more; what it is open for was decided then.
            Special::Descriptor => reopen(&found.at, wanted.on_existing())?,
            Special::Process(path) => processes::open(&self.view, path, wanted.flags)?,
            Special::System(_) if wanted.writes() => return Err(Errno::ACCESS),
            Special::System(path) => machine::open(path)?,
        };
        hand(opened, wanted)
    }

    /// Waits for the other end of a pipe, in a thread of its own.
    fn open_pipe(&self, call: &Call, at: OwnedFd, wanted: Wanted) -> Answer {
        let (listener, id, flags) = (Arc::clone(&self.listener), call.id, wanted.on_existing());
        std::thread::spawn(move || match reopen(&at, flags) {
            Ok(opened) => drop(listener.hand_over(id, opened.as_fd(), wanted.closes())),
            Err(errno) => listener.answer(id, Err(errno.raw_os_error())),
        });
        Answer::Later
    }

    /// Opens a new file.
    pub(super) fn create(&mut self, call: &Call, parent: &Found, name: &OsStr, wanted: Wanted) -> Outcome {
        self.check_change(&call.who, parent)?;
        let mode = wanted.mode & !call.label.umask;
        let flags = wanted.flags.difference(OFlags::TRUNC | OFlags::DIRECTORY)
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NOCTTY;
        let opened = rustix::fs::openat(&parent.at, name, flags, Mode::from_raw_mode(mode & 0o777 | 0o600))?;
        self.hand_new(call, parent, opened, mode, wanted)
    }

    /// Answers with a new file, after having taken from it what the first write would take.
    fn hand_new(&self, call: &Call, parent: &Found, opened: OwnedFd, mode: u32, wanted: Wanted) -> Outcome {
        self.made(&call.who, parent, &opened, Some(mode))?;
        let has_set_id = mode & (libc::S_ISUID | libc::S_ISGID) != 0;
        if has_set_id && wanted.flags & OFlags::ACCMODE != OFlags::RDONLY {
            self.written(&call.who, &rustix::fs::fstat(&opened)?);
        }
        hand(opened, wanted)
    }

    fn open_unnamed(&mut self, call: &Call, start: &Start, path: &OsStr, wanted: Wanted) -> Outcome {
        let parent = self.view.find_there(&call.who, start, path, true)?;
        if parent.special.is_some() {
            return Err(Errno::OPNOTSUPP);
        }
        if !is_directory(&parent.real()?) {
            return Err(Errno::NOTDIR);
        }
        self.check_change(&call.who, &parent)?;
        let mode = wanted.mode & !call.label.umask;
        let flags = wanted.flags | OFlags::CLOEXEC;
        let opened = rustix::fs::open(again(&parent.at), flags, Mode::from_raw_mode(mode & 0o777 | 0o600))?;
        self.hand_new(call, &parent, opened, mode, wanted)
    }

    /// Gives a place that is not opened. The kernel gives no such descriptor away, so that the task opens it itself where
    /// nothing else will do.
    fn open_place(&mut self, call: &Call, found: Found, wanted: Wanted) -> Outcome {
        let stat = found.real()?;
        if wanted.flags.contains(OFlags::DIRECTORY) && !is_directory(&stat) {
            return Err(Errno::NOTDIR);
        }
        self.fill(&found.at);
        if let (None, Ok((parent, name))) = (&found.special, self.view.name_of(&found.at)) {
            return self.open_place_itself(call, &parent, &name, wanted);
        }
        // The root, the root of a mount, or what has no name any more.
        let plain = Wanted { flags: wanted.flags & (OFlags::CLOEXEC | OFlags::DIRECTORY), mode: 0 };
        self.open_existing(call, found, plain)
    }
}

/// Answers with a descriptor.
pub(super) fn hand(descriptor: OwnedFd, wanted: Wanted) -> Outcome {
    Ok(Answer::Descriptor { descriptor, close_on_exec: wanted.closes() })
}

/// Tells whether a process may do what is an owner's.
pub(super) fn owns(who: &Credentials, stat: &Stat) -> bool {
    who.user.files == stat.st_uid || who.can(FOWNER)
}
