//! Sockets: addresses that the kernel would take from the task's memory, and names of sockets in the root.
//!
//! A socket's name is made in a directory of ours, where RUN has no way to, and then given its place in the root; whoever
//! connects to one does so by a second name there. So the kernel never follows a path of RUN's. Sources: unix(7), ip(7).

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use super::names::Named;
use super::rewrite::Finish;
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::{Call, number};
use super::view::{Found, PLACE, Start, again, kind};
use crate::sys::process::Pid;

/// `struct sockaddr_un`: the family, and the longest path.
const FAMILY: usize = 2;
const PATH: usize = 108;
/// The longest address of any family that is passed on. Source: linux/socket.h.
const LONGEST: usize = 128;
const UNIX: [u8; FAMILY] = [1, 0];

/// The directory where sockets are made, and what is known of them.
#[derive(Debug)]
pub(super) struct Sockets {
    directory: OwnedFd,
    path: PathBuf,
    next: u64,
    /// What RUN has called the sockets that were made here.
    names: HashMap<Vec<u8>, Vec<u8>>,
    /// Abstract names that RUN has bound.
    abstracts: HashSet<Vec<u8>>,
    /// Whether a socket was made that sends to an address: before, no message needs a look.
    pub(super) sends: bool,
}

/// Where a socket's name is to be.
#[derive(Debug)]
pub(super) struct Bound {
    name: String,
    parent: Found,
    wanted: OsString,
    shown: Vec<u8>,
}

impl Sockets {
    pub(super) fn new(directory: OwnedFd, path: PathBuf) -> Self {
        let (names, abstracts) = (HashMap::new(), HashSet::new());
        Self { directory, path, next: 0, names, abstracts, sends: false }
    }

    fn name(&mut self) -> String {
        self.next += 1;
        self.next.to_string()
    }

    fn address(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let path = self.path.join(name);
        let path = path.as_os_str().as_bytes();
        // The zero at the end must have room, too.
        if path.len() >= PATH {
            return Err(Errno::NAMETOOLONG);
        }
        Ok([&UNIX, path, b"\0"].concat())
    }

    /// Removes a name of ours.
    pub(super) fn forget(&self, name: &str) {
        let _gone_already = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }
}

/// What an address of a task means.
enum Address {
    /// The kernel takes it as it is, from our page.
    Plain(Vec<u8>),
    /// A socket in the root.
    Path(OsString),
}

