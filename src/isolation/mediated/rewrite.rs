//! Calls that a task must make itself, with arguments that the supervisor has chosen.
//!
//! The task is stopped, its registers are set to the other call, and afterwards to what they were: but for the result it
//! does not notice. Pointers in such a call lead to a page that the task can only read and neither unmap nor replace, and
//! its last argument is a token that no memory of the task's ever holds; the filter allows the call by that.
//!
//! *Invariant: registers with the token never outlive the call: they are put back before a signal or anything else of the
//! task's runs.*

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::signal::Signal;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::kin;
use super::look::Look;
use super::open::Wanted;
use super::supervisor::{Answer, Outcome, Supervisor, errno};
use super::task::Call;
use super::view::Start;
use crate::sys::Error;
use crate::sys::page::Shared;
use crate::sys::process::Pid;
use crate::sys::tracee::{self, Event, Registers};

/// How long a place in the page is.
pub(super) const PLACE: usize = 512;
/// How many there are; the first holds nothing but zeros.
const PLACES: usize = 64;

/// The page that only the supervisor writes.
#[derive(Debug)]
pub(super) struct Pages {
    shared: Shared,
    file: OwnedFd,
    address: u64,
    free: Vec<usize>,
}

impl Pages {
    pub(super) const LENGTH: usize = PLACE * PLACES;

    /// Makes the page, which tasks will have at `address`.
    pub(super) fn new(address: u64) -> Result<Self, Error> {
        let shared = Shared::new(Self::LENGTH)?;
        let file = shared.for_reading()?;
        Ok(Self { shared, file, address, free: (1..PLACES).collect() })
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Where tasks have it, and how long it is.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.address, Self::LENGTH as u64)
    }

    /// The address of a text of no bytes.
    pub(super) fn empty(&self) -> u64 {
        self.address
    }

    /// Writes bytes; `parts` are made from the address at which the first byte will be.
    pub(super) fn put(&mut self, make: impl FnOnce(u64) -> Vec<u8>) -> Result<(usize, u64), Errno> {
        let place = self.free.pop().ok_or(Errno::AGAIN)?;
        let address = self.address + (place * PLACE) as u64;
        let bytes = make(address);
        if bytes.len() > PLACE || !self.shared.write(place * PLACE, &bytes) {
            self.free.push(place);
            return Err(Errno::NAMETOOLONG);
        }
        Ok((place, address))
    }

    pub(super) fn give_back(&mut self, place: usize) {
        self.free.push(place);
    }
}

/// What is to be done when the call has returned.
#[derive(Debug)]
pub(super) enum Finish {
    /// Nothing.
    Return,
    /// It was execve(2).
    Exec,
    /// It used a place in the page.
    Place(usize),
    /// It was bind(2) to a name of ours, which becomes this one.
    Bound { place: usize, socket: super::sockets::Bound },
    /// It was connect(2) or a message, perhaps to a name of ours.
    Reached {
        place: usize,
        name: Option<String>,
        /// Where the length of the first of several messages goes.
        sent: Option<u64>,
    },
    /// The address that it has written is one of ours.
    Address { to: u64, length: u64 },
    /// It has written whom a socket is connected to.
    Peer { to: u64 },
}

/// A call that a task is made to make, and that has not returned.
#[derive(Debug)]
pub(super) struct Rewritten {
    call: Call,
    registers: Registers,
    finish: Finish,
    /// A descriptor that the task was given for the call alone.
    lent: Option<RawFd>,
    /// Signals that came meanwhile: their handlers would run with registers that are not the task's own.
    signals: Vec<i32>,
}

/// Lets a task go on until it stands at the beginning or the end of a call; signals wait.
fn to_call(task: Pid, signals: &mut Vec<i32>) -> Result<(), nix::errno::Errno> {
    loop {
        tracee::go_on(task, None)?;
        match tracee::wait(task)? {
            Event::Call => return Ok(()),
            Event::Asked => {}
            Event::Signal(signal) => signals.push(signal),
            Event::Gone => return Err(nix::errno::Errno::ESRCH),
        }
    }
}

impl Supervisor {
    /// Makes the task make another call in the place of the one that it waits for.
    pub(super) fn rewrite(&mut self, call: &Call, number: i64, arguments: [u64; 6], finish: Finish) -> Outcome {
        self.rewrite_with(call, number, arguments, finish, None)
    }

