//! Devices that RUN makes in a user namespace, where the kernel makes none: data of the image, as a file that stands for each.
//!
//! A filter hands mknod(2) of a device over to the process that made RUN's namespaces, which makes an empty file in its
//! place and writes down which device it stands for. It does that in a process with the caller's root, directory, user and
//! capabilities, so that the kernel itself judges the path.
//!
//! Knows processes and one call. Does not know what becomes of the file in the layer. *Invariant: what a task could not have
//! made as root of the machine is refused by the kernel, with its own error.*

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::filter;
use crate::image::Timestamp;
use crate::rootfs::{Device, Inode, Nodes, born};
use crate::sys::notify::{self, Listener, Notification};
use crate::sys::process::{self, CapabilitySet, Forked, Pid, exit_now, fork};
use crate::sys::{Error, signal};

/// Source: linux/limits.h, `PATH_MAX`, with the zero at the end.
const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;

/// What is written down of a device, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    /// The device and the number of the file's inode.
    inode: (u64, u64),
    /// When the file was made, in seconds and nanoseconds.
    born: (i64, u32),
    block: bool,
    major: u32,
    minor: u32,
}

/// What the process says that makes a file: a row, or the number of the kernel's error.
type Word = Result<Row, i32>;

/// The one who makes the devices of a RUN.
#[derive(Debug)]
pub(super) struct Maker {
    /// The machine's /proc as this process sees it: RUN's own may be another.
    processes: OwnedFd,
    /// Where rows are written.
    rows: File,
    /// Where the listener comes from.
    socket: UnixStream,
}

/// RUN's end of a [`Maker`].
#[derive(Debug)]
pub(super) struct Asker(UnixStream);

impl Maker {
    /// Prepares to write down what is made in the file at `rows`; to be called before RUN's namespaces are entered.
    ///
    /// # Errors
    /// When the file or /proc cannot be opened.
    pub(super) fn prepare(rows: &Path) -> Result<(Self, Asker), Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let processes = rustix::fs::open("/proc", flags, Mode::empty())
            .map_err(|errno| Error::from_io("open(/proc)", &errno.into()))?;
        let call = || format!("open({})", rows.display());
        let rows = File::create(rows).map_err(|error| Error::from_io(call(), &error))?;
        let (socket, theirs) = UnixStream::pair().map_err(|error| Error::from_io("socketpair()", &error))?;
        Ok((Self { processes, rows, socket }, Asker(theirs)))
    }

    /// Makes devices until `first`, the first process of the namespaces, has ended.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(super) fn serve(mut self, first: Pid) -> Result<(), Error> {
        process::forbid_inspection()?;
        // None where the kernel or a filter around us allows none: mknod(2) is refused then.
        let mut listener = notify::receive_listener(&self.socket).ok();
        let news = signal::news_of_children()?;
        while !process::has_ended(first) {
            match wait(listener.as_ref(), &news)? {
                Woken::Call => {
                    if let Some(listener) = &listener
                        && let Some(call) = listener.receive()?
                    {
                        self.answer(listener, &call);
                    }
                }
                Woken::Child => while matches!(news.read_signal(), Ok(Some(_))) {},
                Woken::Nobody => listener = None,
            }
        }
        Ok(())
    }

    /// Makes the device, or lets the kernel refuse the call as it stands.
    fn answer(&mut self, listener: &Listener, call: &Notification) {
        let Some(task) = Asked::of(call).and_then(|asked| self.look(&asked, call.task).ok().flatten()) else {
            return listener.proceed(call.id);
        };
        // Whoever asked may be gone, and its number another's: what was read is nothing then.
        if !listener.is_waiting(call.id) {
            return;
        }
        match task.make() {
            Ok(row) => {
                let written = serde_json::to_string(&row).map_err(io::Error::from);
                let written = written.and_then(|line| writeln!(self.rows, "{line}"));
                listener.answer(call.id, written.map(|()| 0).map_err(|_| libc::EIO));
            }
            Err(errno) => listener.answer(call.id, Err(errno)),
        }
    }

    /// Finds out who asks. None: the kernel has the right answer itself.
    fn look(&self, asked: &Asked, number: i32) -> io::Result<Option<Task>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process = rustix::fs::openat(&self.processes, number.to_string(), flags, Mode::empty())?;
        let read = |name: &str| rustix::fs::openat(&process, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let mut status = String::new();
        File::from(read("status")?).read_to_string(&mut status)?;
        let Some(who) = Who::parse(&status).filter(|who| who.capabilities.contains(CapabilitySet::MKNOD)) else {
            return Ok(None);
        };
        let path = read_path(&File::from(read("mem")?), asked.path)?;
        // What such a name gets is told before anybody asks whether devices are allowed.
        if matches!(path.as_encoded_bytes().last(), None | Some(b'/')) {
            return Ok(None);
        }
        let directory = |name: &str| rustix::fs::openat(&process, name, flags, Mode::empty());
        let base = match asked.directory {
            Some(descriptor) if !Path::new(&path).is_absolute() => directory(&format!("fd/{descriptor}"))?,
            Some(_) | None => directory("cwd")?,
        };
        Ok(Some(Task { root: directory("root")?, base, path, who, mode: asked.mode, device: asked.device }))
    }
}

