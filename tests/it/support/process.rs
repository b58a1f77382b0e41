//! External programs, each with a time limit, and services that die with the test process.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The limit of a program that has no reason to take long.
pub(crate) const SHORT: Duration = Duration::from_secs(60);
/// The limit of a program that builds, unpacks or downloads something large.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// A program that ended: its exit code (128 + n for a signal) and all it printed.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Returns what was printed on stdout, or panics with everything when the program failed.
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, 0, "`{}` failed:\n{}{}", self.command, self.stdout, self.stderr);
        self.stdout
    }
}

/// A program that still runs, in a process group of its own.
#[derive(Debug)]
pub(crate) struct Running {
    command: String,
    child: Child,
    stdout: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
}

/// Runs a program to its end and collects what it printed; panics when it takes longer than `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Finished {
    start(command).wait(limit)
}

/// Starts a program whose output is collected.
pub(crate) fn start(command: &mut Command) -> Running {
    let text = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    Running { command: text, child, stdout, stderr }
}

impl Running {
    /// Sends a signal to the program alone, as a pod's runtime does to the first process.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the program still runs");
    }

    /// Sends a signal to the program alone if it still runs.
    pub(crate) fn try_signal(&self, signal: Signal) {
        // Nobody has waited for it yet, so the number is still its own.
        let _ = rustix::process::kill_process(self.pid(), signal);
    }

    /// Waits for the end; kills the whole process group and panics after `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> Finished {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break Some(status);
            }
            if Instant::now() > end {
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        if status.is_none() {
            // The group may be gone already; then there is nothing left to kill.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
        let [stdout, stderr] = [text(&self.stdout), text(&self.stderr)];
        let Some(status) = status else { panic!("`{}` took longer than {limit:?}:\n{stdout}{stderr}", self.command) };
        Finished { command: self.command, code: code(status), stdout, stderr }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits")).expect("a pid is not zero")
    }
}

/// A service in the background. It is killed on drop, and also when the test process ends in any way.
#[derive(Debug)]
pub(crate) struct Service {
    guard: Child,
}

impl Service {
    /// Starts `program`, its output going to the file `log`.
    pub(crate) fn start<A: AsRef<OsStr>>(program: &str, arguments: &[A], log: &Path) -> Self {
        // The shell holds the reading end of a pipe of ours: however we end, `read` returns and it kills its group.
        let guard = Command::new("sh")
            .args(["-c", "log=$1; shift; \"$@\" >\"$log\" 2>&1 & read -r _; kill -9 0", "sh"])
            .arg(log)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Self { guard }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Waits until `ready` holds; false when it does not within `limit`.
pub(crate) fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !ready() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Returns the command lines of running processes in which `marker` occurs (not our own).
pub(crate) fn processes_with(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Ok(bytes) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        if line.contains(marker) && entry.file_name() != *std::process::id().to_string() {
            found.push(format!("{} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().expect("it ended by exit or by signal"))
}

fn collect(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A process that outlived the program may hold the pipe open for ever: what came until a moment after the
/// program's end is all.
fn text(chunks: &mpsc::Receiver<Vec<u8>>) -> String {
    let mut bytes = Vec::new();
    while let Ok(chunk) = chunks.recv_timeout(Duration::from_secs(2)) {
        bytes.extend(chunk);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
