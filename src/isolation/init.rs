//! `init`: the small process between the executor and a RUN. It sets the process's surroundings up, executes
//! it, takes notice of orphans, and sees to it that nothing is left alive.
//!
//! In `namespace` isolation it is PID 1 of the RUN's pid namespace, and its end is the kernel's order to kill
//! the rest; elsewhere it adopts orphans and kills its descendants itself.
//!
//! *Invariant: it has one thread, an empty environment, and dies when the executor dies.*

use std::ffi::{CString, OsStr, OsString};
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Gid, Uid};

use super::descendants::{self, PATIENCE};
use super::mknod::{Asker, Maker};
use super::protocol::{self, Place, Reply, Spec, receive, send};
use super::{Exit, Network, Process, enter, filter, limits, ports, surroundings};
use crate::sys::namespace::{Namespaces, loopback_up, unshare};
use crate::sys::process::{self, CapabilitySet, Ended, Forked, Pid, Reaped, exit_now, fork};
use crate::sys::{self, signal};

/// A shell's exit statuses for a command that is not there, and one that cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Runs the hidden subcommand `init`: reads what to do from standard input, does it, and tells how it went.
///
/// To be called by `main` before anything else. The exit code means nothing: the replies do.
pub fn init_main() -> ExitCode {
    // A signal to our process group is the executor's business: it ends us through the socket, and then
    // nothing is left behind. Nor does one of RUN's, to all that it can reach, end us: what it started would live on.
    // The process that runs the command unblocks them.
    if let Err(error) = signal::block(&signal::ending()) {
        return fail(&error.to_string());
    }
    let socket = std::io::stdin();
    let spec = match receive::<Spec>(&mut BufReader::new(socket.lock())) {
        Ok(Some(spec)) => spec,
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => return fail(&format!("reading what to run: {error}")),
    };
    let result = match &spec.place {
        Place::Namespace { .. } => lead_into_namespaces(&spec),
        Place::Chroot { .. } | Place::Here => watch_over(&spec, None).map(|()| ExitCode::SUCCESS),
        #[cfg(target_arch = "x86_64")]
        Place::Mediated(ground) => super::mediated::watch_over(&spec, ground).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| fail(&error.to_string()))
}

fn fail(text: &str) -> ExitCode {
    tell(&Reply::Failed(text.to_owned()));
    ExitCode::FAILURE
}

pub(super) fn tell(reply: &Reply) {
    let Ok(socket) = rustix::io::dup(rustix::stdio::stdin()) else { return };
    let _executor_is_gone = send(std::fs::File::from(socket), reply);
}

