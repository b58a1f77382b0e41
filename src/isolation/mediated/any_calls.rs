//! Any calls at all, answered by a supervisor: for tests and fuzzing.
//!
//! The task that makes them is a process that sleeps. What would make it go on (calls that it has to make itself) ends at the
//! right to trace it, which another thread has; calls about processes are left out, since the supervisor's are ours here.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc;

use rustix::fs::Mode;

use super::exec::Loader;
use super::people::{Credentials, Label, People};
use super::rewrite::Pages;
use super::sockets::Sockets;
use super::supervisor::{Prepared, Supervisor};
use super::task::Call;
use super::view::{Kind, Mounted, PLACE, View};
use crate::isolation::filter::mediated::notified;
use crate::rootfs::Owners;
use crate::sys::notify::{Listener, Notification};
use crate::sys::process::Pid;
use crate::sys::tracee;

/// They reach processes, not files.
const LEFT_OUT: [i64; 8] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_prlimit64,
];
/// Names that lead somewhere, or nearly.
const NAMES: [&str; 16] = [
    "/a",
    "b",
    "/",
    ".",
    "..",
    "../../outside/bait",
    "/out/bait",
    "up/../../outside/bait",
    "/a/b/../c",
    "/m/x",
    "m",
    "/loop/x",
    "a/",
    "//a//./b",
    "/proc/self/root",
    "",
];
/// How far apart names are in the task's memory, and how many there is room for.
const SLOT: usize = 32;
const SLOTS: usize = 256;

/// A root with a supervisor, and a process that seems to make calls.
#[derive(Debug)]
pub struct AnyCalls {
    supervisor: Supervisor,
    task: Child,
    memory: u64,
    outside: PathBuf,
    /// Its end lets the thread go that traces the task.
    _tracer: mpsc::Sender<()>,
}

