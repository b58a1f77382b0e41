//! A loopback proxy in front of a registry that misbehaves on request, and notes what was asked of it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The first byte of a client that speaks TLS.
const TLS_HANDSHAKE: u8 = 22;

/// What is done to a request that a rule matches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The connection is closed without an answer.
    Drop,
    /// Half of the answer's body is sent, then the connection is closed.
    Truncate,
    /// One bit of the answer's body is another.
    Corrupt,
    /// This status is answered, with these header lines.
    Status(u16, &'static str),
    /// The tag may not be moved, in the words of ECR.
    Immutable,
    /// A blob of the manifest is not known, though it is there.
    BlobUnknown,
    /// Nothing is answered for a long time.
    Stall,
}

/// Which requests a fault is for, and how many of them.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The method.
    pub(crate) method: &'static str,
    /// A part of the path.
    pub(crate) path: &'static str,
    /// What is done.
    pub(crate) fault: Fault,
    /// How many requests get it before all goes well.
    pub(crate) times: usize,
}

impl Rule {
    /// Makes a rule for the first `times` requests.
    pub(crate) fn new(method: &'static str, path: &'static str, fault: Fault, times: usize) -> Self {
        Self { method, path, fault, times }
    }
}

/// A running proxy. Its threads end with the test process.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// `127.0.0.1:<port>`.
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    requests: Vec<String>,
}

impl Proxy {
    /// Starts a proxy in front of the plain registry at `upstream`.
    pub(crate) fn start(upstream: &str, rules: &[Rule]) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), upstream, rules)
    }

    /// The same at another address of this machine.
    pub(crate) fn start_at(address: IpAddr, upstream: &str, rules: &[Rule]) -> Self {
        let state = Arc::new(Mutex::new(State { rules: rules.to_vec(), requests: Vec::new() }));
        let (upstream, shared) = (upstream.to_owned(), Arc::clone(&state));
        let address = listen_at(address, move |client| serve(client, &upstream, &shared));
        Self { address, state }
    }

    /// Returns `METHOD path` of each request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().expect("no thread panics with it").requests.clone()
    }

    /// Returns how many requests of that method have that part in their path.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        let prefix = format!("{method} ");
        self.requests().iter().filter(|line| line.starts_with(&prefix) && line.contains(part)).count()
    }
}

/// Listens on a free port of the loopback, with a thread for each connection; returns the address.
pub(crate) fn listen(serve: impl Fn(TcpStream) -> Option<()> + Send + Sync + 'static) -> String {
    listen_at(Ipv4Addr::LOCALHOST.into(), serve)
}

fn listen_at(address: IpAddr, serve: impl Fn(TcpStream) -> Option<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((address, 0)).expect("it has a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            // A connection that breaks is what this is for.
            thread::spawn(move || serve(client));
        }
    });
    address
}

/// Serves one request of a connection: an answer always closes it, so that each request is seen.
fn serve(client: TcpStream, upstream: &str, state: &Mutex<State>) -> Option<()> {
    let mut first = [0];
    if client.peek(&mut first).ok()? == 1 && first == [TLS_HANDSHAKE] {
        // Whoever tries TLS first must not wait for an answer.
        return client.shutdown(Shutdown::Both).ok();
    }
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut head = Vec::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).ok()? > 2 {
        let lower = line.to_ascii_lowercase();
        if !lower.starts_with(b"connection:") && !lower.starts_with(b"expect:") {
            head.extend(&line);
        }
        line.clear();
    }
    let first = String::from_utf8_lossy(&head).lines().next()?.to_owned();
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let fault = note(state, &method, &path);
    match fault {
        Some(Fault::Drop) => {
            client.shutdown(Shutdown::Both).ok()?;
            return None;
        }
        Some(Fault::Status(status, headers)) => return refuse(client, status, headers, "by order of the test"),
        Some(Fault::Immutable) => {
            let message = "The image tag already exists and cannot be overwritten because the tag is immutable.";
            return refuse(client, 400, "", message);
        }
        Some(Fault::BlobUnknown) => {
            return refuse_as(client, 400, "", "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
        }
        Some(Fault::Stall) => {
            thread::sleep(Duration::from_secs(120));
            return None;
        }
        Some(Fault::Truncate | Fault::Corrupt) | None => {}
    }
    let mut server = TcpStream::connect(upstream).ok()?;
    head.extend(b"Connection: close\r\n\r\n");
    server.write_all(&head).ok()?;
    let mut to_server = server.try_clone().ok()?;
    thread::spawn(move || std::io::copy(&mut reader, &mut to_server));
    answer(server, client, fault)
}

/// Notes the request and returns the fault of the first rule that still has one for it.
fn note(state: &Mutex<State>, method: &str, path: &str) -> Option<Fault> {
    let mut state = state.lock().ok()?;
    state.requests.push(format!("{method} {path}"));
    let fits = |rule: &&mut Rule| rule.times > 0 && rule.method == method && path.contains(rule.path);
    let rule = state.rules.iter_mut().find(fits)?;
    rule.times -= 1;
    Some(rule.fault)
}

fn refuse(client: TcpStream, status: u16, headers: &str, message: &str) -> Option<()> {
    refuse_as(client, status, headers, "UNKNOWN", message)
}

fn refuse_as(mut client: TcpStream, status: u16, headers: &str, code: &str, message: &str) -> Option<()> {
    let body = format!("{{\"errors\": [{{\"code\": \"{code}\", \"message\": \"{message}\"}}]}}");
    let answer = format!(
        "HTTP/1.1 {status} Refused\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).ok()?;
    client.shutdown(Shutdown::Write).ok()
}

fn answer(mut server: TcpStream, mut client: TcpStream, fault: Option<Fault>) -> Option<()> {
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).ok()?;
    let body = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    match fault {
        Some(Fault::Truncate) => bytes.truncate(body + (bytes.len() - body) / 2),
        Some(Fault::Corrupt) if bytes.len() > body => {
            let middle = body + (bytes.len() - body) / 2;
            bytes[middle] ^= 1;
        }
        _ => {}
    }
    client.write_all(&bytes).ok()?;
    client.shutdown(Shutdown::Both).ok()
}
