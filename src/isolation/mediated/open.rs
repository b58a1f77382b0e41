//! open(2) and its kin.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::people::{Credentials, FOWNER};
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::Call;
use super::view::{self, Found, Kind, Special, Split, Start, Where, again, inode, is_directory, is_link, kind, reopen};
use super::{machine, processes};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) flags: OFlags,
    pub(super) mode: u32,
}

impl Wanted {
    pub(super) fn new(flags: u32, mode: u32) -> Self {
        Self { flags: OFlags::from_bits_retain(flags), mode: mode & 0o7777 }
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
            } else if mode == OFlags::RDWR {
                6
            } else {
                4
            }
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
        // O_TMPFILE is more than one bit, one of which is O_DIRECTORY.
        if wanted.flags.contains(OFlags::TMPFILE) {
            return self.open_unnamed(call, start, &path, wanted);
        }
        let exclusive = wanted.flags.contains(OFlags::CREATE | OFlags::EXCL);
        let follow = !(wanted.flags.contains(OFlags::NOFOLLOW) || exclusive);
        match self.view.find(&call.who, start, &path, follow)? {
            Where::There(_) if exclusive => Err(Errno::EXIST),
            Where::There(found) if wanted.flags.contains(OFlags::PATH) => {
                self.open_place(call, start, &path, found, wanted)
            }
            Where::There(found) => self.open_existing(call, found, wanted),
            Where::Missing { parent, name } if wanted.flags.contains(OFlags::CREATE) => {
                if path.as_encoded_bytes().ends_with(b"/") {
                    return Err(Errno::ISDIR);
                }
                self.create(call, &parent, &name, wanted)
            }
            Where::Missing { .. } => Err(Errno::NOENT),
        }
    }

    fn open_existing(&mut self, call: &Call, found: Found, wanted: Wanted) -> Outcome {
        // What a descriptor is open for is judged as by its name, where it has one.
        if let Some(special) = &found.special
            && (found.is_made_up() || self.is_nowhere(&found))
        {
            return self.open_special(&found, special, wanted);
        }
        let real = rustix::fs::fstat(&found.at)?;
        let (told, row) = self.view.told(real);
        if is_link(&real) {
            return Err(Errno::LOOP);
        }
        if wanted.flags.contains(OFlags::DIRECTORY) && !is_directory(&real) {
            return Err(Errno::NOTDIR);
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
                if wanted.writes() && !row.attributes.is_empty() {
                    // Who writes to a file takes its capabilities.
                    self.view
                        .owners
                        .change(inode(&real), |row| drop(row.attributes.remove(super::attributes::CAPABILITY)));
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
        self.made(&call.who, &parent.at, &opened, Some(mode))?;
        hand(opened, wanted)
    }

    fn open_unnamed(&mut self, call: &Call, start: &Start, path: &OsStr, wanted: Wanted) -> Outcome {
        let Where::There(parent) = self.view.find(&call.who, start, path, true)? else { return Err(Errno::NOENT) };
        if parent.special.is_some() {
            return Err(Errno::OPNOTSUPP);
        }
        self.check_change(&call.who, &parent)?;
        let mode = wanted.mode & !call.label.umask;
        let flags = wanted.flags | OFlags::CLOEXEC;
        let opened = rustix::fs::open(again(&parent.at), flags, Mode::from_raw_mode(mode & 0o777 | 0o600))?;
        self.made(&call.who, &parent.at, &opened, Some(mode))?;
        hand(opened, wanted)
    }

    /// Gives a place that is not opened. The kernel gives no such descriptor away, so that the task opens it itself where
    /// nothing else will do.
    fn open_place(&mut self, call: &Call, start: &Start, path: &OsStr, found: Found, wanted: Wanted) -> Outcome {
        let stat = rustix::fs::fstat(&found.at)?;
        if wanted.flags.contains(OFlags::DIRECTORY) && !is_directory(&stat) {
            return Err(Errno::NOTDIR);
        }
        let plain = Wanted { flags: wanted.flags & (OFlags::CLOEXEC | OFlags::DIRECTORY), mode: 0 };
        match kind(&stat) {
            libc::S_IFDIR => {
                self.fill(&found.at);
                hand(reopen(&found.at, OFlags::RDONLY | OFlags::DIRECTORY)?, plain)
            }
            libc::S_IFREG if !found.is_made_up() => hand(reopen(&found.at, OFlags::RDONLY)?, plain),
            _ if found.special.is_some() => self.open_existing(call, found, plain),
            _ => {
                let Some(Split { before, name, slash: false }) = view::split(path) else { return Err(Errno::NOENT) };
                let Where::There(parent) = self.view.find(&call.who, start, before, true)? else {
                    return Err(Errno::NOENT);
                };
                self.open_place_itself(call, &parent.at, name, wanted)
            }
        }
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
