//! A server that answers as a test says, in plain HTTP or behind TLS, and notes all that it gets (`scripted.py`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use super::process::{Service, wait_until};
use super::registry::certify;
use super::scratch::Scratch;

/// A running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Scripted {
    /// `address:port`.
    pub(crate) address: String,
    scratch: Scratch,
    _service: Service,
}

impl Scripted {
    /// Starts one on loopback that answers 404 to everything, in plain HTTP.
    pub(crate) fn plain() -> Self {
        Self::start(Ipv4Addr::LOCALHOST.into(), false)
    }

    /// The same behind TLS, with a CA of its own.
    pub(crate) fn tls() -> Self {
        Self::start(Ipv4Addr::LOCALHOST.into(), true)
    }

    /// The same in plain HTTP at another address of this machine.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::start(address, false)
    }

    fn start(address: IpAddr, tls: bool) -> Self {
        let scratch = Scratch::new("scripted");
        let program = scratch.file("scripted.py", include_str!("scripted.py")).display().to_string();
        let rules = scratch.file("rules", "[]").display().to_string();
        if tls {
            certify(&scratch);
        }
        for _ in 0..3 {
            let listener = TcpListener::bind((address, 0)).expect("a free port");
            let port = listener.local_addr().expect("it is bound").port();
            drop(listener);
            let mut arguments = vec![program.clone(), address.to_string(), port.to_string(), rules.clone()];
            if tls {
                arguments.extend(["server.crt", "server.key"].map(|name| scratch.join(name).display().to_string()));
            }
            let service = Service::start("python3", &arguments, &scratch.join("log"));
            if wait_until(Duration::from_secs(10), || TcpStream::connect((address, port)).is_ok()) {
                return Self { address: format!("{address}:{port}"), scratch, _service: service };
            }
        }
        panic!("scripted.py does not start: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
    }

    /// Says how to answer: a list of `[method, part of the path, status, headers, body]`.
    pub(crate) fn answers(&self, rules: &Value) {
        self.scratch.file("rules", rules.to_string());
    }

    /// Returns the certificate of its CA.
    pub(crate) fn ca(&self) -> Vec<u8> {
        fs::read(self.scratch.join("ca.crt")).expect("it is made")
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Returns an address of this machine that is neither loopback nor link-local, if it has one.
pub(crate) fn machine_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses a route (RFC 5737 names the address for examples).
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
