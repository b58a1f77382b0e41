//! A network that fails all the time: a loopback proxy before a registry that spoils every third request in turn.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::proxy::listen;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoilt {
    /// The connection is closed without an answer.
    Dropped,
    /// It is handed on late.
    Late,
    /// This status is answered.
    Refused(u16),
    /// A part of its body goes on, and then both connections are closed.
    Cut,
    /// A part of the answer's body comes back, and then the connection is closed.
    CutAnswer,
}

const TURNS: [Spoilt; 9] = [
    Spoilt::Dropped,
    Spoilt::Refused(429),
    Spoilt::Refused(500),
    Spoilt::Cut,
    Spoilt::Refused(502),
    Spoilt::Late,
    Spoilt::Refused(503),
    Spoilt::CutAnswer,
    Spoilt::Refused(504),
];

/// The running proxy. Its threads end with the test process.
#[derive(Debug)]
pub(crate) struct Flaky {
    /// `127.0.0.1:<port>`.
    pub(crate) address: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: AtomicU64,
    spoilt: AtomicU64,
    /// Bytes of bodies that came from the client.
    bytes: AtomicU64,
    /// What was spoilt the last time: the same request is let through then, as nothing survives what never works.
    known: Mutex<HashSet<String>>,
}

impl Flaky {
    /// Starts a proxy in front of the plain registry at `upstream`.
    pub(crate) fn start(upstream: &str) -> Self {
        let state = Arc::new(State::default());
        let (upstream, shared) = (upstream.to_owned(), Arc::clone(&state));
        let address = listen(move |client| serve(client, &upstream, &shared));
        Self { address, state }
    }

    /// Returns how many requests came, how many were spoilt, and the bytes of bodies that came.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (count(&self.state.requests), count(&self.state.spoilt), count(&self.state.bytes))
    }
}

/// Decides what happens to a request.
fn fate(state: &State, line: &str) -> Option<Spoilt> {
    let number = state.requests.fetch_add(1, Ordering::Relaxed);
    let key = line.split('?').next().unwrap_or_default().to_owned();
    let mut known = state.known.lock().ok()?;
    if known.remove(&key) || number % 3 != 2 {
        return None;
    }
    known.insert(key);
    let turn = state.spoilt.fetch_add(1, Ordering::Relaxed);
    let turns = u64::try_from(TURNS.len()).ok()?;
    Some(TURNS[usize::try_from(turn % turns).ok()?])
}

fn serve(mut client: TcpStream, upstream: &str, state: &State) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut head, mut line, mut length) = (Vec::new(), Vec::new(), 0_u64);
    while reader.read_until(b'\n', &mut line).ok()? > 2 {
        let lower = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if !lower.starts_with("connection:") {
            head.extend(&line);
        }
        line.clear();
    }
    let first = String::from_utf8_lossy(&head).lines().next()?.to_owned();
    let fate = fate(state, &first);
    match fate {
        Some(Spoilt::Dropped) => return client.shutdown(Shutdown::Both).ok(),
        Some(Spoilt::Late) => thread::sleep(Duration::from_millis(300)),
        Some(Spoilt::Refused(status)) => {
            let wait = if status == 429 { "Retry-After: 1\r\n" } else { "" };
            let answer = format!("HTTP/1.1 {status} No\r\nConnection: close\r\n{wait}Content-Length: 0\r\n\r\n");
            client.write_all(answer.as_bytes()).ok()?;
            return client.shutdown(Shutdown::Write).ok();
        }
        Some(Spoilt::Cut | Spoilt::CutAnswer) | None => {}
    }
    let mut server = TcpStream::connect(upstream).ok()?;
    head.extend(b"Connection: close\r\n\r\n");
    server.write_all(&head).ok()?;
    let wanted = if fate == Some(Spoilt::Cut) { length / 8 } else { length };
    let sent = std::io::copy(&mut reader.take(wanted), &mut server);
    state.bytes.fetch_add(sent.as_ref().copied().unwrap_or(wanted), Ordering::Relaxed);
    if fate == Some(Spoilt::Cut) || sent.ok()? != wanted {
        server.shutdown(Shutdown::Both).ok()?;
        return client.shutdown(Shutdown::Both).ok();
    }
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    if fate == Some(Spoilt::CutAnswer) {
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        answer.truncate(body + (answer.len() - body) / 2);
    }
    client.write_all(&answer).ok()?;
    client.shutdown(Shutdown::Both).ok()
}
