//! The first moment of isolation: into a user and a mount namespace, before there is a second thread.
//!
//! The process forks. The child moves into the namespaces, tries there what a RUN will need, and executes the
//! same binary with the same arguments; the parent writes the id maps, and then only passes signals on and
//! waits. What the child found is told to its next self by `argv[0]`, because the environment is the user's.
//!
//! Knows nothing of RUN itself. *Invariant: whatever is refused, nothing is changed for the caller.*

use std::ffi::{CString, OsString};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use rustix::mount::MountFlags;

use super::ids::{self, Ids};
use super::preference;
use crate::oci::Platform;
use crate::request::IsolationChoice;
use crate::sys::namespace::{Namespaces, unshare};
use crate::sys::process::{Ended, Forked, Pid, Reaped, exit_now, fork};
use crate::sys::{self, mount, process, signal};

/// What a RUN gets for namespaces beside the mount namespace of the executor.
pub(super) const PER_RUN: Namespaces = Namespaces::CLONE_NEWNS
    .union(Namespaces::CLONE_NEWPID)
    .union(Namespaces::CLONE_NEWIPC)
    .union(Namespaces::CLONE_NEWUTS);

/// What decides which namespaces are entered.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which isolation is asked for.
    pub choice: IsolationChoice,
    /// The directory for everything temporary, which need not be there.
    pub state_directory: &'a Path,
    /// What the build is for; none stands for the machine's own platform.
    pub platforms: &'a [Platform],
}

/// How [`enter`] left the process.
#[derive(Debug)]
pub enum Entered {
    /// Go on: this is the process that builds. Give the value to [`super::open`].
    Stay(Ground),
    /// The build took place in a child, which ended with this exit code; exit with it.
    Ended(u8),
}

/// Where the process stands after [`enter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground(pub(super) State);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing was entered, since nobody asked for it.
    Outside,
    /// The namespaces were refused, for this reason.
    Refused(String),
    /// The namespaces are weak, for this reason, and another isolation is there that was not asked for.
    PassedOver(&'static str),
    /// In the namespaces.
    Inside(Inside),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) ids: Ids,
    /// Whether a fresh /proc can be mounted; else RUN gets the container's own.
    pub(super) fresh_proc: bool,
}

impl Ground {
    /// The ground of a build that was not asked to enter anything, since no step of it needs a rootfs.
    pub fn none() -> Self {
        Self(State::Outside)
    }
}

/// Moves the process into namespaces of its own where that is `wanted` and the system allows it.
///
/// Where no isolation is asked for by name, namespaces with a single id, or without a user namespace, are not entered if
/// `mediated` isolation is possible.
///
/// To be called by `main` before any thread is made, with the process's own `arguments` (all, from the
/// program's name on). A refusal is no error yet: [`super::open`] tells it when a root file system is needed.
pub fn enter(wanted: &Wanted<'_>, arguments: &[OsString]) -> Entered {
    let ground = |state| Entered::Stay(Ground(state));
    let entered = match arguments.first().and_then(|name| decode(name.to_str()?)) {
        Some(inside) => {
            // Set again, since exec may have cleared it.
            let _dies_later_then = process::die_with_parent();
            ground(State::Inside(inside))
        }
        None => match wanted.choice {
            IsolationChoice::Namespace | IsolationChoice::Auto => match enter_namespaces(arguments, wanted) {
                Ok(code) => Entered::Ended(code),
                Err(state) => ground(state),
            },
            IsolationChoice::Chroot | IsolationChoice::Container | IsolationChoice::Mediated => ground(State::Outside),
        },
    };
    // Without it a RUN with the same user id could read registry credentials from our memory; where it is
    // refused (it never was seen to be) the build is as exposed as one of kaniko's.
    let _as_exposed_as_others = process::forbid_inspection();
    entered
}

const MARK: &str = "yadokari (namespace";

fn encode(inside: Inside) -> String {
    let ids = match inside.ids {
        Ids::All => "all",
        Ids::Subordinate => "subordinate",
        Ids::Single => "single",
        Ids::Own => "own",
    };
    format!("{MARK} ids={ids} proc={})", if inside.fresh_proc { "fresh" } else { "bound" })
}