impl Asker {
    /// Hands mknod(2) of this process, and of what it executes, over to the [`Maker`]; needs CAP_SYS_ADMIN.
    pub(super) fn ask(&self) {
        // The kernel may be older than what this takes, or another listener be there already: mknod(2) is refused then.
        let _refused_then = notify::install_and_send(&filter::nodes::program(), self.0.as_fd(), 0);
    }
}

enum Woken {
    Call,
    Child,
    /// The listener has nobody left to listen to.
    Nobody,
}

fn wait(listener: Option<&Listener>, news: &SignalFd) -> Result<Woken, Error> {
    let mut waited = vec![PollFd::from_borrowed_fd(news.as_fd(), PollFlags::IN)];
    waited.extend(listener.map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)));
    match poll(&mut waited, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::from_io("poll()", &errno.into())),
    }
    Ok(match waited.get(1).map(PollFd::revents) {
        Some(found) if found.contains(PollFlags::IN) => Woken::Call,
        Some(found) if !found.is_empty() => Woken::Nobody,
        Some(_) | None => Woken::Child,
    })
}

/// The arguments of a call.
#[derive(Debug)]
struct Asked {
    /// The descriptor that a relative path begins at; none: the working directory.
    directory: Option<i32>,
    /// The path's address in the caller's memory.
    path: u64,
    mode: u16,
    device: Device,
}

impl Asked {
    /// Reads the arguments; none where the kernel is to answer.
    fn of(call: &Notification) -> Option<Self> {
        let at = usize::try_from(filter::nodes::mode_argument(call.number)?).ok()?;
        let low = |index: usize| u32::try_from(call.arguments[index] & 0xffff_ffff).unwrap_or_default();
        let directory = (at == 2).then(|| low(0).cast_signed()).filter(|descriptor| *descriptor != libc::AT_FDCWD);
        let block = match FileType::from_raw_mode(low(at)) {
            FileType::BlockDevice => true,
            FileType::CharacterDevice => false,
            _ => return None,
        };
        let number = u64::from(low(at + 1));
        let device = Device { block, major: rustix::fs::major(number), minor: rustix::fs::minor(number) };
        // It means a removal in an overlay, and everybody may make it.
        if (device.block, device.major, device.minor) == (false, 0, 0) {
            return None;
        }
        let mode = u16::try_from(low(at) & 0o7777).unwrap_or_default();
        Some(Self { directory, path: call.arguments[at - 1], mode, device })
    }
}

/// Who makes a call, as the kernel judges access to files.
#[derive(Debug, PartialEq, Eq)]
struct Who {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u16,
    capabilities: CapabilitySet,
}

impl Who {
    /// Reads the text of proc_pid_status(5).
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        // Real, effective, saved, and that for files.
        let for_files = |name: &str| field(name)?.split_ascii_whitespace().nth(3)?.parse().ok();
        Some(Self {
            uid: for_files("Uid")?,
            gid: for_files("Gid")?,
            groups: field("Groups")?.split_ascii_whitespace().filter_map(|group| group.parse().ok()).collect(),
            umask: u16::from_str_radix(field("Umask")?.trim(), 8).ok()?,
            capabilities: CapabilitySet::from_bits_retain(u64::from_str_radix(field("CapEff")?.trim(), 16).ok()?),
        })
    }

    /// Takes on this identity, for access to files.
    fn become_it(&self) -> Result<(), Errno> {
        let groups: Vec<nix::unistd::Gid> = self.groups.iter().copied().map(nix::unistd::Gid::from_raw).collect();
        // Where the namespace has one id alone, nobody has others.
        let _none_to_set = nix::unistd::setgroups(&groups);
        nix::unistd::setfsgid(self.gid.into());
        nix::unistd::setfsuid(self.uid.into());
        let sets = rustix::thread::CapabilitySets {
            effective: self.capabilities,
            permitted: self.capabilities,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets)?;
        rustix::process::umask(Mode::from_raw_mode(self.umask.into()));
        Ok(())
    }
}

