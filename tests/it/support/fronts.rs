//! What stands before a registry: a server that gives tokens for it (`tokens.py`), and a reverse proxy (nginx).

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::process::{self, SHORT, Service, wait_until};
use super::registry::{certify, free_address};
use super::scratch::Scratch;

/// What [`Tokens`] takes in place of a password.
pub(crate) const REFRESH: &str = "refresh-token-of-the-builder";

const START: Duration = Duration::from_secs(10);

/// A running token server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The URL that gives tokens.
    pub(crate) realm: String,
    scratch: Scratch,
    _service: Service,
}

impl Tokens {
    /// Starts it; the first `short` tokens are good for seconds only.
    pub(crate) fn start(short: usize) -> Self {
        let scratch = Scratch::new("tokens");
        let key = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 2 -subj /CN=tokens";
        process::run(Command::new("sh").args(["-c", key]).current_dir(scratch.path()), SHORT).success();
        let program = scratch.file("tokens.py", include_str!("tokens.py")).display().to_string();
        let address = free_address();
        let port = address.rsplit_once(':').expect("it has a port").1.to_owned();
        let [key, certificate] = ["key", "certificate"].map(|name| scratch.join(name).display().to_string());
        let arguments = [program, port, key, certificate, short.to_string()];
        let service = Service::start("python3", &arguments, &scratch.join("log"));
        let ready = wait_until(START, || TcpStream::connect(&address).is_ok());
        assert!(ready, "tokens.py does not start: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
        Self { realm: format!("http://{address}/token"), scratch, _service: service }
    }

    /// Returns what a registry trusts.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.scratch.join("certificate")
    }

    /// Returns the user and the scopes of each token so far.
    pub(crate) fn grants(&self) -> Vec<String> {
        let log = fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// A running nginx that speaks HTTP/2 over TLS to us; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    /// `127.0.0.1:<port>`.
    pub(crate) address: String,
    scratch: Scratch,
    _service: Service,
}

impl Nginx {
    /// Starts it in front of a plain registry; `mutual` is whether it wants a certificate of its own CA.
    pub(crate) fn start(upstream: &str, mutual: bool) -> Self {
        let scratch = Scratch::new("nginx");
        certify(&scratch);
        scratch.directory("temporary");
        for _ in 0..3 {
            let address = free_address();
            let configuration = configuration(&scratch, &address, upstream, mutual);
            let file = scratch.file("nginx.conf", configuration).display().to_string();
            let log = scratch.join("log").display().to_string();
            let service = Service::start("nginx", &["-e", &log, "-c", &file], &scratch.join("output"));
            if wait_until(START, || TcpStream::connect(&address).is_ok()) {
                return Self { address, scratch, _service: service };
            }
        }
        panic!("nginx does not start: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
    }

    /// Reads one of its files, such as `ca.crt` and `server.key`.
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.scratch.join(name)).expect("it is made")
    }

    /// Returns the protocol, the method and the status of each request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.scratch.join("access")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

fn configuration(scratch: &Scratch, address: &str, upstream: &str, mutual: bool) -> String {
    let path = |name: &str| scratch.join(name).display().to_string();
    let ours = if mutual {
        format!("ssl_client_certificate {}; ssl_verify_client on;", path("ca.crt"))
    } else {
        String::new()
    };
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = kinds.map(|kind| format!("{kind}_temp_path {};\n", path("temporary"))).concat();
    format!(
        "daemon off; master_process off; pid {};\nevents {{}}\nhttp {{\n{temporary}\
         log_format short '$server_protocol $request_method $status';\naccess_log {} short;\n\
         server {{\nlisten {address} ssl http2; ssl_certificate {}; ssl_certificate_key {}; {ours}\n\
         client_max_body_size 0; proxy_request_buffering off;\n\
         location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Host {address};\n\
         proxy_set_header X-Forwarded-Proto https; }}\n}}\n}}\n",
        path("pid"),
        path("access"),
        path("server.crt"),
        path("server.key"),
    )
}