fn decode(name: &str) -> Option<Inside> {
    let mut words = name.strip_prefix(MARK)?.strip_suffix(')')?.split_ascii_whitespace();
    let ids = match words.next()?.strip_prefix("ids=")? {
        "all" => Ids::All,
        "subordinate" => Ids::Subordinate,
        "single" => Ids::Single,
        "own" => Ids::Own,
        _ => return None,
    };
    Some(Inside { ids, fresh_proc: words.next()? == "proc=fresh" })
}

/// The child's words to its parent, one a line; no more words and the end of the pipe mean that it runs. After these two
/// it waits for an answer.
const UNSHARED: &str = "unshared";
const WITHOUT_USERS: &str = "without a user namespace";

/// Forks and waits for the build. Returns the child's exit code, or where the process stands without it.
fn enter_namespaces(arguments: &[OsString], wanted: &Wanted<'_>) -> Result<u8, State> {
    let pipe = |error: std::io::Error| State::Refused(sys::Error::from_io("pipe2()", &error).to_string());
    let (words, say) = std::io::pipe().map_err(pipe)?;
    let (answers, answer) = std::io::pipe().map_err(pipe)?;
    let forwarded = forwarded_signals();
    let before = signal::block(&forwarded).map_err(|error| State::Refused(error.to_string()))?;
    // A group of its own keeps Ctrl-C and `kill -TERM -<group>` from reaching the child twice, by the sender
    // and by us. With a terminal as input it would be stopped when it reads, and must share ours.
    let own_group = !rustix::termios::isatty(rustix::stdio::stdin());
    let child = match fork() {
        Ok(Forked::Child) => {
            drop((words, answer));
            if own_group {
                let _stays_in_ours = rustix::process::setpgid(None, None);
            }
            let reason = become_child(arguments, &before, say, answers);
            exit_now(i32::from(!reason.is_empty()));
        }
        Ok(Forked::Parent(child)) => child,
        Err(error) => {
            let _mask_is_as_before = signal::set_blocked(&before);
            return Err(State::Refused(error.to_string()));
        }
    };
    drop((say, answers));
    match accompany(child, words, answer, wanted) {
        Ok(()) => wait_and_forward(child, &forwarded, own_group).map_err(|error| State::Refused(error.to_string())),
        Err(state) => {
            let _gone_already = nix::sys::signal::kill(child, Signal::SIGKILL);
            let _gone_already = process::wait_for(child);
            let _mask_is_as_before = signal::set_blocked(&before);
            Err(state)
        }
    }
}

/// The parent's part until the child runs the build: it maps the ids, says whether they are enough, and listens for a
/// refusal.
fn accompany(child: Pid, words: PipeReader, mut answer: PipeWriter, wanted: &Wanted<'_>) -> Result<(), State> {
    let mut words = BufReader::new(words).lines();
    let refused = |error: std::io::Error| State::Refused(format!("the process that was to build is lost ({error})"));
    while let Some(word) = words.next().transpose().map_err(refused)? {
        let ids = match word.as_str() {
            UNSHARED => ids::map(child).map_err(|error| State::Refused(error.to_string()))?,
            WITHOUT_USERS => Ids::Own,
            _ => return Err(State::Refused(word)),
        };
        if let Some(weakness) = weakness(ids).filter(|_| has_better(wanted)) {
            return Err(State::PassedOver(weakness));
        }
        let told = match ids {
            Ids::All => b'a',
            Ids::Subordinate => b's',
            Ids::Single => b'1',
            Ids::Own => b'o',
        };
        answer.write_all(&[told]).map_err(refused)?;
    }
    Ok(())
}

/// Says what namespaces lack that have such ids.
fn weakness(ids: Ids) -> Option<&'static str> {
    match ids {
        Ids::All | Ids::Subordinate => None,
        Ids::Single => Some("namespaces would have one user id alone"),
        Ids::Own => Some("user namespaces are refused, and root in the others would be the container's"),
    }
}

/// Tells whether there is an isolation that `auto` takes before weak namespaces.
fn has_better(wanted: &Wanted<'_>) -> bool {
    if wanted.choice != IsolationChoice::Auto {
        return false;
    }
    // In a process of its own: a trial that fails ends all that descends from who has made it.
    match fork() {
        Ok(Forked::Child) => {
            exit_now(i32::from(preference::mediated(wanted.platforms, wanted.state_directory).is_err()))
        }
        Ok(Forked::Parent(child)) => matches!(process::wait_for(child), Ok(Ended::Exited(0))),
        Err(_) => false,
    }
}