impl Supervisor {
    fn read_address(&self, call: &Call, address: u64, length: u64) -> Result<Address, Errno> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(Errno::INVAL);
        }
        let bytes = call.read(address, length)?;
        match bytes.strip_prefix(&UNIX) {
            Some(path) if path.first().is_some_and(|byte| *byte != 0) => {
                let end = memchr::memchr(0, path).unwrap_or(path.len());
                Ok(Address::Path(OsString::from_vec(path[..end].to_vec())))
            }
            Some([0, name @ ..]) if !self.sockets.abstracts.contains(name) && call.number != libc::SYS_bind => {
                // Those of the pod's other processes are not for RUN.
                Err(Errno::CONNREFUSED)
            }
            _ => Ok(Address::Plain(bytes)),
        }
    }

    /// Makes a second name for a socket in the root, and returns it with its address.
    fn reach(&mut self, call: &Call, path: &OsStr) -> Result<(String, Vec<u8>), Errno> {
        let start = Start::Directory(call.task.as_raw());
        let found = self.view.find_there(&call.who, &start, path, true)?;
        let stat = self.view.stat_of(&found)?;
        if !call.who.may(stat.st_uid, stat.st_gid, stat.st_mode, 2) {
            return Err(Errno::ACCESS);
        }
        if kind(&stat) != libc::S_IFSOCK {
            return Err(Errno::CONNREFUSED);
        }
        let name = self.sockets.name();
        let address = self.sockets.address(&name)?;
        rustix::fs::linkat(CWD, again(&found.at), &self.sockets.directory, &name, AtFlags::SYMLINK_FOLLOW)
            .map_err(|_| Errno::CONNREFUSED)?;
        Ok((name, address))
    }

    /// connect(2)
    pub(super) fn connect(&mut self, call: &Call) -> Outcome {
        let (name, bytes) = self.name_and_address(call, call.argument(1), call.argument(2))?;
        let length = bytes.len() as u64;
        let (place, address) = self.put(name.as_ref(), |_| bytes)?;
        let arguments = [call.argument(0), address, length, 0, 0, self.token];
        self.rewrite(call, libc::SYS_connect, arguments, Finish::Reached { place, name, sent: None })
    }

    fn name_and_address(&mut self, call: &Call, at: u64, length: u64) -> Result<(Option<String>, Vec<u8>), Errno> {
        match self.read_address(call, at, length)? {
            Address::Plain(bytes) => Ok((None, bytes)),
            Address::Path(path) => self.reach(call, &path).map(|(name, bytes)| (Some(name), bytes)),
        }
    }

    /// Puts what a call to a name of ours takes into the page; where there is no room, the name is of no use.
    fn put(&mut self, name: Option<&String>, make: impl FnOnce(u64) -> Vec<u8>) -> Result<(usize, u64), Errno> {
        self.pages.put(make).inspect_err(|_| {
            if let Some(name) = name {
                self.sockets.forget(name);
            }
        })
    }

    /// bind(2)
    pub(super) fn bind(&mut self, call: &Call) -> Outcome {
        let (at, length) = (call.argument(1), call.argument(2));
        let path = match self.read_address(call, at, length)? {
            Address::Plain(bytes) => {
                if let Some([0, name @ ..]) = bytes.strip_prefix(&UNIX) {
                    self.sockets.abstracts.insert(name.to_vec());
                }
                return self.bind_to(call, bytes, Finish::Place);
            }
            Address::Path(path) => path,
        };
        let start = Start::Directory(call.task.as_raw());
        let Named { parent, name: wanted, .. } = self
            .vacant_name(call, &start, &path, false)
            .map_err(|errno| if errno == Errno::EXIST { Errno::ADDRINUSE } else { errno })?;
        self.check_change(&call.who, &parent)?;
        let name = self.sockets.name();
        let bytes = self.sockets.address(&name)?;
        let socket = Bound { name, parent, wanted, shown: path.into_vec() };
        self.bind_to(call, bytes, |place| Finish::Bound { place, socket })
    }

    fn bind_to(&mut self, call: &Call, address: Vec<u8>, finish: impl FnOnce(usize) -> Finish) -> Outcome {
        let length = address.len() as u64;
        let (place, address) = self.pages.put(|_| address)?;
        let arguments = [call.argument(0), address, length, 0, 0, self.token];
        self.rewrite(call, libc::SYS_bind, arguments, finish(place))
    }

    /// Gives a new socket its place in the root; returns what the task is told.
    pub(super) fn name_socket(&mut self, call: &Call, socket: Bound, result: i64) -> i64 {
        if result != 0 {
            return result;
        }
        let Bound { name, parent, wanted, shown } = socket;
        let directory = &self.sockets.directory;
        let named = rustix::fs::openat(directory, &name, PLACE, rustix::fs::Mode::empty()).and_then(|new| {
            let mode = 0o777 & !call.label.umask;
            rustix::fs::chmod(again(&new), rustix::fs::Mode::from_raw_mode(mode | 0o600))?;
            self.made(&call.who, &parent, &new, Some(mode))?;
            rustix::fs::renameat_with(directory, &name, &parent.at, &wanted, RenameFlags::NOREPLACE)
        });
        match named {
            Ok(()) => {
                let ours = self.sockets.path.join(&name).into_os_string().into_vec();
                self.sockets.names.insert(ours, shown);
                0
            }
            Err(errno) => {
                self.sockets.forget(&name);
                let errno = if errno == Errno::EXIST { Errno::ADDRINUSE } else { errno };
                -i64::from(errno.raw_os_error())
            }
        }
    }

    /// getsockname(2), getpeername(2)
    pub(super) fn socket_name(&mut self, call: &Call) -> Outcome {
        let arguments = [call.argument(0), call.argument(1), call.argument(2), 0, 0, self.token];
        let finish = Finish::Address { to: call.argument(1), length: call.argument(2) };
        self.rewrite(call, call.number, arguments, finish)
    }

    /// Shows the name that RUN has given to a socket.
    pub(super) fn show_address(&self, call: &Call, to: u64, length: u64) {
        let Ok(count) = call.read_u32(length) else { return };
        let count = usize::try_from(count).unwrap_or_default();
        if count <= FAMILY || count > FAMILY + PATH + 1 {
            return;
        }
        let Ok(bytes) = call.read(to, count) else { return };
        let Some(path) = bytes.strip_prefix(&UNIX) else { return };
        let end = memchr::memchr(0, path).unwrap_or(path.len());
        let Some(shown) = self.sockets.names.get(&path[..end]) else { return };
        let text = [&UNIX, shown.as_slice(), b"\0"].concat();
        // No longer than the kernel's, which had room; what does not fit is cut, as by the kernel.
        let text = &text[..text.len().min(count)];
        let _not_writable_any_more = call.write(to, text).and_then(|()| {
            let length_now = u32::try_from(text.len()).unwrap_or_default();
            call.write(length, &length_now.to_le_bytes())
        });
    }

    /// getsockopt(2) of `SO_PEERCRED`
    pub(super) fn peer(&mut self, call: &Call) -> Outcome {
        let mut arguments = call.arguments;
        arguments[5] = self.token;
        // SOL_SOCKET
        let finish = if call.unsigned(1) == 1 { Finish::Peer { to: call.argument(3) } } else { Finish::Return };
        self.rewrite(call, libc::SYS_getsockopt, arguments, finish)
    }

    /// Shows who a process is for RUN, in a `struct ucred` that the kernel has written.
    pub(super) fn show_peer(&self, call: &Call, to: u64) {
        let Ok(process) = call.read_u32(to) else { return };
        let people = self.view.people.borrow();
        let Ok(label) = people.label(Pid::from_raw(process.cast_signed())) else { return };
        let who = people.who(label);
        let ids = [who.user.effective.to_le_bytes(), who.group.effective.to_le_bytes()].concat();
        let _not_writable_any_more = call.write(to + 4, &ids);
    }

    /// socket(2) and socketpair(2) of the family of the machine itself. One end of a pair may send to a name, too.
    pub(super) fn new_socket(&mut self, call: &Call) -> Outcome {
        // SOCK_STREAM is 1; the flags are above.
        self.sockets.sends |= call.unsigned(1) & 0xf != 1;
        Ok(Answer::Proceed)
    }

    /// sendto(2) with an address: as a message, whose parts are in our page.
    pub(super) fn send_to(&mut self, call: &Call) -> Outcome {
        let [socket, buffer, size, flags, at, length] = call.arguments;
        let (name, bytes) = self.name_and_address(call, at, length)?;
        let vector = [buffer.to_le_bytes(), size.to_le_bytes()].concat();
        let (place, address) = self.put(name.as_ref(), |start| message(start, &bytes, Some(&vector), [0; 5]))?;
        let arguments = [socket, address, flags, 0, 0, self.token];
        self.rewrite(call, libc::SYS_sendmsg, arguments, Finish::Reached { place, name, sent: None })
    }

    /// sendmsg(2), and sendmmsg(2), of whose messages the first is sent: it may send fewer than it was given.
    pub(super) fn send_message(&mut self, call: &Call) -> Outcome {
        if !self.sockets.sends {
            // Without a socket of RUN's that sends to names, no message has an address that matters.
            return Ok(Answer::Proceed);
        }
        let is_many = call.number == libc::SYS_sendmmsg;
        if is_many && call.unsigned(2) == 0 {
            return Ok(Answer::Value(0));
        }
        let sent = is_many.then(|| call.argument(1) + HEADER as u64);
        let flags = call.argument(if is_many { 3 } else { 2 });
        let header = call.read(call.argument(1), HEADER)?;
        let word = |index: usize| number(&header, index * 8, 8);
        let (name, bytes) = match (word(0), word(1) & 0xffff_ffff) {
            (0, _) | (_, 0) => (None, Vec::new()),
            (at, length) => self.name_and_address(call, at, length)?,
        };
        let rest = [word(2), word(3), word(4), word(5), word(6)];
        let (place, address) = self.put(name.as_ref(), |start| message(start, &bytes, None, rest))?;
        let arguments = [call.argument(0), address, flags, 0, 0, self.token];
        self.rewrite(call, libc::SYS_sendmsg, arguments, Finish::Reached { place, name, sent })
    }
}

