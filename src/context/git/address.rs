//! Where a repository is, in Git's spellings.

use crate::context::access::Login;
use crate::context::{Error, ErrorKind, https};
use crate::http::{Url, decoded, redact};

/// A repository's address, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// `https`, `http`, `git` or `file`.
    Url(Url),
    /// Through SSH; the path is as the server gets it, which for `user@host:path` begins in the user's home.
    Ssh {
        user: Option<String>,
        host: String,
        port: Option<u16>,
        path: String,
        /// Whether it was written as `user@host:path`.
        is_scp: bool,
    },
}

/// The login that an address had in it.
pub(super) struct WithLogin {
    pub(super) address: Address,
    pub(super) login: Option<Login>,
}

impl Address {
    /// Reads an address; a login in it is taken out.
    pub(super) fn parse(text: &str) -> Result<WithLogin, Error> {
        if !text.contains("://")
            && let Some((login, path)) = text.split_once(':')
        {
            let (user, host) = login.split_once('@').unwrap_or(("git", login));
            let (user, host, path) = (Some(user.to_owned()), host.to_owned(), path.to_owned());
            return Ok(WithLogin { address: Self::Ssh { user, host, port: None, path, is_scp: true }, login: None });
        }
        let mut url = https::parse(text)?;
        url.set_fragment(None);
        let wrong = |reason: &str| Error::Refused {
            what: format!("the Git repository {}", redact(&url)),
            tried: "not sent".to_owned(),
            reason: reason.to_owned(),
            kind: ErrorKind::Wrong,
        };
        match url.scheme() {
            "ssh" => {
                let host = url.host_str().ok_or_else(|| wrong("it names no host"))?.to_owned();
                let user = Some(decoded(url.username())).filter(|user| !user.is_empty());
                let path = decoded(url.path());
                // `/~user/` is below a home, and the server wants it without the slash.
                let path = if path.starts_with("/~") { path[1..].to_owned() } else { path };
                let address = Self::Ssh { user, host, port: url.port(), path, is_scp: false };
                Ok(WithLogin { address, login: None })
            }
            "https" | "http" | "git" | "file" => {
                let login = https::in_url(&url);
                https::strip(&mut url);
                Ok(WithLogin { address: Self::Url(url), login })
            }
            _ => Err(wrong("its scheme is not known; it may be https, http, ssh, git or file")),
        }
    }

    /// Returns the URL for libgit2, without a login.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Url(url) if url.scheme() == "file" => url.to_string(),
            Self::Url(url) => url.to_string(),
            Self::Ssh { host, port, path, .. } => {
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("ssh://{host}{port}/{}", path.trim_start_matches('/'))
            }
        }
    }

    /// Returns the address for people and for result files.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Url(url) => redact(url),
            Self::Ssh { user, host, path, is_scp: true, .. } => {
                format!("{}@{host}:{path}", user.as_deref().unwrap_or("git"))
            }
            Self::Ssh { user, host, port, path, .. } => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("ssh://{user}{host}{port}/{}", path.trim_start_matches('/'))
            }
        }
    }

    /// Tells whether it is a directory of this machine.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::Url(url) if url.scheme() == "file")
    }

    /// Returns the host.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Url(url) => url.host_str().unwrap_or_default(),
            Self::Ssh { host, .. } => host,
        }
    }

    /// Finds what a submodule's URL means that may be relative to this repository's, as `../other.git`.
    pub(super) fn join(&self, text: &str) -> Result<WithLogin, Error> {
        if !text.starts_with("./") && !text.starts_with("../") {
            return Self::parse(text);
        }
        let join = |path: &str| {
            let mut parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
            for part in text.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part),
                }
            }
            parts.join("/")
        };
        let address = match self {
            Self::Url(url) => {
                let mut url = url.clone();
                url.set_path(&join(url.path()));
                Self::Url(url)
            }
            Self::Ssh { user, host, port, path, is_scp } => {
                let (user, host, port, is_scp) = (user.clone(), host.clone(), *port, *is_scp);
                Self::Ssh { user, host, port, path: join(path), is_scp }
            }
        };
        Ok(WithLogin { address, login: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_and_what_is_relative_to_it() {
        for (text, shown, sibling) in [
            ("https://u:secret@h/a/b.git", "https://h/a/b.git", "https://h/a/c.git"),
            ("git@h:a/b.git", "git@h:a/b.git", "git@h:a/c.git"),
            ("ssh://u@h:22/a/b.git", "ssh://u@h:22/a/b.git", "ssh://u@h:22/a/c.git"),
            ("file:///srv/b", "file:///srv/b", "file:///srv/c.git"),
        ] {
            let address = Address::parse(text).expect(text).address;
            assert_eq!(address.shown(), shown);
            assert_eq!(address.join("../c.git").expect("join").address.shown(), sibling);
            assert!(!format!("{address:?}").contains("secret"));
        }
        let parsed = Address::parse("https://token@h/x.git").expect("url");
        assert!(parsed.login.is_some());
        assert!(Address::parse("ftp://h/x.git").is_err());
    }
}