/// The child's part. Returns only when something is refused, after having told the parent why.
fn become_child(arguments: &[OsString], mask: &SigSet, mut say: PipeWriter, mut answers: PipeReader) -> String {
    let reason = match move_in(&mut say, &mut answers) {
        Ok(inside) => match signal::set_blocked(mask) {
            Ok(()) => execute_self(arguments, inside).to_string(),
            Err(error) => error.to_string(),
        },
        Err(reason) => reason,
    };
    let _parent_is_gone = writeln!(say, "{reason}");
    reason
}

fn move_in(say: &mut PipeWriter, answers: &mut PipeReader) -> Result<Inside, String> {
    let lost = |error: std::io::Error| format!("the parent process is lost ({error})");
    let mut ask = |word| {
        writeln!(say, "{word}").map_err(lost)?;
        let mut answer = [0];
        answers.read_exact(&mut answer).map_err(lost)?;
        Ok::<_, String>(match answer {
            [b'a'] => Ids::All,
            [b's'] => Ids::Subordinate,
            [b'o'] => Ids::Own,
            _ => Ids::Single,
        })
    };
    let ids = match unshare(Namespaces::CLONE_NEWUSER) {
        Ok(()) => ask(UNSHARED)?,
        // With CAP_SYS_ADMIN a mount namespace is to be had without a user namespace.
        Err(error) if process::capabilities().contains(process::CapabilitySet::SYS_ADMIN) => {
            unshare(Namespaces::CLONE_NEWNS).map_err(|also| format!("{error}, and {also}"))?;
            ask(WITHOUT_USERS)?
        }
        Err(error) => return Err(error.to_string()),
    };
    if ids != Ids::Own {
        unshare(Namespaces::CLONE_NEWNS).map_err(|error| error.to_string())?;
    }
    // Not before the maps are written: a process that may not be inspected has no writable /proc/<pid>/uid_map.
    process::die_with_parent().map_err(|error| error.to_string())?;
    mount::make_all_private().map_err(|error| error.to_string())?;
    if matches!(ids, Ids::All | Ids::Subordinate) {
        // The groups of the user around would show in RUN as unmapped ones, and give it rights.
        nix::unistd::setgroups(&[]).map_err(|errno| sys::Error::new("setgroups([])", errno).to_string())?;
    }
    Ok(Inside { ids, fresh_proc: try_what_run_needs()? })
}

