//! The life of a supervisor: it opens all that it needs, gives up what rights it has, starts RUN's first process under the
//! filter, answers until that has ended, and leaves the table of owners to the executor.
//!
//! Runs in `init`. *Invariant: with this process all of RUN's processes end.*

use std::convert::Infallible;
use std::fs;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::event::{PollFd, PollFlags, poll};

use super::exec::Loader;
use super::people::{Credentials, Label, People};
use super::rewrite::Pages;
use super::sockets::Sockets;
use super::supervisor::{Prepared, Supervisor};
use super::view::{PLACE, View};
use super::{Ground, mounts};
use crate::isolation::filter::mediated::{Terms, program};
use crate::isolation::init::{
    end_descendants, enter_directory, execute, give_outputs_to, nothing_to_read, tell, tell_end,
};
use crate::isolation::protocol::{Reply, Spec, receive, send};
use crate::isolation::{Network, limits};
use crate::rootfs::Owners;
use crate::sys::notify;
use crate::sys::process::{self, CapabilitySet, Ended, Forked, Pid, exit_now, fork};
use crate::sys::random;
use crate::sys::{self, Error, landlock, page, signal, tracee};

/// How a RUN stands.
struct Life {
    child: Pid,
    news: SignalFd,
    /// Closed when the first program is executed; before, what went wrong.
    trouble: Option<PipeReader>,
    ended: Option<Ended>,
}

/// Runs what `spec` says under a supervisor, which this process becomes.
pub(in crate::isolation) fn watch_over(spec: &Spec, ground: &Ground) -> Result<(), Error> {
    process::adopt_orphans()?;
    let nothing = nothing_to_read()?;
    let failed = |doing: &'static str| move |error: std::io::Error| Error::from_io(doing, &error);
    if let Some((uid, gid)) = ground.user {
        give_outputs_to(uid, gid);
        let _may_have_none = process::become_user(uid, gid, &[]);
    }
    process::forbid_new_privileges()?;
    process::forbid_inspection()?;
    process::leave_session_keyring();
    // What begins here makes files with the modes that it says.
    rustix::process::umask(rustix::fs::Mode::empty());
    let owners = Owners::default();
    owners.load(&ground.scratch.join("owners")).map_err(failed("reading the table of owners"))?;
    let prepared = prepare(spec, ground, owners)?;
    let news = signal::news_of_children()?;
    let (trouble, teller) = std::io::pipe().map_err(failed("pipe2()"))?;
    let (ours, theirs) = UnixStream::pair().map_err(failed("socketpair()"))?;
    let child = match fork()? {
        Forked::Child => {
            drop((trouble, ours));
            let Err(reply) = become_task(spec, ground, &prepared, &nothing, &theirs);
            let _init_is_gone = send(&teller, &reply);
            exit_now(126);
        }
        Forked::Parent(child) => child,
    };
    drop((teller, nothing, theirs));
    let mut life = Life { child, news, trouble: Some(trouble), ended: None };
    match notify::receive_listener(&ours) {
        Ok(listener) => {
            listener.stay_close();
            let mut supervisor = Supervisor::new(listener, prepared);
            live(&mut supervisor, &mut life)?;
            leave(&supervisor, ground, &life)
        }
        // It says why.
        Err(error) => {
            hear(&mut life);
            Err(error)
        }
    }
}

/// Opens all that answering needs.
fn prepare(spec: &Spec, ground: &Ground, owners: Owners) -> Result<Prepared, Error> {
    let open = |path: &Path| {
        rustix::fs::open(path, PLACE, rustix::fs::Mode::empty())
            .map_err(|errno| Error::from_io(format!("open({})", path.display()), &errno.into()))
    };
    let user = &spec.process.user;
    let first = Credentials::new(user.uid, user.gid, user.groups.clone(), spec.capabilities);
    let root = fs::canonicalize(&ground.root).map_err(|error| Error::from_io("realpath(root)", &error))?;
    let mut view = View::new(open(&root)?, root, owners, People::new(first));
    mounts::set_up(&mut view, &ground.mounts, &ground.scratch.join("mounts"))?;
    let token = random::bytes().map_err(|error| Error::from_io("getrandom()", &error))?;
    Ok(Prepared {
        view,
        pages: Pages::new(ground.page)?,
        loader: Loader::new()?,
        sockets: Sockets::new(open(&ground.sockets)?, ground.sockets.clone()),
        token: u64::from_le_bytes(token),
    })
}