    /// Likewise, with a descriptor that was inserted for the call, and that the task closes after it.
    pub(super) fn rewrite_with(
        &mut self,
        call: &Call,
        number: i64,
        arguments: [u64; 6],
        finish: Finish,
        lent: Option<RawFd>,
    ) -> Outcome {
        let task = call.task;
        let number = u64::try_from(number).map_err(|_| Errno::NOSYS)?;
        if let Err(seized) = tracee::seize(task) {
            self.give_back(&finish);
            return Err(errno(seized));
        }
        self.listener.answer(call.id, Err(libc::EAGAIN));
        let mut signals = Vec::new();
        let rewritten = match Self::stop_and_set(task, number, arguments, &mut signals) {
            Ok(registers) => Rewritten { call: call.clone(), registers, finish, lent, signals },
            // It is gone.
            Err(_) => {
                self.give_back(&finish);
                return Ok(Answer::Later);
            }
        };
        if matches!(rewritten.finish, Finish::Reached { .. }) {
            // It may take long: its end is an event like others.
            self.rewritten.insert(task.as_raw(), rewritten);
            return Ok(Answer::Later);
        }
        self.wait_for_end(rewritten);
        Ok(Answer::Later)
    }

    /// Stops the task and lets it go on into the other call; returns its registers before.
    fn stop_and_set(
        task: Pid,
        number: u64,
        arguments: [u64; 6],
        signals: &mut Vec<i32>,
    ) -> Result<Registers, nix::errno::Errno> {
        loop {
            match tracee::wait(task)? {
                Event::Asked => break,
                Event::Gone => return Err(nix::errno::Errno::ESRCH),
                Event::Call => {}
                Event::Signal(signal) => signals.push(signal),
            }
            tracee::go_on(task, None)?;
        }
        let before = tracee::registers(task)?;
        tracee::set_registers(task, before.calling(number, arguments))?;
        to_call(task, signals)?;
        tracee::go_on(task, None)?;
        Ok(before)
    }

    fn wait_for_end(&mut self, mut rewritten: Rewritten) {
        let task = rewritten.call.task;
        loop {
            match tracee::wait(task) {
                Ok(Event::Call) => return self.finish(rewritten, task),
                Ok(Event::Signal(signal)) => rewritten.signals.push(signal),
                Ok(Event::Asked) => {}
                Ok(Event::Gone) | Err(_) => break,
            }
            let _told_by_the_next_event = tracee::go_on(task, None);
        }
        // A thread that executes becomes the first of its process.
        let first = Pid::from_raw(kin::process_of(task.as_raw()));
        if matches!(rewritten.finish, Finish::Exec) && first != task {
            if let Ok(Event::Call) = tracee::wait(first)
                && self.end_unless_loader(first)
            {
                let _gone_already = tracee::release(first, None);
            }
            return;
        }
        self.give_back(&rewritten.finish);
    }

    /// Takes note of something that a task has done which makes a call.
    pub(super) fn event_of(&mut self, task: Pid, event: Event) {
        match event {
            Event::Call => {
                if let Some(rewritten) = self.rewritten.remove(&task.as_raw()) {
                    self.finish(rewritten, task);
                }
            }
            Event::Signal(signal) => {
                if let Some(rewritten) = self.rewritten.get_mut(&task.as_raw()) {
                    rewritten.signals.push(signal);
                }
                let _told_by_the_next_event = tracee::go_on(task, None);
            }
            Event::Asked => drop(tracee::go_on(task, None)),
            Event::Gone => {
                if let Some(rewritten) = self.rewritten.remove(&task.as_raw()) {
                    self.give_back(&rewritten.finish);
                }
            }
        }
    }

    /// Puts the registers back, with the result, and lets the task go.
    fn finish(&mut self, rewritten: Rewritten, task: Pid) {
        let Rewritten { call, registers, finish, lent, mut signals } = rewritten;
        let Ok(after) = tracee::registers(task) else { return self.give_back(&finish) };
        let result = after.result();
        if matches!(finish, Finish::Exec) && result == 0 {
            if self.end_unless_loader(task) {
                Self::let_go(task, &signals);
            }
            return;
        }
        let result = self.conclude(&call, finish, result);
        if let Some(lent) = lent {
            let _gone_already = Self::close_in(task, registers, lent, &mut signals);
        }
        let _gone_already = tracee::set_registers(task, registers.returning(result));
        Self::let_go(task, &signals);
    }

    /// Ends a process that has just executed something else than the loader, before its first instruction; tells whether it was
    /// the loader.
    ///
    /// A thread with the same descriptors may have put another file under the number of the loader's. What the kernel loads by
    /// itself may have memory of its own where the page of the supervisor belongs.
    fn end_unless_loader(&self, task: Pid) -> bool {
        let is_loader = self.loader.is_executed_by(task);
        if !is_loader {
            let _gone_already = nix::sys::signal::kill(task, Signal::SIGKILL);
            let _gone_already = tracee::release(task, None);
        }
        is_loader
    }

    /// Lets a task go, with the signals that it has not got yet.
    fn let_go(task: Pid, signals: &[i32]) {
        let (last, others) = signals.split_last().map_or((None, signals), |(last, others)| (Some(*last), others));
        for signal in others.iter().filter_map(|signal| Signal::try_from(*signal).ok()) {
            let _gone_already = nix::sys::signal::kill(task, signal);
        }
        let _gone_already = tracee::release(task, last);
    }

