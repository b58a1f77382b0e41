//! SSH agents for RUN: a socket of RUN's own that leads to the agent, or to files of keys, and lets through what asks for
//! keys' names and signatures, nothing that changes the agent.
//!
//! Source: the SSH agent protocol, draft-ietf-sshm-ssh-agent. *Invariant: the socket is gone when its
//! [`AgentSocket`] is.*

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use ssh_key::PrivateKey;

use super::directories::files;
use super::{Access, Error, keys};

/// Requests that are let through.
const ALLOWED: [u8; 2] = [keys::REQUEST_IDENTITIES, keys::SIGN_REQUEST];
/// SSH_AGENT_FAILURE, with its length before it.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// The longest message; OpenSSH's agent takes no longer one.
const LONGEST: u32 = 256 * 1024;

/// An agent, found before anything of the executor's root is moved.
#[derive(Clone)]
pub struct Agent(Source);

/// Who answers.
#[derive(Clone)]
enum Source {
    /// Another program's socket.
    Socket {
        /// Where it is.
        directory: Arc<OwnedFd>,
        /// Its name there.
        name: OsString,
    },
    /// We do, with these keys.
    Keys(Arc<[PrivateKey]>),
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Socket { name, .. } => write!(f, "Socket({})", name.display()),
            Source::Keys(keys) => write!(f, "Keys({})", keys.len()),
        }
    }
}

/// A socket for one RUN.
#[derive(Debug)]
pub struct AgentSocket {
    path: PathBuf,
    /// Its end is the end of the thread.
    end: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Finds the agent that listens at `path`.
    ///
    /// # Errors
    /// [`Error`] when nothing is there.
    pub fn find(path: &Path) -> Result<Self, Error> {
        fs::metadata(path).map_err(files("finding the SSH agent at", path))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let opened = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let directory = opened.map_err(|errno| files("opening", parent)(errno.into()))?;
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Self(Source::Socket { directory: Arc::new(directory), name }))
    }

    /// Reads the files of private keys, to be their agent; `working` is the working directory.
    ///
    /// # Errors
    /// [`Error`] when one cannot be read, or has a passphrase.
    pub fn of_keys(paths: &[PathBuf], working: &Path) -> Result<Self, Error> {
        let keys: Result<Vec<PrivateKey>, Error> = paths.iter().map(|path| keys::read(path, working)).collect();
        Ok(Self(Source::Keys(keys?.into())))
    }

    /// Makes a socket at `path` that leads to the agent.
    ///
    /// # Errors
    /// [`Error`] when it cannot be made there.
    pub fn listen(&self, path: &Path, access: Access) -> Result<AgentSocket, Error> {
        let failed = |doing| files(doing, path);
        let listener = bind(path).map_err(failed("making the socket"))?;
        listener.set_nonblocking(true).map_err(failed("making the socket"))?;
        std::os::unix::fs::chown(path, Some(access.uid), Some(access.gid)).map_err(failed("giving away the socket"))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(access.mode);
        fs::set_permissions(path, mode).map_err(failed("opening the socket"))?;
        let (stop, end) = io::pipe().map_err(failed("making a pipe for"))?;
        let agent = self.clone();
        let thread = std::thread::spawn(move || {
            while is_ready(&listener, &stop) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let agent = agent.clone();
                        // It ends with the client, and no process of RUN outlives the RUN.
                        std::thread::spawn(move || drop(agent.serve(client)));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
        Ok(AgentSocket { path: path.to_owned(), end: Some(end), thread: Some(thread) })
    }

    /// Answers a process of RUN.
    fn serve(&self, client: UnixStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        match &self.0 {
            Source::Socket { directory, name } => relay(client, UnixStream::connect(reachable(directory, name))?),
            Source::Keys(keys) => answer(client, keys),
        }
    }
}

/// Passes messages between a process of RUN and the agent.
fn relay(mut client: UnixStream, mut agent: UnixStream) -> io::Result<()> {
    while let Some(request) = message(&mut client)? {
        if request.get(4).is_some_and(|kind| ALLOWED.contains(kind)) {
            agent.write_all(&request)?;
            match message(&mut agent)? {
                Some(answer) => client.write_all(&answer)?,
                None => return Ok(()),
            }
        } else {
            client.write_all(&FAILURE)?;
        }
    }
    Ok(())
}

/// Is the agent of these keys.
fn answer(mut client: UnixStream, keys: &[PrivateKey]) -> io::Result<()> {
    while let Some(request) = message(&mut client)? {
        let answer = keys::answer(keys, &request[4..]);
        match answer.and_then(|answer| Some((u32::try_from(answer.len()).ok()?, answer))) {
            Some((length, answer)) => client.write_all(&[&length.to_be_bytes()[..], &answer].concat())?,
            None => client.write_all(&FAILURE)?,
        }
    }
    Ok(())
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        drop(self.end.take());
        let _panics_end_the_process = self.thread.take().map(JoinHandle::join);
        let _gone_already = fs::remove_file(&self.path);
    }
}

/// Binds by way of the directory's descriptor: the name of a socket may have only 107 bytes.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixListener::bind(reachable(&directory, path.file_name().unwrap_or_default()))
}

fn reachable(directory: &OwnedFd, name: &std::ffi::OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// Waits for a client; false at the end.
fn is_ready(listener: &UnixListener, stop: &io::PipeReader) -> bool {
    let mut waited = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    match poll(&mut waited, None) {
        Ok(_) => waited[1].revents().is_empty(),
        Err(errno) => errno == rustix::io::Errno::INTR,
    }
}

/// Reads one message with its length; none at the end.
fn message(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let count = u32::from_be_bytes(length);
    if count > LONGEST {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = length.to_vec();
    from.take(u64::from(count)).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 == u64::from(count) + 4;
    if whole { Ok(Some(bytes)) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn only_names_and_signatures_get_through() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("agent");
        let listener = UnixListener::bind(&real).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                while let Ok(Some(request)) = message(&mut client) {
                    client.write_all(&[0, 0, 0, 2, 12, request[4]]).unwrap();
                }
            }
        });
        let path = directory.path().join("a".repeat(120)).join("socket");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let (uid, gid) = (directory.path().metadata().unwrap().uid(), directory.path().metadata().unwrap().gid());
        let socket = Agent::find(&real).unwrap().listen(&path, Access { mode: 0o640, uid, gid }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let opened = rustix::fs::open(path.parent().unwrap(), OFlags::PATH, Mode::empty()).unwrap();
        let mut client = UnixStream::connect(reachable(&opened, path.file_name().unwrap())).unwrap();
        let client = &mut client;
        for (request, answer) in [
            (&[0, 0, 0, 1, 11][..], &[0, 0, 0, 2, 12, 11][..]),
            (&[0, 0, 0, 3, 13, 1, 2], &[0, 0, 0, 2, 12, 13]),
            (&[0, 0, 0, 2, 17, 1], &FAILURE),
            (&[0, 0, 0, 1, 19], &FAILURE),
            (&[0, 0, 0, 0], &FAILURE),
        ] {
            client.write_all(request).unwrap();
            assert_eq!(message(client).unwrap().as_deref(), Some(answer), "{request:?}");
        }
        client.write_all(&[0xff; 4]).unwrap();
        assert_eq!(message(client).unwrap(), None, "a message without end closes the connection");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn an_agent_must_be_there() {
        let text = Agent::find(Path::new("/nonexistent/agent")).unwrap_err().to_string();
        assert!(text.contains("finding the SSH agent at /nonexistent/agent"), "{text}");
    }
}
