//! Git over SSH, without a program of SSH's: an executor's image has none.
//!
//! Knows keys, agents, `known_hosts` and the few words of `~/.ssh/config` that decide who we are to whom.
//!
//! *Invariant: a server whose key is not known is not spoken to.*

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use russh::client::{self, Handle, Msg};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::known_hosts::{check_known_hosts_path, known_host_keys_path};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyBase64 as _, PublicKeyOrCertificate, load_secret_key};

use russh::{Channel, ChannelMsg, Preferred};

use super::address::Address;
use super::session::{Failure, Session};
use crate::causes;
use crate::context::ErrorKind;

const SSH_PORT: u16 = 22;
const KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
/// How long a server may be silent.
const IDLE: Duration = Duration::from_secs(120);
/// How much of what a server says beside the protocol is kept.
const LONGEST_COMPLAINT: usize = 2 << 10;

/// Who we are to a host, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings {
    host: Option<String>,
    user: Option<String>,
    port: Option<u16>,
    keys: Vec<PathBuf>,
}

/// A command that runs at the server, as a stream.
pub(super) struct Stream {
    session: Arc<Session>,
    channel: Channel<Msg>,
    /// The connection lives as long as this.
    _connection: Handle<HostCheck>,
    piece: Bytes,
    complaint: Vec<u8>,
    ended: bool,
}

/// Connects to the server of a session and starts sending its repository.
pub(super) async fn open(session: &Arc<Session>) -> Result<Stream, Failure> {
    let path = match &session.address {
        Address::Ssh { path, .. } => path.clone(),
        Address::Url(url) => url.path().to_owned(),
    };
    run(session, &format!("git-upload-pack {}", quoted(&path))).await
}

/// Runs a command at the server of a session and returns what it printed.
pub(super) async fn output(session: &Arc<Session>, command: &str, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut stream = run(session, command).await?;
    let mut printed = Vec::new();
    while let Some(piece) = stream.next().await? {
        printed.extend_from_slice(&piece);
        if printed.len() > limit {
            break;
        }
    }
    Ok(printed)
}

/// Writes a path as a shell's word.
pub(super) fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''"))
}

async fn run(session: &Arc<Session>, command: &str) -> Result<Stream, Failure> {
    let Address::Ssh { user, host, port, .. } = &session.address else {
        return Err(failure(ErrorKind::Wrong, "the repository is not reached by SSH".to_owned()));
    };
    let settings = settings(&session.homes, host);
    let user = user.clone().or(settings.user.clone()).unwrap_or_else(|| "git".to_owned());
    let port = port.or(settings.port).unwrap_or(SSH_PORT);
    let host = settings.host.clone().unwrap_or_else(|| host.clone());
    let transient = |error: &dyn std::error::Error| failure(ErrorKind::Transient, causes::in_one_line(error));
    let connected = session.agent.connect(&host, port).await;
    let stream = connected.map_err(|error| failure(error.meaning().into(), causes::in_one_line(&error)))?;
    let files = known_hosts(session);
    let verdict = Arc::new(Mutex::new(None));
    let check = HostCheck { host: host.clone(), port, files: files.clone(), verdict: Arc::clone(&verdict) };
    let config = client::Config { preferred: preferred(&host, port, &files), ..client::Config::default() };
    let connected = tokio::time::timeout(IDLE, client::connect_stream(Arc::new(config), stream, check)).await;
    let refused = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(reason) = refused {
        return Err(failure(ErrorKind::Denied, reason));
    }
    let mut connection = match connected {
        Ok(result) => result.map_err(|error| transient(&error))?,
        Err(_) => return Err(failure(ErrorKind::Transient, format!("{host}:{port} does not answer"))),
    };
    authenticate(session, &mut connection, &user, &settings).await?;
    let channel = connection.channel_open_session().await.map_err(|error| transient(&error))?;
    channel.exec(true, command).await.map_err(|error| transient(&error))?;
    let (session, piece, complaint) = (Arc::clone(session), Bytes::new(), Vec::new());
    Ok(Stream { session, channel, _connection: connection, piece, complaint, ended: false })
}

fn failure(kind: ErrorKind, reason: String) -> Failure {
    Failure { reason, kind, tried: "over SSH".to_owned() }
}

