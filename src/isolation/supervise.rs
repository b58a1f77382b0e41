//! Starts `init`, hands it its orders, and passes the process's output on until all is over.
//!
//! Knows pipes and time. Does not know what surrounds the process. *Invariant: it does not hang on a pipe that
//! a leftover process holds open: `init` ends before, or is given up after a while.*

use std::io::{self, BufReader, PipeReader, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::descendants::{self, PATIENCE};
use super::protocol::{Reply, Spec, receive, send};
use super::{Cancel, Error, Exit, Stream};
use crate::sys;

/// How long `init` may take to end everything after it was told to, before it is killed itself: longer than it tries,
/// since who ends it earlier leaves behind what it was about to end.
const GRACE: Duration = PATIENCE.saturating_add(Duration::from_secs(1));

/// Bytes passed on at a time: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// Runs what `spec` says, and returns how the process ended.
pub(super) fn supervise(spec: &Spec, cancel: &Cancel, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    // Where init dies before what it watches over, that becomes our own.
    sys::process::adopt_orphans()
        .map_err(|source| Error::System { doing: "preparing to watch over RUN".to_owned(), source })?;
    let (mut child, socket, outputs) = spawn()?;
    // An error here is init's early end, of which it tells more below.
    let _end_tells_why = send(&socket, spec);
    let passed = pass_on(&mut child, &socket, outputs, cancel, output);
    drop(passed.is_err().then(|| child.kill()));
    let status = match &passed {
        Err(Error::Left { .. }) => return passed.map(|_| Exit::Status(0)),
        Ok(_) | Err(_) => bury(&mut child)?,
    };
    if passed? {
        return Err(Error::Interrupted);
    }
    answer(spec, socket, status)
}

/// Waits for the end of init, and ends what it could not end.
fn bury(init: &mut Child) -> Result<ExitStatus, Error> {
    let status = init.wait().map_err(system("waiting for init", "wait4(init)"))?;
    if !status.success() {
        descendants::end_strangers()?;
    }
    Ok(status)
}

fn system(doing: &'static str, call: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::System { doing: doing.to_owned(), source: sys::Error::from_io(call, &error) }
}

/// Starts init with one end of a socket as its input and pipes as its outputs, which RUN inherits.
fn spawn() -> Result<(Child, UnixStream, [PipeReader; 2]), Error> {
    let failed = system("starting init", "pipe2()");
    let (ours, theirs) = UnixStream::pair().map_err(system("starting init", "socketpair()"))?;
    let (stdout, stdout_writer) = io::pipe().map_err(&failed)?;
    let (stderr, stderr_writer) = io::pipe().map_err(&failed)?;
    // The descriptors of init are in the command, which is dropped at the end of this statement: else the
    // pipes would never end.
    let child = Command::new("/proc/self/exe")
        .arg("init")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(stdout_writer)))
        .stderr(Stdio::from(OwnedFd::from(stderr_writer)))
        .spawn()
        .map_err(system("starting init", "execve(/proc/self/exe, init)"))?;
    Ok((child, ours, [stdout, stderr]))
}

/// Passes output on until both pipes have ended. Returns whether the build was cancelled meanwhile.
fn pass_on(
    child: &mut Child,
    socket: &UnixStream,
    mut outputs: [PipeReader; 2],
    cancel: &Cancel,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<bool, Error> {
    let mut open = [true, true];
    let mut cancelled: Option<Instant> = None;
    let mut gone = false;
    let mut buffer = vec![0; CHUNK];
    while open != [false, false] {
        let ready = wait_for(&outputs, open, cancelled.is_none().then_some(cancel), (!gone).then_some(socket))?;
        if ready[3] {
            // What RUN has killed init for must not live on, nor hold our pipes.
            gone = true;
            bury(child)?;
        }
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if ready[index] {
                match outputs[index].read(&mut buffer) {
                    Ok(0) => open[index] = false,
                    Ok(length) => output(stream, &buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(system("reading the output of RUN", "read(pipe)")(error)),
                }
            }
        }
        match cancelled {
            None if ready[2] => {
                let _init_is_gone = socket.shutdown(Shutdown::Write);
                cancelled = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GRACE => {
                // In a pid namespace its end is everybody's; elsewhere what still lives holds only our pipes.
                let _gone_already = child.kill();
                break;
            }
            None | Some(_) => {}
        }
    }
    Ok(cancelled.is_some())
}

/// Waits until something can be read: of the two outputs (while they are open), or from `cancel`; or until init has
/// let go of its end of `socket`.
fn wait_for(
    outputs: &[PipeReader; 2],
    open: [bool; 2],
    cancel: Option<&Cancel>,
    socket: Option<&UnixStream>,
) -> Result<[bool; 4], Error> {
    let mut waited = Vec::with_capacity(4);
    let mut places = Vec::with_capacity(4);
    for (place, (pipe, is_open)) in outputs.iter().zip(open).enumerate() {
        if is_open {
            waited.push(PollFd::new(pipe, PollFlags::IN));
            places.push(place);
        }
    }
    if let Some(cancel) = cancel {
        waited.push(PollFd::new(cancel, PollFlags::IN));
        places.push(2);
    }
    if let Some(socket) = socket {
        // Its end alone: what init says is read later.
        waited.push(PollFd::new(socket, PollFlags::empty()));
        places.push(3);
    }
    // After a cancellation the time counts too.
    let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    match poll(&mut waited, cancel.is_none().then_some(&tick)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(system("reading the output of RUN", "poll()")(errno.into())),
    }
    let mut ready = [false; 4];
    for (descriptor, place) in waited.iter().zip(places) {
        ready[place] = !descriptor.revents().is_empty();
    }
    Ok(ready)
}

/// Reads what init said, now that it has ended.
fn answer(spec: &Spec, socket: UnixStream, status: ExitStatus) -> Result<Exit, Error> {
    // A process of RUN cannot hold the other end: its standard input is another. So this does not block.
    let mut reader = BufReader::new(socket);
    let mut last = None;
    while let Ok(Some(reply)) = receive::<Reply>(&mut reader) {
        last = Some(reply);
    }
    match last {
        Some(Reply::Exited(exit)) => Ok(exit),
        Some(Reply::Failed(text)) => Err(Error::Init { text }),
        Some(Reply::NoDirectory) => Err(Error::WorkingDirectory { path: spec.process.directory.clone() }),
        Some(Reply::Ready) | None => Err(match status.signal() {
            Some(signal) => Error::InitKilled { signal },
            None => Error::InitLost { text: format!("exit status {}", status.code().unwrap_or_default()) },
        }),
    }
}