/// The length of `struct msghdr`.
const HEADER: usize = 56;

/// Writes a `struct msghdr` that stands at `start`, and behind it the address and, where one is given, the one vector.
fn message(start: u64, address: &[u8], vector: Option<&[u8]>, rest: [u64; 5]) -> Vec<u8> {
    let after = start + HEADER as u64;
    let aligned = address.len().next_multiple_of(8);
    let (name, length) = if address.is_empty() { (0, 0) } else { (after, address.len() as u64) };
    let [mut vectors, mut count, control, control_length, flags] = rest;
    if vector.is_some() {
        (vectors, count) = (after + aligned as u64, 1);
    }
    let words = [name, length, vectors, count, control, control_length, flags];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(address);
    bytes.resize(HEADER + aligned, 0);
    bytes.extend(vector.unwrap_or_default());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_points_into_its_own_place() {
        let bytes = message(0x1000, &[1, 0, b'x'], Some(&[7; 16]), [0; 5]);
        let word = |index: usize| u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().unwrap());
        assert_eq!((word(0), word(1), word(2), word(3)), (0x1038, 3, 0x1040, 1));
        assert_eq!(&bytes[0x38..0x3b], [1, 0, b'x']);
        assert_eq!(&bytes[0x40..], [7; 16]);
    }
}
