//! How libgit2 reaches a server: smart HTTP over our own agent, Git's own protocol and SSH over our own connections.
//!
//! Sources: <https://git-scm.com/docs/http-protocol>, <https://git-scm.com/docs/pack-protocol>.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use git2::Remote;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::address::Address;
use super::session::{self, Failure, Session};
use super::ssh;
use crate::causes;
use crate::context::ErrorKind;
use crate::http::{CONTENT_TYPE, Call, HeaderName, HeaderValue, Meaning, Method, NamedBy, Response, StatusCode, Url};
use crate::sys::git::Factory;

/// The transports by scheme.
pub(super) const SCHEMES: [(&str, Factory); 4] = [("https", http), ("http", http), ("git", plain), ("ssh", plain)];

const GIT_PORT: u16 = 9418;
/// How long a server may be silent.
const IDLE: Duration = Duration::from_secs(120);

fn http(remote: &Remote<'_>) -> Result<Transport, git2::Error> {
    Transport::smart(remote, true, Smart(of_session()?))
}

fn plain(remote: &Remote<'_>) -> Result<Transport, git2::Error> {
    Transport::smart(remote, false, Smart(of_session()?))
}

fn of_session() -> Result<Arc<Session>, git2::Error> {
    session::current().ok_or_else(|| git2::Error::from_str("a repository of a server was used outside of a session"))
}

struct Smart(Arc<Session>);

impl SmartSubtransport for Smart {
    fn action(&self, _: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let session = &self.0;
        let (is_listing, wanted) = match action {
            Service::UploadPackLs => (true, true),
            Service::UploadPack => (false, true),
            Service::ReceivePackLs | Service::ReceivePack => (false, false),
        };
        if !wanted {
            return Err(git2::Error::from_str("nothing is ever pushed to a build context"));
        }
        match &session.address {
            Address::Ssh { .. } => {
                let stream = session.runtime.block_on(ssh::open(session)).map_err(|failure| session.note(failure))?;
                Ok(Box::new(stream))
            }
            Address::Url(url) if url.scheme() == "git" => {
                let opened = session.runtime.block_on(open_plain(session, url));
                let stream = opened.map_err(|failure| session.note(failure))?;
                Ok(Box::new(Plain { stream, session: Arc::clone(session) }))
            }
            Address::Url(_) => Ok(Box::new(Http {
                session: Arc::clone(session),
                is_listing,
                request: Vec::new(),
                response: None,
                piece: Bytes::new(),
            })),
        }
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer.
struct Http {
    session: Arc<Session>,
    is_listing: bool,
    /// What libgit2 asks; it is small, as it names commits only.
    request: Vec<u8>,
    response: Option<Response>,
    piece: Bytes,
}

impl Http {
    fn send(&mut self) -> Result<Response, Failure> {
        let base = self.session.base().ok_or_else(|| malformed("the repository has no URL"))?;
        let path = base.path().trim_end_matches('/').to_owned();
        let mut url = base.clone();
        let call = if self.is_listing {
            url.set_path(&format!("{path}/info/refs"));
            url.query_pairs_mut().append_pair("service", "git-upload-pack");
            Call::new(Method::GET, url)
        } else {
            url.set_path(&format!("{path}/git-upload-pack"));
            let content = HeaderValue::from_static("application/x-git-upload-pack-request");
            let accept = HeaderValue::from_static("application/x-git-upload-pack-result");
            let body = Bytes::from(std::mem::take(&mut self.request));
            let call = Call::new(Method::POST, url).header(CONTENT_TYPE, content);
            Call { body, ..call.header(HeaderName::from_static("accept"), accept) }
        };
        // Where the repository has moved to is the word of the server that it was asked of.
        let call = match self.session.address_url() {
            Some(asked) if asked != base => call.named_by(NamedBy::Server(asked)),
            Some(_) | None => call,
        };
        let response = self.session.runtime.block_on(self.session.send(&call))?;
        self.judge(&response)?;
        Ok(response)
    }

    fn judge(&self, response: &Response) -> Result<(), Failure> {
        let status = response.status();
        if status != StatusCode::OK {
            let hint = if status == StatusCode::NOT_FOUND {
                "; there is no such repository, or it is hidden from these credentials"
            } else {
                ""
            };
            return Err(Failure {
                kind: Meaning::of(status).into(),
                ..malformed(&format!("the server answered {status}{hint}"))
            });
        }
        let kind = response.header("content-type").unwrap_or_default();
        if !self.is_listing {
            return Ok(());
        }
        if kind != "application/x-git-upload-pack-advertisement" {
            return Err(malformed("the server does not speak Git's protocol at this URL"));
        }
        // The repository may have moved: what follows goes to where it is.
        let mut moved: Url = response.url().clone();
        if let Some(path) = moved.path().strip_suffix("/info/refs").map(str::to_owned) {
            moved.set_path(&path);
            moved.set_query(None);
            self.session.moved(moved);
        }
        Ok(())
    }
}

fn malformed(reason: &str) -> Failure {
    Failure { reason: reason.to_owned(), kind: ErrorKind::Wrong, tried: "over HTTP".to_owned() }
}

impl Read for Http {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.response.is_none() {
            self.response = Some(self.send().map_err(|failure| self.session.noted(failure))?);
        }
        let Some(response) = &mut self.response else { return Ok(0) };
        while self.piece.is_empty() {
            if (self.session.is_cancelled)() {
                return Err(io::Error::other("the build was interrupted"));
            }
            match self.session.runtime.block_on(response.chunk()) {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => return Ok(0),
                Err(error) => {
                    let (reason, tried) = (causes::in_one_line(&error), "over HTTP".to_owned());
                    return Err(self.session.noted(Failure { reason, kind: ErrorKind::Transient, tried }));
                }
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Http {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that speaks Git's own protocol.
struct Plain {
    stream: TcpStream,
    session: Arc<Session>,
}

async fn open_plain(session: &Session, url: &Url) -> Result<TcpStream, Failure> {
    let failed = |reason: String, meaning: Meaning| Failure {
        reason,
        kind: meaning.into(),
        tried: "by Git's own protocol".to_owned(),
    };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().unwrap_or(GIT_PORT);
    let connected = session.agent.connect(host, port).await;
    let mut stream = connected.map_err(|error| failed(causes::in_one_line(&error), error.meaning()))?;
    let request = format!("git-upload-pack {}\0host={host}:{port}\0", url.path());
    let line = format!("{:04x}{request}", request.len() + 4);
    stream.write_all(line.as_bytes()).await.map_err(|error| failed(error.to_string(), Meaning::Transient))?;
    Ok(stream)
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.session.is_cancelled)() {
            return Err(io::Error::other("the build was interrupted"));
        }
        let read = self.session.runtime.block_on(async { tokio::time::timeout(IDLE, self.stream.read(buffer)).await });
        read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
            let (reason, tried) = (error.to_string(), "by Git's own protocol".to_owned());
            self.session.noted(Failure { reason, kind: ErrorKind::Transient, tried })
        })
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.runtime.block_on(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
