//! An HTTPS server with a CA of its own: files, well and badly served, and Git repositories (`web.py`).

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use super::process::{Service, wait_until};
use super::registry::{certify, free_address};
use super::scratch::Scratch;

/// A running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Web {
    /// `127.0.0.1:<port>`.
    pub(crate) address: String,
    /// Holds what is served, in `root`.
    pub(crate) scratch: Scratch,
    _service: Service,
}

impl Web {
    /// Starts a server for the files of an empty directory, [`Web::scratch`]'s `root`.
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new("web");
        let root = scratch.directory("root");
        certify(&scratch);
        let program = scratch.file("web.py", include_str!("web.py"));
        for _ in 0..3 {
            let address = free_address();
            let port = address.rsplit_once(':').expect("it has a port").1.to_owned();
            let paths = [&program, &root, &scratch.join("server.crt"), &scratch.join("server.key")];
            let paths = paths.map(|path| path.display().to_string());
            let [program, root, certificate, key] = paths;
            let arguments = [program, port, root, certificate, key];
            let service = Service::start("python3", &arguments, &scratch.join("log"));
            if wait_until(Duration::from_secs(10), || TcpStream::connect(&address).is_ok()) {
                return Self { address, scratch, _service: service };
            }
        }
        panic!("web.py does not start: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
    }

    /// Returns the certificate of the CA.
    pub(crate) fn ca(&self) -> Vec<u8> {
        fs::read(self.scratch.join("ca.crt")).expect("the CA is made")
    }
}