impl AnyCalls {
    /// Begins in an empty directory.
    ///
    /// # Errors
    /// When something cannot be made there, or no process started.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let directory = fs::canonicalize(directory)?;
        let [root, mount, sockets, outside] = ["root", "mount", "sockets", "outside"].map(|name| directory.join(name));
        for path in [&root.join("a/b"), &root.join("m"), &mount, &sockets, &outside] {
            fs::create_dir_all(path)?;
        }
        fs::write(outside.join("bait"), "bait")?;
        fs::write(root.join("b"), "b")?;
        for (name, target) in [("out", outside.as_os_str()), ("up", "..".as_ref()), ("loop", "loop".as_ref())] {
            std::os::unix::fs::symlink(target, root.join(name))?;
        }
        let task = Command::new("sleep").arg("1000000").current_dir(&root).env_clear().stdin(Stdio::null()).spawn()?;
        let pid = Pid::from_raw(i32::try_from(task.id()).unwrap_or_default());
        let memory = stack_of(pid)?;
        let held = |path: &Path| rustix::fs::open(path, PLACE, Mode::empty());
        let first = Credentials::new(0, 0, Vec::new(), u64::MAX);
        let mut view = View::new(held(&root)?, root.clone(), Owners::default(), People::new(first));
        let on: OwnedFd = held(&root.join("m"))?;
        let mounted = Mounted {
            target: PathBuf::from("/m"),
            root: held(&mount)?,
            real: mount,
            read_only: false,
            kind: Kind::Plain,
        };
        view.mount(std::os::fd::AsFd::as_fd(&on), mounted)?;
        let broken = |error: crate::sys::Error| io::Error::other(error.to_string());
        let prepared = Prepared {
            view,
            pages: Pages::new(0x1_0000).map_err(broken)?,
            loader: Loader::new().map_err(broken)?,
            sockets: Sockets::new(held(&sockets)?, sockets),
            token: 1,
        };
        let (tracer, end) = mpsc::channel::<()>();
        let (seized, is_seized) = mpsc::channel();
        std::thread::spawn(move || {
            let result = tracee::seize(pid);
            let _nobody_waits = seized.send(result);
            let _ended = end.recv();
        });
        is_seized.recv().map_err(io::Error::other)?.map_err(|errno| io::Error::from_raw_os_error(errno as i32))?;
        let nobody = Listener::of_nobody(fs::File::open("/dev/null")?.into());
        Ok(Self { supervisor: Supervisor::new(nobody, prepared), task, memory, outside, _tracer: tracer })
    }

    /// Makes the calls that these bytes stand for, and looks whether anything outside of the root was touched.
    ///
    /// # Panics
    /// When something was.
    pub fn answer(&mut self, bytes: &[u8]) {
        let calls: Vec<i64> = notified().filter(|number| !LEFT_OUT.contains(number)).collect();
        let mut bytes = bytes.iter().copied();
        let mut next = move || bytes.next();
        self.write_names(&mut next);
        while let Some(number) = next() {
            let number = calls[usize::from(number) % calls.len()];
            let mut arguments = [0; 6];
            for argument in &mut arguments {
                *argument = self.argument(&mut next);
            }
            let user = if next().unwrap_or_default() % 4 == 3 { 1000 } else { 0 };
            let who = Rc::new(Credentials::new(user, user, Vec::new(), u64::MAX));
            let task = i32::try_from(self.task.id()).unwrap_or_default();
            let notification = Notification { id: 1, task, number, instruction: 0, arguments };
            self.supervisor.view.caller.set(task);
            drop(self.supervisor.answer(&Call::new(&notification, Label::FIRST, who)));
        }
        let bait = fs::read(self.outside.join("bait")).expect("the bait was taken");
        assert_eq!(bait, b"bait", "the bait was written to");
        let names = fs::read_dir(&self.outside).expect("it was made").count();
        assert_eq!(names, 1, "something was made outside");
    }

    /// Puts the names into the task's memory, and then two of the input's own.
    fn write_names(&self, next: &mut dyn FnMut() -> Option<u8>) {
        let task = Pid::from_raw(i32::try_from(self.task.id()).unwrap_or_default());
        let mut memory = vec![0; SLOT * SLOTS];
        for (slot, name) in NAMES.iter().enumerate() {
            memory[slot * SLOT..][..name.len()].copy_from_slice(name.as_bytes());
        }
        for slot in NAMES.len()..NAMES.len() + 2 {
            let length = usize::from(next().unwrap_or_default()) % SLOT;
            for byte in &mut memory[slot * SLOT..][..length] {
                *byte = next().unwrap_or_default();
            }
        }
        let _shorter_then = tracee::write(task, self.memory, &memory);
    }

    fn argument(&self, next: &mut dyn FnMut() -> Option<u8>) -> u64 {
        let kind = next().unwrap_or_default();
        let mut byte = || u64::from(next().unwrap_or_default());
        match kind % 8 {
            0..4 => self.memory + u64::from(kind / 8) % (NAMES.len() as u64 + 2) * SLOT as u64,
            4 => u64::from(libc::AT_FDCWD.cast_unsigned()),
            5 => byte(),
            // Modes and flags.
            6 => byte() | byte() << 8 | byte() << 16,
            _ => (0..8).fold(0, |number, _| number << 8 | byte()),
        }
    }
}

impl Drop for AnyCalls {
    fn drop(&mut self) {
        let _gone_already = self.task.kill();
        let _gone_already = self.task.wait();
    }
}

/// Finds room in the stack of a process, far below what it uses.
fn stack_of(task: Pid) -> io::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{task}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[stack]"));
    let start = line.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    start.ok_or_else(|| io::Error::other("the process has no stack"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_calls_are_answered_within_the_root() {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let calls = AnyCalls::new(directory.path()).unwrap();
        let calls = std::cell::RefCell::new(calls);
        let input = proptest::collection::vec(any::<u8>(), 0..2000);
        let cases = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(cases, |(bytes in input)| calls.borrow_mut().answer(&bytes));
    }
}