/// The last steps in the process that becomes RUN's first.
fn become_task(
    spec: &Spec,
    ground: &Ground,
    prepared: &Prepared,
    nothing: &OwnedFd,
    socket: &UnixStream,
) -> Result<Infallible, Reply> {
    let failed = |error: Error| Reply::Failed(error.to_string());
    let of = |call: &'static str| move |errno: rustix::io::Errno| failed(Error::from_io(call, &errno.into()));
    let process = &spec.process;
    rustix::process::setsid().map_err(of("setsid()"))?;
    rustix::stdio::dup2_stdin(nothing).map_err(of("dup2(/dev/null, 0)"))?;
    limits::apply(&process.resources.limits).map_err(failed)?;
    // A core would show the registers of all threads, with what is in them during a call that we have prepared.
    limits::no_cores().map_err(failed)?;
    process::keep_capabilities(CapabilitySet::empty()).map_err(failed)?;
    let (address, length) = prepared.pages.place();
    let place = |number: u64| usize::try_from(number).unwrap_or_default();
    page::map_at(place(address), place(length), prepared.pages.file().as_fd()).map_err(failed)?;
    let sockets = rustix::fs::open(&ground.sockets, PLACE, rustix::fs::Mode::empty()).map_err(of("open(sockets)"))?;
    landlock::seal(sockets.as_fd()).map_err(failed)?;
    // Whoever supervises must be able to look at it.
    process::allow_inspection().map_err(failed)?;
    let own = Pid::from_raw(rustix::process::getpid().as_raw_nonzero().get());
    Label::FIRST.put_on(own).map_err(of("prlimit(RLIMIT_LOCKS)"))?;
    signal::reset().map_err(failed)?;
    let terms = Terms {
        token: prepared.token,
        page_end: u32::try_from(address + length).unwrap_or_default(),
        network: process.network == Network::Host,
    };
    notify::install_and_send(&program(terms), socket.as_fd(), prepared.token).map_err(failed)?;
    enter_directory(process)?;
    process::close_on_exec_from(3);
    Err(execute(process))
}

/// Answers calls until RUN has ended, or its end is wanted.
fn live(supervisor: &mut Supervisor, life: &mut Life) -> Result<(), Error> {
    let listener = Arc::clone(&supervisor.listener);
    while life.ended.is_none() {
        let stdin = rustix::stdio::stdin();
        let mut waited = vec![
            PollFd::new(&*listener, PollFlags::IN),
            PollFd::from_borrowed_fd(life.news.as_fd(), PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        if let Some(trouble) = &life.trouble {
            waited.push(PollFd::new(trouble, PollFlags::IN));
        }
        match poll(&mut waited, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::from_io("poll()", &errno.into())),
        }
        let ready: Vec<PollFlags> = waited.iter().map(PollFd::revents).collect();
        if !ready[2].is_empty() {
            // The executor is gone, or wants the end.
            return Ok(());
        }
        if ready[0].contains(PollFlags::IN) {
            supervisor.serve()?;
        }
        if !ready[1].is_empty() {
            while matches!(life.news.read_signal(), Ok(Some(_))) {}
            take_notice(supervisor, life);
        }
        if ready.get(3).is_some_and(|ready| !ready.is_empty()) {
            hear(life);
        }
    }
    Ok(())
}

/// Takes notice of what children and traced tasks have done.
fn take_notice(supervisor: &mut Supervisor, life: &mut Life) {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(task, status)) if task == life.child => life.ended = Some(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(task, signal, _)) if task == life.child => {
                life.ended = Some(Ended::Signaled(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(status) => {
                if let Some(task) = status.pid() {
                    supervisor.event_of(task, tracee::event(status));
                }
            }
        }
    }
}

/// Hears whether the first program was executed.
fn hear(life: &mut Life) {
    let Some(mut trouble) = life.trouble.take() else { return };
    let mut text = Vec::new();
    let _as_if_executed = trouble.read_to_end(&mut text);
    match receive::<Reply>(&mut text.as_slice()) {
        Ok(Some(reply)) => {
            tell(&reply);
            exit_now(0);
        }
        Ok(None) | Err(_) => tell(&Reply::Ready),
    }
}

/// Ends what RUN has left, and leaves the table to the executor.
fn leave(supervisor: &Supervisor, ground: &Ground, life: &Life) -> Result<(), sys::Error> {
    if !end_descendants(life.child)? {
        exit_now(1);
    }
    let saved = supervisor.view.owners.save_changes(&ground.scratch.join("changes"));
    saved.map_err(|error| Error::from_io("writing the table of owners", &error))?;
    let refused: Vec<String> =
        supervisor.refused.iter().map(|(name, count)| format!("{name} ({count} times)")).collect();
    let _only_told = fs::write(ground.scratch.join("refused"), refused.join(", "));
    tell_end(life.ended);
    Ok(())
}