/// Reads a path that ends with a zero.
fn read_path(memory: &File, address: u64) -> io::Result<OsString> {
    let mut text = Vec::new();
    while text.len() < PATH_MAX {
        let at = address + text.len() as u64;
        // No further than the page, since the next may not be there.
        let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1).min(PATH_MAX - text.len());
        let start = text.len();
        text.resize(start + in_page, 0);
        memory.read_exact_at(&mut text[start..], at)?;
        if let Some(end) = memchr::memchr(0, &text[start..]) {
            text.truncate(start + end);
            return Ok(OsString::from_vec(text));
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// A call with all that the kernel would look at.
#[derive(Debug)]
struct Task {
    root: OwnedFd,
    base: OwnedFd,
    path: OsString,
    who: Who,
    mode: u16,
    device: Device,
}

impl Task {
    /// Makes the file in a process that stands where the task stands.
    fn make(&self) -> Word {
        let broken = |_| libc::EIO;
        let (mut word, teller) = io::pipe().map_err(broken)?;
        let helper = match fork().map_err(|_| libc::EAGAIN)? {
            Forked::Child => {
                let _dies_later_then = process::die_with_parent();
                let word = self.make_here().map_err(Errno::raw_os_error);
                let _nobody_listens = tell(teller, &word);
                exit_now(0);
            }
            Forked::Parent(helper) => helper,
        };
        drop(teller);
        let mut text = String::new();
        let read = word.read_to_string(&mut text);
        process::wait_for(helper).map_err(|_| libc::EIO)?;
        read.map_err(broken)?;
        serde_json::from_str::<Word>(&text).map_err(|_| libc::EIO)?
    }

    fn make_here(&self) -> Result<Row, Errno> {
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(".")?;
        rustix::process::fchdir(&self.base)?;
        self.who.become_it()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(self.mode.into());
        // Links of /proc would lead to what this process has, and not the one that asked.
        let file = rustix::fs::openat2(CWD, &self.path, flags, mode, ResolveFlags::NO_MAGICLINKS)?;
        let Some(born) = born(file.as_fd(), OsStr::new("")) else {
            let _stays_as_a_file = rustix::fs::unlink(&self.path);
            return Err(Errno::PERM);
        };
        let stat = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
        let Device { block, major, minor } = self.device;
        let born = (born.seconds, born.nanoseconds);
        Ok(Row { inode: (device, stat.stx_ino), born, block, major, minor })
    }
}

fn tell(mut teller: PipeWriter, word: &Word) -> io::Result<()> {
    teller.write_all(serde_json::to_string(word)?.as_bytes())
}

/// Takes over what was written down in the file at `rows`.
///
/// # Errors
/// When it cannot be read.
pub(super) fn take_over(rows: &Path, nodes: &Nodes) -> io::Result<()> {
    for line in BufReader::new(File::open(rows)?).lines() {
        let Row { inode: (device, number), born: (seconds, nanoseconds), block, major, minor } =
            serde_json::from_str(&line?)?;
        let device_made = Device { block, major, minor };
        nodes.add(Inode { device, number }, Some(Timestamp { seconds, nanoseconds }), device_made);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_read_from_its_status() {
        let status = "Name:\tmknod\nUmask:\t0027\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t0000000008000001\n";
        let expected = Who {
            uid: 4,
            gid: 8,
            groups: vec![9, 10],
            umask: 0o027,
            capabilities: CapabilitySet::MKNOD | CapabilitySet::CHOWN,
        };
        assert_eq!(Who::parse(status), Some(expected));
        assert_eq!(Who::parse("Name:\tx\n"), None);
    }

    #[test]
    fn a_call_is_read_by_its_arguments() {
        let call = |number, arguments| Notification { id: 1, task: 1, number, instruction: 0, arguments };
        let at = u64::from(libc::AT_FDCWD.cast_unsigned());
        let asked = Asked::of(&call(libc::SYS_mknodat, [at, 77, 0o060_640, 0x20_0701, 0, 0])).unwrap();
        assert_eq!((asked.directory, asked.path, asked.mode), (None, 77, 0o640));
        assert_eq!(asked.device, Device { block: true, major: 7, minor: 0x201 });
        let asked = Asked::of(&call(libc::SYS_mknodat, [9, 77, 0o020_640, 0x0103, 0, 0])).unwrap();
        assert_eq!(asked.directory, Some(9));
        assert!(Asked::of(&call(libc::SYS_mknodat, [9, 77, 0o020_640, 0, 0, 0])).is_none(), "a removal of an overlay");
        assert!(Asked::of(&call(libc::SYS_mknodat, [9, 77, 0o010_640, 1, 0, 0])).is_none(), "a named pipe");
    }

    #[test]
    fn a_path_is_read_up_to_its_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&[b'x'; 4090][..], b"/a/path\0rest", &[b'y'; 9000]].concat()).unwrap();
        assert_eq!(read_path(&file, 4090).unwrap(), "/a/path");
        assert!(read_path(&file, 4200).is_err());
        assert!(read_path(&file, 1 << 40).is_err());
    }
}