/// Judges the server's key.
struct HostCheck {
    host: String,
    port: u16,
    files: Vec<PathBuf>,
    verdict: Arc<Mutex<Option<String>>>,
}

impl client::Handler for HostCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else { return Ok(false) };
        let (host, port) = (&self.host, self.port);
        let mut changed = None;
        for file in &self.files {
            match check_known_hosts_path(host, port, key, file) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(russh::keys::Error::KeyChanged { line }) => {
                    changed = Some(format!("line {line} of {} has another one", file.display()));
                }
                Err(error) => changed = Some(format!("{} cannot be read: {error}", file.display())),
            }
        }
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let known = changed.unwrap_or_else(|| format!("it is not in {}", files.join(", ")));
        let name = if port == SSH_PORT { host.clone() } else { format!("[{host}]:{port}") };
        let line = format!("{name} {} {}", key.algorithm(), key.public_key_base64());
        let reason =
            format!("the host key of {host} ({fingerprint}) is not trusted: {known}; if it is right, add `{line}`");
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        Ok(false)
    }
}

/// Asks for a kind of host key that is known, since a server has several.
fn preferred(host: &str, port: u16, files: &[PathBuf]) -> Preferred {
    let mut preferred = Preferred::default();
    let known = files.iter().filter_map(|file| known_host_keys_path(host, port, file).ok()).flatten();
    let known: Vec<_> = known.map(|(_, key)| key.algorithm()).collect();
    let mut keys = preferred.key.to_vec();
    // An RSA key signs in several ways, which differ in the hash alone.
    keys.sort_by_key(|algorithm| {
        !known.iter().any(|known| known == algorithm || (known.clone().is_rsa() && algorithm.clone().is_rsa()))
    });
    preferred.key = Cow::Owned(keys);
    preferred
}

fn known_hosts(session: &Session) -> Vec<PathBuf> {
    let homes = session.homes.iter().map(|home| home.join(".ssh/known_hosts"));
    session.access.known_hosts.iter().cloned().chain(homes).chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect()
}

/// Proves who we are: by the keys of the agent, then by key files.
async fn authenticate(
    session: &Session,
    connection: &mut Handle<HostCheck>,
    user: &str,
    settings: &Settings,
) -> Result<(), Failure> {
    let transient = |error: russh::Error| failure(ErrorKind::Transient, causes::in_one_line(&error));
    let hash = connection.best_supported_rsa_hash().await.map_err(transient)?.flatten();
    let mut tried = Vec::new();
    if let Some(socket) = &session.access.agent
        && let Ok(mut agent) = AgentClient::connect_uds(socket).await
    {
        for identity in agent.request_identities().await.unwrap_or_default() {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            let hash = hash.filter(|_| key.algorithm().is_rsa());
            let answer = connection.authenticate_publickey_with(user, key, hash, &mut agent).await;
            if answer.is_ok_and(|answer| answer.success()) {
                return Ok(());
            }
            tried.push(format!("the agent's key {comment}"));
        }
    }
    let defaults = session.homes.iter().flat_map(|home| KEYS.map(|name| home.join(".ssh").join(name)));
    let given = session.access.keys.iter().chain(&settings.keys);
    for path in given.cloned().chain(defaults).filter(|path| path.is_file()) {
        match load_secret_key(&path, None) {
            Ok(key) => {
                let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
                if connection.authenticate_publickey(user, key).await.map_err(transient)?.success() {
                    return Ok(());
                }
                tried.push(path.display().to_string());
            }
            Err(error) => tried.push(format!("{} ({error})", path.display())),
        }
    }
    let tried = if tried.is_empty() { "no key was found".to_owned() } else { format!("tried {}", tried.join(", ")) };
    let reason = format!("the server does not take `{user}`: {tried}; put a key into $HOME/.ssh or set SSH_AUTH_SOCK");
    Err(failure(ErrorKind::Denied, reason))
}