    /// Makes a task that stands at the end of a call close a descriptor.
    fn close_in(
        task: Pid,
        registers: Registers,
        number: RawFd,
        signals: &mut Vec<i32>,
    ) -> Result<(), nix::errno::Errno> {
        let close = u64::try_from(libc::SYS_close).unwrap_or_default();
        tracee::set_registers(task, registers.calling(close, [u64::from(number.unsigned_abs()), 0, 0, 0, 0, 0]))?;
        to_call(task, signals)?;
        to_call(task, signals)
    }

    /// Does what is left to do when the call has returned, and returns what the task is told.
    fn conclude(&mut self, call: &Call, finish: Finish, result: i64) -> i64 {
        self.give_back(&finish);
        match finish {
            Finish::Exec => self.forget_program(kin::process_of(call.task.as_raw())),
            Finish::Bound { socket, .. } => return self.name_socket(call, socket, result),
            Finish::Reached { sent: Some(at), .. } => {
                if let Ok(length) = u32::try_from(result) {
                    return call.write(at, &length.to_le_bytes()).map_or(-i64::from(libc::EFAULT), |()| 1);
                }
            }
            Finish::Address { to, length } if result == 0 => self.show_address(call, to, length),
            Finish::Peer { to } if result == 0 => self.show_peer(call, to),
            Finish::Return
            | Finish::Place(_)
            | Finish::Reached { .. }
            | Finish::Address { .. }
            | Finish::Peer { .. } => {}
        }
        result
    }

    /// Gives back what the call had of ours, however it ended.
    fn give_back(&mut self, finish: &Finish) {
        match finish {
            Finish::Place(place) | Finish::Bound { place, .. } => self.pages.give_back(*place),
            Finish::Reached { place, name, .. } => {
                self.pages.give_back(*place);
                if let Some(name) = name {
                    self.sockets.forget(name);
                }
            }
            Finish::Return | Finish::Exec | Finish::Address { .. } | Finish::Peer { .. } => {}
        }
    }

    /// Makes the task enter a directory.
    pub(super) fn enter_directory(&mut self, call: &Call, directory: &OwnedFd) -> Outcome {
        let number = self.listener.insert(call.id, directory.as_fd(), true).map_err(errno)?;
        let arguments = [u64::from(number.unsigned_abs()), 0, 0, 0, 0, 0];
        self.rewrite_with(call, libc::SYS_fchdir, arguments, Finish::Return, Some(number))
    }

    /// Makes the task open a place in a directory: a link, a pipe or a socket, which nobody can give it.
    pub(super) fn open_place_itself(&mut self, call: &Call, parent: &OwnedFd, name: &OsStr, wanted: Wanted) -> Outcome {
        let parent = super::view::reopen(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let number = self.listener.insert(call.id, parent.as_fd(), true).map_err(errno)?;
        let text = name.as_bytes().to_vec();
        let (place, address) = self.pages.put(|_| [text.as_slice(), b"\0"].concat())?;
        let flags = wanted.flags & OFlags::CLOEXEC | OFlags::PATH | OFlags::NOFOLLOW;
        let arguments = [u64::from(number.unsigned_abs()), address, flags.bits().into(), 0, 0, self.token];
        self.rewrite_with(call, libc::SYS_openat, arguments, Finish::Place(place), Some(number))
    }

    /// inotify_add_watch(2): the task watches what a descriptor leads to that it is lent.
    pub(super) fn watch(&mut self, call: &Call) -> Outcome {
        let (socket, mask) = (call.argument(0), call.unsigned(2));
        let start = Start::Directory(call.task.as_raw());
        let look = Look { follow: mask & libc::IN_DONT_FOLLOW == 0, ..Look::following(call.argument(1)) };
        let found = self.find(call, &call.who, &start, look)?;
        let stat = self.view.stat_of(&found)?;
        let is_watched = matches!(stat.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR) && !found.is_made_up();
        if !is_watched || !call.who.may(stat.st_uid, stat.st_gid, stat.st_mode, 4) {
            return Err(Errno::ACCESS);
        }
        let file = super::view::reopen(&found.at, OFlags::RDONLY)?;
        let number = self.listener.insert(call.id, file.as_fd(), true).map_err(errno)?;
        let path = format!("/proc/thread-self/fd/{number}\0");
        let (place, address) = self.pages.put(|_| path.into_bytes())?;
        let mask = u64::from(mask & !libc::IN_DONT_FOLLOW);
        let arguments = [socket, address, mask, 0, 0, self.token];
        self.rewrite_with(call, libc::SYS_inotify_add_watch, arguments, Finish::Place(place), Some(number))
    }
}
