//! The commit of a context that is a clone on this machine: what a step before has cloned.
//!
//! Read from Git's own files, which are a few lines of text; so it is also known in an executor without Git, and no
//! hook, filter or setting of the clone does anything. Source: <https://git-scm.com/docs/gitrepository-layout>.
//!
//! *Invariant: what cannot be read is not known; a build never fails over it.*

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::http::{Url, redact};
use crate::outcome::SourceUsed;

/// How long a chain of references may be.
const LONGEST_CHAIN: usize = 5;
/// Larger files are not read: they are no files of Git's that are read here.
const LARGEST_FILE: u64 = 16 << 20;

/// Returns the commit that is checked out in a directory or in one above it, and where it was cloned from.
pub(super) fn commit_of(directory: &Path) -> Option<SourceUsed> {
    let directory = fs::canonicalize(directory).ok()?;
    let git = directory.ancestors().find_map(|ancestor| git_directory(&ancestor.join(".git")))?;
    // A linked work tree has its own HEAD, and shares the rest.
    let common = match text(&git.join("commondir")) {
        Some(path) => git.join(path.trim()),
        None => git.clone(),
    };
    let commit = commit(&git, &common)?;
    let url = origin(&text(&common.join("config"))?)?;
    Some(SourceUsed { url: without_login(&url), commit })
}

/// Follows `.git`, a directory or a file that names one.
fn git_directory(path: &Path) -> Option<PathBuf> {
    if fs::metadata(path).ok()?.is_dir() {
        return Some(path.to_owned());
    }
    let named = text(path)?;
    let named = named.strip_prefix("gitdir:")?.trim();
    Some(path.parent()?.join(named))
}

fn commit(git: &Path, common: &Path) -> Option<String> {
    let mut value = text(&git.join("HEAD"))?;
    for _ in 0..LONGEST_CHAIN {
        let Some(name) = value.trim().strip_prefix("ref:").map(str::trim) else {
            let commit = value.trim().to_owned();
            let is_commit = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            return is_commit.then_some(commit);
        };
        if !name.starts_with("refs/") || name.split('/').any(|part| part == "..") {
            return None;
        }
        value = text(&git.join(name)).or_else(|| text(&common.join(name))).or_else(|| packed(common, name))?;
    }
    None
}

/// Finds a reference among those that `git gc` has put into one file.
fn packed(common: &Path, name: &str) -> Option<String> {
    let lines = text(&common.join("packed-refs"))?;
    let found = lines.lines().filter_map(|line| line.split_once(' ')).find(|(_, known)| *known == name);
    found.map(|(commit, _)| commit.to_owned())
}

/// Finds the URL of the remote `origin`, else of the only remote that there is.
fn origin(config: &str) -> Option<String> {
    let mut remote: Option<String> = None;
    let mut urls: Vec<(String, String)> = Vec::new();
    for line in config.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let name = section.trim_end_matches(']').strip_prefix("remote").map(|name| name.trim().trim_matches('"'));
            remote = name.map(str::to_owned);
        } else if let (Some(remote), Some((key, value))) = (&remote, line.split_once('='))
            && key.trim().eq_ignore_ascii_case("url")
        {
            urls.push((remote.clone(), value.trim().trim_matches('"').to_owned()));
        }
    }
    let only = (urls.len() == 1).then(|| urls.first()).flatten();
    urls.iter().find(|(name, _)| name == "origin").or(only).map(|(_, url)| url.clone())
}

/// Takes user, password and query out of a URL; an address of SSH has a user that is part of its name.
fn without_login(url: &str) -> String {
    match url.parse::<Url>() {
        Ok(parsed) if parsed.has_host() && parsed.scheme() != "ssh" => redact(&parsed),
        Ok(mut parsed) if parsed.has_host() => {
            // Fails only for URLs that cannot have a password, which then is nothing to hide.
            let _ = parsed.set_password(None);
            parsed.to_string()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

/// Reads a file of text. Not a pipe, which would be waited for.
fn text(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.is_file() && metadata.len() <= LARGEST_FILE)?;
    let mut text = String::new();
    File::open(path).ok()?.take(metadata.len()).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334";

    fn clone(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("tempdir");
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("makes");
            fs::write(path, text).expect("writes");
        }
        directory
    }

    fn found(files: &[(&str, &str)], below: &str) -> Option<(String, String)> {
        let directory = clone(files);
        commit_of(&directory.path().join(below)).map(|source| (source.url, source.commit))
    }

    #[test]
    fn a_clone_tells_its_commit_and_where_it_came_from() {
        let config = "[core]\n\tbare = false\n[remote \"fork\"]\n\turl = https://x/\n[remote \"origin\"]\n\turl = https://user:secret@git.example.com/app.git\n";
        let expected = Some(("https://git.example.com/app.git".to_owned(), COMMIT.to_owned()));
        let detached = [(".git/HEAD", COMMIT), (".git/config", config)];
        assert_eq!(found(&detached, ""), expected);
        let branch = [
            (".git/HEAD", "ref: refs/heads/main\n"),
            (".git/refs/heads/main", COMMIT),
            (".git/config", config),
            ("a/b/file", ""),
        ];
        assert_eq!(found(&branch, "a/b"), expected, "a directory of the clone");
        let line = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n");
        let packed = [(".git/HEAD", "ref: refs/heads/main\n"), (".git/packed-refs", &*line), (".git/config", config)];
        assert_eq!(found(&packed, ""), expected);
        let tree = [
            ("main/.git/worktrees/t/HEAD", COMMIT),
            ("main/.git/worktrees/t/commondir", "../..\n"),
            ("main/.git/config", config),
            ("t/.git", "gitdir: ../main/.git/worktrees/t\n"),
        ];
        assert_eq!(found(&tree, "t"), expected, "a linked work tree");
    }

    #[test]
    fn logins_are_left_out_and_users_of_ssh_stay() {
        let rows = [
            ("https://token@git.example.com/app.git", "https://git.example.com/app.git"),
            ("git@git.example.com:team/app.git", "git@git.example.com:team/app.git"),
            ("ssh://git:secret@git.example.com/app.git", "ssh://git@git.example.com/app.git"),
            ("/srv/app.git", "/srv/app.git"),
        ];
        for (url, shown) in rows {
            assert_eq!(without_login(url), shown);
        }
    }

    #[test]
    fn what_is_no_clone_tells_nothing() {
        assert_eq!(found(&[("file", "")], ""), None);
        assert_eq!(
            found(
                &[(".git/HEAD", "ref: refs/heads/none"), (".git/config", "[remote \"origin\"]\nurl=https://x/y")],
                ""
            ),
            None
        );
        assert_eq!(
            found(&[(".git/HEAD", "ref: ../../secret"), (".git/config", "[remote \"origin\"]\nurl=https://x/y")], ""),
            None
        );
        assert_eq!(found(&[(".git/HEAD", COMMIT), (".git/config", "[core]")], ""), None, "no remote");
    }
}
