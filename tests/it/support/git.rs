//! Git repositories, made by Git itself, and the servers that are no web servers: `git daemon` and `sshd`.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::process::{self, LONG, SHORT, Service, wait_until};
use super::registry::free_address;
use super::scratch::Scratch;

/// Runs a shell script in a directory, with Git configured as nobody.
pub(crate) fn script(directory: &Path, text: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", text]).current_dir(directory).env("HOME", directory);
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "n"),
        ("GIT_AUTHOR_EMAIL", "n@test"),
        ("GIT_COMMITTER_NAME", "n"),
        ("GIT_COMMITTER_EMAIL", "n@test"),
        ("GIT_AUTHOR_DATE", "2001-02-03T04:05:06Z"),
        ("GIT_COMMITTER_DATE", "2001-02-03T04:05:06Z"),
    ] {
        command.env(name, value);
    }
    process::run(&mut command, LONG).success().trim().to_owned()
}

/// Starts `git daemon` for the repositories below a directory; returns its address.
pub(crate) fn daemon(base: &Path) -> (String, Service) {
    let address = free_address();
    let port = address.rsplit_once(':').expect("it has a port").1;
    let arguments = [
        "-c".to_owned(),
        "safe.directory=*".to_owned(),
        "daemon".to_owned(),
        format!("--base-path={}", base.display()),
        "--listen=127.0.0.1".to_owned(),
        format!("--port={port}"),
        "--export-all".to_owned(),
        "--reuseaddr".to_owned(),
    ];
    let service = Service::start("git", &arguments, &base.join("daemon.log"));
    assert!(wait_until(Duration::from_secs(10), || TcpStream::connect(&address).is_ok()), "git daemon starts");
    (address, service)
}

/// A running `sshd` that takes one key.
#[derive(Debug)]
pub(crate) struct Sshd {
    /// The port on 127.0.0.1.
    pub(crate) port: String,
    scratch: Scratch,
    _service: Service,
}

impl Sshd {
    /// Starts it; none, with the reason, where this machine has none or does not let us.
    pub(crate) fn start() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("sshd needs root to start".to_owned());
        }
        let scratch = Scratch::new("sshd");
        let _ = fs::create_dir_all("/run/sshd");
        let keys = "for key in host user; do ssh-keygen -q -t ed25519 -N '' -C $key -f $key; done; chmod 600 user host";
        process::run(Command::new("sh").args(["-ec", keys]).current_dir(scratch.path()), SHORT).success();
        let address = free_address();
        let port = address.rsplit_once(':').expect("it has a port").1.to_owned();
        let at = |name: &str| scratch.join(name).display().to_string();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nForceCommand {}\nSetEnv GIT_CONFIG_COUNT=1 \
             GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*\n",
            at("host"),
            at("user.pub"),
            at("command")
        );
        // A server with LFS has a program of this name; here it says what a test has put beside it.
        let command = format!(
            "#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in git-lfs-authenticate*) exec cat {} ;; esac\n\
             exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
            at("lfs.json")
        );
        let command = scratch.file("command", command);
        fs::set_permissions(command, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
        let configuration = scratch.file("sshd_config", text).display().to_string();
        let arguments = ["-D".to_owned(), "-e".to_owned(), "-f".to_owned(), configuration];
        let service = Service::start("/usr/sbin/sshd", &arguments, &scratch.join("log"));
        if wait_until(Duration::from_secs(5), || TcpStream::connect(&address).is_ok()) {
            return Ok(Self { port, scratch, _service: service });
        }
        Err(format!("sshd does not start: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default()))
    }

    /// Says where its files of LFS are.
    pub(crate) fn serve_lfs(&self, href: &str, authorization: &str) {
        let text = format!("{{\"href\": \"{href}\", \"header\": {{\"Authorization\": \"{authorization}\"}}}}");
        self.scratch.file("lfs.json", text);
    }

    /// Starts an agent that has its key; returns the socket.
    pub(crate) fn agent(&self) -> (String, Service) {
        let socket = self.scratch.join("agent").display().to_string();
        let service = Service::start("ssh-agent", &["-D", "-a", &socket], &self.scratch.join("agent.log"));
        assert!(wait_until(Duration::from_secs(10), || Path::new(&socket).exists()), "ssh-agent starts");
        let mut add = Command::new("ssh-add");
        process::run(add.arg("-q").arg(self.scratch.join("user")).env("SSH_AUTH_SOCK", &socket), SHORT).success();
        (socket, service)
    }

    /// Makes it take one more key, of this kind; returns the private one.
    pub(crate) fn add_key(&self, kind: &str) -> Vec<u8> {
        let script = "ssh-keygen -q -t \"$1\" -N '' -C more -f more-$1; cat more-$1.pub >> user.pub";
        process::run(Command::new("sh").args(["-euc", script, "sh", kind]).current_dir(self.scratch.path()), SHORT)
            .success();
        fs::read(self.scratch.join(format!("more-{kind}"))).expect("it is made")
    }

    /// Returns the private key that it takes.
    pub(crate) fn key(&self) -> Vec<u8> {
        fs::read(self.scratch.join("user")).expect("it is made")
    }

    /// Returns the line of `known_hosts` for it.
    pub(crate) fn known(&self) -> String {
        let key = fs::read_to_string(self.scratch.join("host.pub")).expect("it is made");
        format!("[127.0.0.1]:{} {key}", self.port)
    }
}
