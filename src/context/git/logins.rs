//! Who we are to a Git server over HTTP: what is tried, in which order.

use std::fs;
use std::path::{Path, PathBuf};

use crate::context::access::{Login, Secret};
use crate::context::{https, netrc};
use crate::http::Url;

/// Reads the logins for a URL from files of credentials (`git-credential-store`'s) and `.netrc`, in order.
pub(super) fn from_files(homes: &[PathBuf], stores: &[PathBuf], url: &Url) -> Vec<Login> {
    let own = homes.iter().map(|home| home.join(".git-credentials"));
    let xdg = homes.iter().map(|home| home.join(".config/git/credentials"));
    let mut found: Vec<Login> = Vec::new();
    for path in stores.iter().cloned().chain(own).chain(xdg) {
        found.extend(from_store(&path, url));
    }
    found.extend(netrc::login(homes, url.host_str().unwrap_or_default(), true));
    found
}

fn from_store(path: &Path, url: &Url) -> Vec<Login> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| Url::parse(line.trim()).ok());
    let fitting = lines.filter(|line| line.origin() == url.origin() && is_below(url.path(), line.path()));
    fitting.filter_map(|line| Some(Login { source: path.display().to_string(), ..https::in_url(&line)? })).collect()
}

/// A line with a path is for what is below it (`credential.useHttpPath`).
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    prefix.is_empty() || path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}

/// Adds the other ways to send a token: as a password, with the users that forges want to see with it.
pub(super) fn spellings(login: &Login) -> Vec<Login> {
    let mut all = vec![login.clone()];
    if let Secret::Basic { user, password } = &login.secret
        && password.is_empty()
    {
        for name in ["oauth2", "x-access-token"] {
            let secret = Secret::Basic { user: name.to_owned(), password: user.clone() };
            all.push(Login { source: login.source.clone(), secret });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_their_server_and_path_only() {
        let home = tempfile::tempdir().expect("tempdir");
        let text =
            "https://a:1@h.example\nhttps://b:2@h.example/team\nhttps://c:3@other.example\nhttp://d:4@h.example\n";
        fs::write(home.path().join(".git-credentials"), text).expect("write");
        fs::write(home.path().join(".netrc"), "machine h.example login n password 5").expect("write");
        let users = |url: &str| {
            let found = from_files(&[home.path().to_owned()], &[], &url.parse().expect("url"));
            let users = found.into_iter().map(|login| match login.secret {
                Secret::Basic { user, .. } => user,
                Secret::Bearer(_) | Secret::Header(_) => "bearer".to_owned(),
            });
            users.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(users("https://h.example/x.git"), "a n");
        assert_eq!(users("https://h.example/team/x.git"), "a b n");
        assert_eq!(users("https://h.example/teams/x.git"), "a n");
        assert_eq!(users("https://h.example:444/x.git"), "n");
        assert_eq!(users("http://h.example/x.git"), "d n");
    }
}