/// Tries, in processes that end right after, the namespaces and mounts of a RUN. Returns whether a fresh
/// /proc can be mounted.
fn try_what_run_needs() -> Result<bool, String> {
    let (mut reader, mut writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let child = match fork().map_err(|error| error.to_string())? {
        Forked::Parent(child) => child,
        Forked::Child => {
            drop(reader);
            let _reader_is_gone = match unshare(PER_RUN) {
                Ok(()) => try_in_pid_namespace(&mut writer),
                Err(error) => write!(writer, "{error}"),
            };
            exit_now(0);
        }
    };
    drop(writer);
    let mut answer = String::new();
    let read = reader.read_to_string(&mut answer);
    process::wait_for(child).map_err(|error| error.to_string())?;
    match answer.as_str() {
        _ if read.is_err() => Err("the probe of namespaces is lost".to_owned()),
        "fresh" => Ok(true),
        "bound" => Ok(false),
        "" => Err("the probe of namespaces died".to_owned()),
        reason => Err(reason.to_owned()),
    }
}

/// Mounts on `/`, which always exists: the new mounts lie on top of it, unseen, and go with the process.
fn try_in_pid_namespace(writer: &mut PipeWriter) -> std::io::Result<()> {
    let root = Path::new("/");
    let child = match fork() {
        Ok(Forked::Parent(child)) => child,
        Ok(Forked::Child) => {
            let tried = mount::filesystem("tmpfs", root, MountFlags::NOSUID, "mode=755")
                .and_then(|()| mount::bind(Path::new("/proc"), Path::new("/proc"), true));
            let _reader_is_gone = match tried {
                Ok(()) => match mount::filesystem("proc", root, MountFlags::NOSUID, "") {
                    Ok(()) => write!(writer, "fresh"),
                    Err(_) => write!(writer, "bound"),
                },
                Err(error) => write!(writer, "{error}"),
            };
            exit_now(0);
        }
        Err(error) => return write!(writer, "{error}"),
    };
    process::wait_for(child).map_or_else(|error| write!(writer, "{error}"), |_| Ok(()))
}

/// Executes this binary again, through a mount that is read-only: RUN could otherwise open the executor for
/// writing through /proc (CVE-2019-5736).
fn execute_self(arguments: &[OsString], inside: Inside) -> sys::Error {
    let own = Path::new("/proc/self/exe");
    let name = OsString::from(encode(inside));
    let c_string = |text: OsString| CString::new(text.into_vec()).ok();
    let arguments: Vec<CString> =
        std::iter::once(&name).chain(arguments.iter().skip(1)).cloned().filter_map(c_string).collect();
    let environment: Vec<CString> = own_environment();
    if let Some(program) = std::fs::read_link(own).ok().and_then(|path| mount::read_only_copy(&path).ok()) {
        // Only a kernel without execveat(2), or a path that meanwhile names something else, comes back here.
        let _tried_by_path_next =
            same_file(own, &program).then(|| process::exec_descriptor(&program, &arguments, &environment));
    }
    process::exec(c"/proc/self/exe", &arguments, &environment)
}

fn same_file(path: &Path, descriptor: &std::os::fd::OwnedFd) -> bool {
    match (rustix::fs::stat(path), rustix::fs::fstat(descriptor)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// Returns the environment as it is, to hand it to the same program again.
fn own_environment() -> Vec<CString> {
    let bytes = std::fs::read("/proc/self/environ").unwrap_or_default();
    bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty()).filter_map(|text| CString::new(text).ok()).collect()
}

/// The signals that a pipeline or a terminal sends to end or wake a program, and the news of a child.
fn forwarded_signals() -> SigSet {
    use Signal::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    [SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH].into_iter().collect()
}

/// Passes signals on until the child has ended. As this process may be PID 1 of its container, it also takes
/// notice of any other child.
fn wait_and_forward(child: Pid, signals: &SigSet, own_group: bool) -> Result<u8, sys::Error> {
    let _as_exposed_as_others = process::forbid_inspection();
    loop {
        match process::reap()? {
            Reaped::Ended(pid, ended) if pid == child => return Ok(exit_code(ended)),
            Reaped::Ended(..) => continue,
            Reaped::Running | Reaped::Childless => {}
        }
        let Some(received) = signal::wait(signals)? else { continue };
        let reached_child_too = received.from_kernel && !own_group;
        if received.signal != Signal::SIGCHLD && !reached_child_too {
            let _gone_already = nix::sys::signal::kill(child, received.signal);
        }
    }
}

fn exit_code(ended: Ended) -> u8 {
    let code = match ended {
        Ended::Exited(status) => status,
        Ended::Signaled(signal) => 128 + signal,
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_survives_the_program_name() {
        for ids in [Ids::All, Ids::Subordinate, Ids::Single, Ids::Own] {
            for fresh_proc in [true, false] {
                let inside = Inside { ids, fresh_proc };
                assert_eq!(decode(&encode(inside)), Some(inside));
            }
        }
        for name in ["yadokari", "/kaniko/executor", "yadokari (namespace ids=x proc=fresh)", "yadokari (namespace)"] {
            assert_eq!(decode(name), None, "{name}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(Ended::Exited(76)), 76);
        assert_eq!(exit_code(Ended::Signaled(9)), 137);
    }

    #[test]
    fn a_choice_without_namespaces_changes_nothing() {
        for choice in [IsolationChoice::Chroot, IsolationChoice::Container, IsolationChoice::Mediated] {
            let wanted = Wanted { choice, state_directory: Path::new("/nonexistent/state"), platforms: &[] };
            let Entered::Stay(ground) = enter(&wanted, &["yadokari".into()]) else { panic!("no child is made") };
            assert_eq!(ground, Ground::none());
        }
    }
}