impl Stream {
    /// Returns the next piece of what the command prints.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.ended {
            let message = tokio::time::timeout(IDLE, self.channel.wait()).await;
            match message {
                Ok(Some(ChannelMsg::Data { data })) => return Ok(Some(data)),
                Ok(Some(ChannelMsg::ExtendedData { data, .. })) => {
                    let room = LONGEST_COMPLAINT.saturating_sub(self.complaint.len()).min(data.len());
                    self.complaint.extend_from_slice(&data[..room]);
                }
                Ok(Some(ChannelMsg::ExitStatus { exit_status })) if exit_status != 0 => {
                    let text = String::from_utf8_lossy(&self.complaint).trim().replace('\n', " ");
                    return Err(failure(ErrorKind::Wrong, format!("the server says: {text}")));
                }
                Ok(Some(ChannelMsg::Failure)) => {
                    return Err(failure(ErrorKind::Wrong, "the server runs no commands".to_owned()));
                }
                Ok(Some(ChannelMsg::Close) | None) => self.ended = true,
                Ok(Some(_)) => {}
                Err(_) => return Err(failure(ErrorKind::Transient, "the server is silent".to_owned())),
            }
        }
        Ok(None)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            if (self.session.is_cancelled)() {
                return Err(io::Error::other("the build was interrupted"));
            }
            let runtime = self.session.runtime.clone();
            match runtime.block_on(self.next()) {
                Ok(piece) => self.piece = piece.unwrap_or_default(),
                Err(failure) => return Err(self.session.noted(failure)),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.session.runtime.block_on(self.channel.data(bytes));
        sent.map_err(|error| self.session.noted(failure(ErrorKind::Transient, causes::in_one_line(&error))))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what `.ssh/config` says about a host; what is said first holds.
fn settings(homes: &[PathBuf], host: &str) -> Settings {
    let mut settings = Settings::default();
    for home in homes {
        let text = fs::read_to_string(home.join(".ssh/config")).unwrap_or_default();
        settings.read(&text, host, home);
    }
    settings
}

impl Settings {
    fn read(&mut self, text: &str, host: &str, home: &Path) {
        let mut applies = true;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((key, value)) = line.split_once([' ', '\t', '=']) else { continue };
            let value = value.trim_matches([' ', '\t', '=', '"']);
            match key.to_lowercase().as_str() {
                "host" => applies = value.split_whitespace().any(|pattern| matches(pattern, host)),
                "match" => applies = value == "all",
                _ if !applies => {}
                "hostname" => drop(self.host.get_or_insert(value.replace("%h", host))),
                "user" => drop(self.user.get_or_insert(value.to_owned())),
                "port" => self.port = self.port.or(value.parse().ok()),
                "identityfile" => {
                    let value = value.replace("%d", &home.display().to_string());
                    self.keys.push(home.join(value.strip_prefix("~/").unwrap_or(&value)));
                }
                _ => {}
            }
        }
    }
}

/// Compares a host with a pattern of `*` and `?`.
fn matches(pattern: &str, host: &str) -> bool {
    match (pattern.chars().next(), host.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches(&pattern[1..], host)
                || host.chars().next().is_some_and(|first| matches(pattern, &host[first.len_utf8()..]))
        }
        (Some('?'), Some(first)) => matches(&pattern[1..], &host[first.len_utf8()..]),
        (Some(wanted), Some(first)) if wanted == first => {
            matches(&pattern[wanted.len_utf8()..], &host[first.len_utf8()..])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_first_about_a_host_holds() {
        let text = "# Tekton's form\nHost git.example\n  HostName 10.0.0.1\n  Port 2222\n  IdentityFile /keys/one\n\
                    Host other *.test\n User=me\n IdentityFile ~/.ssh/two\nHost *\n User nobody\n Port 22\n";
        let of = |host: &str| {
            let mut settings = Settings::default();
            settings.read(text, host, Path::new("/home"));
            settings
        };
        let git = of("git.example");
        assert_eq!(
            (git.host.as_deref(), git.port, git.user.as_deref()),
            (Some("10.0.0.1"), Some(2222), Some("nobody"))
        );
        assert_eq!(git.keys, [PathBuf::from("/keys/one")]);
        assert_eq!(of("a.test").keys, [PathBuf::from("/home/.ssh/two")]);
        assert_eq!(of("a.test").user.as_deref(), Some("me"));
        assert_eq!(of("x").port, Some(22));
        assert_eq!(quoted("a'b"), "'a'\\''b'");
    }
}