/// Makes the namespaces and, in them, the process that is PID 1; waits for its end.
fn lead_into_namespaces(spec: &Spec) -> Result<ExitCode, sys::Error> {
    process::die_with_parent()?;
    let network = match spec.process.network {
        Network::Host => Namespaces::empty(),
        Network::None => Namespaces::CLONE_NEWNET,
    };
    let devices = match &spec.place {
        Place::Namespace { scratch, has_nodes: true, .. } => Some(Maker::prepare(&protocol::devices(scratch))?),
        _ => None,
    };
    let (maker, asker) = devices.unzip();
    unshare(enter::PER_RUN | network)?;
    if spec.process.network == Network::None {
        ports::open_all();
    }
    match fork()? {
        Forked::Child => {
            drop(maker);
            let result = process::die_with_parent().and_then(|()| watch_over(spec, asker));
            if let Err(error) = &result {
                tell(&Reply::Failed(error.to_string()));
            }
            exit_now(i32::from(result.is_err()));
        }
        Forked::Parent(first) => {
            drop(asker);
            match maker {
                Some(maker) => maker.serve(first)?,
                None => drop(process::wait_for(first)?),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Sets the surroundings up, starts the process, waits for its end and ends what it left.
///
/// `asker`: by whom it has devices made.
fn watch_over(spec: &Spec, asker: Option<Asker>) -> Result<(), sys::Error> {
    // Its descriptors and its memory are not for RUN, which may have the same user id.
    process::forbid_inspection()?;
    let own_pid_namespace = matches!(spec.place, Place::Namespace { .. });
    if !own_pid_namespace {
        process::adopt_orphans()?;
    }
    let nothing = nothing_to_read()?;
    if let Place::Namespace { root, mounts, scratch, .. } = &spec.place {
        surroundings::make(root, mounts, &protocol::memory(scratch), &spec.process)?;
    }
    if spec.process.network == Network::None {
        loopback_up()?;
    }
    let news = signal::news_of_children()?;
    let (mut trouble, teller) = std::io::pipe().map_err(|error| sys::Error::from_io("pipe2()", &error))?;
    let child = match fork()? {
        Forked::Child => {
            drop(trouble);
            let reply = start(spec, &nothing, asker.as_ref());
            let _init_is_gone = send(&teller, &reply);
            exit_now(NOT_EXECUTABLE);
        }
        Forked::Parent(child) => child,
    };
    drop((teller, nothing, asker));
    let mut text = Vec::new();
    // The end of the pipe without a word is exec, which closes it.
    trouble.read_to_end(&mut text).map_err(|error| sys::Error::from_io("read(pipe of the process)", &error))?;
    match receive::<Reply>(&mut text.as_slice()) {
        Ok(Some(reply)) => {
            tell(&reply);
            return Ok(());
        }
        Ok(None) | Err(_) => tell(&Reply::Ready),
    }
    let ended = wait_for_end(child, &news)?;
    if !own_pid_namespace && !end_descendants(child)? {
        // Those that are left become the executor's, which tells of them.
        exit_now(1);
    }
    tell_end(ended);
    Ok(())
}

/// Tells how the process ended, where its end was not wanted.
pub(super) fn tell_end(ended: Option<Ended>) {
    if let Some(ended) = ended {
        tell(&Reply::Exited(match ended {
            Ended::Exited(status) => Exit::Status(status),
            Ended::Signaled(signal) => Exit::Signal(signal),
        }));
    }
}

/// Enters the working directory.
pub(super) fn enter_directory(process: &Process) -> Result<(), Reply> {
    rustix::process::chdir(&process.directory).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => Reply::NoDirectory,
        errno => {
            let call = format!("chdir({})", process.directory.display());
            Reply::Failed(sys::Error::from_io(call, &errno.into()).to_string())
        }
    })
}

/// Opens what the process reads as its standard input: nothing.
pub(super) fn nothing_to_read() -> Result<OwnedFd, sys::Error> {
    if let Ok(null) = std::fs::File::open("/dev/null") {
        return Ok(null.into());
    }
    let (reader, _) = std::io::pipe().map_err(|error| sys::Error::from_io("pipe2()", &error))?;
    Ok(reader.into())
}

/// Waits until `child` has ended, or until the executor is gone or wants the end: then none.
fn wait_for_end(child: Pid, news: &SignalFd) -> Result<Option<Ended>, sys::Error> {
    loop {
        while let Reaped::Ended(pid, ended) = process::reap()? {
            if pid == child {
                return Ok(Some(ended));
            }
        }
        let stdin = rustix::stdio::stdin();
        let mut waited = [PollFd::from_borrowed_fd(news.as_fd(), PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut waited, None) {
            Ok(_) if !waited[1].revents().is_empty() => return Ok(None),
            Ok(_) => while matches!(news.read_signal(), Ok(Some(_))) {},
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(sys::Error::from_io("poll()", &errno.into())),
        }
    }
}

/// Kills everything that descends from this process, until nothing does; tells whether that is so in the end.
///
/// As orphans are adopted, no descendant can leave; the scan is repeated, since one may fork while it runs.
pub(super) fn end_descendants(session: Pid) -> Result<bool, sys::Error> {
    let begin = Instant::now();
    loop {
        loop {
            match process::reap()? {
                Reaped::Childless => return Ok(true),
                Reaped::Ended(..) => {}
                Reaped::Running => break,
            }
        }
        // Where /proc cannot be read, at least the process group of the RUN.
        let _none_left = nix::sys::signal::killpg(session, Signal::SIGKILL);
        if begin.elapsed() > PATIENCE {
            return Ok(false);
        }
        descendants::kill(&descendants::descendants(std::process::id(), &descendants::processes()));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The last steps in the process itself. Returns only when they fail, with what to tell.
fn start(spec: &Spec, nothing: &OwnedFd, asker: Option<&Asker>) -> Reply {
    match become_process(spec, nothing, asker) {
        Ok(never) => match never {},
        Err(reply) => reply,
    }
}

fn become_process(spec: &Spec, nothing: &OwnedFd, asker: Option<&Asker>) -> Result<std::convert::Infallible, Reply> {
    let failed = |error: sys::Error| Reply::Failed(error.to_string());
    let process = &spec.process;
    let of = |call: &'static str| move |errno: rustix::io::Errno| failed(sys::Error::from_io(call, &errno.into()));
    rustix::process::setsid().map_err(of("setsid()"))?;
    rustix::stdio::dup2_stdin(nothing).map_err(of("dup2(/dev/null, 0)"))?;
    if let Place::Chroot { root } = &spec.place {
        process::change_root(root).map_err(failed)?;
    }
    enter_directory(process)?;
    limits::apply(&process.resources.limits).map_err(failed)?;
    process::leave_session_keyring();
    // While there is the right to; a pod without it has a filter of its runtime's, or none can be had that leaves RUN
    // its setuid programs.
    let is_admin = process::capabilities().contains(CapabilitySet::SYS_ADMIN);
    if is_admin {
        filter::install().map_err(failed)?;
        if let Some(asker) = asker {
            asker.ask();
        }
    }
    let dropped = process::keep_capabilities(CapabilitySet::from_bits_retain(spec.capabilities)).map_err(failed)?;
    if !dropped && matches!(spec.place, Place::Chroot { .. }) {
        // Elsewhere RUN shall have setuid programs; here, without CAP_SETPCAP, they could not do much anyhow.
        process::forbid_new_privileges().map_err(failed)?;
        if !is_admin {
            filter::install().map_err(failed)?;
        }
    }
    give_outputs_to(process.user.uid, process.user.gid);
    process::become_user(process.user.uid, process.user.gid, &process.user.groups).map_err(failed)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    signal::reset().map_err(failed)?;
    process::close_on_exec_from(3);
    Err(execute(process))
}

/// Makes a user the owner of standard output and error, so that it may open `/dev/stdout` and
/// `/dev/stderr`, which lead to them. An owner who may not be set leaves them usable as they are.
pub(super) fn give_outputs_to(uid: u32, gid: u32) {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    for output in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let _usable_as_it_is = rustix::fs::fchown(output, Some(uid), Some(gid));
    }
}

/// Executes the command; a command that is not there ends as it would in a shell, with a line on the
/// process's own standard error.
pub(super) fn execute(process: &Process) -> Reply {
    let Some(command) = process.argv.first() else { return Reply::Failed("execve(): no command".to_owned()) };
    let invalid = || Reply::Failed(format!("execve({}): EINVAL (a NUL byte in an argument)", command.display()));
    let c_string = |text: &OsStr| CString::new(text.as_bytes()).ok();
    let Some(arguments) = process.argv.iter().map(|text| c_string(text)).collect::<Option<Vec<_>>>() else {
        return invalid();
    };
    let variable =
        |(name, value): &(OsString, OsString)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok();
    let Some(environment) = process.environment.0.iter().map(variable).collect::<Option<Vec<_>>>() else {
        return invalid();
    };
    let mut best = None;
    for candidate in candidates(command, &process.environment.0) {
        let Ok(candidate) = CString::new(candidate.into_vec()) else { return invalid() };
        let error = process::exec(&candidate, &arguments, &environment);
        let missing = matches!(error.errno, nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR);
        if best.is_none() || !missing {
            best = Some((error, if missing { NOT_FOUND } else { NOT_EXECUTABLE }));
        }
        if !missing && best.as_ref().is_some_and(|(error, _)| error.errno != nix::errno::Errno::EACCES) {
            break;
        }
    }
    let (text, status) = match best {
        Some((error, NOT_FOUND)) => (format!("{}: not found ({error})\n", command.display()), NOT_FOUND),
        Some((error, status)) => (format!("{}: cannot be executed ({error})\n", command.display()), status),
        None => (format!("{}: not found (PATH is empty)\n", command.display()), NOT_FOUND),
    };
    let _nobody_listens = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    exit_now(status)
}

/// Lists what to try to execute for a command: itself when it has a slash, else below each directory of PATH.
fn candidates(command: &OsStr, environment: &[(OsString, OsString)]) -> Vec<OsString> {
    if command.as_bytes().contains(&b'/') {
        return vec![command.to_owned()];
    }
    let Some((_, path)) = environment.iter().rev().find(|(name, _)| name == "PATH") else { return Vec::new() };
    path.as_bytes()
        .split(|byte| *byte == b':')
        .filter(|directory| !directory.is_empty())
        .map(|directory| Path::new(OsStr::from_bytes(directory)).join(command).into_os_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_without_a_slash_is_looked_up_in_the_process_own_path() {
        let environment = [("PATH".into(), "/old".into()), ("PATH".into(), "/usr/bin::/bin".into())];
        assert_eq!(candidates(OsStr::new("cc"), &environment), ["/usr/bin/cc", "/bin/cc"]);
        assert_eq!(candidates(OsStr::new("./cc"), &environment), ["./cc"]);
        assert!(candidates(OsStr::new("cc"), &[]).is_empty());
    }
}
